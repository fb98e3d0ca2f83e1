package goapp

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log"
	"log/slog"
	"net/http"
	"os"
	"strconv"

	"github.com/gsgi/gsgi/module"
)

// Handler returns app as an [http.Handler]. Given to [ListenAndServe],
// [Serve] or [Handle] as the root, it answers requests inside a server
// without any http.Request being built. Deeper, behind a router or
// middleware of net/http, its environ is that of the request as these left
// it: see [EnvironOf].
func Handler(app Application) http.Handler {
	if app == nil {
		panic("gsgi: nil Application")
	}
	return &appHandler{app}
}

type appHandler struct{ app Application }

var (
	_ http.Handler = (*appHandler)(nil)
	_ module.Maker = (*appHandler)(nil)
	_ sink         = (*module.Exchange)(nil)
)

// NewExchange makes the call with the exchange.
func (h *appHandler) NewExchange(size int) *module.Exchange {
	x, _ := module.NewExchange[call](size)
	return x
}

// ServeGSGI is the direct path.
func (h *appHandler) ServeGSGI(x *module.Exchange) {
	c, ok := x.Own().(*call)
	if !ok {
		c = new(call) // the exchange was made for another handler
	}
	c.to, c.src.x = x, x
	c.env.src = &c.src
	method, _ := x.Block().Meta(module.MetaMethod)
	c.isHead = method == http.MethodHead
	c.run(h.app)
}

// ServeHTTP is the way through net/http.
func (h *appHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to := &writerSink{w: w, rc: http.NewResponseController(w)}
	c := &call{to: to, isHead: r.Method == http.MethodHead}
	c.src = sourceOf(r)
	c.env.src = &c.src
	to.src = &c.src
	c.run(h.app)
	if to.cut {
		panic(http.ErrAbortHandler)
	}
}

// EnvironOf returns the environ of a request. It is never nil.
//
// What middleware may have changed in r counts as it is in r: the method, the
// path, the query, the headers, the remote address and the context. Everything
// else, and what the configuration sets by gsgi_param, is as on the direct
// path, or, if r comes from [FromHandler], as in the environ that it was built
// from. What http.StripPrefix has taken off the path is in SCRIPT_NAME.
//
// It works for any request, also one of [net/http/httptest], so that an
// application is tested without a server.
func EnvironOf(r *http.Request) *Environ {
	src := sourceOf(r)
	return &Environ{src: &src}
}

func sourceOf(r *http.Request) source {
	if env, ok := r.Context().Value(environKey{}).(*Environ); ok {
		return source{x: env.src.x, req: r, under: env}
	}
	return source{x: module.FromContext(r.Context()), req: r}
}

// environKey is the key of the context of a request that FromHandler built.
type environKey struct{}

// writerSink sends a response through net/http.
type writerSink struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	src  *source
	sent bool // WriteHeader was called
	cut  bool
}

// WriteHead sets the header as a handler of net/http would. A name replaces
// what is there already, but for Set-Cookie and Vary, which add up.
func (s *writerSink) WriteHead(status int, header [][2]string, length int64) error {
	h := s.w.Header()
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // a gateway does not guess
	}
	for i, nv := range header {
		name := http.CanonicalHeaderKey(nv[0])
		if name == "Set-Cookie" || name == "Vary" || repeated(header[:i], name) {
			h.Add(name, nv[1])
		} else {
			h.Set(name, nv[1])
		}
	}
	if length >= 0 {
		h.Set("Content-Length", strconv.FormatInt(length, 10))
	}
	s.sent = true
	s.w.WriteHeader(status)
	return nil
}

func repeated(header [][2]string, name string) bool {
	for _, nv := range header {
		if http.CanonicalHeaderKey(nv[0]) == name {
			return true
		}
	}
	return false
}

func (s *writerSink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	return n, quiet(err)
}

// Flush passes what has been written on, where the writer can.
func (s *writerSink) Flush() error {
	if err := s.rc.Flush(); !errors.Is(err, http.ErrNotSupported) {
		return quiet(err)
	}
	return nil
}

func (s *writerSink) SendFile(f *os.File, n int64) (int64, error) {
	sent, err := io.CopyN(s.w, f, n)
	return sent, quiet(err)
}

// quiet tells errors of the connection, which are no news for the log, from
// those that are the application's.
func quiet(err error) error {
	var path *fs.PathError
	switch {
	case err == nil || err == io.EOF:
		return nil
	case errors.As(err, &path) || errors.Is(err, http.ErrContentLength) || errors.Is(err, http.ErrBodyNotAllowed):
		return err
	}
	return module.ErrGone
}

// Cut answers 500, or has ServeHTTP end the connection.
func (s *writerSink) Cut(err error) {
	if err != nil {
		s.src.log(slog.LevelError, err.Error())
	}
	if s.sent || err == nil {
		s.cut = true
		return
	}
	s.sent = true
	http.Error(s.w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
}

// logFor logs outside of a request of a server: to the gateway's log, else to
// the ErrorLog of the http.Server that received r, else by package log.
func logFor(r *http.Request, level slog.Level, text string) {
	if Mode() == InServer {
		module.Current().Log(level, text)
		return
	}
	if srv := serverOf(r); srv != nil && srv.ErrorLog != nil {
		srv.ErrorLog.Print(text)
		return
	}
	log.Print(text)
}

func serverOf(r *http.Request) *http.Server {
	ctx := context.Background()
	if r != nil {
		ctx = r.Context()
	}
	srv, _ := ctx.Value(http.ServerContextKey).(*http.Server)
	return srv
}
