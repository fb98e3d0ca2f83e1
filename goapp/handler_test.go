package goapp

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// logBuffer collects what a server logs.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// serve starts a server of net/http for h. The second result is its log.
func serve(t *testing.T, h http.Handler) (*httptest.Server, *logBuffer) {
	t.Helper()
	logged := &logBuffer{}
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(logged, "", 0)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv, logged
}

// rawGet sends a request and returns all bytes of the answer.
func rawGet(t *testing.T, srv *httptest.Server, method string) string {
	t.Helper()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprintf(conn, "%s / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", method)
	b, _ := io.ReadAll(conn)
	return string(b)
}

func TestHandlerOverTheWire(t *testing.T) {
	boom := errors.New("boom")
	plain := Header{{"Content-Type", "text/plain"}, {"Set-Cookie", "a=1"}, {"set-cookie", "b=2"}, {"X-A", "1"}, {"X-A", "2"}}
	tests := map[string]struct {
		method string
		app    Application
		status string
		want   []string // in the answer
		lacks  []string
		logged string
	}{
		"one block": {app: answer(201, plain, String("hi")), status: "201 Created",
			want: []string{"Content-Length: 2\r\n", "Content-Type: text/plain\r\n", "Set-Cookie: a=1\r\n", "Set-Cookie: b=2\r\n",
				"X-A: 1\r\n", "X-A: 2\r\n", "Date: ", "\r\n\r\nhi"},
			lacks: []string{"chunked"}},
		"type is not guessed": {app: answer(200, nil, String("<html>")), status: "200 OK", lacks: []string{"Content-Type"}},
		"blocks are chunks": {app: answer(200, plain, Blocks(pieces("ab", "cd"))), status: "200 OK",
			want: []string{"chunked", "\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"}},
		"HEAD": {method: "HEAD", app: answer(200, plain, String("hi")), status: "200 OK",
			want: []string{"Content-Length: 2\r\n"}, lacks: []string{"\r\n\r\nhi"}},
		"204":    {app: answer(204, nil, nil), status: "204 No Content", lacks: []string{"Content-Length", "chunked"}},
		"304":    {app: answer(304, Header{{"ETag", `"x"`}}, nil), status: "304 Not Modified", want: []string{"Etag: \"x\""}},
		"599":    {app: answer(599, nil, nil), status: "599 "},
		"empty":  {app: answer(200, nil, nil), status: "200 OK", want: []string{"Content-Length: 0\r\n"}},
		"errors": {app: logging, status: "200 OK", logged: "one\ntwo\n"},
		"error before the head": {app: answer(200, plain, Blocks(func(y func([]byte, error) bool) { y(nil, boom) })),
			status: "500 Internal Server Error", lacks: []string{"X-A"}, logged: "boom"},
		"no start": {app: func(*Environ, StartResponse) Body { return String("x") },
			status: "500 Internal Server Error", logged: "did not call StartResponse"},
		"error after the head is a cut": {app: answer(200, plain, Blocks(func(y func([]byte, error) bool) {
			y([]byte("ab"), nil)
			y(nil, boom)
		})), status: "200 OK", want: []string{"2\r\nab\r\n"}, lacks: []string{"0\r\n\r\n"}, logged: "boom"},
		"too short is a cut": {app: answer(200, Header{{"Content-Length", "9"}}, String("short")),
			lacks: []string{"\r\n\r\n"}, logged: "ended after 5 bytes"},
		"too long": {app: answer(200, Header{{"Content-Length", "4"}}, String("surplus")),
			status: "200 OK", want: []string{"Content-Length: 4\r\n", "\r\n\r\nsurp"}, lacks: []string{"surpl"},
			logged: http.ErrContentLength.Error()},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			srv, logged := serve(t, Handler(tt.app))
			got := rawGet(t, srv, cmp.Or(tt.method, "GET"))
			if tt.status != "" {
				assert.True(t, strings.HasPrefix(got, "HTTP/1.1 "+tt.status), got)
			}
			for _, s := range tt.want {
				assert.Contains(t, got, s)
			}
			for _, s := range tt.lacks {
				assert.NotContains(t, got, s)
			}
			assert.Contains(t, logged.String(), tt.logged)
			if tt.logged == "" {
				assert.Empty(t, logged.String())
			}
		})
	}
}

func logging(env *Environ, start StartResponse) Body {
	fmt.Fprint(env.Errors(), "one\ntwo\n")
	start(200, nil)
	return nil
}

func TestBlocksAreNotDelayed(t *testing.T) {
	next := make(chan struct{})
	srv, _ := serve(t, Handler(func(_ *Environ, start StartResponse) Body {
		start(200, nil)
		return Blocks(func(yield func([]byte, error) bool) {
			for _, s := range []string{"one\n", "two\n"} {
				if !yield([]byte(s), nil) {
					return
				}
				<-next
			}
		})
	}))
	resp, err := http.Get(srv.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	for _, want := range []string{"one\n", "two\n"} {
		line, err := in.ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, want, line)
		next <- struct{}{}
	}
	_, err = in.ReadString('\n')
	assert.ErrorIs(t, err, io.EOF)
}

func TestClientLeaves(t *testing.T) {
	closed := make(chan struct{})
	srv, _ := serve(t, Handler(func(env *Environ, start StartResponse) Body {
		start(200, nil)
		return closing{Blocks(func(yield func([]byte, error) bool) {
			for yield(make([]byte, 64<<10), nil) {
			}
			<-env.Context().Done()
		}), closed}
	}))
	resp, err := http.Get(srv.URL)
	require.NoError(t, err)
	resp.Body.Close()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Fatal("the body was not closed")
	}
}

// closing is a body that tells when it is closed.
type closing struct {
	Body
	closed chan struct{}
}

func (b closing) Close() error {
	close(b.closed)
	return nil
}

func TestFileOverTheWire(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 64<<10)
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	srv, logged := serve(t, Handler(func(_ *Environ, start StartResponse) Body {
		f, err := os.Open(path)
		if err != nil {
			panic(err)
		}
		start(200, nil)
		return File(f)
	}))
	resp, err := http.Get(srv.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, int64(len(content)), resp.ContentLength)
	assert.True(t, string(b) == content)
	assert.Empty(t, logged.String())
}

func TestOuterHeaderIsKept(t *testing.T) {
	app := Handler(answer(200, Header{{"Vary", "Accept"}, {"X-A", "inner"}, {"Set-Cookie", "b=2"}}, String("x")))
	rec := httptest.NewRecorder()
	rec.Header().Set("Vary", "Origin")
	rec.Header().Set("X-A", "outer")
	rec.Header().Set("Set-Cookie", "a=1")
	rec.Header().Set("Content-Type", "text/outer")
	app.ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	assert.Equal(t, []string{"Origin", "Accept"}, rec.Header().Values("Vary"))
	assert.Equal(t, []string{"inner"}, rec.Header().Values("X-A"))
	assert.Equal(t, []string{"a=1", "b=2"}, rec.Header().Values("Set-Cookie"))
	assert.Equal(t, "text/outer", rec.Header().Get("Content-Type"))
}

func TestPanicsReachTheServer(t *testing.T) {
	app := Handler(func(*Environ, StartResponse) Body { panic("boom") })
	assert.PanicsWithValue(t, "boom", func() {
		app.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	})
	assert.Panics(t, func() { Handler(nil) })
}

func TestChain(t *testing.T) {
	mark := func(s string) Middleware {
		return func(next Application) Application {
			return func(env *Environ, start StartResponse) Body {
				return next(env.With("trace", env.Get("trace")+s), start)
			}
		}
	}
	app := Chain(func(env *Environ, start StartResponse) Body {
		start(200, nil)
		return String(env.Get("trace"))
	}, mark("a"), mark("b"), mark("c"))
	rec := httptest.NewRecorder()
	Handler(app).ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	assert.Equal(t, "abc", rec.Body.String())
}

func TestGo(t *testing.T) {
	logged := &logBuffer{}
	log.SetOutput(logged)
	defer log.SetOutput(os.Stderr)
	Go(func() { panic("in the background") })
	assert.Eventually(t, func() bool { return strings.Contains(logged.String(), "TestGo") }, 5*time.Second, time.Millisecond)
	assert.Contains(t, logged.String(), "panic in a goroutine: in the background")
	ended := make(chan struct{})
	Go(func() {
		defer close(ended)
		runtime.Goexit()
	})
	<-ended
}

func TestStandaloneMode(t *testing.T) {
	assert.Equal(t, Standalone, Mode())
	index, count := Worker()
	assert.Equal(t, []int{0, 1}, []int{index, count})
	assert.NotPanics(t, func() { Handle("x", http.NotFoundHandler()) })
}
