package bridge

import (
	"runtime"
	"sync/atomic"
)

// pop and push are Vyukov's bounded queue: see gsgi_cell_t in cshim/gsgi.h.

func pop(ring []cell, mask uint32, head *atomic.Uint32) (slot uint32, ok bool) {
	pos := head.Load()
	for {
		c := &ring[pos&mask]
		switch d := int32(c.seq.Load() - (pos + 1)); {
		case d < 0:
			return 0, false
		case d == 0 && head.CompareAndSwap(pos, pos+1):
			slot = c.slot
			c.seq.Store(pos + uint32(len(ring)))
			return slot, true
		}
		pos = head.Load()
	}
}

// push never finds the ring full: a slot is in it at most once and it has
// more cells than there are slots. A cell can still be on its way out of a
// consumer's hands, one lap ago.
//
// What is stored before one looks whether the other side sleeps is stored by
// Swap: under the race detector Store is no barrier for memory of C.
func push(ring []cell, mask uint32, tail *atomic.Uint32, slot uint32) {
	pos := tail.Load()
	for {
		c := &ring[pos&mask]
		switch d := int32(c.seq.Load() - pos); {
		case d == 0 && tail.CompareAndSwap(pos, pos+1):
			c.slot = slot
			c.seq.Swap(pos + 1)
			return
		case d < 0:
			runtime.Gosched()
		}
		pos = tail.Load()
	}
}
