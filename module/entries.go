package module

import (
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/gsgi/gsgi/cshim/bridge"
)

// entries are headers in packed form: cshim/gsgi.h, section 3.2.
type entries struct {
	data  []byte
	count uint32
}

// entryMax is the length of the longest entry: one is never split.
const entryMax = bridge.ChunkBytes - bridge.HeadSize

// add packs a header that has been checked. It returns what is wrong with its
// length, or "".
func (e *entries) add(name, value string) string {
	if len(name) > 0xffff || bridge.EntrySize+len(name)+len(value)+2 > entryMax {
		return fmt.Sprintf("header %.64q of %d bytes is too long", name, len(name)+len(value))
	}
	var fixed [bridge.EntrySize]byte
	fixed[0] = bridge.EntryHeader
	binary.NativeEndian.PutUint16(fixed[2:], uint16(len(name)))
	binary.NativeEndian.PutUint32(fixed[4:], uint32(len(value)))
	e.data = append(e.data, fixed[:]...)
	e.data = append(append(e.data, name...), 0)
	e.data = append(append(e.data, value...), 0)
	e.count++
	return ""
}

// fields are the headers in packed form, up to the first that is not whole.
func fields(data []byte) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for len(data) >= bridge.EntrySize {
			name, value := lengths(data)
			data = data[bridge.EntrySize:]
			if name+value+2 > len(data) {
				return
			}
			if !yield(string(data[:name]), string(data[name+1:name+1+value])) {
				return
			}
			data = data[name+value+2:]
		}
	}
}

func (e *entries) reset() { e.data, e.count = e.data[:0], 0 }

// within is the length of the whole entries at the start of data that fit
// into room bytes.
func within(data []byte, room int) (n int) {
	for n < len(data) {
		name, value := lengths(data[n:])
		size := bridge.EntrySize + name + 1 + value + 1
		if n+size > room {
			break
		}
		n += size
	}
	return n
}

// head is a response head: gsgi_head_t and its entries.
type head struct {
	entries
	status int
	flags  uint16
	length int64 // Content-Length, -1 when not known
}

func (h *head) size() int { return bridge.HeadSize + len(h.data) }

// put writes gsgi_head_t to p.
func (h *head) put(p []byte) {
	flags := h.flags
	if h.length >= 0 {
		flags |= bridge.HeadLength
	}
	binary.NativeEndian.PutUint32(p, uint32(h.size()))
	binary.NativeEndian.PutUint16(p[4:], uint16(h.status))
	binary.NativeEndian.PutUint16(p[6:], flags)
	binary.NativeEndian.PutUint64(p[8:], uint64(h.length))
	binary.NativeEndian.PutUint32(p[16:], h.count)
	binary.NativeEndian.PutUint32(p[20:], 0)
}
