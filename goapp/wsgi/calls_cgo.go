//go:build linux && cgo

package wsgi

// #include "host.h"
import "C"

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/gsgi/gsgi/cshim/bridge"
	"github.com/gsgi/gsgi/module"
)

// What Python threads call. They hold no lock of Go, and the interpreter lock
// only where nothing can wait.

//export gsgi_go_send
func gsgi_go_send(c *C.gsgi_job_t, how C.int) C.int {
	j := jobs.of(c)
	if j.r != nil {
		return j.r.send(j, how)
	}
	rc := j.send(how)
	if how&C.GSGI_SEND_LAST != 0 {
		j.finish(rc != C.GSGI_SENT)
	}
	return rc
}

func (j *job) send(how C.int) C.int {
	x, c := j.x, j.c
	if how&C.GSGI_SEND_HEAD != 0 {
		x.Begun(uint64(c.begun))
		err := x.WritePacked(int(c.status), bytes(c.head, c.head_len), uint32(c.nheaders), int64(c.length))
		if err != nil {
			return j.lost(err)
		}
	}
	if c.block_len > 0 {
		last := how&(C.GSGI_SEND_LAST|C.GSGI_SEND_FILE) == C.GSGI_SEND_LAST
		if _, err := x.WriteBlock(bytes(c.block, c.block_len), last); err != nil {
			return j.lost(err)
		}
	}
	if how&C.GSGI_SEND_FILE != 0 {
		if _, err := x.SendPart(int(c.fd), int64(c.file_off), int64(c.file_len)); err != nil {
			return j.lost(err)
		}
	}
	if how&C.GSGI_SEND_FLUSH != 0 {
		if err := x.Flush(); err != nil {
			return j.lost(err)
		}
	}
	return C.GSGI_SENT
}

// lost is why nothing more can be sent.
func (j *job) lost(err error) C.int {
	if gone, _ := j.x.Gone(); gone || errors.Is(err, module.ErrGone) {
		return C.GSGI_GONE
	}
	j.x.Log(slog.LevelError, err.Error())
	return C.GSGI_FAULT
}

// conclude sends the answers of requests that have taken their time. It makes
// no call that the runtime counts as one into the system: the first of these
// wakes the runtime's monitor, beside a thread that computes the next page.
func conclude(done *os.File) {
	conn, err := done.SyscallConn()
	if err != nil {
		panic(fmt.Sprintf("wsgi: waiting for answers: %v", err))
	}
	list := (*unsafe.Pointer)(unsafe.Pointer(C.gsgi_done_list()))
	var c *C.gsgi_job_t
	take := func(uintptr) bool { // the eventfd's edge is the message, it is not read
		c = (*C.gsgi_job_t)(atomic.SwapPointer(list, nil))
		return c != nil
	}
	for {
		if err := conn.Read(take); err != nil {
			panic(fmt.Sprintf("wsgi: waiting for answers: %v", err))
		}
		for c != nil {
			next := c.next
			if j := jobs.of(c); j.r == nil && j.x.CanWrite(int(c.block_len)) {
				gsgi_go_send(c, c.how)
			} else {
				go gsgi_go_send(c, c.how)
			}
			c = next
		}
	}
}

//export gsgi_go_finish
func gsgi_go_finish(c *C.gsgi_job_t, cut C.int) {
	j := jobs.of(c)
	if j.r != nil {
		j.r.finish(j, cut != 0)
		return
	}
	j.finish(cut != 0)
}

func (j *job) finish(cut bool) {
	x := j.x
	if cut {
		if !x.HeadSent() {
			x.ResetHead()
		}
		x.Cut(nil)
	}
	jobs.put(j)
	x.Finish()
}

//export gsgi_go_read
func gsgi_go_read(id C.uint64_t, p *C.char, n C.size_t) C.long {
	body := jobs.body(id)
	if body == nil {
		return C.GSGI_READ_GONE
	}
	for {
		m, err := body.Read(bytes(p, n))
		var large *http.MaxBytesError
		switch {
		case m > 0:
			return C.long(m)
		case err == nil:
			continue
		case err == io.EOF:
			return 0
		case errors.As(err, &large):
			return C.GSGI_READ_LARGE
		case errors.Is(err, os.ErrDeadlineExceeded):
			return C.GSGI_READ_TIMEOUT
		}
		return C.GSGI_READ_GONE
	}
}

//export gsgi_go_interim
func gsgi_go_interim(c *C.gsgi_job_t) C.int {
	j := jobs.of(c)
	if j.x == nil || j.x.Interim(int(c.status), bytes(c.head, c.head_len), uint32(c.nheaders)) != nil {
		return C.GSGI_GONE
	}
	return C.GSGI_SENT
}

//export gsgi_go_gone
func gsgi_go_gone(c *C.gsgi_job_t) C.int {
	if jobs.of(c).r.env.Context().Err() != nil {
		return 1
	}
	return 0
}

var levels = map[C.int]slog.Level{
	C.int(bridge.LogError): slog.LevelError, C.int(bridge.LogWarn): slog.LevelWarn,
	C.int(bridge.LogNotice): slog.LevelInfo + 1, C.int(bridge.LogInfo): slog.LevelInfo,
	C.int(bridge.LogDebug): slog.LevelDebug,
}

//export gsgi_go_log
func gsgi_go_log(c *C.gsgi_job_t, level C.int, p *C.char, n C.size_t) {
	text := strings.TrimRight(C.GoStringN(p, C.int(min(n, 1<<20))), "\n")
	if c != nil {
		switch j := jobs.of(c); {
		case j.x != nil:
			j.x.Log(levels[level], text)
			return
		case j.r != nil && level == C.int(bridge.LogError):
			fmt.Fprintln(j.r.env.Errors(), text)
			return
		}
	}
	if g := module.Current(); g != nil {
		g.Log(levels[level], text)
		return
	}
	fmt.Fprintln(os.Stderr, text)
}

//export gsgi_go_changed
func gsgi_go_changed(p *C.char, n C.size_t) {
	retire(fmt.Sprintf("wsgi: %s has changed", C.GoStringN(p, C.int(n))))
}

// bytes are n bytes of C.
func bytes(p *C.char, n C.size_t) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(p)), int(n))
}
