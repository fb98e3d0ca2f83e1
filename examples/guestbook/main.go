// Guestbook is a small complete application.  Its one argument is the file
// that holds the entries; without it, GUESTBOOK names it.
package main

import (
	"cmp"
	"flag"
	"log"
	"os"

	"github.com/gsgi/gsgi/examples/guestbook/book"
	"github.com/gsgi/gsgi/goapp"
)

func main() {
	flag.Parse()
	b, err := book.Open(cmp.Or(flag.Arg(0), os.Getenv("GUESTBOOK"), "guestbook.db"))
	if err != nil {
		log.Panic(err) // ends main; log.Fatal would end the server's worker
	}
	defer b.Close()
	log.Fatal(goapp.ListenAndServe("127.0.0.1:8080", b.Handler()))
}
