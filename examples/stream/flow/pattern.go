package flow

import (
	"errors"
	"io"
)

// lineLen is the length of a line of the pattern: 15 digits and a line end.
const lineLen = 16

// Pattern is text of any length in which every line is its own position, as
// a hexadecimal number: what arrives can be checked without the original.
type Pattern struct {
	size, pos int64
}

// NewPattern returns the first size bytes of the pattern.
func NewPattern(size int64) *Pattern {
	return &Pattern{size: size}
}

// Read implements [io.Reader].
func (p *Pattern) Read(b []byte) (int, error) {
	if p.pos >= p.size {
		return 0, io.EOF
	}
	if left := p.size - p.pos; int64(len(b)) > left {
		b = b[:left]
	}
	n := 0
	for n < len(b) {
		n += p.copyLine(b[n:])
	}
	return n, nil
}

// copyLine copies from the current position to the end of its line at most.
func (p *Pattern) copyLine(b []byte) int {
	const digits = "0123456789abcdef"

	var line [lineLen]byte
	start := p.pos - p.pos%lineLen
	for i, rest := lineLen-2, start; i >= 0; i, rest = i-1, rest>>4 {
		line[i] = digits[rest&15]
	}
	line[lineLen-1] = '\n'
	n := copy(b, line[p.pos-start:])
	p.pos += int64(n)
	return n
}

// Seek implements [io.Seeker].
func (p *Pattern) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += p.pos
	case io.SeekEnd:
		offset += p.size
	}
	if offset < 0 {
		return 0, errors.New("flow: position before the start")
	}
	p.pos = offset
	return offset, nil
}
