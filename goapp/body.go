package goapp

import (
	"io"
	"os"
)

// Body is the body of a response: PEP 3333's iterable.
//
// Blocks yields its blocks in order. Each has been handed on to the server
// when yield returns, and is the application's again. An empty block sends
// nothing. An error says that the body cannot be completed: 500 when the head
// is not out, else the connection is cut. When yield returns false, nothing
// more is wanted and Blocks returns: the client has gone, the request has
// timed out, the Content-Length is exceeded, it is a HEAD request, or an error
// was yielded. Blocks is called at most once, and not at all where no
// body is sent (HEAD, 204, 304) and start has been called.
//
// Close releases what the body holds. It is called exactly once, always, as
// the last call of the request: after the end, an error, a panic, for HEAD,
// when the client has gone, and when Blocks was never called. Its error is
// logged.
//
// Two more methods are optional:
//
//	Len() int64        // length of the whole body in bytes, -1: not known
//	File() *os.File    // the body is this file, from its position to its end
//
// Len takes the place of PEP 3333's len(): it becomes the Content-Length
// where the header has none. It counts bytes and not blocks, because that is
// what the gateway needs, also for a body of several blocks. File takes the
// place of wsgi.file_wrapper: a regular file is sent by descriptor, without
// reading it in the application.
type Body interface {
	Blocks(yield func(block []byte, err error) bool)
	Close() error
}

// Blocks is a function as a Body, as [net/http.HandlerFunc] is one as a
// Handler. It is also the type of an iterator, iter.Seq2[[]byte, error]. Its
// Close does nothing; a body that holds a resource is a type of its own with
// a Close, which may embed a Body, because a function that is never called
// runs no defer.
type Blocks func(yield func(block []byte, err error) bool)

// Blocks calls b.
func (b Blocks) Blocks(yield func(block []byte, err error) bool) {
	if b != nil {
		b(yield)
	}
}

// Close does nothing.
func (b Blocks) Close() error { return nil }

// Bytes is a Body of one block. Content-Length is set. The gateway does not
// change the bytes, so that one at package level serves all requests.
type Bytes []byte

// Blocks yields b.
func (b Bytes) Blocks(yield func(block []byte, err error) bool) {
	if len(b) > 0 {
		yield(b, nil)
	}
}

// Close does nothing.
func (b Bytes) Close() error { return nil }

// Len returns the number of bytes.
func (b Bytes) Len() int64 { return int64(len(b)) }

// String is a Body of one block. Content-Length is set.
type String string

// Blocks yields a copy of s.
func (s String) Blocks(yield func(block []byte, err error) bool) {
	if s != "" {
		yield([]byte(s), nil)
	}
}

// Close does nothing.
func (s String) Close() error { return nil }

// Len returns the number of bytes.
func (s String) Len() int64 { return int64(len(s)) }

// File returns a Body that is the file f from its position to its end, or to
// the Content-Length of the header. It owns f from now on and closes it. A
// regular file sets Content-Length, and inside a server is sent by the
// server's own sendfile. Any other file is read block by block.
func File(f *os.File) Body { return &fileBody{f: f} }

type fileBody struct {
	f *os.File
}

func (b *fileBody) File() *os.File { return b.f }

func (b *fileBody) Len() int64 { return remaining(b.f) }

func (b *fileBody) Close() error { return b.f.Close() }

func (b *fileBody) Blocks(yield func(block []byte, err error) bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := b.f.Read(buf)
		if n > 0 && !yield(buf[:n], nil) {
			return
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			yield(nil, err)
			return
		}
	}
}

// remaining returns how many bytes a regular file has from its position to
// its end, and -1 for any other file.
func remaining(f *os.File) int64 {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return -1
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return -1
	}
	return max(info.Size()-at, 0)
}
