package e2e

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// soakTime is how long the tests that only show something after a while may
// take together: SOAK_MINUTES, else as long as one can wait for.
func soakTime(otherwise time.Duration) time.Duration {
	minutes, err := strconv.ParseFloat(os.Getenv("SOAK_MINUTES"), 64)
	if err != nil {
		return otherwise
	}
	return time.Duration(minutes * float64(time.Minute))
}

// leakRequests is how many requests each way gets in a soak.
const leakRequests = 100_000

// growth is how much more memory a worker may hold after the traffic than
// after a part of the same traffic: heaps breathe. Each of Apache's threads
// keeps up to MaxMemFree of what its pools had, 2 MiB where that is not set:
// then files alone, without the module, let a child grow by 50 MiB in 200,000
// requests.
var growth = map[string]int{nginx: 6 * mib, event: 10 * mib}

func TestLeaks(t *testing.T) {
	limit, requests := 1500*time.Millisecond, math.MaxInt
	if os.Getenv("SOAK_MINUTES") != "" {
		limit, requests = 10*time.Minute, leakRequests
	}
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		conf := standard(kind)
		conf.main = global(kind, "", "MaxMemFree 64")
		s := launchUnclean(t, kind, conf)
		s.warm(t)
		for _, protocol := range []string{h1, h2} {
			x := &target{s, protocol}
			x.run(t, protocol+": mixed requests, of which one in ten is given up", func(t *testing.T) {
				x.leak(t, requests, limit)
			})
		}
	})
}

// leak sends traffic and compares what the worker holds then with what it held
// after the first part of it.
func (x *target) leak(t *testing.T, requests int, limit time.Duration) {
	a := newAccount()
	pid := x.workers()[0]
	l := workload{errands, 24, requests / 4, limit / 2, new(atomic.Int64)}
	x.traffic(t, l, newAccount())
	x.noLeak(t)
	before, counted := x.settled(t, pid), x.outcomes(t)
	l.requests, l.limit = requests, limit
	x.traffic(t, l, a)
	x.noLeak(t)
	after := x.settled(t, pid)
	t.Logf("%s: %d KiB resident before, %d KiB after\n%s", x.kind, before>>10, after>>10, a.table())
	if !sanitized {
		assert.Less(t, after-before, int64(growth[x.kind]), "memory that the worker holds on to")
	}
	for _, w := range a.wrong {
		t.Error(w.err)
	}
	x.balanced(t, counted)
}

// settled is the resident memory of a worker that has nothing to do, at the
// least of several moments.
func (s *server) settled(t *testing.T, pid int) int64 {
	t.Helper()
	least := int64(math.MaxInt64)
	for range 3 {
		s.get("/gc")
		least = min(least, resident(t, pid))
		time.Sleep(20 * time.Millisecond)
	}
	return least
}

// ends are the figures that count what has become of requests.
var ends = []string{"answered", "cut", "aborted", "timeouts", "rejected", "failed"}

// outcomes are the figures of requests.
func (s *server) outcomes(t *testing.T) map[string]int {
	t.Helper()
	page, err := s.status()
	if err != nil {
		t.Fatal(err)
	}
	counted := make(map[string]int)
	for _, name := range append([]string{"requests"}, ends...) {
		n, ok := page[name]
		if !ok {
			t.Fatalf("the status page has no %q", name)
		}
		counted[name] = int(n)
	}
	return counted
}

// balanced checks that every request since then has exactly one outcome.
func (s *server) balanced(t *testing.T, since map[string]int) {
	t.Helper()
	var text string
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		now := s.outcomes(t)
		requests, sum := now["requests"]-since["requests"], 0
		var parts []string
		for _, name := range ends {
			n := now[name] - since[name]
			sum += n
			parts = append(parts, fmt.Sprintf("%d %s", n, name))
		}
		text = fmt.Sprintf("%d requests: %s", requests, strings.Join(parts, ", "))
		if requests == sum {
			t.Log(text)
			return
		}
	}
	t.Errorf("the server's account does not add up: %s", text)
}
