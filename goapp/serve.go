package goapp

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime"

	"github.com/gsgi/gsgi/module"
)

// ListenAndServe serves h, or [http.DefaultServeMux] when h is nil.
//
// Standalone it listens on addr, as [http.ListenAndServe] does. On SIGINT or
// SIGTERM it stops accepting connections and waits for the requests that are
// running, up to 30 seconds.
//
// Inside a server nothing listens: addr names an entry by its port, "9090"
// for ":9090" and "127.0.0.1:9090", and an addr without a port names it
// as a whole. The locations of the server's configuration pass requests to
// the entry: gsgi_pass site:9090, or, when there is only one, gsgi_pass site.
//
// It returns an error when it cannot serve: the address or the entry is taken.
// After serving it does not return. When the last request has ended, it ends
// the calling goroutine by [runtime.Goexit]: deferred calls of main run, and a
// log.Fatal around it does not end the worker, where other requests are still
// being answered. Standalone the process ends with status 0 when main's
// deferred calls have run.
func ListenAndServe(addr string, h http.Handler) error {
	return Serve(&http.Server{Addr: addr, Handler: h})
}

// Serve is [ListenAndServe] for an [http.Server] with settings of its own,
// which must not be in use.
//
// Inside a server, BaseContext (called with a nil listener), ErrorLog and the
// functions of RegisterOnShutdown are kept, these run when the worker begins
// to drain, and srv is the value of [http.ServerContextKey]. Time-outs,
// limits and TLS are the web server's. With BaseContext, [Handler] as the
// root goes by way of net/http.
//
// Standalone, a TLSConfig with certificates makes it serve HTTPS. It returns
// [http.ErrServerClosed] when the application itself has called srv.Shutdown
// or srv.Close.
func Serve(srv *http.Server) error {
	g := module.Current()
	if g == nil {
		return serveStandalone(srv)
	}
	if err := g.Attach(entryOf(srv.Addr), attachable(srv.Handler, srv)); err != nil {
		return fmt.Errorf("gsgi: serving %q: %w", srv.Addr, err)
	}
	if inMain() {
		g.Arrived()
	}
	if Mode() == Checking {
		select {} // the process is ended when all is known
	}
	context.AfterFunc(g.Draining(), func() { _ = srv.Shutdown(context.Background()) })
	<-g.Drained()
	runtime.Goexit()
	return nil
}

// inMain says whether main has called, and not a goroutine that it started.
func inMain() bool {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(0, pcs)])
	for {
		frame, more := frames.Next()
		if frame.Function == "main.main" {
			return true
		}
		if !more {
			return false
		}
	}
}

// Handle serves h as the named entry: gsgi_pass site:NAME. It returns at
// once; main goes on to [ListenAndServe], or waits for [Context]. Standalone
// it does nothing, as there is no server that could name the entry.
//
// It panics when the entry is taken, which the check of the configuration
// reports.
func Handle(entry string, h http.Handler) {
	g := module.Current()
	if g == nil {
		return
	}
	if err := g.Attach(entry, attachable(h, nil)); err != nil {
		panic(fmt.Errorf("gsgi: Handle %q: %w", entry, err))
	}
}

// entryOf names the entry of an address.
func entryOf(addr string) string {
	if addr == "" {
		return "http" // what net/http listens on then
	}
	if _, port, err := net.SplitHostPort(addr); err == nil {
		return port
	}
	return addr
}

// attachable finds the direct path, if h has one that srv does not forbid.
func attachable(h http.Handler, srv *http.Server) module.Handler {
	if direct, ok := h.(module.Handler); ok && (srv == nil || srv.BaseContext == nil) {
		return direct
	}
	return module.HTTP(h, srv)
}
