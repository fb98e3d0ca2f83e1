// Program app is a library with the entry points of GSGI and nothing behind
// them. APP_MODE tells it how to behave, APP_REPORT where to write down what
// it sees of the process that it runs in.
package main

/*
#cgo CFLAGS: -I${SRCDIR}/../../../..
#include <gsgi.h>
#include "abi.h"

typedef const gsgi_start_conf_t gsgi_const_conf_t;
*/
import "C"

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// Package-level variables are set before the host can call anything.
var (
	mode   = os.Getenv("APP_MODE")
	early  = os.Getenv("APP_EARLY")
	region *C.gsgi_region_t
	_      = misbehave()
)

func misbehave() bool {
	switch mode {
	case "init-panic":
		panic("no configuration\nand no second line")
	case "init-exit":
		fmt.Fprintln(os.Stderr, "cannot go on")
		os.Exit(3)
	case "init-hang":
		time.Sleep(time.Hour)
	case "init-slow":
		time.Sleep(500 * time.Millisecond)
	}
	return true
}

func main() {}

//export gsgi_start
func gsgi_start(conf *C.gsgi_const_conf_t, gw **C.gsgi_gateway_t) C.int {
	if mode == "start-error" {
		return refuse(conf, "nothing to serve")
	}
	region = (*C.gsgi_region_t)(conf.region)
	report()
	switch mode {
	case "notify":
		signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGQUIT)
	case "ignore":
		signal.Ignore(syscall.SIGTERM)
	case "fault":
		time.AfterFunc(100*time.Millisecond, func() { C.app_fault() })
	case "panic":
		time.AfterFunc(100*time.Millisecond, func() { panic("out of order") })
	}
	*gw = (*C.gsgi_gateway_t)(conf.region)
	setState(C.GSGI_APP_READY)
	return C.GSGI_OK
}

//export gsgi_drain
func gsgi_drain(gw *C.gsgi_gateway_t) C.int {
	if mode == "spin" {
		spin((*uint32)(unsafe.Pointer(&region.stats.reserved[0])))
		return C.GSGI_OK
	}
	atomic.AddUint64((*uint64)(&region.stats.requests), 1)
	setState(C.GSGI_APP_STOPPED)
	return C.GSGI_OK
}

// spin collects garbage while a loop runs that can only be stopped by a
// signal, and sets state to 2 when that has ended. The loop ends when it is 3.
func spin(state *uint32) {
	atomic.StoreUint32(state, 1)
	go func() {
		for atomic.LoadUint32(state) != 3 {
		}
	}()
	go func() {
		time.Sleep(20 * time.Millisecond)
		runtime.GC()
		atomic.CompareAndSwapUint32(state, 1, 2)
	}()
}

//export gsgi_stop
func gsgi_stop(gw *C.gsgi_gateway_t, timeout C.uint32_t) C.int {
	atomic.AddUint64((*uint64)(&region.stats.released), 1)
	atomic.StoreUint64((*uint64)(&region.stats.panics), uint64(timeout))
	setState(C.GSGI_APP_STOPPED)
	return C.GSGI_OK
}

//export gsgi_probe
func gsgi_probe(conf *C.gsgi_const_conf_t) C.int {
	if mode == "start-error" {
		return refuse(conf, "nothing to serve")
	}
	fd := int(conf.report_fd)
	go probe(fd)
	return C.GSGI_OK
}

func probe(fd int) {
	report()
	switch mode {
	case "exit":
		fmt.Fprintln(os.Stderr, "flag provided but not defined: -x")
		os.Exit(2)
	case "return":
		os.Exit(0)
	case "panic":
		panic("out of order")
	case "fault":
		C.app_fault()
	case "crowd":
		debug.SetTraceback("all")
		for range 2000 {
			go func() { select {} }()
		}
		panic("too many")
	case "error":
		say(fd, "error nothing is served\n")
		os.Exit(1)
	case "hang":
		exec.Command("/bin/sleep", "1000").Start()
		fmt.Fprintln(os.Stderr, "waiting for a database")
		select {}
	case "noise":
		for i := range 20000 {
			fmt.Fprintln(os.Stderr, "line", i, "panic: in the middle")
		}
	case "noise-exit":
		for i := range 20000 {
			fmt.Fprintln(os.Stderr, "line", i)
		}
		os.Exit(4)
	case "entries":
		for i := range 64 {
			say(fd, fmt.Sprintf("entry port%d\n", i))
		}
	case "too-many":
		for i := range 65 {
			say(fd, fmt.Sprintf("entry port%d\n", i))
		}
	case "long-name":
		say(fd, "entry "+strings.Repeat("x", 64)+"\n")
	case "dumb":
		syscall.Close(fd)
		syscall.Close(2)
		syscall.Close(1)
		select {}
	default:
		say(fd, "entry \nentry 9090\n")
	}
	say(fd, "ok\n")
	os.Exit(0)
}

func say(fd int, text string) {
	syscall.Write(fd, []byte(text))
}

func refuse(conf *C.gsgi_const_conf_t, text string) C.int {
	room := unsafe.Slice((*byte)(unsafe.Pointer(conf.err)), int(conf.errlen))
	n := copy(room[:len(room)-1], text)
	room[n] = 0
	return C.GSGI_ERROR
}

func setState(state uint32) {
	atomic.StoreUint32((*uint32)(&region.app_state), state)
}

// report writes one line for each fact: "name value".
func report() {
	path := os.Getenv("APP_REPORT")
	if path == "" {
		return
	}
	var b strings.Builder
	wd, _ := os.Getwd()
	groups, _ := os.Getgroups()
	gc := debug.SetGCPercent(100)
	fmt.Fprintf(&b, "args %q\n", os.Args)
	fmt.Fprintf(&b, "environ %q\n", os.Environ())
	fmt.Fprintf(&b, "early %s\n", early)
	fmt.Fprintf(&b, "gogc %d\n", gc)
	fmt.Fprintf(&b, "memlimit %d\n", debug.SetMemoryLimit(-1))
	fmt.Fprintf(&b, "panicnil %v\n", panicNil())
	fmt.Fprintf(&b, "pagesize %d\n", os.Getpagesize())
	fmt.Fprintf(&b, "cpus %v\n", runtime.NumCPU() > 0)
	fmt.Fprintf(&b, "wd %s\n", wd)
	fmt.Fprintf(&b, "ids %d %d %v\n", os.Getuid(), os.Getgid(), groups)
	fmt.Fprintf(&b, "group %v\n", syscall.Getpgrp() == os.Getpid())
	fmt.Fprintf(&b, "pid %d\n", os.Getpid())
	fmt.Fprintf(&b, "fds %s\n", descriptors("/proc/self/fd"))
	fmt.Fprintf(&b, "guard %s\n", guard())
	fmt.Fprintf(&b, "child %s\n", child())
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, []byte(b.String()), 0o644); err == nil {
		os.Rename(tmp, path)
	}
}

func panicNil() (isNil bool) {
	defer func() { isNil = recover() == nil }()
	panic(nil)
}

// guard lists the descriptors of the parent process, which may still be closing
// them.
func guard() string {
	dir := fmt.Sprintf("/proc/%d/fd", os.Getppid())
	list := descriptors(dir)
	for end := time.Now().Add(5 * time.Second); strings.Contains(list, "/dev/zero") && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
		list = descriptors(dir)
	}
	return list
}

func descriptors(dir string) string {
	var names []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		link, err := os.Readlink(dir + "/" + e.Name())
		if err == nil && !strings.Contains(link, "anon_inode") {
			names = append(names, e.Name()+"="+link)
		}
	}
	return strings.Join(names, " ")
}

// child tells what a program that the application starts inherits.
func child() string {
	out, err := exec.Command("/bin/sh", "-c",
		"grep -E 'Sig(Blk|Ign)' /proc/self/status | tr '\\t\\n' '  ';"+
			" for f in /proc/$$/fd/*; do [ -e $f ] && echo -n \"${f##*/} \"; done; true").Output()
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(out))
}
