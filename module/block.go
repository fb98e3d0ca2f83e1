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

// parse reads a packed block. The block keeps data, as far as it is well
// formed.
func (b *Block) parse(data []byte) error {
	b.data = unsafe.String(unsafe.SliceData(data), len(data))
	off := 0
	for ; len(data)-off >= bridge.EntrySize; off = int(b.begin) { // the facts are in front
		e := data[off:]
		name, value := lengths(e)
		if e[0] != bridge.EntryMeta {
			break
		}
		if bridge.EntrySize+value > len(e) || !b.fact(e[1], name, off) {
			return b.malformed(off)
		}
		b.begin = uint32(off + bridge.EntrySize + value)
	}
	for off < len(data) {
		e := data[off:]
		if len(e) < bridge.EntrySize {
			return b.malformed(off)
		}
		name, value := lengths(e)
		size := bridge.EntrySize + name + value
		if size > len(e) || !b.other(e, name, off) {
			return b.malformed(off)
		}
		off += size
	}
	return nil
}

func (b *Block) fact(id byte, name, off int) bool {
	if id == 0 || id >= byte(metaMax) || name != 0 {
		return false
	}
	b.meta[id] = uint32(off + bridge.EntrySize)
	return true
}

func (b *Block) other(e []byte, name, off int) bool {
	switch e[0] {
	case bridge.EntryHeader:
		b.headers++
		b.sized = b.sized || string(e[bridge.EntrySize:][:name]) == "Content-Length"
	case bridge.EntryParam:
		b.params++
	case bridge.EntryMeta:
		return b.fact(e[1], name, off)
	default:
		return false
	}
	return true
}

func (b *Block) malformed(off int) error {
	b.data = b.data[:off]
	return errBlock
}

// lengths are those of the name and the value of the entry that e begins with.
func lengths(e []byte) (name, value int) {
	return int(binary.NativeEndian.Uint16(e[2:])), int(binary.NativeEndian.Uint32(e[4:]))
}

// cut cuts the first entry off data, which is well formed and not empty.
func cut(data string) (kind uint8, name, value, rest string) {
	e := unsafe.Slice(unsafe.StringData(data), bridge.EntrySize)
	n, v := lengths(e)
	rest = data[bridge.EntrySize:]
	return e[0], rest[:n], rest[n : n+v], rest[n+v:]
}

// Meta returns a fact. A fact that is there may be empty.
func (b *Block) Meta(id MetaID) (string, bool) {
	off := b.meta[id]
	if off == 0 {
		return "", false
	}
	n := binary.NativeEndian.Uint32(unsafe.Slice(unsafe.StringData(b.data[off-4:]), 4))
	return b.data[off : off+n], true
}

func (b *Block) get(id MetaID) string {
	v, _ := b.Meta(id)
	return v
}

// entries yields the entries of one kind, in order; not for facts.
func (b *Block) entries(kind uint8) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for rest := b.data[b.begin:]; rest != ""; {
			k, name, value, tail := cut(rest)
			if k == kind && !yield(name, value) {
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
