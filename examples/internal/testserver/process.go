package testserver

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Process is the first one of a running server.
type Process struct {
	*exec.Cmd
	Exited chan struct{} // closed when it has ended
}

// Start starts a server whose standard output and error go to a file.
func Start(cmd *exec.Cmd, output *os.File) (*Process, error) {
	cmd.Stdout, cmd.Stderr = output, output
	// Apache signals its whole process group.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd, make(chan struct{})}
	go func() {
		cmd.Wait()
		close(p.Exited)
	}()
	return p, nil
}

// Pid is the number of the process.
func (p *Process) Pid() int { return p.Process.Pid }

// Ended reports whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.Exited:
		return true
	default:
		return false
	}
}

// Stop sends the signal and waits. A process that takes longer than the limit
// is killed with its children, and Stop returns false.
func (p *Process) Stop(signal syscall.Signal, limit time.Duration) bool {
	p.Process.Signal(signal)
	select {
	case <-p.Exited:
		return true
	case <-time.After(limit):
		p.Kill()
		return false
	}
}

// Kill ends the process and its children at once.
func (p *Process) Kill() {
	for _, pid := range append(Children(p.Pid()), p.Pid()) {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	<-p.Exited
}

// Children returns the pids of a process's children that have not ended.
func Children(parent int) []int {
	var pids []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		// pid (comm) state ppid ...
		rest := string(text[strings.LastIndexByte(string(text), ')')+1:])
		fields := strings.Fields(rest)
		if len(fields) < 2 || fields[0] == "Z" || fields[1] != strconv.Itoa(parent) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		pids = append(pids, pid)
	}
	return pids
}
