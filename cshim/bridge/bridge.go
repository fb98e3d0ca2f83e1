package bridge

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// Bridge is the library's view of a region.
//
// Its methods may be called from any goroutine; those that take a slot or a
// list follow the rule of one producer and one consumer in cshim/gsgi.h, 2.6.
type Bridge struct {
	*Region
	Idle   func() bool // set before anybody waits: see Wait
	base   unsafe.Pointer
	ring   bool
	mask   uint32
	sq     []cell
	cq     []cell
	heads  []ChunkHead
	log    []byte
	logMu  sync.Mutex
	spots  [Spots]spot
	opened [Spots]*os.File // keeps the descriptors behind spots registered
}

// Open checks the region at base, which the caller keeps mapped for the life
// of the process, and registers its eventfds with the runtime's poller.
func Open(base unsafe.Pointer) (*Bridge, error) {
	r := (*Region)(base)
	if err := check(r); err != nil {
		return nil, err
	}
	b := &Bridge{
		Region: r,
		base:   base,
		ring:   r.Flags&FlagRing != 0,
		mask:   r.RingSize - 1,
		sq:     unsafe.Slice((*cell)(unsafe.Add(base, r.SQOff)), r.RingSize),
		heads:  unsafe.Slice((*ChunkHead)(unsafe.Add(base, r.ChunkHeadsOff)), r.NChunks),
		log:    unsafe.Slice((*byte)(unsafe.Add(base, r.LogOff)), r.LogSize),
	}
	if b.ring {
		b.cq = unsafe.Slice((*cell)(unsafe.Add(base, r.CQOff)), r.RingSize)
	}
	for i, fd := range r.GoEfd {
		f := os.NewFile(uintptr(fd), "gsgi wake-up")
		if f == nil {
			return nil, errors.New("gsgi: bad eventfd")
		}
		c, err := f.SyscallConn()
		if err != nil {
			return nil, fmt.Errorf("gsgi: eventfd: %w", err)
		}
		b.opened[i] = f
		b.spots[i] = spot{c, b.ready(i)}
	}
	return b, nil
}

func check(r *Region) error {
	switch {
	case r.Magic != Magic:
		return errors.New("gsgi: not a region")
	case r.Size != uint32(unsafe.Sizeof(*r)):
		return fmt.Errorf("gsgi: region header of %d bytes, not %d", r.Size, unsafe.Sizeof(*r))
	case r.RingSize == 0 || r.RingSize&(r.RingSize-1) != 0 || r.RingSize < r.NSlots:
		return fmt.Errorf("gsgi: ring of %d cells for %d slots", r.RingSize, r.NSlots)
	case r.LogSize&(r.LogSize-1) != 0 || r.LogSize < 4*LogMax:
		return fmt.Errorf("gsgi: log ring of %d bytes", r.LogSize)
	}
	cells := uint64(r.RingSize) * uint64(unsafe.Sizeof(cell{}))
	for _, part := range []struct {
		name     string
		off, len uint64
	}{
		{"slots", r.SlotsOff, uint64(r.NSlots) * SlotBytes},
		{"chunks", r.ChunksOff, uint64(r.NChunks) * ChunkBytes},
		{"chunk heads", r.ChunkHeadsOff, uint64(r.NChunks) * uint64(unsafe.Sizeof(ChunkHead{}))},
		{"submission ring", r.SQOff, cells},
		{"log ring", r.LogOff, uint64(r.LogSize)},
	} {
		if part.off < uint64(unsafe.Sizeof(*r)) || part.off+part.len > r.Length {
			return fmt.Errorf("gsgi: %s outside the region", part.name)
		}
	}
	return nil
}

// Threads says whether each request has a thread of the host, which submits it
// and waits for its slot. Else one thread does that for all of them.
func (b *Bridge) Threads() bool { return !b.ring }

// Slot returns the slot with index i, below NSlots.
func (b *Bridge) Slot(i uint32) *Slot {
	return (*Slot)(unsafe.Add(b.base, b.SlotsOff+uint64(i)*SlotBytes))
}

// Data returns the data area of a slot.
func (b *Bridge) Data(s *Slot) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(s), unsafe.Sizeof(*s))), SlotData)
}

// Pop takes a slot that has news from the submission ring, with the news. ok
// is false when the ring is empty.
func (b *Bridge) Pop() (i uint32, events uint32, ok bool) {
	i, ok = pop(b.sq, b.mask, &b.SQHead)
	if !ok {
		return 0, 0, false
	}
	return i, b.Slot(i).SQEvents.Swap(0), true
}

// Waiting says whether the submission ring has something to take.
func (b *Bridge) Waiting() bool {
	for {
		head := b.SQHead.Load()
		switch d := int32(b.sq[head&b.mask].seq.Load() - (head + 1)); {
		case d == 0:
			return true
		case d < 0:
			return false
		}
	}
}

// Ring tells the host of events on slot i and wakes it if it sleeps. After
// CQRelease the caller does not touch the slot any more.
func (b *Bridge) Ring(i uint32, s *Slot, events uint32) {
	old := s.CQEvents.Or(events)
	if b.ring {
		if old == 0 {
			push(b.cq, b.mask, &b.CQTail, i)
			b.WakeHost()
		}
		return
	}
	b.wakeWaiter(s)
}

// Release lets slot i go, with the last events. Without a completion ring it
// frees the slot if the host has gone before.
func (b *Bridge) Release(i uint32, s *Slot, events uint32) {
	if b.ring {
		b.Ring(i, s, events|CQRelease)
		return
	}
	if old := s.CQEvents.Or(events | CQRelease); old&CQHostGone == 0 {
		b.wakeWaiter(s)
		return
	}
	b.freeSlot(i, s)
}

// wakeWaiter wakes the host thread that waits on s. The slot may have begun
// its next life meanwhile; then that life's thread wakes once for nothing.
func (b *Bridge) wakeWaiter(s *Slot) {
	if s.CQWait.Load() == WaitNone {
		return
	}
	switch s.CQWait.Swap(WaitNone) {
	case WaitFutex:
		b.Stats.Wakes.Add(1)
		futexWake(&s.CQWait)
	case WaitPoll:
		b.Stats.Wakes.Add(1)
		wake(s.CQEfd)
	}
}

func (b *Bridge) freeSlot(i uint32, s *Slot) {
	b.Drop(s.InList.Swap(0))
	b.Drop(s.OutList.Swap(0))
	b.Drop(s.HeadChunk)
	if s.Counted.Swap(0) != 0 {
		b.InFlight.Add(^uint32(0))
		b.Abandoned.Add(^uint32(0))
	}
	b.SlotsUsed.Add(^uint32(0))
	for {
		top := b.SlotFree.Load()
		s.Next = uint32(top)
		if b.SlotFree.CompareAndSwap(top, (top>>32+1)<<32|uint64(i+1)) {
			return
		}
	}
}

// Drop frees a list of chunks (index + 1) that nobody will consume.
func (b *Bridge) Drop(list uint32) {
	for list != 0 {
		h := &b.heads[list-1]
		next := h.Next.Load()
		if h.Kind == ChunkFile {
			syscall.Close(int(h.FD))
		}
		b.PutChunk(list - 1)
		list = next
	}
}

// WakeHost wakes the host's event loop (or its monitor thread) if it sleeps.
func (b *Bridge) WakeHost() {
	if b.HostSleeping.Load() != 0 && b.HostSleeping.Swap(0) != 0 {
		b.Stats.Wakes.Add(1)
		wake(b.HostEfd)
	}
}

// SetState moves the application's state and tells the host.
func (b *Bridge) SetState(state uint32) {
	b.AppState.Swap(state) // a barrier, see push
	b.WakeHost()
}

// Acknowledge tells the host that n bytes of the request body are consumed.
func (b *Bridge) Acknowledge(i uint32, s *Slot, total uint64) {
	s.InAcked.Swap(total) // a barrier, see push
	if s.InWaiting.Load() != 0 && s.InWaiting.Swap(0) != 0 {
		b.Ring(i, s, CQCredit)
	}
}
