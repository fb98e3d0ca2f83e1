package module

import (
	"sync"
	"sync/atomic"
	"time"
)

// deadline is when a reader or a writer gives up. It is made when somebody
// sets one.
type deadline struct {
	at atomic.Int64 // of clockBase, 0: none

	mu    sync.Mutex
	timer *time.Timer
	wake  chan struct{} // where the reader or writer waits
}

var clockBase = time.Now()

// setDeadline sets the deadline at p; the zero time takes it away.
func setDeadline(p *atomic.Pointer[deadline], wake chan struct{}, t time.Time) {
	if p.Load() == nil {
		if t.IsZero() {
			return
		}
		p.CompareAndSwap(nil, &deadline{wake: wake})
	}
	p.Load().set(t)
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	if t.IsZero() {
		d.at.Store(0)
		return
	}
	left := min(time.Until(t), 1<<62)
	d.at.Store(max(1, int64(time.Since(clockBase)+left)))
	switch {
	case left <= 0:
		signal(d.wake)
	case d.timer == nil:
		d.timer = time.AfterFunc(left, func() { signal(d.wake) })
	default:
		d.timer.Reset(left)
	}
}

// passed says whether there is a deadline at p that has passed.
func passed(p *atomic.Pointer[deadline]) bool {
	d := p.Load()
	if d == nil {
		return false
	}
	at := d.at.Load()
	return at != 0 && int64(time.Since(clockBase)) >= at
}
