// Showcase is one library with several entries: a server instance has one
// library, and as many applications in it as it likes.  Its argument is the
// file of the guest book; without it, GUESTBOOK names it.  With -python it
// hosts the Python examples too: sites.py of that folder.
package main

import (
	"cmp"
	"flag"
	"log"
	"net/http"
	"os"

	"github.com/gsgi/gsgi/examples/guestbook/book"
	"github.com/gsgi/gsgi/examples/hello/greet"
	"github.com/gsgi/gsgi/examples/stream/flow"
	"github.com/gsgi/gsgi/goapp"
	"github.com/gsgi/gsgi/goapp/wsgi"
)

func main() {
	python := flag.String("python", "", "folder of the Python examples")
	flag.Parse()
	b, err := book.Open(cmp.Or(flag.Arg(0), os.Getenv("GUESTBOOK"), "guestbook.db"))
	if err != nil {
		log.Panic(err) // ends main; log.Fatal would end the server's worker
	}
	defer b.Close()

	if *python != "" {
		sites, err := wsgi.New(wsgi.Options{App: "sites:application", Dir: *python})
		if err != nil {
			log.Panic(err)
		}
		defer sites.Close()
		goapp.Handle("python", sites)
	}

	guestbook, hello, stream := b.Handler(), slash(greet.Handler()), slash(flow.Handler())
	goapp.Handle("guestbook", guestbook)
	goapp.Handle("hello", hello)
	goapp.Handle("stream", stream)

	// Where no server mounts the three, the program does it by itself,
	// but for Python.
	log.Fatal(goapp.ListenAndServe("127.0.0.1:8080", goapp.Handler(goapp.Dispatch(map[string]goapp.Application{
		"/":       goapp.FromHandler(guestbook),
		"/hello":  goapp.FromHandler(hello),
		"/stream": goapp.FromHandler(stream),
	}))))
}

// slash sends the bare mount point to the one with a slash, so that relative
// links work.
func slash(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "" {
			http.Redirect(w, r, goapp.EnvironOf(r).Get("SCRIPT_NAME")+"/", http.StatusMovedPermanently)
			return
		}
		next.ServeHTTP(w, r)
	})
}
