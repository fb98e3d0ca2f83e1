# make help lists the targets; their recipes are in build/.

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

OUT := build/out
GO_RUN := build/go.sh
ifneq ($(GO),)
export GO
endif

include build/packages.mk
include build/nginx.mk
include build/apache.mk
include build/examples.mk
include build/wsgi.mk
include build/install.mk
include build/bench.mk

NGINX_PORT ?= 8080
APACHE_PORT ?= 8081
EXAMPLE ?= showcase
SUITE ?= trixie

.PHONY: help build run test debian soak bench microbench install clean lint \
	always

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s%s\n", $$1, $$2 }' \
	    $(MAKEFILE_LIST)
	@echo
	@echo "Variables, for make run: NGINX_PORT=$(NGINX_PORT)" \
	    "APACHE_PORT=$(APACHE_PORT) EXAMPLE=$(EXAMPLE);"
	@echo "for make install: DESTDIR= and the directories in" \
	    "build/install.mk; GO= is the Go"
	@echo "to build with; PACKAGES=no installs no Debian packages."

build: $(NGINX_MODULE) $(APACHE_MODULE) $(WSGI_LIBRARY) $(EXAMPLES) ## build the server modules and the examples into build/out

run: build ## serve the examples with NGINX and with Apache until Ctrl-C
	@exec env NGINX_PORT=$(NGINX_PORT) APACHE_PORT=$(APACHE_PORT) \
	    EXAMPLE=$(EXAMPLE) build/foreground.sh build/run.sh

test: build ## run all tests
	@build/test.sh all

debian: ## run make test in another release of Debian, SUITE=trixie
	@build/debian.sh $(SUITE)

soak: build ## run mixed traffic with crashes and reloads for SOAK_MINUTES
	@build/soak.sh

lint: build ## run only the checks that start nothing
	@build/test.sh lint

clean: ## remove build/out
	@build/clean.sh

$(OUT):
	@mkdir -p $@
