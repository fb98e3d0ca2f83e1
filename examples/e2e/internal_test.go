package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gsgi/gsgi/examples/e2e/app"
	"github.com/stretchr/testify/assert"
)

// h1h2 are both protocols of a server.
func h1h2(s *server) []*target {
	return []*target{{s, h1}, {s, h2}}
}

func writeShared(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(world.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
}

// dumpOf fetches a path that ends in the dump of the application.
func (x *target) dumpOf(t *testing.T, method, path, body string, status int) *app.Dump {
	t.Helper()
	a := x.ask(t, method, path, body)
	assert.NoError(t, a.err)
	assert.Equal(t, status, a.StatusCode)
	return parseDump(t, a.body)
}

const nginxInternals = `
	location / { gsgi_pass site:8080; }
	location /static/ { error_page 404 /notfound/page; }
	location /notfound/ { gsgi_pass site:8080; }
	location /named/ { root @SHARE@/static; error_page 404 = @app; }
	location /try/ { alias @SHARE@/static/; try_files $uri.txt @app; }
	location @app { gsgi_pass site:8080; gsgi_param FROM named; }
	location /rewritten/ { rewrite ^/rewritten/(.*)$ /dump/$1?added=1 last; }
	location /broken/ { rewrite ^/broken/(.*)$ /dump/$1 break; gsgi_pass site:8080; }
	location /aliased/ { alias @SHARE@/static/; gsgi_pass site:8080; }
	location /conditional/ { if ($arg_pass) { gsgi_pass site:8080; break; } return 403; }

	location /intercepted/ {
		gsgi_pass site:8080; gsgi_script_name /intercepted; gsgi_intercept_errors on;
		error_page 404 /static/hello.txt;
		error_page 500 502 = /dump/failed;
		error_page 503 @app;
	}
	location /plain/ { gsgi_pass site:8080; gsgi_script_name /plain; error_page 404 500 /static/hello.txt; }

	location /accel/ { gsgi_pass site:8080; gsgi_script_name /accel; gsgi_accel_redirect on; }
	location /noaccel/ { gsgi_pass site:8080; gsgi_script_name /noaccel; }
	location /internal/ { internal; alias @SHARE@/static/; }

	location /guarded/ {
		auth_request /auth;
		auth_request_set $who $sent_http_x_who;
		gsgi_pass site:8080;
		gsgi_script_name /guarded;
		gsgi_param WHO $who;
	}
	location /guardedfile/ { auth_request /auth; alias @SHARE@/static/; }
	location = /auth { internal; gsgi_pass site:8080; gsgi_param AUTH yes; rewrite ^ /status?code=$auth&header=X-Who:somebody break; }

	location /mirrored/ { mirror /mirror; gsgi_pass site:8080; gsgi_script_name /mirrored; }
	location = /mirror { internal; gsgi_pass site:8080; rewrite ^ /wait break; }

	location /ssi/ { ssi on; root @SHARE@; }
	location /appssi/ { ssi on; ssi_types *; gsgi_pass site:8080; gsgi_script_name /appssi; }
	location /added/ { gsgi_pass site:8080; gsgi_script_name /added; add_after_body /hello; add_before_body /gw/hello; addition_types *; }
	location /gw/ { gsgi_pass site:gw; gsgi_script_name /gw; }
`

const apacheInternals = `
RewriteEngine On
RewriteRule ^/rewritten/(.*)$ /dump/$1?added=1 [PT]
RewriteCond @SHARE@/static/$1 !-f
RewriteRule ^/try/(.*)$ /dump/$1 [PT]
<LocationMatch "^/(?!static/|gsgi-status|named/|try/|ssi/|guardedfile/)">
	GSGIPass site:8080
</LocationMatch>
<Location /static>
	ErrorDocument 404 /notfound/page
</Location>
Alias /try @SHARE@/static
Alias /ssi @SHARE@/ssi
<Location /intercepted>
	GSGIScriptName /intercepted
	GSGIErrorOverride on
	ErrorDocument 404 /static/hello.txt
	ErrorDocument 500 /dump/failed
</Location>
<Location /plain>
	GSGIScriptName /plain
	ErrorDocument 404 /static/hello.txt
</Location>
<Location /accel>
	GSGIScriptName /accel
	GSGISendfile on
</Location>
<Location /noaccel>
	GSGIScriptName /noaccel
</Location>
<Location /gw>
	GSGIPass site:gw
	GSGIScriptName /gw
</Location>
`

// internals starts one server of a kind for all of a test's cases.
func internals(t *testing.T, kind string) *server {
	return launch(t, kind, setup{
		main:   global(kind, "map $request_uri $auth { ~auth=(?<code>\\d+) $code; }", ""),
		server: global(kind, nginxInternals, apacheInternals),
	})
}

func TestAsTargetOfErrorPages(t *testing.T) {
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		s := internals(t, kind)
		for _, x := range h1h2(s) {
			x.run(t, "error_page and ErrorDocument reach a handler with the first URI kept "+x.protocol, func(t *testing.T) {
				d := x.dumpOf(t, "GET", "/static/missing?a=b", "", 404)
				assert.Equal(t, "/notfound/page", d.URL.Path)
				assert.Equal(t, "GET", d.Method)
				assert.Equal(t, "/static/missing?a=b", d.RequestURI)
				assert.Equal(t, "/static/missing?a=b", d.Environ["REQUEST_URI"])
			})
			x.run(t, "a POST to a missing file becomes a GET of the error page "+x.protocol, func(t *testing.T) {
				a := x.ask(t, "POST", "/static/missing", "body")
				assert.Contains(t, []int{404, 405}, a.StatusCode)
			})
			x.run(t, "an answer of the application is replaced under intercept_errors "+x.protocol, func(t *testing.T) {
				a := x.page(t, "/intercepted/status?code=404&body=own+page&header=X-Own:1")
				assert.Equal(t, 404, a.StatusCode)
				assert.Equal(t, "static hello\n", a.body)
				assert.Empty(t, a.Header.Get("X-Own"))
				a = x.page(t, "/plain/status?code=404&body=own+page")
				assert.Equal(t, 404, a.StatusCode)
				assert.Equal(t, "own page", a.body)
				a = x.page(t, "/intercepted/status?code=399&body=below")
				assert.Equal(t, "below", a.body)
			})
			x.run(t, "a long answer that is replaced leaves nothing behind "+x.protocol, func(t *testing.T) {
				body := strings.Repeat("x", 6000)
				for range 10 {
					assert.Equal(t, "static hello\n", x.page(t, "/intercepted/status?code=404&body="+body).body)
				}
			})
			x.run(t, "a failure of the application is answered by another handler of it "+x.protocol, func(t *testing.T) {
				a := x.page(t, "/intercepted/panic?token="+token(t))
				d := parseDump(t, a.body)
				assert.Equal(t, "/dump/failed", d.URL.Path)
				assert.Contains(t, []int{200, 500}, a.StatusCode)
			})
			x.run(t, "HEAD of an error page has no body "+x.protocol, func(t *testing.T) {
				a := x.ask(t, "HEAD", "/static/missing", "")
				assert.Equal(t, 404, a.StatusCode)
				assert.Empty(t, a.body)
			})
		}
	})
}

func TestInternalRedirectsInNGINX(t *testing.T) {
	s := internals(t, nginx)
	for _, x := range h1h2(s) {
		x.run(t, "a named location as error page "+x.protocol, func(t *testing.T) {
			d := x.dumpOf(t, "GET", "/named/x?a=b", "", 200)
			assert.Equal(t, "/named/x", d.URL.Path)
			assert.Equal(t, "/named/x?a=b", d.RequestURI)
			assert.Equal(t, "named", d.Environ["FROM"])
		})
		x.run(t, "try_files with @app "+x.protocol, func(t *testing.T) {
			writeShared(t, "static/try.txt", "tried\n")
			assert.Equal(t, "tried\n", x.page(t, "/try/try").body)
		})
		x.run(t, "try_files falls to the application, with a body "+x.protocol, func(t *testing.T) {
			d := x.dumpOf(t, "POST", "/try/nothing?a=b", "posted", 200)
			assert.Equal(t, "POST", d.Method)
			assert.Equal(t, "/try/nothing", d.URL.Path)
			assert.Equal(t, "a=b", d.URL.RawQuery)
			assert.Equal(t, app.SumOf(strings.NewReader("posted")), d.Body)
		})
		x.run(t, "a rewrite gives the new path and keeps the target "+x.protocol, func(t *testing.T) {
			d := x.dumpOf(t, "POST", "/rewritten/a%20b?q=1", "posted", 200)
			assert.Equal(t, "/dump/a b", d.URL.Path)
			assert.Equal(t, "", d.URL.RawPath)
			assert.Equal(t, "added=1&q=1", d.URL.RawQuery)
			assert.Equal(t, "/rewritten/a%20b?q=1", d.RequestURI)
			assert.Equal(t, int64(6), d.Body.N)
			assert.Equal(t, "/dump/c", x.dumpOf(t, "GET", "/broken/c", "", 200).URL.Path)
		})
		x.run(t, "an alias does not change the path "+x.protocol, func(t *testing.T) {
			assert.Equal(t, "/aliased/y", x.dumpOf(t, "GET", "/aliased/y", "", 200).URL.Path)
		})
		x.run(t, "gsgi_pass within if "+x.protocol, func(t *testing.T) {
			assert.Equal(t, "/conditional/y", x.dumpOf(t, "GET", "/conditional/y?pass=1", "", 200).URL.Path)
			assert.Equal(t, 403, x.page(t, "/conditional/y").StatusCode)
		})
		x.run(t, "X-Accel-Redirect to a file, to the application, and not obeyed "+x.protocol, func(t *testing.T) {
			a := x.page(t, "/accel/accel?X-Accel-Redirect=/internal/hello.txt")
			assert.Equal(t, "static hello\n", a.body)
			assert.Empty(t, a.Header.Get("X-Accel-Redirect"))
			d := x.dumpOf(t, "GET", "/accel/accel?X-Accel-Redirect=/dump/again%3Fb=c", "", 200)
			assert.Equal(t, "/dump/again", d.URL.Path)
			assert.Equal(t, "b=c", d.URL.RawQuery)
			a = x.page(t, "/noaccel/accel?X-Accel-Redirect=/internal/hello.txt")
			assert.Equal(t, "from the application\n", a.body)
			assert.Equal(t, 404, x.page(t, "/internal/hello.txt").StatusCode)
		})
	}
}

func TestSubrequestsInNGINX(t *testing.T) {
	s := internals(t, nginx)
	for _, x := range h1h2(s) {
		x.run(t, "auth_request lets through or refuses, and its variables are kept "+x.protocol, func(t *testing.T) {
			d := x.dumpOf(t, "POST", "/guarded/dump?auth=204", "posted", 200)
			assert.Equal(t, "somebody", d.Environ["WHO"])
			assert.Equal(t, "/dump", d.URL.Path)
			assert.Equal(t, int64(6), d.Body.N)
			assert.NotContains(t, d.Environ, "AUTH")
			assert.Equal(t, 401, x.page(t, "/guarded/dump?auth=401").StatusCode)
			assert.Equal(t, 403, x.page(t, "/guarded/dump?auth=403").StatusCode)
			assert.Equal(t, "static hello\n", x.page(t, "/guardedfile/hello.txt?auth=200").body)
			assert.Equal(t, 403, x.page(t, "/guardedfile/hello.txt?auth=403").StatusCode)
		})
		x.run(t, "SSI includes come in their order, large and small "+x.protocol, func(t *testing.T) {
			if err := os.MkdirAll(filepath.Join(world.dir, "ssi"), 0o755); err != nil {
				t.Fatal(err)
			}
			writeShared(t, "ssi/page.shtml", `A<!--# include virtual="/sleep?ms=200" -->B`+
				`<!--# include virtual="/hello" -->C<!--# include virtual="/gen?n=300000" -->D`+
				`<!--# include virtual="/gw/hello" -->E<!--# include virtual="/slow?n=3&ms=20" -->F`)
			want, _ := readAll(app.NewPattern(300_000))
			a := x.page(t, "/ssi/page.shtml")
			assert.NoError(t, a.err)
			assert.Equal(t, "Aslept\nBhello\nC"+want+"Dhello\nE0\n1\n2\nF", a.body)
		})
		x.run(t, "SSI in what the application sends, including itself "+x.protocol, func(t *testing.T) {
			query := "code=200&body=" + strings.ReplaceAll(`(<!--%23+include+virtual="/hello"+-->)`, `"`, "%22")
			assert.Equal(t, "(hello\n)", x.page(t, "/appssi/status?"+query).body)
		})
		x.run(t, "an include that fails leaves the page "+x.protocol, func(t *testing.T) {
			os.MkdirAll(filepath.Join(world.dir, "ssi"), 0o755)
			writeShared(t, "ssi/fails.shtml", `A<!--# include virtual="/panic?token=ssi" -->B<!--# include virtual="/hello" -->C`)
			a := x.page(t, "/ssi/fails.shtml")
			assert.Equal(t, 200, a.StatusCode)
			assert.Regexp(t, `(?s)^A.*Bhello\nC$`, a.body)
		})
		x.run(t, "texts added before and behind "+x.protocol, func(t *testing.T) {
			assert.Equal(t, "hello\nhello\nhello\n", x.page(t, "/added/hello").body)
		})
		x.run(t, "a mirrored request reaches the handler with its body, and the answer is the first one's "+x.protocol, func(t *testing.T) {
			g := newGate(t)
			answered := x.later(t, newPost(t, x.url("/mirrored/sum?"+g.query("mirrored")), "posted"))
			v := g.next()
			v.release()
			assert.Equal(t, "POST mirrored", v.token)
			a := <-answered
			assert.Equal(t, app.SumOf(strings.NewReader("posted")), sumIn(t, a))
		})
	}
	t.Run("variables are logged for the request that they belong to", func(t *testing.T) {
		x := &target{s, h1}
		access := &logFile{s.dir + "/access.log"}
		for _, c := range []struct{ path, want string }{
			{"/hello?log=1", `200\|GET /hello\?log=1 HTTP/1\.1\|site:8080\|200\|[\d.]+\|[\d.]+\|6\|/hello`},
			{"/accel/accel?X-Accel-Redirect=/internal/hello.txt&log=2", `200\|GET /accel/accel\?[^|]*log=2 HTTP/1\.1\|site:8080\|200\|`},
			{"/static/hello.txt?log=3", `200\|GET /static/hello\.txt\?log=3 HTTP/1\.1\|-\|-\|-\|-\|-\|/static/hello\.txt`},
		} {
			x.page(t, c.path)
			access.want(t, 0, c.want)
		}
	})
}

func readAll(r *app.Pattern) (string, error) {
	b := new(strings.Builder)
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String(), nil
		}
	}
}

func newPost(t *testing.T, url, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequest("POST", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestInternalRedirectsInApache(t *testing.T) {
	s := internals(t, event)
	for _, x := range h1h2(s) {
		x.run(t, "a rewrite gives the new path and keeps the target "+x.protocol, func(t *testing.T) {
			d := x.dumpOf(t, "POST", "/rewritten/ab", "posted", 200)
			assert.Equal(t, "/dump/ab", d.URL.Path)
			assert.Equal(t, "added=1", d.URL.RawQuery)
			assert.Equal(t, "/rewritten/ab", d.RequestURI)
			assert.Equal(t, int64(6), d.Body.N)
		})
		x.run(t, "a rewrite of what is no file "+x.protocol, func(t *testing.T) {
			assert.Equal(t, "static hello\n", x.page(t, "/try/hello.txt").body)
			d := x.dumpOf(t, "GET", "/try/nothing", "", 200)
			assert.Equal(t, "/try/nothing", d.RequestURI)
			assert.Equal(t, "/dump/nothing", d.URL.Path)
		})
		x.run(t, "X-Sendfile to a file, and not obeyed "+x.protocol, func(t *testing.T) {
			a := x.page(t, "/accel/accel?X-Sendfile="+world.dir+"/static/hello.txt")
			assert.Equal(t, "static hello\n", a.body)
			assert.Empty(t, a.Header.Get("X-Sendfile"))
			a = x.page(t, "/noaccel/accel?X-Sendfile="+world.dir+"/static/hello.txt")
			assert.Equal(t, "from the application\n", a.body)
		})
		x.run(t, "SSI includes come in their order, large and small "+x.protocol, func(t *testing.T) {
			os.MkdirAll(filepath.Join(world.dir, "ssi"), 0o755)
			writeShared(t, "ssi/page.shtml", `A<!--#include virtual="/sleep?ms=200" -->B`+
				`<!--#include virtual="/hello" -->C<!--#include virtual="/gen?n=300000" -->D`+
				`<!--#include virtual="/gw/hello" -->E<!--#include virtual="/slow?n=3&ms=20" -->F`)
			want, _ := readAll(app.NewPattern(300_000))
			a := x.page(t, "/ssi/page.shtml")
			assert.NoError(t, a.err)
			assert.Equal(t, "Aslept\nBhello\nC"+want+"Dhello\nE0\n1\n2\nF", a.body)
		})
	}
	t.Run("notes are logged for the request that they belong to", func(t *testing.T) {
		x := &target{s, h1}
		access := &logFile{s.dir + "/access.log"}
		for _, c := range []struct{ path, want string }{
			{"/hello?log=1", `200\|GET /hello\?log=1 HTTP/1\.1\|site:8080\|200\|[\d.]+\|[\d.]+\|6\|/hello`},
			{"/static/hello.txt?log=3", `200\|GET /static/hello\.txt\?log=3 HTTP/1\.1\|-\|-\|-\|-\|-\|/static/hello\.txt`},
		} {
			x.page(t, c.path)
			access.want(t, 0, c.want)
		}
	})
}
