// Library serves the handlers of the parity tests inside a server.
package main

import (
	"log"

	"github.com/gsgi/gsgi/examples/parity/cases"
	"github.com/gsgi/gsgi/goapp"
)

func main() {
	goapp.Handle("gw", goapp.Handler(cases.Gateway()))
	log.Fatal(goapp.ListenAndServe(":8080", cases.Server()))
}
