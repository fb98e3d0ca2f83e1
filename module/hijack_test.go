//go:build linux

package module

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gsgi/gsgi/cshim/bridge"
	"github.com/gsgi/gsgi/module/fakehost"
)

// pair is a connection whose two ends hold bytes between them.
func pair(t *testing.T) (client, server *net.UnixConn) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s")})
	require.NoError(t, err)
	defer l.Close()
	client, err = net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	require.NoError(t, err)
	server, err = l.AcceptUnix()
	require.NoError(t, err)
	require.NoError(t, client.SetDeadline(time.Now().Add(20*time.Second)))
	t.Cleanup(func() { client.Close() })
	return client, server
}

// upgrade submits a request whose connection h may take over.
func upgrade(t *testing.T, h http.HandlerFunc, req *fakehost.Request) (*net.UnixConn, *fakehost.Call, world) {
	t.Helper()
	w := serve(t, h)
	client, server := pair(t)
	req.Raw = server
	if req.Method == "" {
		req.Method, req.Target = "GET", "/"
	}
	c, err := w.Submit(req)
	require.NoError(t, err)
	return client, c, w
}

func take(t *testing.T, w http.ResponseWriter) (net.Conn, *bufio.ReadWriter) {
	c, rw, err := http.NewResponseController(w).Hijack()
	assert.NoError(t, err)
	return c, rw
}

func TestHijackCarriesBytesBothWays(t *testing.T) {
	client, call, w := upgrade(t, func(w http.ResponseWriter, r *http.Request) {
		c, rw := take(t, w)
		assert.Equal(t, "192.0.2.1:1234", c.RemoteAddr().String())
		_, _ = io.WriteString(rw, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		assert.NoError(t, rw.Flush())
		line, err := rw.ReadString('\n')
		assert.NoError(t, err)
		_, _ = io.WriteString(c, "got "+line)
		_, err = rw.ReadString('\n')
		assert.Equal(t, io.EOF, err)
		assert.NoError(t, c.Close())
		assert.ErrorIs(t, c.Close(), net.ErrClosed)
	}, &fakehost.Request{})
	_, _ = io.WriteString(client, "hello\n")
	in := bufio.NewReader(client)
	for _, want := range []string{"HTTP/1.1 101 Switching Protocols\r\n", "\r\n", "got hello\n"} {
		line, err := in.ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, want, line)
	}
	assert.Zero(t, w.Region().InFlight.Load())
	require.NoError(t, client.CloseWrite())
	rest, err := io.ReadAll(in)
	assert.NoError(t, err)
	assert.Empty(t, rest)
	<-call.Done
}

func TestHijackOutlivesTheHandler(t *testing.T) {
	over := make(chan struct{})
	client, call, _ := upgrade(t, func(w http.ResponseWriter, r *http.Request) {
		c, _ := take(t, w)
		go func() {
			defer c.Close()
			<-r.Context().Done()
			close(over)
			_, _ = io.Copy(c, c)
		}()
	}, &fakehost.Request{})
	<-over
	_, _ = io.WriteString(client, "echo")
	p := make([]byte, 4)
	_, err := io.ReadFull(client, p)
	require.NoError(t, err)
	assert.Equal(t, "echo", string(p))
	select {
	case <-call.Done:
		t.Error("the slot has gone")
	default:
	}
	require.NoError(t, client.CloseWrite())
	<-call.Done
}

func TestHijackAfterWriteHeader(t *testing.T) {
	client, call, w := upgrade(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Upgrade", "test")
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("X-Split", "a\r\nX-Evil: 1")
		w.Header().Del("X-Split")
		w.WriteHeader(http.StatusSwitchingProtocols)
		c, _ := take(t, w)
		_, _ = io.WriteString(c, "raw")
		c.Close()
		_, err := io.WriteString(w, "late")
		assert.Equal(t, http.ErrHijacked, err)
		assert.Equal(t, http.ErrHijacked, http.NewResponseController(w).Flush())
		_, _, err = http.NewResponseController(w).Hijack()
		assert.Equal(t, http.ErrHijacked, err)
		w.WriteHeader(200)
	}, &fakehost.Request{})
	res, err := http.ReadResponse(bufio.NewReader(client), nil)
	require.NoError(t, err)
	assert.Equal(t, 101, res.StatusCode)
	assert.Equal(t, "Upgrade", res.Header.Get("Connection"))
	assert.Equal(t, "test", res.Header.Get("Upgrade"))
	assert.NotEmpty(t, res.Header.Get("Date"))
	<-call.Done
	assert.Eventually(t, func() bool { return w.logged("response.WriteHeader on hijacked connection") }, 5*time.Second, time.Millisecond)
}

func TestHijackBackPressure(t *testing.T) {
	const size = 4 << 20
	big := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	client, call, w := upgrade(t, func(w http.ResponseWriter, r *http.Request) {
		c, _ := take(t, w)
		defer c.Close()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := c.Write(big)
			assert.NoError(t, err)
		})
		got, err := io.ReadAll(c)
		assert.NoError(t, err)
		assert.True(t, bytes.Equal(big, got))
		wg.Wait()
	}, &fakehost.Request{Credit: 64 << 10})
	go func() {
		_, _ = client.Write(big)
		_ = client.CloseWrite()
	}()
	time.Sleep(50 * time.Millisecond)
	assert.LessOrEqual(t, w.ChunksUsed(), 2*(64<<10)/bridge.ChunkBytes+4)
	got, err := io.ReadAll(client)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(big, got))
	<-call.Done
}

func TestCrumbsForASlowClientDoNotTakeAllChunks(t *testing.T) {
	w := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for range 1000 {
			_, _ = io.WriteString(w, "x")
			if http.NewResponseController(w).Flush() != nil {
				return
			}
		}
	})
	c, err := w.Submit(&fakehost.Request{Method: "GET", Target: "/", Hold: true})
	require.NoError(t, err)
	assert.Eventually(t, func() bool { return c.Held() >= piecesMax }, 5*time.Second, time.Millisecond)
	time.Sleep(20 * time.Millisecond)
	assert.LessOrEqual(t, c.Held(), uint64(piecesMax))
	c.Resume()
	resp, err := c.Wait()
	require.NoError(t, err)
	assert.True(t, resp.Complete)
	assert.Equal(t, 1000, len(resp.Body))
}

func TestHijackedDeadlines(t *testing.T) {
	client, call, _ := upgrade(t, func(w http.ResponseWriter, r *http.Request) {
		c, _ := take(t, w)
		defer c.Close()
		p := make([]byte, 1)
		assert.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
		_, err := c.Read(p)
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		var timeout net.Error
		assert.True(t, errors.As(err, &timeout) && timeout.Timeout())
		_, _ = c.Write([]byte("1"))
		assert.NoError(t, c.SetReadDeadline(time.Time{}))
		_, err = c.Read(p)
		assert.NoError(t, err, "a deadline that is moved is no obstacle")
		assert.NoError(t, c.SetDeadline(time.Now().Add(100*time.Millisecond)))
		n, err := c.Write(make([]byte, 8<<20))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Positive(t, n)
		time.AfterFunc(20*time.Millisecond, func() { _ = c.SetReadDeadline(time.Now().Add(-time.Second)) })
		assert.NoError(t, c.SetReadDeadline(time.Time{}))
		_, err = c.Read(p)
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded, "also of a Read that waits")
	}, &fakehost.Request{})
	p := make([]byte, 1)
	_, err := io.ReadFull(client, p)
	require.NoError(t, err)
	_, _ = client.Write(p)
	time.Sleep(300 * time.Millisecond)
	_, _ = io.Copy(io.Discard, client)
	<-call.Done
}

func TestHijackedCloseWakesReaderAndWriter(t *testing.T) {
	_, call, _ := upgrade(t, func(w http.ResponseWriter, r *http.Request) {
		c, _ := take(t, w)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				_, err := c.Read(make([]byte, 1))
				assert.ErrorIs(t, err, net.ErrClosed)
			})
			wg.Go(func() {
				_, err := c.Write(make([]byte, 8<<20))
				assert.ErrorIs(t, err, net.ErrClosed)
			})
		}
		time.Sleep(50 * time.Millisecond)
		assert.NoError(t, c.Close())
		wg.Wait()
		assert.ErrorIs(t, c.SetDeadline(time.Now()), net.ErrClosed)
	}, &fakehost.Request{})
	<-call.Done
}

func TestHijackedHalfClose(t *testing.T) {
	client, call, _ := upgrade(t, func(w http.ResponseWriter, r *http.Request) {
		c, _ := take(t, w)
		defer c.Close()
		_, _ = io.WriteString(c, "all")
		assert.NoError(t, c.(interface{ CloseWrite() error }).CloseWrite())
		_, err := io.WriteString(c, "more")
		assert.Error(t, err)
		got, err := io.ReadAll(c)
		assert.NoError(t, err)
		assert.Equal(t, "answer", string(got))
	}, &fakehost.Request{})
	got, err := io.ReadAll(client)
	require.NoError(t, err)
	assert.Equal(t, "all", string(got))
	_, _ = io.WriteString(client, "answer")
	require.NoError(t, client.CloseWrite())
	<-call.Done
}

func TestHijackedClientVanishes(t *testing.T) {
	began := make(chan struct{})
	_, call, _ := upgrade(t, func(w http.ResponseWriter, r *http.Request) {
		c, _ := take(t, w)
		defer c.Close()
		close(began)
		_, err := c.Read(make([]byte, 1))
		assert.Error(t, err)
		_, err = c.Write([]byte("x"))
		assert.Error(t, err)
	}, &fakehost.Request{})
	<-began
	call.Tell(bridge.HostAbort)
	<-call.Done
}

func TestHijackedConnectionThatIsForgottenIsClosed(t *testing.T) {
	client, call, _ := upgrade(t, func(w http.ResponseWriter, r *http.Request) { take(t, w) }, &fakehost.Request{})
	assert.Eventually(t, func() bool {
		runtime.GC()
		select {
		case <-call.Done:
			return true
		default:
			return false
		}
	}, 10*time.Second, 10*time.Millisecond)
	_, err := client.Read(make([]byte, 1))
	assert.Equal(t, io.EOF, err)
}

func TestHijackWithABody(t *testing.T) {
	for name, req := range map[string]*fakehost.Request{
		"inline":   {Body: []byte("small"), Length: 5},
		"chunks":   {Body: make([]byte, 1<<20), Length: 1 << 20},
		"streamed": {Stream: strings.NewReader("small"), Length: 5},
	} {
		for _, read := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				req := *req
				req.Method, req.Target = "POST", "/"
				client, call, _ := upgrade(t, func(w http.ResponseWriter, r *http.Request) {
					if read {
						n, err := io.Copy(io.Discard, r.Body)
						assert.NoError(t, err)
						assert.EqualValues(t, req.Length, n)
					} else if name == "chunks" {
						_, err := r.Body.Read(make([]byte, 1000))
						assert.NoError(t, err)
					}
					c, _ := take(t, w)
					defer c.Close()
					_, _ = io.Copy(c, c)
				}, &req)
				_, _ = io.WriteString(client, "raw")
				require.NoError(t, client.CloseWrite())
				got, err := io.ReadAll(client)
				require.NoError(t, err)
				assert.Equal(t, "raw", string(got))
				<-call.Done
			})
		}
	}
}

func TestHijackIsRefused(t *testing.T) {
	refused := func(w http.ResponseWriter) error {
		_, _, err := http.NewResponseController(w).Hijack()
		assert.Error(t, err)
		return err
	}
	_, server := pair(t)
	block := make(chan struct{})
	for name, c := range map[string]struct {
		req *fakehost.Request
		h   http.HandlerFunc
	}{
		"HTTP/2": {&fakehost.Request{Protocol: 2000}, func(w http.ResponseWriter, r *http.Request) {
			_, ok := w.(http.Hijacker)
			assert.False(t, ok)
			assert.ErrorIs(t, refused(w), http.ErrNotSupported)
		}},
		"head sent": {&fakehost.Request{Raw: server}, func(w http.ResponseWriter, r *http.Request) {
			assert.NoError(t, http.NewResponseController(w).Flush())
			assert.Equal(t, errHeadSent, refused(w))
		}},
		"body in part": {&fakehost.Request{Raw: server, Length: -1, Stream: io.MultiReader(strings.NewReader("a"), waiting(block))},
			func(w http.ResponseWriter, r *http.Request) {
				_, err := r.Body.Read(make([]byte, 1))
				assert.NoError(t, err)
				assert.Equal(t, errBodyOpen, refused(w))
				close(block)
			}},
	} {
		t.Run(name, func(t *testing.T) {
			c.req.Method, c.req.Target = "GET", "/"
			resp := serve(t, c.h).do(t, c.req)
			assert.Equal(t, 200, resp.Status)
			assert.True(t, resp.Complete)
		})
	}
}

type waiting chan struct{}

func (w waiting) Read([]byte) (int, error) {
	<-w
	return 0, io.EOF
}

func TestPanicAfterHijackLeavesTheConnection(t *testing.T) {
	taken := make(chan net.Conn, 1)
	client, call, w := upgrade(t, func(w http.ResponseWriter, r *http.Request) {
		c, _ := take(t, w)
		taken <- c
		panic("behind it")
	}, &fakehost.Request{})
	c := <-taken
	assert.Eventually(t, func() bool { return w.logged("behind it") }, 5*time.Second, time.Millisecond)
	_, _ = io.WriteString(c, "still")
	p := make([]byte, 5)
	_, err := io.ReadFull(client, p)
	assert.NoError(t, err)
	c.Close()
	<-call.Done
}

func TestStopClosesHijackedConnections(t *testing.T) {
	began := make(chan struct{})
	_, call, w := upgrade(t, func(w http.ResponseWriter, r *http.Request) {
		c, _ := take(t, w)
		close(began)
		_, err := c.Read(make([]byte, 1))
		assert.ErrorIs(t, err, net.ErrClosed)
	}, &fakehost.Request{})
	<-began
	w.g.MainEnded("")
	assert.True(t, w.g.Stop(5*time.Second))
	<-call.Done
}

func TestBodyDeadline(t *testing.T) {
	block := make(chan struct{})
	defer close(block)
	w := serve(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		assert.NoError(t, rc.EnableFullDuplex())
		p := make([]byte, 3)
		_, err := io.ReadFull(r.Body, p)
		assert.NoError(t, err)
		assert.NoError(t, rc.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
		_, err = r.Body.Read(p)
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.NoError(t, rc.SetReadDeadline(time.Time{}))
		_, err = r.Body.Read(p)
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded, "there is no way back")
		_, _ = io.WriteString(w, "late")
	})
	resp := w.do(t, &fakehost.Request{Method: "POST", Target: "/", Length: -1,
		Stream: io.MultiReader(strings.NewReader("one"), waiting(block))})
	assert.Equal(t, "late", string(resp.Body))
}

func TestResponseDeadline(t *testing.T) {
	w := serve(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_, _ = io.WriteString(w, "one")
		assert.NoError(t, rc.Flush())
		assert.NoError(t, rc.SetWriteDeadline(time.Now().Add(-time.Second)))
		_, _ = io.WriteString(w, "two")
		assert.ErrorIs(t, rc.Flush(), os.ErrDeadlineExceeded)
		assert.NoError(t, rc.SetWriteDeadline(time.Now().Add(time.Hour)))
		_, _ = io.WriteString(w, "three")
		assert.ErrorIs(t, rc.Flush(), os.ErrDeadlineExceeded)
	})
	resp := w.get(t, "/")
	assert.Equal(t, "one", string(resp.Body))
	assert.False(t, resp.Complete)
}

func TestWriterThatWaitsHasADeadline(t *testing.T) {
	w := serve(t, func(w http.ResponseWriter, r *http.Request) {
		assert.NoError(t, http.NewResponseController(w).SetWriteDeadline(time.Now().Add(30*time.Millisecond)))
		_, err := w.Write(make([]byte, 1<<20))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	})
	c, err := w.Submit(&fakehost.Request{Method: "GET", Target: "/", Hold: true})
	require.NoError(t, err)
	resp, err := c.Wait()
	require.NoError(t, err)
	assert.False(t, resp.Complete)
}

func TestDeadlineThatPassedBehindAWholeResponse(t *testing.T) {
	w := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "5")
		_, _ = io.WriteString(w, "whole")
		rc := http.NewResponseController(w)
		assert.NoError(t, rc.Flush())
		assert.NoError(t, rc.SetWriteDeadline(time.Now().Add(-time.Second)))
	})
	assert.True(t, w.get(t, "/").Complete)
}

func TestRequestTrailers(t *testing.T) {
	announced := [][2]string{{"Trailer", "X-Sum, X-Not"}}
	sent := [][2]string{{"X-Sum", "42"}, {"X-Other", "1"}}
	big := bytes.Repeat([]byte("x"), 100<<10)
	for name, req := range map[string]*fakehost.Request{
		"inline":   {Body: []byte("small")},
		"chunks":   {Body: big},
		"streamed": {Stream: bytes.NewReader(big)},
	} {
		for _, proto := range []uint32{1001, 2000} {
			t.Run(name, func(t *testing.T) {
				req := *req
				req.Method, req.Target, req.Length, req.Protocol = "POST", "/", -1, proto
				req.Header, req.Trailers = announced, sent
				if req.Stream != nil {
					req.Stream = bytes.NewReader(big)
				}
				w := serve(t, func(w http.ResponseWriter, r *http.Request) {
					assert.Equal(t, http.Header{"X-Sum": nil, "X-Not": nil}, r.Trailer)
					assert.Empty(t, r.Header["Trailer"])
					_, err := io.Copy(io.Discard, r.Body)
					assert.NoError(t, err)
					want := http.Header{"X-Sum": {"42"}, "X-Not": nil}
					if proto == 1001 {
						want["X-Other"] = []string{"1"}
					}
					assert.Equal(t, want, r.Trailer)
				})
				assert.True(t, w.do(t, &req).Complete)
			})
		}
	}
	t.Run("not read", func(t *testing.T) {
		w := serve(t, func(http.ResponseWriter, *http.Request) {})
		w.do(t, &fakehost.Request{Method: "POST", Target: "/", Length: -1, Body: []byte("x"), Trailers: sent})
	})
}

func TestBodyIsConsumedBeforeTheResponse(t *testing.T) {
	for _, size := range []int{1000, consumeMax / 2, consumeMax + 10, 4 * consumeMax} {
		for _, length := range []int64{-1, int64(size)} {
			var gone bool
			w := serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = w.Write(make([]byte, 3000))
				_, err := r.Body.Read(make([]byte, 1))
				gone = err == http.ErrBodyReadAfterClose
			})
			resp := w.do(t, &fakehost.Request{Method: "POST", Target: "/", Length: length,
				Stream: bytes.NewReader(make([]byte, size))})
			assert.Equal(t, size > consumeMax, resp.Close, "%d %d", size, length)
			assert.Equal(t, size <= consumeMax, gone, "%d %d", size, length)
			assert.True(t, resp.Complete)
		}
	}
}

func FuzzFields(f *testing.F) {
	var e entries
	e.add("A", "1")
	e.add("Name", "value")
	f.Add(e.data)
	f.Add([]byte{2, 0, 255, 255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		for name, value := range fields(data) {
			n += bridge.EntrySize + len(name) + len(value) + 2
		}
		assert.LessOrEqual(t, n, len(data))
	})
}
