package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func alive(pid int) bool {
	return syscall.Kill(pid, 0) == nil
}

// variable is the part of a file's name that tells nothing about its kind.
var variable = regexp.MustCompile(`\[\d+\]|\.\w{6}( |$)|\d{6,}`)

// openFiles counts what a process has open, by kind.
func openFiles(pid int) map[string]int {
	kinds := make(map[string]int)
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil {
			kinds[variable.ReplaceAllString(target, "*$1")]++
		}
	}
	return kinds
}

// descriptors counts the open files of a process. Eventfds are apart: a slot
// keeps its own for the life of the process.
func descriptors(kinds map[string]int) (files, events int) {
	for kind, n := range kinds {
		if kind == "anon_inode:[eventfd]" {
			events += n
		} else {
			files += n
		}
	}
	return files, events
}

// resetPeak makes peak count from now on.
func resetPeak(t *testing.T, pid int) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}

// resident and peak are bytes of memory that a process holds, and held at
// most since resetPeak.
func resident(t *testing.T, pid int) int64 {
	return memory(t, pid, "VmRSS:")
}

func peak(t *testing.T, pid int) int64 {
	return memory(t, pid, "VmHWM:")
}

func memory(t *testing.T, pid int, field string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatalf("no %s of process %d", field, pid)
	return 0
}

// pidOf finds the worker that has accepted a connection, 0 for none yet.
func (s *server) pidOf(t *testing.T, w *wire) int {
	t.Helper()
	inode := socketInode(t, w.RemoteAddr().String(), w.LocalAddr().String())
	if inode == "" || inode == "0" {
		return 0
	}
	for _, pid := range s.workers() {
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, link := range links {
			if target, _ := os.Readlink(link); target == "socket:["+inode+"]" {
				return pid
			}
		}
	}
	return 0
}

// socketInode finds the socket between two IPv4 addresses of this machine.
func socketInode(t *testing.T, local, remote string) string {
	t.Helper()
	text, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) > 9 && f[1] == hexAddr(local) && f[2] == hexAddr(remote) {
			return f[9]
		}
	}
	return ""
}

func hexAddr(addr string) string {
	a := netip.MustParseAddrPort(addr)
	b := a.Addr().As4()
	return fmt.Sprintf("%02X%02X%02X%02X:%04X", b[3], b[2], b[1], b[0], a.Port())
}
