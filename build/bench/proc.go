package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ticks is the unit of the times in /proc/PID/stat, per second (USER_HZ).
const ticks = 100

// tree lists a process and all that descend from it.
func tree(pid int) []int {
	list := []int{pid}
	for i := 0; i < len(list); i++ {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", list[i]))
		for _, file := range files {
			text, _ := os.ReadFile(file)
			for _, field := range strings.Fields(string(text)) {
				if child, err := strconv.Atoi(field); err == nil {
					list = append(list, child)
				}
			}
		}
	}
	return list
}

// cpuSeconds is what the processes have used so far, in user and system mode.
func cpuSeconds(pids []int) float64 {
	sum := 0
	for _, pid := range pids {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		// the name in parentheses may have blanks
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		if len(fields) > 12 {
			user, _ := strconv.Atoi(string(fields[11]))
			system, _ := strconv.Atoi(string(fields[12]))
			sum += user + system
		}
	}
	return float64(sum) / ticks
}

// memory is a field of /proc/PID/status in MiB, such as VmRSS or VmHWM, summed
// over the processes.
func memory(field string, pids ...int) float64 {
	sum := 0
	for _, pid := range pids {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, field+":"); ok {
				n, _ := strconv.Atoi(strings.Fields(rest)[0])
				sum += n
			}
		}
	}
	return float64(sum) / 1024
}

// resetPeak makes VmHWM start anew.
func resetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}
