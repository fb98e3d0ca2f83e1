package e2e

import (
	"encoding/json"
	"testing"

	"github.com/gsgi/gsgi/examples/e2e/app"
	"github.com/stretchr/testify/assert"
)

var merging = map[string]setup{
	nginx: {
		main: `gsgi_param LEVEL http; gsgi_param OUTER http; gsgi_timeout 300ms;
	map $arg_value $value { default $arg_value; }`,
		server: `
		location / { gsgi_pass site:8080; }
		location /own/ { gsgi_pass site:8080; gsgi_param LEVEL location; gsgi_timeout 5s; }
		location /admin/ { gsgi_pass site:admin; }
		location /params/ {
			gsgi_pass site:8080;
			gsgi_param LITERAL "two words";
			gsgi_param EMPTY "";
			gsgi_param DROPPED $arg_nothing if_not_empty;
			gsgi_param KEPT $arg_value if_not_empty;
			gsgi_param MIXED "<$request_method $value $arg_nothing>";
			gsgi_param TWICE one;
			gsgi_param TWICE two;
			gsgi_param QUERY_STRING replaced=1;
			gsgi_param HTTP_X_A replaced;
			gsgi_param SERVER_NAME other.example;
		}
		location /secure/ { gsgi_pass site:8080; gsgi_param HTTPS on; }
		location /insecure/ { gsgi_pass site:8080; gsgi_param HTTPS ""; }
		location /mounted { gsgi_pass site:8080; gsgi_script_name /mounted; }
		location /nested/ {
			gsgi_param LEVEL outer;
			gsgi_pass site:8080;
			location /nested/in/ { gsgi_pass site:8080; }
			location /nested/files/ { alias @SHARE@/static/; }
		}`,
		more: `server {
		listen 127.0.0.1:@EXTRA@;
		gsgi_param LEVEL server;
		location / { gsgi_pass site:8080; }
		location /own/ { gsgi_pass site:admin; gsgi_param LEVEL location; }
	}`,
	},
	event: {
		main: "GSGIParam LEVEL http\nGSGIParam OUTER http\nGSGITimeout 300ms",
		server: `
<LocationMatch "^/(?!static/|gsgi-status|alias/|mounted(/|$))">
	GSGIPass site:8080
</LocationMatch>
<Location /own>
	GSGIParam LEVEL location
	GSGITimeout 5s
</Location>
<Location /admin>
	GSGIPass site:admin
</Location>
SetEnv FROM_SETENV yes
SetEnvIf X-A (.+) FROM_SETENVIF=$1
RewriteEngine On
RewriteRule ^/params/ - [E=FROM_REWRITE:rewritten]
<Location /params>
	GSGIParam LITERAL "two words"
	GSGIParam EMPTY ""
	GSGIParam DROPPED "%{reqenv:NOTHING}" if_not_empty
	GSGIParam KEPT "%{QUERY_STRING}" if_not_empty
	GSGIParam MIXED "<%{REQUEST_METHOD} %{QUERY_STRING} %{reqenv:NOTHING}>"
	GSGIParam TWICE one
	GSGIParam TWICE two
	GSGIParam QUERY_STRING replaced=1
	GSGIParam HTTP_X_A replaced
	GSGIParam SERVER_NAME other.example
</Location>
<Location /secure>
	GSGIParam HTTPS on
</Location>
<Location /insecure>
	GSGIParam HTTPS ""
</Location>
GSGIAlias /mounted site:8080
GSGIAlias /alias site:admin`,
		more: `Listen 127.0.0.1:@EXTRA@
<VirtualHost *:@EXTRA@>
	GSGIParam LEVEL server
	<Location /own>
		GSGIPass site:admin
		GSGIParam LEVEL location
	</Location>
</VirtualHost>`,
	},
}

func TestMergeOfDirectives(t *testing.T) {
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		s := launch(t, kind, merging[kind])
		x := &target{s, h1}
		env := func(t *testing.T, path string) map[string]string {
			t.Helper()
			w := x.dial(t)
			return wireDump(t, w, query{target: path, header: []string{"X-A: sent"}}).Environ
		}
		extra := func(t *testing.T, path string) *app.Dump {
			t.Helper()
			return wireDump(t, dialWire(t, s.extra), query{target: path})
		}
		x.run(t, "gsgi_param of the outer level counts where the inner has none", func(t *testing.T) {
			assert.Equal(t, "http", env(t, "/dump")["LEVEL"])
			assert.Equal(t, "http", env(t, "/dump")["OUTER"])
			assert.Equal(t, "location", env(t, "/own/x")["LEVEL"])
			_, outer := env(t, "/own/x")["OUTER"]
			// NGINX replaces the outer list whole, Apache merges by key.
			assert.Equal(t, kind != nginx, outer, "OUTER")
		})
		x.run(t, "two server blocks, two entries of one application", func(t *testing.T) {
			assert.Equal(t, "server", extra(t, "/dump").Environ["LEVEL"])
			assert.Equal(t, "location", extra(t, "/own/x").Environ["LEVEL"])
			for _, c := range []struct{ addr, path, entry string }{
				{s.plain, "/dump", ""}, {s.plain, "/admin/", "admin"}, {s.extra, "/dump", ""}, {s.extra, "/own/x", "admin"},
			} {
				w := dialWire(t, c.addr)
				w.send("GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", c.path)
				assert.Equal(t, c.entry, w.answer("GET").Header.Get("X-Entry"), c.addr+c.path)
				w.Close()
			}
		})
		x.run(t, "values have variables, and if_not_empty leaves empty ones out", func(t *testing.T) {
			e := env(t, "/params/x?value=v")
			value := global(kind, "v", "value=v")
			assert.Equal(t, "two words", e["LITERAL"])
			empty, ok := e["EMPTY"]
			assert.True(t, ok && empty == "", "EMPTY")
			assert.NotContains(t, e, "DROPPED")
			assert.Equal(t, value, e["KEPT"])
			assert.NotContains(t, env(t, "/params/x"), "KEPT")
			assert.Equal(t, "<GET "+value+" >", e["MIXED"])
			assert.Equal(t, "two", e["TWICE"])
		})
		x.run(t, "a parameter replaces a key of the environ", func(t *testing.T) {
			e := env(t, "/params/x?value=v")
			assert.Equal(t, "replaced=1", e["QUERY_STRING"])
			assert.Equal(t, "replaced", e["HTTP_X_A"])
			assert.Equal(t, "other.example", e["SERVER_NAME"])
			assert.Equal(t, "sent", env(t, "/dump")["HTTP_X_A"])
		})
		x.run(t, "HTTPS on sets the scheme", func(t *testing.T) {
			assert.Equal(t, "https", env(t, "/secure/x")["gsgi.url_scheme"])
			assert.Equal(t, "http", env(t, "/insecure/x")["gsgi.url_scheme"])
			assert.Equal(t, "http", env(t, "/dump")["gsgi.url_scheme"])
		})
		x.run(t, "gsgi_timeout of the outer level is inherited and replaced", func(t *testing.T) {
			assert.Equal(t, 504, x.page(t, "/sleep?ms=900").StatusCode)
			d := wireDump(t, x.dial(t), query{target: "/own/dump"})
			assert.Equal(t, "/own/dump", d.URL.Path)
		})
		x.run(t, "the mount point ends at a segment", func(t *testing.T) {
			e := env(t, "/mounted/dump")
			assert.Equal(t, "/mounted", e["SCRIPT_NAME"])
			assert.Equal(t, "/dump", e["PATH_INFO"])
			e = env(t, "/mounted")
			assert.Equal(t, "/mounted", e["SCRIPT_NAME"])
			assert.Equal(t, "", e["PATH_INFO"])
			e = env(t, "/mountedx/dump")
			assert.Equal(t, "", e["SCRIPT_NAME"])
			assert.Equal(t, "/mountedx/dump", e["PATH_INFO"])
		})
		if kind == nginx {
			x.run(t, "gsgi_pass is not inherited, parameters are", func(t *testing.T) {
				assert.Equal(t, "outer", env(t, "/nested/in/x")["LEVEL"])
				assert.Equal(t, "static hello\n", x.page(t, "/nested/files/hello.txt").body)
			})
		} else {
			x.run(t, "SetEnv, SetEnvIf and RewriteRule are in the environ", func(t *testing.T) {
				e := env(t, "/params/x")
				assert.Equal(t, "yes", e["FROM_SETENV"])
				assert.Equal(t, "sent", e["FROM_SETENVIF"])
				assert.Equal(t, "rewritten", e["FROM_REWRITE"])
			})
			x.run(t, "GSGIAlias names an entry", func(t *testing.T) {
				assert.Equal(t, "admin", x.page(t, "/alias/x").Header.Get("X-Entry"))
			})
		}
	})
}

func TestWhatTheApplicationIsStartedWith(t *testing.T) {
	everyServer(t, []string{nginx, event, worker, prefork}, func(t *testing.T, kind string) {
		s := launch(t, kind, setup{
			env:   []string{"E2E_LEAKED=yes", "E2E_PASSED=through"},
			noApp: true,
			main: global(kind,
				`gsgi_app site @LIB@ -entries=8080 "an argument"; gsgi_env E2E_EARLY=soon; gsgi_env "SPACED=a b"; gsgi_env E2E_PASSED; gsgi_directory @SHARE@/static;`,
				"GSGIApp site @LIB@ -entries=8080 \"an argument\"\nGSGIEnv E2E_EARLY=soon\nGSGIEnv \"SPACED=a b\"\nGSGIEnv E2E_PASSED\nGSGIDirectory @SHARE@/static"),
			server: standardUnnamed(kind),
		})
		x := &target{s, h1}
		x.run(t, "arguments, environment, directory, user and place among the workers", func(t *testing.T) {
			var w app.Worker
			assert.NoError(t, json.Unmarshal([]byte(x.page(t, "/worker").body), &w))
			assert.Equal(t, []string{world.library, "-entries=8080", "an argument"}, w.Args)
			assert.Contains(t, w.Environ, "E2E_EARLY=soon")
			assert.Contains(t, w.Environ, "SPACED=a b")
			assert.Contains(t, w.Environ, "E2E_PASSED=through")
			for _, entry := range w.Environ {
				assert.NotContains(t, entry, "E2E_LEAKED")
			}
			assert.Equal(t, "soon", w.Early)
			assert.Equal(t, world.dir+"/static", w.Directory)
			assert.Equal(t, 33, w.UID)
			assert.Equal(t, 33, w.GID)
			assert.Equal(t, s.workers()[0], w.PID)
			assert.Equal(t, 0, w.Index)
			assert.Equal(t, 1, w.Count)
		})
		x.run(t, "an unnamed pass of an application with one entry", func(t *testing.T) {
			assert.Equal(t, "hello\n", x.page(t, "/hello").body)
		})
	})
}

// standardUnnamed passes everything to the only entry.
func standardUnnamed(kind string) string {
	if kind == nginx {
		return "location / { gsgi_pass site; }\n"
	}
	return "<LocationMatch \"^/(?!gsgi-status)\">\nGSGIPass site\n</LocationMatch>\n"
}

func TestStatusPage(t *testing.T) {
	each(t, []way{{nginx, h1}, {event, h1}, {worker, h1}, {prefork, h1}}, func(t *testing.T, x *target) {
		x.run(t, "has text and JSON, and its counts go up", func(t *testing.T) {
			code, text, err := x.get("/gsgi-status")
			assert.NoError(t, err)
			assert.Equal(t, 200, code)
			assert.Contains(t, text, "requests")
			before := x.figure(t, "requests")
			for range 5 {
				x.page(t, "/hello")
			}
			assert.Equal(t, before+5, x.figure(t, "requests"))
		})
	})
}

func TestAuthorization(t *testing.T) {
	const basic = "Authorization: Basic dXNlcjpwYXNz" // user:pass
	writeShared(t, "users", "user:{SHA}nU4eI71bcnBGqeO0t9tXvY1u5oQ=\n")
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		s := launch(t, kind, setup{server: standardRoot(kind) + global(kind,
			"location /private/ { auth_basic private; auth_basic_user_file @SHARE@/users; gsgi_pass site:8080; }",
			"<Location /private>\nAuthType Basic\nAuthName private\nAuthBasicProvider file\nAuthUserFile @SHARE@/users\nRequire valid-user\n</Location>")})
		x := &target{s, h1}
		x.run(t, "it is passed unless the server has authenticated the request", func(t *testing.T) {
			d := wireDump(t, x.dial(t), query{header: []string{basic}})
			assert.Equal(t, []string{"user", "pass"}, d.BasicAuth)
			assert.NotContains(t, d.Environ, "REMOTE_USER")
			d = wireDump(t, x.dial(t), query{target: "/private/x", header: []string{basic}})
			assert.Empty(t, d.BasicAuth)
			assert.NotContains(t, d.Environ, "HTTP_AUTHORIZATION")
			assert.NotContains(t, d.Header, "Authorization")
			assert.Equal(t, "user", d.Environ["REMOTE_USER"])
			assert.Equal(t, "Basic", d.Environ["AUTH_TYPE"])
			assert.Equal(t, 401, x.page(t, "/private/x").StatusCode)
		})
	})
}
