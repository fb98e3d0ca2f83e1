package e2e

import (
	"fmt"
	"regexp"
	"strings"
)

// nginxConf is a whole nginx.conf around a setup.
func nginxConf(conf setup) string {
	app := ""
	if !conf.noApp {
		app = "gsgi_directory @SHARE@;\n\tgsgi_app site @LIB@ " + conf.app + ";"
	}
	if conf.top == "" {
		conf.top = "worker_processes 1;"
	}
	return fmt.Sprintf(`load_module %s;
user www-data;
daemon off;
pid @DIR@/pid;
error_log @DIR@/error.log info;
worker_rlimit_nofile 16384;
%s
events {
	worker_connections 8000;
}
http {
	default_type text/plain;
	types { text/html html shtml; }
	log_format e2e '$status|$request|$gsgi_app|$gsgi_status|$gsgi_time|$gsgi_queue_time|$gsgi_bytes_sent|$uri';
	access_log @DIR@/access.log e2e;
	client_body_temp_path @DIR@/body;
	proxy_temp_path @DIR@/proxy;
	fastcgi_temp_path @DIR@/fastcgi;
	uwsgi_temp_path @DIR@/uwsgi;
	scgi_temp_path @DIR@/scgi;
	client_max_body_size 0;
	sendfile on;
	ssl_protocols TLSv1.2 TLSv1.3;
	ssl_certificate @SHARE@/cert.pem;
	ssl_certificate_key @SHARE@/key.pem;
	%s
	%s
	server {
		listen 127.0.0.1:@PORT@;
		listen [::1]:@PORT@;
		listen 127.0.0.1:@TLS@ ssl http2;
		server_name localhost;
		root @SHARE@;
		location = /gsgi-status { access_log off; gsgi_status; }
		%s
	}
	%s
}
`, world.modules["nginx"], conf.top, app, conf.main, conf.server, conf.more)
}

var mpms = map[string]string{
	event: `LoadModule mpm_event_module @MODS@/mod_mpm_event.so
LoadModule http2_module @MODS@/mod_http2.so
StartServers 1
ServerLimit 1
ThreadLimit 300
ThreadsPerChild 300
MaxRequestWorkers 300
MinSpareThreads 1
MaxSpareThreads 300`,
	worker: `LoadModule mpm_worker_module @MODS@/mod_mpm_worker.so
LoadModule http2_module @MODS@/mod_http2.so
StartServers 1
ServerLimit 1
ThreadsPerChild 32
MaxRequestWorkers 32
MinSpareThreads 1
MaxSpareThreads 32`,
	prefork: `LoadModule mpm_prefork_module @MODS@/mod_mpm_prefork.so
StartServers 1
ServerLimit 1
MaxRequestWorkers 1
MinSpareServers 1
MaxSpareServers 1`,
}

// numbers are the lines of an MPM that say how many processes and threads.
var numbers = regexp.MustCompile(`(?m)^\w+ \d+\n?`)

var apacheModules = []string{
	"access_compat", "alias", "auth_basic", "authn_core", "authn_file", "authz_core",
	"authz_host", "authz_user", "dir", "env", "filter", "headers", "include", "mime",
	"rewrite", "setenvif", "socache_shmcb", "ssl",
}

// apacheConf is a whole httpd.conf around a setup. The virtual host for TLS
// inherits what the server config says.
func apacheConf(kind string, conf setup) string {
	app, plain, secure := "", "Protocols h2c http/1.1", "Protocols h2 http/1.1"
	if !conf.noApp {
		app = "GSGIDirectory @SHARE@\nGSGIApp site @LIB@ " + conf.app
	}
	quiet := " http2:warn"
	if kind == prefork {
		plain, secure, quiet = "", "", ""
	}
	mpm := mpms[kind]
	if conf.mpm != "" {
		mpm = numbers.ReplaceAllString(mpm, "") + conf.mpm
	}
	var load strings.Builder
	for _, name := range apacheModules {
		fmt.Fprintf(&load, "LoadModule %s_module @MODS@/mod_%s.so\n", name, name)
	}
	text := fmt.Sprintf(`ServerRoot @DIR@
DefaultRuntimeDir @DIR@
PidFile @DIR@/pid
ErrorLog @DIR@/error.log
%s
LogLevel info ssl:warn%s
%sLoadModule gsgi_module %s
User www-data
Group www-data
Listen 127.0.0.1:@PORT@
Listen [::1]:@PORT@
Listen 127.0.0.1:@TLS@
ServerName localhost
DocumentRoot @SHARE@
TypesConfig /dev/null
AddType text/html .html .shtml
AddType text/plain .txt
AddOutputFilter INCLUDES .shtml
EnableSendfile On
LimitRequestBody 0
Timeout 60
KeepAliveTimeout 15
LogFormat "%%>s|%%r|%%{gsgi_app}n|%%{gsgi_status}n|%%{gsgi_time}n|%%{gsgi_queue_time}n|%%{gsgi_bytes_sent}n|%%U" e2e
CustomLog @DIR@/access.log e2e
<Directory @SHARE@>
	Options +Includes
	Require all granted
</Directory>
<IfModule http2_module>
	H2EarlyHints on
</IfModule>
<Location /gsgi-status>
	SetHandler gsgi-status
</Location>
%s
%s
%s
%s
<VirtualHost *:@TLS@>
	ServerName localhost
	RewriteEngine On
	RewriteOptions Inherit
	SSLEngine on
	SSLCertificateFile @SHARE@/cert.pem
	SSLCertificateKeyFile @SHARE@/key.pem
	%s
</VirtualHost>
%s
`, mpm, quiet, load.String(), world.modules["apache"], app, conf.main, plain, conf.server, secure, conf.more)
	return strings.ReplaceAll(text, "@MODS@", "/usr/lib/apache2/modules")
}

// standard is the configuration of the servers that most cases share. The
// application is mounted at the root; each other location has one property.
func standard(kind string) setup {
	if kind == nginx {
		return setup{server: nginxLocations()}
	}
	return setup{server: apacheLocations()}
}

// A location of the standard configuration: the directives apart from the
// pass, in both spellings.
type location struct {
	path, entry   string
	nginx, apache string
}

var locations = []location{
	{"/gw", "gw", "", ""},
	{"/gwstream", "gw", "gsgi_request_buffering off;", "GSGIRequestBuffering off"},
	{"/mount", "8080", "", ""},
	{"/stream", "8080", "gsgi_request_buffering off;", "GSGIRequestBuffering off"},
	{"/spool", "8080", "gsgi_buffering on;", "GSGIBuffering on"},
	{"/short", "8080", "gsgi_timeout 400ms;", "GSGITimeout 400ms"},
	{"/total", "8080", "gsgi_request_timeout 800ms;", "GSGIRequestTimeout 800ms"},
	{"/ignore", "8080", "gsgi_ignore_client_abort on;", "GSGIIgnoreClientAbort on"},
	{"/narrow", "8080", "gsgi_buffer 64k;", "GSGIBuffer 64k"},
	{"/limited", "8080", "client_max_body_size 1000;", "LimitRequestBody 1000"},
	{"/limitedstream", "8080", "client_max_body_size 1000; gsgi_request_buffering off;",
		"LimitRequestBody 1000\n\tGSGIRequestBuffering off"},
	{"/intercept", "8080", "gsgi_intercept_errors on; error_page 410 500 /static/hello.txt;",
		"GSGIErrorOverride on\n\tErrorDocument 410 /static/hello.txt\n\tErrorDocument 500 /static/hello.txt"},
	{"/accel", "8080", "gsgi_accel_redirect on;", "GSGISendfile on"},
}

func nginxLocations() string {
	var b strings.Builder
	b.WriteString(`
		location / { gsgi_pass site:8080; }
		location /static/ { }
		location /internal/ { internal; alias @SHARE@/static/; }
`)
	for _, l := range locations {
		fmt.Fprintf(&b, "\t\tlocation %s/ { gsgi_pass site:%s; gsgi_script_name %s; %s }\n",
			l.path, l.entry, l.path, l.nginx)
	}
	return b.String()
}

func apacheLocations() string {
	var b strings.Builder
	b.WriteString(`
<LocationMatch "^/(?!static/|gsgi-status)">
	GSGIPass site:8080
</LocationMatch>
`)
	for _, l := range locations {
		fmt.Fprintf(&b, "<Location %s>\n\tGSGIPass site:%s\n\tGSGIScriptName %s\n\t%s\n</Location>\n",
			l.path, l.entry, l.path, l.apache)
	}
	return b.String()
}
