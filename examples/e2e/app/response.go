package app

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Modified is the modification time of what content serves.
var Modified = time.Date(2020, 2, 2, 20, 20, 20, 0, time.UTC)

func hello(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, "hello\n")
}

// status answers with a code, and with a body where one is given.
func status(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	for _, line := range query["header"] {
		name, value, _ := strings.Cut(line, ":")
		w.Header().Add(name, value)
	}
	w.WriteHeader(int(number(query, "code", 200)))
	if body := query.Get("body"); body != "" {
		io.WriteString(w, body)
	}
}

// headers answers with the headers of the query, in order and repeated.
func headers(w http.ResponseWriter, r *http.Request) {
	for _, line := range r.URL.Query()["h"] {
		name, value, _ := strings.Cut(line, ":")
		w.Header().Add(name, value)
	}
	io.WriteString(w, "headers\n")
}

// generate writes n bytes of the pattern, with a Content-Length when cl is set.
func generate(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	n := number(query, "n", 0)
	w.Header().Set("Content-Type", "application/octet-stream")
	if query.Get("cl") != "" {
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	}
	block := int(number(query, "block", 32<<10))
	for off := int64(0); off < n; {
		b := At(off, int(min(int64(block), n-off)))
		if _, err := w.Write(b); err != nil {
			return
		}
		off += int64(len(b))
	}
}

// small writes n times one line.
func small(w http.ResponseWriter, r *http.Request) {
	for i := range number(r.URL.Query(), "n", 1000) {
		fmt.Fprintf(w, "%d\n", i)
	}
}

// flush writes a line, flushes it, goes through the gate and writes another.
func flush(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	io.WriteString(w, "first\n")
	if err := http.NewResponseController(w).Flush(); err != nil {
		panic(err)
	}
	gated(r.Context(), query)
	io.WriteString(w, "last\n")
}

// slow writes n lines with a pause before each.
func slow(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	control := http.NewResponseController(w)
	for i := range number(query, "n", 3) {
		time.Sleep(millis(query, "ms", 100))
		fmt.Fprintf(w, "%d\n", i)
		control.Flush()
	}
}

// file copies a file of the working directory with io.Copy.
func file(w http.ResponseWriter, r *http.Request) {
	f := open(r)
	defer f.Close()
	query := r.URL.Query()
	if skip := number(query, "skip", 0); skip > 0 {
		if _, err := f.Seek(skip, io.SeekStart); err != nil {
			panic(err)
		}
	}
	var src io.Reader = f
	if limit := number(query, "limit", -1); limit >= 0 {
		src = io.LimitReader(f, limit)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	io.WriteString(w, query.Get("before"))
	io.Copy(w, src)
	io.WriteString(w, query.Get("after"))
}

// content serves a file of the working directory with http.ServeContent.
func content(w http.ResponseWriter, r *http.Request) {
	f := open(r)
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("ETag", `"e2e"`)
	http.ServeContent(w, r, "", Modified, f)
}

func open(r *http.Request) *os.File {
	f, err := os.Open(filepath.Base(r.URL.Query().Get("name")))
	if err != nil {
		panic(err)
	}
	return f
}

func cookie(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: "a", Value: "1", Path: "/"})
	http.SetCookie(w, &http.Cookie{Name: "b", Value: "2", HttpOnly: true})
	io.WriteString(w, "cookies\n")
}

// accel hands the answer over to the server, by both servers' headers.
func accel(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	for _, name := range []string{"X-Accel-Redirect", "X-Sendfile"} {
		if target := query.Get(name); target != "" {
			w.Header().Set(name, target)
		}
	}
	w.Header().Set("X-From", "application")
	io.WriteString(w, "from the application\n")
}

func redirect(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
}
