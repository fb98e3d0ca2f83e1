package e2e

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The denied area is /admin, and /app/admin for the application mounted at
// /app. The application trusts the server and has handlers at /admin.
const nginxDenied = `
		location / { gsgi_pass site:mux; gsgi_param SEEN $uri; }
		location /admin { deny all; gsgi_pass site:mux; }
		location /app/ { gsgi_pass site:mux; gsgi_script_name /app; gsgi_param SEEN $uri; }
		location /app/admin { deny all; gsgi_pass site:mux; gsgi_script_name /app; }
`

const apacheDenied = `
	<Location />
		GSGIPass site:mux
		GSGIParam SEEN %%{REQUEST_URI}
	</Location>
	<Location /app>
		GSGIScriptName /app
	</Location>
	<Location /admin>
		Require all denied
	</Location>
	<Location /app/admin>
		Require all denied
	</Location>
`

const apacheAliasDenied = `
	GSGIAlias /app site:mux
	GSGIAlias / site:mux
	<Location /admin>
		Require all denied
	</Location>
	<Location /app/admin>
		Require all denied
	</Location>
`

// variants of how a server reads a path: a Host and what it sets.
var variants = map[string][][2]string{
	nginx: {{"merged", "merge_slashes on;"}, {"separate", "merge_slashes off;"}},
	event: {
		{"standard", ""}, {"encoded", "AllowEncodedSlashes On"}, {"nodecode", "AllowEncodedSlashes NoDecode"},
		{"separate", "MergeSlashes Off"}, {"both", "MergeSlashes Off\nAllowEncodedSlashes On"}, {"alias", "alias"},
		{"aliasboth", "alias\nMergeSlashes Off\nAllowEncodedSlashes On"},
	},
}

func deniedConf(kind string) setup {
	conf := setup{server: locationConf(kind, "= /hello", "", "")}
	if kind == nginx {
		conf.more = fmt.Sprintf("server { listen 127.0.0.1:@EXTRA@; merge_slashes off; %s }", nginxDenied)
		conf.server = strings.Replace(nginxDenied, "/ {", "/ {", 1)
		return conf
	}
	conf.server = ""
	conf.more = "Listen 127.0.0.1:@EXTRA@\n"
	for _, v := range variants[kind] {
		body, set := strings.ReplaceAll(apacheDenied, "%%", "%"), v[1]
		if rest, ok := strings.CutPrefix(set, "alias"); ok {
			body, set = apacheAliasDenied, rest
		}
		conf.more += fmt.Sprintf("<VirtualHost *:@EXTRA@>\nServerName %s\n%s\n%s\n</VirtualHost>\n", v[0], set, body)
	}
	return conf
}

// traversals are request targets that try to reach /admin by a way that a
// rule might not see.
func traversals() []string {
	names := []string{"admin", "%61dmin", "adm%69%6e", "%2561dmin", "ADMIN", "admin%00", "admin%20", "admin;x"}
	before := []string{
		"/", "//", "///", "/./", "/%2e/", "/x/../", "/x/%2e%2e/", "/x/.%2e/", "/x/..%2f", "/x%2f..%2f", "/x/..//", "/x//../",
		"/x/../../", "/../", "/..%2f", "/%2e%2e%2f", "/%2f", "%2f", "/%5c", "/x/..%5c", "\\", "/x\\..\\", "/x/..;/", "/;/",
		"/.//", "/%252f", "/x/%252e%252e/", "/x/..%252f", "/%c0%af", "/%c0%ae%c0%ae/", "/x/%2e%2e%2f%2e/", "/%ef%bc%8f", "/x%00/../",
		"/x/..?/../", "/x#/../", "/%23/../", "/%3f/../",
	}
	after := []string{
		"", "/", "/secret", "//secret", "%2fsecret", "%2Fsecret", "/./secret", "/%2e%2e/admin/secret", "/..%2fadmin",
		"/..%2fpublic", "/%2e%2e%2fpublic", "/..%2f..%2fadmin/", "?/../public", "%23", "/..;/", "\\secret", "%5csecret",
	}
	var list []string
	for _, b := range before {
		for _, n := range names {
			for _, a := range after {
				list = append(list, b+n+a)
			}
		}
	}
	return append(list, randomTargets(1000)...)
}

// randomTargets puts pieces together at random, the same in every run.
func randomTargets(n int) []string {
	pieces := []string{
		"/", "/", "//", "%2f", ".", "..", "%2e", "%2E%2e", "./", "../", "admin", "%61dmin", "x", "\\", "%5c", ";", "%", "%25",
		"%252f", "?", "#", "%00", "%0a", "%20", "+", "\xff", "%ff", ":", "@", "*",
	}
	random := rand.New(rand.NewPCG(1, 2))
	list := make([]string, n)
	for i := range list {
		list[i] = "/"
		for range 1 + random.IntN(9) {
			list[i] += pieces[random.IntN(len(pieces))]
		}
	}
	return list
}

func TestNoTargetPassesADeniedLocation(t *testing.T) {
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		s := launchDenied(t, kind)
		t.Run("with", func(t *testing.T) {
			for _, v := range variants[kind] {
				addr := s.extra
				if kind == nginx && v[0] == "merged" {
					addr = s.plain
				}
				t.Run(v[0], func(t *testing.T) {
					t.Parallel()
					p := &prober{t: t, addr: addr, host: v[0]}
					defer p.close()
					p.controls()
					for _, target := range traversals() {
						p.probe(target, "")
						p.probe("/app"+target, "/app")
					}
					for _, target := range []string{"http://" + v[0] + "/admin/", "http://" + v[0] + "//admin", "admin", "*", "/admin/.."} {
						p.probe(target, "")
					}
					assert.Greater(t, p.reached, 100, "targets that reached the application")
					t.Logf("%d targets of %d reached the application", p.reached, p.sent)
				})
			}
		})
		s.noLeak(t)
	})
}

func launchDenied(t *testing.T, kind string) *server {
	t.Helper()
	conf := deniedConf(kind)
	if kind != nginx {
		conf.server = locationConf(kind, "/hello", "", "")
	}
	return launch(t, kind, conf)
}

// A prober sends targets over connections that it keeps while it can.
type prober struct {
	t             *testing.T
	addr, host    string
	w             *wire
	sent, reached int
}

func (p *prober) close() {
	if p.w != nil {
		p.w.Close()
		p.w = nil
	}
}

func (p *prober) ask(target string) *answer {
	p.t.Helper()
	for try := range 2 {
		fresh := p.w == nil
		if fresh {
			p.w = dialWire(p.t, p.addr)
		}
		fmt.Fprintf(p.w.Conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, p.host)
		p.w.in = bufio.NewReader(p.w.Conn)
		res, err := http.ReadResponse(p.w.in, nil)
		if err != nil {
			p.close()
			if fresh || try == 1 {
				return nil // refused without a word
			}
			continue
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || res.Close {
			p.close()
		}
		return &answer{res, string(body), err}
	}
	return nil
}

// controls makes sure that the rules are there.
func (p *prober) controls() {
	p.t.Helper()
	for target, want := range map[string]int{
		"/admin": 403, "/admin/": 403, "/admin/secret": 403, "/app/admin/x": 403, "/public": 200, "/app/public": 200,
	} {
		a := p.ask(target)
		if a == nil || a.StatusCode != want {
			p.t.Fatalf("%s gives %+v", target, a)
		}
	}
}

// probe sends a target and checks what the application saw if it got it.
func (p *prober) probe(target, mount string) {
	p.t.Helper()
	p.sent++
	a := p.ask(target)
	if a == nil || a.Header.Get("X-Area") == "" {
		return
	}
	p.reached++
	if a.Header.Get("X-Area") != "public" {
		p.t.Errorf("%q reached the handler of the denied area", target)
		return
	}
	d := parseDump(p.t, a.body)
	if d.Environ["SCRIPT_NAME"] != mount {
		// Dot segments may lead out of the mount point or into the other.
		mount = d.Environ["SCRIPT_NAME"]
	}
	for _, path := range []string{d.URL.Path, d.Environ["PATH_INFO"]} {
		if path == "/admin" || strings.HasPrefix(path, "/admin/") {
			p.t.Errorf("%q reached a handler as %q", target, path)
		}
	}
	if seen, ok := d.Environ["SEEN"]; ok && seen != mount+d.Environ["PATH_INFO"] {
		p.t.Errorf("%q: the server decided on %q, the handler saw %q", target, seen, mount+d.Environ["PATH_INFO"])
	}
}
