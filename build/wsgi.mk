# The ready library that hosts Python applications.

WSGI_LIBRARY := $(OUT)/gsgi-wsgi.so

WSGI_SOURCES := $(filter-out %_test.go,$(wildcard goapp/wsgi/*.go \
	goapp/wsgi/*.[ch] goapp/wsgi/*.py goapp/wsgi/gsgi-wsgi/*.go))

$(WSGI_LIBRARY): $(LIBRARY_SOURCES) $(WSGI_SOURCES) $(OUT)/go-version
	@echo "building $@"
	@$(GO_RUN) build -buildmode=c-shared -o $(OUT)/new-wsgi/$(@F) \
	    ./goapp/wsgi/gsgi-wsgi
	@mv $(OUT)/new-wsgi/$(@F) $@
	@rm -r $(OUT)/new-wsgi
