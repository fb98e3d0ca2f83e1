//go:build linux

// Package fakehost is a web server's half of the bridge, in Go, for tests
// that run without a server and without C. It maps a region, submits requests
// and takes responses, as cshim/gsgi.h has it.
package fakehost

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/gsgi/gsgi/cshim/bridge"
)

const (
	headerRoom = 4096
	logSize    = 64 << 10
)

// Config says what region to make.
type Config struct {
	Slots  uint32 // a power of two; 0: 64
	Chunks uint32 // 0: 1024
	Credit uint32 // of each request; 0: 256 KiB
}

// Host is a fake server with a completion ring.
type Host struct {
	conf  Config
	mem   []byte
	r     *bridge.Region
	sq    []cell
	cq    []cell
	wake  *os.File
	calls []atomic.Pointer[Call]
	mu    sync.Mutex // of the free lists and the submission side
	free  []uint32
	logs  []Line
	logMu sync.Mutex
	saved []byte
	stop  chan struct{}
}

// Line is a line of the application's log.
type Line struct {
	Level uint16
	Slot  uint32
	Text  string
}

type cell struct {
	seq  atomic.Uint32
	slot uint32
}

// New maps a region and begins to take completions.
func New(conf Config) (*Host, error) {
	conf.Slots = orElse(conf.Slots, 64)
	conf.Chunks = orElse(conf.Chunks, 1024)
	conf.Credit = orElse(conf.Credit, 256<<10)
	ring := 2 * conf.Slots
	cells := uint64(ring) * 8
	heads := uint64(conf.Chunks) * uint64(unsafe.Sizeof(bridge.ChunkHead{}))
	var off uint64 = headerRoom
	next := func(n uint64) uint64 { at := off; off += (n + 4095) &^ 4095; return at }
	slots, chunks := next(uint64(conf.Slots)*bridge.SlotBytes), next(uint64(conf.Chunks)*bridge.ChunkBytes)
	chunkHeads, sq, cq, log := next(heads), next(cells), next(cells), next(logSize)

	// Go's own memory, not mapped: the race detector sees what happens in it.
	mem := make([]byte, off+4095)
	mem = mem[-uintptr(unsafe.Pointer(&mem[0]))&4095:][:off]
	h := &Host{conf: conf, mem: mem, r: (*bridge.Region)(unsafe.Pointer(&mem[0])), stop: make(chan struct{})}
	*h.header() = header{
		bridge.Magic, uint32(unsafe.Sizeof(bridge.Region{})), bridge.FlagRing, off, slots, chunks, chunkHeads, sq, cq, log,
		conf.Slots, conf.Chunks, ring, logSize, 16, eventfd(), [2]int32{eventfd(), eventfd()},
	}
	h.sq, h.cq = h.cells(sq, ring), h.cells(cq, ring)
	h.calls = make([]atomic.Pointer[Call], conf.Slots)
	for i := conf.Slots; i > 0; i-- {
		h.free = append(h.free, i-1)
	}
	h.wake = os.NewFile(uintptr(h.r.HostEfd), "host")
	go h.loop()
	return h, nil
}

// header mirrors the constant part of the region.
type header struct {
	magic                          uint64
	size, flags                    uint32
	length, slots, chunks, heads   uint64
	sq, cq, log                    uint64
	nslots, nchunks, ring, logSize uint32
	keep                           uint32
	hostEfd                        int32
	goEfd                          [2]int32
}

func (h *Host) header() *header { return (*header)(unsafe.Pointer(h.r)) }

func orElse(n, otherwise uint32) uint32 {
	if n == 0 {
		return otherwise
	}
	return n
}

func eventfd() int32 {
	fd, _, errno := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		panic(errno)
	}
	return int32(fd)
}

func (h *Host) cells(off uint64, n uint32) []cell {
	ring := unsafe.Slice((*cell)(unsafe.Pointer(&h.mem[off])), n)
	for i := range ring {
		ring[i].seq.Store(uint32(i))
	}
	return ring
}

// Base is the region's address, for module.New.
func (h *Host) Base() unsafe.Pointer { return unsafe.Pointer(h.r) }

// Region gives the shared figures: slots and chunks in use, the state.
func (h *Host) Region() *bridge.Region { return h.r }

// ChunksUsed is how many chunks are neither free nor fresh.
func (h *Host) ChunksUsed() int { return int(h.r.ChunkFresh.Load()) - int(h.r.ChunksIdle.Load()) }

// SlotsUsed is how many slots are in use.
func (h *Host) SlotsUsed() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return int(h.conf.Slots) - len(h.free)
}

// Logs are the lines that the application has logged so far.
func (h *Host) Logs() []Line {
	h.drainLog()
	h.logMu.Lock()
	defer h.logMu.Unlock()
	return append([]Line(nil), h.logs...)
}

// AwaitState waits until the application is in the state.
func (h *Host) AwaitState(state uint32) error {
	for range 500 {
		if h.r.AppState.Load() == state {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("fakehost: the application is in state %d, not %d", h.r.AppState.Load(), state)
}

func (h *Host) slot(i uint32) *bridge.Slot {
	return (*bridge.Slot)(unsafe.Pointer(&h.mem[h.r.SlotsOff+uint64(i)*bridge.SlotBytes]))
}

func (h *Host) data(i uint32) []byte {
	at := h.r.SlotsOff + uint64(i)*bridge.SlotBytes + uint64(unsafe.Sizeof(bridge.Slot{}))
	return h.mem[at:][:bridge.SlotData]
}

func (h *Host) chunk(i uint32) []byte {
	return h.mem[h.r.ChunksOff+uint64(i)*bridge.ChunkBytes:][:bridge.ChunkBytes]
}

func (h *Host) head(i uint32) *bridge.ChunkHead {
	return (*bridge.ChunkHead)(unsafe.Pointer(&h.mem[h.r.ChunkHeadsOff+uint64(i)*uint64(unsafe.Sizeof(bridge.ChunkHead{}))]))
}

// getChunk and putChunk speak the free list's protocol of cshim/gsgi.h, 2.5.
func (h *Host) getChunk() (uint32, error) {
	i, ok := h.popChunk(&h.r.ChunkFree)
	if ok {
		h.r.ChunksWarm.Add(^uint32(0))
	} else if i, ok = h.popChunk(&h.r.ChunkCold); !ok {
		if n := h.r.ChunkFresh.Add(1); n <= h.conf.Chunks {
			return n - 1, nil
		}
		h.r.ChunkFresh.Add(^uint32(0))
		return 0, errors.New("fakehost: no chunk")
	}
	h.r.ChunksIdle.Add(^uint32(0))
	return i, nil
}

func (h *Host) popChunk(stack *atomic.Uint64) (uint32, bool) {
	for {
		top := stack.Load()
		if uint32(top) == 0 {
			return 0, false
		}
		i := uint32(top) - 1
		next := h.head(i).Next.Load()
		if stack.CompareAndSwap(top, (top>>32+1)<<32|uint64(next)) {
			return i, true
		}
	}
}

func (h *Host) putChunk(i uint32) {
	h.r.ChunksIdle.Add(1)
	h.r.ChunksWarm.Add(1)
	for {
		top := h.r.ChunkFree.Load()
		h.head(i).Next.Store(uint32(top))
		if h.r.ChunkFree.CompareAndSwap(top, (top>>32+1)<<32|uint64(i+1)) {
			return
		}
	}
}

// Entry appends an entry of a packed block to p.
func Entry(p []byte, kind, id uint8, name, value string) []byte {
	p = append(p, kind, id)
	p = binary.NativeEndian.AppendUint16(p, uint16(len(name)))
	p = binary.NativeEndian.AppendUint32(p, uint32(len(value)))
	return append(append(p, name...), value...)
}

// ring submits events for slot i, as cshim/gsgi.h, 2.3 and 2.4, has it.
func (h *Host) ring(i uint32, events uint32) {
	if h.slot(i).SQEvents.Or(events) == 0 {
		h.push(i)
	}
}

func (h *Host) push(i uint32) {
	for {
		pos := h.r.SQTail.Load()
		c := &h.sq[pos&uint32(len(h.sq)-1)]
		if c.seq.Load() == pos && h.r.SQTail.CompareAndSwap(pos, pos+1) {
			c.slot = i
			c.seq.Store(pos + 1)
			break
		}
	}
	if a := h.r.GoArmed.Swap(0); a != 0 {
		write(h.r.GoEfd[a-1])
	}
}

func write(fd int32) {
	one := uint64(1)
	syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&one)), 8)
}

func (h *Host) pop() (uint32, bool) {
	pos := h.r.CQHead.Load()
	c := &h.cq[pos&uint32(len(h.cq)-1)]
	if c.seq.Load() != pos+1 {
		return 0, false
	}
	i := c.slot
	h.r.CQHead.Store(pos + 1)
	c.seq.Store(pos + uint32(len(h.cq)))
	return i, true
}

// loop is the event loop.
func (h *Host) loop() {
	conn, err := h.wake.SyscallConn()
	if err != nil {
		panic(err)
	}
	for {
		select {
		case <-h.stop:
			return
		default:
		}
		i, ok := h.pop()
		if ok {
			events := h.slot(i).CQEvents.Swap(0)
			if c := h.calls[i].Load(); c != nil && events != 0 {
				c.news(events)
			}
			continue
		}
		h.drainLog()
		_ = conn.Read(func(uintptr) bool {
			pos := h.r.CQHead.Load()
			ready := h.cq[pos&uint32(len(h.cq)-1)].seq.Load() == pos+1
			if ready {
				return true
			}
			h.r.HostSleeping.Store(1)
			return h.cq[pos&uint32(len(h.cq)-1)].seq.Load() == pos+1 || h.r.LogHead.Load() != h.r.LogTail.Load()
		})
	}
}

func (h *Host) drainLog() {
	h.logMu.Lock()
	defer h.logMu.Unlock()
	log := h.mem[h.r.LogOff:][:logSize]
	for tail := h.r.LogTail.Load(); tail != h.r.LogHead.Load(); {
		rec := log[tail%logSize:]
		n := uint64(binary.NativeEndian.Uint32(rec))
		level := binary.NativeEndian.Uint16(rec[4:])
		if level == bridge.LogPad {
			tail += logSize - tail%logSize
			h.r.LogTail.Store(tail)
			continue
		}
		h.logs = append(h.logs, Line{level, binary.NativeEndian.Uint32(rec[8:]), string(rec[16 : 16+n])})
		tail += (16 + n + 7) &^ 7
		h.r.LogTail.Store(tail)
	}
}

// Port is a helper for requests: the decimal form of n.
func Port(n int) string { return strconv.Itoa(n) }
