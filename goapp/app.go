package goapp

import "fmt"

// An Application answers a request. It is PEP 3333's callable: the gateway
// calls it once for each request, on a goroutine that is the request's own
// for as long as it runs, and many requests run at the same time.
//
// env describes the request. start is to be called with the status and the
// header of the response, before the first block of the body: in the
// application itself, or within Blocks of the body that it returns. The
// gateway calls Close of that body exactly once, whatever happens. A nil Body
// is an empty one.
//
// A panic of the application is answered with 500, or, when the head of the
// response is out, by cutting the connection. The value and the stack go to
// the error log, except for [net/http.ErrAbortHandler], as in net/http.
type Application func(env *Environ, start StartResponse) Body

// StartResponse begins the response (PEP 3333, "The start_response()
// Callable"). status is 200 to 999; the reason phrase is the server's. The
// header stays the gateway's until Close of the body is called: do not change
// it meanwhile. It is not changed by the gateway, so that one at package
// level serves all requests.
//
// Nothing is sent yet: the head leaves with the first block that is not
// empty, or when the body ends without one. Until then an application that
// fails can take its answer back, by calling start again with the error as
// exc; a nil exc counts as none. When the head has left, start panics with
// that error, and the response is cut so that it cannot pass for complete.
//
// It panics with a [*Violation] when it is called a second time without exc,
// also if the first call panicked; when the status is out of range; when a
// name is not a token (RFC 9110, section 5.6.2), a value has a control
// character, a header is one that belongs to the connection (Connection,
// Transfer-Encoding, ...), or Content-Length is not one number.
//
// It is to be called on the goroutine that runs the application or Blocks of
// its body. A call after the response is over does nothing but log an error.
type StartResponse func(status int, header Header, exc ...error)

// Header is the header of a response: pairs of name and value, in order, and
// repeatable as Set-Cookie must be. Names are sent as they are spelled where
// the protocol allows.
//
// A Content-Length in it is kept to: the surplus of a longer body is not sent
// and a shorter body cuts the connection, both with an error in the log.
type Header [][2]string

// A Violation is what a gateway panics with when an application breaks the
// contract of PEP 3333.
type Violation struct {
	Text string // what was broken
}

// Error returns the text with the prefix "gsgi: ".
func (v *Violation) Error() string { return "gsgi: " + v.Text }

func violation(format string, args ...any) *Violation {
	return &Violation{Text: fmt.Sprintf(format, args...)}
}

// Middleware wraps an application. What it wants the inner one to see it puts
// into a child of the environ ([Environ.With]); a Body that it replaces it
// closes in Close of its own.
type Middleware func(next Application) Application

// Chain returns app inside of the middleware m, the first of m outermost.
func Chain(app Application, m ...Middleware) Application {
	for i := len(m) - 1; i >= 0; i-- {
		app = m[i](app)
	}
	return app
}
