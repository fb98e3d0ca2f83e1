package module

import "syscall"

// duplicate returns a descriptor for the same file, closed on exec; -1 when
// there is none left.
func duplicate(fd uintptr) int {
	n, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 3)
	if errno != 0 {
		return -1
	}
	return int(n)
}
