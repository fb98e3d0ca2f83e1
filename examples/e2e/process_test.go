package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/gsgi/gsgi/examples/e2e/app"
)

// procFile reads a file of /proc.
func procFile(t *testing.T, pid int, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// hasLibrary tells whether an application library is mapped in a process.
func hasLibrary(t *testing.T, pid int) bool {
	t.Helper()
	return bytes.Contains(procFile(t, pid, "maps"), []byte("memfd:"))
}

// threads are the names of a process's threads.
func threads(t *testing.T, pid int) []string {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/comm", pid))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		if name, err := os.ReadFile(file); err == nil {
			names = append(names, strings.TrimSpace(string(name)))
		}
	}
	return names
}

// title is how a process calls itself.
func title(t *testing.T, pid int) string {
	t.Helper()
	return strings.Trim(strings.ReplaceAll(string(procFile(t, pid, "cmdline")), "\x00", " "), " ")
}

func TestOnlyWorkersHaveTheLibrary(t *testing.T) {
	cache := "proxy_cache_path @DIR@/cache keys_zone=cache:1m;"
	s := launchUnclean(t, nginx, setup{app: "-entries=8080", main: cache, server: standardRoot(nginx)})
	s.untilAnswers(t)
	titles := make(map[string]int)
	for _, pid := range append(s.workers(), s.master()) {
		name := title(t, pid)
		titles[name]++
		if name == "nginx: worker process" {
			assert.True(t, hasLibrary(t, pid), name)
			assert.Greater(t, len(threads(t, pid)), 3, name)
			continue
		}
		assert.False(t, hasLibrary(t, pid), name)
		assert.Len(t, threads(t, pid), 1, name)
	}
	assert.Equal(t, 1, titles["nginx: cache manager process"], titles)
	assert.Equal(t, 1, titles["nginx: cache loader process"], titles)
	assert.Equal(t, 1, titles["nginx: worker process"], titles)
	for _, kind := range []string{event, worker, prefork} {
		s := launch(t, kind, setup{app: "-entries=8080", server: standardRoot(kind)})
		assert.False(t, hasLibrary(t, s.master()), kind)
		assert.Len(t, threads(t, s.master()), 1, kind)
		assert.True(t, hasLibrary(t, s.workers()[0]), kind)
	}
}

func TestSignalsStayTheServers(t *testing.T) {
	everyServer(t, []string{nginx, event, worker, prefork}, func(t *testing.T, kind string) {
		s := launchUnclean(t, kind, setup{app: "-entries=8080", server: standardRoot(kind)})
		x := &target{s, h1}
		s.take(t)
		before := s.answering(t)
		t.Run("a restart", func(t *testing.T) {
			assert.NoError(t, s.reload())
			s.untilGone(t, before)
			s.untilAnswers(t)
		})
		if kind == nginx {
			t.Run("a signal to the worker alone", func(t *testing.T) {
				s.take(t)
				before := s.answering(t)
				assert.NoError(t, syscall.Kill(before, syscall.SIGQUIT))
				s.untilGone(t, before)
				s.untilAnswers(t)
			})
			t.Run("new log files", func(t *testing.T) {
				s.take(t)
				pid := s.answering(t)
				old := s.log.path + ".old"
				assert.NoError(t, os.Rename(s.log.path, old))
				s.signal(t, syscall.SIGUSR1)
				for end := time.Now().Add(10 * time.Second); !s.hasOpen(pid, s.log.path) || s.hasOpen(pid, old); {
					time.Sleep(20 * time.Millisecond)
					if time.Now().After(end) {
						t.Fatal("the worker keeps the old file")
					}
				}
			})
		}
		t.Run("the end", func(t *testing.T) {
			if kind != nginx { // there the worker is the one of before
				s.take(t)
			}
			pid := s.answering(t)
			a := <-x.fetch(t, "/static/hello.txt")
			assert.Equal(t, "static hello\n", a.body)
			s.signal(t, syscall.SIGTERM)
			s.untilGone(t, pid)
			<-s.first.Exited
			assert.True(t, s.first.ProcessState.Success(), s.first.ProcessState)
		})
	})
}

// The MPMs of Apache set a handler after the application was started.
func TestSignalsTakenAtTheStart(t *testing.T) {
	everyServer(t, []string{nginx, event, worker}, func(t *testing.T, kind string) {
		t.Run("a request goes on over a restart", func(t *testing.T) {
			s := launchUnclean(t, kind, setup{app: "-entries=8080 -signals", server: standardRoot(kind), mpm: twoGenerationsOf[kind]})
			x := &target{s, h1}
			s.untilAnswers(t)
			for end := time.Now().Add(10 * time.Second); countLines(s.log.since(0), s.level("warn")+`.*application.*signal \d+`) == 0; {
				s.get("/hello")
				time.Sleep(50 * time.Millisecond)
				if time.Now().After(end) {
					t.Fatal("the log does not say that a signal was taken")
				}
			}
			before := s.answering(t)
			g := newGate(t)
			waiting := x.fetch(t, "/wait?"+g.query("held"))
			v := g.next()
			assert.NoError(t, s.reload())
			for end := time.Now().Add(20 * time.Second); s.answering(t) == before; time.Sleep(20 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("the worker is not replaced")
				}
			}
			v.release()
			a := <-waiting
			assert.NoError(t, a.err)
			assert.Equal(t, "waited\n", a.body)
			s.untilGone(t, before)
		})
	})
}

// take lets the application take the server's signals, and waits until the
// server has them again.
func (s *server) take(t *testing.T) {
	t.Helper()
	mark := s.log.mark()
	code, body, err := s.get("/notify")
	assert.NoError(t, err)
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, "taken\n", body)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		s.get("/hello")
		if countLines(s.log.since(mark), s.level("warn")+`.*application.*(signal \d+)`) > 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the log does not say that a signal was taken")
		}
	}
}

// hasOpen tells whether a process has a file open.
func (s *server) hasOpen(pid int, name string) bool {
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	return slices.ContainsFunc(links, func(link string) bool {
		target, _ := os.Readlink(link)
		return target == name
	})
}

// untilGone waits for the end of a process.
func (s *server) untilGone(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); alive(pid); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("process %d does not end", pid)
		}
	}
}

func TestChildrenOfTheApplication(t *testing.T) {
	everyServer(t, []string{nginx, event, prefork}, func(t *testing.T, kind string) {
		n := 1000
		if kind == prefork {
			n = 50
		}
		x := &target{sharedServer(t, kind), h1}
		x.run(t, "inherit nothing, and their exit codes are right", func(t *testing.T) {
			if kind != prefork {
				for range 5 {
					x.dial(t).send("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
				}
			}
			var c app.Children
			a := x.page(t, fmt.Sprintf("/children?n=%d", n))
			assert.NoError(t, json.Unmarshal([]byte(a.body), &c), a.body)
			assert.Equal(t, n, c.Run)
			assert.Empty(t, c.Wrong[:min(5, len(c.Wrong))])
		})
	})
}

// withPipe starts a server whose error log is a pipe.
func withPipe(t *testing.T, kind string) (s *server, reader *os.File) {
	t.Helper()
	s, err := prepareServer(kind, setup{app: "-entries=8080", server: standardRoot(kind)})
	if err != nil {
		t.Fatal(err)
	}
	conf, err := os.ReadFile(s.conf)
	if err != nil {
		t.Fatal(err)
	}
	to := "ErrorLog /dev/stderr"
	if kind == nginx {
		to = "error_log stderr"
	}
	text := strings.NewReplacer("error_log "+s.log.path, to, "ErrorLog "+s.log.path, to).Replace(string(conf))
	reader, writer, err := os.Pipe()
	err = errors.Join(err, os.WriteFile(s.conf, []byte(text), 0o644), s.startWith(writer))
	writer.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		reader.Close()
		assert.NoError(t, s.stop())
	})
	return s, reader
}

func TestClosedStandardError(t *testing.T) {
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		t.Run("the worker lives, whatever the application says", func(t *testing.T) {
			s, reader := withPipe(t, kind)
			go io.Copy(io.Discard, reader)
			s.untilAnswers(t)
			pid := s.answering(t)
			reader.Close()
			for range 3 {
				code, body, err := s.get("/say?token=" + token(t))
				assert.NoError(t, err)
				assert.Equal(t, http.StatusOK, code)
				assert.Equal(t, "said\n", body)
			}
			assert.Equal(t, pid, s.answering(t))
		})
	})
}

func TestNilDereference(t *testing.T) {
	each(t, plainWays, func(t *testing.T, x *target) {
		x.run(t, "is answered with 500", func(t *testing.T) {
			mark := x.log.mark()
			wantError(t, x.page(t, "/nil"), 500)
			x.log.want(t, mark, `nil pointer dereference`)
		})
	})
}

func TestWhatAHandlerLeavesBehind(t *testing.T) {
	each(t, plainWays, func(t *testing.T, x *target) {
		for _, lock := range []string{"", "lock=1&", "lock=3&"} {
			for _, end := range []string{"return", "panic", "goexit"} {
				x.run(t, "is not there for the next request, by "+lock+end, func(t *testing.T) {
					for range 20 {
						x.page(t, "/taint?"+lock+"end="+end)
						assert.Equal(t, "false false false\n", x.page(t, "/clean").body)
					}
					for range 30 {
						assert.Equal(t, "false false false\n", x.page(t, "/clean").body)
					}
					x.untilParted(t, "tainted")
				})
			}
		}
	})
}

// untilParted waits until the threads that were renamed have ended. The
// runtime never ends its first one, which waits for ever instead.
func (s *server) untilParted(t *testing.T, name string) {
	t.Helper()
	pid := s.workers()[0]
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		all := threads(t, pid)
		if len(slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s != name })) <= 1 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("threads of the worker: %v", all)
		}
	}
}
