package app

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// start sends as much of a response as the parameter "after" says: nothing,
// "write" a gathered piece, "flush" a piece that has left.
func start(w http.ResponseWriter, query url.Values) {
	if cl := query.Get("cl"); cl != "" {
		w.Header().Set("Content-Length", cl)
	}
	w.Header().Set("Content-Type", "text/plain")
	switch query.Get("after") {
	case "write":
		io.WriteString(w, "begun\n")
	case "flush":
		io.WriteString(w, "begun\n")
		http.NewResponseController(w).Flush()
	}
}

func panics(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	start(w, query)
	panic("panic on demand " + query.Get("token"))
}

func goexit(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	start(w, query)
	runtime.Goexit()
}

func abort(w http.ResponseWriter, r *http.Request) {
	start(w, r.URL.Query())
	panic(http.ErrAbortHandler)
}

// badHeader sets a header that must not leave the server.
func badHeader(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	w.Header()[query.Get("name")] = []string{query.Get("value")}
	w.Header().Set("X-Other", "must not be seen")
	io.WriteString(w, "must not be seen\n")
}

// length declares a Content-Length and writes what "n" says, in two pieces.
func length(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	n := int(number(query, "n", 0))
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Length", query.Get("cl"))
	text := strings.Repeat("0123456789", n/10+1)[:n]
	wrote, err := io.WriteString(w, text[:n/2])
	if query.Get("flush") != "" {
		http.NewResponseController(w).Flush()
	}
	if err == nil {
		var more int
		more, err = io.WriteString(w, text[n/2:])
		wrote += more
	}
	if g, _ := enter(query); g != nil {
		g.say("wrote %d: %v", wrote, err)
		g.wait(r.Context())
		g.close()
	}
}

// crash ends the process by a panic in a goroutine of its own, with n other
// goroutines around.
func crash(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	var wg sync.WaitGroup
	for range number(query, "n", 0) {
		wg.Add(1)
		go bystander(&wg)
	}
	wg.Wait()
	go func() { panic("crash on demand " + query.Get("token")) }()
	select {}
}

func bystander(wg *sync.WaitGroup) {
	wg.Done()
	select {}
}

func exit(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	log.Print("exit on demand ", query.Get("token"))
	os.Exit(int(number(query, "code", 3)))
}

// MainEnds has a value when the main of the program is to panic.
var MainEnds = make(chan struct{}, 1)

func endMain(w http.ResponseWriter, r *http.Request) { MainEnds <- struct{}{} }

// Segv reads from address 0 in C, set by the program that has C in it.
var Segv = func() {}

func segv(w http.ResponseWriter, r *http.Request) {
	Segv()
}

// flood logs n lines as fast as it can.
func flood(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	line := "flood " + query.Get("token") + " " + strings.Repeat("x", 200) + " "
	began := time.Now()
	for i := range number(query, "n", 1000) {
		os.Stderr.WriteString(line + strconv.FormatInt(i, 10) + "\n")
	}
	fmt.Fprintln(w, time.Since(began))
}
