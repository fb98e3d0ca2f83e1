package goapp_test

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/gsgi/gsgi/goapp"
)

// get asks a handler for a target, and prints the answer.
func get(h http.Handler, target string) {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("GET", target, nil))
	fmt.Println(rec.Code, strings.TrimSpace(rec.Body.String()))
}

// The same main is a server by "go run ." and a library for a web server by
// "go build -buildmode=c-shared".
func ExampleListenAndServe() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "Hello, world")
	})
	log.Fatal(goapp.ListenAndServe(":8080", nil))
}

// Functions that RegisterOnShutdown was given run when the worker begins to
// drain.
func ExampleServe() {
	srv := &http.Server{Addr: ":8080", Handler: http.NotFoundHandler()}
	srv.RegisterOnShutdown(func() { log.Print("no new requests") })
	log.Fatal(goapp.Serve(srv))
}

// Two entries: gsgi_pass site:8080 in a public location, gsgi_pass site:admin
// in one for few.
func ExampleHandle() {
	goapp.Handle("admin", http.NotFoundHandler())
	log.Fatal(goapp.ListenAndServe(":8080", nil))
}

var plain = goapp.Header{{"Content-Type", "text/plain; charset=utf-8"}}

func ExampleApplication() {
	var hello goapp.Application = func(env *goapp.Environ, start goapp.StartResponse) goapp.Body {
		start(http.StatusOK, plain)
		return goapp.String("Hello from " + env.Get("PATH_INFO"))
	}
	get(goapp.Handler(hello), "/there")
	// Output: 200 Hello from /there
}

// An application that fails before anything has been sent takes its answer
// back.
func ExampleStartResponse() {
	app := func(_ *goapp.Environ, start goapp.StartResponse) goapp.Body {
		start(http.StatusOK, plain)
		if err := errors.New("the database is away"); err != nil {
			start(http.StatusServiceUnavailable, plain, err)
			return goapp.String("Try again later.")
		}
		return goapp.String("All is well.")
	}
	get(goapp.Handler(app), "/")
	// Output: 503 Try again later.
}

// Each block is on its way to the client when yield returns.
func ExampleBlocks() {
	app := func(_ *goapp.Environ, start goapp.StartResponse) goapp.Body {
		start(http.StatusOK, plain)
		return goapp.Blocks(func(yield func([]byte, error) bool) {
			for i := range 3 {
				if !yield(fmt.Appendln(nil, i), nil) {
					return // the client has gone
				}
			}
		})
	}
	get(goapp.Handler(app), "/")
	// Output:
	// 200 0
	// 1
	// 2
}

// An iterator of strings and errors is a Body by conversion.
func ExampleBlocks_iterator() {
	lines := func(yield func([]byte, error) bool) {
		_ = yield([]byte("one line\n"), nil) && yield(nil, errors.New("the source is broken"))
	}
	for block, err := range goapp.Blocks(lines).Blocks {
		fmt.Printf("%q %v\n", block, err)
	}
	// Output:
	// "one line\n" <nil>
	// "" the source is broken
}

func ExampleFile() {
	app := func(_ *goapp.Environ, start goapp.StartResponse) goapp.Body {
		f, err := os.Open("testdata/motto.txt")
		if err != nil {
			start(http.StatusNotFound, plain)
			return nil
		}
		start(http.StatusOK, plain)
		return goapp.File(f)
	}
	get(goapp.Handler(app), "/")
	// Output: 200 Nothing is lost.
}

// A body that holds a resource releases it in Close, which is called also
// when its blocks are not wanted.
func ExampleBody() {
	app := func(_ *goapp.Environ, start goapp.StartResponse) goapp.Body {
		start(http.StatusOK, plain)
		return report{goapp.String("rows")}
	}
	get(goapp.Handler(app), "/")
	// Output:
	// the rows are closed
	// 200 rows
}

type report struct{ goapp.Body }

func (report) Close() error {
	fmt.Println("the rows are closed")
	return nil
}

// Middleware hands a child of the environ on, here with a request body that
// it has unpacked.
func ExampleMiddleware() {
	var unpack goapp.Middleware = func(next goapp.Application) goapp.Application {
		return func(env *goapp.Environ, start goapp.StartResponse) goapp.Body {
			if env.Get("HTTP_CONTENT_ENCODING") != "gzip" {
				return next(env, start)
			}
			in, err := gzip.NewReader(env.Input())
			if err != nil {
				start(http.StatusBadRequest, plain)
				return goapp.String("not gzip")
			}
			return next(env.WithInput(in).Without("HTTP_CONTENT_ENCODING"), start)
		}
	}
	echo := func(env *goapp.Environ, start goapp.StartResponse) goapp.Body {
		b, err := io.ReadAll(env.Input())
		if err != nil {
			panic(err)
		}
		start(http.StatusOK, plain)
		return goapp.Bytes(b)
	}
	var packed strings.Builder
	w := gzip.NewWriter(&packed)
	io.WriteString(w, "unpacked")
	w.Close()
	r := httptest.NewRequest("POST", "/", strings.NewReader(packed.String()))
	r.Header.Set("Content-Encoding", "gzip")
	rec := httptest.NewRecorder()
	goapp.Handler(goapp.Chain(echo, unpack)).ServeHTTP(rec, r)
	fmt.Println(rec.Body)
	// Output: unpacked
}

func ExampleDispatch() {
	where := func(env *goapp.Environ, start goapp.StartResponse) goapp.Body {
		start(http.StatusOK, plain)
		return goapp.String("script " + env.Get("SCRIPT_NAME") + ", path " + env.Get("PATH_INFO"))
	}
	app := goapp.Handler(goapp.Dispatch(map[string]goapp.Application{
		"/blog": where,
		"/shop": goapp.FromHandler(http.RedirectHandler("https://example.com/", http.StatusFound)),
	}))
	get(app, "/blog/1")
	get(app, "/blogs")
	// Output:
	// 200 script /blog, path /1
	// 404 404 page not found
}

// A handler of net/http finds what the environ has besides.
func ExampleEnvironOf() {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "for", goapp.EnvironOf(r).Get("app.tenant"))
	})
	app := func(env *goapp.Environ, start goapp.StartResponse) goapp.Body {
		return goapp.FromHandler(h)(env.With("app.tenant", "ann"), start)
	}
	get(goapp.Handler(app), "/")
	// Output: 200 for ann
}

// Validator is for tests: it finds the header that is missing.
func ExampleValidator() {
	app := goapp.Validator(func(_ *goapp.Environ, start goapp.StartResponse) goapp.Body {
		start(http.StatusOK, nil)
		return goapp.String("of which type?")
	})
	defer func() { fmt.Println(recover()) }()
	get(goapp.Handler(app), "/")
	// Output: gsgi: a body without Content-Type
}

// One of all workers sends the mail.
func ExampleExclusive() {
	goapp.Go(func() {
		for goapp.Context().Err() == nil {
			err := goapp.Exclusive(goapp.Context(), "mail", func(ctx context.Context) error {
				ticker := time.NewTicker(time.Minute)
				defer ticker.Stop()
				for {
					select {
					case <-ctx.Done():
						return nil
					case <-ticker.C:
						log.Print("sending mail")
					}
				}
			})
			if err != nil {
				log.Print(err)
			}
		}
	})
	log.Fatal(goapp.ListenAndServe(":8080", nil))
}
