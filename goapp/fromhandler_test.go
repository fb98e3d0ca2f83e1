package goapp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pass makes an application that changes the environ on the way to h.
func pass(h http.HandlerFunc, change func(*Environ) *Environ) Application {
	inner := FromHandler(h)
	return func(env *Environ, start StartResponse) Body { return inner(change(env), start) }
}

func TestFromHandlerResponses(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789"), 10_000)
	write := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, s) }
	}
	tests := map[string]http.HandlerFunc{
		"nothing":      func(http.ResponseWriter, *http.Request) {},
		"short":        write("hello"),
		"html":         write("<html>x"),
		"status":       func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(418); io.WriteString(w, "x") },
		"no content":   func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) },
		"not modified": func(w http.ResponseWriter, r *http.Request) { w.Header().Set("ETag", `"x"`); w.WriteHeader(304) },
		"redirect":     func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/other", http.StatusSeeOther) },
		"error":        func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusForbidden) },
		"big":          func(w http.ResponseWriter, r *http.Request) { w.Write(big) },
		"big copied":   func(w http.ResponseWriter, r *http.Request) { io.Copy(w, bytes.NewReader(big)) },
		"own length":   func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "100000"); w.Write(big) },
		"small writes": func(w http.ResponseWriter, r *http.Request) {
			for i := range 3000 {
				fmt.Fprintf(w, "%d,", i)
			}
		},
		"late header": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-A", "early")
			io.WriteString(w, "x")
			w.Header().Set("X-A", "late")
		},
		"repeated": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Add("X-A", "1")
			w.Header().Add("X-A", "2")
			http.SetCookie(w, &http.Cookie{Name: "a", Value: "1"})
			http.SetCookie(w, &http.Cookie{Name: "b", Value: "2"})
		},
		"two statuses": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(201); w.WriteHeader(202) },
		"no type":      func(w http.ResponseWriter, r *http.Request) { w.Header()["Content-Type"] = nil; io.WriteString(w, "x") },
		"encoded": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "x")
			io.WriteString(w, "x")
		},
		"content": func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "x.txt", time.Unix(1, 0), bytes.NewReader(big))
		},
		"body echo": func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) },
	}
	for name, h := range tests {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			t.Run(name+" "+method, func(t *testing.T) {
				direct, _ := serve(t, h)
				gateway, _ := serve(t, Handler(FromHandler(h)))
				want, wantBody := fetch(t, direct, method)
				got, gotBody := fetch(t, gateway, method)
				assert.Equal(t, want.StatusCode, got.StatusCode)
				assert.Equal(t, wantBody, gotBody)
				if want.Header.Get("Content-Length") == "" && got.Header.Get("Content-Length") != "0" {
					got.Header.Del("Content-Length") // more is gathered here, so that it is known
				}
				assert.Equal(t, want.Header, got.Header)
			})
		}
	}
}

func TestFromHandlerRemovesUploadedFiles(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	part, err := w.CreateFormFile("f", "f")
	require.NoError(t, err)
	part.Write(make([]byte, 100_000))
	w.Close()
	r := httptest.NewRequest("POST", "/", &body)
	r.Header.Set("Content-Type", w.FormDataContentType())
	files := func() int {
		entries, err := os.ReadDir(os.Getenv("TMPDIR"))
		require.NoError(t, err)
		return len(entries)
	}
	Handler(FromHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.NoError(t, r.ParseMultipartForm(1))
		assert.Equal(t, 1, files())
	}))).ServeHTTP(httptest.NewRecorder(), r)
	assert.Equal(t, 0, files())
}

func TestFromHandlerIgnoresABadLength(t *testing.T) {
	to := &trace{}
	require.Nil(t, runApp("GET", FromHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "x")
		io.WriteString(w, "abc")
	})), to))
	assert.Equal(t, int64(3), to.length)
	assert.Equal(t, "abc", to.body.String())
}

func fetch(t *testing.T, srv *httptest.Server, method string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, srv.URL+"/x?y", strings.NewReader("the body"))
	require.NoError(t, err)
	req.Header.Set("Range", "bytes=5-9")
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	resp.Header.Del("Date")
	return resp, string(b)
}

// TestFromHandlerKeepsTheEnviron has a handler change all that it gets.
func TestFromHandlerKeepsTheEnviron(t *testing.T) {
	spoil := FromHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		r.Header.Set("X-A", "spoiled")
		r.Method, r.URL.Path, r.URL.RawQuery = "SPOILED", "/spoiled", "spoiled"
	}))
	var before, after map[string]string
	outer := Handler(func(env *Environ, start StartResponse) Body {
		before = maps.Collect(env.All())
		body := spoil(env, start)
		return Blocks(func(yield func([]byte, error) bool) {
			body.Blocks(yield)
			after = maps.Collect(env.All())
		})
	})
	r := httptest.NewRequest(http.MethodGet, "/a/b?c", nil)
	r.Header.Set("X-A", "1")
	outer.ServeHTTP(httptest.NewRecorder(), r)
	assert.Equal(t, before, after)
	assert.Equal(t, "/a/b", r.URL.Path)
	assert.Equal(t, "1", r.Header.Get("X-A"))
}

func TestFromHandlerRequest(t *testing.T) {
	type key struct{}
	tests := map[string]struct {
		change func(*Environ) *Environ
		check  func(t *testing.T, r *http.Request)
	}{
		"unchanged": {func(e *Environ) *Environ { return e }, func(t *testing.T, r *http.Request) {
			assert.Equal(t, "/a/b c", r.URL.Path)
			assert.Equal(t, "/a%2fb%20c", r.URL.RawPath)
			assert.Equal(t, "/a%2fb%20c?q", r.RequestURI)
			assert.Equal(t, int64(4), r.ContentLength)
		}},
		"mounted": {func(e *Environ) *Environ { c, _ := e.Mount("/a"); return c }, func(t *testing.T, r *http.Request) {
			assert.Equal(t, "/b c", r.URL.Path)
			assert.Equal(t, "", r.URL.RawPath, "the prefix ends inside of the raw path's segment")
			assert.Equal(t, "q", r.URL.RawQuery)
			assert.Equal(t, "/a", EnvironOf(r).Get("SCRIPT_NAME"))
			assert.Equal(t, "/b c", EnvironOf(r).Get("PATH_INFO"))
		}},
		"headers": {func(e *Environ) *Environ {
			return e.With("HTTP_X_NEW_ONE", "1").With("HTTP_X_OLD", "2").Without("HTTP_X_GONE").
				With("CONTENT_TYPE", "a/b").With("HTTP_HOST", "other")
		}, func(t *testing.T, r *http.Request) {
			assert.Equal(t, "1", r.Header.Get("X-New-One"))
			assert.Equal(t, []string{"2"}, r.Header["X-Old"])
			assert.NotContains(t, r.Header, "X-Gone")
			assert.Equal(t, "a/b", r.Header.Get("Content-Type"))
			assert.Equal(t, "other", r.Host)
			assert.NotContains(t, r.Header, "Host")
		}},
		"request line": {func(e *Environ) *Environ {
			return e.With("REQUEST_METHOD", "PUT").With("QUERY_STRING", "z=1").With("PATH_INFO", "/n w").
				With("REMOTE_ADDR", "2001:db8::1").With("REMOTE_PORT", "99")
		}, func(t *testing.T, r *http.Request) {
			assert.Equal(t, "PUT", r.Method)
			assert.Equal(t, "/n w", r.URL.Path)
			assert.Equal(t, "z=1", r.URL.RawQuery)
			assert.Equal(t, "[2001:db8::1]:99", r.RemoteAddr)
		}},
		"address without port": {func(e *Environ) *Environ {
			return e.With("REMOTE_ADDR", "192.0.2.1").Without("REMOTE_PORT")
		}, func(t *testing.T, r *http.Request) { assert.Equal(t, "192.0.2.1", r.RemoteAddr) }},
		"scheme": {func(e *Environ) *Environ { return e.With("gsgi.url_scheme", "https") },
			func(t *testing.T, r *http.Request) { assert.NotNil(t, r.TLS) }},
		"input": {func(e *Environ) *Environ { return e.WithInput(strings.NewReader("second")) },
			func(t *testing.T, r *http.Request) {
				assert.Equal(t, int64(6), r.ContentLength)
				b, _ := io.ReadAll(r.Body)
				assert.Equal(t, "second", string(b))
			}},
		"input of unknown length": {func(e *Environ) *Environ { return e.WithInput(io.MultiReader(strings.NewReader("x"))) },
			func(t *testing.T, r *http.Request) { assert.Equal(t, int64(-1), r.ContentLength) }},
		"context and own keys": {func(e *Environ) *Environ {
			return e.With("app.user", "ann").WithContext(context.WithValue(e.Context(), key{}, 1))
		}, func(t *testing.T, r *http.Request) {
			assert.Equal(t, 1, r.Context().Value(key{}))
			assert.Equal(t, "ann", EnvironOf(r).Get("app.user"))
			assert.Equal(t, "ann", maps.Collect(EnvironOf(r).All())["app.user"])
			r.Header.Set("X-Old", "changed")
			assert.Equal(t, "changed", EnvironOf(r).Get("HTTP_X_OLD"))
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/a%2fb%20c?q", strings.NewReader("body"))
			r.Header.Set("X-Old", "1")
			r.Header.Set("X-Gone", "1")
			before := r.Header.Clone()
			called := false
			Handler(pass(func(w http.ResponseWriter, r *http.Request) {
				called = true
				tt.check(t, r)
			}, tt.change)).ServeHTTP(httptest.NewRecorder(), r)
			assert.True(t, called)
			if name != "context and own keys" {
				assert.Equal(t, before, r.Header, "the outer request is as it was")
			}
		})
	}
}

func TestFromHandlerStreams(t *testing.T) {
	next := make(chan struct{})
	srv, _ := serve(t, Handler(FromHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range 2 {
			io.WriteString(w, "a ")
			io.WriteString(w, "line\n")
			http.NewResponseController(w).Flush()
			<-next
		}
	}))))
	resp, err := http.Get(srv.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	for range 2 {
		line, err := in.ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, "a line\n", line)
		next <- struct{}{}
	}
}

func TestFromHandlerErrors(t *testing.T) {
	var errs []error
	write := func(w http.ResponseWriter, s string) {
		_, err := io.WriteString(w, s)
		errs = append(errs, err)
	}
	tests := map[string]struct {
		h    http.HandlerFunc
		want []error
	}{
		"more than the length": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "3")
			write(w, "ab")
			write(w, "cd")
		}, []error{nil, http.ErrContentLength}},
		"no body allowed": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(304)
			write(w, "ab")
		}, []error{http.ErrBodyNotAllowed}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			errs = nil
			func() {
				defer func() { _ = recover() }()
				Handler(FromHandler(tt.h)).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
			}()
			require.Len(t, errs, len(tt.want))
			for i := range errs {
				assert.ErrorIs(t, errs[i], tt.want[i])
			}
		})
	}
	t.Run("nobody wants more", func(t *testing.T) {
		var err error
		app := FromHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for err == nil {
				_, err = w.Write(make([]byte, 10_000))
			}
		}))
		require.Nil(t, runApp("GET", app, &trace{fault: errors.New("gone")}))
		assert.Error(t, err)
	})
	t.Run("writing when it is over", func(t *testing.T) {
		var kept http.ResponseWriter
		app := FromHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { kept = w }))
		require.Nil(t, runApp("GET", app, &trace{}))
		_, err := kept.Write([]byte("x"))
		assert.Error(t, err)
		assert.Error(t, http.NewResponseController(kept).Flush())
	})
	t.Run("panic", func(t *testing.T) {
		app := FromHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "x")
			panic(http.ErrAbortHandler)
		}))
		to := &trace{}
		assert.Equal(t, http.ErrAbortHandler, runApp("GET", app, to))
		assert.Empty(t, to.calls)
	})
	t.Run("status out of range", func(t *testing.T) {
		app := FromHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(0) }))
		assert.NotNil(t, runApp("GET", app, &trace{}))
	})
	t.Run("header with a line end", func(t *testing.T) {
		app := FromHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-A", "a\nb") }))
		assert.IsType(t, &Violation{}, runApp("GET", app, &trace{}))
	})
}

func TestFromHandlerOfHandlerIsTheApplication(t *testing.T) {
	called := false
	app := FromHandler(Handler(func(_ *Environ, start StartResponse) Body {
		called = true
		start(200, nil)
		return nil
	}))
	require.Nil(t, runApp("GET", app, &trace{}))
	assert.True(t, called)
	assert.Panics(t, func() { FromHandler(nil) })
}
