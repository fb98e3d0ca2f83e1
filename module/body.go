package module

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/gsgi/gsgi/cshim/bridge"
)

// body is the request body. Where it lies is the host's choice: behind the
// block, in chunks, in a file, or still with the client.
type body struct {
	x      *Exchange
	kind   uint32
	fd     int32
	off    int64
	size   int64
	inline []byte

	reading  sync.Mutex // before mu
	mu       sync.Mutex
	list     uint32 // chunks to read, index + 1
	consumed uint64
	begun    bool
	eof      bool
	closed   bool
	late     bool // the deadline has passed
	limit    atomic.Pointer[deadline]
}

func (b *body) init(x *Exchange, inline []byte) {
	b.x, b.kind, b.inline = x, x.s.BodyKind, inline
	b.fd, b.size = x.s.BodyFD, x.s.ContentLength
	if b.kind == bridge.BodyNone {
		b.eof = true
	}
}

// Read reads from the body. The first Read of a streamed body makes the
// server begin to read it, and send 100 Continue where the client waits for
// it (RFC 9110, section 10.1.1).
func (b *body) Read(p []byte) (int, error) {
	b.reading.Lock() // one waits: the host's news are one token
	defer b.reading.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed || b.x.over.Load():
		return 0, http.ErrBodyReadAfterClose
	case b.eof:
		return 0, io.EOF
	case b.expired():
		return 0, os.ErrDeadlineExceeded
	case len(p) == 0:
		return 0, nil
	}
	switch b.kind {
	case bridge.BodyInline:
		return b.readInline(p)
	case bridge.BodyFile:
		return b.readFile(p)
	}
	return b.readList(p)
}

// Close makes further reads fail, and one that waits for the client. What is
// left is discarded by the server.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	signal(b.x.state.r)
	return nil
}

// expired says whether the deadline has passed. As with net/http there is no
// way back then.
func (b *body) expired() bool {
	if !b.late && passed(&b.limit) {
		b.late = true
	}
	return b.late
}

func (b *body) readInline(p []byte) (int, error) {
	n := copy(p, b.inline)
	b.inline = b.inline[n:]
	if n == 0 {
		return 0, b.end(bridge.InEnd)
	}
	return n, nil
}

func (b *body) readFile(p []byte) (int, error) {
	left := b.size - b.off
	if left <= 0 {
		return 0, b.end(bridge.InEnd)
	}
	p = p[:min(int64(len(p)), left)]
	for {
		n, err := syscall.Pread(int(b.fd), p, b.off)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return 0, os.NewSyscallError("pread", err)
		case n <= 0:
			return 0, io.ErrUnexpectedEOF
		}
		b.off += int64(n)
		return n, nil
	}
}

func (b *body) readList(p []byte) (int, error) {
	for b.list == 0 {
		state := b.x.s.InState.Load()
		if b.list = b.takeTrailers(b.x.b.TakeIn(b.x.s)); b.list != 0 {
			break
		}
		if state != bridge.InOpen {
			return 0, b.end(state)
		}
		if err := b.wait(); err != nil {
			return 0, err
		}
	}
	return b.readChunk(p), nil
}

// end is what a reader gets once all that came is read.
func (b *body) end(state uint32) error {
	switch state {
	case bridge.InEnd:
		b.eof = true
		b.takeTrailers(b.x.b.TakeIn(b.x.s))
		return io.EOF
	case bridge.InTooLarge:
		return &http.MaxBytesError{Limit: int64(b.consumed)}
	case bridge.InTimeout:
		return os.ErrDeadlineExceeded
	}
	return io.ErrUnexpectedEOF
}

// ask has the server read from the client.
func (b *body) ask() {
	if !b.begun {
		b.begun = true
		b.x.b.Ring(b.x.i, b.x.s, bridge.CQRead)
	}
}

// begin is ask before anything is read.
func (b *body) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kind == bridge.BodyStream && !b.closed && !b.x.over.Load() {
		b.ask()
	}
}

// rest is how much of a streamed body was not read, 0 when that is not known,
// and whether the server has begun to read, and has come to the end.
func (b *body) rest() (left int64, begun, ended bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return max(0, b.size-int64(b.consumed)), b.begun, b.eof
}

// wait parks until the host has news. The lock is let go meanwhile.
func (b *body) wait() error {
	if b.x.gone() {
		if b.x.s.InState.Load() != bridge.InOpen {
			return nil // the host has said before what became of the body
		}
		return ErrGone
	}
	b.ask()
	b.mu.Unlock()
	<-b.x.state.r
	b.mu.Lock()
	if b.closed || b.x.over.Load() {
		signal(b.x.state.r) // it may be for the slot's next request
		return http.ErrBodyReadAfterClose
	}
	if b.expired() {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// takeTrailers takes the trailers off the end of a list, and returns the rest.
func (b *body) takeTrailers(list uint32) uint32 {
	for i, before := list, uint32(0); i != 0; {
		h := b.x.b.Head(i - 1)
		next := h.Next.Load()
		if h.Kind == bridge.ChunkTrailers {
			b.x.trailers(b.x.b.Chunk(i - 1)[:min(h.Len, bridge.ChunkBytes)])
			b.x.b.PutChunk(i - 1)
			if before == 0 {
				return 0
			}
			b.x.b.Head(before - 1).Next.Store(0)
			return list
		}
		before, i = i, next
	}
	return list
}

func (b *body) readChunk(p []byte) int {
	h := b.x.b.Head(b.list - 1)
	data := b.x.b.Chunk(b.list - 1)[h.Off:][:h.Len]
	n := copy(p, data)
	h.Off += uint32(n)
	h.Len -= uint32(n)
	b.consumed += uint64(n)
	if h.Len == 0 {
		next := h.Next.Load()
		b.x.b.PutChunk(b.list - 1)
		b.list = next
		b.x.b.Acknowledge(b.x.i, b.x.s, b.consumed)
	}
	return n
}

// finish gives back what the body holds.
func (b *body) finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.x.b.Drop(b.list)
	b.list = 0
	if b.kind == bridge.BodyFile && b.fd >= 0 {
		syscall.Close(int(b.fd))
		b.fd = -1
	}
}
