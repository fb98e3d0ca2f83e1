//go:build linux

package fakehost

import (
	"net"
	"sync"
	"time"

	"github.com/gsgi/gsgi/cshim/bridge"
)

// raw is a connection that the application has taken over: cshim/gsgi.h, 2.8.
type raw struct {
	c      *Call
	conn   net.Conn
	mu     sync.Mutex
	queue  [][]byte
	ended  bool // nothing follows the queue
	closed bool // the connection ends behind it
	more   chan struct{}
}

func (c *Call) upgrade() {
	c.raw = &raw{c: c, conn: c.req.Raw, more: make(chan struct{}, 1)}
	if c.s.Counted.Swap(0) != 0 {
		c.h.r.InFlight.Add(^uint32(0))
	}
	go c.raw.send()
	go c.raw.receive(c.s.InAcked.Load())
}

// put queues bytes for the client.
func (r *raw) put(p []byte) {
	r.mu.Lock()
	r.queue = append(r.queue, append([]byte(nil), p...))
	r.mu.Unlock()
	r.wake()
}

// end queues the end of what is sent, or of the connection.
func (r *raw) end(closed bool) {
	r.mu.Lock()
	r.ended = true
	r.closed = r.closed || closed
	r.mu.Unlock()
	r.wake()
}

func (r *raw) wake() {
	select {
	case r.more <- struct{}{}:
	default:
	}
}

func (r *raw) send() {
	for range r.more {
		r.mu.Lock()
		queue, ended, closed := r.queue, r.ended, r.closed
		r.queue = nil
		r.mu.Unlock()
		for _, p := range queue {
			if _, err := r.conn.Write(p); err != nil {
				r.c.Tell(bridge.HostAbort)
				return
			}
			r.c.mu.Lock()
			r.c.ack(uint64(len(p)))
			r.c.mu.Unlock()
		}
		if half, ok := r.conn.(interface{ CloseWrite() error }); ok && ended {
			half.CloseWrite()
		}
		if closed {
			r.conn.Close()
			return
		}
	}
}

// receive feeds what the client sends under the credit.
func (r *raw) receive(published uint64) {
	buf := make([]byte, bridge.ChunkBytes)
	for {
		n, err := r.conn.Read(buf)
		for n > 0 && published-r.c.s.InAcked.Load() >= uint64(r.c.s.Credit) {
			if r.c.isGone() {
				return
			}
			time.Sleep(100 * time.Microsecond)
		}
		if !r.c.give(buf[:n], err) {
			return
		}
		published += uint64(n)
	}
}
