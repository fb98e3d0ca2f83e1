package app

import (
	"fmt"
	"io"
	"net/http"
)

// sum reads the whole body and tells what it was.
func sum(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, SumOf(r.Body))
}

// echo sends the body back while it comes in.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	http.NewResponseController(w).EnableFullDuplex()
	if _, err := io.Copy(w, r.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// partial reads the first n bytes and leaves the rest.
func partial(w http.ResponseWriter, r *http.Request) {
	s := SumOf(io.LimitReader(r.Body, number(r.URL.Query(), "n", 10)))
	writeJSON(w, s)
}

// noRead does not touch the body.
func noRead(w http.ResponseWriter, r *http.Request) {
	gated(r.Context(), r.URL.Query())
	fmt.Fprintln(w, "not read")
}

// form parses a form, posted as URL-encoded or multipart.
func form(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseMultipartForm(1 << 20); err != nil && err != http.ErrNotMultipart {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	files := make(map[string]Sum)
	if r.MultipartForm != nil {
		for name, list := range r.MultipartForm.File {
			f, err := list[0].Open()
			if err != nil {
				panic(err)
			}
			files[name] = SumOf(f)
			f.Close()
		}
	}
	writeJSON(w, map[string]any{"form": r.Form, "post": r.PostForm, "files": files})
}

// part tells the gate of every read.
func part(w http.ResponseWriter, r *http.Request) {
	g, err := enter(r.URL.Query())
	if err != nil {
		panic(err)
	}
	defer g.close()
	b := make([]byte, 10)
	for {
		n, err := io.ReadFull(r.Body, b)
		if err == io.EOF {
			g.say("end")
			return
		}
		if err != nil {
			g.say("error %v after %d", err, n)
			return
		}
		g.say("read %d", n)
	}
}

// strict says whole when the body came to its end.
func strict(w http.ResponseWriter, r *http.Request) {
	if s := SumOf(r.Body); s.Err != "" {
		http.Error(w, s.Err, http.StatusBadRequest)
		return
	}
	fmt.Fprintln(w, "whole")
}
