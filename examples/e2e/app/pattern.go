package app

import (
	"hash/crc32"
	"io"
)

// period is a prime, so that a block that is lost, doubled or moved changes
// what lies at nearly every offset behind it.
const period = 65521

var (
	table      = newTable()
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

func newTable() []byte {
	t := make([]byte, 2*period)
	x := uint32(2463534242)
	for i := range period {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		t[i], t[i+period] = byte(x), byte(x)
	}
	return t
}

// At returns up to n bytes of the pattern from offset off; fewer only where
// a period ends. The bytes must not be changed.
func At(off int64, n int) []byte {
	start := int(off % period)
	return table[start:min(start+n, 2*period)]
}

// Sum is what is known of a body after it was read.
type Sum struct {
	N   int64
	CRC uint32
	Err string
}

// SumOf reads r to its end.
func SumOf(r io.Reader) Sum {
	h := crc32.New(castagnoli)
	n, err := io.CopyBuffer(h, struct{ io.Reader }{r}, make([]byte, 64<<10))
	s := Sum{N: n, CRC: h.Sum32()}
	if err != nil {
		s.Err = err.Error()
	}
	return s
}

// PatternSum is the Sum of the first n bytes of the pattern.
func PatternSum(n int64) Sum {
	return SumOf(NewPattern(n))
}

// Pattern reads the first n bytes of the pattern.
type Pattern struct {
	off, n int64
}

// NewPattern returns a reader of the first n bytes of the pattern.
func NewPattern(n int64) *Pattern {
	return &Pattern{n: n}
}

// Read implements io.Reader.
func (p *Pattern) Read(b []byte) (int, error) {
	if p.off == p.n {
		return 0, io.EOF
	}
	if int64(len(b)) > p.n-p.off {
		b = b[:p.n-p.off]
	}
	n := copy(b, At(p.off, len(b)))
	p.off += int64(n)
	return n, nil
}
