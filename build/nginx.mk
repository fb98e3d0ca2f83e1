# The NGINX module, built against the headers of the package nginx-dev.

NGINX_SRC ?= /usr/share/nginx/src
NGINX_CFLAGS ?= -O2 -g -fstack-protector-strong -Wno-error

NGINX_MODULE := $(OUT)/ngx_http_gsgi_module.so
HOST_SOURCES := $(wildcard cshim/*.h cshim/host/*.c cshim/host/*.h)

$(NGINX_MODULE): $(HOST_SOURCES) $(wildcard nginx/*.c nginx/*.h nginx/*.map) \
		$(OUT)/nginx/Makefile
	@echo "building $@"
	@$(MAKE) --no-print-directory -s -C $(OUT)/nginx-src \
	    -f $(CURDIR)/$(OUT)/nginx/Makefile modules
	@build/replace.sh $(OUT)/nginx/$(@F) $@

$(OUT)/nginx/Makefile: nginx/config build/nginx.mk build/nginx.sh \
		$(OUT)/sources $(wildcard $(NGINX_SRC)/src/core/nginx.h) | $(PACKAGES_STAMP)
	@echo "configuring the NGINX module"
	@build/nginx.sh $(NGINX_SRC) $(OUT) "$(NGINX_CFLAGS)"

# Changes when a source is added or goes away: nginx/config lists them then.
$(OUT)/sources: always | $(OUT)
	@echo $(HOST_SOURCES) $(wildcard nginx/*.c apache/*.c) > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
