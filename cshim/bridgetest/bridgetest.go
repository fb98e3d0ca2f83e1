//go:build linux && cgo

package bridgetest

/*
#cgo CFLAGS: -std=gnu99 -O2 -Wall -Wextra -Wno-unused-parameter
#include <stdlib.h>
#include "driver.h"
*/
import "C"

import (
	"errors"
	"unsafe"

	"github.com/gsgi/gsgi/cshim/bridge"
)

// How the server hands over the body of a request.
const (
	Packed = C.DRV_BODY_PACKED // in memory: inline or in chunks
	Stream = C.DRV_BODY_STREAM // when the handler reads it
	File   = C.DRV_BODY_FILE   // as a descriptor
)

// When the client leaves.
const (
	Stay        = C.DRV_ABORT_NEVER
	LeaveAtOnce = C.DRV_ABORT_SUBMIT
	LeaveAtHead = C.DRV_ABORT_HEAD // or at the upgrade
	LeaveAtRead = C.DRV_ABORT_READ
	LeaveAfter  = C.DRV_ABORT_BYTES // Amount bytes of the response
	LeaveInTime = C.DRV_ABORT_TIME  // Amount microseconds
	LeaveTaken  = C.DRV_ABORT_TAKEN // Amount microseconds after the upgrade
)

// When the client of an upgraded connection ends what it sends.
const (
	CloseSent  = C.DRV_CLOSE_SENT // when all is sent
	CloseAtEnd = C.DRV_CLOSE_END  // and the application has ended its side
	CloseNever = C.DRV_CLOSE_NEVER
)

// Server is a host in C.
type Server struct {
	d *C.drv_t
}

// Config says what region a server has.
type Config struct {
	Ring   bool // one event loop, else a thread for each request
	Slots  uint32
	Chunks uint32
}

// Request is what the server hands to the application, as a POST.
type Request struct {
	Target  string
	Fill    int // headers X-Fill-0 ... of FillLen bytes each
	FillLen int
	Body    []byte
	How     int // Packed, Stream or File
	FD      int // of File
	Piece   int // bytes of a Stream that arrive at once; 0: all
	Credit  uint32
	Flags   uint32
	Leave   int
	Amount  uint64
	Conn    []byte // what the client sends when its connection was taken over
	Close   int
	Pace    int // bytes of the response that the client takes in a millisecond; 0: all
}

// Response is what the server has got.
type Response struct {
	Aborted  bool // by the client
	Broken   bool // the library has broken the contract
	Status   int
	Length   int64
	Events   uint32
	Interim  int
	Files    int
	Held     uint64 // most bytes that the client had not taken
	Header   string // "Name: value\n" for each
	Trailers string
	Body     []byte
}

// New starts a server.
func New(conf Config) (*Server, error) {
	var text [C.GSGI_ERR_MAX]C.char
	var flags C.uint32_t
	if conf.Ring {
		flags = C.GSGI_REGION_RING
	}
	d := C.drv_new(flags, C.uint32_t(conf.Slots), C.uint32_t(conf.Chunks), &text[0], C.GSGI_ERR_MAX)
	if d == nil {
		return nil, errors.New(C.GoString(&text[0]))
	}
	return &Server{d}, nil
}

// Base is the region's address, for module.New.
func (s *Server) Base() unsafe.Pointer { return unsafe.Pointer(C.drv_region(s.d)) }

// Region is the region as Go sees it.
func (s *Server) Region() *bridge.Region { return (*bridge.Region)(s.Base()) }

// ChunksUsed is how many chunks are in use.
func (s *Server) ChunksUsed() int {
	r := s.Region()
	return int(r.ChunkFresh.Load()) - int(r.ChunksIdle.Load())
}

// Stop ends the server's event loop.
func (s *Server) Stop() { C.drv_stop(s.d) }

// Logs takes what the application has logged.
func (s *Server) Logs() string {
	const size = 1 << 20
	buf := C.malloc(size)
	defer C.free(buf)
	n := C.drv_logs(s.d, (*C.char)(buf), size)
	return C.GoStringN((*C.char)(buf), C.int(n))
}

// Do sends a request and waits for the end of the response, or for the client
// to leave.
func (s *Server) Do(req *Request) *Response {
	job := newJob(req)
	defer C.drv_job_free(job)
	C.drv_do(s.d, job)
	return &Response{
		Aborted:  job.aborted != 0,
		Broken:   job.broken != 0,
		Status:   int(job.status),
		Length:   length(job),
		Events:   uint32(job.events),
		Interim:  int(job.interim),
		Files:    int(job.files),
		Held:     uint64(job.held),
		Header:   string(goBytes(job.head, job.head_len)),
		Trailers: string(goBytes(job.trailers, job.trailers_len)),
		Body:     goBytes(job.out, job.out_len),
	}
}

func length(job *C.drv_job_t) int64 {
	if job.head_flags&C.GSGI_HEAD_LENGTH == 0 {
		return -1
	}
	return int64(job.length)
}

func goBytes(p *C.char, n C.size_t) []byte { return C.GoBytes(unsafe.Pointer(p), C.int(n)) }

func cBytes(p []byte) (unsafe.Pointer, C.size_t) {
	if len(p) == 0 {
		return nil, 0
	}
	return C.CBytes(p), C.size_t(len(p))
}

// newJob copies a request; drv_job_free frees it.
func newJob(req *Request) *C.drv_job_t {
	job := (*C.drv_job_t)(C.calloc(1, C.sizeof_drv_job_t))
	job.target = C.CString(req.Target)
	job.nfill, job.fill_len = C.uint32_t(req.Fill), C.uint32_t(req.FillLen)
	job.body, job.body_len = cBytes(req.Body)
	job.conn, job.conn_len = cBytes(req.Conn)
	job.body_how, job.body_fd = C.uint32_t(req.How), C.int(req.FD)
	job.piece = C.uint32_t(req.Piece)
	if req.Piece == 0 {
		job.piece = C.uint32_t(max(len(req.Body), len(req.Conn)))
	}
	job.credit, job.flags = C.uint32_t(req.Credit), C.uint32_t(req.Flags)
	job.abort_at, job.abort_after = C.uint32_t(req.Leave), C.uint64_t(req.Amount)
	job.close_at, job.pace = C.uint32_t(req.Close), C.uint32_t(req.Pace)
	return job
}

// Facts are the sizes ("gsgi_slot_t"), offsets ("gsgi_slot_t.gen") and
// constants ("GSGI_SLOT_BYTES") of gsgi.h, as the C compiler has them.
func Facts() map[string]int64 {
	facts := make(map[string]int64)
	var n C.size_t
	list := C.drv_facts(&n)
	for _, fact := range unsafe.Slice(list, n) {
		facts[C.GoString(fact.name)] = int64(fact.value)
	}
	return facts
}
