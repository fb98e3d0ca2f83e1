package module

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/gsgi/gsgi/cshim/bridge"
)

// RunMode says what an application's process is.
type RunMode int

// The modes.
const (
	Standalone RunMode = iota // a program of its own: go run .
	Checking                  // the throw-away child of nginx -t, httpd -t
	InServer                  // a worker of a web server
)

// String is the name of the mode.
func (m RunMode) String() string {
	switch m {
	case Standalone:
		return "standalone"
	case Checking:
		return "checking"
	case InServer:
		return "in server"
	}
	return fmt.Sprintf("RunMode(%d)", int(m))
}

// Config is what the server starts the gateway with.
type Config struct {
	Entries      []string // that the server's configuration uses
	Worker       int
	Workers      int
	StartTimeout time.Duration // until something is served; 0: no limit
	Software     string
	Name         string // of the application
	StateDir     string // for locks across workers, or ""
	Starting     bool   // the server: no older workers serve
}

// Gateway is the application's side of a worker.
type Gateway struct {
	conf  Config
	mode  RunMode
	b     *bridge.Bridge
	pool  pool
	base  context.Context
	clock clock
	slots slotTable

	served []atomic.Pointer[Handler] // by index in conf.Entries

	redirected atomic.Bool

	mu       sync.Mutex
	handlers map[string]Handler
	order    []string
	check
	draining context.Context
	drain    context.CancelFunc
	drained  chan struct{}
	main     chan struct{} // closed when main has ended
	stopped  bool
	stopping atomic.Bool // the host's wish that requests may still come is void
}

var (
	current atomic.Pointer[Gateway]
	errMain = errors.New("main has returned without serving")
)

// Current is the gateway of this process, nil when it is a program of its own.
func Current() *Gateway { return current.Load() }

// Mode says what this process is.
func Mode() RunMode {
	if g := Current(); g != nil {
		return g.mode
	}
	return Standalone
}

// Starting says whether this process checks the program of a server that
// starts.
func Starting() bool {
	g := Current()
	return g != nil && g.mode == Checking && g.conf.Starting
}

func newGateway(conf Config, mode RunMode) *Gateway {
	g := &Gateway{
		conf: conf, mode: mode, base: context.Background(),
		served:   make([]atomic.Pointer[Handler], len(conf.Entries)),
		handlers: make(map[string]Handler),
		check:    check{started: time.Now()},
		drained:  make(chan struct{}),
		main:     make(chan struct{}),
	}
	g.draining, g.drain = context.WithCancel(context.Background())
	return g
}

// Start makes a gateway as [New] does, and it becomes [Current].
func Start(conf Config, base unsafe.Pointer) (*Gateway, error) {
	g, err := New(conf, base)
	if err == nil && !current.CompareAndSwap(nil, g) {
		return nil, errors.New("gsgi: started already")
	}
	return g, err
}

// New makes a gateway that takes requests from the region at base from now
// on. The region stays mapped for the life of the process.
func New(conf Config, base unsafe.Pointer) (*Gateway, error) {
	b, err := bridge.Open(base)
	if err != nil {
		return nil, err
	}
	g := newGateway(conf, InServer)
	g.b = b
	b.Idle = g.refresh
	g.clock = newClock()
	g.slots = newSlotTable(b.NSlots)
	g.pool.g = g
	g.pool.lockWord = lockWord()
	g.pool.polite = b.Threads() && runtime.NumCPU() == 1
	g.pool.start()
	go g.supervise()
	return g, nil
}

// Attach serves an entry from now on. It fails when the entry is taken.
func (g *Gateway) Attach(entry string, h Handler) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, taken := g.handlers[entry]; taken {
		return fmt.Errorf("gsgi: the entry %q is served already", entry)
	}
	g.handlers[entry] = h
	g.order = append(g.order, entry)
	if g.mode == Checking {
		g.watchEntries()
		return nil
	}
	for i, name := range g.conf.Entries {
		if name == entry || name == "" && len(g.order) == 1 {
			g.served[i].Store(&h)
		}
		if name == "" && len(g.order) == 2 {
			g.logLines(bridge.LogError, 0, 0, ambiguous(g.conf.Name, g.order))
		}
	}
	if len(g.missing()) == 0 {
		g.ready()
	} else {
		g.watchEntries()
	}
	return nil
}

// missing are the entries that the configuration uses and nobody serves.
func (g *Gateway) missing() []string {
	var names []string
	for i, name := range g.conf.Entries {
		if g.served[i].Load() == nil {
			names = append(names, name)
		}
	}
	return names
}

// ready lets the host send requests. The caller holds g.mu.
func (g *Gateway) ready() {
	if g.b.AppState.Load() != bridge.AppStarting {
		return
	}
	g.catchOutput()
	g.figures()
	g.b.SetState(bridge.AppReady)
}

// readyWithout is ready, though some entries are not served: an application
// does not fail for a name in the server's configuration. The caller holds
// g.mu.
func (g *Gateway) readyWithout() {
	if names := g.missing(); len(names) > 0 && g.b.AppState.Load() == bridge.AppStarting {
		g.logLines(bridge.LogError, 0, 0, fmt.Sprintf("the application does not serve the entries %q, but only %q",
			names, g.order))
	}
	g.ready()
}

func ambiguous(name string, entries []string) string {
	return fmt.Sprintf("the application has several entries: write %s:ENTRY instead of %s, with ENTRY one of %s",
		name, name, strings.Join(entries, ", "))
}

// MainEnded is called when the application's main has returned, panicked
// (cause is the panic's text) or ended its goroutine.
func (g *Gateway) MainEnded(cause string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	err := errMain
	if cause != "" {
		err = errors.New("main has panicked: " + cause)
	}
	g.arrived = true
	if g.mode == Checking {
		if cause != "" || len(g.order) == 0 {
			g.tell(nil, err)
		}
		return
	}
	close(g.main)
	draining := g.draining.Err() != nil
	if cause != "" || !draining && len(g.order) == 0 {
		g.logLines(bridge.LogError, 0, 0, err.Error())
	}
	switch {
	case draining:
		g.stop()
	case cause != "" || len(g.order) == 0:
		g.b.SetState(bridge.AppFailed)
	}
}

// stop tells the host that all has ended, once main and the last request
// have.
func (g *Gateway) stop() {
	select {
	case <-g.drained:
	default:
		return
	}
	select {
	case <-g.main:
		if !g.stopped {
			g.stopped = true
			g.b.SetState(bridge.AppStopped)
		}
	default:
	}
}

// Drain begins the end of the worker: goapp.Context is done, requests in
// flight go on, and more are taken as long as the host may have some.
func (g *Gateway) Drain() {
	if g.draining.Err() != nil {
		return
	}
	g.mu.Lock()
	if g.b.AppState.Load() != bridge.AppFailed {
		g.b.SetState(bridge.AppDraining)
	}
	g.drain()
	g.mu.Unlock()
	go g.awaitRequests()
}

// awaitRequests closes drained when the host has no more requests and none has
// been in flight for a moment.
func (g *Gateway) awaitRequests() {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for quiet := 0; quiet < 4; {
		<-tick.C
		open := g.b.HostOpen.Load() != 0 && !g.stopping.Load()
		if !open && g.b.Stats.Requests.Load() == g.b.Stats.Released.Load() && !g.b.Waiting() {
			quiet++
		} else {
			quiet = 0
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.drained)
	g.stop()
}

// Stop cancels the contexts of all requests and waits until all has ended.
func (g *Gateway) Stop(timeout time.Duration) bool {
	g.stopping.Store(true)
	g.Drain()
	for x := range g.slots.exchanges {
		x.ctx.cancel(context.Canceled)
		if x.claim.Load() == claimedByHijack {
			go x.closeConn()
		}
	}
	for end := time.Now().Add(timeout); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if g.b.AppState.Load() == bridge.AppStopped {
			return true
		}
	}
	return g.b.AppState.Load() == bridge.AppStopped
}

// Drained is closed when the worker drains and the last request has ended.
func (g *Gateway) Drained() <-chan struct{} { return g.drained }

// Draining is done when the worker begins to drain.
func (g *Gateway) Draining() context.Context { return g.draining }

// Worker is the number of this worker and of all of them.
func (g *Gateway) Worker() (index, count int) { return g.conf.Worker, g.conf.Workers }

// StateDir is a folder that all workers of all generations share, or "".
func (g *Gateway) StateDir() string { return g.conf.StateDir }

// Name is the application's in the server's configuration.
func (g *Gateway) Name() string { return g.conf.Name }

// handler serves an entry, by its index; nil when it is not served (yet).
func (g *Gateway) handler(entry uint32) Handler {
	if int(entry) < len(g.served) {
		if h := g.served[entry].Load(); h != nil {
			return *h
		}
	}
	return nil
}

// newExchange makes an exchange for the request in s.
func (g *Gateway) newExchange(s *bridge.Slot) *Exchange {
	size := bridge.BlockSize(s)
	if m, ok := g.handler(s.Entry).(Maker); ok {
		return m.NewExchange(size)
	}
	x, _ := NewExchange[struct{}](size)
	return x
}

// handle runs the handler of the entry that x is for.
func (g *Gateway) handle(x *Exchange) {
	if h := g.handler(x.s.Entry); h != nil {
		h.ServeGSGI(x)
		return
	}
	header := [][2]string{{"Retry-After", "1"}}
	if x.WriteHead(http.StatusServiceUnavailable, header, 0) == nil {
		x.log(bridge.LogError, "the entry is not served (yet)")
	}
}

// panicked logs how a handler ended, and returns it as an error.
func (g *Gateway) panicked(x *Exchange, cause any) error {
	if cause == http.ErrAbortHandler {
		return http.ErrAbortHandler
	}
	g.b.Stats.Panics.Add(1)
	if cause == nil {
		x.log(bridge.LogError, "the handler has ended its goroutine by runtime.Goexit")
		return errors.New("gsgi: goexit")
	}
	x.log(bridge.LogError, fmt.Sprintf("panic: %v\n%s", cause, stack()))
	return fmt.Errorf("gsgi: panic: %v", cause)
}

// chunk takes a chunk for x. When all are in use it waits, as long as x is
// wanted.
func (g *Gateway) chunk(x *Exchange) (uint32, error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		if i, ok := g.b.GetChunk(); ok {
			return i, nil
		}
		x.out.ring() // the host can only free what it knows of
		if err := x.out.stop(); err != nil {
			return 0, err
		}
		time.Sleep(wait)
	}
}

// supervise sees to what takes time: the start's limit and the figures.
func (g *Gateway) supervise() {
	if g.conf.StartTimeout > 0 {
		time.AfterFunc(g.conf.StartTimeout, func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			if len(g.order) > 0 {
				g.readyWithout()
			} else if g.b.AppState.CompareAndSwap(bridge.AppStarting, bridge.AppFailed) {
				g.logLines(bridge.LogError, 0, 0, fmt.Sprintf("nothing was served within %v", g.conf.StartTimeout))
				g.b.WakeHost()
			}
		})
	}
	g.figures()
	for range time.Tick(time.Second) {
		g.refresh()
	}
}

// refresh brings the figures up to date if the host wants them. It is false,
// for use in a wait.
func (g *Gateway) refresh() bool {
	if g.b.StatsWanted.Load() != 0 && g.b.StatsWanted.Swap(0) != 0 {
		g.figures()
	}
	return false
}

var samples = []string{
	"/memory/classes/heap/objects:bytes", "/gc/cycles/total:gc-cycles", "/sched/threads/total:threads",
}

func (g *Gateway) figures() {
	s := make([]metrics.Sample, len(samples))
	for i := range s {
		s[i].Name = samples[i]
	}
	metrics.Read(s)
	value := func(i int) uint64 {
		if s[i].Value.Kind() != metrics.KindUint64 {
			return 0
		}
		return s[i].Value.Uint64()
	}
	g.b.Stats.HeapBytes.Store(value(0))
	g.b.Stats.GCCycles.Store(value(1))
	g.b.Stats.Threads.Store(value(2))
	g.b.Stats.Goroutines.Store(uint64(runtime.NumGoroutine()))
}

// CountHandle adds n to the number of handles that C holds.
func (g *Gateway) CountHandle(n int) { g.b.Stats.Handles.Add(uint64(n)) }
