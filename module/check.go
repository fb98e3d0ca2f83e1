package module

import (
	"errors"
	"slices"
	"sync"
	"time"
)

// glance is how often one looks for further entries, and glances how often the
// check must see none before it reports, and a worker before it does without.
// They are counted, so that a process that gets no time of the machine is
// given more of it.
const (
	glance        = 10 * time.Millisecond
	glances       = 30
	workerGlances = 300
)

// check is what a gateway has to find out what the application serves.
type check struct {
	report  func(entries []string, err error) // nil when it has been called, and in a worker
	started time.Time
	begun   sync.Once
	arrived bool // main serves, or has ended
	only    bool // no further entry comes
}

// Check becomes [Current] in a process that finds out what the application
// serves. report is called once, with the entries or what is wrong.
func Check(conf Config, report func(entries []string, err error)) (*Gateway, error) {
	g := newGateway(conf, Checking)
	g.report = report
	if !current.CompareAndSwap(nil, g) {
		return nil, errors.New("gsgi: started already")
	}
	return g, nil
}

// Arrived says that main has come to where it serves: it attaches nothing
// more.
func (g *Gateway) Arrived() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.arrived = true
}

// Only says that the program serves one entry, so that nobody has to wait for
// another one.
func (g *Gateway) Only() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.only = true
}

// watchEntries sees to it that the check ends, or the worker is ready, when no
// further entry comes. The caller holds g.mu.
func (g *Gateway) watchEntries() {
	g.begun.Do(func() { go g.awaitEntries() })
}

// awaitEntries goes on when no further entry has come for a moment, so that
// entries in goroutines of their own are counted. The moment begins when all
// is there that the configuration names, or main can attach nothing more: it
// may open a database between two entries. The check is over before the host
// gives it up.
func (g *Gateway) awaitEntries() {
	enough := glances
	if g.mode == InServer {
		enough = workerGlances
	}
	latest := g.started.Add(g.conf.StartTimeout*3/4 - time.Duration(glances)*glance)
	for seen, quiet := 0, 0; quiet < enough && !g.complete(); quiet++ {
		time.Sleep(glance)
		n, settled := g.progress()
		early := time.Now().Before(latest) || g.mode == InServer && g.conf.StartTimeout == 0
		if n > seen || !settled && early {
			seen, quiet = n, 0
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mode == Checking {
		g.tell(slices.Clone(g.order), nil)
	} else {
		g.readyWithout()
	}
}

// complete says whether the only entry is there.
func (g *Gateway) complete() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.only && len(g.order) > 0
}

// progress is how many entries there are, and whether that may be all.
func (g *Gateway) progress() (n int, settled bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	missing := slices.ContainsFunc(g.conf.Entries, func(entry string) bool {
		return entry != "" && g.handlers[entry] == nil
	})
	return len(g.order), g.arrived || !missing
}

// tell reports, unless that has been done. The caller holds g.mu.
func (g *Gateway) tell(entries []string, err error) {
	if g.report != nil {
		g.report(entries, err)
		g.report = nil
	}
}
