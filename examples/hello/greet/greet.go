// Package greet says hello twice: through net/http and through the gateway
// interface.
package greet

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/gsgi/gsgi/goapp"
)

// Handler serves / through net/http and /gateway through [Gateway].
func Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", HTTP)
	mux.Handle("/gateway", goapp.Handler(Gateway))
	return mux
}

// HTTP is an ordinary handler of net/http.
func HTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprint(w, greeting(r.FormValue("name"), "net/http", goapp.EnvironOf(r)))
}

// The header of every answer of Gateway; one that never changes costs nothing.
var header = goapp.Header{{"Content-Type", "text/plain; charset=utf-8"}}

// Gateway is the same by the gateway interface, which is PEP 3333's callable
// in Go: it gets an environ, starts the response, returns the body.
func Gateway(env *goapp.Environ, start goapp.StartResponse) goapp.Body {
	query, err := url.ParseQuery(env.Get("QUERY_STRING"))
	if err != nil {
		start(http.StatusBadRequest, header)
		return goapp.String("The query is not well formed.\n")
	}
	start(http.StatusOK, header)
	return goapp.String(greeting(query.Get("name"), "the gateway interface", env))
}

func greeting(name, way string, env *goapp.Environ) string {
	if name == "" {
		name = "world"
	}
	return fmt.Sprintf("Hello, %s! This is %s in %s.\n", name, way, env.Get("SERVER_SOFTWARE"))
}
