package module

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/gsgi/gsgi/cshim/bridge"
)

// What hosts another language needs of an exchange: it ends on a thread of
// its own, after the dispatcher has gone on, and its headers come packed.

// Detach lets the exchange outlive ServeGSGI, which is to call it before it
// hands the exchange on. Finish ends it then, from any goroutine.
func (x *Exchange) Detach() { x.detached = true }

// Finish ends a detached exchange, once: nobody may use it any more.
func (x *Exchange) Finish() { x.finish(nil) }

// Packed is the request as the server packed it: cshim/gsgi.h, section 3.1.
func (b *Block) Packed() string { return b.data }

// InlineBody returns the request body if that came with the block, in whole:
// ok says so. It is there until the exchange ends.
func (x *Exchange) InlineBody() (body []byte, ok bool) {
	switch x.in.kind {
	case bridge.BodyNone:
		return nil, true
	case bridge.BodyInline:
		return x.in.inline, true
	}
	return nil, false
}

// BodyLength is how many bytes the request body has, -1 when that is not
// known before it is read. Other than ContentLength it knows the length of a
// chunked body that the server has received in whole.
func (x *Exchange) BodyLength() int64 {
	switch x.in.kind {
	case bridge.BodyNone:
		return 0
	case bridge.BodyInline:
		return int64(len(x.in.inline))
	}
	return x.length
}

// Begun says when the request's handler began, in CLOCK_MONOTONIC, where that
// is later than ServeGSGI. It counts for the head that is not yet sent.
func (x *Exchange) Begun(ns uint64) {
	if ns > x.s.SubmittedNS {
		x.s.QueueUS = uint32(min((ns-x.s.SubmittedNS)/1000, 1<<32-1))
	}
}

// Gone says whether the host wants no more of the response, and whether that
// is because a time limit has passed.
func (x *Exchange) Gone() (gone, timeout bool) {
	flags := x.s.HostFlags.Load()
	return flags&bridge.HostGone != 0, flags&bridge.HostTimeout != 0
}

// HostFlags is where the host says that it wants no more: bridge.Host..., to
// be read until Finish.
func (x *Exchange) HostFlags() *atomic.Uint32 { return &x.s.HostFlags }

// Spool lets the server keep the response in a file for a slow client, where
// the configuration does not say otherwise. It is called before the head.
func (x *Exchange) Spool() { x.out.spool = true }

// CanWrite says whether a response of n bytes that is not begun can be written
// without waiting for the client, as far as one can know beforehand.
func (x *Exchange) CanWrite(n int) bool {
	return !x.HeadSent() && n+bridge.ChunkBytes <= int(x.s.Credit) && x.b.ChunksLeft() > chunksSpare
}

// chunksSpare is more than are taken in the moment after one has looked.
const chunksSpare = 64

// WriteBlock is [Exchange.Write]. When it writes the last block the server is
// told of that with the end: Finish is to be called next.
func (x *Exchange) WriteBlock(p []byte, last bool) (int, error) {
	x.out.mu.Lock()
	defer x.out.mu.Unlock()
	if !x.out.committed {
		return 0, fmt.Errorf("gsgi: body before the head")
	}
	x.out.last = last
	return x.out.write(p)
}

// WritePacked is [Exchange.WriteHead] for headers that are packed and checked:
// cshim/gsgi.h, section 3.2.
func (x *Exchange) WritePacked(status int, packed []byte, count uint32, length int64) error {
	o := &x.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.headless(status); err != nil {
		return err
	}
	o.head.data = append(o.head.data, packed...)
	o.head.count += count
	o.commit(status, length)
	return nil
}

// Interim sends an informational response with packed headers.
func (x *Exchange) Interim(status int, packed []byte, count uint32) error {
	o := &x.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.writable(0); err != nil {
		return err
	}
	if o.sent || status < 102 || status > 199 {
		return fmt.Errorf("gsgi: no informational response %d now", status)
	}
	h := head{status: status, length: -1}
	h.data, h.count = packed, count
	o.publishHeaders(bridge.ChunkInterim, &h)
	return nil
}

// SendPart sends n bytes at off of the regular file fd. Other than SendFile it
// does not wait for them to leave: the server has a descriptor of its own. It
// returns how many bytes are on their way.
func (x *Exchange) SendPart(fd int, off, n int64) (int64, error) {
	if x.flags&bridge.ReqSendfile == 0 || n < sendfileMin {
		return x.copyPart(fd, off, n)
	}
	o := &x.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.writable(int(n)); err != nil {
		return 0, err
	}
	if err := o.flush(); err != nil || o.muted {
		return 0, err
	}
	return o.handOver(part{duplicate(uintptr(fd)), off, n})
}

// handOver publishes a piece of a file.
func (o *output) handOver(p part) (int64, error) {
	if p.fd < 0 {
		return 0, os.NewSyscallError("dup", syscall.EMFILE)
	}
	i, err := o.x.gw.chunk(o.x)
	if err != nil {
		syscall.Close(p.fd)
		return 0, err
	}
	h := o.x.b.Head(i)
	h.Kind, h.Flags, h.Off, h.Len = bridge.ChunkFile, 0, 0, 0
	h.FD, h.FileOff, h.FileLen = int32(p.fd), p.off, p.len
	o.published += uint64(p.len)
	o.written += p.len
	o.x.b.Publish(o.x.s, i)
	o.events |= bridge.CQData | bridge.CQFlush
	o.ring()
	return p.len, nil
}

func (x *Exchange) copyPart(fd int, off, n int64) (sent int64, err error) {
	buf := make([]byte, min(n, 32<<10))
	for sent < n {
		m, err := syscall.Pread(fd, buf[:min(int64(len(buf)), n-sent)], off+sent)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return sent, os.NewSyscallError("pread", err)
		case m == 0:
			return sent, io.ErrUnexpectedEOF
		}
		m, err = x.Write(buf[:m])
		sent += int64(m)
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// Retire asks the server to replace this worker: it drains as at a reload,
// and another one takes its place. reason is logged.
func (g *Gateway) Retire(reason string) {
	if g.b == nil {
		return
	}
	g.logLines(bridge.LogError, 0, 0, reason)
	g.b.Retire.Store(1)
	g.b.WakeHost()
}

// Software is the server's name and version.
func (g *Gateway) Software() string { return g.conf.Software }
