package wsgi

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestTimeout: the client is answered at once, the log says where the request
// is, and code in pure Python ends.
func TestTimeout(t *testing.T) {
	conf := contract
	conf.args = "contract --chdir @APPS@ --threads 1"
	each(t, conf, func(t *testing.T, s *server) {
		begin := time.Now()
		if a := s.get("/quick/spin?120"); a.status != 504 || time.Since(begin) > 20*time.Second {
			t.Errorf("spin: %d after %v", a.status, time.Since(begin))
		}
		s.says(`the request has timed out; its thread is here:.*contract\.py.*in spin`)
		s.says(`RequestTimeout`)
		s.want("/hello", 200, "Hello, world\n") // the only thread is free again
		if a := s.get("/quick/sleep?1.5"); a.status != 504 {
			t.Errorf("sleep: %d", a.status)
		}
		s.says(`in sleep`)
		s.want("/hello", 200, "Hello, world\n")
	})
}

// TestAllStuck: a worker without a free thread is replaced.
func TestAllStuck(t *testing.T) {
	replaces(t, 2, "/quick/stuck", `all 2 threads of Python are stuck`)
}

// TestLockHeld: code that keeps the interpreter lock stops all of Python, and
// the worker is replaced.
func TestLockHeld(t *testing.T) {
	replaces(t, 1, "/quick/hold", `the interpreter lock is not let go; where the threads are is on standard error`,
		`contract\.py", line \d+ in hold`)
}

// replaces asks for a page n times, which stops a worker of two threads. The
// log, or standard error, says so, and another worker takes its place.
func replaces(t *testing.T, n int, path string, says ...string) {
	conf := contract
	conf.args = "contract --chdir @APPS@ --threads 2"
	conf.quiet = true
	each(t, conf, func(t *testing.T, s *server) {
		pid := facts(t, s.get("/process"))["pid"]
		for range n {
			if a := s.get(path); a.status != 504 {
				t.Errorf("%s: %d", path, a.status)
			}
		}
		for _, pattern := range says {
			s.wait(pattern, 15*time.Second, func() bool {
				text, err := os.ReadFile(filepath.Join(s.dir, "stderr"))
				if err != nil {
					t.Fatal(err)
				}
				return regexp.MustCompile(pattern).MatchString(s.log() + string(text))
			})
		}
		s.wait("another worker", 30*time.Second, func() bool {
			a := s.get("/quick/process")
			return a.status == 200 && facts(t, a)["pid"] != pid
		})
	})
}

// TestThreads: as many requests as there are threads run Python, each thread
// is the same for ever, and the wait is counted.
func TestThreads(t *testing.T) {
	each(t, contract, func(t *testing.T, s *server) {
		s.want("/hello", 200, "Hello, world\n") // Python has started
		if strings.Contains(s.log(), "does not show who holds the interpreter lock") {
			t.Error("the interpreter lock was not found in this Python")
		}
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() { s.want("/sleep?2", 200, "Hello, world\n") })
		}
		wg.Wait()
		counts := map[string]int{}
		for range 60 {
			var pair []json.Number
			if err := json.Unmarshal([]byte(s.get("/local").body), &pair); err != nil {
				t.Fatal(err)
			}
			n, _ := strconv.Atoi(pair[1].String())
			if n != counts[pair[0].String()]+1 {
				t.Errorf("thread %s has counted to %d after %d", pair[0], n, counts[pair[0].String()])
			}
			counts[pair[0].String()] = n
		}
		if len(counts) > 3 {
			t.Errorf("%d threads: %v", len(counts), counts)
		}
		waited := 0
		s.wait("the access log", 10*time.Second, func() bool {
			text, _ := os.ReadFile(filepath.Join(s.dir, "access.log"))
			return strings.Count(string(text), "/sleep") == 6
		})
		text, _ := os.ReadFile(filepath.Join(s.dir, "access.log"))
		for line := range strings.Lines(string(text)) {
			f := strings.Split(line, "|")
			if strings.Contains(line, "/sleep") {
				if q, _ := strconv.ParseFloat(f[3], 64); q > 1 {
					waited++
				}
			}
		}
		if waited != 3 {
			t.Errorf("of 6 requests on 3 threads %d have waited:\n%s", waited, text)
		}
	})
}

// TestComputing: requests beside one that computes get on, too.
func TestComputing(t *testing.T) {
	each(t, contract, func(t *testing.T, s *server) {
		s.want("/hello", 200, "Hello, world\n")
		var wg sync.WaitGroup
		wg.Go(func() { s.want("/spin?3", 200, "Hello, world\n") })
		time.Sleep(300 * time.Millisecond)
		for range 5 {
			begin := time.Now()
			s.want("/hello", 200, "Hello, world\n")
			if d := time.Since(begin); d > 500*time.Millisecond {
				t.Errorf("hello took %v", d)
			}
		}
		wg.Wait()
	})
}

// TestAfterComputing: while threads compute, and one looks at the queue, it is
// not told of requests. Those that come when nobody looks any more are not left
// lying.
func TestAfterComputing(t *testing.T) {
	each(t, contract, func(t *testing.T, s *server) {
		for _, pause := range []time.Duration{0, 2, 5, 10, 30} {
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() { s.want("/spin?0.05", 200, "Hello, world\n") })
			}
			wg.Wait()
			time.Sleep(pause * time.Millisecond)
			begin := time.Now()
			s.want("/hello", 200, "Hello, world\n")
			if d := time.Since(begin); d > 5*time.Second {
				t.Errorf("hello took %v, %d ms later", d, pause)
			}
		}
	})
}

// TestSlowClients: clients that take and send their bytes slowly do not hold
// a thread.
func TestSlowClients(t *testing.T) {
	const clients = 40
	each(t, contract, func(t *testing.T, s *server) {
		dial := func(text string) net.Conn {
			c, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			_ = c.(*net.TCPConn).SetReadBuffer(4096)
			if _, err := io.WriteString(c, text); err != nil {
				t.Fatal(err)
			}
			return c
		}
		// Without buffering these two hold a thread each, but not the lock.
		dial("GET /unbuffered/big?30000000 HTTP/1.1\r\nHost: x\r\n\r\n")
		dial("POST /unbuffered/read_hash HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
		var down, up []net.Conn
		for range clients {
			down = append(down, dial("GET /big?8000000 HTTP/1.1\r\nHost: x\r\n\r\n"))
			up = append(up, dial("POST /read_hash HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"))
		}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			buf := make([]byte, 1024)
			for {
				for i := range clients {
					_, _ = io.ReadFull(down[i], buf)
					_, _ = up[i].Write(buf)
				}
				select {
				case <-stop:
					return
				case <-time.After(time.Second):
				}
			}
		})
		var times []time.Duration
		for range 30 {
			begin := time.Now()
			s.want("/hello", 200, "Hello, world\n")
			times = append(times, time.Since(begin))
			time.Sleep(100 * time.Millisecond)
		}
		close(stop)
		wg.Wait()
		// The disk may hold up one or the other: these clients' 320 MB go
		// there, beside the files of other tests.
		slices.Sort(times)
		if typical := times[len(times)/2]; typical > time.Second {
			t.Errorf("hello took %v, and up to %v", typical, times[len(times)-1])
		}
	})
}

// TestAbort: the client leaves, and close is called.
func TestAbort(t *testing.T) {
	each(t, contract, func(t *testing.T, s *server) {
		for _, path := range []string{"/forever", "/write_forever", "/unbuffered/forever"} {
			res, err := s.client().Do(s.request(http.MethodGet, path, ""))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.ReadFull(res.Body, make([]byte, 10000))
			res.Body.Close()
		}
		balanced(s)
		if text := s.log(); strings.Contains(text, "Traceback") {
			t.Errorf("a client that leaves is no error:\n%s", text)
		}
	})
}

// TestReload: no request is lost, and new workers have the new code.
func TestReload(t *testing.T) {
	conf := contract
	conf.workers = 2
	conf.args += " --path @DIR@"
	conf.args = strings.Replace(conf.args, "contract:application", "@DIR@/version.py", 1)
	both(t, func(t *testing.T, kind string) {
		s := prepareServer(t, kind, conf)
		version := func(n int) {
			text := fmt.Sprintf("from contract import *\ndef application(env, start):\n"+
				"    time.sleep(0.01)\n    return text(start, '200 OK', b'version %d')\n", n)
			file := filepath.Join(s.dir, "version.py")
			if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			// Bytecode could not tell: the size is the same, and so is the time.
			if err := os.Chtimes(file+".new", time.Unix(1e9, 0), time.Unix(1e9, 0)); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(file+".new", file); err != nil { // workers may be reading it
				t.Fatal(err)
			}
		}
		if err := os.Chmod(s.dir, 0o777); err != nil { // bytecode can be kept
			t.Fatal(err)
		}
		version(0)
		s.serve()
		s.want("/", 200, "version 0")
		var done atomic.Bool
		var answered atomic.Int64
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				client := s.client()
				for !done.Load() {
					res, err := client.Get("http://" + s.addr + "/")
					if err != nil {
						t.Errorf("lost after %d: %v", answered.Load(), err)
						return
					}
					body, err := io.ReadAll(res.Body)
					res.Body.Close()
					if err != nil || res.StatusCode != 200 || !strings.HasPrefix(string(body), "version") {
						t.Errorf("%d %q %v", res.StatusCode, body, err)
						return
					}
					answered.Add(1)
				}
			})
		}
		for n := 1; n <= 3; n++ {
			version(n)
			s.reload()
			s.wait("the new version", 30*time.Second, func() bool {
				return s.get("/").body == fmt.Sprintf("version %d", n)
			})
		}
		done.Store(true)
		wg.Wait()
		if answered.Load() < 15 {
			t.Errorf("only %d requests", answered.Load())
		}
	})
}

// TestWatch: with --reload a changed file replaces the worker.
func TestWatch(t *testing.T) {
	both(t, func(t *testing.T, kind string) {
		s := prepareServer(t, kind, setup{args: "@DIR@/version.py --reload"})
		file := filepath.Join(s.dir, "version.py")
		write := func(word string) {
			text := "def application(env, start):\n    start('200 OK', [])\n    return [b'" + word + "']\n"
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		write("before")
		s.serve()
		s.want("/", 200, "before")
		time.Sleep(2500 * time.Millisecond) // it has been seen once
		write("after, of another size")
		s.wait("the new code", 30*time.Second, func() bool { return s.get("/").body == "after, of another size" })
		s.says(`version\.py has changed`)
	})
}

// full says that tests have their full sizes: 1 GiB, and 100,000 requests.
var full = os.Getenv("GSGI_FULL") != ""

func resident(t *testing.T, pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			n, _ := strconv.Atoi(f[1])
			return n << 10
		}
	}
	return 0
}

// TestLeaks: requests of all kinds leave neither objects nor memory behind.
func TestLeaks(t *testing.T) {
	paths := []string{"/hello", "/environ", "/writes", "/generator", "/many", "/cookies", "/fails", "/str_block", "/header_name",
		"/replaced", "/twice", "/missing", "/unwrapped", "/big?100000", "/errors"}
	const clients = 4
	requests := 7200
	if full {
		requests = 100000
	}
	each(t, contract, func(t *testing.T, s *server) {
		pid := int(facts(t, s.get("/process"))["pid"].(float64))
		client := s.client()
		read := func(res *http.Response, err error) {
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		round := func(n int) (objects, traced, memory int) {
			var wg sync.WaitGroup
			for range clients {
				wg.Go(func() {
					for i := range n / clients / 2 {
						read(client.Get("http://" + s.addr + paths[i%len(paths)]))
						read(client.Post("http://"+s.addr+"/read_lines", "text/plain", strings.NewReader("some\nlines\n")))
					}
				})
			}
			wg.Wait()
			objects = int(facts(t, s.get("/state"))["objects"].(float64))
			memory = resident(t, pid)
			traced, err := strconv.Atoi(s.get("/traced").body)
			if err != nil {
				t.Fatal(err)
			}
			return objects, traced, memory
		}
		round(0) // tracing begins
		round(2400)
		objects, traced, memory := round(1200)
		objects2, traced2, memory2 := round(requests)
		if objects2 > objects+100 {
			t.Errorf("%d objects, before %d", objects2, objects)
		}
		if traced2 > traced+64<<10+requests { // what Python keeps to use again grows slowly
			t.Errorf("%d bytes of Python's memory, before %d", traced2, traced)
		}
		if memory2 > memory+12<<20 {
			t.Errorf("%d KiB of memory, before %d KiB", memory2>>10, memory>>10)
		}
		t.Logf("%s: %+d objects, %+d bytes, %+d KiB after %d requests", s.kind, objects2-objects, traced2-traced, (memory2-memory)>>10, requests)
	})
}

// TestLarge: bodies do not pass through memory.
func TestLarge(t *testing.T) {
	size := 96 << 20
	if full {
		size = 1 << 30
	}
	block := []byte(strings.Repeat("0123456789abcdef", 4096))
	digest := sha256.New()
	for range size / len(block) {
		digest.Write(block)
	}
	want := fmt.Sprintf("%d %x", size, digest.Sum(nil))
	each(t, contract, func(t *testing.T, s *server) {
		pid := int(facts(t, s.get("/process"))["pid"].(float64))
		client := s.client()
		client.Timeout = 10 * time.Minute
		before := resident(t, pid)
		most := s.most(pid)
		for _, mount := range []string{"", "/unbuffered"} {
			req := s.request(http.MethodPost, mount+"/read_hash", "")
			req.Body, req.ContentLength = blocks(block, size/len(block)), int64(size)
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if string(body) != want {
				t.Errorf("upload: %d %.100q %v", res.StatusCode, body, err)
			}
			res, err = client.Get("http://" + s.addr + mount + "/big?" + strconv.Itoa(size))
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if n != int64(size) || err != nil {
				t.Errorf("download: %d bytes, %v", n, err)
			}
		}
		more := most() - before
		if more > 32<<20 {
			t.Errorf("%d KiB more memory for %d MiB", more>>10, size>>20)
		}
		t.Logf("%s: %d KiB more memory for %d MiB each way", s.kind, more>>10, size>>20)
	})
}

// blocks is a body of n times the same block.
func blocks(block []byte, n int) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		for range n {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
		w.Close()
	}()
	return r
}

// most samples the resident memory of a process until it is called.
func (s *server) most(pid int) func() int {
	stop, found := make(chan struct{}), make(chan int)
	go func() {
		most := 0
		for {
			select {
			case <-stop:
				found <- most
				return
			case <-time.After(20 * time.Millisecond):
				most = max(most, resident(s.t, pid))
			}
		}
	}()
	return func() int {
		close(stop)
		return <-found
	}
}
