package app

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

var routes = map[string]http.HandlerFunc{
	"dump": dump,

	// bodies
	"sum":     sum,
	"echo":    echo,
	"partial": partial,
	"noread":  noRead,
	"form":    form,
	"part":    part,
	"strict":  strict,
	"witness": witness,

	// responses
	"empty":   func(http.ResponseWriter, *http.Request) {},
	"hello":   hello,
	"status":  status,
	"headers": headers,
	"gen":     generate,
	"small":   small,
	"flush":   flush,
	"slow":    slow,
	"file":    file,
	"content": content,
	"cookie":  cookie,
	"accel":   accel,
	"go":      redirect,

	// connections
	"raw":     raw,
	"coder":   coderEcho,
	"gorilla": gorillaEcho,
	"proxy":   proxy,

	// protocol
	"hints":       hints,
	"trailers":    trailers,
	"intrailers":  inTrailers,
	"pingpong":    pingPong,
	"simplex":     simplex,
	"readlate":    readDeadline,
	"writelate":   writeDeadline,
	"timeout":     timeoutHandler,
	"maxbytes":    maxBytes,
	"lateuse":     lateUse,
	"certificate": certificate,

	// time
	"wait":    wait,
	"sleep":   sleep,
	"burn":    burn,
	"crowd":   crowd,
	"spin":    spin,
	"worker":  worker,
	"stacks":  stacks,
	"version": version,
	"gc":      collect,

	// failures
	"panic":     panics,
	"gopanic":   goPanics,
	"goexit":    goexit,
	"abort":     abort,
	"badheader": badHeader,
	"length":    length,
	"crash":     crash,
	"exit":      exit,
	"maps":      maps,
	"segv":      segv,
	"endmain":   endMain,
	"log":       logs,
	"flood":     flood,
	"nil":       nilDereference,
	"fatal":     fatal,

	// the process
	"settings": settings,
	"children": children,
	"notify":   notify,
	"say":      say,
	"taint":    taint,
	"clean":    clean,
}

// Handler answers for the http.Handler side.
func Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		route(r.URL.Path)(w, r)
	})
}

func route(path string) http.HandlerFunc {
	name, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if h := routes[name]; h != nil {
		return h
	}
	return dump
}

// Admin answers for a second entry.
func Admin() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Entry", "admin")
		dump(w, r)
	})
}

// Mux has an admin area of its own, as an application would have that relies
// on the server's access rules.
func Mux() http.Handler {
	mux := http.NewServeMux()
	area := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Area", name)
			dump(w, r)
		}
	}
	mux.HandleFunc("/admin/", area("admin"))
	mux.HandleFunc("/admin", area("admin"))
	mux.HandleFunc("/", area("public"))
	return mux
}

// number reads an integer parameter.
func number(query url.Values, name string, otherwise int64) int64 {
	n, err := strconv.ParseInt(query.Get(name), 10, 64)
	if err != nil {
		return otherwise
	}
	return n
}

// millis reads a duration in milliseconds.
func millis(query url.Values, name string, otherwise int64) time.Duration {
	return time.Duration(number(query, name, otherwise)) * time.Millisecond
}
