package module

import (
	"context"
	"fmt"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gsgi/gsgi/cshim/bridge"
)

// idleMax is how many dispatchers without work are kept, beside the two that
// wait for the host.
const idleMax = 64

// pool is the dispatchers: goroutines that take requests from the submission
// ring and run handlers themselves.
//
// A dispatcher is searching when it is on its way to the ring, serving when
// it runs a handler, or it waits: at one of the bridge's two spots, where the
// host can wake it, or in idle, where only another dispatcher can. The rule:
// whoever is the last to stop searching arms a spot and then looks at the
// ring once more, so that nothing that is submitted waits behind a handler.
type pool struct {
	g         *Gateway
	searching atomic.Int32
	lockWord  uintptr
	polite    bool // dispatchers have manners

	mu      sync.Mutex
	waiting [bridge.Spots]bool // somebody is at the spot
	idle    []chan struct{}
}

// start begins a dispatcher that searches.
func (p *pool) start() {
	p.searching.Add(1)
	p.g.b.Stats.Dispatchers.Add(1)
	go p.run()
}

// run is the life of a dispatcher. A handler that ends the goroutine is
// replaced by serve.
func (p *pool) run() {
	var m manners
	for {
		i, events, ok := p.g.b.Pop()
		switch {
		case !ok && p.polite && m.yields():
			begun := time.Now()
			p.g.b.Yield()
			m.waited = time.Since(begun)
		case !ok:
			if !p.wait() {
				p.g.b.Stats.Dispatchers.Add(^uint64(0))
				return
			}
		case events&bridge.SQNew != 0:
			p.guard()
			p.serve(i)
			m.served++
			if lockedAt(p.lockWord) {
				p.replace() // the thread ends with this goroutine
				return
			}
			p.searching.Add(1)
		case events != 0:
			if x := p.g.slots.exchange(i); x != nil {
				x.look()
			}
		}
	}
}

// manners is whether a dispatcher lets the host's threads run before it waits
// to be woken, where they share one processor. When they submit many requests
// meanwhile, these are taken at one go, and nobody is woken for any. When they
// have other things to do, it only comes too late.
type manners struct {
	served  int           // since the ring was empty
	waited  time.Duration // before that; 0: it has not yielded
	skip    int           // chances to be let pass
	penalty int
}

const (
	yieldMax   = 100 * time.Microsecond // for each request that it brings
	penaltyMax = 255
)

// yields is asked each time that the ring is empty.
func (m *manners) yields() bool {
	switch {
	case m.waited == 0:
	case m.waited > time.Duration(m.served)*yieldMax:
		m.penalty = min(2*m.penalty+1, penaltyMax)
		m.skip = m.penalty
	default:
		m.penalty = 0
	}
	chance := m.served > 0
	m.served, m.waited = 0, 0
	if chance && m.skip > 0 {
		m.skip--
		return false
	}
	return chance
}

// guard is called before a handler is run, which may take for ever: somebody
// else has to see to the ring.
func (p *pool) guard() {
	if p.searching.Add(-1) > 0 {
		return
	}
	if !p.arm() || p.g.b.Waiting() {
		p.recruit()
	}
}

// arm makes the host wake somebody at the next submission. It is false when
// nobody waits at a spot.
func (p *pool) arm() bool {
	if p.g.b.Armed() {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.armLocked()
}

func (p *pool) armLocked() bool {
	for spot, waiting := range p.waiting {
		if waiting {
			p.g.b.Arm(spot)
			return true
		}
	}
	return false
}

// recruit sends one more dispatcher searching.
func (p *pool) recruit() {
	p.mu.Lock()
	n := len(p.idle)
	if n == 0 {
		p.mu.Unlock()
		p.start()
		return
	}
	c := p.idle[n-1]
	p.idle = p.idle[:n-1]
	p.mu.Unlock()
	p.searching.Add(1)
	p.g.b.Stats.Idle.Add(^uint64(0))
	c <- struct{}{}
}

// wait is where a dispatcher that found the ring empty goes. It returns true
// when it is searching again, false when it is not needed any more.
func (p *pool) wait() bool {
	p.mu.Lock()
	for spot, waiting := range p.waiting {
		if !waiting {
			p.waiting[spot] = true
			p.mu.Unlock()
			p.waitAt(spot)
			return true
		}
	}
	// Both spots are taken. See that one is armed, and look once more before
	// leaving, in case this was the last to search.
	p.searching.Add(-1)
	p.armLocked()
	if p.g.b.Waiting() {
		p.mu.Unlock()
		p.searching.Add(1)
		return true
	}
	if len(p.idle) >= idleMax {
		p.mu.Unlock()
		return false
	}
	c := make(chan struct{}, 1)
	p.idle = append(p.idle, c)
	p.mu.Unlock()
	p.g.b.Stats.Idle.Add(1)
	<-c
	return true
}

// waitAt waits at a spot for the host.
func (p *pool) waitAt(spot int) {
	p.g.b.Stats.Idle.Add(1)
	p.searching.Add(-1)
	err := p.g.b.Wait(spot)
	p.searching.Add(1)
	p.g.b.Stats.Idle.Add(^uint64(0))
	p.mu.Lock()
	p.g.b.Disarm(spot) // here: the next at the spot arms it again
	p.waiting[spot] = false
	p.mu.Unlock()
	if err != nil {
		panic(fmt.Sprintf("gsgi: waiting for requests: %v", err))
	}
}

// serve runs the handler for the request in slot i.
func (p *pool) serve(i uint32) {
	x, err := p.g.take(i)
	ended := false
	defer func() {
		if ended {
			return
		}
		// The handler has panicked, or ended the goroutine by Goexit.
		cause := recover()
		clean()
		x.finish(p.g.panicked(x, cause))
		if cause == nil {
			p.replace()
		}
	}()
	if err == nil {
		p.g.handle(x)
	} else {
		p.g.Log(levelAlert, err.Error())
	}
	ended = true
	clean()
	if !x.detached {
		x.finish(err)
	}
}

// replace starts another dispatcher instead of the calling one, which ends.
func (p *pool) replace() {
	p.g.b.Stats.Dispatchers.Add(^uint64(0))
	p.start()
}

// clean takes back what a handler may have set for its goroutine. A goroutine
// that is started from it inherits the labels.
func clean() {
	pprof.SetGoroutineLabels(context.Background())
	debug.SetPanicOnFault(false)
}

// stack is the trace of the panic that is being recovered.
func stack() string { return string(debug.Stack()) }
