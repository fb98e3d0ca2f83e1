package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// want503 waits until the application is not there while static files are.
func (s *server) want503(t *testing.T) {
	t.Helper()
	code := 0
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if code, _, _ = s.get("/hello"); code == http.StatusServiceUnavailable {
			break
		}
	}
	assert.Equal(t, http.StatusServiceUnavailable, code, "of the application")
	// A worker may end of it, and take a connection with it.
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		code, text, _ := s.get("/static/hello.txt")
		if code == http.StatusOK {
			assert.Equal(t, "static hello\n", text)
			return
		}
		if time.Now().After(end) {
			t.Fatalf("static files are not served: %d", code)
		}
	}
}

// prlimit changes a soft limit of a process, and so of its children to come.
// Only its own user may do that everywhere.
func prlimit(t *testing.T, pid int, limit string) {
	t.Helper()
	info, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	command(t, "setpriv", fmt.Sprintf("--reuid=%d", owner.Uid), fmt.Sprintf("--regid=%d", owner.Gid),
		"--clear-groups", "prlimit", "--pid", strconv.Itoa(pid), limit)
}

// reload makes the server read its configuration again.
func (s *server) again(t *testing.T) {
	t.Helper()
	signal := syscall.SIGHUP
	if s.apache() {
		signal = syscall.SIGUSR1
	}
	if err := syscall.Kill(s.master(), signal); err != nil {
		t.Fatal(err)
	}
}

// probeOff leaves the first look at the application to the worker.
func probeOff(kind string) string {
	if kind == nginx {
		return "gsgi_probe off;"
	}
	return "GSGIProbe Off"
}

func TestWithoutMemfd(t *testing.T) {
	library := filepath.Join(world.dir, "nomemfd.so")
	command(t, "gcc", "-shared", "-fPIC", "-o", library, "testdata/nomemfd.c")
	preload := "LD_PRELOAD=" + library
	for _, v := range world.env {
		if libraries, ok := strings.CutPrefix(v, "LD_PRELOAD="); ok {
			preload = "LD_PRELOAD=" + libraries + " " + library
		}
	}
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		conf := standard(kind)
		conf.env = []string{preload}
		s := launch(t, kind, conf)
		text, err := s.check()
		assert.NoError(t, err, text)
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", s.workers()[0]))
		assert.NoError(t, err)
		assert.NotContains(t, string(maps), "/memfd:gsgi")
		assert.Regexp(t, `/gsgi\.\w+ \(deleted\)`, string(maps))
		s.again(t)
		time.Sleep(300 * time.Millisecond)
		s.untilAnswers(t)
		left, _ := filepath.Glob("/tmp/gsgi.??????")
		more, _ := filepath.Glob(filepath.Join(s.dir, "body", "gsgi.*"))
		assert.Empty(t, append(left, more...), "copies that are left behind")
	})
}

// TestWithoutAddressSpace has so little that the Go runtime does not start.
// The sanitizers need more for themselves.
func TestWithoutAddressSpace(t *testing.T) {
	if sanitized {
		return
	}
	everyServer(t, []string{nginx, prefork}, func(t *testing.T, kind string) {
		conf := standard(kind)
		conf.wrap = []string{"prlimit", fmt.Sprintf("--as=%d:", addressSpace[kind]), "--"}
		t.Run("the check says so", func(t *testing.T) {
			s, err := prepareServer(kind, conf)
			if err != nil {
				t.Fatal(err)
			}
			text, err := s.check()
			assert.Error(t, err)
			assert.Regexp(t, `(reserve page summary|[Cc]annot allocate memory|out of memory|pthread_create failed)`, text)
		})
		t.Run("the server starts, and recovers", func(t *testing.T) {
			s := launchUnclean(t, kind, conf)
			s.want503(t)
			prlimit(t, s.master(), "--as=unlimited:")
			s.again(t)
			s.untilAnswers(t)
		})
		t.Run("later, in a worker", func(t *testing.T) {
			conf.main = probeOff(kind)
			s := launchUnclean(t, kind, conf)
			s.want503(t)
			s.log.want(t, 0, `(reserve page summary|[Cc]annot allocate memory|out of memory|pthread_create failed)`)
			prlimit(t, s.master(), "--as=unlimited:")
			s.again(t)
			s.untilAnswers(t)
		})
	})
}

// addressSpace lets the server start, but no Go runtime.
var addressSpace = map[string]int{nginx: 400 * mib, prefork: 400 * mib}

// TestWithoutThreads gives the worker's user, which nobody else is, fewer
// threads than a Go runtime starts with.
func TestWithoutThreads(t *testing.T) {
	users := map[string]string{nginx: "games", prefork: "news"}
	everyServer(t, []string{nginx, prefork}, func(t *testing.T, kind string) {
		conf := standard(kind)
		conf.main = probeOff(kind)
		conf.wrap = []string{"prlimit", "--nproc=4:", "--"}
		s, err := prepareServer(kind, conf)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(s.conf)
		if err != nil {
			t.Fatal(err)
		}
		as := strings.NewReplacer("user www-data;", "user "+users[kind]+";", "User www-data", "User "+users[kind])
		if err := os.WriteFile(s.conf, []byte(as.Replace(string(text))), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := s.start(); err != nil {
			t.Fatal(err)
		}
		s.stopAtEnd(t)
		s.want503(t)
		s.log.want(t, 0, `pthread_create failed: Resource temporarily unavailable`)
		prlimit(t, s.master(), "--nproc=10000:")
		s.again(t)
		s.untilAnswers(t)
	})
}

// TestWithoutDescriptors leaves a worker none while it runs.
func TestWithoutDescriptors(t *testing.T) {
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		s := launchUnclean(t, kind, standard(kind))
		s.warm(t)
		x := &target{s, h1}
		pid := s.workers()[0]
		client := x.client(t)
		res, err := client.Get(x.url("/hello"))
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body) // the connection is used again
		res.Body.Close()
		mark := s.log.mark()
		free := 0
		for {
			if _, err := os.Lstat(fmt.Sprintf("/proc/%d/fd/%d", pid, free)); err != nil {
				break
			}
			free++
		}
		prlimit(t, pid, fmt.Sprintf("--nofile=%d:", free))
		t.Run("an upload that needs a file", func(t *testing.T) {
			res, err := client.Post(x.url("/sum"), "text/plain", strings.NewReader(strings.Repeat("x", mib)))
			if err == nil {
				res.Body.Close()
				assert.GreaterOrEqual(t, res.StatusCode, 500)
			}
			s.log.want(t, mark, `Too many open files`)
		})
		prlimit(t, pid, "--nofile=4096:")
		t.Run("afterwards", func(t *testing.T) {
			assert.Equal(t, "hello\n", x.page(t, "/hello").body)
			assert.Contains(t, x.ask(t, "POST", "/sum", strings.Repeat("x", mib)).body, strconv.Itoa(mib))
			assert.Equal(t, pid, s.workers()[0])
		})
		client.CloseIdleConnections()
		s.noLeak(t)
	})
}

// TestFullDisk has no room for temporary files.
func TestFullDisk(t *testing.T) {
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		conf := standard(kind)
		s, err := prepareServer(kind, conf)
		if err != nil {
			t.Fatal(err)
		}
		disk := filepath.Join(s.dir, "body")
		if err := os.Mkdir(disk, 0o755); err != nil {
			t.Fatal(err)
		}
		command(t, "mount", "-t", "tmpfs", "-o", "size=1m,mode=1777", "gsgi-e2e", disk)
		t.Cleanup(func() { exec.Command("umount", disk).Run() })
		s.env = []string{"TMPDIR=" + disk}
		if err := s.start(); err != nil {
			t.Fatal(err)
		}
		s.stopAtEnd(t)
		s.warm(t)
		x := &target{s, h1}
		large := strings.Repeat("0123456789abcdef", 4*mib/16)
		t.Run("an upload is refused", func(t *testing.T) {
			mark := s.log.mark()
			a := x.ask(t, "POST", "/sum", large)
			assert.Contains(t, []int{500, 503, 507}, a.StatusCode, a.body)
			s.log.want(t, mark, `No space left on device`)
		})
		t.Run("a response that is spooled is not taken for whole", func(t *testing.T) {
			mark := s.log.mark()
			w := s.dial(t)
			w.send("GET /spool/gen?n=8000000&cl=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
			time.Sleep(300 * time.Millisecond)
			text := w.rest()
			assert.NotEqual(t, 8000000, len(text)-strings.Index(text, "\r\n\r\n")-4)
			s.log.want(t, mark, `No space left on device`)
		})
		t.Run("what needs no room goes on", func(t *testing.T) {
			assert.Equal(t, "hello\n", x.page(t, "/hello").body)
			assert.Equal(t, "static hello\n", x.page(t, "/static/hello.txt").body)
		})
		t.Run("with room again", func(t *testing.T) {
			command(t, "mount", "-o", "remount,size=64m", disk)
			assert.Contains(t, x.ask(t, "POST", "/sum", large).body, strconv.Itoa(len(large)))
			a := x.page(t, "/spool/gen?n=8000000")
			assert.NoError(t, a.err)
			assert.Len(t, a.body, 8000000)
		})
		s.noLeak(t)
	})
}

// noMappings is what a Go runtime says that gets no memory or thread any more.
// The text depends on what it wanted, and not every place in it looks whether
// it got that: then the server has the word.
const noMappings = `(fatal error: |pthread_create failed|SIGSEGV: |exited on signal|exit signal|ended by signal)`

// TestWithoutMappings has the application take all mappings that the system
// allows a process (vm.max_map_count): the Go runtime gets no memory then.
func TestWithoutMappings(t *testing.T) {
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		failing := standard(kind)
		t.Run("the check says so", func(t *testing.T) {
			failing.app = "-fail=maps -when=probe"
			s, err := prepareServer(kind, failing)
			if err != nil {
				t.Fatal(err)
			}
			text, err := s.check()
			assert.Error(t, err)
			assert.Regexp(t, noMappings, text)
		})
		t.Run("before it serves", func(t *testing.T) {
			failing.app = "-fail=maps"
			s := launchUnclean(t, kind, failing)
			s.want503(t)
			s.log.want(t, 0, noMappings)
			s.log.want(t, 0, `loading it in \d+ ms|GSGI0508`)
		})
		t.Run("later", func(t *testing.T) {
			s := launchUnclean(t, kind, standard(kind))
			s.untilAnswers(t)
			x := &target{s, h1}
			old := s.workers()[0]
			mark := s.log.mark()
			_, err := x.client(t).Get(x.url("/maps?n=exhaust"))
			assert.Error(t, err)
			gone(t, old)
			s.log.want(t, mark, noMappings)
			s.log.want(t, mark, `/maps\?n=exhaust`)
			s.untilAnswers(t)
		})
		t.Run("as many as leave the runtime some", func(t *testing.T) {
			s := launchUnclean(t, kind, standard(kind))
			s.untilAnswers(t)
			x := &target{s, h1}
			assert.Equal(t, "50000 <nil>\n", x.page(t, "/maps?n=50000").body)
			assert.Equal(t, http.StatusOK, x.page(t, "/gen?n=1000000").StatusCode)
		})
	})
}
