package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// TestEventLoopIsPaced: on one processor a thread wakes again and again while a
// handler computes, and not while none does.
func TestEventLoopIsPaced(t *testing.T) {
	conf := standard(nginx)
	conf.top = "worker_processes 1; worker_cpu_affinity 1;"
	s := launch(t, nginx, conf)
	s.untilAnswers(t)
	task := pacer(t, s.workers()[0])
	rests := func() bool {
		before := switches(t, task)
		time.Sleep(300 * time.Millisecond)
		return switches(t, task) == before
	}
	assert.Eventually(t, rests, 10*time.Second, time.Millisecond, "it does not rest")
	before := switches(t, task)
	code, _, err := s.get("/burn?ms=3000")
	assert.NoError(t, err)
	assert.Equal(t, 200, code)
	assert.Greater(t, switches(t, task)-before, 100, "wakings")
	assert.Eventually(t, rests, 10*time.Second, time.Millisecond, "it does not rest again")
}

// pacer returns the directory of the thread in /proc.
func pacer(t *testing.T, pid int) string {
	t.Helper()
	names, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/comm")
	for _, name := range names {
		if text, _ := os.ReadFile(name); string(text) == "gsgi-pace\n" {
			return filepath.Dir(name)
		}
	}
	t.Fatalf("worker %d has no such thread", pid)
	return ""
}

// switches is how often a thread has gone to sleep.
func switches(t *testing.T, task string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(task, "status"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^voluntary_ctxt_switches:\s+(\d+)$`).FindSubmatch(text)
	n, _ := strconv.Atoi(string(m[1]))
	return n
}
