//go:build linux && cgo

package wsgi

// #include "host.h"
import "C"

import (
	"context"
	"encoding/binary"
	"errors"
	"net/http"
	"strconv"
	"syscall"
	"unsafe"

	"github.com/gsgi/gsgi/cshim/bridge"
	"github.com/gsgi/gsgi/goapp"
	"github.com/gsgi/gsgi/module"
)

var errFailed = errors.New("wsgi: the application has failed")

// relay connects a Python thread with the goroutine that an Application runs
// on: that one alone may call start and yield.
type relay struct {
	env    *goapp.Environ
	events chan event
	reply  chan C.int
}

// event is a call of gsgi_go_send or, with end, of gsgi_go_finish.
type event struct {
	how  C.int
	end  bool
	cut  bool
	file part
}

type part struct {
	fd       int
	off, len int64
}

func (r *relay) late() bool { return errors.Is(r.env.Context().Err(), context.DeadlineExceeded) }

// send is called by the Python thread, and waits until the block is used.
func (r *relay) send(j *job, how C.int) C.int {
	last := how&C.GSGI_SEND_LAST != 0
	e := event{how: how}
	if how&C.GSGI_SEND_FILE != 0 {
		e.file = part{int(j.c.fd), int64(j.c.file_off), int64(j.c.file_len)}
	}
	r.events <- e
	rc := <-r.reply
	if last {
		r.finish(j, rc != C.GSGI_SENT)
	}
	return rc
}

func (r *relay) finish(j *job, cut bool) {
	jobs.put(j)
	r.events <- event{end: true, cut: cut}
}

// Application is the Python application in the gateway interface, to be
// wrapped in middleware or mounted by [goapp.Dispatch]. Requests that come to
// the App itself take a shorter way.
func (a *App) Application(env *goapp.Environ, start goapp.StartResponse) goapp.Body {
	if a.off {
		start(http.StatusServiceUnavailable, nil)
		return goapp.Bytes(nil)
	}
	r := &relay{env: env, events: make(chan event, 1), reply: make(chan C.int, 1)}
	j := jobs.get()
	j.r = r
	j.c.host_flags = nil
	j.c.flags = 0
	if env.Get("REQUEST_METHOD") == http.MethodHead {
		j.c.flags = C.GSGI_JOB_HEAD
	}
	j.c.content_length = -1
	b := &relayed{r: r, j: j}
	j.submit("", pack(env), nil)
	b.next()
	if b.e.end {
		return b
	}
	status, header := int(j.c.status), b.header()
	defer func() {
		if cause := recover(); cause != nil {
			_ = b.Close()
			panic(cause)
		}
	}()
	start(status, header)
	return b
}

// relayed is the body that a Python thread sends.
type relayed struct {
	r *relay
	j *job
	e event // that has not been answered
}

func (b *relayed) next() { b.e = <-b.r.events }

// header is what the Python thread has packed, with the Content-Length.
func (b *relayed) header() goapp.Header {
	var h goapp.Header
	data := bytes(b.j.c.head, b.j.c.head_len)
	for len(data) >= bridge.EntrySize {
		n, v := int(binary.NativeEndian.Uint16(data[2:])), int(binary.NativeEndian.Uint32(data[4:]))
		data = data[bridge.EntrySize:]
		h = append(h, [2]string{string(data[:n]), string(data[n+1 : n+1+v])})
		data = data[n+v+2:]
	}
	if b.j.c.length >= 0 {
		h = append(h, [2]string{"Content-Length", strconv.FormatInt(int64(b.j.c.length), 10)})
	}
	return h
}

// Blocks yields what the Python thread sends until it ends.
func (b *relayed) Blocks(yield func([]byte, error) bool) {
	for !b.e.end {
		rc := C.int(C.GSGI_SENT)
		if !b.pass(yield) {
			rc = C.GSGI_GONE
		}
		b.r.reply <- rc
		b.next()
		if rc != C.GSGI_SENT {
			return
		}
	}
	if b.e.cut {
		yield(nil, errFailed)
	}
}

func (b *relayed) pass(yield func([]byte, error) bool) bool {
	if n := b.j.c.block_len; n > 0 && !yield(bytes(b.j.c.block, n), nil) {
		return false
	}
	p := b.e.file
	buf := make([]byte, min(p.len, 64<<10))
	for p.len > 0 {
		n, err := syscall.Pread(p.fd, buf[:min(p.len, int64(len(buf)))], p.off)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n == 0 {
			yield(nil, errFailed)
			return false
		}
		p.off, p.len = p.off+int64(n), p.len-int64(n)
		if !yield(buf[:n], nil) {
			return false
		}
	}
	return true
}

// Close waits until the Python thread has done with the request.
func (b *relayed) Close() error {
	for !b.e.end {
		b.r.reply <- C.GSGI_GONE
		b.next()
	}
	return nil
}

// pack makes entries of an environ.
func pack(env *goapp.Environ) string {
	var p []byte
	for key, value := range env.All() {
		switch key {
		case "gsgi.url_scheme":
			p = appendEntry(p, bridge.EntryMeta, uint8(module.MetaScheme), "", value)
		case "gsgi.version", "gsgi.multithread", "gsgi.multiprocess", "gsgi.run_once", "gsgi.input_terminated":
		default:
			p = appendEntry(p, bridge.EntryParam, 0, key, value)
		}
	}
	return unsafe.String(unsafe.SliceData(p), len(p))
}

// tlsKeys are the keys of mod_ssl that need a table of names.
func tlsKeys(b *module.Block) string {
	if _, ok := b.Meta(module.MetaTLSVersion); !ok {
		return ""
	}
	var p []byte
	for _, key := range []string{"SSL_PROTOCOL", "SSL_CIPHER"} {
		if v, ok := b.Environ(key); ok {
			p = appendEntry(p, bridge.EntryParam, 0, key, v)
		}
	}
	return unsafe.String(unsafe.SliceData(p), len(p))
}

func appendEntry(p []byte, kind, id uint8, name, value string) []byte {
	if len(name) > 0xffff {
		return p
	}
	p = append(p, kind, id)
	p = binary.NativeEndian.AppendUint16(p, uint16(len(name)))
	p = binary.NativeEndian.AppendUint32(p, uint32(len(value)))
	return append(append(p, name...), value...)
}
