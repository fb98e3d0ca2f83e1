package module

import (
	"syscall"
	"time"
	"unsafe"
)

// clock reads the host's clock, CLOCK_MONOTONIC, without a system call: it
// knows how far that was when package time's own reading was taken.
type clock struct {
	start time.Time
	base  uint64
}

func newClock() clock {
	var ts syscall.Timespec
	const monotonic = 1
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, monotonic, uintptr(unsafe.Pointer(&ts)), 0)
	return clock{time.Now(), uint64(ts.Nano())}
}

// since is the microseconds from the host's time ns until now.
func (c clock) since(ns uint64) uint32 {
	now := c.base + uint64(time.Since(c.start))
	if now <= ns {
		return 0
	}
	return uint32(min((now-ns)/1000, 1<<32-1))
}
