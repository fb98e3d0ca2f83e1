package module

import (
	"io"
	"os"
	"syscall"

	"github.com/gsgi/gsgi/cshim/bridge"
)

// sendfileMin is the size below which copying is cheaper than handing over a
// descriptor.
const sendfileMin = bridge.ChunkBytes

// regularFile is what has a descriptor and a position: an *os.File, also
// inside the wrappers that io.Copy and net/http pass on.
type regularFile interface {
	syscall.Conn
	io.Seeker
}

// part is a piece of a regular file, with a descriptor of our own.
type part struct {
	fd       int
	off, len int64
}

// openPart duplicates the descriptor of f. ok is false when f is not a
// regular file, or what is left of it is short.
func openPart(f regularFile, limit int64) (p part, ok bool) {
	conn, err := f.SyscallConn()
	if err != nil {
		return p, false
	}
	off, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return p, false
	}
	p.fd = -1
	err = conn.Control(func(fd uintptr) {
		var st syscall.Stat_t
		if syscall.Fstat(int(fd), &st) != nil || st.Mode&syscall.S_IFMT != syscall.S_IFREG {
			return
		}
		p.off, p.len = off, st.Size-off
		if limit >= 0 {
			p.len = min(p.len, limit)
		}
		if p.len >= sendfileMin {
			p.fd = duplicate(fd)
		}
	})
	return p, err == nil && p.fd >= 0
}

// sendPart publishes a piece of a file and waits until the server has sent
// it. The descriptor is the host's from then on.
func (o *output) sendPart(p part) (int64, error) {
	if err := o.flush(); err != nil {
		syscall.Close(p.fd)
		return 0, err
	}
	i, err := o.x.gw.chunk(o.x)
	if err != nil {
		syscall.Close(p.fd)
		return 0, err
	}
	before := o.published
	h := o.x.b.Head(i)
	h.Kind, h.Flags, h.Off, h.Len = bridge.ChunkFile, 0, 0, 0
	h.FD, h.FileOff, h.FileLen = int32(p.fd), p.off, p.len
	o.published += uint64(p.len)
	o.x.b.Publish(o.x.s, i)
	o.events |= bridge.CQData | bridge.CQFlush
	o.ring()
	err = o.wait(func(unacked uint64) bool { return unacked == 0 })
	acked := int64(o.x.s.OutAcked.Load()) - int64(before)
	sent := max(0, min(acked, p.len))
	o.written += sent
	return sent, err
}

// sendFile sends at most limit bytes (all, when it is below 0) from f's
// position, and moves the position. handled is false when nothing was done
// because f has to be copied.
func (o *output) sendFile(f regularFile, limit int64) (n int64, handled bool, err error) {
	if o.muted || o.x.flags&bridge.ReqSendfile == 0 {
		return 0, false, nil
	}
	p, ok := openPart(f, limit)
	if !ok {
		return 0, false, nil
	}
	if err := o.writable(int(p.len)); err != nil {
		syscall.Close(p.fd)
		return 0, true, err
	}
	n, err = o.sendPart(p)
	if _, e := f.Seek(p.off+n, io.SeekStart); err == nil && e != nil {
		err = e
	}
	return n, true, err
}

// SendFile sends n bytes (to the end, when n is below 0) of f from its
// position, by descriptor where the server can do that, and advances the
// position. It returns when the last byte has left.
func (x *Exchange) SendFile(f *os.File, n int64) (int64, error) {
	x.out.mu.Lock()
	sent, handled, err := x.out.sendFile(f, n)
	x.out.mu.Unlock()
	if handled {
		return sent, err
	}
	var src io.Reader = f
	if n >= 0 {
		src = io.LimitReader(f, n)
	}
	return io.CopyBuffer(writerOnly{x}, src, make([]byte, 32<<10))
}

// writerOnly hides all of a writer but Write.
type writerOnly struct{ io.Writer }
