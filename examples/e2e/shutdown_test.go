package e2e

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gsgi/gsgi/examples/internal/testserver"
	"github.com/stretchr/testify/assert"
)

// ended waits until the server has ended, and says how long it took.
func (s *server) ended(t *testing.T, limit time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	select {
	case <-s.first.Exited:
	case <-time.After(limit):
		t.Fatalf("%s has not ended in %v", s.kind, limit)
	}
	return time.Since(began)
}

// endless begins requests whose handlers never end: one without a head, one
// whose response has a length, one of unknown length in HTTP/1.1, and one
// that the end of the connection would end.
func (s *server) endless(t *testing.T, g *gate) []*wire {
	t.Helper()
	requests := []string{
		"GET /wait?%s HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /length?cl=100&n=50&flush=1&%s HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /flush?%s HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /flush?%s HTTP/1.0\r\n\r\n",
	}
	var wires []*wire
	for i, request := range requests {
		w := s.dial(t)
		w.send(request, g.query(strconv.Itoa(i)))
		g.next()
		wires = append(wires, w)
		if i > 0 {
			if _, err := w.in.Peek(1); err != nil {
				t.Fatal(err)
			}
		}
	}
	return wires
}

// wantCut checks that no client takes what it got for a whole answer.
func wantCut(t *testing.T, wires []*wire) {
	t.Helper()
	for i, w := range wires {
		res, err := http.ReadResponse(bufio.NewReader(w.in), nil)
		if err != nil {
			assert.Zero(t, i, "request %d: %v", i, err)
			continue
		}
		body, err := io.ReadAll(res.Body)
		if i == 0 {
			assert.Equal(t, 503, res.StatusCode)
			continue
		}
		assert.Error(t, err, "request %d: %d, %q looks whole", i, res.StatusCode, body)
	}
}

func TestGracefulStop(t *testing.T) {
	everyServer(t, everyKind, func(t *testing.T, kind string) {
		s := living(t, kind, inRoom(kind, setup{}))
		g := newGate(t)
		waits := s.dial(t)
		waits.send("GET /wait?%s HTTP/1.1\r\nHost: localhost\r\n\r\n", g.query("held"))
		v := g.next()
		pid := s.pidOf(t, waits)
		file := s.download(t)
		if s.apache() {
			s.signal(t, syscall.SIGWINCH)
		} else {
			s.signal(t, syscall.SIGQUIT)
		}
		s.wantEvent(t, pid, "context")
		v.silent(300 * time.Millisecond)
		v.release()
		assert.Equal(t, "waited\n", waits.answer("GET").body)
		assert.EqualValues(t, largeSize, file.whole())
		waits.Close()
		file.Close()
		s.ended(t, 30*time.Second)
		assert.Contains(t, events(s.life(t), pid), "deferred")
		s.log.never(t, 0, `were cut|are cut|exited on signal|exit signal|has not stopped|GSGI0506`)
		assert.True(t, s.first.ProcessState.Success(), "%v", s.first.ProcessState)
	})
}

// TestGracefulStopBehindAFailure: a worker whose main has failed ends what it
// has begun.
func TestGracefulStopBehindAFailure(t *testing.T) {
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		conf := inRoom(kind, setup{server: standardRoot(kind), app: "-entries=8080 -fail=late"})
		conf.top = "worker_processes 1;"
		s := launchUnclean(t, kind, conf)
		s.untilAnswers(t)
		g := newGate(t)
		ends, waits := s.dial(t), s.dial(t)
		waits.send("GET /wait?%s HTTP/1.1\r\nHost: localhost\r\n\r\n", g.query("held"))
		v := g.next()
		ends.send("GET /endmain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		s.log.want(t, 0, `main has panicked: late on demand`)
		ends.Close()
		if s.apache() {
			s.signal(t, syscall.SIGWINCH)
		} else {
			s.signal(t, syscall.SIGQUIT)
		}
		v.silent(300 * time.Millisecond)
		v.release()
		assert.Equal(t, "waited\n", waits.answer("GET").body)
		waits.Close()
		s.ended(t, 30*time.Second)
	})
}

func TestStopCutsWhatDoesNotEnd(t *testing.T) {
	everyServer(t, []string{nginx, event, prefork}, func(t *testing.T, kind string) {
		for _, c := range []struct {
			name    string
			signal  syscall.Signal
			inNginx string
			apache  string
		}{
			{"at once", syscall.SIGTERM, "", ""},
			{"gracefully, with a limit", 0, "worker_shutdown_timeout 1s;", "GracefulShutdownTimeout 1"},
		} {
			t.Run(c.name, func(t *testing.T) {
				conf := inRoom(kind, setup{main: global(kind, "", c.apache)})
				conf.top = c.inNginx + "worker_processes 1;"
				s := living(t, kind, conf)
				wires := s.endless(t, newGate(t))
				switch {
				case c.signal != 0:
					s.signal(t, c.signal)
				case s.apache():
					s.signal(t, syscall.SIGWINCH)
				default:
					s.signal(t, syscall.SIGQUIT)
				}
				s.ended(t, 30*time.Second)
				wantCut(t, wires)
				// In prefork the parent does not wait for its children.
				n := 0
				for end := time.Now().Add(5 * time.Second); n < len(wires) && time.Now().Before(end); {
					n = cutInLog(s.log.since(0))
				}
				assert.Equal(t, len(wires), n, "requests that the log says were cut")
			})
		}
	})
}

var cuts = regexp.MustCompile(`"site": (\d+) requests (are|were) cut by the end`)

// cutInLog adds up the requests that workers say they have cut.
func cutInLog(text string) int {
	sum := 0
	for _, m := range cuts.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(m[1])
		sum += n
	}
	return sum
}

// daemonize starts NGINX in the background: its binary can be exchanged only
// then.
func daemonize(t *testing.T, conf setup) *server {
	t.Helper()
	s, err := prepareServer(nginx, ownLibrary(nginx, conf))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(s.conf)
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(string(text), "daemon off;", "daemon on;", 1))
	if sanitized { // a new binary needs them too
		text = append([]byte("env LD_PRELOAD; env ASAN_OPTIONS; env UBSAN_OPTIONS;\n"), text...)
	}
	if err := os.WriteFile(s.conf, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.writeVersion(1, false); err != nil {
		t.Fatal(err)
	}
	if out, err := s.command().CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.first = s.daemon(t, "pid")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s:\n%s", s.kind, s.log.tail(60))
		}
	})
	s.untilAnswers(t)
	return s
}

// daemon is the process of a pid file. It is ended with the test.
func (s *server) daemon(t *testing.T, name string) *testserver.Process {
	t.Helper()
	pid := 0
	until(t, "the file "+name, func() bool {
		text, _ := os.ReadFile(filepath.Join(s.dir, name))
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return pid != 0
	})
	process, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	p := &testserver.Process{Cmd: &exec.Cmd{Process: process}}
	t.Cleanup(func() {
		for _, pid := range append(testserver.Children(pid), pid) {
			if running(pid) {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	return p
}

func TestBinaryUpgrade(t *testing.T) {
	if out, err := exec.Command("/usr/sbin/nginx", "-v").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := daemonize(t, inRoom(nginx, setup{app: "-entries=8080", server: reloadConf(nginx)}))
	l := s.shop()
	time.Sleep(300 * time.Millisecond)
	first := s.master()
	old := s.workers()

	// A new binary does not start beside the old one with an application that
	// cannot serve: half of the requests would go to it.
	if err := os.WriteFile(filepath.Join(s.dir, "app.so"), []byte("no library"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.signal(t, syscall.SIGUSR2)
	s.log.want(t, 0, `\[emerg\].*app\.so" is not a shared library`)
	s.log.want(t, 0, `exited with code 1`)
	until(t, "the old binary's pid file is back", func() bool {
		text, _ := os.ReadFile(filepath.Join(s.dir, "pid"))
		return strings.TrimSpace(string(text)) == strconv.Itoa(first)
	})
	assert.Equal(t, old, s.workers())

	mark := s.log.mark()
	if err := s.writeVersion(2, true); err != nil {
		t.Fatal(err)
	}
	l.history.begin(versionText(2))
	s.signal(t, syscall.SIGUSR2)
	until(t, "the old binary's file", func() bool {
		_, err := os.Stat(filepath.Join(s.dir, "pid.oldbin"))
		return err == nil
	})
	s.first = s.daemon(t, "pid")
	assert.NotEqual(t, first, s.master())
	until(t, "both versions answer", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.seen[versionText(2)] > 5
	})
	assert.LessOrEqual(t, openFiles(s.master())["/memfd:gsgi (deleted)"], 1, "images of the old binary in the new")

	assert.NoError(t, syscall.Kill(first, syscall.SIGWINCH))
	for _, pid := range old {
		gone(t, pid)
	}
	l.history.end(versionText(1))
	assert.True(t, running(first))
	time.Sleep(300 * time.Millisecond)
	assert.NoError(t, syscall.Kill(first, syscall.SIGQUIT))
	gone(t, first)
	time.Sleep(300 * time.Millisecond)
	l.stop()
	l.report(t)
	fresh := s.workers()
	s.signal(t, syscall.SIGQUIT)
	for _, pid := range append(slices.Clone(fresh), s.master()) {
		gone(t, pid)
	}
	s.log.never(t, mark, `exited on signal|exited with code [1-9]|\[(alert|emerg|crit)\]`)
}
