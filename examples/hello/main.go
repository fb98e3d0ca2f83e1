// Hello answers by net/http at / and by the gateway interface at /gateway.
package main

import (
	"log"

	"github.com/gsgi/gsgi/examples/hello/greet"
	"github.com/gsgi/gsgi/goapp"
)

func main() {
	log.Fatal(goapp.ListenAndServe("127.0.0.1:8080", greet.Handler()))
}
