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
	t.Parallel()
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
	t.Parallel()
	conf := contract
	conf.args = "contract --chdir @APPS@ --threads 2"
	conf.quiet = true
	each(t, conf, func(t *testing.T, s *server) {
		pid := facts(t, s.get("/process"))["pid"]
		for range 2 {
			if a := s.get("/quick/stuck"); a.status != 504 {
				t.Errorf("stuck: %d", a.status)
			}
		}
		s.says(`all 2 threads of Python are stuck`)
		s.wait("another worker", 30*time.Second, func() bool {
			req := s.request(http.MethodGet, "/quick/process", "")
			a := s.do(req)
			return a.status == 200 && facts(t, a)["pid"] != pid
		})
	})
}

// TestThreads: as many requests as there are threads run Python, each thread
// is the same for ever, and the wait is counted.
func TestThreads(t *testing.T) {
	t.Parallel()
	each(t, contract, func(t *testing.T, s *server) {
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() { s.want("/sleep?1", 200, "Hello, world\n") })
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
				if q, _ := strconv.ParseFloat(f[3], 64); q > 0.5 {
					waited++
				}
			}
		}
		if waited != 3 {
			t.Errorf("of 6 requests on 3 threads %d have waited:\n%s", waited, text)
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
		var worst time.Duration
		for range 30 {
			begin := time.Now()
			s.want("/hello", 200, "Hello, world\n")
			worst = max(worst, time.Since(begin))
			time.Sleep(100 * time.Millisecond)
		}
		close(stop)
		wg.Wait()
		if worst > 5*time.Second {
			t.Errorf("hello took up to %v", worst)
		}
		t.Logf("%s: hello took at most %v beside %d slow clients", s.kind, worst, 2*clients)
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
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			s := prepareServer(t, kind, conf)
			version := func(n int) {
				text := fmt.Sprintf("from contract import *\ndef application(env, start):\n"+
					"    time.sleep(0.01)\n    return text(start, '200 OK', b'version %d')\n", n)
				if err := os.WriteFile(filepath.Join(s.dir, "version.py"), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			version(0)
			s.start()
			defer s.stop()
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
}

// TestWatch: with --reload a changed file replaces the worker.
func TestWatch(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := prepareServer(t, kind, setup{args: "@DIR@/version.py --reload"})
			file := filepath.Join(s.dir, "version.py")
			write := func(word string) {
				text := "def application(env, start):\n    start('200 OK', [])\n    return [b'" + word + "']\n"
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			write("before")
			s.start()
			defer s.stop()
			s.want("/", 200, "before")
			time.Sleep(2500 * time.Millisecond) // it has been seen once
			write("after, of another size")
			s.wait("the new code", 30*time.Second, func() bool { return s.get("/").body == "after, of another size" })
			s.says(`version\.py has changed`)
		})
	}
}

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
	each(t, contract, func(t *testing.T, s *server) {
		pid := int(facts(t, s.get("/process"))["pid"].(float64))
		client := s.client()
		round := func(n int) (objects, memory int) {
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for i := range n {
						res, err := client.Get("http://" + s.addr + paths[i%len(paths)])
						if err != nil {
							t.Error(err)
							return
						}
						_, _ = io.Copy(io.Discard, res.Body)
						res.Body.Close()
						res, err = client.Post("http://"+s.addr+"/read_lines", "text/plain", strings.NewReader("some\nlines\n"))
						if err != nil {
							t.Error(err)
							return
						}
						_, _ = io.Copy(io.Discard, res.Body)
						res.Body.Close()
					}
				})
			}
			wg.Wait()
			return int(facts(t, s.get("/state"))["objects"].(float64)), resident(t, pid)
		}
		round(300)
		objects, memory := round(150)
		objects2, memory2 := round(900)
		if objects2 > objects+100 {
			t.Errorf("%d objects, before %d", objects2, objects)
		}
		if memory2 > memory+12<<20 {
			t.Errorf("%d KiB of memory, before %d KiB", memory2>>10, memory>>10)
		}
		t.Logf("%s: %+d objects, %+d KiB after 7200 requests", s.kind, objects2-objects, (memory2-memory)>>10)
	})
}

// TestLarge: bodies do not pass through memory.
func TestLarge(t *testing.T) {
	const size = 96 << 20
	each(t, contract, func(t *testing.T, s *server) {
		pid := int(facts(t, s.get("/process"))["pid"].(float64))
		before := resident(t, pid)
		digest := sha256.New()
		block := []byte(strings.Repeat("0123456789abcdef", 4096))
		for range size / len(block) {
			digest.Write(block)
		}
		want := fmt.Sprintf("%d %x", size, digest.Sum(nil))
		most := 0
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
					most = max(most, resident(t, pid))
				}
			}
		})
		for _, mount := range []string{"", "/unbuffered"} {
			req := s.request(http.MethodPost, mount+"/read_hash", "")
			r, w := io.Pipe()
			go func() {
				for range size / len(block) {
					_, _ = w.Write(block)
				}
				w.Close()
			}()
			req.Body, req.ContentLength = r, size
			if a := s.do(req); a.body != want {
				t.Errorf("upload: %d %.100q %v", a.status, a.body, a.err)
			}
			res, err := s.client().Get("http://" + s.addr + mount + "/big?" + strconv.Itoa(size))
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if n != size || err != nil {
				t.Errorf("download: %d bytes, %v", n, err)
			}
		}
		close(stop)
		wg.Wait()
		if most > before+32<<20 {
			t.Errorf("%d KiB more memory for %d MiB", (most-before)>>10, size>>20)
		}
		t.Logf("%s: %d KiB more memory for %d MiB each way", s.kind, (most-before)>>10, size>>20)
	})
}
