package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"
)

// status is the worker's part of the gsgi_status page, as numbers by name.
func (s *server) status() (map[string]float64, error) {
	code, body, err := s.get("/gsgi-status?format=json")
	if err != nil {
		return nil, err
	}
	var page struct {
		Worker map[string]any
	}
	if err := json.Unmarshal([]byte(body), &page); err != nil || code != http.StatusOK {
		return nil, fmt.Errorf("status page: %d: %v\n%s", code, err, body)
	}
	numbers := make(map[string]float64)
	for name, value := range page.Worker {
		if n, ok := value.(float64); ok {
			numbers[name] = n
		}
	}
	return numbers, nil
}

// figure is one number of the status page.
func (s *server) figure(t *testing.T, name string) int {
	t.Helper()
	status, err := s.status()
	if err != nil {
		t.Fatal(err)
	}
	n, ok := status[name]
	if !ok {
		t.Fatalf("the status page has no %q: %v", name, status)
	}
	return int(n)
}

// wantFigure waits until a number of the status page is n.
func (s *server) wantFigure(t *testing.T, name string, n int) {
	t.Helper()
	got := 0
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got = s.figure(t, name); got == n {
			return
		}
	}
	t.Errorf("%s is %d and should be %d", name, got, n)
}

// A usage is what a worker holds.
type usage struct {
	pid                               int
	slots, chunks, handles            int
	goroutines                        int // apart from idle dispatchers
	active, queued, flying, abandoned int
	files, events                     int
	temporary                         int // files in the body directory
	open                              map[string]int
}

func (s *server) usage() (usage, error) {
	pids := s.workers()
	if len(pids) != 1 {
		return usage{}, fmt.Errorf("%s has %d workers", s.kind, len(pids))
	}
	f, err := s.status()
	if err != nil {
		return usage{}, err
	}
	for _, name := range []string{"slots_used", "chunks_used", "handles", "goroutines", "dispatchers"} {
		if _, ok := f[name]; !ok {
			return usage{}, fmt.Errorf("the status page has no %q: %v", name, f)
		}
	}
	u := usage{
		pid:        pids[0],
		slots:      int(f["slots_used"]),
		chunks:     int(f["chunks_used"]),
		handles:    int(f["handles"]),
		goroutines: int(f["goroutines"] - f["dispatchers"]),
		active:     int(f["active"]),
		queued:     int(f["queued"]),
		flying:     int(f["in_flight"]),
		abandoned:  int(f["abandoned"]),
	}
	u.open = openFiles(u.pid)
	u.files, u.events = descriptors(u.open)
	entries, _ := os.ReadDir(s.dir + "/body")
	u.temporary = len(entries)
	return u, nil
}

// within reports whether a worker holds no more than at the start. The runtime
// has a goroutine more for each thread of C that is known to it, the loader's
// among them, which comes and goes.
func (u usage) within(base usage) bool {
	base.goroutines++
	return u.pid == base.pid && u.slots <= base.slots && u.chunks <= base.chunks &&
		u.handles <= base.handles && u.goroutines <= base.goroutines &&
		u.active <= base.active && u.queued <= base.queued && u.flying <= base.flying &&
		u.abandoned <= base.abandoned && u.files <= base.files && u.temporary <= base.temporary
}

// warm lets everything happen once that is made at first use, and remembers
// what the worker holds then.
func (s *server) warm(t *testing.T) {
	t.Helper()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { s.get("/gsgi-status?format=json") })
	}
	wg.Wait()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		code, body, err := s.get("/hello")
		if err == nil && code == http.StatusOK {
			s.get("/gc")
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the application does not answer: %d %v %s\n%s", code, err, body, s.texts())
		}
	}
	// Figures are refreshed behind a look at them, and not all at one moment.
	for range 8 {
		time.Sleep(60 * time.Millisecond)
		u, err := s.usage()
		if err != nil {
			t.Fatal(err)
		}
		u.goroutines = max(u.goroutines, s.base.goroutines)
		u.files = max(u.files, s.base.files)
		s.base = u
	}
}

// noLeak waits until the worker holds what it held at the start.
func (s *server) noLeak(t *testing.T) {
	t.Helper()
	var now usage
	var err error
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if now, err = s.usage(); err == nil && now.within(s.base) {
			return
		}
	}
	if err != nil {
		t.Error(err)
		return
	}
	for kind, n := range now.open {
		if n == s.base.open[kind] {
			delete(now.open, kind)
		}
	}
	_, stacks, _ := s.get("/stacks")
	t.Errorf("the worker holds more than before:\nbefore %+v\nnow    %+v", s.base, now)
	t.Logf("%s", stacks)
	now.open = openFiles(now.pid)
	s.base = now // one complaint for one leak
}
