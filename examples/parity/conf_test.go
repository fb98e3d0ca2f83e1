package parity

import (
	"net"
	"strings"
)

// conf is the configuration of a server that hands everything but its status
// page to the application, and streams bodies as net/http does.
func (s *server) conf() string {
	text := apacheConf
	if s.kind == nginx {
		text = nginxConf
	}
	mpm := `LoadModule mpm_event_module @MODS@/mod_mpm_event.so
LoadModule http2_module @MODS@/mod_http2.so
Protocols h2 h2c http/1.1
LogLevel info ssl:warn http2:warn
ServerLimit 1
ThreadsPerChild 25
MaxRequestWorkers 25`
	if s.kind == prefork {
		mpm = `LoadModule mpm_prefork_module @MODS@/mod_mpm_prefork.so
LogLevel info ssl:warn
ServerLimit 1
MaxRequestWorkers 1`
	}
	_, plain, _ := net.SplitHostPort(s.plain)
	_, secure, _ := net.SplitHostPort(s.tls)
	_, bare, _ := net.SplitHostPort(s.h2c)
	return strings.NewReplacer(
		"@DIR@", s.dir, "@SHARE@", world.dir, "@MODULE@", world.modules[s.kind],
		"@PORT@", plain, "@TLS@", secure, "@H2C@", bare, "@MPM@", strings.ReplaceAll(mpm, "@MODS@", mods), "@MODS@", mods,
	).Replace(text)
}

const mods = "/usr/lib/apache2/modules"

const nginxConf = `load_module @MODULE@;
user www-data;
daemon off;
pid @DIR@/pid;
error_log @DIR@/error.log info;
worker_processes 1;
env PARITY_REPORTS;
events {
	worker_connections 1000;
}
http {
	access_log off;
	keepalive_requests 10000;
	client_body_temp_path @DIR@/body;
	proxy_temp_path @DIR@/proxy;
	fastcgi_temp_path @DIR@/fastcgi;
	uwsgi_temp_path @DIR@/uwsgi;
	scgi_temp_path @DIR@/scgi;
	client_max_body_size 0;
	large_client_header_buffers 4 16k;
	gsgi_directory @SHARE@;
	gsgi_env PARITY_REPORTS;
	gsgi_app site @SHARE@/library.so;
	server {
		listen 127.0.0.1:@PORT@;
		listen 127.0.0.1:@TLS@ ssl http2;
		listen 127.0.0.1:@H2C@ http2;
		server_name localhost;
		ssl_protocols TLSv1.2 TLSv1.3;
		ssl_certificate @SHARE@/cert.pem;
		ssl_certificate_key @SHARE@/key.pem;
		location = /gsgi-status { gsgi_status; }
		location / {
			gsgi_pass site:8080;
			gsgi_request_buffering off;
		}
		location /gw/ {
			gsgi_pass site:gw;
			gsgi_script_name /gw;
			gsgi_request_buffering off;
			gsgi_param SERVER_ID $request_id;
		}
		location /short/ {
			gsgi_pass site:gw;
			gsgi_script_name /short;
			gsgi_timeout 500ms;
		}
		location /moved/ {
			rewrite ^/moved/(.*)$ /gw/$1?moved=1 last;
		}
		location /gw/deep/er/ {
			gsgi_pass site:gw;
			gsgi_script_name /gw/deep/er;
		}
		location ~ ^/match/\w+/ {
			gsgi_pass site:gw;
			gsgi_script_name /match;
		}
		location /aliased/ {
			alias @SHARE@/;
			gsgi_pass site:gw;
		}
	}
}
`

const apacheConf = `ServerRoot @DIR@
DefaultRuntimeDir @DIR@
PidFile @DIR@/pid
ErrorLog @DIR@/error.log
@MPM@
StartServers 1
LoadModule authz_core_module @MODS@/mod_authz_core.so
LoadModule alias_module @MODS@/mod_alias.so
LoadModule rewrite_module @MODS@/mod_rewrite.so
LoadModule socache_shmcb_module @MODS@/mod_socache_shmcb.so
LoadModule ssl_module @MODS@/mod_ssl.so
LoadModule gsgi_module @MODULE@
User www-data
Group www-data
Listen 127.0.0.1:@PORT@
Listen 127.0.0.1:@TLS@
Listen 127.0.0.1:@H2C@
ServerName localhost
LimitRequestBody 0
LimitRequestFieldSize 16380
KeepAliveTimeout 15
MaxKeepAliveRequests 0
AllowEncodedSlashes On
GSGIDirectory @SHARE@
GSGIEnv PARITY_REPORTS
GSGIApp site @SHARE@/library.so
<Location /gsgi-status>
	SetHandler gsgi-status
</Location>
<LocationMatch "^(?!/gsgi-status)">
	GSGIPass site:8080
	GSGIRequestBuffering off
</LocationMatch>
<Location /gw>
	GSGIPass site:gw
	GSGIScriptName /gw
	GSGIParam SERVER_ID %{REQUEST_LOG_ID}
</Location>
<Location /short>
	GSGIPass site:gw
	GSGIScriptName /short
	GSGITimeout 500ms
</Location>
<Location /gw/deep/er>
	GSGIScriptName /gw/deep/er
</Location>
<LocationMatch "^/match/\w+/">
	GSGIPass site:gw
	GSGIScriptName /match
</LocationMatch>
<Location /aliased>
	GSGIPass site:gw
</Location>
Alias /aliased @SHARE@
RewriteEngine On
RewriteRule ^/moved/(.*)$ /gw/$1?moved=1 [PT]
<VirtualHost *:@TLS@>
	ServerName localhost
	RewriteEngine On
	RewriteOptions Inherit
	SSLEngine on
	SSLCertificateFile @SHARE@/cert.pem
	SSLCertificateKeyFile @SHARE@/key.pem
</VirtualHost>
`
