package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gsgi/gsgi/examples/e2e/app"
	"github.com/stretchr/testify/assert"
)

func TestManyRequestsInFlight(t *testing.T) {
	const n = 1000
	x := &target{sharedServer(t, nginx), h1}
	x.run(t, "1,000 handlers that sleep 1 s finish in about 1 s on one worker", func(t *testing.T) {
		wires := x.connect(t, n)
		began := time.Now()
		for _, w := range wires {
			w.send("GET /sleep?ms=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
		}
		for _, w := range wires {
			assert.Equal(t, "slept\n", w.answer("GET").body)
		}
		took := time.Since(began)
		assert.Less(t, took, 4*time.Second)
		t.Logf("1,000 handlers took %v", took)
	})
	x.run(t, "1,000 handlers that wait for each other all run at once", func(t *testing.T) {
		wires := x.connect(t, n)
		for _, w := range wires {
			w.send("GET /crowd?n=%d&token=%s HTTP/1.1\r\nHost: localhost\r\n\r\n", n, token(t))
		}
		for _, w := range wires {
			assert.Equal(t, "all here\n", w.answer("GET").body)
		}
	})
	x.run(t, "a fast request right behind each of 1,000 that do not end waits for none", func(t *testing.T) {
		slow, fast := x.connect(t, n), x.connect(t, n)
		for i := range n {
			// The crowd is complete only when the last request of this case comes.
			slow[i].send("GET /crowd?n=%d&token=%s HTTP/1.1\r\nHost: localhost\r\n\r\n", n+1, token(t))
			fast[i].send("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
		}
		for _, w := range fast {
			assert.Equal(t, "hello\n", w.answer("GET").body)
		}
		assert.Equal(t, "all here\n", x.page(t, fmt.Sprintf("/crowd?n=%d&token=%s", n+1, token(t))).body)
		for _, w := range slow {
			assert.Equal(t, "all here\n", w.answer("GET").body)
		}
	})
}

// connect opens connections.
func (x *target) connect(t *testing.T, n int) []*wire {
	t.Helper()
	wires := make([]*wire, n)
	for i := range wires {
		wires[i] = x.dial(t)
	}
	t.Cleanup(func() {
		for _, w := range wires {
			w.Close()
		}
	})
	return wires
}

func TestRequestsInParallel(t *testing.T) {
	each(t, starredWays, func(t *testing.T, x *target) {
		x.run(t, "100 clients get the answers to their own questions", func(t *testing.T) {
			clients, each := 100, 20
			switch x.kind {
			case prefork:
				clients = 8
			case worker: // a connection that is kept alive has a thread
				clients = 24
			}
			client := x.client(t)
			var wg sync.WaitGroup
			for c := range clients {
				wg.Go(func() {
					for i := range each {
						text := strings.Repeat(fmt.Sprintf("client %d request %d;", c, i), 1+(c*each+i)%400)
						mount := []string{"", "/stream", "/mount", "/spool"}[(c+i)%4]
						res, err := client.Post(x.url(mount+"/echo"), "text/plain", strings.NewReader(text))
						if !assert.NoError(t, err) {
							return
						}
						body, err := io.ReadAll(res.Body)
						res.Body.Close()
						if err != nil || string(body) != text {
							t.Errorf("client %d, request %d: %v, %d bytes for %d", c, i, err, len(body), len(text))
						}
					}
				})
			}
			wg.Wait()
		})
	})
}

func TestHandlersThatBurn(t *testing.T) {
	each(t, plainWays, func(t *testing.T, x *target) {
		x.run(t, "all CPU for 5 s: static files on the same worker go on", func(t *testing.T) {
			burned := x.fetch(t, fmt.Sprintf("/burn?ms=5000&n=%d", 2*runtime.NumCPU()))
			client := x.client(t)
			served, worst := 0, time.Duration(0)
			for {
				select {
				case a := <-burned:
					if a.Response == nil {
						t.Fatal(a.err)
					}
					assert.Equal(t, "burned\n", a.body)
					t.Logf("%d files while it burned, the slowest took %v", served, worst)
					assert.Greater(t, served, 50)
					assert.Less(t, worst, time.Second)
					return
				default:
				}
				began := time.Now()
				res, err := client.Get(x.url("/static/hello.txt"))
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(res.Body)
				res.Body.Close()
				assert.Equal(t, "static hello\n", string(body))
				worst = max(worst, time.Since(began))
				served++
				time.Sleep(5 * time.Millisecond)
			}
		})
		x.run(t, "other handlers get their turn too", func(t *testing.T) {
			burned := x.fetch(t, "/burn?ms=1500&n=4")
			for range 5 {
				assert.Equal(t, "hello\n", x.page(t, "/hello").body)
			}
			<-burned
		})
	})
}

func TestSlowReaders(t *testing.T) {
	const (
		readers = 200
		size    = 100_000_000
		credit  = 256 << 10 // the default of gsgi_buffer
	)
	each(t, plainWays, func(t *testing.T, x *target) {
		x.run(t, "200 at 1 KB/s on 100 MB: memory is bounded by the credit, others are as fast as before", func(t *testing.T) {
			pid := x.workers()[0]
			alone := x.typical(t)
			before := resident(t, pid)
			resetPeak(t, pid)
			stop, reading := x.readSlowly(t, readers, size)
			time.Sleep(3 * time.Second)
			among := x.typical(t)
			grown := peak(t, pid) - before
			t.Logf("grown by %d MiB; a page took %v alone and %v among them", grown/mib, alone, among)
			assert.Less(t, grown, int64(readers*(credit+64<<10)+memoryRoom))
			assert.Less(t, among, 10*alone+100*time.Millisecond)
			assert.Equal(t, int64(readers), reading.Load(), "readers that still read")
			close(stop)
		})
	})
}

// typical is how long a page takes, the middle of several.
func (x *target) typical(t *testing.T) time.Duration {
	t.Helper()
	client := x.client(t)
	took := make([]time.Duration, 31)
	for i := range took {
		began := time.Now()
		res, err := client.Get(x.url("/hello"))
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// readSlowly starts clients that read 1 KB of a response each second, until
// stop is closed.
func (x *target) readSlowly(t *testing.T, readers int, size int64) (stop chan struct{}, reading *atomic.Int64) {
	t.Helper()
	stop, reading = make(chan struct{}), new(atomic.Int64)
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	for range readers {
		w := x.dial(t)
		w.Conn.(*net.TCPConn).SetReadBuffer(4096)
		w.send("GET /gen?n=%d HTTP/1.1\r\nHost: localhost\r\n\r\n", size)
		wg.Go(func() {
			defer w.Close()
			res, err := http.ReadResponse(bufio.NewReaderSize(w.Conn, 1024), nil)
			if err != nil || res.StatusCode != http.StatusOK {
				return
			}
			reading.Add(1)
			want, got := make([]byte, 1000), make([]byte, 1000)
			pattern := app.NewPattern(size)
			for {
				if _, err := io.ReadFull(res.Body, got); err != nil {
					reading.Add(-1)
					return
				}
				io.ReadFull(pattern, want)
				if !bytes.Equal(got, want) {
					t.Error("a slow reader got other bytes")
					return
				}
				select {
				case <-stop:
					return
				case <-time.After(time.Second):
				}
			}
		})
	}
	return stop, reading
}
