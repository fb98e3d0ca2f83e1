package goapp

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestValidatorFindsViolations(t *testing.T) {
	plain := Header{{"Content-Type", "text/plain"}}
	body := func(f func(yield func([]byte, error) bool)) Application { return answer(200, plain, Blocks(f)) }
	tests := map[string]struct {
		app  Application
		want string // "" for none
	}{
		"fine":           {answer(200, plain, String("x")), ""},
		"fine and empty": {answer(200, nil, nil), ""},
		"fine with 204":  {answer(204, nil, nil), ""},
		"fine late start": {func(_ *Environ, start StartResponse) Body {
			return Blocks(func(func([]byte, error) bool) { start(200, nil) })
		}, ""},
		"fine with error":  {body(func(y func([]byte, error) bool) { y(nil, errors.New("x")) }), ""},
		"no type":          {answer(200, nil, String("x")), "without Content-Type"},
		"type with 204":    {answer(204, plain, nil), "Content-Type with status 204"},
		"status header":    {answer(200, Header{{"status", "200"}}, nil), "has a Status"},
		"too long":         {answer(200, append(plain[:1:1], [2]string{"Content-Length", "1"}), String("xy")), "longer than"},
		"too short":        {answer(200, append(plain[:1:1], [2]string{"Content-Length", "9"}), String("xy")), "Content-Length is 9"},
		"len lies":         {answer(200, plain, &sized{testBody{blocks: pieces("a")}, 3}), "its Len is 3"},
		"no start":         {func(*Environ, StartResponse) Body { return nil }, "before StartResponse"},
		"two starts":       {func(_ *Environ, s StartResponse) Body { s(200, nil); s(200, nil); return nil }, "second time"},
		"block, no start":  {func(*Environ, StartResponse) Body { return String("x") }, "before StartResponse"},
		"error with block": {body(func(y func([]byte, error) bool) { y([]byte("x"), errors.New("x")) }), "together with an error"},
		"goes on": {body(func(y func([]byte, error) bool) {
			y(nil, errors.New("x"))
			y([]byte("x"), nil)
		}), "no more was wanted"},
		"yield in yield": {answer(200, plain, reentrant{}), "at once"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := runApp("GET", Validator(tt.app), &trace{})
			if tt.want == "" {
				require.Nil(t, got)
				return
			}
			v, ok := got.(*Violation)
			require.True(t, ok, "%v", got)
			assert.Contains(t, v.Text, tt.want)
		})
	}
}

// reentrant yields from within a yield, as two goroutines would.
type reentrant struct{}

func (reentrant) Blocks(yield func([]byte, error) bool) {
	v := &validated{called: true, hasType: true, status: 200, length: -1}
	v.yield(func([]byte, error) bool { return v.yield(yield, nil, nil) }, nil, nil)
}

func (reentrant) Close() error { return nil }

func TestValidatorWatchesTheGateway(t *testing.T) {
	wrapped := func() Body {
		var b Body
		app := Validator(answer(200, Header{{"Content-Type", "a/b"}}, &testBody{blocks: pieces("abc", "def")}))
		b = app(EnvironOf(httptest.NewRequest("GET", "/", nil)), func(int, Header, ...error) {})
		return b
	}
	all := func([]byte, error) bool { return true }
	t.Run("blocks twice", func(t *testing.T) {
		b := wrapped()
		b.Blocks(all)
		assert.Panics(t, func() { b.Blocks(all) })
	})
	t.Run("close twice", func(t *testing.T) {
		b := wrapped()
		b.Close()
		assert.Panics(t, func() { b.Close() })
	})
	t.Run("blocks after close", func(t *testing.T) {
		b := wrapped()
		b.Close()
		assert.Panics(t, func() { b.Blocks(all) })
	})
	t.Run("a block that is kept is spoiled", func(t *testing.T) {
		var kept [][]byte
		wrapped().Blocks(func(p []byte, _ error) bool {
			assert.Contains(t, []string{"abc", "def"}, string(p))
			kept = append(kept, p)
			return true
		})
		assert.Equal(t, "\xdb\xdb\xdb", string(kept[0]))
	})
}

func TestValidatorChecksTheEnviron(t *testing.T) {
	tests := map[string]func(*Environ) *Environ{
		"no method":       func(e *Environ) *Environ { return e.Without("REQUEST_METHOD") },
		"no server":       func(e *Environ) *Environ { return e.With("SERVER_NAME", "") },
		"type as header":  func(e *Environ) *Environ { return e.With("HTTP_CONTENT_TYPE", "x") },
		"script is root":  func(e *Environ) *Environ { return e.With("SCRIPT_NAME", "/") },
		"path is bare":    func(e *Environ) *Environ { return e.With("PATH_INFO", "x") },
		"length is text":  func(e *Environ) *Environ { return e.With("CONTENT_LENGTH", "x") },
		"scheme is wrong": func(e *Environ) *Environ { return e.With("gsgi.url_scheme", "ftp") },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			env := change(EnvironOf(httptest.NewRequest("GET", "/", nil)))
			assert.Panics(t, func() { Validator(answer(200, nil, nil))(env, func(int, Header, ...error) {}) })
		})
	}
}

func TestValidatorAroundWorkingApplications(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Write([]byte("hello"))
	})
	for _, method := range []string{"GET", "HEAD", "POST"} {
		srv, logged := serve(t, Handler(Validator(FromHandler(mux))))
		resp, _ := fetch(t, srv, method)
		assert.Equal(t, 200, resp.StatusCode)
		assert.Equal(t, "5", resp.Header.Get("Content-Length"))
		assert.Empty(t, logged.String())
	}
}
