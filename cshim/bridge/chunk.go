package bridge

import (
	"sync/atomic"
	"unsafe"
)

// GetChunk takes a free chunk. ok is false when all are in use.
func (b *Bridge) GetChunk() (i uint32, ok bool) {
	if i, ok = b.popChunk(&b.ChunkFree); ok {
		b.ChunksWarm.Add(^uint32(0))
	} else if i, ok = b.popChunk(&b.ChunkCold); !ok {
		return b.freshChunk()
	}
	b.ChunksIdle.Add(^uint32(0))
	return i, true
}

func (b *Bridge) popChunk(stack *atomic.Uint64) (i uint32, ok bool) {
	for {
		top := stack.Load()
		if uint32(top) == 0 {
			return 0, false
		}
		i = uint32(top) - 1
		next := b.heads[i].Next.Load()
		if stack.CompareAndSwap(top, (top>>32+1)<<32|uint64(next)) {
			return i, true
		}
	}
}

func (b *Bridge) freshChunk() (uint32, bool) {
	for {
		n := b.ChunkFresh.Load()
		if n >= b.NChunks {
			return 0, false
		}
		if b.ChunkFresh.CompareAndSwap(n, n+1) {
			return n, true
		}
	}
}

// ChunksLeft is about how many chunks are free.
func (b *Bridge) ChunksLeft() uint32 {
	return b.NChunks - b.ChunkFresh.Load() + b.ChunksIdle.Load()
}

// PutChunk frees a chunk that the caller owns.
func (b *Bridge) PutChunk(i uint32) {
	b.ChunksIdle.Add(1)
	b.ChunksWarm.Add(1)
	for {
		top := b.ChunkFree.Load()
		b.heads[i].Next.Store(uint32(top))
		if b.ChunkFree.CompareAndSwap(top, (top>>32+1)<<32|uint64(i+1)) {
			return
		}
	}
}

// Head returns the head of chunk i.
func (b *Bridge) Head(i uint32) *ChunkHead { return &b.heads[i] }

// Chunk returns the bytes of chunk i.
func (b *Bridge) Chunk(i uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(b.base, b.ChunksOff+uint64(i)*ChunkBytes)), ChunkBytes)
}

// Publish puts chunk i, which is filled in, on the response's list.
func (b *Bridge) Publish(s *Slot, i uint32) {
	for {
		top := s.OutList.Load()
		b.heads[i].Next.Store(top)
		if s.OutList.CompareAndSwap(top, i+1) {
			return
		}
	}
}

// TakeIn takes the published chunks of the request body: the first's index +
// 1, linked by Next in order, or 0.
func (b *Bridge) TakeIn(s *Slot) uint32 {
	list := s.InList.Swap(0)
	var first uint32
	for list != 0 {
		next := &b.heads[list-1].Next
		rest := next.Load()
		next.Store(first)
		first, list = list, rest
	}
	return first
}

// BlockSize is the length of what Block returns.
func BlockSize(s *Slot) int {
	if s.BodyKind == BodyInline {
		return int(s.BlockLen) + int(s.InlineLen)
	}
	return int(s.BlockLen)
}

// Block copies a request's packed block, and its inline body behind it, out
// of the slot and of the chunks that hold the rest, and frees those. It uses
// room if that is enough.
func (b *Bridge) Block(s *Slot, room []byte) []byte {
	buf := room
	if size := BlockSize(s); size <= len(room) {
		buf = room[:size:size]
	} else {
		buf = make([]byte, size)
	}
	n := copy(buf, b.Data(s))
	for list := s.BlockChunk; list != 0; {
		next := b.heads[list-1].Next.Load()
		n += copy(buf[n:], b.Chunk(list - 1)[:min(b.heads[list-1].Len, ChunkBytes)])
		b.PutChunk(list - 1)
		list = next
	}
	s.BlockChunk = 0
	return buf[:n]
}
