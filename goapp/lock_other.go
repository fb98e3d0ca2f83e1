//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package goapp

import (
	"os"
	"sync"
)

// lock excludes within this process, where the system has no flock.
type lock struct {
	path string
	held bool
}

var (
	locksMu sync.Mutex
	locks   = map[string]bool{}
)

func newLock(name string) (*lock, error) {
	path, err := lockPath(name)
	return &lock{path: path}, err
}

func (l *lock) try() (bool, error) {
	locksMu.Lock()
	defer locksMu.Unlock()
	if locks[l.path] {
		return false, nil
	}
	locks[l.path], l.held = true, true
	return true, nil
}

func (l *lock) close() {
	locksMu.Lock()
	defer locksMu.Unlock()
	if l.held {
		delete(locks, l.path)
	}
}

func ownedByUs(os.FileInfo) bool { return true }
