//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package goapp

import (
	"errors"
	"os"
	"syscall"
)

// lock is an advisory lock of a file. The kernel lets it go when the process
// ends, however that happens.
type lock struct{ f *os.File }

func newLock(name string) (*lock, error) {
	path, err := lockPath(name)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	return &lock{f}, nil
}

// try takes the lock unless somebody has it.
func (l *lock) try() (bool, error) {
	for {
		err := syscall.Flock(int(l.f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, os.NewSyscallError("flock", err)
		}
	}
}

func (l *lock) close() { l.f.Close() }

// ownedByUs says whether a directory is ours and closed to others.
func ownedByUs(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Getuid() && info.Mode().Perm()&0o077 == 0
}
