// Testapp serves package app: alone with go run, and inside a server as a
// c-shared library.
package main

/*
static int
read_null(void)
{
    volatile int  *p = 0;

    return *p;
}
*/
import "C"

import (
	"errors"
	"flag"
	"log"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/gsgi/gsgi/examples/e2e/app"
	"github.com/gsgi/gsgi/goapp"
)

var (
	entries = flag.String("entries", "8080,admin,gw,mux,nest,nestweb", "what to serve")
	fail    = flag.String("fail", "", "return, panic, long, exit, error, flag, maps or hang instead of serving; late: beside it")
	code    = flag.Int("code", 3, "what to exit with")
	when    = flag.String("when", "server", "where to fail: probe, server")
	life    = flag.String("life", "", "file for what happens to the application")
	own     = flag.Bool("own", false, "serve with an http.Server of its own")
	delay   = flag.Duration("delay", 0, "pause before serving in a server")
	pause   = flag.Duration("pause", 0, "pause between the entries")
	touch   = flag.String("touch", "", "file to make before serving")
	signals = flag.Bool("signals", false, "take the server's signals before serving")
	child   = flag.String("child", "", "argument of sleep, which is started before serving")
)

// initial fails before main, when it is told to.
var initial = failEarly()

func failEarly() bool {
	if text := os.Getenv("E2E_INIT_PANIC"); text != "" {
		panic(text)
	}
	return true
}

func main() {
	flag.Parse()
	app.Segv = func() { C.read_null() }

	if err := errors.Join(makeFile(*touch), startChild(*child)); err != nil {
		log.Fatal(err)
	}
	if *signals {
		app.TakeSignals()
	}
	where := "server"
	if goapp.Mode() == goapp.Checking {
		where = "probe"
	}
	if *fail != "" && *fail != "late" && *when == where {
		failNow()
		return
	}
	if where == "server" {
		time.Sleep(*delay)
	}

	record := app.NewLife(*life)
	defer record.End()
	record.Watch()

	for _, entry := range strings.Split(*entries, ",") {
		switch entry {
		case "admin":
			goapp.Handle(entry, app.Admin())
		case "gw":
			goapp.Handle(entry, goapp.Handler(app.Gateway()))
		case "mux":
			goapp.Handle(entry, app.Mux())
		case "nest":
			goapp.Handle(entry, goapp.Handler(app.Nest()))
		case "nestweb":
			goapp.Handle(entry, app.NestWeb())
		}
	}
	time.Sleep(*pause)
	if *own {
		log.Fatal(goapp.Serve(record.Server(":8080", app.Handler())))
	}
	if *fail == "late" {
		go func() { log.Fatal(goapp.ListenAndServe(":8080", app.Handler())) }()
		select {
		case <-app.MainEnds:
			panic("late on demand")
		case <-goapp.Context().Done():
			return
		}
	}
	log.Fatal(goapp.ListenAndServe(":8080", app.Handler()))
}

func failNow() {
	switch *fail {
	case "panic":
		panic("failing on demand")
	case "long":
		panic("long on demand, " + strings.Repeat("x", 5000))
	case "exit":
		log.Print("exiting on demand")
		os.Exit(*code)
	case "error":
		log.Fatal(errors.New("fatal on demand"))
	case "flag":
		flag.CommandLine.Parse([]string{"-no-such-flag"})
	case "maps":
		app.Exhaust()
	case "hang":
		select {}
	}
}

func makeFile(name string) error {
	if name == "" {
		return nil
	}
	return os.WriteFile(name, nil, 0o600)
}

// startChild starts a process that holds this one's standard error.
func startChild(seconds string) error {
	if seconds == "" {
		return nil
	}
	for _, alone := range []bool{false, true} { // in a session of its own
		cmd := exec.Command("sleep", seconds)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: alone}
		if err := cmd.Start(); err != nil {
			return err
		}
	}
	return nil
}
