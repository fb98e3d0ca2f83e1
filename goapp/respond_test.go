package goapp

import (
	"cmp"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"net/http/httptest"
)

// trace is a sink that writes down what it is asked for.
type trace struct {
	calls  []string
	status int
	header Header
	length int64
	body   strings.Builder
	cut    bool
	err    error // of Cut
	fault  error // of Write
}

func (s *trace) WriteHead(status int, header [][2]string, length int64) error {
	s.calls = append(s.calls, "head")
	s.status, s.header, s.length = status, header, length
	return nil
}

func (s *trace) Write(p []byte) (int, error) {
	s.calls = append(s.calls, "write "+string(p))
	if s.fault != nil {
		return 0, s.fault
	}
	return s.body.Write(p)
}

func (s *trace) Flush() error {
	s.calls = append(s.calls, "flush")
	return nil
}

func (s *trace) SendFile(f *os.File, n int64) (int64, error) {
	p := make([]byte, n)
	m, err := f.Read(p)
	s.calls = append(s.calls, "file "+string(p[:m]))
	return int64(m), err
}

func (s *trace) Cut(err error) {
	s.calls = append(s.calls, "cut")
	s.cut, s.err = true, err
}

// testBody is a Body that counts how it is used.
type testBody struct {
	blocks func(yield func([]byte, error) bool)
	runs   int
	closes int
	err    error
}

func (b *testBody) Blocks(yield func([]byte, error) bool) {
	b.runs++
	if b.blocks != nil {
		b.blocks(yield)
	}
}

func (b *testBody) Close() error {
	b.closes++
	return b.err
}

// sized is a testBody with Len.
type sized struct {
	testBody
	n int64
}

func (b *sized) Len() int64 { return b.n }

func pieces(p ...string) func(yield func([]byte, error) bool) {
	return func(yield func([]byte, error) bool) {
		for _, s := range p {
			if !yield([]byte(s), nil) {
				return
			}
		}
	}
}

// runApp runs app for a request of method, as a gateway does. panicked is
// what the application panicked with.
func runApp(method string, app Application, to *trace) (panicked any) {
	c := &call{to: to, isHead: method == http.MethodHead}
	c.src = sourceOf(httptest.NewRequest(method, "/", nil))
	c.env.src = &c.src
	defer func() { panicked = recover() }()
	c.run(app)
	return nil
}

func answer(status int, header Header, body Body) Application {
	return func(_ *Environ, start StartResponse) Body {
		start(status, header)
		return body
	}
}

func TestResponse(t *testing.T) {
	yes := Header{{"X-A", "1"}}
	length := func(n string) Header { return Header{{"Content-Length", n}} }
	one := func(p ...string) *testBody { return &testBody{blocks: pieces(p...)} }
	boom := errors.New("boom")
	tests := map[string]struct {
		method string
		app    Application
		calls  string
		length int64
		err    string
	}{
		"string":         {app: answer(200, yes, String("hello")), calls: "head|write hello", length: 5},
		"bytes":          {app: answer(200, yes, Bytes("hello")), calls: "head|write hello", length: 5},
		"empty string":   {app: answer(200, yes, String("")), calls: "head"},
		"nil body":       {app: answer(200, yes, nil), calls: "head"},
		"no block":       {app: answer(200, yes, one()), calls: "head"},
		"nil function":   {app: answer(200, yes, Blocks(nil)), calls: "head"},
		"empty blocks":   {app: answer(200, yes, one("", "", "")), calls: "head"},
		"blocks":         {app: answer(200, yes, one("a", "", "b")), calls: "head|write a|flush|write b|flush", length: -1},
		"known length":   {app: answer(200, yes, &sized{testBody{blocks: pieces("ab", "c")}, 3}), calls: "head|write ab|flush|write c", length: 3},
		"given length":   {app: answer(200, length("3"), one("ab", "c")), calls: "head|write ab|flush|write c", length: 3},
		"given zero":     {app: answer(200, length("0"), nil), calls: "head"},
		"same twice":     {app: answer(200, Header{{"content-length", "1"}, {"Content-Length", "1"}}, String("a")), calls: "head|write a", length: 1},
		"surplus":        {app: answer(200, length("3"), one("ab", "cde", "f")), calls: "head|write ab|flush|write c", length: 3},
		"surplus string": {app: answer(200, length("3"), String("abcde")), calls: "head|write abc", length: 3},
		"short":          {app: answer(200, length("3"), one("ab")), calls: "head|write ab|flush|cut", length: 3, err: "ended after 2 bytes"},
		"short string":   {app: answer(200, length("3"), String("a")), calls: "head|write a|cut", length: 3, err: "ended after 1 bytes"},
		"short empty":    {app: answer(200, length("3"), nil), calls: "head|cut", length: 3, err: "ended after 0 bytes"},
		"len lies":       {app: answer(200, yes, &sized{testBody{blocks: pieces("a")}, 3}), calls: "head|write a|flush|cut", length: 3, err: "ended after 1"},
		"error first":    {app: answer(200, yes, Blocks(func(y func([]byte, error) bool) { y(nil, boom) })), calls: "cut", err: "boom"},
		"error later": {app: answer(200, yes, Blocks(func(y func([]byte, error) bool) { y([]byte("a"), nil); y(nil, boom); y([]byte("b"), nil) })),
			calls: "head|write a|flush|cut", length: -1, err: "boom"},
		"abort":        {app: answer(200, yes, Blocks(func(y func([]byte, error) bool) { y(nil, http.ErrAbortHandler) })), calls: "cut"},
		"no start":     {app: func(*Environ, StartResponse) Body { return String("x") }, calls: "cut", err: "did not call StartResponse"},
		"no start nil": {app: func(*Environ, StartResponse) Body { return nil }, calls: "cut", err: "did not call StartResponse"},
		"late start": {app: func(_ *Environ, start StartResponse) Body {
			return Blocks(func(y func([]byte, error) bool) { start(200, yes); y([]byte("a"), nil) })
		}, calls: "head|write a|flush", length: -1},
		"block before start": {app: func(*Environ, StartResponse) Body { return Blocks(pieces("a")) },
			calls: "cut", err: "before StartResponse"},
		"head":              {method: "HEAD", app: answer(200, yes, String("hello")), calls: "head", length: 5},
		"head of blocks":    {method: "HEAD", app: answer(200, yes, one("a")), calls: "head", length: -1},
		"head of sized":     {method: "HEAD", app: answer(200, yes, &sized{testBody{}, 7}), calls: "head", length: 7},
		"head given length": {method: "HEAD", app: answer(200, length("9"), one("a")), calls: "head", length: 9},
		"head late start": {method: "HEAD", app: func(_ *Environ, start StartResponse) Body {
			return Blocks(func(y func([]byte, error) bool) { start(200, yes); y([]byte("a"), nil) })
		}, calls: "head", length: -1},
		"head late start, no block": {method: "HEAD", app: func(_ *Environ, start StartResponse) Body {
			return Blocks(func(y func([]byte, error) bool) { start(200, yes) })
		}, calls: "head", length: -1},
		"head of nothing": {method: "HEAD", app: answer(200, yes, nil), calls: "head", length: -1},
		"no content":      {app: answer(204, yes, String("x")), calls: "head", length: -1},
		"204 length":      {app: answer(204, length("5"), nil), calls: "head", length: -1},
		"not modified":    {app: answer(304, length("5"), one("x")), calls: "head", length: 5},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			to := &trace{}
			require.Nil(t, runApp(cmp.Or(tt.method, "GET"), tt.app, to))
			assert.Equal(t, tt.calls, strings.Join(to.calls, "|"))
			assert.Equal(t, tt.length, to.length)
			if tt.err == "" {
				assert.NoError(t, to.err)
			} else {
				assert.ErrorContains(t, to.err, tt.err)
			}
			for _, h := range to.header {
				assert.NotEqual(t, "Content-Length", h[0], "Content-Length is given apart")
			}
		})
	}
}

func TestStartResponseViolations(t *testing.T) {
	tests := map[string]struct {
		status int
		header Header
		want   string
	}{
		"status 99":       {99, nil, "status 99"},
		"status 100":      {100, nil, "status 100"},
		"status 1000":     {1000, nil, "status 1000"},
		"status 0":        {0, nil, "status 0"},
		"name empty":      {200, Header{{"", "x"}}, "not a token"},
		"name with space": {200, Header{{"A B", "x"}}, "not a token"},
		"name with colon": {200, Header{{"A:", "x"}}, "not a token"},
		"value with CRLF": {200, Header{{"A", "x\r\nSet-Cookie: y"}}, "control character"},
		"value with NUL":  {200, Header{{"A", "x\x00"}}, "control character"},
		"value with BEL":  {200, Header{{"A", "x\a"}}, "control character"},
		"connection":      {200, Header{{"connection", "close"}}, "belongs to the connection"},
		"chunked":         {200, Header{{"Transfer-Encoding", "chunked"}}, "belongs to the connection"},
		"upgrade":         {200, Header{{"Upgrade", "x"}}, "belongs to the connection"},
		"length text":     {200, Header{{"Content-Length", "x"}}, "not one number"},
		"length negative": {200, Header{{"Content-Length", "-1"}}, "not one number"},
		"length plus":     {200, Header{{"Content-Length", "+1"}}, "not one number"},
		"length huge":     {200, Header{{"Content-Length", "9223372036854775808"}}, "not one number"},
		"two lengths":     {200, Header{{"Content-Length", "1"}, {"content-length", "2"}}, "not one number"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			to := &trace{}
			got := runApp("GET", answer(tt.status, tt.header, String("x")), to)
			v, ok := got.(*Violation)
			require.True(t, ok, "%v", got)
			assert.Contains(t, v.Error(), tt.want)
			assert.Empty(t, to.calls, "nothing of it is sent")
		})
	}
}

func TestStartResponseAgain(t *testing.T) {
	boom := errors.New("boom")
	try := func(f func()) (v any) {
		defer func() { v = recover() }()
		f()
		return nil
	}
	t.Run("a second call is a violation", func(t *testing.T) {
		got := runApp("GET", func(_ *Environ, start StartResponse) Body {
			start(200, nil)
			start(200, nil)
			return nil
		}, &trace{})
		assert.IsType(t, &Violation{}, got)
	})
	t.Run("also when the first one panicked", func(t *testing.T) {
		got := runApp("GET", func(_ *Environ, start StartResponse) Body {
			assert.NotNil(t, try(func() { start(7, nil) }))
			start(200, nil)
			return nil
		}, &trace{})
		assert.IsType(t, &Violation{}, got)
	})
	t.Run("a nil error is none", func(t *testing.T) {
		got := runApp("GET", func(_ *Environ, start StartResponse) Body {
			start(200, nil)
			start(200, nil, nil)
			return nil
		}, &trace{})
		assert.IsType(t, &Violation{}, got)
	})
	t.Run("with an error it replaces", func(t *testing.T) {
		to := &trace{}
		got := runApp("GET", func(_ *Environ, start StartResponse) Body {
			start(200, Header{{"Content-Length", "99"}})
			start(500, Header{{"X-Error", "1"}}, boom)
			return String("sorry")
		}, to)
		assert.Nil(t, got)
		assert.Equal(t, 500, to.status)
		assert.Equal(t, Header{{"X-Error", "1"}}, to.header)
		assert.Equal(t, int64(5), to.length)
		assert.False(t, to.cut)
	})
	t.Run("with an error it may be the first call", func(t *testing.T) {
		to := &trace{}
		assert.Nil(t, runApp("GET", func(_ *Environ, start StartResponse) Body {
			start(500, nil, boom)
			return nil
		}, to))
		assert.Equal(t, 500, to.status)
	})
	t.Run("with an error after the head it panics with the error", func(t *testing.T) {
		to, body := &trace{}, &testBody{}
		got := runApp("GET", func(_ *Environ, start StartResponse) Body {
			start(200, nil)
			body.blocks = func(yield func([]byte, error) bool) {
				yield([]byte("a"), nil)
				start(500, nil, boom)
			}
			return body
		}, to)
		assert.Equal(t, boom, got)
		assert.Equal(t, 200, to.status)
		assert.Equal(t, 1, body.closes)
	})
	t.Run("after the response it does nothing", func(t *testing.T) {
		var late StartResponse
		to := &trace{}
		runApp("GET", func(_ *Environ, start StartResponse) Body {
			late = start
			start(200, nil)
			return nil
		}, to)
		assert.Nil(t, try(func() { late(500, nil) }))
		assert.Equal(t, 200, to.status)
	})
}

func TestBodyIsClosedOnce(t *testing.T) {
	started := func(b Body) Application { return answer(200, nil, b) }
	silent := func(b Body) Application { return func(*Environ, StartResponse) Body { return b } }
	tests := map[string]struct {
		method string
		app    func(Body) Application
		blocks func(yield func([]byte, error) bool)
		fault  error
		runs   int
		panics bool
	}{
		"end":              {app: started, blocks: pieces("a"), runs: 1},
		"error":            {app: started, blocks: func(y func([]byte, error) bool) { y(nil, errors.New("x")) }, runs: 1},
		"panic":            {app: started, blocks: func(func([]byte, error) bool) { panic("x") }, runs: 1, panics: true},
		"HEAD":             {method: "HEAD", app: started, blocks: pieces("a"), runs: 0},
		"204":              {app: func(b Body) Application { return answer(204, nil, b) }, blocks: pieces("a"), runs: 0},
		"client gone":      {app: started, blocks: pieces("a", "b"), fault: errors.New("gone"), runs: 1},
		"start not called": {app: silent, blocks: pieces("a"), runs: 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			body := &testBody{blocks: tt.blocks}
			got := runApp(cmp.Or(tt.method, "GET"), tt.app(body), &trace{fault: tt.fault})
			assert.Equal(t, tt.panics, got != nil)
			assert.Equal(t, tt.runs, body.runs)
			assert.Equal(t, 1, body.closes)
		})
	}
	t.Run("goexit", func(t *testing.T) {
		body := &testBody{blocks: func(func([]byte, error) bool) { runtime.Goexit() }}
		done := make(chan struct{})
		go func() {
			defer close(done)
			runApp("GET", started(body), &trace{})
		}()
		<-done
		assert.Equal(t, 1, body.closes)
	})
}

func TestYieldAfterTheEnd(t *testing.T) {
	var kept func([]byte, error) bool
	to := &trace{}
	runApp("GET", answer(200, nil, Blocks(func(yield func([]byte, error) bool) {
		kept = yield
		yield([]byte("a"), nil)
	})), to)
	assert.False(t, kept([]byte("b"), nil))
	assert.Equal(t, "a", to.body.String())
}

func TestFileBody(t *testing.T) {
	open := func(t *testing.T) *os.File {
		path := filepath.Join(t.TempDir(), "f")
		require.NoError(t, os.WriteFile(path, []byte("0123456789"), 0o600))
		f, err := os.Open(path)
		require.NoError(t, err)
		return f
	}
	tests := map[string]struct {
		method string
		header Header
		seek   int64
		calls  string
		length int64
	}{
		"whole":        {"GET", nil, 0, "head|file 0123456789", 10},
		"from a point": {"GET", nil, 4, "head|file 456789", 6},
		"at the end":   {"GET", nil, 10, "head", 0},
		"up to length": {"GET", Header{{"Content-Length", "3"}}, 2, "head|file 234", 3},
		"too short":    {"GET", Header{{"Content-Length", "30"}}, 0, "head|file 0123456789|cut", 30},
		"head":         {"HEAD", nil, 0, "head", 10},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f, to := open(t), &trace{}
			_, err := f.Seek(tt.seek, 0)
			require.NoError(t, err)
			require.Nil(t, runApp(tt.method, answer(200, tt.header, File(f)), to))
			assert.Equal(t, tt.calls, strings.Join(to.calls, "|"))
			assert.Equal(t, tt.length, to.length)
			assert.ErrorIs(t, f.Close(), os.ErrClosed, "the gateway has closed it")
		})
	}
	t.Run("pipe", func(t *testing.T) {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		go func() {
			w.WriteString("abc")
			w.Close()
		}()
		to := &trace{}
		require.Nil(t, runApp("GET", answer(200, nil, File(r)), to))
		assert.Equal(t, "abc", to.body.String())
		assert.Equal(t, int64(-1), to.length)
	})
	t.Run("closed", func(t *testing.T) {
		f, to := open(t), &trace{}
		f.Close()
		require.Nil(t, runApp("GET", answer(200, nil, File(f)), to))
		assert.ErrorIs(t, to.err, os.ErrClosed)
	})
}

func TestHeaderAtPackageLevelIsNotChanged(t *testing.T) {
	header := Header{{"Content-Length", "1"}, {"X-A", "1"}}
	for range 2 {
		require.Nil(t, runApp("GET", answer(200, header, String("a")), &trace{}))
	}
	assert.Equal(t, Header{{"Content-Length", "1"}, {"X-A", "1"}}, header)
}

var (
	helloHeader = Header{{"Content-Type", "text/plain"}}
	helloBody   = Body(Bytes("hello"))
)

func hello(_ *Environ, start StartResponse) Body {
	start(200, helloHeader)
	return helloBody
}

func respondOnce(r *http.Request) {
	c := &call{to: discard{}}
	c.src.req = r
	c.env.src = &c.src
	c.run(hello)
}

func TestAllocationsPerRequest(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	assert.LessOrEqual(t, testing.AllocsPerRun(1000, func() { respondOnce(r) }), 2.0, "the call, and its StartResponse")

	h := &appHandler{hello}
	var made any
	assert.LessOrEqual(t, testing.AllocsPerRun(1000, func() { made = h.NewExchange(200).Own() }), 1.0, "exchange and call are one")
	assert.IsType(t, (*call)(nil), made)
}

func BenchmarkRespond(b *testing.B) {
	r := httptest.NewRequest("GET", "/", nil)
	b.ReportAllocs()
	for b.Loop() {
		respondOnce(r)
	}
}

type discard struct{}

func (discard) WriteHead(int, [][2]string, int64) error     { return nil }
func (discard) Write(p []byte) (int, error)                 { return len(p), nil }
func (discard) Flush() error                                { return nil }
func (discard) SendFile(_ *os.File, n int64) (int64, error) { return n, nil }
func (discard) Cut(error)                                   {}
