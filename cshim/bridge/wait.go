package bridge

import "syscall"

// A spot is a place where one goroutine waits for submissions; there are two.
// The host wakes the one that GoArmed names. With two, a goroutine that has
// just been woken arms the other spot, where somebody waits already, and need
// wake nobody before it runs a handler.

// Spots is the number of places to wait at.
const Spots = len(Region{}.GoEfd)

// Arm names spot as the one to wake, unless one is named already.
func (b *Bridge) Arm(spot int) { b.GoArmed.CompareAndSwap(0, uint32(spot)+1) }

// Disarm takes the name back if it is spot's. A wake-up that was on its way
// then wakes the next to wait there for nothing.
func (b *Bridge) Disarm(spot int) { b.GoArmed.CompareAndSwap(uint32(spot)+1, 0) }

// Armed says whether the host will wake somebody on the next submission.
func (b *Bridge) Armed() bool { return b.GoArmed.Load() != 0 }

// spot is an eventfd, and what is asked before and after a sleep on it.
type spot struct {
	conn  syscall.RawConn
	ready func(uintptr) bool
}

// ready is made once for a spot, not for each time somebody waits there.
func (b *Bridge) ready(spot int) func(uintptr) bool {
	return func(uintptr) bool {
		if b.Waiting() {
			return true
		}
		b.Arm(spot)
		return b.Waiting() || b.Idle()
	}
}

// Wait returns when the submission ring has something to take, or Idle
// returns true. It never reads the eventfd: its edge is the message. One
// goroutine at a time waits at a spot.
func (b *Bridge) Wait(spot int) error {
	return b.spots[spot].conn.Read(b.spots[spot].ready)
}

// Yield lets threads of the host that wait for the processor run first. They
// submit without waking anybody, because the caller looks at the submission
// ring afterwards.
func (b *Bridge) Yield() {
	b.GoArmed.Store(0)
	yield()
}

// Wake wakes the goroutine that waits at the armed spot, as the host would.
func (b *Bridge) Wake() {
	if a := b.GoArmed.Swap(0); a != 0 {
		wake(b.GoEfd[a-1])
	}
}
