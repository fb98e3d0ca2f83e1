package goapp

import (
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
)

// Validator returns next inside of a middleware that watches both sides of
// the contract, as wsgiref.validate does for Python, and panics with a
// [*Violation] when one of them breaks it. It is for tests and costs time:
// blocks are copied, and the copy is overwritten when the gateway has had it,
// so that a server or middleware which keeps it is found out. A file is read
// and not sent by descriptor.
//
// Beyond what every gateway checks it wants: a well-formed environ; a
// Content-Type with every body and none with 204 and 304; no header Status;
// a body exactly as long as its Content-Length and Len; no block after yield
// has returned false, together with an error, or from two goroutines at once;
// Blocks called at most once and not after Close, and Close called once.
func Validator(next Application) Application {
	return func(env *Environ, start StartResponse) Body {
		checkEnviron(env)
		v := &validated{start: start, length: -1, head: env.Get("REQUEST_METHOD") == http.MethodHead}
		v.body = next(env, v.startResponse)
		if v.body == nil {
			v.body = Bytes(nil)
		}
		return v
	}
}

// checkEnviron is section "environ Variables" of PEP 3333.
func checkEnviron(env *Environ) {
	for _, key := range []string{"REQUEST_METHOD", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL"} {
		if env.Get(key) == "" {
			panic(violation("%s is not in the environ, or empty", key))
		}
	}
	for _, key := range []string{"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH", "HTTP_PROXY"} {
		if _, ok := env.Lookup(key); ok {
			panic(violation("%s is in the environ", key))
		}
	}
	script, info := env.Get("SCRIPT_NAME"), env.Get("PATH_INFO")
	if script != "" && (script[0] != '/' || script == "/") {
		panic(violation("SCRIPT_NAME %q is not empty and not a path", script))
	}
	if info != "" && info[0] != '/' && info != "*" {
		panic(violation("PATH_INFO %q does not begin with a slash", info))
	}
	if n, ok := env.Lookup("CONTENT_LENGTH"); ok && n != "" {
		if _, err := strconv.ParseUint(n, 10, 63); err != nil {
			panic(violation("CONTENT_LENGTH %q is not a number", n))
		}
	}
	if scheme := env.URLScheme(); scheme != "http" && scheme != "https" {
		panic(violation("gsgi.url_scheme is %q", scheme))
	}
}

// validated is start and the body between an application and its gateway.
type validated struct {
	start StartResponse
	body  Body
	head  bool

	called  bool
	status  int
	hasType bool
	length  int64 // Content-Length, -1: none
	sent    int64

	iterated, stopped, closed bool
	yielding                  atomic.Bool
	copy                      []byte
}

func (v *validated) startResponse(status int, header Header, exc ...error) {
	if v.called && firstError(exc) == nil {
		panic(violation("StartResponse was called a second time without an error"))
	}
	v.called = true
	length, problem := checkHead(status, header)
	if problem != "" {
		panic(&Violation{Text: problem})
	}
	hasType := false
	for _, h := range header {
		switch http.CanonicalHeaderKey(h[0]) {
		case "Status":
			panic(violation("the header has a Status"))
		case "Content-Type":
			hasType = true
		}
	}
	if hasType && (status == http.StatusNoContent || status == http.StatusNotModified) {
		panic(violation("Content-Type with status %d", status))
	}
	v.start(status, header, exc...)
	v.status, v.hasType, v.length = status, hasType, length
}

// Len is what the body says.
func (v *validated) Len() int64 {
	if b, ok := v.body.(interface{ Len() int64 }); ok {
		return b.Len()
	}
	return -1
}

func (v *validated) Close() error {
	if v.closed {
		panic(violation("Close was called twice"))
	}
	v.closed = true
	return v.body.Close()
}

func (v *validated) Blocks(yield func([]byte, error) bool) {
	switch {
	case v.closed:
		panic(violation("Blocks was called after Close"))
	case v.iterated:
		panic(violation("Blocks was called twice"))
	}
	v.iterated = true
	length := v.Len()
	v.body.Blocks(func(block []byte, err error) bool { return v.yield(yield, block, err) })
	switch {
	case v.stopped:
	case !v.called:
		panic(violation("the body ended before StartResponse was called"))
	case v.length >= 0 && v.sent != v.length && !v.head && v.status != http.StatusNotModified:
		panic(violation("the body has %d bytes, its Content-Length is %d", v.sent, v.length))
	case length >= 0 && v.sent != length:
		panic(violation("the body has %d bytes, its Len is %d", v.sent, length))
	}
}

func (v *validated) yield(yield func([]byte, error) bool, block []byte, err error) bool {
	if v.yielding.Swap(true) {
		panic(violation("two blocks were yielded at once"))
	}
	defer v.yielding.Store(false)
	if problem := v.checkBlock(block, err); problem != "" {
		panic(&Violation{Text: problem})
	}
	v.sent += int64(len(block))
	v.copy = append(v.copy[:0], block...)
	ok := yield(v.copy, err)
	for i := range v.copy {
		v.copy[i] = 0xdb
	}
	v.stopped = !ok
	return ok
}

func (v *validated) checkBlock(block []byte, err error) string {
	switch {
	case v.closed:
		return "a block was yielded after Close"
	case v.stopped:
		return "a block was yielded although no more was wanted"
	case err != nil && len(block) > 0:
		return "a block was yielded together with an error"
	case err != nil:
	case !v.called:
		return "a block was yielded before StartResponse was called"
	case len(block) == 0:
	case v.status == http.StatusNoContent || v.status == http.StatusNotModified:
		return fmt.Sprintf("a body with status %d", v.status)
	case !v.hasType:
		return "a body without Content-Type"
	case v.length >= 0 && v.sent+int64(len(block)) > v.length:
		return fmt.Sprintf("the body is longer than its Content-Length of %d", v.length)
	}
	return ""
}
