//go:build linux && cgo

package bridgetest

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/gsgi/gsgi/cshim/bridge"
)

const switching = "HTTP/1.1 101 Switching Protocols\r\n\r\n"

// taker takes connections over, and counts the handlers that have one.
type taker struct {
	t    *testing.T
	open atomic.Int32
	with func(c net.Conn, r *http.Request)
}

func (h *taker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.open.Add(1)
	defer h.open.Add(-1)
	if r.URL.Query().Has("part") {
		_, err := io.ReadFull(r.Body, make([]byte, 20000))
		assert.NoError(h.t, err)
	}
	if r.URL.Query().Has("whole") {
		_, err := io.Copy(io.Discard, r.Body)
		assert.NoError(h.t, err)
	}
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		assert.True(h.t, r.URL.Query().Has("leaves"), "Hijack: %v", err)
		return
	}
	defer c.Close()
	_, _ = io.WriteString(c, switching)
	h.with(c, r)
}

// hijacked runs a test of connections that are taken over, against an event
// loop and against threads.
func hijacked(t *testing.T, conf Config, with func(net.Conn, *http.Request), run func(*testing.T, *Server)) {
	t.Helper()
	h := &taker{t: t, with: with}
	both(t, conf, h.ServeHTTP, func(t *testing.T, s *Server) {
		run(t, s)
		quiet(t, s) // a handler may begin after its client has left
		settled(t, "handlers", func() int { return int(h.open.Load()) }, 0)
	})
}

// upgraded checks that a connection was taken over and has come to its end.
func upgraded(t *testing.T, resp *Response) bool {
	return assert.False(t, resp.Broken) && assert.False(t, resp.Aborted) &&
		assert.NotZero(t, resp.Events&bridge.CQUpgrade) && assert.NotZero(t, resp.Events&bridge.CQEnd) &&
		assert.Zero(t, resp.Events&(bridge.CQHead|bridge.CQCut))
}

func upgrade(req Request) *Request {
	req.Flags |= bridge.ReqUpgrade
	return &req
}

func echoConn(c net.Conn, _ *http.Request) { _, _ = io.Copy(c, c) }

// The body of the request is not the connection's, however much was read.
func TestHijackedConnectionEchoes(t *testing.T) {
	bodies := []Request{
		{Target: "/"},
		{Target: "/", Body: pattern(1, 50000)},
		{Target: "/?part", Body: pattern(2, 50000)},
		{Target: "/?whole", Body: pattern(3, 50000), How: Stream, Piece: 7000},
		{Target: "/", Body: pattern(4, 50000), How: Stream},
	}
	hijacked(t, Config{Slots: 8, Chunks: 512}, echoConn, func(t *testing.T, s *Server) {
		crowd(10, 12, func(n int) {
			req := upgrade(bodies[n%len(bodies)])
			req.Conn, req.Credit = pattern(uint64(n), n*1009%40000), uint32(2048<<(n%6))
			resp := s.Do(req)
			if upgraded(t, resp) {
				assert.Equal(t, switching+string(req.Conn), string(resp.Body))
			}
		})
		assert.EqualValues(t, 120, s.Region().Stats.Requests.Load())
	})
}

func TestHijackedConnectionClosesFromEitherSide(t *testing.T) {
	sent := pattern(5, 30000)
	with := func(c net.Conn, r *http.Request) {
		switch r.URL.Path {
		case "/bye":
			_, _ = c.Write(sent)
		case "/half":
			_, _ = c.Write(sent)
			assert.NoError(t, c.(interface{ CloseWrite() error }).CloseWrite())
			_, err := c.Write(sent)
			assert.ErrorIs(t, err, syscall.EPIPE)
			got, err := io.ReadAll(c)
			assert.NoError(t, err)
			assert.True(t, bytes.Equal(sent, got))
		case "/under": // its own calls that wait
			var wg sync.WaitGroup
			wg.Go(func() {
				_, err := io.Copy(io.Discard, c)
				assert.ErrorIs(t, err, net.ErrClosed)
			})
			if r.URL.Query().Has("write") {
				wg.Go(func() {
					_, err := c.Write(make([]byte, 1<<20))
					assert.ErrorIs(t, err, net.ErrClosed)
				})
			}
			time.Sleep(5 * time.Millisecond)
			assert.NoError(t, c.Close())
			wg.Wait()
		}
	}
	hijacked(t, Config{Slots: 8, Chunks: 512}, with, func(t *testing.T, s *Server) {
		crowd(12, 8, func(n int) {
			switch n % 4 {
			case 0:
				resp := s.Do(upgrade(Request{Target: "/bye", Credit: 4096, Conn: sent, Close: CloseNever}))
				upgraded(t, resp)
				assert.Equal(t, switching+string(sent), string(resp.Body))
			case 1:
				resp := s.Do(upgrade(Request{Target: "/half", Credit: 4096, Conn: sent, Close: CloseAtEnd}))
				upgraded(t, resp)
				assert.Equal(t, switching+string(sent), string(resp.Body))
			case 2:
				upgraded(t, s.Do(upgrade(Request{Target: "/under?write", Credit: 4096, Close: CloseNever, Pace: 1})))
			default:
				upgraded(t, s.Do(upgrade(Request{Target: "/under", Credit: 4096, Close: CloseNever})))
			}
		})
	})
}

func TestHijackedConnectionHoldsTheCredit(t *testing.T) {
	const size = 200000
	with := func(c net.Conn, r *http.Request) {
		if r.URL.Path == "/slow" {
			p := make([]byte, 3000)
			for {
				n, err := c.Read(p)
				if err != nil {
					break
				}
				time.Sleep(50 * time.Microsecond)
				_, _ = c.Write(p[:n])
			}
			return
		}
		echoConn(c, r)
	}
	hijacked(t, Config{Slots: 4, Chunks: 64}, with, func(t *testing.T, s *Server) {
		crowd(4, 3, func(n int) {
			req := upgrade(Request{Target: "/", Conn: pattern(uint64(n), size), Credit: 8192 << (n % 3)})
			if n%2 == 0 {
				req.Target = "/slow"
			} else {
				req.Pace = 5000
			}
			resp := s.Do(req)
			if upgraded(t, resp) {
				assert.Equal(t, switching+string(req.Conn), string(resp.Body))
				assert.LessOrEqual(t, resp.Held, uint64(req.Credit))
			}
		})
		assert.LessOrEqual(t, s.Region().ChunkFresh.Load(), uint32(4*2*(32768/bridge.ChunkBytes+1)))
	})
}

// A handler that waits for the client, or writes to it, hears that it has left.
func TestHijackedConnectionBreaksOff(t *testing.T) {
	var reading, writing atomic.Int32
	with := func(c net.Conn, r *http.Request) {
		var wg sync.WaitGroup
		if r.URL.Path != "/write" {
			wg.Go(func() {
				_, err := io.Copy(io.Discard, c)
				assert.ErrorIs(t, err, syscall.ECONNRESET)
				reading.Add(1)
			})
		}
		if r.URL.Path != "/read" {
			wg.Go(func() {
				var err error
				for p := make([]byte, 5000); err == nil; {
					_, err = c.Write(p)
				}
				assert.ErrorIs(t, err, syscall.ECONNRESET)
				writing.Add(1)
			})
		}
		wg.Wait()
		assert.NoError(t, c.Close())
	}
	hijacked(t, Config{Slots: 8, Chunks: 512}, with, func(t *testing.T, s *Server) {
		reading.Store(0)
		writing.Store(0)
		crowd(12, 12, func(n int) {
			req := upgrade(Request{
				Target: []string{"/read", "/write", "/both"}[n%3], Conn: pattern(6, n*500),
				Credit: 16384, Close: CloseNever, Leave: LeaveTaken, Amount: uint64(n) * 40,
			})
			if n%2 == 0 {
				req.Pace = 1 // the writer waits
			} else if n%3 > 0 {
				req.Leave, req.Amount = LeaveAfter, 100000
			}
			resp := s.Do(req)
			assert.True(t, resp.Aborted)
			assert.False(t, resp.Broken)
		})
		quiet(t, s)
		assert.EqualValues(t, 96, reading.Load())
		assert.EqualValues(t, 96, writing.Load())
	})
}

// Slots are used again while calls on the connections they had come too late.
func TestHijackedConnectionsAtRandom(t *testing.T) {
	with := func(c net.Conn, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/late") {
			go func() { _, _ = io.Copy(c, c) }()
			go func() { _ = c.SetDeadline(time.Now().Add(time.Millisecond)) }()
			time.Sleep(time.Duration(len(r.URL.Path)) * 20 * time.Microsecond)
			return
		}
		echoConn(c, r)
	}
	leaves := []int{Stay, Stay, LeaveAtOnce, LeaveAtHead, LeaveAfter, LeaveInTime}
	hijacked(t, Config{Slots: 16, Chunks: 256}, with, func(t *testing.T, s *Server) {
		crowd(32, 30, func(n int) {
			rnd := rand.New(rand.NewPCG(uint64(n), 2))
			req := upgrade(Request{
				Target: "/echo?leaves",
				Conn:   pattern(uint64(n), rnd.IntN(60000)),
				Piece:  1 + rnd.IntN(20000),
				Credit: uint32(1024 << rnd.IntN(7)),
				Leave:  leaves[rnd.IntN(len(leaves))],
				Amount: uint64(rnd.IntN(3000)),
			})
			if rnd.IntN(3) == 0 {
				req.Target = "/late" + strings.Repeat("-", rnd.IntN(40)) + "?leaves"
				req.Close = CloseNever
			}
			if rnd.IntN(4) == 0 {
				req.Pace = 4000
			}
			resp := s.Do(req)
			assert.False(t, resp.Broken)
			if !resp.Aborted && strings.HasPrefix(req.Target, "/echo") && upgraded(t, resp) {
				assert.Equal(t, switching+string(req.Conn), string(resp.Body))
			}
		})
	})
}
