package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// living starts a server whose application records what happens to it.
func living(t *testing.T, kind string, conf setup) *server {
	t.Helper()
	if conf.server == "" {
		conf.server = standardRoot(kind)
	}
	conf.app = "-entries=8080 -life=@DIR@/life/events " + conf.app
	s, err := prepareServer(kind, conf)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(s.dir, "life")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	s.stopAtEnd(t)
	s.untilAnswers(t)
	return s
}

// A moment is an event in the life of an application.
type moment struct {
	pid   int
	at    int64 // ns
	event string
}

func (s *server) life(t *testing.T) []moment {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "life/events"))
	if err != nil {
		t.Fatal(err)
	}
	var all []moment
	for line := range strings.Lines(string(text)) {
		var m moment
		if _, err := fmt.Sscanf(line, "%d %d e2e version 00000000", &m.pid, &m.at); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		_, m.event, _ = strings.Cut(strings.TrimSpace(line), "00000000 ")
		all = append(all, m)
	}
	slices.SortStableFunc(all, func(a, b moment) int { return int(a.at - b.at) })
	return all
}

// events of one process, in order.
func events(all []moment, pid int) []string {
	var list []string
	for _, m := range all {
		if m.pid == pid {
			list = append(list, m.event)
		}
	}
	return list
}

// until waits for something that takes a while.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// wantEvent waits for an event of a process.
func (s *server) wantEvent(t *testing.T, pid int, event string) {
	t.Helper()
	until(t, fmt.Sprintf("%q of %d", event, pid), func() bool {
		return slices.Contains(events(s.life(t), pid), event)
	})
}

// gone waits until a process has ended.
func gone(t *testing.T, pid int) {
	t.Helper()
	until(t, fmt.Sprintf("the end of %d", pid), func() bool { return !running(pid) })
}

// running says whether a process has not ended. One that nobody has waited
// for has ended.
func running(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	rest := string(text[strings.LastIndexByte(string(text), ')')+1:])
	return !strings.HasPrefix(strings.TrimSpace(rest), "Z")
}

const largeSize = 16 * mib

// download begins a static download and holds it.
func (s *server) download(t *testing.T) *wire {
	t.Helper()
	c, err := net.Dial("tcp", s.plain)
	if err != nil {
		t.Fatal(err)
	}
	c.(*net.TCPConn).SetReadBuffer(16 << 10)
	w := newWire(t, c)
	w.send("GET /static/large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if _, err := w.in.Peek(1); err != nil {
		t.Fatal(err)
	}
	return w
}

// whole reads the rest of a download and says how much it was in all.
func (w *wire) whole() int64 {
	w.t.Helper()
	res, err := http.ReadResponse(w.in, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, res.Body)
	assert.NoError(w.t, err)
	return n
}

func TestDrain(t *testing.T) {
	everyServer(t, everyKind, func(t *testing.T, kind string) {
		s := living(t, kind, inRoom(kind, setup{}))
		g := newGate(t)
		waits := s.dial(t)
		waits.send("GET /wait?%s HTTP/1.1\r\nHost: localhost\r\n\r\n", g.query("held"))
		v := g.next()
		file := s.download(t)
		waiter, server := s.pidOf(t, waits), s.pidOf(t, file)
		assert.NotZero(t, waiter)
		assert.NotZero(t, server)

		assert.NoError(t, s.reload())
		s.wantEvent(t, waiter, "context")
		s.wantEvent(t, server, "context")
		v.silent(300 * time.Millisecond) // the request's context is left alone
		assert.NotContains(t, events(s.life(t), waiter), "deferred")
		v.release()
		a := waits.answer("GET")
		assert.Equal(t, "waited\n", a.body)
		time.Sleep(300 * time.Millisecond)
		assert.EqualValues(t, largeSize, file.whole(), "bytes of the download")
		file.Close()
		waits.Close()
		for _, pid := range []int{waiter, server} {
			gone(t, pid)
			list := events(s.life(t), pid)
			assert.Equal(t, 1, countOf(list, "deferred"), "%v", list)
			assert.Equal(t, "deferred", list[len(list)-1])
			if kind == nginx {
				s.log.want(t, 0, fmt.Sprintf("worker process %d exited with code 0", pid))
			}
		}
		s.log.never(t, 0, `exited with code [1-9]|exit signal|exited on signal|exit status|GSGI0506|has not stopped`)
		s.untilAnswers(t)
	})
}

func countOf(list []string, event string) int {
	n := 0
	for _, e := range list {
		if e == event {
			n++
		}
	}
	return n
}

// TestLateRequests are requests that reach a worker after it was told to end.
func TestLateRequests(t *testing.T) {
	everyServer(t, everyKind, func(t *testing.T, kind string) {
		s := living(t, kind, inRoom(kind, setup{server: standardRoot(kind)}))
		body, head := s.dial(t), s.dial(t)
		body.send("POST /sum HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbo")
		head.send("GET /hello HTTP/1.1\r\nHost: localhost\r\n")
		var pids []int
		until(t, "the workers take the connections", func() bool {
			pids = []int{s.pidOf(t, body), s.pidOf(t, head)}
			return !slices.Contains(pids, 0)
		})
		time.Sleep(200 * time.Millisecond) // for the bytes to be read

		assert.NoError(t, s.reload())
		for _, pid := range pids {
			s.wantEvent(t, pid, "context")
		}
		time.Sleep(300 * time.Millisecond)
		body.send("dy")
		head.send("\r\n")
		assert.Equal(t, int64(4), sumIn(t, body.answer("POST")).N)
		assert.Equal(t, "hello\n", head.answer("GET").body)
		body.Close()
		head.Close()
		for _, pid := range pids {
			gone(t, pid)
			assert.Contains(t, events(s.life(t), pid), "deferred")
		}
	})
}

func TestServerOfItsOwn(t *testing.T) {
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		s := living(t, kind, inRoom(kind, setup{app: "-own"}))
		x := &target{s, h1}
		assert.Equal(t, "base ours, server true\n", x.page(t, "/base").body)
		s.log.want(t, 0, `of the server's own: .*WriteHeader`)
		g := newGate(t)
		held := s.dial(t)
		held.send("GET /wait?%s HTTP/1.1\r\nHost: localhost\r\n\r\n", g.query("held"))
		v := g.next()
		pid := s.pidOf(t, held)
		assert.NotContains(t, events(s.life(t), pid), "shutdown")
		assert.NoError(t, s.reload())
		s.wantEvent(t, pid, "shutdown")
		v.release()
		assert.Equal(t, "waited\n", held.answer("GET").body)
		held.Close()
		gone(t, pid)
		assert.Equal(t, 1, countOf(events(s.life(t), pid), "shutdown"))
	})
}

// turns are the processes that had the turn, in order; no two at a time.
func (s *server) turns(t *testing.T, killed ...int) []int {
	t.Helper()
	var pids []int
	holder := 0
	for _, m := range s.life(t) {
		switch {
		case m.event == "turn begins":
			if holder != 0 && !slices.Contains(killed, holder) {
				t.Errorf("%d takes the turn that %d has", m.pid, holder)
			}
			holder = m.pid
			pids = append(pids, m.pid)
		case m.event == "turn ends" && holder == m.pid:
			holder = 0
		case strings.HasPrefix(m.event, "exclusive"):
			t.Errorf("%d says %s", m.pid, m.event)
		}
	}
	return pids
}

func TestExclusive(t *testing.T) {
	everyServer(t, []string{nginx, event, prefork}, func(t *testing.T, kind string) {
		conf := inRoom(kind, setup{})
		if kind == event {
			conf.mpm = strings.Replace(conf.mpm, "StartServers 1", "StartServers 2", 1)
		}
		s := living(t, kind, conf)
		until(t, "the first turn", func() bool { return len(s.turns(t)) > 0 })
		first := s.turns(t)[0]
		old := s.workers()

		assert.NoError(t, s.reload())
		s.wantEvent(t, first, "turn ends")
		fresh := 0
		until(t, "a turn of the next generation", func() bool {
			turns := s.turns(t)
			fresh = turns[len(turns)-1]
			return !slices.Contains(old, fresh)
		})

		assert.NoError(t, syscall.Kill(fresh, syscall.SIGKILL))
		until(t, "a turn after a worker was killed", func() bool {
			turns := s.turns(t, fresh)
			return turns[len(turns)-1] != fresh
		})
	})
}

func TestPanicInAGoroutineOfGoapp(t *testing.T) {
	each(t, plainWays, func(t *testing.T, x *target) {
		x.run(t, "is logged with its stack and ends nothing else", func(t *testing.T) {
			mark := x.log.mark()
			pid := x.workers()[0]
			assert.Equal(t, "begun\n", x.page(t, "/gopanic?token=gone").body)
			x.log.want(t, mark, x.level("error")+`.*panic in a goroutine: gone wrong on demand gone`)
			x.log.want(t, mark, `app\.goPanics\.func1`)
			assert.Equal(t, "hello\n", x.page(t, "/hello").body)
			assert.Equal(t, pid, x.workers()[0])
		})
	})
}

// TestWorkersWithAbandonedHandlers are replaced, since nothing else ends what
// does not heed its context.
func TestWorkersWithAbandonedHandlers(t *testing.T) {
	everyServer(t, []string{nginx, event, worker}, func(t *testing.T, kind string) {
		conf := inRoom(kind, setup{
			main:   global(kind, "gsgi_concurrency 4;", "GSGIConcurrency 4"),
			server: standardRoot(kind) + locationConf(kind, "/short/", "gsgi_script_name /short; gsgi_timeout 200ms;", "GSGIScriptName /short\nGSGITimeout 200ms"),
		})
		if kind == nginx {
			conf.top = "worker_processes 1;"
		}
		s := living(t, kind, conf)
		x := &target{s, h1}
		old := s.workers()
		assert.Len(t, old, 1)
		g := newGate(t)
		for i := range 2 {
			answered := x.fetch(t, "/short/wait?"+g.query(strconv.Itoa(i)))
			v := g.next()
			a := <-answered
			if a.Response == nil {
				t.Fatal(a.err)
			}
			assert.Equal(t, 504, a.StatusCode)
			defer v.release()
		}
		until(t, "the old worker's end", func() bool {
			_, _, err := s.get("/static/hello.txt") // Apache ends it when a client comes
			return err == nil && !running(old[0])
		})
		s.log.want(t, 0, `(?i)replaced`)
		s.untilAnswers(t)
		assert.NotContains(t, s.workers(), old[0])
		s.log.never(t, 0, `exited on signal|exit signal`)
	})
}

// TestCrashWithRequestsEverywhere ends one of several workers while all of
// them have requests: nobody loses anything but the clients of that one.
func TestCrashWithRequestsEverywhere(t *testing.T) {
	everyServer(t, everyKind, func(t *testing.T, kind string) {
		conf := inRoom(kind, setup{app: "-entries=8080", server: standardRoot(kind)})
		conf.mpm = strings.Replace(conf.mpm, "StartServers 1\n", "StartServers 2\n", 1)
		s := launchUnclean(t, kind, conf)
		s.untilAnswers(t)
		s.crashAmong(t, "kill -9", func(w *wire, pid int) {
			w.send("GET /version?ms=700 HTTP/1.1\r\nHost: localhost\r\n\r\n")
			time.Sleep(200 * time.Millisecond)
			assert.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		})
		s.crashAmong(t, "a panic in a goroutine of its own", func(w *wire, _ int) {
			w.send("GET /crash?token=among HTTP/1.1\r\nHost: localhost\r\n\r\n")
		})
		s.log.want(t, 0, `panic: crash on demand among`)
	})
}

func (s *server) crashAmong(t *testing.T, name string, end func(w *wire, pid int)) {
	t.Helper()
	mark := s.log.mark()
	var wires []*wire
	var pids []int
	until(t, "connections to more than one worker", func() bool {
		w := s.dial(t)
		w.send("GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")
		a := w.answer("GET")
		pid, err := strconv.Atoi(a.Header.Get("X-Pid"))
		if err != nil { // its worker waits after the crash before
			w.Close()
			time.Sleep(100 * time.Millisecond)
			return false
		}
		wires, pids = append(wires, w), append(pids, pid)
		return len(wires) >= 8 && slices.ContainsFunc(pids, func(p int) bool { return p != pids[0] })
	})
	victim := pids[0]
	for _, w := range wires[1:] {
		w.send("GET /version?ms=700 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	end(wires[0], victim)
	for i, w := range wires {
		if pids[i] == victim {
			assert.Empty(t, w.rest(), "%s: what a client of the worker got", name)
			continue
		}
		a := w.answer("GET")
		assert.Equal(t, 200, a.StatusCode, "%s: a client of another worker", name)
		assert.NoError(t, a.err)
	}
	gone(t, victim)
	s.log.want(t, mark, `GET /(version|crash)\?`)
	s.untilAnswers(t)
	for _, w := range wires {
		w.Close()
	}
}
