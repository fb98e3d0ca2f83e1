package goapp

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/gsgi/gsgi/module"
)

// RunMode says how the program runs.
type RunMode = module.RunMode

// The modes.
const (
	// Standalone: by itself, an HTTP server of its own.
	Standalone = module.Standalone

	// Checking: in a throw-away process of nginx -t or httpd -t, which finds
	// out whether main gets as far as serving. It ends there.
	Checking = module.Checking

	// InServer: in a worker of a web server.
	InServer = module.InServer
)

// Mode returns how the program runs. What must not be done when a
// configuration is checked, such as a migration of a database, asks it:
//
//	if goapp.Mode() != goapp.Checking {
//		migrate()
//	}
func Mode() RunMode { return module.Mode() }

// Starting reports whether Mode is Checking because the server starts: its
// workers run the same program next, and there are no older ones to keep if it
// is not good. What takes long, and what a worker survives when it fails, can
// be left to them.
func Starting() bool { return module.Starting() }

// Worker returns which worker of the server this is, from 0 to count-1.
// Standalone it is 0 of 1.
func Worker() (index, count int) {
	if g := module.Current(); g != nil {
		return g.Worker()
	}
	return 0, 1
}

// Context returns a context that is done when the worker begins to drain: on
// a reload or the end of the server, while requests that are running go on.
// Standalone it is done on SIGINT and SIGTERM; a second signal ends the
// process as if nobody had asked for the first. Tasks of the application's
// own end with it.
func Context() context.Context {
	if g := module.Current(); g != nil {
		return g.Draining()
	}
	if isLibrary() {
		return earlyContext()
	}
	return signalContext()
}

// isLibrary says whether this is a library, in which package-level variables
// are set before the worker is known, and signals are never ours.
var isLibrary = sync.OnceValue(func() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-buildmode", Value: "c-shared"})
})

// earlyContext follows the worker's context as soon as there is one.
var earlyContext = sync.OnceValue(func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for module.Current() == nil {
			time.Sleep(10 * time.Millisecond)
		}
		context.AfterFunc(module.Current().Draining(), cancel)
	}()
	return ctx
})

// Go runs f in a goroutine of its own. A panic of f is logged with its stack
// and ends that goroutine; in a goroutine started by a go statement it would
// end the worker, with all its connections.
func Go(f func()) {
	go func() {
		defer func() {
			if v := recover(); v != nil {
				logFor(nil, slog.LevelError, fmt.Sprintf("gsgi: panic in a goroutine: %v\n%s", v, debug.Stack()))
			}
		}()
		f()
	}()
}
