// Package bridge is the library's half of the bridge between a web server's
// worker and a Go application: the region of cshim/gsgi.h, seen from Go.
//
// The region is memory that the server maps. Both sides use it through
// offsets and indices, and hand things over with atomic operations; neither
// calls the other. The protocol is described in cshim/gsgi.h, section 2, and
// the types of this file mirror the structs there. A test in package
// bridgetest compares every offset with the C compiler's.
package bridge

import (
	"sync/atomic"
	"unsafe"
)

// Version of the ABI that this package speaks, and the region's magic number.
const (
	ABIMajor = 1
	ABIMinor = 1
	Magic    = 0x3149424149475347
)

// Sizes in bytes.
const (
	SlotBytes  = 4096
	ChunkBytes = 16384
	SlotData   = SlotBytes - int(unsafe.Sizeof(Slot{}))
	LogMax     = 4096
)

// Region flags.
const FlagRing = 0x1

// States of the application, as the host sees them.
const (
	AppStarting uint32 = iota
	AppReady
	AppFailed
	AppDraining
	AppStopped
)

// Log levels of the region's log ring.
const (
	LogPad uint16 = iota
	LogEmerg
	LogAlert
	LogCrit
	LogError
	LogWarn
	LogNotice
	LogInfo
	LogDebug
)

// Kinds of chunks.
const (
	ChunkData uint16 = iota + 1
	ChunkFile
	ChunkTrailers
	ChunkInterim
	ChunkBlock
	ChunkHeadMore
)

// Events of the submission side.
const (
	SQNew  uint32 = 0x1
	SQPoke uint32 = 0x2
)

// Events of the completion side.
const (
	CQHead uint32 = 1 << iota
	CQData
	CQFlush
	CQEnd
	CQCut
	CQRead
	CQCredit
	CQUpgrade
	CQRelease
	CQHostGone
)

// Request flags.
const (
	ReqHead uint32 = 1 << iota
	ReqTLS
	ReqChunked
	ReqExpect
	ReqSendfile
	ReqKeepalive
	ReqUpgrade
	ReqTrailers
)

// Where the request body is.
const (
	BodyNone uint32 = iota
	BodyInline
	BodyList
	BodyFile
	BodyStream
)

// How far the request body has come.
const (
	InOpen uint32 = iota
	InEnd
	InBroken
	InTooLarge
	InTimeout
)

// Why the host does not want more of a request.
const (
	HostAbort uint32 = 1 << iota
	HostTimeout
	HostStop
	HostSpooled

	// HostGone are the flags after which nothing that is written arrives.
	HostGone = HostAbort | HostTimeout | HostStop
)

// How a host thread waits for its slot.
const (
	WaitNone uint32 = iota
	WaitFutex
	WaitPoll
)

// Kinds of entries in the packed formats.
const (
	EntryMeta uint8 = iota + 1
	EntryHeader
	EntryParam
)

// EntrySize is the size of an entry's fixed part: kind, id, name length (16
// bits), value length (32 bits).
const EntrySize = 8

// Flags and size of a response head.
const (
	HeadLength uint16 = 0x1
	HeadClose  uint16 = 0x2
	HeadSpool  uint16 = 0x4
	HeadSize          = 24
)

// Stats are the library's figures for the host's status page.
type Stats struct {
	Requests    atomic.Uint64
	Released    atomic.Uint64
	Panics      atomic.Uint64
	Wakes       atomic.Uint64
	Dispatchers atomic.Uint64
	Idle        atomic.Uint64
	Handles     atomic.Uint64
	Goroutines  atomic.Uint64
	Threads     atomic.Uint64
	HeapBytes   atomic.Uint64
	GCCycles    atomic.Uint64
	GCPauseNS   atomic.Uint64
	LogDropped  atomic.Uint64
	_           [3]uint64
}

// Region mirrors gsgi_region_t.
type Region struct {
	Magic         uint64
	Size          uint32
	Flags         uint32
	Length        uint64
	SlotsOff      uint64
	ChunksOff     uint64
	ChunkHeadsOff uint64
	SQOff         uint64
	CQOff         uint64
	LogOff        uint64
	NSlots        uint32
	NChunks       uint32
	RingSize      uint32
	LogSize       uint32
	ChunksKeep    uint32
	HostEfd       int32
	GoEfd         [2]int32
	_             [2]uint32
	_             [16]byte

	GoArmed      atomic.Uint32
	_            [60]byte
	HostSleeping atomic.Uint32
	_            [60]byte
	SQTail       atomic.Uint32
	_            [60]byte
	SQHead       atomic.Uint32
	_            [60]byte
	CQTail       atomic.Uint32
	_            [60]byte
	CQHead       atomic.Uint32
	_            [60]byte
	ChunkFree    atomic.Uint64
	ChunkFresh   atomic.Uint32
	ChunksIdle   atomic.Uint32
	ChunkCold    atomic.Uint64
	ChunksWarm   atomic.Uint32
	_            [36]byte
	SlotFree     atomic.Uint64
	SlotFresh    atomic.Uint32
	SlotsUsed    atomic.Uint32
	InFlight     atomic.Uint32
	Abandoned    atomic.Uint32
	_            [40]byte
	LogHead      atomic.Uint64
	_            [56]byte
	LogTail      atomic.Uint64
	_            [56]byte
	AppState     atomic.Uint32
	StatsWanted  atomic.Uint32
	HostOpen     atomic.Uint32
	Retire       atomic.Uint32
	_            [48]byte
	Stats        Stats
}

// Slot mirrors gsgi_slot_t: one request and its response.
type Slot struct {
	Next          uint32
	Gen           uint32
	Flags         uint32
	Entry         uint32
	BlockLen      uint32
	BlockChunk    uint32
	BodyKind      uint32
	InlineLen     uint32
	ContentLength int64
	ID            uint64
	Credit        uint32
	BodyFD        int32
	CQEfd         int32
	Protocol      uint32

	SQEvents  atomic.Uint32
	HostFlags atomic.Uint32
	InList    atomic.Uint32
	InState   atomic.Uint32
	OutAcked  atomic.Uint64
	InWaiting atomic.Uint32
	CQWait    atomic.Uint32
	Counted   atomic.Uint32
	_         [28]byte

	CQEvents   atomic.Uint32
	OutList    atomic.Uint32
	InAcked    atomic.Uint64
	OutWaiting atomic.Uint32
	HeadChunk  uint32
	HeadOff    uint32
	HeadLen    uint32
	BodyOff    uint32
	BodyLen    uint32
	QueueUS    uint32
	_          [3]uint32
	_          [8]byte

	HostData    uint64
	SubmittedNS uint64
	_           [6]uint64
}

// ChunkHead mirrors gsgi_chunk_head_t.
type ChunkHead struct {
	Next    atomic.Uint32
	Kind    uint16
	Flags   uint16
	Off     uint32
	Len     uint32
	FD      int32
	_       uint32
	FileOff int64
	FileLen int64
}

type cell struct {
	seq  atomic.Uint32
	slot uint32
}

type logHead struct {
	Len   uint32
	Level uint16
	_     uint16
	Slot  uint32
	Gen   uint32
}
