//go:build linux && cgo

package goapp

// The entry points that a web server looks for in a library built with
// -buildmode=c-shared.
import _ "github.com/gsgi/gsgi/cshim"
