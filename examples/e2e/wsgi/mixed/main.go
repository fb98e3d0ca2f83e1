// Mixed has a Python application behind middleware of both kinds, beside a
// handler in Go. Its argument is the folder of the application.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/gsgi/gsgi/goapp"
	"github.com/gsgi/gsgi/goapp/wsgi"
)

func main() {
	app, err := wsgi.New(wsgi.Options{App: "contract", Dir: os.Args[1], Threads: 2})
	if err != nil {
		log.Panic(err)
	}
	defer app.Close()
	if _, err := wsgi.New(wsgi.Options{App: "contract"}); err != wsgi.ErrSecond {
		log.Panicf("a second interpreter: %v", err)
	}

	mux := http.NewServeMux()
	mux.HandleFunc("/go", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "from Go") })
	mux.Handle("/py/", http.StripPrefix("/py", app))
	goapp.Handle("nethttp", mux)

	goapp.Handle("gateway", goapp.Handler(goapp.Dispatch(map[string]goapp.Application{
		"/py": goapp.Chain(app.Application, mark, goapp.Validator),
	})))
	goapp.Handle("direct", app)
	<-goapp.Context().Done()
	log.Print(goapp.ListenAndServe("last", http.NotFoundHandler()))
}

// mark adds a key to the environ and a header to the response.
func mark(next goapp.Application) goapp.Application {
	return func(env *goapp.Environ, start goapp.StartResponse) goapp.Body {
		return next(env.With("HTTP_X_MARK", "by Go"), func(status int, header goapp.Header, exc ...error) {
			start(status, append(header[:len(header):len(header)], [2]string{"X-Marked", "yes"}), exc...)
		})
	}
}
