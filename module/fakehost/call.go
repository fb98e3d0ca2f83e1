//go:build linux

package fakehost

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/gsgi/gsgi/cshim/bridge"
)

// Request is what the fake server submits.
type Request struct {
	Entry    uint32
	Method   string
	Target   string // raw request target
	Path     string // decided by the server; "": the target's path
	Mount    string
	Header   [][2]string // canonical names
	Params   [][2]string
	Meta     map[uint8]string // more facts
	Protocol uint32           // 0: 1001
	Flags    uint32
	Length   int64 // Content-Length, -1 for chunked

	Body   []byte    // whole
	File   *os.File  // whole, in a file
	Stream io.Reader // read when the handler asks for it
	Raw    net.Conn  // the client's connection, which may be taken over

	Trailers [][2]string // behind the body

	Credit uint32
	Hold   bool   // acknowledge nothing until Resume
	Block  []byte // instead of all that becomes the block
}

// Response is what came of it.
type Response struct {
	Status   int
	Header   [][2]string
	Length   int64 // Content-Length, -1: none
	Close    bool
	Body     []byte
	Trailers [][2]string
	Interim  []int
	Complete bool // END was seen; else the response was cut
}

// Get returns the first header of a name.
func (r *Response) Get(name string) string {
	for _, h := range r.Header {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}

// Call is a request under way.
type Call struct {
	h    *Host
	i    uint32
	s    *bridge.Slot
	req  *Request
	mu   sync.Mutex
	resp Response
	held uint64
	gone bool

	Head     chan struct{} // closed when the head has come
	Data     chan struct{} // a token after data
	Done     chan struct{} // closed when the slot is free again
	released bool
	headSeen bool
	raw      *raw
}

var errFull = errors.New("fakehost: no slot")

// Submit packs and submits a request.
func (h *Host) Submit(req *Request) (*Call, error) {
	h.mu.Lock()
	if len(h.free) == 0 {
		h.mu.Unlock()
		return nil, errFull
	}
	i := h.free[len(h.free)-1]
	h.free = h.free[:len(h.free)-1]
	h.mu.Unlock()

	s := h.slot(i)
	c := &Call{h: h, i: i, s: s, req: req,
		Head: make(chan struct{}), Data: make(chan struct{}, 1), Done: make(chan struct{})}
	c.resp.Length = -1
	h.reset(s, req)
	if err := h.pack(i, s, req); err != nil {
		return nil, err
	}
	if req.Stream == nil {
		if err := h.putTrailers(s, req); err != nil {
			return nil, err
		}
	}
	h.calls[i].Store(c)
	s.SubmittedNS = uint64(time.Now().UnixNano())
	s.Counted.Store(1)
	h.r.InFlight.Add(1)
	if s.SQEvents.Swap(bridge.SQNew) == 0 {
		h.push(i)
	}
	return c, nil
}

// Do submits a request and waits for the response.
func (h *Host) Do(req *Request) (*Response, error) {
	c, err := h.Submit(req)
	if err != nil {
		return nil, err
	}
	return c.Wait()
}

// Wait waits until the slot has been released.
func (c *Call) Wait() (*Response, error) {
	select {
	case <-c.Done:
		return &c.resp, nil
	case <-time.After(20 * time.Second):
		return nil, errors.New("fakehost: no answer in 20 s")
	}
}

func (h *Host) reset(s *bridge.Slot, req *Request) {
	s.Gen++
	s.Flags, s.Entry, s.Protocol = req.Flags|bridge.ReqSendfile|bridge.ReqTrailers, req.Entry, 1001
	if req.Method == "HEAD" {
		s.Flags |= bridge.ReqHead
	}
	if req.Raw != nil {
		s.Flags |= bridge.ReqUpgrade
	}
	if req.Protocol != 0 {
		s.Protocol = req.Protocol
	}
	s.ContentLength, s.ID, s.BodyFD = req.Length, uint64(s.Gen), -1
	if req.Length < 0 {
		s.Flags |= bridge.ReqChunked
	}
	s.Credit = orElse(req.Credit, h.conf.Credit)
	s.HostFlags.Store(0)
	s.InList.Store(0)
	s.InState.Store(bridge.InOpen)
	s.OutAcked.Store(0)
	s.InWaiting.Store(0)
	s.CQEvents.Store(0)
	s.OutList.Store(0)
	s.InAcked.Store(0)
	s.OutWaiting.Store(0)
	s.BlockChunk, s.InlineLen, s.HeadChunk, s.BodyLen = 0, 0, 0, 0
}

func (h *Host) pack(i uint32, s *bridge.Slot, req *Request) error {
	block := req.Block
	if block == nil {
		block = Block(req)
	}
	s.BlockLen = uint32(len(block))
	n := copy(h.data(i), block)
	var last uint32
	for rest := block[n:]; len(rest) > 0; {
		k, err := h.getChunk()
		if err != nil {
			return err
		}
		m := copy(h.chunk(k), rest)
		rest = rest[m:]
		hd := h.head(k)
		hd.Next.Store(0)
		hd.Kind, hd.Off, hd.Len = bridge.ChunkBlock, 0, uint32(m)
		if last == 0 {
			s.BlockChunk = k + 1
		} else {
			h.head(last - 1).Next.Store(k + 1)
		}
		last = k + 1
	}
	return h.packBody(i, s, req, n)
}

func (h *Host) packBody(i uint32, s *bridge.Slot, req *Request, at int) error {
	switch {
	case req.File != nil:
		fd, err := syscall.Dup(int(req.File.Fd()))
		if err != nil {
			return err
		}
		s.BodyKind, s.BodyFD = bridge.BodyFile, int32(fd)
	case req.Stream != nil:
		s.BodyKind = bridge.BodyStream
	case len(req.Body) == 0:
		s.BodyKind = bridge.BodyNone
	case at+len(req.Body) <= bridge.SlotData && s.BlockChunk == 0:
		s.BodyKind, s.InlineLen = bridge.BodyInline, uint32(len(req.Body))
		copy(h.data(i)[at:], req.Body)
	default:
		s.BodyKind = bridge.BodyList
		for rest := req.Body; len(rest) > 0; {
			n, err := h.putIn(s, rest)
			if err != nil {
				return err
			}
			rest = rest[n:]
		}
		s.InState.Store(bridge.InEnd)
	}
	return nil
}

// Block packs a request as a server does.
func Block(req *Request) []byte {
	var p []byte
	meta := func(id uint8, v string) { p = Entry(p, bridge.EntryMeta, id, "", v) }
	path, query := req.Target, ""
	for k := range len(req.Target) {
		if req.Target[k] == '?' {
			path, query = req.Target[:k], req.Target[k+1:]
			break
		}
	}
	if req.Path != "" {
		path = req.Path
	}
	meta(1, req.Method)
	meta(2, req.Target)
	meta(3, path)
	meta(4, req.Mount)
	meta(5, query)
	proto := map[uint32]string{0: "HTTP/1.1", 1000: "HTTP/1.0", 1001: "HTTP/1.1", 2000: "HTTP/2.0"}[req.Protocol]
	meta(6, proto)
	meta(7, "http")
	meta(8, "example.com")
	meta(9, "80")
	meta(11, "192.0.2.1")
	meta(12, "1234")
	for id, v := range req.Meta {
		meta(id, v)
	}
	for _, hd := range req.Header {
		p = Entry(p, bridge.EntryHeader, 0, hd[0], hd[1])
	}
	for _, kv := range req.Params {
		p = Entry(p, bridge.EntryParam, 0, kv[0], kv[1])
	}
	return p
}

// putIn publishes up to a chunk of the request body.
func (h *Host) putIn(s *bridge.Slot, data []byte) (int, error) {
	n := min(len(data), bridge.ChunkBytes)
	return n, h.putInKind(s, bridge.ChunkData, data[:n])
}

func (h *Host) putInKind(s *bridge.Slot, kind uint16, data []byte) error {
	k, err := h.getChunk()
	if err != nil {
		return err
	}
	n := copy(h.chunk(k), data)
	hd := h.head(k)
	hd.Kind, hd.Off, hd.Len = kind, 0, uint32(n)
	for {
		top := s.InList.Load()
		hd.Next.Store(top)
		if s.InList.CompareAndSwap(top, k+1) {
			return nil
		}
	}
}

// putTrailers publishes the trailers of the request: cshim/gsgi.h, 2.9.
func (h *Host) putTrailers(s *bridge.Slot, req *Request) error {
	if req.Trailers == nil {
		return nil
	}
	var p []byte
	for _, t := range req.Trailers {
		p = append(p, bridge.EntryHeader, 0)
		p = binary.NativeEndian.AppendUint16(p, uint16(len(t[0])))
		p = binary.NativeEndian.AppendUint32(p, uint32(len(t[1])))
		p = append(append(append(append(p, t[0]...), 0), t[1]...), 0)
	}
	return h.putInKind(s, bridge.ChunkTrailers, p)
}

// stream feeds the request body under the credit.
func (c *Call) stream() {
	buf := make([]byte, bridge.ChunkBytes)
	var published uint64
	for {
		n, err := c.req.Stream.Read(buf)
		for n > 0 && published-c.s.InAcked.Load() >= uint64(c.s.Credit) {
			if c.isGone() {
				return
			}
			time.Sleep(100 * time.Microsecond)
		}
		published += uint64(n)
		if !c.give(buf[:n], err) {
			return
		}
	}
}

// give publishes what was read of the request body.
func (c *Call) give(p []byte, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.released {
		return false
	}
	if len(p) > 0 {
		if _, e := c.h.putIn(c.s, p); e != nil {
			err = e
		}
	}
	if err == io.EOF && c.raw == nil {
		if e := c.h.putTrailers(c.s, c.req); e != nil {
			err = e
		}
	}
	switch {
	case err == io.EOF:
		c.s.InState.Store(bridge.InEnd)
	case err != nil:
		c.s.InState.Store(bridge.InBroken)
	}
	c.h.ring(c.i, bridge.SQPoke)
	return err == nil
}

func (c *Call) isGone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.released || c.gone
}

// Tell says why the host wants no more (bridge.HostAbort ...).
func (c *Call) Tell(flags uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	if !c.released {
		c.s.HostFlags.Or(flags)
		c.h.ring(c.i, bridge.SQPoke)
	}
}

// Resume acknowledges what Hold kept back, and holds no more.
func (c *Call) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.req.Hold = false
	c.ack(c.held)
	c.held = 0
}

// Held is how many bytes came that were not acknowledged.
func (c *Call) Held() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held
}

func (c *Call) ack(n uint64) {
	if n == 0 || c.released {
		return
	}
	c.s.OutAcked.Add(n)
	if c.s.OutWaiting.Swap(0) != 0 {
		c.h.ring(c.i, bridge.SQPoke)
	}
}

// news is called by the loop.
func (c *Call) news(events uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if events&bridge.CQHead != 0 {
		c.readHead()
		c.headSeen = true
		if c.s.Counted.Swap(0) != 0 {
			c.h.r.InFlight.Add(^uint32(0))
		}
		close(c.Head)
	}
	if events&bridge.CQUpgrade != 0 {
		c.upgrade()
	}
	c.takeData()
	if c.raw != nil && events&(bridge.CQEnd|bridge.CQRelease) != 0 {
		c.raw.end(events&bridge.CQRelease != 0)
	}
	if events&bridge.CQRead != 0 && c.req.Stream != nil {
		go c.stream()
	}
	if events&bridge.CQEnd != 0 {
		c.resp.Complete = true
	}
	if events&bridge.CQRelease != 0 {
		c.release()
	}
}

func (c *Call) release() {
	c.released = true
	if c.s.Counted.Swap(0) != 0 {
		c.h.r.InFlight.Add(^uint32(0))
	}
	for list := c.s.InList.Swap(0); list != 0; {
		next := c.h.head(list - 1).Next.Load()
		c.h.putChunk(list - 1)
		list = next
	}
	c.h.calls[c.i].Store(nil)
	c.h.mu.Lock()
	c.h.free = append(c.h.free, c.i)
	c.h.mu.Unlock()
	close(c.Done)
}

func (c *Call) readHead() {
	if c.s.HeadChunk == 0 {
		p := c.h.data(c.i)[c.s.HeadOff:][:c.s.HeadLen]
		c.resp.Status, c.resp.Length, c.resp.Close = parseHead(p)
		c.resp.Header = parseEntries(p[bridge.HeadSize:])
	} else {
		first := true
		for list := c.s.HeadChunk; list != 0; {
			hd := c.h.head(list - 1)
			p := c.h.chunk(list - 1)[:hd.Len]
			if first {
				c.resp.Status, c.resp.Length, c.resp.Close = parseHead(p)
				p, first = p[bridge.HeadSize:], false
			}
			c.resp.Header = append(c.resp.Header, parseEntries(p)...)
			next := hd.Next.Load()
			c.h.putChunk(list - 1)
			list = next
		}
		c.s.HeadChunk = 0
	}
	c.resp.Body = append(c.resp.Body, c.h.data(c.i)[c.s.BodyOff:][:c.s.BodyLen]...)
}

func parseHead(p []byte) (status int, length int64, closing bool) {
	flags := binary.NativeEndian.Uint16(p[6:])
	length = -1
	if flags&bridge.HeadLength != 0 {
		length = int64(binary.NativeEndian.Uint64(p[8:]))
	}
	return int(binary.NativeEndian.Uint16(p[4:])), length, flags&bridge.HeadClose != 0
}

func parseEntries(p []byte) (list [][2]string) {
	for len(p) >= bridge.EntrySize {
		n, v := int(binary.NativeEndian.Uint16(p[2:])), int(binary.NativeEndian.Uint32(p[4:]))
		p = p[bridge.EntrySize:]
		list = append(list, [2]string{string(p[:n]), string(p[n+1 : n+1+v])})
		p = p[n+1+v+1:]
	}
	return list
}

// takeData consumes what is on out_list.
func (c *Call) takeData() {
	list := c.s.OutList.Swap(0)
	var order []uint32
	for list != 0 {
		order = append(order, list-1)
		list = c.h.head(list - 1).Next.Load()
	}
	for k := len(order) - 1; k >= 0; k-- {
		c.consume(order[k])
	}
	if len(order) > 0 {
		select {
		case c.Data <- struct{}{}:
		default:
		}
	}
}

func (c *Call) consume(i uint32) {
	hd := c.h.head(i)
	var n uint64
	switch hd.Kind {
	case bridge.ChunkData:
		if c.raw != nil {
			c.raw.put(c.h.chunk(i)[hd.Off:][:hd.Len])
			c.h.putChunk(i)
			return
		}
		c.resp.Body = append(c.resp.Body, c.h.chunk(i)[hd.Off:][:hd.Len]...)
		n = uint64(hd.Len)
	case bridge.ChunkFile:
		p := make([]byte, hd.FileLen)
		_, _ = syscall.Pread(int(hd.FD), p, hd.FileOff)
		syscall.Close(int(hd.FD))
		c.resp.Body = append(c.resp.Body, p...)
		n = uint64(hd.FileLen)
	case bridge.ChunkTrailers:
		c.resp.Trailers = append(c.resp.Trailers, parseEntries(c.h.chunk(i)[:hd.Len])...)
	case bridge.ChunkInterim:
		status, _, _ := parseHead(c.h.chunk(i))
		c.resp.Interim = append(c.resp.Interim, status)
	}
	c.h.putChunk(i)
	if c.req.Hold {
		c.held += n
		return
	}
	c.ack(n)
}

// Pack packs a request into a slot that is never submitted; Rearm makes it as
// new for another go. For measuring the gateway alone.
func (h *Host) Pack(req *Request) uint32 {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := h.free[len(h.free)-1]
	h.free = h.free[:len(h.free)-1]
	h.reset(h.slot(i), req)
	if err := h.pack(i, h.slot(i), req); err != nil {
		panic(err)
	}
	h.saved = append([]byte(nil), h.data(i)[:h.slot(i).BlockLen]...)
	return i
}

// Rearm restores the request that Pack has packed into slot i.
func (h *Host) Rearm(i uint32) {
	copy(h.data(i), h.saved)
	h.slot(i).CQEvents.Store(0)
}
