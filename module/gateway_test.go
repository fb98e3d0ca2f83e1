//go:build linux

package module

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
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

// world is a gateway that serves h, with its fake server.
type world struct {
	*fakehost.Host
	g *Gateway
}

func serve(t *testing.T, h http.HandlerFunc) world {
	t.Helper()
	return serveConf(t, fakehost.Config{}, HTTP(h, nil))
}

func serveConf(t *testing.T, conf fakehost.Config, h Handler) world {
	t.Helper()
	host, err := fakehost.New(conf)
	require.NoError(t, err)
	g, err := New(Config{Entries: []string{""}, Software: "fake/1.0", Name: "site"}, host.Base())
	require.NoError(t, err)
	require.NoError(t, g.Attach("8080", h))
	require.NoError(t, host.AwaitState(bridge.AppReady))
	t.Cleanup(func() {
		assert.Eventually(t, func() bool { return host.SlotsUsed() == 0 && host.ChunksUsed() == 0 },
			5*time.Second, time.Millisecond, "slots and chunks are all given back")
		assert.Zero(t, host.Region().InFlight.Load(), "nothing is in flight")
	})
	return world{host, g}
}

func (w world) get(t *testing.T, target string) *fakehost.Response {
	t.Helper()
	return w.do(t, &fakehost.Request{Method: "GET", Target: target})
}

func (w world) do(t *testing.T, req *fakehost.Request) *fakehost.Response {
	t.Helper()
	resp, err := w.Do(req)
	require.NoError(t, err)
	return resp
}

func (w world) logged(text string) bool {
	for _, line := range w.Logs() {
		if strings.Contains(line.Text, text) {
			return true
		}
	}
	return false
}

func TestSmallAnswerHasContentLengthAndType(t *testing.T) {
	w := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-One", "1")
		fmt.Fprintf(w, "hello %s", r.URL.Path)
	})
	resp := w.get(t, "/world?x=1")
	assert.Equal(t, 200, resp.Status)
	assert.Equal(t, "hello /world", string(resp.Body))
	assert.EqualValues(t, len(resp.Body), resp.Length)
	assert.Equal(t, "text/plain; charset=utf-8", resp.Get("Content-Type"))
	assert.Equal(t, "1", resp.Get("X-One"))
	assert.True(t, resp.Complete)
}

func TestLongBodiesComeInOrder(t *testing.T) {
	var want bytes.Buffer
	for i := range 100000 {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	w := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for p := want.Bytes(); len(p) > 0; {
			n, err := w.Write(p[:min(len(p), 1000)])
			assert.NoError(t, err)
			p = p[n:]
		}
	})
	resp := w.get(t, "/")
	assert.True(t, bytes.Equal(want.Bytes(), resp.Body))
	assert.EqualValues(t, -1, resp.Length)
	assert.True(t, resp.Complete)
}

func TestWriterWaitsForCredit(t *testing.T) {
	wrote := make(chan struct{})
	w := serveConf(t, fakehost.Config{Credit: 64 << 10}, HTTP(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := w.Write(make([]byte, 1<<20))
		assert.NoError(t, err)
		close(wrote)
	}), nil))
	c, err := w.Submit(&fakehost.Request{Method: "GET", Target: "/", Hold: true})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return c.Held() == 64<<10 }, 5*time.Second, time.Millisecond)
	select {
	case <-wrote:
		t.Error("the writer went on without credit")
	case <-time.After(20 * time.Millisecond):
	}
	assert.EqualValues(t, 64<<10, c.Held(), "no more than the credit is published")
	c.Resume()
	resp, err := c.Wait()
	require.NoError(t, err)
	assert.Len(t, resp.Body, 1<<20)
}

func TestFlushIsVisibleBeforeTheEnd(t *testing.T) {
	release := make(chan struct{})
	w := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "first")
		assert.NoError(t, http.NewResponseController(w).Flush())
		<-release
		_, _ = io.WriteString(w, "second")
	})
	c, err := w.Submit(&fakehost.Request{Method: "GET", Target: "/"})
	require.NoError(t, err)
	<-c.Head
	close(release)
	resp, err := c.Wait()
	require.NoError(t, err)
	assert.Equal(t, "firstsecond", string(resp.Body))
}

func TestRequestBodies(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	file, err := os.CreateTemp(t.TempDir(), "body")
	require.NoError(t, err)
	_, err = file.Write(big)
	require.NoError(t, err)
	w := serve(t, func(w http.ResponseWriter, r *http.Request) {
		assert.NoError(t, http.NewResponseController(w).EnableFullDuplex())
		n, err := io.Copy(w, r.Body)
		assert.NoError(t, err)
		assert.True(t, r.ContentLength == n || r.ContentLength == -1)
	})
	for name, req := range map[string]*fakehost.Request{
		"inline":   {Body: []byte("small"), Length: 5},
		"chunks":   {Body: big, Length: int64(len(big))},
		"file":     {File: file, Length: int64(len(big))},
		"streamed": {Stream: bytes.NewReader(big), Length: int64(len(big))},
		"chunked":  {Stream: bytes.NewReader(big), Length: -1},
		"bytewise": {Stream: io.MultiReader(strings.NewReader("a"), strings.NewReader("b")), Length: 2},
		"none":     {},
	} {
		t.Run(name, func(t *testing.T) {
			req.Method, req.Target = "POST", "/"
			want := req.Body
			switch {
			case req.File != nil, req.Stream != nil && name != "bytewise":
				want = big
			case name == "bytewise":
				want = []byte("ab")
			}
			resp := w.do(t, req)
			assert.True(t, resp.Complete)
			assert.True(t, bytes.Equal(want, resp.Body), "%d bytes, not %d", len(resp.Body), len(want))
		})
	}
}

func TestBodyThatIsNotRead(t *testing.T) {
	w := serve(t, func(http.ResponseWriter, *http.Request) {})
	for range 10 {
		resp := w.do(t, &fakehost.Request{Method: "POST", Target: "/", Body: make([]byte, 1<<20), Length: 1 << 20})
		assert.Equal(t, 200, resp.Status)
	}
}

func TestBrokenBodyIsAnError(t *testing.T) {
	w := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	})
	broken := io.MultiReader(strings.NewReader("half"), errReader{})
	w.do(t, &fakehost.Request{Method: "POST", Target: "/", Stream: broken, Length: 100})
}

func TestCloseEndsAReadThatWaits(t *testing.T) {
	w := serve(t, func(w http.ResponseWriter, r *http.Request) {
		read := make(chan error)
		go func() {
			_, err := r.Body.Read(make([]byte, 1))
			read <- err
		}()
		time.Sleep(10 * time.Millisecond)
		r.Body.Close()
		select {
		case err := <-read:
			assert.ErrorIs(t, err, http.ErrBodyReadAfterClose)
		case <-time.After(10 * time.Second):
			t.Error("the reader waits for the client")
		}
	})
	pr, pw := io.Pipe()
	defer pw.Close()
	w.do(t, &fakehost.Request{Method: "POST", Target: "/", Stream: pr, Length: 10})
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestHeadHasLengthButNoBody(t *testing.T) {
	w := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	resp := w.do(t, &fakehost.Request{Method: "HEAD", Target: "/"})
	assert.EqualValues(t, 5, resp.Length)
	assert.Empty(t, resp.Body)
	assert.True(t, resp.Complete)
}

func TestPanics(t *testing.T) {
	w := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "half")
		if r.URL.Path == "/after" {
			w.(http.Flusher).Flush()
		}
		switch r.URL.Query().Get("by") {
		case "abort":
			panic(http.ErrAbortHandler)
		case "goexit":
			runtime.Goexit()
		}
		panic("boom")
	})
	for _, by := range []string{"panic", "abort", "goexit"} {
		t.Run(by, func(t *testing.T) {
			before := w.get(t, "/before?by="+by)
			assert.False(t, before.Complete)
			assert.Zero(t, before.Status, "the head was not sent, the server answers 500")
			after := w.get(t, "/after?by="+by)
			assert.False(t, after.Complete)
			assert.Equal(t, 200, after.Status)
			assert.Equal(t, "half", string(after.Body))
		})
	}
	assert.True(t, w.logged("boom"))
	assert.True(t, w.logged("gateway_test.go"), "the stack is in the log")
	assert.True(t, w.logged("runtime.Goexit"))
}

func TestBadHeadersAre500AndLogged(t *testing.T) {
	w := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()[r.URL.Query().Get("n")] = []string{r.URL.Query().Get("v")}
		_, _ = io.WriteString(w, "body")
	})
	for _, query := range []string{"n=X&v=a%0d%0aSet-Cookie:b", "n=X&v=a%00", "n=A+B&v=x", "n=&v=x"} {
		resp := w.get(t, "/?"+query)
		assert.False(t, resp.Complete, query)
		assert.Zero(t, resp.Status, query)
	}
	assert.True(t, w.logged("control character"))
	assert.True(t, w.logged("not a token"))
}

func TestContentLengthIsHeld(t *testing.T) {
	w := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "5")
		if r.URL.Path == "/short" {
			_, _ = io.WriteString(w, "abc")
			return
		}
		_, err := io.WriteString(w, "abcde")
		assert.NoError(t, err)
		_, err = io.WriteString(w, "f")
		assert.ErrorIs(t, err, http.ErrContentLength)
	})
	long := w.get(t, "/long")
	assert.True(t, long.Complete)
	assert.Equal(t, "abcde", string(long.Body))
	short := w.get(t, "/short")
	assert.False(t, short.Complete)
	assert.True(t, w.logged("Content-Length is 5"))
}

func TestClientThatLeavesCancelsTheContext(t *testing.T) {
	began := make(chan struct{})
	ended := make(chan error, 1)
	w := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		derived, cancel := context.WithTimeout(r.Context(), time.Minute)
		defer cancel()
		<-derived.Done()
		ended <- derived.Err()
	})
	c, err := w.Submit(&fakehost.Request{Method: "GET", Target: "/"})
	require.NoError(t, err)
	<-began
	c.Tell(bridge.HostAbort)
	assert.ErrorIs(t, <-ended, context.Canceled)
	_, err = c.Wait()
	require.NoError(t, err)
}

func TestTimeOutUnblocksReaderAndWriter(t *testing.T) {
	began := make(chan struct{}, 2)
	w := serve(t, func(w http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		if r.Method == "POST" {
			_, err := io.ReadAll(r.Body)
			assert.Error(t, err)
		} else {
			_, err := w.Write(make([]byte, 8<<20))
			assert.ErrorIs(t, err, ErrGone)
		}
		assert.ErrorIs(t, r.Context().Err(), context.DeadlineExceeded)
	})
	pr, pw := io.Pipe()
	defer pw.Close()
	for _, req := range []*fakehost.Request{
		{Method: "GET", Target: "/", Hold: true},
		{Method: "POST", Target: "/", Stream: pr, Length: 10},
	} {
		c, err := w.Submit(req)
		require.NoError(t, err)
		<-began
		time.Sleep(5 * time.Millisecond)
		c.Tell(bridge.HostTimeout)
		_, err = c.Wait()
		require.NoError(t, err)
	}
}

func TestSleepersDelayNobody(t *testing.T) {
	const n = 500
	release := make(chan struct{})
	w := serveConf(t, fakehost.Config{Slots: 1024}, HTTP(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
		}
	}), nil))
	var slow []*fakehost.Call
	for range n {
		c, err := w.Submit(&fakehost.Request{Method: "GET", Target: "/slow"})
		require.NoError(t, err)
		slow = append(slow, c)
		w.get(t, "/fast")
	}
	close(release)
	for _, c := range slow {
		_, err := c.Wait()
		require.NoError(t, err)
	}
}

func TestManyRequestsAtOnce(t *testing.T) {
	w := serveConf(t, fakehost.Config{Slots: 256}, HTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.URL.Path, body)
	}), nil))
	var wg sync.WaitGroup
	for k := range 64 {
		wg.Go(func() {
			for i := range 200 {
				body := strings.Repeat("x", (i*97)%6000)
				path := fmt.Sprintf("/%d/%d", k, i)
				resp, err := w.Do(&fakehost.Request{Method: "POST", Target: path, Body: []byte(body), Length: int64(len(body))})
				if assert.NoError(t, err) {
					assert.Equal(t, path+" "+body, string(resp.Body))
				}
			}
		})
	}
	wg.Wait()
}

func TestFilesGoOutByDescriptor(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "f")
	require.NoError(t, err)
	want := bytes.Repeat([]byte("file content\n"), 10000)
	_, err = f.Write(want)
	require.NoError(t, err)
	w := serve(t, func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(f.Name())
		require.NoError(t, err)
		defer f.Close()
		if r.URL.Path == "/serve" {
			http.ServeContent(w, r, "f.txt", time.Time{}, f)
			return
		}
		n, err := io.Copy(w, f)
		assert.NoError(t, err)
		assert.EqualValues(t, len(want), n)
		at, _ := f.Seek(0, io.SeekCurrent)
		assert.EqualValues(t, len(want), at, "the position is advanced")
	})
	for _, path := range []string{"/copy", "/serve"} {
		resp := w.get(t, path)
		assert.True(t, resp.Complete, path)
		assert.True(t, bytes.Equal(want, resp.Body), path)
	}
	part := w.do(t, &fakehost.Request{Method: "GET", Target: "/serve", Header: [][2]string{{"Range", "bytes=100-59999"}}})
	assert.Equal(t, 206, part.Status)
	assert.True(t, bytes.Equal(want[100:60000], part.Body))
}

func TestLongHeads(t *testing.T) {
	long := strings.Repeat("v", 9000)
	w := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for i := range 10 {
			w.Header().Add("X-Long", fmt.Sprint(i)+r.Header.Get("X-Long"))
		}
		_, _ = io.WriteString(w, "ok")
	})
	resp := w.do(t, &fakehost.Request{Method: "GET", Target: "/", Header: [][2]string{{"X-Long", long}, {"Cookie", long}, {"Cookie", long}}})
	require.True(t, resp.Complete)
	n := 0
	for _, h := range resp.Header {
		if h[0] == "X-Long" {
			assert.Equal(t, fmt.Sprint(n)+long, h[1])
			n++
		}
	}
	assert.Equal(t, 10, n)
	assert.Equal(t, "ok", string(resp.Body))
}

func TestTrailers(t *testing.T) {
	w := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Sum", "42")
		w.Header().Set(http.TrailerPrefix+"X-Late", "yes")
	})
	resp := w.get(t, "/")
	assert.EqualValues(t, -1, resp.Length)
	assert.ElementsMatch(t, [][2]string{{"X-Sum", "42"}, {"X-Late", "yes"}}, resp.Trailers)
}

func TestEarlyHints(t *testing.T) {
	w := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "ok")
	})
	resp := w.get(t, "/")
	assert.Equal(t, []int{103}, resp.Interim)
	assert.Equal(t, 200, resp.Status)
	assert.True(t, resp.Complete)
}

func TestLateUseIsRefused(t *testing.T) {
	var late http.ResponseWriter
	var body io.Reader
	w := serve(t, func(w http.ResponseWriter, r *http.Request) { late, body = w, r.Body })
	w.do(t, &fakehost.Request{Method: "POST", Target: "/", Body: []byte("x"), Length: 1})
	_, err := io.WriteString(late, "late")
	assert.ErrorIs(t, err, ErrOver)
	_, err = body.Read(make([]byte, 1))
	assert.ErrorIs(t, err, http.ErrBodyReadAfterClose)
}

func TestDrainWaitsForRequestsAndMain(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	w := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-release
		assert.NoError(t, r.Context().Err(), "a draining worker leaves contexts alone")
	})
	c, err := w.Submit(&fakehost.Request{Method: "GET", Target: "/"})
	require.NoError(t, err)
	<-began
	w.g.Drain()
	<-w.g.Draining().Done()
	require.NoError(t, w.AwaitState(bridge.AppDraining))
	select {
	case <-w.g.Drained():
		t.Error("drained with a request in flight")
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	_, err = c.Wait()
	require.NoError(t, err)
	<-w.g.Drained()
	assert.Equal(t, bridge.AppDraining, w.Region().AppState.Load(), "main has not ended")
	w.g.MainEnded("")
	require.NoError(t, w.AwaitState(bridge.AppStopped))
}

func TestDrainTakesWhatTheHostStillHas(t *testing.T) {
	w := serve(t, func(http.ResponseWriter, *http.Request) {})
	w.Region().HostOpen.Store(1)
	w.g.Drain()
	time.Sleep(100 * time.Millisecond)
	assert.Equal(t, 200, w.get(t, "/").Status)
	time.Sleep(100 * time.Millisecond)
	select {
	case <-w.g.Drained():
		t.Error("drained while more may come")
	default:
	}
	w.Region().HostOpen.Store(0)
	<-w.g.Drained()
}

func TestStopDoesNotWaitForTheHost(t *testing.T) {
	w := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	w.Region().HostOpen.Store(1)
	w.g.MainEnded("")
	assert.True(t, w.g.Stop(5*time.Second))
}

func TestStopCancelsContexts(t *testing.T) {
	began := make(chan struct{})
	w := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
	})
	c, err := w.Submit(&fakehost.Request{Method: "GET", Target: "/"})
	require.NoError(t, err)
	<-began
	w.g.MainEnded("")
	assert.True(t, w.g.Stop(5*time.Second))
	_, err = c.Wait()
	require.NoError(t, err)
}

func TestMalformedBlockIs500(t *testing.T) {
	w := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the handler ran") })
	resp := w.do(t, &fakehost.Request{Block: []byte{9, 9, 9}})
	assert.False(t, resp.Complete)
	assert.True(t, w.logged("malformed request block"))
}

// TestHeadWaitsForChunks: a head that needs chunks when there is none waits
// for them, whether the handler sends it or has returned.
func TestHeadWaitsForChunks(t *testing.T) {
	for _, flush := range []bool{true, false} {
		run := make(chan struct{})
		w := serveConf(t, fakehost.Config{Chunks: 4}, HTTP(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", 5000))
			<-run
			io.WriteString(w, "hello")
			if flush {
				w.(http.Flusher).Flush()
			}
		}), nil))
		c, err := w.Submit(&fakehost.Request{Method: "GET", Target: "/"})
		if err != nil {
			t.Fatal(err)
		}
		var held []uint32
		for i, ok := w.g.b.GetChunk(); ok; i, ok = w.g.b.GetChunk() {
			held = append(held, i)
		}
		close(run)
		time.Sleep(50 * time.Millisecond)
		for _, i := range held {
			w.g.b.PutChunk(i)
		}
		resp, err := c.Wait()
		if err != nil || resp.Status != http.StatusOK || !resp.Complete || string(resp.Body) != "hello" {
			t.Errorf("flush %v: %v, status %d, complete %v, body %q", flush, err, resp.Status, resp.Complete, resp.Body)
		}
	}
}
