package bridge

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

const futexWakeOp = 1 // FUTEX_WAKE, not private: the region may be shared

// wake adds 1 to an eventfd. It is non-blocking and cannot fill up, and the
// call is too short for the scheduler to be told.
func wake(fd int32) {
	one := uint64(1)
	syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&one)), 8)
}

func futexWake(word *atomic.Uint32) {
	syscall.RawSyscall(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWakeOp, 1)
}

func yield() { syscall.RawSyscall(syscall.SYS_SCHED_YIELD, 0, 0, 0) }
