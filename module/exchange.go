package module

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gsgi/gsgi/cshim/bridge"
)

// Handler serves exchanges, on the goroutine of the dispatcher that took them.
type Handler interface {
	ServeGSGI(x *Exchange)
}

// Errors that writers and readers of an exchange get.
var (
	// ErrGone: the host does not want more, because the client has left, a
	// time limit has passed or the worker ends. The context says which.
	ErrGone = errors.New("gsgi: the client has gone")

	// ErrOver: the handler has returned before.
	ErrOver = errors.New("gsgi: the request is over")
)

// Exchange is one request with its response. It is valid until ServeGSGI
// returns; its context, its block and the strings out of it stay valid.
type Exchange struct {
	gw    *Gateway
	b     *bridge.Bridge
	s     *bridge.Slot
	i     uint32
	gen   uint32
	flags uint32
	proto uint32

	length int64
	block  Block
	ctx    requestContext
	state  *slotState
	over   atomic.Bool
	claim  atomic.Uint32 // claimedBy...

	detached bool // ended by Finish, not by the dispatcher

	in   body
	out  output
	web  *web
	own  any    // was made with it
	room []byte // behind the exchange and its block: for what is made of it
}

// take begins the exchange of the request in slot i.
func (g *Gateway) take(i uint32) (*Exchange, error) {
	s := g.b.Slot(i)
	g.b.Stats.Requests.Add(1) // here: it waits for all that was written before
	x := g.newExchange(s)
	x.gw, x.b, x.s, x.i, x.gen = g, g.b, s, i, s.Gen
	x.flags, x.proto, x.length = s.Flags, s.Protocol, s.ContentLength
	x.state = g.slots.use(i)
	x.ctx.x, x.ctx.base = x, g.base
	s.QueueUS = g.clock.since(s.SubmittedNS)
	blockLen := int(s.BlockLen)
	data := g.b.Block(s, x.room)
	x.room = x.room[min(len(data), len(x.room)):]
	x.out.init(x)
	x.in.init(x, data[min(blockLen, len(data)):])
	x.block.conf = &g.conf
	err := errBlock
	if len(data) >= blockLen {
		err = x.block.parse(data[:blockLen:blockLen])
	}
	x.state.live.Store(x)
	if g.stopping.Load() {
		x.ctx.cancel(context.Canceled)
	}
	x.obey()
	return x, err
}

// look reads what the host says of the request, after a poke.
func (x *Exchange) look() {
	x.obey()
	signal(x.state.r)
	signal(x.state.w)
}

// obey ends the context if the host wants no more.
func (x *Exchange) obey() {
	switch flags := x.s.HostFlags.Load(); {
	case flags&bridge.HostTimeout != 0:
		x.ctx.cancel(context.DeadlineExceeded)
	case flags&bridge.HostGone != 0:
		x.ctx.cancel(context.Canceled)
	}
}

func (x *Exchange) gone() bool { return x.s.HostFlags.Load()&bridge.HostGone != 0 }

// finish ends the exchange and lets the slot go. err is what made the
// response impossible to complete, if anything did.
func (x *Exchange) finish(err error) {
	if !x.claim.CompareAndSwap(0, claimedByReturn) {
		// Taken over: the connection lives on, and with it the slot.
		x.ctx.cancel(context.Canceled)
		x.web.removeForms()
		return
	}
	x.over.Store(true)
	signal(x.state.r)
	signal(x.state.w)
	x.in.finish()
	events := x.out.finish(err)
	setDeadline(&x.in.limit, x.state.r, time.Time{})
	setDeadline(&x.out.limit, x.state.w, time.Time{})
	x.state.live.Store(nil)
	x.ctx.cancel(context.Canceled)
	if x.web != nil {
		x.web.removeForms()
	}
	x.b.Stats.Released.Add(1)
	x.b.Release(x.i, x.s, events)
}

// Block is the request as the server packed it.
func (x *Exchange) Block() *Block { return &x.block }

// Context is done when the client has left, a time limit has passed, the
// shutdown limit is reached, or the handler has returned.
func (x *Exchange) Context() context.Context { return &x.ctx }

// FromContext returns the exchange that ctx belongs to; nil when it is not a
// context of a request inside a server.
func FromContext(ctx context.Context) *Exchange {
	x, _ := ctx.Value(exchangeKey{}).(*Exchange)
	return x
}

// Body is the request body: [http.NoBody] when there is none. Reading it
// after the handler has returned gives [http.ErrBodyReadAfterClose].
func (x *Exchange) Body() io.ReadCloser {
	if x.in.kind == bridge.BodyNone {
		return http.NoBody
	}
	return &x.in
}

// ContentLength is the length of the request body, -1 when the client did
// not say it.
func (x *Exchange) ContentLength() int64 {
	if x.flags&bridge.ReqChunked != 0 {
		return -1
	}
	if x.block.sized {
		return x.length
	}
	if x.in.kind == bridge.BodyNone {
		return 0
	}
	return -1
}

// Log writes to the server's error log, with this request's id.
func (x *Exchange) Log(level slog.Level, text string) {
	x.log(logLevel(level), text)
}

func (x *Exchange) log(level uint16, text string) {
	if x.over.Load() {
		x.gw.logLines(level, 0, 0, text)
		return
	}
	x.gw.logLines(level, x.i+1, x.gen, text)
}
