package module

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

type exchangeKey struct{}

// requestContext is the context of one request. It is a part of the exchange
// and makes its channel only when somebody asks for it.
type requestContext struct {
	x    *Exchange
	base context.Context
	srv  *http.Server

	mu    sync.Mutex
	done  chan struct{}
	err   error
	after map[*afterFunc]struct{}
}

type afterFunc struct{ f func() }

var _ context.Context = (*requestContext)(nil)

// closedChan is the Done channel of contexts that ended before anyone asked.
var closedChan = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func (c *requestContext) Deadline() (time.Time, bool) { return c.base.Deadline() }

func (c *requestContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		if c.err != nil {
			c.done = closedChan
		} else {
			c.done = make(chan struct{})
		}
	}
	return c.done
}

func (c *requestContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *requestContext) Value(key any) any {
	switch key {
	case exchangeKey{}:
		return c.x
	case http.ServerContextKey:
		if c.srv != nil {
			return c.srv
		}
	case http.LocalAddrContextKey:
		return c.localAddr()
	}
	return c.base.Value(key)
}

func (c *requestContext) localAddr() net.Addr {
	b := &c.x.block
	addr, ok := b.Meta(MetaServerAddr)
	if !ok {
		return &net.UnixAddr{Net: "unix"}
	}
	port, _ := strconv.Atoi(b.get(MetaServerPort))
	return &net.TCPAddr{IP: net.ParseIP(addr), Port: port}
}

// AfterFunc makes derived contexts cheap: package context finds it and needs
// no goroutine to watch this one. See [context.AfterFunc].
func (c *requestContext) AfterFunc(f func()) (stop func() bool) {
	a := &afterFunc{f}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	if c.after == nil {
		c.after = make(map[*afterFunc]struct{})
	}
	c.after[a] = struct{}{}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, waiting := c.after[a]
		delete(c.after, a)
		return waiting
	}
}

// cancel ends the context, once.
func (c *requestContext) cancel(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	if c.done != nil {
		close(c.done)
	}
	after := c.after
	c.after = nil
	c.mu.Unlock()
	for a := range after {
		go a.f()
	}
}
