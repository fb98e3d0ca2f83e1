package module

import "unsafe"

// A Maker is a handler that needs something of its own for each request, and
// makes that and the exchange in one allocation, by [NewExchange].
type Maker interface {
	Handler

	// NewExchange makes the exchange of a request whose block has size bytes.
	// It must not panic.
	NewExchange(size int) *Exchange
}

// NewExchange makes an exchange and with it a T, which [Exchange.Own] returns.
// Behind them is room for a block of size bytes, if that is not a long one:
// whoever keeps a string of the block keeps all of it.
func NewExchange[T any](size int) (*Exchange, *T) {
	switch size += madeOfBlock; {
	case size <= len(smallRoom{}):
		return place(new(roomy[T, smallRoom]))
	case size <= len(middleRoom{}):
		return place(new(roomy[T, middleRoom]))
	case size <= len(largeRoom{}):
		return place(new(roomy[T, largeRoom]))
	}
	return place(new(roomy[T, noRoom]))
}

type roomy[T, R any] struct {
	x    Exchange
	own  T
	room R
}

func place[T, R any](p *roomy[T, R]) (*Exchange, *T) {
	p.x.room = unsafe.Slice((*byte)(unsafe.Pointer(&p.room)), unsafe.Sizeof(p.room))
	p.x.own = &p.own
	return &p.x, &p.own
}

// Rooms for a short request, for a browser's, and for one with long cookies.
// With a request of net/http they fill size classes of Go's allocator.
type (
	noRoom     [0]byte
	smallRoom  [288]byte
	middleRoom [1184]byte
	largeRoom  [2080]byte
)

// madeOfBlock is what the strings that are made of a block need.
const madeOfBlock = len("255.255.255.255:65535")

// Own is what was made with the exchange, a pointer.
func (x *Exchange) Own() any { return x.own }
