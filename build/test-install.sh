#!/bin/bash
# make install: the files are where Debian looks for them, and both servers
# load the modules by the lines that were installed.

. "$(dirname "$0")/test-lib.sh"

cd "$root"
make -s install DESTDIR="$tmp/root" > "$tmp/install.log"

files=(usr/lib/nginx/modules/ngx_http_gsgi_module.so
    usr/share/nginx/modules-available/mod-http-gsgi.conf
    usr/lib/apache2/modules/mod_gsgi.so
    etc/apache2/mods-available/gsgi.load
    etc/apache2/mods-available/gsgi.conf usr/lib/gsgi/gsgi-wsgi.so)
params=
if [[ -e nginx/gsgi_params ]]; then
    files+=(etc/nginx/gsgi_params)
    params="include $tmp/root/etc/nginx/gsgi_params;"
fi
for file in "${files[@]}"; do
    [[ -s $tmp/root/$file ]] || fail "$file is missing"
done

sed "s|modules/|$tmp/root/usr/lib/nginx/modules/|" \
    "$tmp/root/usr/share/nginx/modules-available/mod-http-gsgi.conf" \
    > "$tmp/nginx.conf"
cat >> "$tmp/nginx.conf" << END
pid $tmp/nginx.pid;
error_log $tmp/nginx.log;
events {}
http {
    access_log off;
    client_body_temp_path $tmp/body;
    proxy_temp_path $tmp/proxy;
    fastcgi_temp_path $tmp/fastcgi;
    uwsgi_temp_path $tmp/uwsgi;
    scgi_temp_path $tmp/scgi;
    server {
        listen 127.0.0.1:$(free_port);
        $params
    }
}
END
nginx -t -e "$tmp/nginx.log" -c "$tmp/nginx.conf" > "$tmp/check.log" 2>&1

sed "s|/usr/lib|$tmp/root/usr/lib|" \
    "$tmp/root/etc/apache2/mods-available/gsgi.load" > "$tmp/apache.conf"
cat >> "$tmp/apache.conf" << END
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
ServerName localhost
DefaultRuntimeDir $tmp
ErrorLog $tmp/apache.log
Include $tmp/root/etc/apache2/mods-available/gsgi.conf
END
apache2 -t -f "$tmp/apache.conf" >> "$tmp/check.log" 2>&1

say "another prefix"
make -s install DESTDIR="$tmp/other" PREFIX=/opt/gsgi SYSCONFDIR=/opt/etc \
    > "$tmp/install.log"
grep -qx 'load_module /opt/gsgi/lib/nginx/modules/ngx_http_gsgi_module.so;' \
    "$tmp/other/opt/gsgi/share/nginx/modules-available/mod-http-gsgi.conf"
grep -qx 'LoadModule gsgi_module /opt/gsgi/lib/apache2/modules/mod_gsgi.so' \
    "$tmp/other/opt/etc/apache2/mods-available/gsgi.load"
[[ ! -e $tmp/other/usr && ! -e $tmp/other/etc ]] || fail "not all was moved"
