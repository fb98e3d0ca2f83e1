//go:build !linux || !cgo

package wsgi

import (
	"errors"
	"net/http"

	"github.com/gsgi/gsgi/goapp"
)

// App is a Python application; in this build there is none.
type App struct{}

// ErrNone is why New fails in a build without cgo or off Linux.
var ErrNone = errors.New("wsgi: built without cgo, or not for Linux: there is no Python in it")

// ErrSecond is why New fails the second time.
var ErrSecond = errors.New("wsgi: a process has one Python interpreter")

// New fails: Python is a library in C.
func New(Options) (*App, error) { return nil, ErrNone }

// ServeHTTP answers 503.
func (*App) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, ErrNone.Error(), http.StatusServiceUnavailable)
}

// Application answers 503.
func (*App) Application(_ *goapp.Environ, start goapp.StartResponse) goapp.Body {
	start(http.StatusServiceUnavailable, nil)
	return nil
}

// Close does nothing.
func (*App) Close() error { return nil }
