package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// crashing is a configuration with two workers, so that one can be seen to
// go on while the other ends.
func crashing(kind string) setup {
	conf := setup{app: "-entries=8080"}
	if kind == nginx {
		conf.top = "worker_processes 2;"
	}
	conf.server = locationConf(kind, "/", "", "")
	return conf
}

// twoWorkers starts a server of which a worker is going to end.
func twoWorkers(t *testing.T, kind string) *server {
	t.Helper()
	conf := crashing(kind)
	conf.mpm = strings.Join(numbers.FindAllString(mpms[kind], -1), "")
	for _, more := range []struct{ lines, text string }{
		{`(?m)^(StartServers|ServerLimit) 1$`, "$1 2"},
		{`(?m)^(MaxRequestWorkers|MaxSpareThreads) (300|32)$`, "$1 600"},
		{`(?m)^(MaxRequestWorkers|MaxSpareServers) 1$`, "$1 2"},
	} {
		conf.mpm = regexp.MustCompile(more.lines).ReplaceAllString(conf.mpm, more.text)
	}
	s := launchUnclean(t, kind, conf)
	s.untilAnswers(t)
	return s
}

// untilAnswers waits for the application.
func (s *server) untilAnswers(t *testing.T) {
	t.Helper()
	code, body, err := 0, "", error(nil)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if code, body, err = s.get("/hello"); err == nil && code == http.StatusOK {
			return
		}
	}
	t.Fatalf("the application does not answer: %d %v %s", code, err, body)
}

func TestCrashes(t *testing.T) {
	everyServer(t, []string{nginx, event, worker, prefork}, func(t *testing.T, kind string) {
		for _, c := range []struct{ name, path, log string }{
			{"a panic in a goroutine of the application's own", "/crash?token=own", `panic: crash on demand own`},
			{"os.Exit", "/exit?code=3&token=last", `exit on demand last`},
			{"SIGSEGV in C", "/segv", ``},
		} {
			t.Run(c.name, func(t *testing.T) {
				s := twoWorkers(t, kind)
				s.crashOne(t, c.path, c.log)
			})
		}
	})
}

// crashOne ends one of two workers while the other holds a request, checks
// that this request is answered, and that the server recovers.
func (s *server) crashOne(t *testing.T, path, text string) {
	mark := s.log.mark()
	before := s.workers()
	assert.Len(t, before, 2)
	held := s.elsewhere(t, path)
	raw := held.raw
	assert.Empty(t, raw, "the client of the crash sees %q", raw)
	held.visitor.release()
	a := held.wire.answer("GET")
	assert.Equal(t, 200, a.StatusCode)
	assert.Equal(t, "waited\n", a.body)
	if text != "" {
		s.log.want(t, mark, text)
	}
	s.log.want(t, mark, `(?i)(request.*\b(was|were)\b|running|in flight)`)
	held.wire.Close()
	s.untilAnswers(t)
	alive := 0
	for _, pid := range s.workers() {
		for _, old := range before {
			if pid == old {
				alive++
			}
		}
	}
	assert.LessOrEqual(t, alive, 1, "workers that lived on")
}

// A held request waits in a worker that is not the one that crashed.
type held struct {
	wire    *wire
	visitor *visitor
	raw     string // what the client of the crash saw
}

// elsewhere holds a request in one worker and crashes the other.
func (s *server) elsewhere(t *testing.T, path string) held {
	t.Helper()
	g := newGate(t)
	w := s.dial(t)
	w.send("GET /wait?%s HTTP/1.1\r\nHost: localhost\r\n\r\n", g.query("held"))
	v := g.next()
	holder := s.pidOf(t, w)
	for range 200 {
		c := s.dial(t)
		if s.apache() {
			c.send("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
			c.answer("GET")
		} else {
			time.Sleep(time.Millisecond)
		}
		if pid := s.pidOf(t, c); pid != holder && pid != 0 {
			c.send("GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
			return held{w, v, c.rest()}
		}
		c.Close()
	}
	t.Fatal("all connections go to one worker")
	return held{}
}

func TestCrashWithManyGoroutines(t *testing.T) {
	const n = 10_000
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		s := launchUnclean(t, kind, crashing(kind))
		s.untilAnswers(t)
		mark := s.log.mark()
		assert.Empty(t, s.raw(t, fmt.Sprintf("GET /crash?n=%d&token=many HTTP/1.1\r\nHost: localhost\r\n\r\n", n)))
		s.untilAnswers(t)
		text := s.log.since(mark)
		assert.Contains(t, text, "panic: crash on demand many")
		begun := regexp.MustCompile(`(?m)^goroutine \d+ `).FindAllString(text, -1)
		whole := regexp.MustCompile(`(?m)^created by github\.com/gsgi/gsgi/examples/e2e/app\.crash in goroutine \d+$`).
			FindAllString(text, -1)
		assert.GreaterOrEqual(t, len(begun), n, "goroutines in the trace")
		assert.GreaterOrEqual(t, len(whole), n, "goroutines with their origin")
		assert.Equal(t, n, strings.Count(text, "app.bystander("), "bystanders")
	})
}

// TestResponsesThatTheConnectionEnds: where nothing but the end of the
// connection ends a response, the death of the worker is not taken for it,
// from the first byte on. strace holds up what tells the system so.
func TestResponsesThatTheConnectionEnds(t *testing.T) {
	everyServer(t, []string{nginx, event, worker, prefork}, func(t *testing.T, kind string) {
		conf := inRoom(kind, setup{server: standardRoot(kind), app: "-entries=8080"})
		conf.top = "worker_processes 1;"
		s := launchUnclean(t, kind, conf)
		s.untilAnswers(t)
		t.Run("it is whole", func(t *testing.T) {
			const size = 20 << 20
			w := s.dial(t)
			w.Conn.(*net.TCPConn).SetReadBuffer(16 << 10)
			w.send("GET /gen?n=%d HTTP/1.0\r\n\r\n", size)
			time.Sleep(200 * time.Millisecond) // the server has to wait
			res, err := http.ReadResponse(w.in, nil)
			if err != nil {
				t.Fatal(err)
			}
			assert.EqualValues(t, -1, res.ContentLength)
			n, err := io.Copy(io.Discard, res.Body)
			assert.NoError(t, err)
			assert.EqualValues(t, size, n)
		})
		t.Run("the worker dies", func(t *testing.T) {
			defer strace(t, s.workers(), "-o", "/dev/null", "-e", "trace=setsockopt",
				"-e", "inject=setsockopt:delay_enter=200000")()
			w := s.dial(t)
			w.send("GET /slow?n=1000&ms=100 HTTP/1.0\r\n\r\n")
			if _, err := w.in.Peek(1); err != nil {
				t.Fatal(err)
			}
			for _, pid := range s.workers() {
				assert.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
			}
			text, err := io.ReadAll(w.in)
			assert.Error(t, err, "%q looks whole", text)
		})
	})
}
