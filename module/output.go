package module

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"

	"github.com/gsgi/gsgi/cshim/bridge"
)

// inlineMax is how much of a body is gathered in the slot before the head is
// sent without knowing the length; net/http gathers as much.
const inlineMax = 2048

// piecesMax is how many chunks that are not full may be on their way: a client
// that does not take what is flushed in crumbs must not cost a chunk for each.
const piecesMax = 32

// output is the response on its way to the host: first the head and a short
// body in the slot, then chunks, under the request's credit.
type output struct {
	x  *Exchange
	mu sync.Mutex // one writer at a time, also while it waits

	head      head
	committed bool // the head is set
	sent      bool // the head is with the host
	closed    bool
	muted     bool // the response has no body: HEAD, 204, 304
	cut       bool // given up by the handler
	surplus   bool // more than the Content-Length was written
	streamed  bool // no Content-Length, although it is known at the end
	spool     bool // the host may keep it for a slow client
	raw       bool // the connection was taken over, these are its bytes
	half      bool // nothing more will be written to it
	late      bool // the deadline has passed, the response is broken off
	last      bool // finish follows, and tells the host
	events    uint32
	inline    int    // bytes in the slot
	chunk     uint32 // being filled, index + 1
	fill      int
	written   int64
	published uint64
	pieces    int // chunks published that were not full
	limit     atomic.Pointer[deadline]
	broken    string // why the head cannot be sent, to be logged

	// web is asked for what the head still lacks, with the first bytes of the
	// body, just before it is sent; nil for the gateway interface.
	web *response
}

var errCut = errors.New("gsgi: response given up")

func (o *output) init(x *Exchange) {
	o.x, o.head.length = x, -1
	o.head.data = x.state.scratch()
}

func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// commit sets the head but for its entries.
func (o *output) commit(status int, length int64) {
	o.committed, o.head.status, o.head.length = true, status, length
	o.muted = o.x.flags&bridge.ReqHead != 0 || !bodyAllowed(status)
}

// reset forgets a head that was not sent.
func (o *output) reset() {
	o.committed, o.muted, o.broken = false, false, ""
	o.head.reset()
	o.head.status, o.head.flags, o.head.length = 0, 0, -1
}

// add puts a header into the head. The caller has checked it.
func (o *output) add(name, value string) {
	if problem := o.head.add(name, value); problem != "" {
		o.broken = problem
	}
}

// write gathers p, or publishes it.
func (o *output) write(p []byte) (int, error) {
	if err := o.writable(len(p)); err != nil {
		return 0, err
	}
	if !o.sent {
		if o.inline+len(p) <= inlineMax {
			o.inline += copy(o.x.b.Data(o.x.s)[o.inline:], p)
			o.written += int64(len(p))
			return len(p), nil
		}
		if err := o.sendHead(p, false); err != nil {
			return 0, err
		}
	}
	if o.muted {
		o.written += int64(len(p))
		return len(p), nil
	}
	n, err := o.writeChunks(p)
	if !o.last {
		o.ring()
	}
	return n, err
}

// writable says whether n more bytes may be written.
func (o *output) writable(n int) error {
	switch {
	case o.raw:
		return http.ErrHijacked
	case o.closed || o.x.over.Load():
		return ErrOver
	case o.broken != "":
		return fmt.Errorf("gsgi: %s", o.broken)
	case o.x.gone():
		return ErrGone
	case o.expired():
		return os.ErrDeadlineExceeded
	case o.head.status != 0 && !bodyAllowed(o.head.status) && n > 0:
		return http.ErrBodyNotAllowed
	case o.head.length >= 0 && o.written+int64(n) > o.head.length:
		if !o.surplus {
			o.surplus = true
			o.report(fmt.Errorf("gsgi: surplus refused, Content-Length is %d: %w", o.head.length, http.ErrContentLength))
		}
		return http.ErrContentLength
	}
	return nil
}

// expired says whether the deadline of a response has passed. There is no way
// back then: bytes are missing.
func (o *output) expired() bool {
	if !o.late && passed(&o.limit) {
		o.late = true
	}
	return o.late
}

// stop is why a writer does not wait any longer. What finish sends for a
// handler that has returned is waited for as what the handler sends itself.
func (o *output) stop() error {
	switch {
	case o.x.over.Load() && (o.raw || !o.closed):
		return ErrOver
	case o.x.gone():
		return ErrGone
	case o.raw && passed(&o.limit) || !o.raw && o.expired():
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (o *output) writeChunks(p []byte) (n int, err error) {
	for len(p) > 0 {
		if o.chunk == 0 {
			if err := o.nextChunk(); err != nil {
				return n, err
			}
		}
		c := copy(o.x.b.Chunk(o.chunk - 1)[o.fill:o.chunkSize()], p)
		o.fill += c
		o.written += int64(c)
		n += c
		p = p[c:]
		if o.fill == o.chunkSize() {
			o.publish()
		}
	}
	return n, nil
}

func (o *output) chunkSize() int { return min(bridge.ChunkBytes, int(o.x.s.Credit)) }

// nextChunk takes a chunk when the credit allows one.
func (o *output) nextChunk() error {
	size := uint64(o.chunkSize())
	err := o.wait(func(unacked uint64) bool {
		if unacked == 0 {
			o.pieces = 0
		}
		return unacked == 0 || unacked+size <= uint64(o.x.s.Credit) && o.pieces < piecesMax
	})
	if err != nil {
		return err
	}
	i, err := o.x.gw.chunk(o.x)
	if err != nil {
		return err
	}
	o.chunk, o.fill = i+1, 0
	return nil
}

// wait parks until the bytes that have been published and not acknowledged
// are few enough.
func (o *output) wait(enough func(unacked uint64) bool) error {
	s := o.x.s
	for !enough(o.published - s.OutAcked.Load()) {
		o.ring()
		s.OutWaiting.Swap(1) // and not Store: see push in package bridge
		if enough(o.published - s.OutAcked.Load()) {
			break
		}
		if err := o.stop(); err != nil {
			return err
		}
		<-o.x.state.w
	}
	return nil
}

// publish hands the chunk that is being filled to the host.
func (o *output) publish() {
	if o.chunk == 0 {
		return
	}
	h := o.x.b.Head(o.chunk - 1)
	h.Kind, h.Flags, h.Off, h.Len = bridge.ChunkData, 0, 0, uint32(o.fill)
	if o.fill < bridge.ChunkBytes {
		o.pieces++
	}
	o.published += uint64(o.fill)
	o.x.b.Publish(o.x.s, o.chunk-1)
	o.chunk, o.fill = 0, 0
	o.events |= bridge.CQData
}

func (o *output) ring() {
	if o.events != 0 {
		o.x.b.Ring(o.x.i, o.x.s, o.events)
		o.events = 0
	}
}

// flush hands everything on, and has the server send it.
func (o *output) flush() error {
	if err := o.writable(0); err != nil {
		return err
	}
	if !o.sent {
		if err := o.sendHead(nil, false); err != nil {
			return err
		}
	}
	o.publish()
	o.events |= bridge.CQFlush
	o.ring()
	return nil
}

// sendHead hands the head to the host, with what is gathered in the slot.
// first is what follows it; done says that nothing does.
func (o *output) sendHead(first []byte, done bool) error {
	if o.web != nil {
		o.web.complete(o.first(first), done)
	}
	if done && !o.streamed && o.head.length < 0 && bodyAllowed(o.head.status) && (o.x.flags&bridge.ReqHead == 0 || o.inline > 0) {
		o.head.length = int64(o.inline)
	}
	if o.broken != "" {
		return fmt.Errorf("gsgi: %s", o.broken)
	}
	if o.muted {
		o.inline = 0
	}
	if o.spool {
		o.head.flags |= bridge.HeadSpool
	}
	s := o.x.s
	o.x.b.Drop(s.HeadChunk) // of an attempt that failed half-way
	s.HeadChunk = 0
	s.BodyOff, s.BodyLen = 0, uint32(o.inline)
	data := o.x.b.Data(s)
	at := (o.inline + 7) &^ 7
	if at+o.head.size() <= len(data) {
		o.head.put(data[at:])
		copy(data[at+bridge.HeadSize:], o.head.data)
		s.HeadChunk, s.HeadOff, s.HeadLen = 0, uint32(at), uint32(o.head.size())
	} else if err := o.headChunks(); err != nil {
		return err
	}
	o.sent = true
	o.events |= bridge.CQHead
	return nil
}

// first joins what is gathered with what follows, for content sniffing.
func (o *output) first(more []byte) []byte {
	if o.inline == 0 {
		return more
	}
	data := o.x.b.Data(o.x.s)[:o.inline]
	if len(data) >= sniffLen || len(more) == 0 {
		return data
	}
	return append(append(make([]byte, 0, sniffLen), data...), more[:min(len(more), sniffLen-len(data))]...)
}

// headChunks puts a long head into chunks, whole entries in each.
func (o *output) headChunks() error {
	var last uint32
	o.x.s.HeadChunk, o.x.s.HeadLen = 0, 0
	for rest := o.head.data; ; {
		i, err := o.x.gw.chunk(o.x)
		if err != nil {
			return err
		}
		h := o.x.b.Head(i)
		data := o.x.b.Chunk(i)
		n := 0
		if last == 0 {
			o.head.put(data)
			n = bridge.HeadSize
		}
		whole := within(rest, len(data)-n)
		n += copy(data[n:], rest[:whole])
		rest = rest[whole:]
		h.Next.Store(0)
		h.Kind, h.Flags, h.Off, h.Len = bridge.ChunkHeadMore, 0, 0, uint32(n)
		if last == 0 {
			o.x.s.HeadChunk = i + 1
		} else {
			o.x.b.Head(last - 1).Next.Store(i + 1)
		}
		last = i + 1
		if len(rest) == 0 {
			return nil
		}
	}
}

// publishHeaders publishes a chunk of headers: trailers, or with their head an
// informational response.
func (o *output) publishHeaders(kind uint16, h *head) {
	i, err := o.x.gw.chunk(o.x)
	if err != nil {
		return
	}
	o.publish()
	data := o.x.b.Chunk(i)
	n := 0
	if kind == bridge.ChunkInterim {
		h.put(data)
		n = bridge.HeadSize
	}
	n += copy(data[n:], h.data[:within(h.data, len(data)-n)])
	c := o.x.b.Head(i)
	c.Kind, c.Flags, c.Off, c.Len = kind, 0, 0, uint32(n)
	o.x.b.Publish(o.x.s, i)
	o.events |= bridge.CQData
	if kind == bridge.ChunkInterim {
		o.events |= bridge.CQFlush
	}
	o.ring()
}

// finish completes the response, or gives it up because of err. It returns
// the events that go with the release.
func (o *output) finish(err error) uint32 {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer func() { o.head.data = nil }() // the slot's next request has it
	o.closed = true
	switch {
	case o.cut || err == nil && o.unfinished() && o.expired():
		err = errCut
	case err == nil && !o.committed:
		err = errors.New("gsgi: the handler has not begun a response")
		o.report(err)
	case err == nil && !o.sent:
		err = o.sendHead(nil, true)
		o.report(err)
	}
	if err == nil {
		err = o.short()
		o.report(err)
	}
	o.publish()
	if err != nil {
		return o.events | bridge.CQCut
	}
	return o.events | bridge.CQEnd
}

// unfinished says whether something of the response is still to be sent.
func (o *output) unfinished() bool {
	return !o.sent || o.chunk != 0 || !o.muted && o.head.length < 0
}

// short is the error of a body with fewer bytes than its Content-Length.
func (o *output) short() error {
	if o.muted || o.head.length < 0 || o.written >= o.head.length {
		return nil
	}
	return fmt.Errorf("gsgi: response of %d bytes, Content-Length is %d", o.written, o.head.length)
}

// report logs an error, unless the client has left and will not miss it.
func (o *output) report(err error) {
	if err != nil && !o.x.gone() {
		o.x.gw.logLines(bridge.LogError, o.x.i+1, o.x.gen, err.Error())
	}
}
