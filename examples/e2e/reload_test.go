package e2e

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// reloads is how often a server is reloaded, and in how long a time. make
// soak asks for more by GSGI_RELOADS and GSGI_RELOAD_TIME.
func reloads(t *testing.T) (n int, during time.Duration) {
	t.Helper()
	n, during = 6, 6*time.Second
	var err error
	if text := os.Getenv("GSGI_RELOADS"); text != "" {
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	if text := os.Getenv("GSGI_RELOAD_TIME"); text != "" {
		if during, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	return n, during
}

// roomy has places for the processes of more than one generation.
var roomy = map[string]string{
	nginx: "worker_processes 2;",
	event: `StartServers 1
ServerLimit 8
ThreadsPerChild 32
MaxRequestWorkers 256
MinSpareThreads 1
MaxSpareThreads 64`,
	worker: `StartServers 1
ServerLimit 8
ThreadsPerChild 32
MaxRequestWorkers 256
MinSpareThreads 1
MaxSpareThreads 64`,
	prefork: `StartServers 14
ServerLimit 48
MaxRequestWorkers 48
MinSpareServers 2
MaxSpareServers 14`,
}

// inRoom gives a setup places for several generations.
func inRoom(kind string, conf setup) setup {
	if kind == nginx {
		conf.top += roomy[kind]
	} else {
		conf.mpm = roomy[kind]
	}
	return conf
}

// reload makes the server read its configuration and library again.
func (s *server) reload() error {
	signal := syscall.SIGHUP
	if s.apache() {
		signal = syscall.SIGUSR1
	}
	return syscall.Kill(s.master(), signal)
}

// replace brings version n into service and waits until it answers. done is
// closed when no worker of the version before is left.
func (s *server) replace(h *history, n int, inPlace bool) (done chan struct{}, err error) {
	old := s.workers()
	if err := s.writeVersion(n, inPlace); err != nil {
		return nil, err
	}
	h.begin(versionText(n))
	if err := s.reload(); err != nil {
		return nil, err
	}
	done = make(chan struct{})
	go func() {
		defer close(done)
		for slices.ContainsFunc(s.workers(), func(pid int) bool { return slices.Contains(old, pid) }) {
			time.Sleep(50 * time.Millisecond)
		}
		h.end(versionText(n - 1))
	}()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		x := exchange{path: "/version", fresh: true}
		_, err := new(shopper).do(s.plain, &x)
		if err == nil && x.version == versionText(n) {
			return done, nil
		}
		if err != nil || time.Now().After(end) {
			return nil, fmt.Errorf("version %d does not answer, but %q: %w", n, x.version, err)
		}
	}
}

// The clients of a reload, by name.
var shoppers = []struct {
	name string
	n    int
	exchange
}{
	{"kept alive", 2, exchange{path: "/version?n=100"}},
	{"kept alive, slow", 2, exchange{path: "/version?n=100&ms=300"}},
	{"fresh", 2, exchange{path: "/version?n=100", fresh: true}},
	{"fresh, slow", 1, exchange{path: "/version?n=100&ms=300", fresh: true}},
	{"upload", 1, exchange{path: "/version?n=100", fresh: true, upload: time.Second}},
	{"upload, streamed", 1, exchange{path: "/stream/version?n=100", fresh: true, upload: time.Second}},
	{"head in pieces", 1, exchange{path: "/version?n=100", fresh: true, headPause: 300 * time.Millisecond}},
	{"silent at first", 1, exchange{path: "/version?n=100", fresh: true, pause: 400 * time.Millisecond}},
	{"download", 1, exchange{path: "/version?n=3000000", download: 30 * time.Millisecond}},
	{"static", 1, exchange{path: "/static/hello.txt", static: true}},
}

// TestReloadUnderLoad reloads all servers at the same time: most of it is
// waiting.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	results := make(map[string]*load)
	var wg sync.WaitGroup
	for _, kind := range everyKind {
		s := startVersioned(t, kind, inRoom(kind, setup{app: "-entries=8080", server: reloadConf(kind)}))
		l := s.shop()
		results[kind] = l
		wg.Go(func() { l.failed = s.reloadUnderLoad(t, l) })
	}
	wg.Wait()
	everyServer(t, everyKind, func(t *testing.T, kind string) {
		assert.NoError(t, results[kind].failed)
		results[kind].report(t)
	})
}

// reloadConf passes everything but files to the application, /stream without
// buffering of the body.
func reloadConf(kind string) string {
	stream := locationConf(kind, "/stream/", "gsgi_script_name /stream; gsgi_request_buffering off;",
		"GSGIScriptName /stream\nGSGIRequestBuffering off")
	return standardRoot(kind) + stream
}

// reloadUnderLoad replaces the library again and again, and waits until the
// workers of all versions but the last have gone.
func (s *server) reloadUnderLoad(t *testing.T, l *load) error {
	defer l.stop()
	n, during := reloads(t)
	began := time.Now()
	var gone []chan struct{}
	for i := range n {
		// Apache may need longer; a version has a moment of its own all the same.
		time.Sleep(max(150*time.Millisecond, time.Until(began.Add(time.Duration(i+1)*during/time.Duration(n+1)))))
		done, err := s.replace(&l.history, i+2, i%2 == 1)
		if err != nil {
			return err
		}
		gone = append(gone, done)
	}
	time.Sleep(time.Until(began.Add(during)))
	l.stop()
	limit := time.After(30 * time.Second)
	for _, done := range gone {
		select {
		case <-done:
		case <-limit:
			return fmt.Errorf("old workers live on: %v", s.workers())
		}
	}
	s.log.never(t, 0, `\[(\w*:)?(alert|emerg|crit)\]`)
	s.log.never(t, 0, `exited on signal|exit signal|GSGI0506|has not stopped`)
	return nil
}

// A load is clients that ask again and again.
type load struct {
	wg   sync.WaitGroup
	end  chan struct{}
	once sync.Once
	mu   sync.Mutex
	made map[string]int // answers by client
	lost []string
	seen map[string]int // answers by version

	history history
	failed  error
}

// shop starts the clients of version 1. The history says which answers are
// right.
func (s *server) shop() *load {
	l := &load{end: make(chan struct{}), made: make(map[string]int), seen: make(map[string]int)}
	l.history.begin(versionText(1))
	for _, client := range shoppers {
		for range client.n {
			l.wg.Go(func() {
				var c shopper
				defer c.close()
				for {
					select {
					case <-l.end:
						return
					case <-time.After(7 * time.Millisecond):
					}
					x := client.exchange
					from := time.Now()
					tries, err := c.do(s.plain, &x)
					if err == nil && !x.static && !l.history.has(x.version, from, time.Now()) {
						err = fmt.Errorf("%q was not current", x.version)
					}
					l.note(client.name, x.version, tries, from, err)
				}
			})
		}
	}
	return l
}

func (l *load) note(name, version string, tries int, from time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.made[name]++
	l.seen[version]++
	if tries > 1 {
		l.made["asked again"]++
	}
	if err != nil {
		l.lost = append(l.lost, fmt.Sprintf("%s %s, after %v: %v", from.Format("05.000"), name, time.Since(from), err))
	}
}

func (l *load) stop() {
	l.once.Do(func() { close(l.end) })
	l.wg.Wait()
}

func (l *load) report(t *testing.T) {
	t.Helper()
	for _, client := range shoppers {
		assert.Positive(t, l.made[client.name], client.name)
	}
	t.Logf("answers: %v", l.made)
	t.Logf("by version: %v", l.seen)
	if len(l.lost) > 0 {
		t.Errorf("%d requests were lost:\n%s", len(l.lost), clip(strings.Join(l.lost, "\n"), 4000))
	}
}

// errNotAnswered says that a connection was closed before any byte came.
var errNotAnswered = errors.New("closed before any byte of an answer")
