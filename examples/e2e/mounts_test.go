package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/gsgi/gsgi/examples/e2e/app"
)

const nginxNest = `server {
	listen 127.0.0.1:@EXTRA@;
	server_name %[1]s.on;
	gsgi_param SEEN $uri;
	location / { gsgi_pass site:%[1]s; }
	location = /exact { gsgi_pass site:%[1]s; gsgi_script_name /exact; }
	location /pre { gsgi_pass site:%[1]s; gsgi_script_name /pre; }
	location ~ ^/(re|ex)/ { gsgi_pass site:%[1]s; gsgi_script_name /re; }
	location /alias/ { alias @SHARE@/; gsgi_pass site:%[1]s; gsgi_script_name /alias; }
	location /out/ {
		gsgi_pass site:%[1]s;
		gsgi_script_name /out;
		location /out/in/ { gsgi_pass site:%[1]s; gsgi_script_name /out/in; }
		location /out/keep/ { gsgi_pass site:%[1]s; }
	}
	location "/sp ace/" { gsgi_pass site:%[1]s; gsgi_script_name "/sp ace"; }
	location /café/ { gsgi_pass site:%[1]s; gsgi_script_name /café; }
	location /last/ { rewrite ^/last(/.*)$ /pre$1 last; }
	location /break/ { rewrite ^/break(/.*)$ /pre$1 break; gsgi_pass site:%[1]s; gsgi_script_name /pre; }
	location /away/ { rewrite ^/away(/.*)$ /elsewhere$1 break; gsgi_pass site:%[1]s; gsgi_script_name /away; }
	location /named/ { gsgi_script_name /named; try_files /nothing @named; }
	location @named { gsgi_pass site:%[1]s; gsgi_script_name /named; }
}
`

const apacheNest = `<VirtualHost *:@EXTRA@>
	ServerName %[1]s.%[2]s
	AllowEncodedSlashes %[2]s
	GSGIParam SEEN %%{REQUEST_URI}
	GSGIAlias /alias site:%[1]s
	GSGIAlias /alias/in site:%[1]s
	Alias /files @SHARE@/static
	<Directory @SHARE@/static>
		GSGIPass site:%[1]s
		GSGIScriptName /files
	</Directory>
	<LocationMatch "^/(?!alias|files)">
		GSGIPass site:%[1]s
	</LocationMatch>
	<Location /pre>
		GSGIScriptName /pre
	</Location>
	<LocationMatch "^/(re|ex)/">
		GSGIScriptName /re
	</LocationMatch>
	<Location /out>
		GSGIScriptName /out
	</Location>
	<Location /out/in>
		GSGIScriptName /out/in
	</Location>
	<Location "/sp ace">
		GSGIScriptName "/sp ace"
	</Location>
	<Location /café>
		GSGIScriptName /café
	</Location>
	<Location /late>
		RewriteEngine On
		RewriteRule ^.*?/late(/.*)$ /pre$1 [B=%%]
	</Location>
	RewriteEngine On
	RewriteRule ^/last(/.*)$ /pre$1 [PT]
	RewriteRule ^/away(/.*)$ /elsewhere$1 [PT]
</VirtualHost>
`

func nestConf(kind string) setup {
	conf := setup{server: locationConf(kind, "= /hello", "", "")}
	if kind == nginx {
		conf.more = fmt.Sprintf(nginxNest, "nest") + fmt.Sprintf(nginxNest, "nestweb")
		return conf
	}
	conf = setup{server: locationConf(kind, "/hello", "", ""), more: "Listen 127.0.0.1:@EXTRA@\n"}
	for _, entry := range []string{"nest", "nestweb"} {
		for _, slashes := range []string{"on", "nodecode"} {
			conf.more += fmt.Sprintf(apacheNest, entry, slashes)
		}
	}
	return conf
}

// A mount is where a server has the applications: the start of a target, with
// what SCRIPT_NAME is and what is in front of PATH_INFO.
type mount struct {
	target, script, info string
	on                   string // the kind, "" for both
}

var mounts = []mount{
	{"", "", "", ""},
	{"/pre", "/pre", "", ""},
	{"/p%72e", "/pre", "", ""},
	{"/elsewhere/../pre", "/pre", "", ""},
	{"//pre", "/pre", "", ""},
	{"/prex", "", "/prex", ""},
	{"/re", "/re", "", ""},
	{"/ex", "", "/ex", ""},
	{"/out", "/out", "", ""},
	{"/out/in", "/out/in", "", ""},
	{"/out/in/..", "/out", "", ""},
	{"/out/keep", "/out", "/keep", ""},
	{"/sp%20ace", "/sp ace", "", ""},
	{"/caf%C3%A9", "/caf\u00c3\u00a9", "", ""},
	{"/last", "/pre", "", ""},
	{"/away", "", "/elsewhere", ""},
	{"/alias", "/alias", "", ""},
	{"/alias/in", "/alias", "/in", event}, // the first GSGIAlias that matches
	{"/break", "/pre", "", nginx},
	{"/named", "/named", "", nginx},
	{"/files", "/files", "", event},
	{"/late", "/pre", "", event},
}

// A route leads through the nested applications: the levels from the inside
// out, each with what it adds to SCRIPT_NAME, and its PATH_INFO.
type route struct {
	target string
	levels [][3]string
	trail  string // what the innermost one sees of the others
}

var routes = []route{
	{"/x", [][3]string{{"leaf", "", "/x"}}, ""},
	{"/dx/e", [][3]string{{"leaf", "", "/dx/e"}}, ""},
	{"/x?a=/d/e", [][3]string{{"leaf", "", "/x"}}, ""},
	{"/d", [][3]string{{"leaf", "/d", ""}, {"d", "/d", ""}}, "d "},
	{"/d/", [][3]string{{"leaf", "/d", "/"}, {"d", "/d", "/"}}, "d "},
	{"/d/ex", [][3]string{{"leaf", "/d", "/ex"}, {"d", "/d", "/ex"}}, "d "},
	{"/d/e", [][3]string{{"leaf", "/d/e", ""}, {"d", "/d", "/e"}}, "d "},
	{"/d/e/y/z", [][3]string{{"leaf", "/d/e", "/y/z"}, {"d", "/d", "/e/y/z"}}, "d "},
	{"/d/%65/%79", [][3]string{{"leaf", "/d/e", "/y"}, {"d", "/d", "/e/y"}}, "d "},
	{"/d/./x/../e//y", [][3]string{{"leaf", "/d/e", "/y"}, {"d", "/d", "/e/y"}}, "d "},
	{"/d/e%20f/%C3%A9%25", [][3]string{{"leaf", "/d", "/e f/\u00c3\u00a9%"}, {"d", "/d", "/e f/\u00c3\u00a9%"}}, "d "},
	{"/h/s", [][3]string{{"leaf", "/h/s", ""}, {"inner", "/h/s", ""}, {"s", "/h/s", ""}, {"h", "/h", "/s"}}, ""},
	{"/h/s/x", [][3]string{{"leaf", "/h/s", "/x"}, {"inner", "/h/s", "/x"}, {"s", "/h/s", "/x"}, {"h", "/h", "/s/x"}}, ""},
	{"/h/s/e/y", [][3]string{{"leaf", "/h/s/e", "/y"}, {"inner", "/h/s", "/e/y"}, {"s", "/h/s", "/e/y"}, {"h", "/h", "/s/e/y"}}, ""},
}

// slashRoutes have an escaped slash, which Apache keeps with NoDecode.
var slashRoutes = map[string][]route{
	"on": {
		{"/d/e%2Fy", [][3]string{{"leaf", "/d/e", "/y"}, {"d", "/d", "/e/y"}}, "d "},
		{"/d%2fe/y%2Fz", [][3]string{{"leaf", "/d/e", "/y/z"}, {"d", "/d", "/e/y/z"}}, "d "},
		{"/h%2Fs/e%2Fy", [][3]string{{"leaf", "/h/s/e", "/y"}, {"inner", "/h/s", "/e/y"}, {"s", "/h/s", "/e/y"}, {"h", "/h", "/s/e/y"}}, ""},
	},
	"nodecode": {
		{"/d/e%2Fy", [][3]string{{"leaf", "/d", "/e%2Fy"}, {"d", "/d", "/e%2Fy"}}, "d "},
		{"/d%2Fe/y", [][3]string{{"leaf", "", "/d%2Fe/y"}}, ""},
		{"/h/s/e/y%2Fz", [][3]string{{"leaf", "/h/s/e", "/y%2Fz"}, {"inner", "/h/s", "/e/y%2Fz"}, {"s", "/h/s", "/e/y%2Fz"}, {"h", "/h", "/s/e/y%2Fz"}}, ""},
	},
}

// below is the route when PATH_INFO begins with info: no application is
// mounted there.
func (r route) below(info string) route {
	if info == "" {
		return r
	}
	last := r.levels[len(r.levels)-1]
	return route{r.target, [][3]string{{"leaf", "", info + last[1] + last[2]}}, ""}
}

func TestMountedApplications(t *testing.T) {
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		s := launch(t, kind, nestConf(kind))
		for _, entry := range []string{"nest", "nestweb"} {
			for _, slashes := range []string{"on", "nodecode"} {
				if kind == nginx && slashes == "nodecode" {
					continue
				}
				p := &prober{t: t, addr: s.extra, host: entry + "." + slashes}
				for _, m := range mounts {
					if m.on != "" && m.on != kind {
						continue
					}
					for _, r := range slashRoutes[slashes] {
						checkNest(t, p, m, r.below(m.info))
					}
					if slashes == "nodecode" {
						continue // nothing else differs
					}
					for _, r := range routes {
						checkNest(t, p, m, r.below(m.info))
					}
				}
				checkExact(t, p, kind)
				p.close()
			}
		}
		s.noLeak(t)
	})
}

// checkExact asks for mount points without anything behind them.
func checkExact(t *testing.T, p *prober, kind string) {
	t.Helper()
	at := []mount{{"/pre", "/pre", "", ""}}
	if kind == nginx {
		at = append(at, mount{target: "/exact", script: "/exact"})
	} else {
		at = append(at, mount{target: "/alias", script: "/alias"}, mount{target: "/out/in", script: "/out/in"})
	}
	for _, m := range at {
		checkNest(t, p, m, route{"", [][3]string{{"leaf", "", ""}}, ""})
	}
}

// checkNest asks for a route below a mount and checks what each level says.
func checkNest(t *testing.T, p *prober, m mount, r route) {
	t.Helper()
	target := m.target + r.target
	a := p.ask(target)
	if a == nil || a.StatusCode != 200 {
		t.Errorf("%s %s: %+v", p.host, target, a)
		return
	}
	want := append(r.levels[:len(r.levels):len(r.levels)], [3]string{"root", "", ""})
	if strings.HasPrefix(p.host, "nestweb.") {
		want = append(want, [3]string{"web", "", ""})
	}
	inner := want[0]
	whole := m.script + inner[1] + inner[2]
	lines := strings.Split(strings.TrimSuffix(a.body, "\n"), "\n")
	if len(lines) != len(want) {
		t.Errorf("%s %s: %s", p.host, target, a.body)
		return
	}
	for i, line := range lines {
		var v app.Visit
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatal(err)
		}
		name, script, info := want[i][0], m.script+want[i][1], want[i][2]
		if name == "root" || name == "web" {
			info = inner[1] + inner[2]
		}
		l, at := v.Before, p.host+" "+target+" "+name
		trail := ""
		if i == 0 {
			trail = r.trail
		}
		expected := app.Level{
			Name: name, Script: script, Info: info, URI: target, Seen: whole, Trail: trail,
			Header: strings.TrimSuffix(trail, " "), Handler: l.Handler, Raw: l.Raw,
		}
		if l.Handler {
			expected.Path = info
			raw, err := url.PathUnescape(l.Raw)
			if l.Raw != "" && (err != nil || app.Latin1(raw) != l.Path) {
				t.Errorf("%s: RawPath %q of %q", at, l.Raw, l.Path)
			}
		}
		if l != expected || v.After != expected {
			t.Errorf("%s: wanted %+v\nbefore %+v\nafter  %+v", at, expected, l, v.After)
		}
	}
}
