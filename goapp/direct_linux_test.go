package goapp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gsgi/gsgi/cshim/bridge"
	"github.com/gsgi/gsgi/module"
	"github.com/gsgi/gsgi/module/fakehost"
)

// inServer serves h as a worker of a server would.
func inServer(t *testing.T, h http.Handler) *fakehost.Host {
	t.Helper()
	host, err := fakehost.New(fakehost.Config{})
	require.NoError(t, err)
	g, err := module.New(module.Config{Entries: []string{""}, Software: "fake/1.0", Name: "site"}, host.Base())
	require.NoError(t, err)
	require.NoError(t, g.Attach("8080", attachable(h, nil)))
	require.NoError(t, host.AwaitState(bridge.AppReady))
	t.Cleanup(func() {
		assert.Eventually(t, func() bool { return host.SlotsUsed() == 0 && host.ChunksUsed() == 0 },
			5*time.Second, time.Millisecond, "slots and chunks are all given back")
	})
	return host
}

func do(t *testing.T, host *fakehost.Host, req *fakehost.Request) *fakehost.Response {
	t.Helper()
	if req.Method == "" {
		req.Method = "GET"
	}
	if req.Target == "" {
		req.Target = "/"
	}
	resp, err := host.Do(req)
	require.NoError(t, err)
	return resp
}

func logs(host *fakehost.Host) string {
	var b strings.Builder
	for _, line := range host.Logs() {
		fmt.Fprintf(&b, "%d %s\n", line.Level, line.Text)
	}
	return b.String()
}

// TestDirectPathAgreesWithNetHTTP compares the environ on the direct path
// with that of the same request after it was an http.Request, and after that
// one was an environ again.
func TestDirectPathAgreesWithNetHTTP(t *testing.T) {
	var got map[string]string
	app := Application(func(env *Environ, start StartResponse) Body {
		got = maps.Collect(env.All())
		for key, value := range got {
			assert.Equal(t, value, env.Get(key), key)
		}
		start(204, nil)
		return nil
	})
	deeper := http.NewServeMux()
	deeper.Handle("/", Handler(app))
	stripped := http.StripPrefix("", http.HandlerFunc(deeper.ServeHTTP))
	wrapped := FromHandler(stripped)
	paths := map[string]*fakehost.Host{
		"direct":    inServer(t, Handler(app)),
		"deeper":    inServer(t, stripped),
		"and back":  inServer(t, Handler(wrapped)),
		"with keys": inServer(t, Handler(func(env *Environ, s StartResponse) Body { return wrapped(env.With("A", "1").Without("A"), s) })),
	}
	requests := map[string]*fakehost.Request{
		"plain":   {Target: "/a%2fb?x=1&y", Path: "/a/b", Header: [][2]string{{"Host", "example.org:81"}}},
		"mounted": {Target: "/book/a", Mount: "/book"},
		"rewritten": {Target: "/old?x", Path: "/book/new/x", Mount: "/book", Header: [][2]string{
			{"Accept", "a"}, {"Accept", "b"}, {"Cookie", "a=1"}, {"Cookie", "b=2"}, {"X_Evil", "1"}, {"Proxy", "evil"}}},
		"post": {Method: "POST", Body: []byte("abc"), Length: 3, Header: [][2]string{
			{"Content-Type", "a/b"}, {"Content-Length", "3"}}},
		"chunked": {Method: "POST", Body: []byte("abc"), Length: -1, Header: [][2]string{{"Transfer-Encoding", "chunked"}}},
		"params": {Header: [][2]string{{"X-A", "client"}, {"X-B", "client"}}, Params: [][2]string{
			{"HTTP_X_A", "server"}, {"HTTP_X_C", "server"}, {"REMOTE_ADDR", "198.51.100.1"}, {"QUERY_STRING", "p"},
			{"HTTPS", "on"}, {"APP_MODE", "one"}, {"APP_MODE", "two"}, {"DOCUMENT_ROOT", "/srv"}}},
		"facts": {Meta: map[uint8]string{10: "203.0.113.1", 13: "ann", 14: "Basic", 15: "/srv", 16: "id-7"}},
	}
	for name, req := range requests {
		t.Run(name, func(t *testing.T) {
			one := *req
			require.Equal(t, 204, do(t, paths["direct"], &one).Status)
			want := got
			for path, host := range paths {
				one := *req
				require.Equal(t, 204, do(t, host, &one).Status, logs(host))
				assert.Equal(t, want, got, path)
			}
			if name == "params" {
				assert.Equal(t, "two", want["APP_MODE"])
				assert.Equal(t, "server", want["HTTP_X_A"])
				assert.Equal(t, "https", want["gsgi.url_scheme"])
				assert.Equal(t, "198.51.100.1", want["REMOTE_ADDR"])
			}
			assert.Equal(t, "fake/1.0", want["SERVER_SOFTWARE"])
			assert.Equal(t, "1", want["gsgi.multithread"])
			assert.NotContains(t, want, "HTTP_PROXY")
			assert.NotContains(t, want, "HTTP_X_EVIL")
		})
	}
}

func TestMiddlewareWinsOverParams(t *testing.T) {
	var got map[string]string
	app := Handler(func(env *Environ, start StartResponse) Body {
		got = maps.Collect(env.All())
		start(204, nil)
		return nil
	})
	host := inServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = "203.0.113.9:7"
		r.Header.Set("X-A", "middleware")
		r.Header.Del("X-B")
		app.ServeHTTP(w, r)
	}))
	do(t, host, &fakehost.Request{
		Header: [][2]string{{"X-A", "client"}, {"X-B", "client"}},
		Params: [][2]string{{"HTTP_X_A", "server"}, {"HTTP_X_B", "server"}, {"REMOTE_ADDR", "198.51.100.1"}, {"K", "v"}},
	})
	assert.Equal(t, "middleware", got["HTTP_X_A"])
	assert.Equal(t, "203.0.113.9", got["REMOTE_ADDR"])
	assert.Equal(t, "v", got["K"])
	assert.NotContains(t, got, "HTTP_X_B")
}

func TestDirectPathResponses(t *testing.T) {
	plain := Header{{"Content-Type", "text/plain"}, {"set-cookie", "a=1"}, {"Set-Cookie", "b=2"}}
	big := strings.Repeat("0123456789abcdef", 8<<10)
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, []byte(big), 0o600))
	file := func(_ *Environ, start StartResponse) Body {
		f, err := os.Open(path)
		if err != nil {
			panic(err)
		}
		start(200, nil)
		return File(f)
	}
	echo := func(env *Environ, start StartResponse) Body {
		b, err := io.ReadAll(env.Input())
		assert.NoError(t, err)
		start(200, nil)
		return Bytes(b)
	}
	tests := map[string]struct {
		req    fakehost.Request
		app    Application
		status int
		length int64
		body   string
		cut    bool
		logged string
	}{
		"string":         {app: answer(200, plain, String("hi")), status: 200, length: 2, body: "hi"},
		"big string":     {app: answer(200, plain, String(big)), status: 200, length: int64(len(big)), body: big},
		"blocks":         {app: answer(200, plain, Blocks(pieces("a", "b"))), status: 200, length: -1, body: "ab"},
		"file":           {app: file, status: 200, length: int64(len(big)), body: big},
		"echo":           {req: fakehost.Request{Method: "POST", Body: []byte("abc"), Length: 3}, app: echo, status: 200, length: 3, body: "abc"},
		"HEAD":           {req: fakehost.Request{Method: "HEAD"}, app: answer(200, plain, String("hi")), status: 200, length: 2},
		"HEAD of a file": {req: fakehost.Request{Method: "HEAD"}, app: file, status: 200, length: int64(len(big))},
		"204":            {app: answer(204, nil, nil), status: 204, length: -1},
		"own length":     {app: answer(200, Header{{"Content-Length", "2"}}, Blocks(pieces("a", "b"))), status: 200, length: 2, body: "ab"},
		"errors":         {app: logging, status: 200, logged: "4 one\n4 two\n"},
		"error first": {app: answer(200, plain, Blocks(func(y func([]byte, error) bool) { y(nil, errors.New("boom")) })),
			cut: true, length: -1, logged: "boom"},
		"error later": {app: answer(200, plain, Blocks(func(y func([]byte, error) bool) {
			y([]byte("a"), nil)
			y(nil, errors.New("boom"))
		})), status: 200, length: -1, body: "a", cut: true, logged: "boom"},
		"no start":  {app: func(*Environ, StartResponse) Body { return nil }, cut: true, length: -1, logged: "did not call StartResponse"},
		"violation": {app: answer(200, Header{{"X", "a\r\nb"}}, nil), cut: true, length: -1, logged: "control character"},
		"too long": {app: answer(200, Header{{"Content-Length", "1"}}, String("ab")), status: 200, length: 1, body: "a",
			logged: "longer than its Content-Length"},
		"too short": {app: answer(200, Header{{"Content-Length", "9"}}, Blocks(pieces("ab"))), status: 200, length: 9, body: "ab",
			cut: true, logged: "ended after 2 bytes"},
		"panic": {app: func(*Environ, StartResponse) Body { panic("boom") }, cut: true, length: -1, logged: "panic: boom"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			host := inServer(t, Handler(tt.app))
			resp := do(t, host, &tt.req)
			assert.Equal(t, tt.status, resp.Status)
			assert.Equal(t, tt.length, resp.Length)
			assert.Equal(t, tt.body, string(resp.Body))
			assert.Equal(t, tt.cut, !resp.Complete)
			assert.Contains(t, logs(host), tt.logged)
			if tt.logged == "" {
				assert.Empty(t, logs(host))
			}
			assert.Empty(t, resp.Get("Content-Length"))
		})
	}
}

func TestDirectPathBlocksAreNotDelayed(t *testing.T) {
	next := make(chan struct{})
	host := inServer(t, Handler(answer(200, nil, Blocks(func(yield func([]byte, error) bool) {
		for yield([]byte("x"), nil) {
			<-next
		}
	}))))
	c, err := host.Submit(&fakehost.Request{Method: "GET", Target: "/"})
	require.NoError(t, err)
	news := c.Head // the first block comes with the head
	for range 3 {
		select {
		case <-news:
		case <-time.After(5 * time.Second):
			t.Fatal("the block does not come")
		}
		news = c.Data
		next <- struct{}{}
	}
	c.Tell(bridge.HostAbort)
	close(next)
	_, err = c.Wait()
	require.NoError(t, err)
}

func TestEnvironOutlivesItsRequest(t *testing.T) {
	var env *Environ
	host := inServer(t, Handler(func(e *Environ, start StartResponse) Body {
		env = e
		start(200, nil)
		return nil
	}))
	do(t, host, &fakehost.Request{Target: "/kept", Method: "POST", Body: []byte("abc"), Length: 3})
	require.Eventually(t, func() bool { return env.Context().Err() != nil }, 5*time.Second, time.Millisecond)
	assert.Equal(t, "/kept", env.Get("PATH_INFO"))
	_, err := env.Input().Read(make([]byte, 1))
	assert.Error(t, err)
	fmt.Fprint(env.Errors(), "late")
	assert.Contains(t, logs(host), "late")
}

func TestDirectPathWithBaseContext(t *testing.T) {
	h := Handler(answer(204, nil, nil))
	assert.Same(t, h, attachable(h, nil))
	assert.Same(t, h, attachable(h, &http.Server{}))
	base := func(net.Listener) context.Context { return context.Background() }
	assert.NotSame(t, h, attachable(h, &http.Server{BaseContext: base}))
}
