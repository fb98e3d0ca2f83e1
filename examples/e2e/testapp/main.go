// Testapp serves package app: alone with go run, and inside a server as a
// c-shared library.
package main

/*
static int
read_null(void)
{
    volatile int  *p = 0;

    return *p;
}
*/
import "C"

import (
	"errors"
	"flag"
	"log"
	"os"
	"strings"
	"time"

	"github.com/gsgi/gsgi/examples/e2e/app"
	"github.com/gsgi/gsgi/goapp"
)

var (
	entries = flag.String("entries", "8080,admin,gw,mux", "what to serve")
	fail    = flag.String("fail", "", "return, panic or exit instead of serving")
	when    = flag.String("when", "server", "where to fail: probe, server")
	delay   = flag.Duration("delay", 0, "pause before serving in a server")
)

// initial fails before main, when it is told to.
var initial = failEarly()

func failEarly() bool {
	if text := os.Getenv("E2E_INIT_PANIC"); text != "" {
		panic(text)
	}
	return true
}

func main() {
	flag.Parse()
	app.Segv = func() { C.read_null() }

	where := "server"
	if goapp.Mode() == goapp.Checking {
		where = "probe"
	}
	if *fail != "" && *when == where {
		failNow()
		return
	}
	if where == "server" {
		time.Sleep(*delay)
	}

	for _, entry := range strings.Split(*entries, ",") {
		switch entry {
		case "admin":
			goapp.Handle(entry, app.Admin())
		case "gw":
			goapp.Handle(entry, goapp.Handler(app.Gateway()))
		case "mux":
			goapp.Handle(entry, app.Mux())
		}
	}
	log.Fatal(goapp.ListenAndServe(":8080", app.Handler()))
}

func failNow() {
	switch *fail {
	case "panic":
		panic("failing on demand")
	case "exit":
		log.Print("exiting on demand")
		os.Exit(3)
	case "error":
		log.Fatal(errors.New("fatal on demand"))
	}
}
