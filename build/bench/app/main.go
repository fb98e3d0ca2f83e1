// App is the program under test. It is an application library, or with one of
// its flags a server of its own: HTTP or FastCGI, on an address or, when it
// has a slash, on a socket of that path.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/fcgi"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/gsgi/gsgi/goapp"
)

const hello = "Hello, world\n"

var (
	serveHTTP = flag.String("http", "", "serve HTTP at this address")
	serveFCGI = flag.String("fcgi", "", "serve FastCGI at this address")
	file      = flag.String("file", "", "what /file sends")

	plain    = goapp.Header{{"Content-Type", "text/plain"}}
	mebibyte = make([]byte, 1<<20)
)

func main() {
	flag.Parse()
	switch {
	case *serveHTTP != "":
		log.Fatal(http.Serve(listen(*serveHTTP), handlers()))
	case *serveFCGI != "":
		log.Fatal(fcgi.Serve(listen(*serveFCGI), http.StripPrefix("/fastcgi", handlers())))
	}
	goapp.Handle("gateway", goapp.Handler(gateway))
	log.Fatal(goapp.ListenAndServe(":80", handlers()))
}

func listen(addr string) net.Listener {
	network := "tcp"
	if strings.Contains(addr, "/") {
		network = "unix"
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		log.Fatal(err)
	}
	if network == "unix" {
		if err := os.Chmod(addr, 0o777); err != nil {
			log.Fatal(err)
		}
	}
	return l
}

func gateway(_ *goapp.Environ, start goapp.StartResponse) goapp.Body {
	start(200, plain)
	return goapp.String(hello)
}

func handlers() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, hello)
	})
	mux.HandleFunc("/json", sendJSON)
	mux.HandleFunc("/post", count)
	mux.HandleFunc("/upload", count)
	mux.HandleFunc("/mebibyte", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(mebibyte)))
		_, _ = w.Write(mebibyte)
	})
	mux.HandleFunc("/generate", func(w http.ResponseWriter, _ *http.Request) {
		for range 1024 {
			if _, err := w.Write(mebibyte); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/file", sendFile)
	mux.HandleFunc("/events", events)
	mux.HandleFunc("/burn", burn)
	mux.HandleFunc("/mallocs", func(w http.ResponseWriter, _ *http.Request) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Fprintln(w, m.Mallocs)
	})
	return mux
}

func count(w http.ResponseWriter, r *http.Request) {
	n, _ := io.Copy(io.Discard, r.Body)
	fmt.Fprintln(w, n)
}

type item struct {
	ID    int
	Name  string
	Price float64
	Tags  []string
}

// sendJSON answers with about 2 KB.
func sendJSON(w http.ResponseWriter, _ *http.Request) {
	list := make([]item, 26)
	for i := range list {
		list[i] = item{i, "A thing of the catalogue", 9.99 + float64(i), []string{"red", "small"}}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list)
}

func sendFile(w http.ResponseWriter, _ *http.Request) {
	f, err := os.Open(*file)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		w.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	}
	_, _ = io.Copy(w, f)
}

// events is a stream on which nothing happens for a long time.
func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, "data: hello\n\n")
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

// burn computes until the client leaves, at most a minute.
func burn(_ http.ResponseWriter, r *http.Request) {
	sum := 0
	for end := time.Now().Add(time.Minute); time.Now().Before(end) && r.Context().Err() == nil; {
		for i := range 100_000 {
			sum += i * sum
		}
	}
	_ = sum
}
