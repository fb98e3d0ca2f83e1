package cshim

// #include "gsgi.h"
import "C"

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	_ "unsafe" // for go:linkname

	"github.com/gsgi/gsgi/module"
)

// mainMain is the application's main function. A c-shared library does not
// run it by itself.
//
//go:linkname mainMain main.main
func mainMain()

// start makes this worker serve what the application's main attaches.
func start(conf *C.gsgi_start_conf_t) (*module.Gateway, error) {
	guest(conf)
	g, err := module.Start(config(conf), conf.region)
	if err != nil {
		return nil, err
	}
	g.Redirect()
	go runMain(g)
	return g, nil
}

// probe runs main until it serves, and ends the process.
func probe(conf *C.gsgi_start_conf_t) error {
	guest(conf)
	out := os.NewFile(uintptr(conf.report_fd), "probe")
	g, err := module.Check(config(conf), func(entries []string, err error) {
		if err != nil {
			fmt.Fprintf(out, "error %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
			os.Exit(1)
		}
		for _, e := range entries {
			fmt.Fprintf(out, "entry %s\n", e)
		}
		fmt.Fprintln(out, "ok")
		os.Exit(0)
	})
	if err != nil {
		return err
	}
	go runMain(g)
	return nil
}

// guest sets the runtime up for life in somebody else's process.
func guest(conf *C.gsgi_start_conf_t) {
	if conf.procs > 0 {
		runtime.GOMAXPROCS(int(conf.procs))
	}
	if conf.memory_limit > 0 {
		debug.SetMemoryLimit(int64(conf.memory_limit))
	}
	// When the worker crashes, the log has the trace of every goroutine.
	if os.Getenv("GOTRACEBACK") == "" {
		debug.SetTraceback("all")
	}
	// A closed standard error must not end the worker.
	signal.Ignore(syscall.SIGPIPE)
	// A wrong argument is an error of the application, not the worker's end.
	flag.CommandLine.Init(os.Args[0], flag.PanicOnError)
}

// runMain runs main and tells the gateway how it ended.
func runMain(g *module.Gateway) {
	cause := ""
	defer func() {
		if r := recover(); r != nil {
			cause = fmt.Sprintf("%v\n%s", r, debug.Stack())
		}
		g.MainEnded(cause)
	}()
	mainMain()
}
