// Stream serves server-sent events at /events, hashes what is sent to /upload
// and generates what /download?bytes=N asks for.
package main

import (
	"log"

	"github.com/gsgi/gsgi/examples/stream/flow"
	"github.com/gsgi/gsgi/goapp"
)

func main() {
	log.Fatal(goapp.ListenAndServe("127.0.0.1:8080", flow.Handler()))
}
