//go:build !linux

package bridge

import "sync/atomic"

// A region exists on Linux only; elsewhere applications run standalone.

func wake(int32) {}

func futexWake(*atomic.Uint32) {}

func yield() {}
