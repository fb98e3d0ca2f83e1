package module

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gsgi/gsgi/cshim/bridge"
)

// Who ends an exchange: the return of its handler, or, when that has taken the
// connection over, its Close.
const (
	claimedByReturn uint32 = iota + 1
	claimedByHijack
)

// Errors of Hijack.
var (
	errHeadSent = errors.New("gsgi: Hijack after the head of the response was sent")
	errBodyOpen = errors.New("gsgi: Hijack while the request body is being read")
)

// hijackable is a response whose connection can be taken over; of HTTP/2 it
// cannot, and the type shows it.
type hijackable struct{ *response }

var _ http.Hijacker = hijackable{}

// Hijack lets the handler take over the connection. What was written by
// WriteHeader goes out first; a body that was not read is lost.
func (w hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	x := w.x
	x.out.mu.Lock()
	defer x.out.mu.Unlock()
	if err := w.mayHijack(); err != nil {
		return nil, nil, err
	}
	if err := x.in.leave(); err != nil {
		return nil, nil, err
	}
	if !x.claim.CompareAndSwap(0, claimedByHijack) {
		return nil, nil, ErrOver
	}
	c := &conn{x: x, local: x.ctx.localAddr(), remote: tcpAddr(&x.block)}
	runtime.AddCleanup(c, func(x *Exchange) { _ = x.closeConn() }, x)
	o := &x.out
	o.raw = true
	o.events |= bridge.CQUpgrade
	if w.wrote {
		_, _ = o.writeChunks(w.rawHead()) // fails as what follows will
		o.publish()
	}
	o.ring()
	setDeadline(&x.in.limit, x.state.r, time.Time{})
	setDeadline(&o.limit, x.state.w, time.Time{})
	return c, bufio.NewReadWriter(bufio.NewReaderSize(c, 4<<10), bufio.NewWriterSize(c, 4<<10)), nil
}

func (w *response) mayHijack() error {
	o := &w.x.out
	switch {
	case o.raw:
		return http.ErrHijacked
	case o.closed || w.x.over.Load():
		return ErrOver
	case w.x.gone():
		return ErrGone
	case o.sent:
		return errHeadSent
	case o.broken != "":
		return fmt.Errorf("gsgi: %s", o.broken)
	}
	return nil
}

// rawHead is the head that WriteHeader has set, in the form of HTTP/1.
func (w *response) rawHead() []byte {
	var b strings.Builder
	status := w.x.out.head.status
	text := http.StatusText(status)
	if text == "" {
		text = "status code " + strconv.Itoa(status)
	}
	fmt.Fprintf(&b, "HTTP/1.%d %03d %s\r\n", min(w.x.proto%1000, 1), status, text)
	leave := map[string]bool{"Transfer-Encoding": true, "Content-Length": !bodyAllowed(status)}
	for name := range w.header {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			leave[name] = true
		}
	}
	_ = w.header.WriteSubset(&b, leave)
	if _, ok := w.header["Date"]; !ok {
		b.WriteString("Date: " + time.Now().UTC().Format(http.TimeFormat) + "\r\n")
	}
	if bodyAllowed(status) && first(w.header, "Content-Length") == "" && w.x.proto == 1001 {
		b.WriteString("Transfer-Encoding: chunked\r\n")
	}
	b.WriteString("\r\n")
	return []byte(b.String())
}

// conn is a connection that a handler has taken over. The exchange does not
// refer to it: when nobody does any more, it is closed.
type conn struct {
	x             *Exchange
	local, remote net.Addr
	reading       sync.Mutex
}

var _ net.Conn = (*conn)(nil)

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	n, err := c.x.in.readRaw(p)
	return n, c.failed("read", err)
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.x.out.writeRaw(p)
	return n, c.failed("write", err)
}

// Close sends what was written and closes the connection, without waiting for
// either. Calls that wait return.
func (c *conn) Close() error { return c.failed("close", c.x.closeConn()) }

// CloseWrite ends what is sent to the client; reading goes on.
func (c *conn) CloseWrite() error { return c.failed("close", c.x.out.closeRaw()) }

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) SetReadDeadline(t time.Time) error {
	if c.x.over.Load() {
		return c.failed("set", net.ErrClosed)
	}
	setDeadline(&c.x.in.limit, c.x.state.r, t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	if c.x.over.Load() {
		return c.failed("set", net.ErrClosed)
	}
	setDeadline(&c.x.out.limit, c.x.state.w, t)
	return nil
}

// failed makes an error what the connection of a net/http server gives.
func (c *conn) failed(op string, err error) error {
	switch err {
	case nil, io.EOF:
		return err
	case ErrOver:
		err = net.ErrClosed
	case ErrGone:
		err = os.NewSyscallError(op, syscall.ECONNRESET)
	}
	return &net.OpError{Op: op, Net: c.local.Network(), Source: c.local, Addr: c.remote, Err: err}
}

func tcpAddr(b *Block) net.Addr {
	addr, ok := b.Meta(MetaRemoteAddr)
	if !ok {
		return &net.UnixAddr{Net: "unix"}
	}
	port, _ := strconv.Atoi(b.get(MetaRemotePort))
	return &net.TCPAddr{IP: net.ParseIP(addr), Port: port}
}

// closeConn ends the exchange of a connection that was taken over.
func (x *Exchange) closeConn() error {
	if x.over.Swap(true) {
		return net.ErrClosed
	}
	signal(x.state.r)
	signal(x.state.w)
	x.in.finish()
	o := &x.out
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed, o.head.data = true, nil // the slot's next request has the room
	setDeadline(&x.in.limit, x.state.r, time.Time{})
	setDeadline(&o.limit, x.state.w, time.Time{})
	x.state.live.Store(nil)
	x.b.Stats.Released.Add(1)
	x.b.Release(x.i, x.s, o.events|bridge.CQEnd)
	return nil
}

// leave is done with the body for good, so that what comes from the client
// then is the connection's.
func (b *body) leave() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kind == bridge.BodyStream && b.begun && !b.eof {
		return errBodyOpen
	}
	if b.kind == bridge.BodyList || b.kind == bridge.BodyStream {
		b.closed = true
	}
	b.x.b.Drop(b.list)
	b.x.b.Drop(b.x.b.TakeIn(b.x.s))
	b.list = 0
	b.x.s.InAcked.Store(b.consumed)
	b.x.s.InState.Store(bridge.InOpen)
	return nil
}

func (b *body) readRaw(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		switch {
		case b.x.over.Load():
			return 0, ErrOver
		case len(p) == 0:
			return 0, nil
		case passed(&b.limit):
			return 0, os.ErrDeadlineExceeded
		case b.list != 0:
			return b.readChunk(p), nil
		}
		state := b.x.s.InState.Load()
		if b.list = b.x.b.TakeIn(b.x.s); b.list != 0 {
			continue
		}
		switch {
		case state == bridge.InEnd:
			return 0, io.EOF
		case state != bridge.InOpen || b.x.gone():
			return 0, ErrGone
		}
		b.mu.Unlock()
		<-b.x.state.r
		b.mu.Lock()
		if b.x.over.Load() {
			signal(b.x.state.r) // it may be for the slot's next request
		}
	}
}

func (o *output) writeRaw(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.stop(); err != nil {
		return 0, err
	}
	if o.half {
		return 0, os.NewSyscallError("write", syscall.EPIPE)
	}
	n, err := o.writeChunks(p)
	o.publish()
	o.ring()
	return n, err
}

func (o *output) closeRaw() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.stop(); err != nil && err != os.ErrDeadlineExceeded {
		return err
	}
	o.half = true
	o.events |= bridge.CQEnd
	o.ring()
	return nil
}
