# The Apache module, built by apxs.

APXS ?= apxs
APACHE_CFLAGS ?= -O2 -g -fstack-protector-strong

APACHE_MODULE := $(OUT)/mod_gsgi.so

$(APACHE_MODULE): $(HOST_SOURCES) $(wildcard apache/*.c apache/*.h apache/*.map) \
		build/apache.mk build/apache.sh $(OUT)/sources | $(PACKAGES_STAMP)
	@echo "building $@"
	@build/apache.sh $(APXS) $(OUT) "$(APACHE_CFLAGS)"
	@build/replace.sh $(OUT)/apache/mod_gsgi.so $@
