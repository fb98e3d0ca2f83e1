package goapp

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"slices"
	"strconv"
	"strings"
)

// Environ describes a request: PEP 3333's environ, as a type with methods.
// The package documentation lists its keys. Values are looked up when they
// are asked for, inside a server in the request as the server packed it.
//
// An environ does not change. With, Without, WithContext, WithInput and Mount
// return a child; what middleware adds is seen by those whom it gives the
// child, and never leaks outwards. The methods may be called from several
// goroutines. Keys and values stay valid after the request; [Environ.Input]
// and [Environ.Context] have ended then.
type Environ struct {
	src   *source
	over  []override
	ctx   context.Context // nil: the request's
	input io.Reader       // nil: the request's
}

// override is what With and Without leave; the last one of a key counts.
type override struct {
	key, value string
	present    bool
}

// Get returns the value of key, and "" when there is none.
func (e *Environ) Get(key string) string {
	v, _ := e.Lookup(key)
	return v
}

// Lookup returns the value of key. ok is false when the environ does not have
// the key; a value that is there may be empty.
func (e *Environ) Lookup(key string) (value string, ok bool) {
	if o := e.override(key); o != nil {
		return o.value, o.present
	}
	return e.src.lookup(key)
}

func (e *Environ) override(key string) *override {
	for i := len(e.over) - 1; i >= 0; i-- {
		if e.over[i].key == key {
			return &e.over[i]
		}
	}
	return nil
}

// All yields every key once, with its value.
func (e *Environ) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for key, value := range e.src.all() {
			if e.override(key) == nil && !yield(key, value) {
				return
			}
		}
		for i := range e.over {
			o := &e.over[i]
			if o.present && e.override(o.key) == o && !yield(o.key, o.value) {
				return
			}
		}
	}
}

// With returns a child in which key has value.
func (e *Environ) With(key, value string) *Environ {
	return e.child(override{key: key, value: value, present: true})
}

// Without returns a child that does not have the keys.
func (e *Environ) Without(keys ...string) *Environ {
	gone := make([]override, len(keys))
	for i, key := range keys {
		gone[i].key = key
	}
	return e.child(gone...)
}

func (e *Environ) child(o ...override) *Environ {
	c := *e
	c.over = append(slices.Clip(e.over), o...)
	return &c
}

// WithContext returns a child with another context, which is usually derived
// from e.Context().
func (e *Environ) WithContext(ctx context.Context) *Environ {
	if ctx == nil {
		panic("gsgi: nil context")
	}
	c := *e
	c.ctx = ctx
	return &c
}

// WithInput returns a child with another request body, for instance a
// decompressed one. CONTENT_LENGTH is what r.Len() returns, and absent when r
// has no such method.
func (e *Environ) WithInput(r io.Reader) *Environ {
	c := e.Without("HTTP_TRANSFER_ENCODING", "CONTENT_LENGTH")
	if sized, ok := r.(interface{ Len() int }); ok {
		c.over[len(c.over)-1] = override{"CONTENT_LENGTH", strconv.Itoa(sized.Len()), true}
	}
	c.input = r
	return c
}

// Mount returns a child for an application that is mounted at prefix: prefix
// moves from PATH_INFO to the end of SCRIPT_NAME. ok is false, and the child
// e itself, when PATH_INFO does not begin with prefix or prefix does not end
// at the end of a segment: /blog is a prefix of /blog and /blog/1, not of
// /blogs. A slash at the end of prefix does not count.
func (e *Environ) Mount(prefix string) (child *Environ, ok bool) {
	prefix = strings.TrimSuffix(prefix, "/")
	if prefix == "" {
		return e, true
	}
	rest, ok := strings.CutPrefix(e.Get("PATH_INFO"), prefix)
	if !ok || rest != "" && rest[0] != '/' {
		return e, false
	}
	return e.child(
		override{"SCRIPT_NAME", e.Get("SCRIPT_NAME") + prefix, true},
		override{"PATH_INFO", rest, true},
	), true
}

// Context returns the context of the request. It is done when the client has
// gone, when the request has timed out, when the worker's shutdown limit has
// passed, and when the request is over. It is never nil.
func (e *Environ) Context() context.Context {
	if e.ctx != nil {
		return e.ctx
	}
	return e.src.context()
}

// Input returns the body of the request, PEP 3333's wsgi.input. It ends with
// io.EOF at the end of the body, also of a chunked one. The first Read sends
// 100 Continue where the client waits for it. It is never nil, and is not the
// application's to close. After the request it returns an error.
func (e *Environ) Input() io.Reader {
	if e.input != nil {
		return e.input
	}
	return e.src.input()
}

// Errors returns where the application writes what went wrong, PEP 3333's
// wsgi.errors: the server's error log at level error, with the request's id.
// Every Write is a message, of one line or several. Standalone it is the
// ErrorLog of the [net/http.Server], or the log package.
func (e *Environ) Errors() io.Writer { return errorWriter{e.src} }

// URLScheme returns "http" or "https", the value of gsgi.url_scheme.
func (e *Environ) URLScheme() string { return e.Get("gsgi.url_scheme") }

type errorWriter struct{ src *source }

func (w errorWriter) Write(p []byte) (int, error) {
	w.src.log(slog.LevelError, strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}
