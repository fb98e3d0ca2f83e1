//go:build linux && cgo

package bridgetest

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gsgi/gsgi/cshim/bridge"
)

// pattern is n bytes that differ by seed and place.
func pattern(seed uint64, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(seed) + byte(i*7) + byte(i>>8)*13
	}
	return p
}

// crowd runs f in many goroutines, with a number for each call.
func crowd(goroutines, rounds int, f func(n int)) {
	var wg sync.WaitGroup
	for k := range goroutines {
		wg.Go(func() {
			for i := range rounds {
				f(k*rounds + i)
			}
		})
	}
	wg.Wait()
}

func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Target", r.RequestURI)
	_ = http.NewResponseController(w).EnableFullDuplex()
	_, _ = io.Copy(w, r.Body)
}

// whole checks that a response has come to its end.
func whole(t *testing.T, resp *Response) bool {
	return assert.False(t, resp.Broken) && assert.False(t, resp.Aborted) && assert.Equal(t, 200, resp.Status) &&
		assert.NotZero(t, resp.Events&bridge.CQEnd) && assert.Zero(t, resp.Events&bridge.CQCut)
}

func TestEchoUnderManyGoroutines(t *testing.T) {
	conf := Config{Slots: 24, Chunks: 1024}
	both(t, conf, echo, func(t *testing.T, s *Server) {
		sizes := []int{0, 1, 100, 2000, 2049, 3000, 5000, 16384, 16385, 70000}
		crowd(48, 100, func(n int) {
			body := pattern(uint64(n), sizes[n%len(sizes)])
			target := "/echo?n=" + strconv.Itoa(n)
			resp := s.Do(&Request{Target: target, Body: body, How: n / 10 % 2, Piece: 1 + n*997%20000, Credit: credit})
			if whole(t, resp) {
				assert.True(t, bytes.Equal(body, resp.Body), "%d bytes came back as %d", len(body), len(resp.Body))
				assert.Contains(t, resp.Header, "X-Target: "+target+"\n")
			}
		})
		assert.EqualValues(t, 4800, s.Region().Stats.Requests.Load())
	})
}

func TestManyRequestsWaitForFewSlots(t *testing.T) {
	both(t, Config{Slots: 2, Chunks: 64}, echo, func(t *testing.T, s *Server) {
		crowd(16, 50, func(n int) {
			resp := s.Do(&Request{Target: "/", Body: pattern(1, n%100), Credit: credit})
			assert.Len(t, resp.Body, n%100)
			whole(t, resp)
		})
	})
}

func TestLongHeadsBothWays(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		for name, values := range r.Header {
			if strings.HasPrefix(name, "X-Fill-") {
				w.Header().Set("Re-"+name, values[0])
			}
		}
		fmt.Fprint(w, len(r.Header))
	}
	both(t, Config{Slots: 8, Chunks: 256}, handler, func(t *testing.T, s *Server) {
		crowd(8, 10, func(n int) {
			fill, size := n%40, 10+n*91%3000
			resp := s.Do(&Request{Target: "/", Fill: fill, FillLen: size, Credit: credit})
			if !whole(t, resp) {
				return
			}
			for i := range fill {
				assert.Contains(t, resp.Header, fmt.Sprintf("Re-X-Fill-%d: %s\n", i, strings.Repeat("f", size)))
			}
		})
	})
}

func TestCreditBoundsBothDirections(t *testing.T) {
	const size = 3 << 20
	both(t, Config{Slots: 4, Chunks: 64}, echo, func(t *testing.T, s *Server) {
		for _, credit := range []uint32{4096, 16384, 65536} {
			crowd(2, 2, func(n int) {
				body := pattern(uint64(n), size)
				resp := s.Do(&Request{Target: "/", Body: body, How: Stream, Piece: 5000, Credit: credit})
				if whole(t, resp) {
					assert.True(t, bytes.Equal(body, resp.Body))
				}
			})
		}
		assert.LessOrEqual(t, s.Region().ChunkFresh.Load(), uint32(64))
	})
}

func TestUploadInCrumbsNeedsFewChunks(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Millisecond)
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	}
	both(t, Config{Slots: 4, Chunks: 8}, handler, func(t *testing.T, s *Server) {
		resp := s.Do(&Request{Target: "/", Body: pattern(1, 200000), How: Stream, Piece: 1, Credit: credit})
		whole(t, resp)
		assert.Equal(t, "200000 <nil>", string(resp.Body))
	})
}

func TestUploadThatNobodyReads(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/some" {
			_, _ = r.Body.Read(make([]byte, 10))
		}
		fmt.Fprint(w, "done")
	}
	both(t, Config{Slots: 4, Chunks: 64}, handler, func(t *testing.T, s *Server) {
		for _, target := range []string{"/none", "/some"} {
			for _, how := range []int{Packed, Stream} {
				crowd(4, 20, func(int) {
					resp := s.Do(&Request{Target: target, Body: pattern(1, 100000), How: how, Piece: 1000, Credit: credit})
					whole(t, resp)
					assert.Equal(t, "done", string(resp.Body))
				})
			}
		}
	})
}

func TestFilesGoAsDescriptorsAndAreClosed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	content := pattern(3, 1<<20)
	require.NoError(t, os.WriteFile(name, content, 0o600))
	handler := func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		assert.NoError(t, err)
		assert.EqualValues(t, len(content), n)
		f, err := os.Open(name)
		if !assert.NoError(t, err) {
			return
		}
		defer f.Close()
		_, _ = io.Copy(w, f)
	}
	both(t, Config{Slots: 8, Chunks: 64}, handler, func(t *testing.T, s *Server) {
		f, err := os.Open(name)
		require.NoError(t, err)
		defer f.Close()
		req := &Request{
			Target: "/", Body: content, How: File, FD: int(f.Fd()), Credit: credit, Flags: bridge.ReqSendfile,
		}
		whole(t, s.Do(req))
		before := descriptors(t)
		crowd(8, 10, func(n int) {
			req := *req
			if n%3 == 0 {
				req.Leave = []int{LeaveAtOnce, LeaveAtHead, LeaveInTime}[n/3%3]
				req.Amount = uint64(n * 10)
				s.Do(&req)
				return
			}
			resp := s.Do(&req)
			if whole(t, resp) {
				assert.True(t, bytes.Equal(content, resp.Body))
				assert.Equal(t, 1, resp.Files)
			}
		})
		// each slot that has waited in poll has an eventfd of its own
		settled(t, "descriptors", func() int { return descriptors(t) }, before+8)
	})
}

func TestInterimResponsesAndTrailers(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprint(w, strings.Repeat("x", 5000))
		w.Header().Set("X-Sum", "42")
	}
	both(t, Config{Slots: 4, Chunks: 64}, handler, func(t *testing.T, s *Server) {
		crowd(4, 25, func(int) {
			resp := s.Do(&Request{Target: "/", Credit: credit, Flags: bridge.ReqTrailers})
			whole(t, resp)
			assert.Equal(t, 1, resp.Interim)
			assert.Contains(t, resp.Trailers, "Link: </style.css>; rel=preload\n")
			assert.Contains(t, resp.Trailers, "X-Sum: 42\n")
			assert.Len(t, resp.Body, 5000)
		})
	})
}

func TestPanicsAreAnsweredAndLogged(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/late" {
			fmt.Fprint(w, strings.Repeat("x", 5000))
		}
		panic("cause " + r.URL.RawQuery)
	}
	both(t, Config{Slots: 4, Chunks: 64}, handler, func(t *testing.T, s *Server) {
		early := s.Do(&Request{Target: "/early?one", Credit: credit})
		assert.NotZero(t, early.Events&bridge.CQCut)
		assert.Zero(t, early.Events&bridge.CQHead)
		late := s.Do(&Request{Target: "/late?two", Credit: credit})
		assert.NotZero(t, late.Events&bridge.CQCut)
		assert.NotZero(t, late.Events&bridge.CQHead)
		var logs string
		assert.Eventually(t, func() bool {
			logs += s.Logs()
			return strings.Contains(logs, "cause one") && strings.Contains(logs, "cause two")
		}, 5*time.Second, time.Millisecond)
	})
}

func TestLogLinesComeWholeAndInOrder(t *testing.T) {
	const lines = 20000
	both(t, Config{Slots: 4, Chunks: 4}, echo, func(t *testing.T, s *Server) {
		b, err := bridge.Open(s.Base())
		require.NoError(t, err)
		var logs strings.Builder
		for i := range lines {
			b.Log(bridge.LogInfo, 0, 0, fmt.Sprint("line ", i, strings.Repeat(" ", i%90), "."))
			if i%500 == 499 {
				last := fmt.Sprint("line ", i, " ")
				require.Eventually(t, func() bool {
					logs.WriteString(s.Logs())
					return strings.Contains(logs.String(), last)
				}, 5*time.Second, time.Millisecond)
			}
		}
		for i, line := range strings.Split(strings.TrimSuffix(logs.String(), "\n"), "\n") {
			require.Equal(t, fmt.Sprint("line ", i, strings.Repeat(" ", i%90), "."), line)
		}
		assert.Zero(t, s.Region().Stats.LogDropped.Load())
	})
}

// Clients that leave at every moment, over handlers that read, write, wait
// and do nothing.
func TestAbortsAtRandomMoments(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/echo":
			echo(w, r)
		case "/wait":
			select {
			case <-r.Context().Done():
			case <-time.After(20 * time.Millisecond):
			}
		case "/flush":
			for range 20 {
				fmt.Fprint(w, strings.Repeat("y", 3000))
				if http.NewResponseController(w).Flush() != nil {
					return
				}
			}
		}
	}
	targets := []string{"/echo", "/wait", "/flush", "/nothing"}
	leaves := []int{Stay, LeaveAtOnce, LeaveAtHead, LeaveAtRead, LeaveAfter, LeaveInTime}
	both(t, Config{Slots: 16, Chunks: 1024}, handler, func(t *testing.T, s *Server) {
		whole(t, s.Do(&Request{Target: "/nothing", Credit: credit}))
		crowd(32, 60, func(n int) {
			rnd := rand.New(rand.NewPCG(uint64(n), 1))
			req := &Request{
				Target: targets[rnd.IntN(len(targets))],
				Body:   pattern(uint64(n), rnd.IntN(100000)),
				How:    rnd.IntN(2),
				Piece:  1 + rnd.IntN(20000),
				Credit: uint32(1024 << rnd.IntN(8)),
				Fill:   rnd.IntN(4), FillLen: rnd.IntN(4000),
				Leave:  leaves[rnd.IntN(len(leaves))],
				Amount: uint64(rnd.IntN(3000)),
			}
			resp := s.Do(req)
			assert.False(t, resp.Broken)
			if !resp.Aborted {
				whole(t, resp)
			}
			if !resp.Aborted && req.Target == "/echo" {
				assert.True(t, bytes.Equal(req.Body, resp.Body))
			}
		})
	})
}

// When all are in use, those who wait go on as others give back.
func TestTooFewChunksOnlySlowDown(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		_, _ = w.Write(body)
	}
	both(t, Config{Slots: 8, Chunks: 6}, handler, func(t *testing.T, s *Server) {
		crowd(12, 5, func(n int) {
			body := pattern(uint64(n), 50000)
			resp := s.Do(&Request{Target: "/", Body: body, How: Stream, Piece: 9000, Credit: credit})
			if whole(t, resp) {
				assert.True(t, bytes.Equal(body, resp.Body))
			}
		})
	})
}

// TestOneProcessor repeats tests where dispatchers step aside before they wait.
func TestOneProcessor(t *testing.T) {
	if runtime.NumCPU() == 1 {
		t.Skip("all tests are run on one")
	}
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	first := regexp.MustCompile(`Cpus_allowed_list:\s*(\d+)`).FindSubmatch(status)
	require.NotNil(t, first)
	out, err := exec.Command("taskset", "-c", string(first[1]), os.Args[0], "-test.timeout=100s",
		"-test.run=^(TestEchoUnderManyGoroutines|TestManyRequestsWaitForFewSlots|TestAbortsAtRandomMoments)$").CombinedOutput()
	require.NoError(t, err, "%s", out)
}
