package module

import (
	"encoding/binary"
	"errors"
	"iter"
	"unsafe"

	"github.com/gsgi/gsgi/cshim/bridge"
)

// MetaID names a fact that the server tells about a request: GSGI_META_* of
// cshim/gsgi.h.
type MetaID uint8

// The facts. Each is there at most once; one that does not apply is left out.
const (
	MetaMethod MetaID = iota + 1
	MetaURI
	MetaPath
	MetaScriptName
	MetaQuery
	MetaProtocol
	MetaScheme
	MetaServerName
	MetaServerPort
	MetaServerAddr
	MetaRemoteAddr
	MetaRemotePort
	MetaRemoteUser
	MetaAuthType
	MetaDocumentRoot
	MetaRequestID
	MetaTLSVersion
	MetaTLSCipher
	MetaTLSSNI
	MetaTLSALPN
	MetaTLSClientCert
	MetaTLSResumed
	metaMax
)

var errBlock = errors.New("gsgi: malformed request block")

// Block is a request as the server packed it: facts, headers and parameters,
// in one allocation. Its strings are parts of that allocation and stay valid
// for ever; lookups do not allocate.
type Block struct {
	data    string
	conf    *Config
	meta    [metaMax]uint32 // where the value begins, 0: there is none
	headers uint32
	params  uint32
	begin   uint32 // of the first entry that is no fact
	sized   bool   // there is a Content-Length among the headers
}

// entry is one entry of a packed block.
type entry struct {
	kind  uint8
	id    uint8
	name  string
	value string
}

// next cuts the first entry off data. ok is false at the end and when data is
// malformed; then rest is not empty.
func next(data string) (e entry, rest string, ok bool) {
	if len(data) < bridge.EntrySize {
		return e, data, false
	}
	raw := unsafe.Slice(unsafe.StringData(data), bridge.EntrySize)
	e.kind, e.id = raw[0], raw[1]
	nameLen := int(binary.NativeEndian.Uint16(raw[2:]))
	valueLen := int(binary.NativeEndian.Uint32(raw[4:]))
	rest = data[bridge.EntrySize:]
	if nameLen > len(rest) || valueLen > len(rest)-nameLen {
		return e, data, false
	}
	e.name = rest[:nameLen]
	e.value = rest[nameLen : nameLen+valueLen]
	return e, rest[nameLen+valueLen:], true
}

// parse reads a packed block. The block keeps data.
func (b *Block) parse(data []byte) error {
	b.data = unsafe.String(unsafe.SliceData(data), len(data))
	for rest := b.data; rest != ""; {
		e, tail, ok := next(rest)
		if !ok {
			return errBlock
		}
		switch e.kind {
		case bridge.EntryMeta:
			if e.id == 0 || e.id >= uint8(metaMax) || e.name != "" {
				return errBlock
			}
			b.meta[e.id] = uint32(len(b.data) - len(rest) + bridge.EntrySize)
			if b.headers+b.params == 0 {
				b.begin = uint32(len(b.data) - len(tail))
			}
		case bridge.EntryHeader:
			b.headers++
			b.sized = b.sized || e.name == "Content-Length"
		case bridge.EntryParam:
			b.params++
		default:
			return errBlock
		}
		rest = tail
	}
	return nil
}

// Meta returns a fact. A fact that is there may be empty.
func (b *Block) Meta(id MetaID) (string, bool) {
	off := b.meta[id]
	if off == 0 {
		return "", false
	}
	e, _, ok := next(b.data[off-bridge.EntrySize:])
	return e.value, ok
}

func (b *Block) get(id MetaID) string {
	v, _ := b.Meta(id)
	return v
}

// entries yields the entries of one kind, in order; not for facts.
func (b *Block) entries(kind uint8) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for rest := b.data[b.begin:]; ; {
			e, tail, ok := next(rest)
			if !ok {
				return
			}
			if e.kind == kind && !yield(e.name, e.value) {
				return
			}
			rest = tail
		}
	}
}

// Headers yields the request's headers as received, with canonical names.
func (b *Block) Headers() iter.Seq2[string, string] { return b.entries(bridge.EntryHeader) }

// Header returns the first header of a name in canonical form.
func (b *Block) Header(name string) (string, bool) {
	for n, v := range b.Headers() {
		if n == name {
			return v, true
		}
	}
	return "", false
}

// Params yields what the configuration adds to the environ, in order. A later
// one of the same key replaces an earlier one.
func (b *Block) Params() iter.Seq2[string, string] { return b.entries(bridge.EntryParam) }

// Param returns what the configuration says for a key.
func (b *Block) Param(key string) (value string, ok bool) {
	if b.params == 0 {
		return "", false
	}
	for k, v := range b.Params() {
		if k == key {
			value, ok = v, true
		}
	}
	return value, ok
}
