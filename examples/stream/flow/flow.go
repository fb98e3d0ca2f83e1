// Package flow moves data that is never whole in memory: events that go on
// until somebody leaves, uploads hashed while they are read, downloads
// generated while they are sent.
package flow

import (
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gsgi/gsgi/goapp"
)

//go:embed index.html
var index string

// Handler serves the page at / and its three streams.  All its links are
// relative, so it works under any mount point that ends in a slash.
func Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", page)
	mux.HandleFunc("GET /events", events)
	mux.HandleFunc("GET /download", download)
	mux.HandleFunc("POST /upload", upload)
	mux.HandleFunc("PUT /upload", upload)
	mux.HandleFunc("PUT /upload/{name}", upload) // curl -T adds the file's name
	return mux
}

func page(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	io.WriteString(w, index)
}

// events sends the time once a second (?every=100ms for more) until the
// client leaves or the worker is replaced; the browser then connects anew.
func events(w http.ResponseWriter, r *http.Request) {
	every, err := interval(r.FormValue("every"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id, _ := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64)

	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	stream := http.NewResponseController(w)
	tick := time.NewTicker(every)
	defer tick.Stop()

	for {
		id++
		_, err := fmt.Fprintf(w, "id: %d\ndata: %s\n\n", id, time.Now().Format(time.RFC3339Nano))
		if err == nil {
			err = stream.Flush()
		}
		if err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-goapp.Context().Done():
			return
		}
	}
}

func interval(text string) (time.Duration, error) {
	if text == "" {
		return time.Second, nil
	}
	every, err := time.ParseDuration(text)
	if err != nil || every < 10*time.Millisecond || every > time.Minute {
		return 0, errors.New("every must be a duration between 10ms and 1m")
	}
	return every, nil
}

type receipt struct {
	Bytes   int64   `json:"bytes"`
	SHA256  string  `json:"sha256"`
	Seconds float64 `json:"seconds"`
}

// upload hashes a body of any size while it comes in: the plain body of
// curl -T, or the file of a form.
func upload(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	file, err := content(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	hash := sha256.New()
	n, err := io.Copy(hash, file)
	if err != nil {
		slog.WarnContext(r.Context(), "upload broke off", "bytes", n, "error", err)
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(receipt{
		Bytes:   n,
		SHA256:  fmt.Sprintf("%x", hash.Sum(nil)),
		Seconds: time.Since(begin).Seconds(),
	})
}

func refuse(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		status = http.StatusRequestEntityTooLarge
	}
	http.Error(w, "the upload broke off", status)
}

func content(r *http.Request) (io.Reader, error) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "multipart/form-data" {
		return r.Body, nil
	}
	form, err := r.MultipartReader()
	if err != nil {
		return nil, err
	}
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the form has no file")
		}
		if err != nil {
			return nil, err
		}
		if part.FileName() != "" {
			return part, nil
		}
	}
}

// download sends ?bytes=N bytes that are made on the way.  http.ServeContent
// adds Range, HEAD and the conditional requests.
func download(w http.ResponseWriter, r *http.Request) {
	size, err := strconv.ParseInt(strings.TrimSpace(r.FormValue("bytes")), 10, 64)
	if err != nil || size < 0 {
		http.Error(w, "bytes must be a number, 0 or more", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=us-ascii")
	w.Header().Set("ETag", fmt.Sprintf(`"%d"`, size))
	http.ServeContent(w, r, "", time.Time{}, NewPattern(size))
}
