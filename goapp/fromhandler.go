package goapp

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/gsgi/gsgi/module"
)

// FromHandler returns h as an Application, so that it can be mounted by
// [Dispatch] and wrapped by [Middleware]. Its http.Request is built from the
// environ with what was added to it: r.URL.Path is PATH_INFO, r.Header is
// HTTP_*, r.Body is Input, and the context is that of the environ.
// [EnvironOf] of it returns the environ, also keys that an http.Request has
// no field for.
//
// h runs within Blocks of the body, on the same goroutine. What it writes is
// gathered as net/http does it, and handed on when it flushes, when there is
// more than a few kilobytes, and when it returns. As PEP 3333 demands, the
// head does not leave before the first byte of the body; flushing earlier
// has no effect. Trailers, 1xx responses and hijacking are not possible
// through the interface of PEP 3333.
func FromHandler(h http.Handler) Application {
	switch h := h.(type) {
	case nil:
		panic("gsgi: nil Handler")
	case *appHandler:
		return h.app
	}
	return func(env *Environ, start StartResponse) Body {
		return &handlerBody{h: h, env: env, start: start}
	}
}

type handlerBody struct {
	h     http.Handler
	env   *Environ
	start StartResponse
}

func (b *handlerBody) Close() error { return nil }

// Blocks runs the handler.
func (b *handlerBody) Blocks(yield func([]byte, error) bool) {
	r := requestOf(b.env)
	w := &blockWriter{env: b.env, start: b.start, yield: yield, isHead: r.Method == http.MethodHead, length: -1}
	w.buf = blockBuffers.Get().(*[blockSize]byte)
	defer func() {
		w.free()
		if r.MultipartForm != nil {
			_ = r.MultipartForm.RemoveAll()
		}
	}()
	b.h.ServeHTTP(w, r)
	w.finish()
}

// requestOf builds a request from an environ: the request that the environ
// came with, changed where the environ was. What the handler changes in it is
// not seen outside.
func requestOf(env *Environ) *http.Request {
	ctx := context.WithValue(env.Context(), environKey{}, env)
	base := env.src.req
	if base == nil {
		base = env.src.x.Request()
	}
	r := base.WithContext(ctx)
	r.Header = r.Header.Clone()
	if r.Header == nil {
		r.Header = http.Header{}
	}
	u := *urlOf(base)
	r.URL = &u
	if len(env.over) == 0 && env.input == nil {
		return r
	}
	changed := map[string]bool{}
	for i := range env.over {
		key := env.over[i].key
		changed[key] = true
		changeHeader(r, env, key)
	}
	changeTarget(r, env, changed)
	changeConnection(r, env, changed)
	changeBody(r, env)
	return r
}

// changeHeader takes a key of the environ that was changed into the header.
func changeHeader(r *http.Request, env *Environ, key string) {
	name := headerOfKey(key)
	value, ok := env.Lookup(key)
	switch {
	case name == "":
	case name == "Host":
		r.Host = value
	case name == "Transfer-Encoding":
		r.TransferEncoding = nil
		if ok {
			r.TransferEncoding = []string{value}
		}
	case ok:
		r.Header[name] = []string{value}
	default:
		delete(r.Header, name)
	}
}

// changeTarget sets RawPath only when the raw path, without the mount point,
// decodes to exactly the path.
func changeTarget(r *http.Request, env *Environ, changed map[string]bool) {
	if changed["REQUEST_METHOD"] {
		r.Method = env.Get("REQUEST_METHOD")
	}
	if changed["REQUEST_URI"] {
		r.RequestURI = env.Get("REQUEST_URI")
	}
	if !changed["REQUEST_URI"] && !changed["SCRIPT_NAME"] && !changed["PATH_INFO"] && !changed["QUERY_STRING"] {
		return
	}
	script := env.Get("SCRIPT_NAME")
	u := &url.URL{Path: env.Get("PATH_INFO"), RawQuery: env.Get("QUERY_STRING")}
	raw, query, found := strings.Cut(env.Get("REQUEST_URI"), "?")
	u.ForceQuery = found && query == "" && u.RawQuery == ""
	if decoded, err := url.PathUnescape(raw); err == nil && decoded == script+u.Path {
		raw = raw[escapedLength(raw, len(script)):]
		if strings.HasPrefix(raw, "/") && raw != u.EscapedPath() {
			u.RawPath = raw
		}
	}
	r.URL = u
}

// escapedLength is the length of the start of raw that decodes to n bytes.
func escapedLength(raw string, n int) (i int) {
	for ; n > 0; n-- {
		if raw[i] == '%' {
			i += 2
		}
		i++
	}
	return i
}

func changeConnection(r *http.Request, env *Environ, changed map[string]bool) {
	if changed["REMOTE_ADDR"] || changed["REMOTE_PORT"] {
		r.RemoteAddr = env.Get("REMOTE_ADDR")
		if port := env.Get("REMOTE_PORT"); port != "" {
			r.RemoteAddr = net.JoinHostPort(r.RemoteAddr, port)
		}
	}
	if changed["gsgi.url_scheme"] {
		switch {
		case env.URLScheme() != "https":
			r.TLS = nil
		case r.TLS == nil:
			r.TLS = &tls.ConnectionState{HandshakeComplete: true}
		}
	}
}

func changeBody(r *http.Request, env *Environ) {
	if o := env.override("CONTENT_LENGTH"); o != nil || env.input != nil {
		r.ContentLength = -1
		if n, err := strconv.ParseUint(env.Get("CONTENT_LENGTH"), 10, 63); err == nil {
			r.ContentLength = int64(n)
		}
	}
	switch in := env.input.(type) {
	case nil:
	case io.ReadCloser:
		r.Body = in
	default:
		r.Body = io.NopCloser(in)
	}
}

const blockSize = 4 << 10

var blockBuffers = sync.Pool{New: func() any { return new([blockSize]byte) }}

// blockWriter is the http.ResponseWriter of FromHandler.
type blockWriter struct {
	env    *Environ
	start  StartResponse
	yield  func([]byte, error) bool
	isHead bool

	header  http.Header
	frozen  http.Header // the header as WriteHeader found it
	status  int         // 0 until WriteHeader
	started bool        // start was called
	stopped bool        // yield has returned false
	ended   bool        // the handler has returned

	length  int64 // Content-Length, -1: none
	written int64
	fill    int
	buf     *[blockSize]byte
}

var (
	_ http.ResponseWriter = (*blockWriter)(nil)
	_ http.Flusher        = (*blockWriter)(nil)
	_ io.StringWriter     = (*blockWriter)(nil)
)

func (w *blockWriter) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}

// WriteHeader keeps the header as it is now.
func (w *blockWriter) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("gsgi: invalid WriteHeader code %d", status))
	}
	if w.status != 0 || status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	w.status = status
	w.frozen = w.Header().Clone()
	if values := w.frozen["Content-Length"]; len(values) > 0 {
		if n, err := strconv.ParseUint(values[0], 10, 63); err == nil {
			w.length = int64(n)
		}
		delete(w.frozen, "Content-Length")
	}
}

func (w *blockWriter) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

func (w *blockWriter) Write(p []byte) (int, error) {
	if w.ended {
		return 0, module.ErrOver
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case len(p) == 0:
		return 0, nil
	case w.status < 200 || w.status == http.StatusNoContent || w.status == http.StatusNotModified:
		return 0, http.ErrBodyNotAllowed
	case w.length >= 0 && w.written+int64(len(p)) > w.length:
		return 0, http.ErrContentLength
	case w.stopped && !w.isHead:
		return 0, w.stopError()
	}
	w.written += int64(len(p))
	return len(p), w.gather(p)
}

// gather keeps p until there is a block of it. For HEAD the start is enough,
// to tell the type.
func (w *blockWriter) gather(p []byte) error {
	n := copy(w.buf[w.fill:], p)
	w.fill, p = w.fill+n, p[n:]
	if len(p) == 0 || w.isHead {
		return nil
	}
	if err := w.flush(); err != nil {
		return err
	}
	if len(p) >= blockSize {
		if !w.send(p) {
			return w.stopError()
		}
		return nil
	}
	w.fill = copy(w.buf[:], p)
	return nil
}

// Flush hands on what has been written.
func (w *blockWriter) Flush() { _ = w.FlushError() }

// FlushError is Flush for http.ResponseController.
func (w *blockWriter) FlushError() error {
	if w.ended {
		return module.ErrOver
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.flush()
}

func (w *blockWriter) flush() error {
	if w.fill == 0 || w.isHead {
		return nil
	}
	p := w.buf[:w.fill]
	w.begin(p)
	w.fill = 0
	if !w.send(p) {
		return w.stopError()
	}
	return nil
}

func (w *blockWriter) send(p []byte) bool {
	if !w.stopped && !w.yield(p, nil) {
		w.stopped = true
	}
	return !w.stopped
}

// stopError says why nothing more is taken.
func (w *blockWriter) stopError() error {
	if err := context.Cause(w.env.Context()); err != nil {
		return err
	}
	return module.ErrGone
}

// begin calls start; first is what the body begins with.
func (w *blockWriter) begin(first []byte) {
	if w.started {
		return
	}
	w.started = true
	h := w.frozen
	if _, ok := h["Content-Type"]; !ok && len(first) > 0 && h.Get("Content-Encoding") == "" {
		h["Content-Type"] = []string{http.DetectContentType(first)}
	}
	out := make(Header, 0, len(h)+1)
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if belongsToConnection(name) {
			continue
		}
		for _, value := range h[name] {
			out = append(out, [2]string{name, value})
		}
	}
	if w.length >= 0 {
		out = append(out, [2]string{"Content-Length", strconv.FormatInt(w.length, 10)})
	}
	w.start(w.status, out)
}

// belongsToConnection says what of a header a gateway leaves to the server,
// as net/http does for its own connections.
func belongsToConnection(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return strings.HasPrefix(name, http.TrailerPrefix)
}

// finish ends the response when the handler has returned.
func (w *blockWriter) finish() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	bodyAllowed := w.status >= 200 && w.status != http.StatusNoContent && w.status != http.StatusNotModified
	if !w.started && w.length < 0 && bodyAllowed && (!w.isHead || w.written > 0) {
		w.length = w.written
	}
	w.begin(w.buf[:w.fill])
	if w.isHead {
		w.send(nil) // that nothing was written does not tell GET's length
	}
	_ = w.flush()
	w.ended = true
}

func (w *blockWriter) free() {
	w.ended = true
	blockBuffers.Put(w.buf)
	w.buf = nil
}
