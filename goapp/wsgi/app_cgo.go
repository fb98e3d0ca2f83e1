//go:build linux && cgo

package wsgi

// #cgo CFLAGS: -std=gnu99 -O2 -Wall -Wextra -Wno-unused-parameter -D_GNU_SOURCE -fvisibility=hidden
// #cgo CFLAGS: -I${SRCDIR}/../../cshim
// #cgo pkg-config: python3-embed
// #cgo LDFLAGS: -ldl -lpthread
// #cgo nocallback gsgi_job_queued
// #cgo nocallback gsgi_thread_job
// #include <stdlib.h>
// #include "host.h"
import "C"

import (
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/gsgi/gsgi/goapp"
	"github.com/gsgi/gsgi/module"
)

//go:embed boot.py
var boot string

// App is a Python application, running in this process.
type App struct {
	opts    Options
	off     bool // the check is one without Python
	through http.Handler
	once    sync.Once
}

var (
	_ http.Handler   = (*App)(nil)
	_ module.Handler = (*App)(nil)
)

var begun atomic.Bool

// ErrSecond is why New fails the second time.
var ErrSecond = errors.New("wsgi: a process has one Python interpreter, and it hosts an application already: " +
	"let one WSGI callable dispatch to both, or run the second application in a server instance of its own")

// New starts the interpreter and imports the application. Once in a process.
// What is wrong with the application has been logged, with Python's traceback,
// when it returns an error. In the check of a server that starts, and with
// Unchecked in any, it does neither, and the App answers 503.
func New(o Options) (*App, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("wsgi: %w", err)
	}
	if !begun.CompareAndSwap(false, true) {
		return nil, ErrSecond
	}
	a := &App{opts: o}
	a.through = goapp.Handler(a.Application)
	if o.Unchecked && goapp.Mode() == goapp.Checking {
		a.off = true
		return a, nil
	}
	paths, err := o.settle()
	if err != nil {
		return nil, err
	}
	// The workers import the application next, and survive what it raises:
	// the first request need not wait for two imports.
	if goapp.Starting() {
		a.off = true
		return a, nil
	}
	if err := a.start(paths); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *App) start(paths []string) error {
	o := &a.opts
	done := C.gsgi_done_open()
	if done < 0 {
		return errors.New("wsgi: no descriptor is left for an eventfd")
	}
	go conclude(os.NewFile(uintptr(done), "eventfd"))
	conf := configuration(o, paths)
	room := make([]byte, 1024)
	// A Python thread in a callback counts as one that runs Go until it is
	// found out not to: the others must not wait for that.
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + o.Threads)
	err := startPython(conf, room)
	if err == nil {
		go watch(o.Threads)
		if o.Reload && goapp.Mode() != goapp.Checking {
			C.gsgi_python_watch()
		}
	}
	return err
}

func startPython(conf *C.gsgi_python_conf_t, room []byte) error {
	rc := C.gsgi_python_start(conf, (*C.char)(unsafe.Pointer(&room[0])), C.size_t(len(room)))
	if rc == 0 {
		return nil
	}
	if text := C.GoString((*C.char)(unsafe.Pointer(&room[0]))); text != "" {
		return errors.New("wsgi: " + text)
	}
	return errors.New("wsgi: the application cannot be imported")
}

// configuration is what C keeps for the life of the process.
func configuration(o *Options, paths []string) *C.gsgi_python_conf_t {
	conf := (*C.gsgi_python_conf_t)(C.calloc(1, C.sizeof_gsgi_python_conf_t))
	conf.spec = C.CString(o.App)
	conf.home = C.CString(o.Home)
	conf.boot = C.CString(boot)
	conf.paths = strs(paths)
	conf.npaths = C.size_t(len(paths))
	conf.env = strs(os.Environ())
	conf.threads = C.unsigned(o.Threads)
	if _, count := goapp.Worker(); count > 1 {
		conf.multiprocess = 1
	}
	conf.lazy = flagOf(o.Lazy)
	conf.validate = flagOf(o.Validate)
	conf.software = C.CString(software())
	return conf
}

func software() string {
	if g := module.Current(); g != nil && g.Software() != "" {
		return g.Software()
	}
	return "gsgi"
}

func flagOf(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

// strs is an array in C with NULL at its end.
func strs(s []string) **C.char {
	p := (**C.char)(C.calloc(C.size_t(len(s)+1), C.size_t(unsafe.Sizeof((*C.char)(nil)))))
	for i, v := range unsafe.Slice(p, len(s)+1)[:len(s)] {
		_ = v
		unsafe.Slice(p, len(s)+1)[i] = C.CString(s[i])
	}
	return p
}

// ServeGSGI is the direct path: the request goes to a Python thread, which
// also ends it.
func (a *App) ServeGSGI(x *module.Exchange) {
	j := jobs.get()
	j.x = x
	j.c.host_flags = (*C.uint32_t)(unsafe.Pointer(x.HostFlags()))
	x.Detach()
	x.Spool()
	j.c.flags = C.GSGI_JOB_HINTS
	if method, _ := x.Block().Meta(module.MetaMethod); method == http.MethodHead {
		j.c.flags |= C.GSGI_JOB_HEAD
	}
	body, whole := x.InlineBody()
	if whole {
		j.c.flags |= C.GSGI_JOB_WHOLE
	}
	j.c.content_length = -1
	if x.ContentLength() < 0 && x.BodyLength() >= 0 {
		j.c.content_length = C.int64_t(x.BodyLength())
	}
	j.submit(tlsKeys(x.Block()), x.Block().Packed(), body)
}

// ServeHTTP is the way behind middleware and routers of net/http, and without
// a server.
func (a *App) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.through.ServeHTTP(w, r) }

// Close runs what Python runs at its end: it waits for threads that are not
// daemons and calls the functions of atexit, for at most 10 seconds. Requests
// must have ended.
func (a *App) Close() error {
	if a.off {
		return nil
	}
	var err error
	a.once.Do(func() {
		if C.gsgi_python_stop(10000) == 0 {
			err = errors.New("wsgi: threads of Python, or functions of atexit, have not ended within 10 s")
		}
	})
	return err
}

// watch interrupts requests whose time is over, and sees to it that a worker
// whose threads are all stuck is replaced.
func watch(threads int) {
	w := &watcher{stuck: make(map[uint64]time.Time), threads: threads}
	for now := range time.Tick(100 * time.Millisecond) {
		w.look(now)
	}
}

// stuckAfter is how long an interrupted request may take to end before its
// thread counts as stuck.
const stuckAfter = 5 * time.Second

type watcher struct {
	threads int
	stuck   map[uint64]time.Time // by job: interrupted when
	waiting time.Time            // since when interrupts wait for the lock
	dumped  bool
	retired bool
}

func (w *watcher) look(now time.Time) {
	n := 0
	for i := range w.threads {
		id := uint64(C.gsgi_thread_job(C.unsigned(i)))
		if id == 0 || !jobs.late(id-1) {
			continue
		}
		since, known := w.stuck[id]
		if !known {
			w.stuck[id] = now
			C.gsgi_thread_interrupt(C.unsigned(i), C.uint64_t(id-1))
		} else if now.Sub(since) > stuckAfter {
			n++
		}
	}
	if len(w.stuck) > 4*w.threads {
		w.forget()
	}
	w.watchLock(now)
	if n == w.threads && !w.retired {
		w.retired = true
		retire(fmt.Sprintf("wsgi: all %d threads of Python are stuck in requests that have timed out", n))
	}
}

// forget drops what has ended.
func (w *watcher) forget() {
	for id := range w.stuck {
		if !jobs.late(id - 1) {
			delete(w.stuck, id)
		}
	}
}

// watchLock tells of code that does not let go of the interpreter lock.
func (w *watcher) watchLock(now time.Time) {
	if C.gsgi_interrupts() == 0 {
		w.waiting, w.dumped = time.Time{}, false
		return
	}
	if w.waiting.IsZero() {
		w.waiting = now
	}
	if !w.dumped && now.Sub(w.waiting) > stuckAfter {
		w.dumped = true
		reason := "wsgi: the interpreter lock is not let go"
		if C.gsgi_python_dump() != 0 {
			reason += "; where the threads are is on standard error"
		}
		retire(reason)
	}
}

func retire(reason string) {
	if g := module.Current(); g != nil {
		g.Retire(reason)
	}
}
