package bridge

import "unsafe"

// Log appends a line to the log ring, for the request of slot index + 1 in
// life gen, or for none (0). A text longer than LogMax is cut; one that does
// not fit is dropped and counted.
func (b *Bridge) Log(level uint16, slot, gen uint32, text string) {
	if len(text) > LogMax {
		text = text[:LogMax]
	}
	const fixed = uint64(unsafe.Sizeof(logHead{}))
	size := uint64(len(b.log))
	need := (fixed + uint64(len(text)) + 7) &^ 7

	b.logMu.Lock()
	head := b.LogHead.Load()
	at := head % size
	pad := uint64(0)
	if size-at < need {
		pad = size - at
	}
	if head+pad+need-b.LogTail.Load() > size {
		b.logMu.Unlock()
		b.Stats.LogDropped.Add(1)
		return
	}
	if pad != 0 {
		b.record(at, logHead{Len: uint32(pad - min(pad, fixed)), Level: LogPad}, "")
		head, at = head+pad, 0
	}
	b.record(at, logHead{Len: uint32(len(text)), Level: level, Slot: slot, Gen: gen}, text)
	b.LogHead.Swap(head + need) // a barrier, see push
	b.logMu.Unlock()
	b.WakeHost()
}

// record writes at an offset that is a multiple of 8. A pad of 8 bytes has
// room for the length and the level only.
func (b *Bridge) record(at uint64, h logHead, text string) {
	const fixed = int(unsafe.Sizeof(logHead{}))
	raw := (*[fixed]byte)(unsafe.Pointer(&h))
	n := copy(b.log[at:], raw[:])
	if n == fixed {
		copy(b.log[int(at)+fixed:], text)
	}
}
