package module

import "sync/atomic"

// slotState is what the gateway keeps for a slot, for all its lives, from the
// first one on.
type slotState struct {
	live atomic.Pointer[Exchange] // the request that is in it
	r, w chan struct{}            // where its reader and its writer wait for news
	head [headRoom]byte           // where the response's head begins to be packed
}

// headRoom is enough for most responses.
const headRoom = 384

// A token that is left over in r or w wakes the next life once for nothing; a
// reader that is left over passes on the one that it gets.
func newSlotState() *slotState {
	return &slotState{r: make(chan struct{}, 1), w: make(chan struct{}, 1)}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// scratch is where to pack a head, until the request ends. Looking at live
// tells the race detector that the slot's former request has.
func (s *slotState) scratch() []byte {
	s.live.Load()
	return s.head[:0]
}

// segmentSlots is how many slots have their states in one segment.
const segmentSlots = 256

type segment [segmentSlots]atomic.Pointer[slotState]

// slotTable is the states of all slots. There may be many slots, of which few
// are ever used at a time: what all of them would need is looked through by
// every collection, and what is there is what was needed.
type slotTable []atomic.Pointer[segment]

func newSlotTable(slots uint32) slotTable {
	return make(slotTable, (slots+segmentSlots-1)/segmentSlots)
}

// use returns the state of slot i, and makes it if it is the first time.
func (t slotTable) use(i uint32) *slotState {
	at := &t[i/segmentSlots]
	if at.Load() == nil {
		at.CompareAndSwap(nil, new(segment))
	}
	p := &at.Load()[i%segmentSlots]
	s := p.Load()
	if s == nil {
		s = newSlotState()
		p.Store(s)
	}
	return s
}

// exchange returns the request that is in slot i, nil for none.
func (t slotTable) exchange(i uint32) *Exchange {
	if seg := t[i/segmentSlots].Load(); seg != nil {
		if s := seg[i%segmentSlots].Load(); s != nil {
			return s.live.Load()
		}
	}
	return nil
}

// exchanges yields all requests.
func (t slotTable) exchanges(yield func(*Exchange) bool) {
	for n := range t {
		seg := t[n].Load()
		if seg == nil {
			continue
		}
		for i := range seg {
			if s := seg[i].Load(); s != nil {
				if x := s.live.Load(); x != nil && !yield(x) {
					return
				}
			}
		}
	}
}
