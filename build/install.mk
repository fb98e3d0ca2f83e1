# Installation where the distribution puts modules.  Nothing is enabled.

PREFIX ?= /usr
SYSCONFDIR ?= /etc
NGINX_MODULES ?= $(PREFIX)/lib/nginx/modules
NGINX_AVAILABLE ?= $(PREFIX)/share/nginx/modules-available
NGINX_CONFDIR ?= $(SYSCONFDIR)/nginx
APACHE_MODULES ?= $(PREFIX)/lib/apache2/modules
APACHE_AVAILABLE ?= $(SYSCONFDIR)/apache2/mods-available

GSGI_LIBDIR ?= $(PREFIX)/lib/gsgi

INSTALL ?= install

# Debian's NGINX finds its own directory of modules by this name.
NGINX_LOAD := $(if $(filter /usr/lib/nginx/modules,$(NGINX_MODULES)),modules,$(NGINX_MODULES))

install: $(NGINX_MODULE) $(APACHE_MODULE) $(WSGI_LIBRARY) ## install the server modules, under DESTDIR
	$(INSTALL) -D -m 644 $(NGINX_MODULE) \
	    $(DESTDIR)$(NGINX_MODULES)/$(notdir $(NGINX_MODULE))
	$(INSTALL) -d $(DESTDIR)$(NGINX_AVAILABLE) $(DESTDIR)$(APACHE_AVAILABLE)
	echo 'load_module $(NGINX_LOAD)/$(notdir $(NGINX_MODULE));' \
	    > $(DESTDIR)$(NGINX_AVAILABLE)/mod-http-gsgi.conf
	$(foreach f,$(wildcard nginx/gsgi_params),$(INSTALL) -D -m 644 $f \
	    $(DESTDIR)$(NGINX_CONFDIR)/gsgi_params)
	$(INSTALL) -D -m 644 $(APACHE_MODULE) \
	    $(DESTDIR)$(APACHE_MODULES)/$(notdir $(APACHE_MODULE))
	sed 's|/usr/lib/apache2/modules|$(APACHE_MODULES)|' apache/gsgi.load \
	    > $(DESTDIR)$(APACHE_AVAILABLE)/gsgi.load
	$(INSTALL) -m 644 apache/gsgi.conf $(DESTDIR)$(APACHE_AVAILABLE)/gsgi.conf
	$(INSTALL) -D -m 644 $(WSGI_LIBRARY) \
	    $(DESTDIR)$(GSGI_LIBDIR)/$(notdir $(WSGI_LIBRARY))
ifeq ($(DESTDIR),)
	@echo "NGINX:  ln -s $(NGINX_AVAILABLE)/mod-http-gsgi.conf" \
	    "$(NGINX_CONFDIR)/modules-enabled/50-mod-http-gsgi.conf"
	@echo "Apache: a2enmod gsgi"
endif
