# Debian packages, installed when missing.  PACKAGES=no leaves that to you.

BUILD_PACKAGES := gcc libc6-dev nginx nginx-dev apache2-bin apache2-dev \
	ca-certificates pkg-config python3-dev
RUN_PACKAGES := $(BUILD_PACKAGES) curl python3-cherrypy3 python3-django \
	python3-flask
WSGI_PACKAGES := gunicorn libapache2-mod-wsgi-py3 uwsgi-core \
	uwsgi-plugin-python3
TEST_PACKAGES := $(RUN_PACKAGES) $(WSGI_PACKAGES) chromium clang \
	gcc-aarch64-linux-gnu libc6-dev-arm64-cross libclang-rt-dev \
	nghttp2-client openssl python3-bottle strace
BENCH_PACKAGES := $(RUN_PACKAGES) $(WSGI_PACKAGES) nghttp2-client wrk

# One set for all goals of this call, so that apt-get runs once.
set := build
ifneq ($(filter run,$(MAKECMDGOALS)),)
set := run
endif
ifneq ($(filter test lint soak,$(MAKECMDGOALS)),)
set := test
endif
ifneq ($(filter bench,$(MAKECMDGOALS)),)
set := bench
endif
PACKAGES_STAMP := $(OUT)/packages-$(set)

# Looked at anew only when dpkg has changed something.
$(OUT)/packages-build: wanted := $(BUILD_PACKAGES)
$(OUT)/packages-run: wanted := $(RUN_PACKAGES)
$(OUT)/packages-test: wanted := $(TEST_PACKAGES)
$(OUT)/packages-bench: wanted := $(BENCH_PACKAGES)
$(OUT)/packages-%: build/packages.mk build/packages.sh \
		$(wildcard /var/lib/dpkg/status) | $(OUT)
ifneq ($(PACKAGES),no)
	@build/packages.sh $(wanted)
	@touch $@
else
	@:
endif
