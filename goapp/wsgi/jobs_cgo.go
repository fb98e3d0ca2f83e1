//go:build linux && cgo

package wsgi

// #include "host.h"
import "C"

import (
	"io"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/gsgi/gsgi/module"
)

// job is a request on its way through Python: of a server, or relayed to a
// goroutine that runs the application.
type job struct {
	c     *C.gsgi_job_t
	index uint64

	x *module.Exchange
	r *relay
}

// table finds jobs by their id, which C holds: the index in the low half, the
// number of the use in the high half.
type table struct {
	mu   sync.RWMutex
	all  []*job
	free []*job
}

var jobs table

const indexBits = 32

func (t *table) get() *job {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.free); n > 0 {
		j := t.free[n-1]
		t.free = t.free[:n-1]
		return j
	}
	j := &job{index: uint64(len(t.all))}
	j.c = C.gsgi_job_new(C.uint64_t(j.index))
	if j.c == nil {
		panic("wsgi: out of memory")
	}
	t.all = append(t.all, j)
	return j
}

// put gives a job back, for another request with another id.
func (t *table) put(j *job) {
	t.mu.Lock()
	defer t.mu.Unlock()
	j.x, j.r = nil, nil
	j.c.id += 1 << indexBits
	t.free = append(t.free, j)
}

// of is the job that C calls with.
func (t *table) of(c *C.gsgi_job_t) *job {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.all[uint64(c.id)&(1<<indexBits-1)]
}

// body is the request body of use id of a job, nil when that has ended: also a
// thread that the application has started may read.
func (t *table) body(id C.uint64_t) io.Reader {
	t.mu.RLock()
	defer t.mu.RUnlock()
	j := t.all[uint64(id)&(1<<indexBits-1)]
	switch {
	case j.c.id != id:
		return nil
	case j.r != nil:
		return j.r.env.Input()
	}
	return j.x.Body()
}

// late says whether the request of a job has timed out.
func (t *table) late(id uint64) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	j := t.all[id&(1<<indexBits-1)]
	if uint64(j.c.id) != id {
		return false
	}
	switch {
	case j.x != nil:
		_, timeout := j.x.Gone()
		return timeout
	case j.r != nil:
		return j.r.late()
	}
	return false
}

// submit hands the job to the Python threads. more are entries in front of
// the others.
func (j *job) submit(more, entries string, body []byte) {
	size := C.size_t(len(more) + len(entries) + len(body))
	if size > j.c.room && C.gsgi_job_reserve(j.c, size) != 0 {
		panic("wsgi: out of memory")
	}
	data := bytes(j.c.data, size)
	n := copy(data, more)
	n += copy(data[n:], entries)
	copy(data[n:], body)
	j.c.entries_len, j.c.body_len = C.uint32_t(n), C.size_t(len(body))
	post(j.c)
}

var inbox = C.gsgi_job_inbox()

// post adds a job to the inbox, and tells of it where that is needed.
func post(c *C.gsgi_job_t) {
	list := (*unsafe.Pointer)(unsafe.Pointer(&inbox.jobs))
	for {
		top := atomic.LoadPointer(list)
		c.next = (*C.gsgi_job_t)(top)
		if atomic.CompareAndSwapPointer(list, top, unsafe.Pointer(c)) {
			break
		}
	}
	if atomic.LoadUint32((*uint32)(&inbox.watched)) == 0 {
		C.gsgi_job_queued()
	}
}
