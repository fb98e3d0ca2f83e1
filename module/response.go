package module

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/gsgi/gsgi/cshim/bridge"
)

const sniffLen = 512

// response is the http.ResponseWriter of an exchange.
type response struct {
	x        *Exchange
	header   http.Header
	wrote    bool
	hasType  bool
	encoded  bool
	unsized  bool // no Content-Length is to be added
	duplex   bool // EnableFullDuplex was called
	prefixed bool // the header had a field with http.TrailerPrefix
	transfer string
	trailers []string
}

var (
	_ http.ResponseWriter = (*response)(nil)
	_ http.Flusher        = (*response)(nil)
	_ io.ReaderFrom       = (*response)(nil)
	_ io.StringWriter     = (*response)(nil)
)

func (w *response) Header() http.Header { return w.header }

// WriteHeader sets the status and takes the header as it is now. Codes below
// 200, but 101, are sent at once and may be followed by others.
func (w *response) WriteHeader(code int) {
	w.x.out.mu.Lock()
	defer w.x.out.mu.Unlock()
	w.writeHeader(code)
}

func (w *response) writeHeader(code int) {
	o := &w.x.out
	if o.raw {
		frame := caller()
		w.logf("http: response.WriteHeader on hijacked connection from %s (%s:%d)", frame.Function, path.Base(frame.File), frame.Line)
		return
	}
	if w.wrote {
		frame := caller()
		w.logf("http: superfluous response.WriteHeader call from %s (%s:%d)", frame.Function, path.Base(frame.File), frame.Line)
		return
	}
	if code < 100 || code > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", code))
	}
	if code <= 199 && code != http.StatusSwitchingProtocols {
		w.interim(code)
		return
	}
	w.wrote = true
	o.commit(code, w.contentLength())
	w.pack(&o.head)
	o.web = w
}

// contentLength takes the handler's own Content-Length.
func (w *response) contentLength() int64 {
	values, set := w.header["Content-Length"]
	if !set {
		return -1
	}
	// One that is no length, nil for one, means that none is to be sent.
	w.unsized = true
	if len(values) == 0 || values[0] == "" {
		return -1
	}
	v := values[0]
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 {
		w.logf("http: invalid Content-Length of %q", v)
		return -1
	}
	w.unsized = false
	return n
}

// pack takes the header into h. Most handlers set a type and a length at most,
// for which no map has to be walked.
func (w *response) pack(h *head) {
	known := 0
	if _, set := w.header["Content-Length"]; set {
		known++
	}
	types, set := w.header["Content-Type"]
	if set {
		known++
		w.packField(h, "Content-Type", types)
	}
	w.hasType, w.encoded = set, false
	if known == len(w.header) {
		return
	}
	w.encoded = first(w.header, "Content-Encoding") != ""
	for name, values := range w.header {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			w.prefixed = true
			continue
		}
		if name != "Content-Type" {
			w.packField(h, name, values)
		}
	}
}

func (w *response) packField(h *head, name string, values []string) {
	for _, value := range values {
		if !w.own(h, name, value) {
			continue
		}
		value = trimBlanks(value)
		problem := checkHeader(name, value)
		if problem == "" {
			problem = h.add(name, value)
		}
		if problem != "" {
			w.x.out.broken = problem
		}
	}
}

// own says whether a header goes out as the handler set it. Framing and the
// connection are the server's.
func (w *response) own(h *head, name, value string) bool {
	switch name {
	case "Content-Length":
		return false
	case "Transfer-Encoding":
		w.transfer = value
		return false
	case "Connection":
		if hasToken(value, "close") {
			h.flags |= bridge.HeadClose
		}
		return false
	case "Trailer":
		for key := range strings.SplitSeq(value, ",") {
			key = http.CanonicalHeaderKey(strings.TrimSpace(key))
			if !notInTrailers[key] {
				w.trailers = append(w.trailers, key)
			}
		}
	case "Content-Type":
		return h.status != http.StatusNotModified
	}
	return true
}

// complete adds what net/http adds just before the head goes out.
func (w *response) complete(data []byte, done bool) {
	o := &w.x.out
	o.streamed = len(w.trailers) > 0 || w.transfer != "" || w.unsized
	if !done {
		w.consume()
	}
	if bodyAllowed(o.head.status) && !w.hasType && !w.encoded && w.transfer == "" && len(data) > 0 {
		o.add("Content-Type", http.DetectContentType(data[:min(len(data), sniffLen)]))
	}
}

// interim sends an informational response.
func (w *response) interim(code int) {
	if code == http.StatusContinue {
		// It is the server's, which sends it when it begins to read the body.
		w.x.in.begin()
		return
	}
	if w.x.out.writable(0) != nil {
		return
	}
	h := head{status: code, length: -1}
	w.pack(&h)
	w.trailers, w.transfer = nil, ""
	w.x.out.publishHeaders(bridge.ChunkInterim, &h)
}

func (w *response) Write(p []byte) (int, error) {
	w.x.out.mu.Lock()
	defer w.x.out.mu.Unlock()
	if !w.wrote && !w.x.out.raw {
		w.writeHeader(http.StatusOK)
	}
	return w.x.out.write(p)
}

func (w *response) WriteString(s string) (int, error) {
	return w.Write(unsafe.Slice(unsafe.StringData(s), len(s)))
}

// Flush has the server send what was written so far.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is Flush for [http.ResponseController].
func (w *response) FlushError() error {
	w.x.out.mu.Lock()
	defer w.x.out.mu.Unlock()
	if !w.wrote && !w.x.out.raw {
		w.writeHeader(http.StatusOK)
	}
	return w.x.out.flush()
}

// ReadFrom copies src into the response. A regular file goes out by its
// descriptor, also when src limits it.
func (w *response) ReadFrom(src io.Reader) (n int64, err error) {
	w.x.out.mu.Lock()
	sent := w.x.out.sent
	w.x.out.mu.Unlock()
	if !sent {
		// Enough for the type to be sniffed, and the source proven to work.
		n, err = io.CopyBuffer(writerOnly{w}, io.LimitReader(src, sniffLen), make([]byte, sniffLen))
		if err != nil || n < sniffLen {
			return n, err
		}
	}
	m, handled, err := w.sendFile(src)
	n += m
	if handled {
		return n, err
	}
	m, err = io.CopyBuffer(writerOnly{w}, src, make([]byte, 32<<10))
	return n + m, err
}

func (w *response) sendFile(src io.Reader) (n int64, handled bool, err error) {
	limit := int64(-1)
	limited, ok := src.(*io.LimitedReader)
	if ok {
		src, limit = limited.R, limited.N
	}
	f, ok := src.(regularFile)
	if !ok {
		return 0, false, nil
	}
	w.x.out.mu.Lock()
	n, handled, err = w.x.out.sendFile(f, limit)
	w.x.out.mu.Unlock()
	if limited != nil {
		limited.N -= n
	}
	return n, handled, err
}

// CloseNotify is for old programs; the context says the same.
func (w *response) CloseNotify() <-chan bool {
	c := make(chan bool, 1)
	context.AfterFunc(&w.x.ctx, func() {
		if w.x.gone() {
			c <- true
		}
	})
	return c
}

// EnableFullDuplex is for [http.ResponseController]: of HTTP/1, what is left
// of a streamed request body is not read before the response begins.
func (w *response) EnableFullDuplex() error {
	w.x.out.mu.Lock()
	defer w.x.out.mu.Unlock()
	w.duplex = true
	return nil
}

// SetReadDeadline is for [http.ResponseController].
func (w *response) SetReadDeadline(t time.Time) error {
	if w.x.over.Load() {
		return ErrOver
	}
	setDeadline(&w.x.in.limit, w.x.state.r, t)
	return nil
}

// SetWriteDeadline is for [http.ResponseController].
func (w *response) SetWriteDeadline(t time.Time) error {
	if w.x.over.Load() {
		return ErrOver
	}
	setDeadline(&w.x.out.limit, w.x.state.w, t)
	return nil
}

// consumeMax is how much of a request body is read for a handler that has not
// done so.
const consumeMax = 256 << 10

// consume reads what is left of the request body before the response begins,
// when the two do not go side by side. The connection is closed after more
// than consumeMax, as net/http does.
func (w *response) consume() {
	x := w.x
	if w.duplex || x.proto >= 2000 || x.in.kind != bridge.BodyStream {
		return
	}
	left, begun, ended := x.in.rest()
	switch {
	case ended || !begun && x.flags&bridge.ReqExpect != 0:
		return // all is read, or nothing has been sent
	case left < consumeMax:
		_, err := io.CopyN(io.Discard, &x.in, consumeMax+1)
		if err == io.EOF {
			_ = x.in.Close()
			return
		}
	}
	x.out.head.flags |= bridge.HeadClose
}

// finish is called when the handler has returned.
func (w *response) finish() {
	o := &w.x.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.raw {
		return
	}
	if !w.wrote {
		w.writeHeader(http.StatusOK)
	}
	w.sendTrailers()
}

// sendTrailers publishes what the handler set as trailers, declared before or
// by http.TrailerPrefix. As with net/http, a short response of HTTP/1 has only
// those that were there with its header.
func (w *response) sendTrailers() {
	if !w.x.out.sent && w.x.proto < 2000 && !w.prefixed && len(w.trailers) == 0 {
		return
	}
	var t head
	add := func(name string, values []string) {
		for _, value := range values {
			if checkHeader(name, value) == "" {
				t.add(name, value)
			}
		}
	}
	for _, name := range w.trailers {
		add(name, w.header[name])
	}
	for name, values := range w.header {
		if key, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			add(http.CanonicalHeaderKey(key), values)
		}
	}
	o := &w.x.out
	if t.count == 0 || o.muted || o.x.flags&bridge.ReqTrailers == 0 {
		return
	}
	if !o.sent {
		o.streamed = true
		if o.sendHead(nil, true) != nil {
			return
		}
	}
	o.publishHeaders(bridge.ChunkTrailers, &t)
}

func (w *response) logf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if srv := w.x.ctx.srv; srv != nil && srv.ErrorLog != nil {
		srv.ErrorLog.Print(text)
		return
	}
	w.x.log(bridge.LogError, text)
}

// caller is the first frame outside of this package.
func caller() runtime.Frame {
	pc := make([]uintptr, 16)
	frames := runtime.CallersFrames(pc[:runtime.Callers(2, pc)])
	for {
		frame, more := frames.Next()
		if !strings.HasPrefix(frame.Function, "github.com/gsgi/gsgi/module.") || !more {
			return frame
		}
	}
}

func first(h http.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// trimBlanks takes away the blanks around a field value, which are no part of
// it (RFC 9110, section 5.5).
func trimBlanks(s string) string {
	if s != "" && (s[0] == ' ' || s[0] == '\t' || s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		return strings.Trim(s, " \t")
	}
	return s
}

// notInTrailers are fields that a trailer must not have: they frame, route or
// describe the message (RFC 9110, section 6.5.1).
var notInTrailers = map[string]bool{
	"Authorization": true, "Cache-Control": true, "Connection": true, "Content-Encoding": true, "Content-Length": true,
	"Content-Range": true, "Content-Type": true, "Expect": true, "Host": true, "Keep-Alive": true, "Max-Forwards": true,
	"Pragma": true, "Proxy-Authenticate": true, "Proxy-Authorization": true, "Proxy-Connection": true, "Range": true,
	"Te": true, "Trailer": true, "Transfer-Encoding": true, "Www-Authenticate": true,
}

func hasToken(list, token string) bool {
	for v := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.TrimSpace(v), token) {
			return true
		}
	}
	return false
}
