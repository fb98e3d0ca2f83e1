package goapp

import (
	"bufio"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// environOfRaw sends raw bytes to a server of net/http and returns the
// environ that an application gets.
func environOfRaw(t *testing.T, raw string, wrap func(http.Handler) http.Handler) map[string]string {
	t.Helper()
	got := make(chan map[string]string, 1)
	h := Handler(func(env *Environ, start StartResponse) Body {
		got <- maps.Collect(env.All())
		start(http.StatusNoContent, nil)
		return nil
	})
	if wrap != nil {
		h = wrap(h)
	}
	srv := httptest.NewServer(h)
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, raw)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	resp.Body.Close()
	select {
	case env := <-got:
		_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
		assert.Equal(t, port, env["SERVER_PORT"])
		return env
	default:
		t.Fatalf("the application was not called: %s", resp.Status)
		return nil
	}
}

func TestEnvironOfRequest(t *testing.T) {
	const base = "GET /a/b HTTP/1.1\r\nHost: example.org:81\r\n"
	const absent = "\x00"
	tests := map[string]struct {
		raw  string
		want map[string]string
	}{
		"plain": {base + "\r\n", map[string]string{
			"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/a/b", "QUERY_STRING": "",
			"REQUEST_URI": "/a/b", "SERVER_NAME": "example.org", "SERVER_PROTOCOL": "HTTP/1.1",
			"HTTP_HOST": "example.org:81", "REMOTE_ADDR": "127.0.0.1", "SERVER_ADDR": "127.0.0.1",
			"GATEWAY_INTERFACE": "CGI/1.1", "SERVER_SOFTWARE": "gsgi", "gsgi.url_scheme": "http",
			"gsgi.version": "1.0", "gsgi.multithread": "1", "gsgi.multiprocess": "0", "gsgi.run_once": "0",
			"gsgi.input_terminated": "1",
			"HTTPS":                 absent, "CONTENT_TYPE": absent, "CONTENT_LENGTH": absent, "REMOTE_USER": absent,
			"HTTP_TRANSFER_ENCODING": absent, "SSL_PROTOCOL": absent, "HTTP_CONTENT_LENGTH": absent,
		}},
		"encoded path and query": {"GET /a%2fb/%c3%a9+/%ff?x=%20&x&= HTTP/1.1\r\nHost: h\r\n\r\n", map[string]string{
			"PATH_INFO": "/a/b/é+/\xff", "QUERY_STRING": "x=%20&x&=", "REQUEST_URI": "/a%2fb/%c3%a9+/%ff?x=%20&x&=",
			"SCRIPT_NAME": "",
		}},
		"empty query": {"GET /? HTTP/1.1\r\nHost: h\r\n\r\n", map[string]string{
			"PATH_INFO": "/", "QUERY_STRING": "", "REQUEST_URI": "/?",
		}},
		"absolute form": {"GET http://other/x/y?z HTTP/1.1\r\nHost: h\r\n\r\n", map[string]string{
			"PATH_INFO": "/x/y", "SCRIPT_NAME": "", "REQUEST_URI": "http://other/x/y?z", "HTTP_HOST": "other",
		}},
		"body": {"POST / HTTP/1.1\r\nHost: h\r\nContent-Type: a/b\r\nContent-Length: 3\r\n\r\nabc", map[string]string{
			"CONTENT_TYPE": "a/b", "CONTENT_LENGTH": "3", "HTTP_CONTENT_TYPE": absent, "HTTP_CONTENT_LENGTH": absent,
		}},
		"empty body": {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", map[string]string{
			"CONTENT_LENGTH": "0",
		}},
		"chunked body": {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", map[string]string{
			"CONTENT_LENGTH": absent, "HTTP_TRANSFER_ENCODING": "chunked",
		}},
		"headers": {base + "X-A: 1\r\nx-a: 2\r\nCookie: a=1\r\nCookie: b=2\r\nX-Empty:\r\n" +
			"Proxy: evil\r\nX_A: evil\r\nAuthorization: Basic eDp5\r\n\r\n", map[string]string{
			"HTTP_X_A": "1, 2", "HTTP_COOKIE": "a=1; b=2", "HTTP_X_EMPTY": "", "HTTP_PROXY": absent,
			"HTTP_AUTHORIZATION": "Basic eDp5",
		}},
		"no host": {"GET / HTTP/1.0\r\n\r\n", map[string]string{
			"SERVER_NAME": "127.0.0.1", "SERVER_PROTOCOL": "HTTP/1.0", "HTTP_HOST": absent,
		}},
		"ipv6 host": {"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", map[string]string{"SERVER_NAME": "[::1]"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			env := environOfRaw(t, tt.raw, nil)
			for key, want := range tt.want {
				got, ok := env[key]
				if want == absent {
					assert.False(t, ok, "%s is %q", key, got)
				} else {
					assert.True(t, ok, "%s is absent", key)
					assert.Equal(t, want, got, key)
				}
			}
		})
	}
}

func TestEnvironBehindMiddleware(t *testing.T) {
	const raw = "GET /book/a%2fb?q HTTP/1.1\r\nHost: h\r\nX-Old: 1\r\n\r\n"
	strip := func(prefix string) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler { return http.StripPrefix(prefix, h) }
	}
	tests := map[string]struct {
		wrap func(http.Handler) http.Handler
		want map[string]string
	}{
		"strip": {strip("/book"), map[string]string{
			"SCRIPT_NAME": "/book", "PATH_INFO": "/a/b", "REQUEST_URI": "/book/a%2fb?q"}},
		"strip with the slash": {strip("/book/"), map[string]string{"SCRIPT_NAME": "/book", "PATH_INFO": "/a/b"}},
		"rewrite": {func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Method, r.URL.Path, r.URL.RawQuery, r.RemoteAddr = "PUT", "/new", "z", "192.0.2.1"
				r.Header.Set("X-New", "2")
				r.Header.Del("X-Old")
				h.ServeHTTP(w, r)
			})
		}, map[string]string{
			"REQUEST_METHOD": "PUT", "SCRIPT_NAME": "", "PATH_INFO": "/new", "QUERY_STRING": "z",
			"REMOTE_ADDR": "192.0.2.1", "HTTP_X_NEW": "2"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			env := environOfRaw(t, raw, tt.wrap)
			for key, want := range tt.want {
				assert.Equal(t, want, env[key], key)
			}
			if name == "rewrite" {
				assert.NotContains(t, env, "HTTP_X_OLD")
				assert.NotContains(t, env, "REMOTE_PORT")
			}
		})
	}
}

func TestEnvironOfTLS(t *testing.T) {
	got := make(chan map[string]string, 1)
	srv := httptest.NewTLSServer(Handler(func(env *Environ, start StartResponse) Body {
		got <- maps.Collect(env.All())
		start(http.StatusNoContent, nil)
		return nil
	}))
	defer srv.Close()
	resp, err := srv.Client().Get(srv.URL)
	require.NoError(t, err)
	resp.Body.Close()
	env := <-got
	assert.Equal(t, "https", env["gsgi.url_scheme"])
	assert.Equal(t, "on", env["HTTPS"])
	assert.Equal(t, "TLSv1.3", env["SSL_PROTOCOL"])
	assert.Regexp(t, "^TLS_", env["SSL_CIPHER"])
}

func TestEnvironOfIsNeverNil(t *testing.T) {
	env := EnvironOf(&http.Request{})
	require.NotNil(t, env)
	assert.Equal(t, "GET", env.Get("REQUEST_METHOD"))
	assert.Equal(t, "localhost", env.Get("SERVER_NAME"))
	assert.Equal(t, "80", env.Get("SERVER_PORT"))
	assert.NotNil(t, env.Context())
	b, err := io.ReadAll(env.Input())
	assert.NoError(t, err)
	assert.Empty(t, b)
}

func TestEnvironChildrenDoNotChangeTheirParents(t *testing.T) {
	env := EnvironOf(httptest.NewRequest("GET", "/a", nil))
	a := env.With("app.user", "ann")
	b := a.With("app.user", "bob")
	c := a.With("HTTP_HOST", "other")
	d := b.Without("app.user", "REQUEST_METHOD")

	_, ok := env.Lookup("app.user")
	assert.False(t, ok)
	assert.Equal(t, "ann", a.Get("app.user"))
	assert.Equal(t, "bob", b.Get("app.user"))
	assert.Equal(t, "example.com", a.Get("HTTP_HOST"))
	assert.Equal(t, "other", c.Get("HTTP_HOST"))
	_, ok = d.Lookup("app.user")
	assert.False(t, ok)

	all := maps.Collect(d.All())
	assert.NotContains(t, all, "app.user")
	assert.NotContains(t, all, "REQUEST_METHOD")
	assert.Equal(t, "bob", maps.Collect(b.All())["app.user"])
}

func TestEnvironAllAgreesWithLookup(t *testing.T) {
	r := httptest.NewRequest("POST", "/x?y", strings.NewReader("abc"))
	r.Header.Set("Content-Type", "text/plain")
	env := EnvironOf(r).With("A", "1").With("A", "2").With("HTTP_HOST", "h")
	seen := map[string]bool{}
	for key, value := range env.All() {
		assert.False(t, seen[key], "%s comes twice", key)
		seen[key] = true
		got, ok := env.Lookup(key)
		assert.True(t, ok, key)
		assert.Equal(t, got, value, key)
	}
	for _, key := range []string{"A", "HTTP_HOST", "CONTENT_LENGTH", "gsgi.version"} {
		assert.True(t, seen[key], key)
	}
	for range env.All() {
		break // an iterator may be left
	}
}

func TestEnvironMount(t *testing.T) {
	tests := []struct {
		path, prefix string
		ok           bool
		script, info string
	}{
		{"/blog/1", "/blog", true, "/blog", "/1"},
		{"/blog/1", "/blog/", true, "/blog", "/1"},
		{"/blog", "/blog", true, "/blog", ""},
		{"/blog/", "/blog", true, "/blog", "/"},
		{"/blogs", "/blog", false, "", "/blogs"},
		{"/x", "/blog", false, "", "/x"},
		{"/x", "", true, "", "/x"},
		{"/x", "/", true, "", "/x"},
		{"/a//b", "/a", true, "/a", "//b"},
	}
	for _, tt := range tests {
		t.Run(tt.path+" at "+tt.prefix, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.URL.Path, r.RequestURI = tt.path, tt.path
			env, ok := EnvironOf(r).Mount(tt.prefix)
			assert.Equal(t, tt.ok, ok)
			assert.Equal(t, tt.script, env.Get("SCRIPT_NAME"))
			assert.Equal(t, tt.info, env.Get("PATH_INFO"))
		})
	}
	env, _ := EnvironOf(httptest.NewRequest("GET", "/a/b/c", nil)).Mount("/a")
	env, _ = env.Mount("/b")
	assert.Equal(t, "/a/b", env.Get("SCRIPT_NAME"))
	assert.Equal(t, "/c", env.Get("PATH_INFO"))
}

func TestEnvironWithInput(t *testing.T) {
	env := EnvironOf(httptest.NewRequest("POST", "/", strings.NewReader("first")))
	known := env.WithInput(strings.NewReader("second!"))
	unknown := env.WithInput(io.MultiReader())
	assert.Equal(t, "5", env.Get("CONTENT_LENGTH"))
	assert.Equal(t, "7", known.Get("CONTENT_LENGTH"))
	_, ok := unknown.Lookup("CONTENT_LENGTH")
	assert.False(t, ok)
	b, err := io.ReadAll(known.Input())
	require.NoError(t, err)
	assert.Equal(t, "second!", string(b))
}

func TestEnvironContext(t *testing.T) {
	type key struct{}
	r := httptest.NewRequest("GET", "/", nil)
	ctx, cancel := context.WithCancel(context.Background())
	env := EnvironOf(r.WithContext(ctx))
	child := env.WithContext(context.WithValue(env.Context(), key{}, 1))
	assert.Equal(t, 1, child.Context().Value(key{}))
	assert.Nil(t, env.Context().Value(key{}))
	assert.NoError(t, child.Context().Err())
	cancel()
	assert.ErrorIs(t, child.Context().Err(), context.Canceled)
	var none context.Context
	assert.Panics(t, func() { env.WithContext(none) })
}

func FuzzSplitPath(f *testing.F) {
	f.Add("/book/a%2fb", "/book", "/a/b")
	f.Add("/", "", "/")
	f.Add("//x", "/", "x")
	f.Add("http://h/x", "/y", "")
	f.Fuzz(func(t *testing.T, target, prefix, path string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.RequestURI, r.URL.Path = target, path
		env := EnvironOf(r)
		script, info := env.Get("SCRIPT_NAME"), env.Get("PATH_INFO")
		if script != "" && info != path && info != "/"+path {
			t.Fatalf("path %q became %q and %q", path, script, info)
		}
		child, ok := env.Mount(prefix)
		if child.Get("SCRIPT_NAME")+child.Get("PATH_INFO") != script+info {
			t.Fatalf("mounted at %q (%v): %q and %q", prefix, ok, child.Get("SCRIPT_NAME"), child.Get("PATH_INFO"))
		}
		if rest := child.Get("PATH_INFO"); ok && prefix != "" && prefix != "/" && rest != "" && rest[0] != '/' {
			t.Fatalf("mounted at %q inside of a segment: %q", prefix, rest)
		}
	})
}
