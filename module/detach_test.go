//go:build linux

package module

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gsgi/gsgi/cshim/bridge"
	"github.com/gsgi/gsgi/module/fakehost"
)

// detached hands exchanges on to a goroutine of its own.
type detached struct{ out chan *Exchange }

func (d detached) ServeGSGI(x *Exchange) {
	x.Detach()
	d.out <- x
}

func packed(t *testing.T, pairs ...string) ([]byte, uint32) {
	t.Helper()
	var e entries
	for i := 0; i < len(pairs); i += 2 {
		require.Empty(t, e.add(pairs[i], pairs[i+1]))
	}
	return e.data, e.count
}

func detachedCall(t *testing.T, req *fakehost.Request) (world, *fakehost.Call, *Exchange) {
	t.Helper()
	d := detached{make(chan *Exchange, 1)}
	w := serveConf(t, fakehost.Config{}, d)
	c, err := w.Submit(req)
	require.NoError(t, err)
	return w, c, <-d.out
}

func TestDetachedExchangeEndsWithFinish(t *testing.T) {
	w, c, x := detachedCall(t, &fakehost.Request{Method: "POST", Target: "/", Body: []byte("body")})
	body, ok := x.InlineBody()
	assert.True(t, ok)
	assert.Equal(t, "body", string(body))
	assert.EqualValues(t, 4, x.BodyLength())
	assert.Equal(t, 1, w.SlotsUsed(), "ServeGSGI has returned, the request goes on")
	head, n := packed(t, "X-One", "1", "Set-Cookie", "a", "Set-Cookie", "b")
	require.NoError(t, x.WritePacked(201, head, n, 5))
	assert.Error(t, x.WritePacked(200, head, n, 5))
	_, err := x.Write([]byte("hello"))
	require.NoError(t, err)
	x.Begun(uint64(1) << 62)
	x.Finish()
	resp, err := c.Wait()
	require.NoError(t, err)
	assert.Equal(t, 201, resp.Status)
	assert.Equal(t, "hello", string(resp.Body))
	assert.Equal(t, [][2]string{{"X-One", "1"}, {"Set-Cookie", "a"}, {"Set-Cookie", "b"}}, resp.Header)
	assert.True(t, resp.Complete)
	_, err = x.Write([]byte("late"))
	assert.ErrorIs(t, err, ErrOver)
}

func TestLastBlockIsToldWithTheEnd(t *testing.T) {
	block := []byte(strings.Repeat("x", inlineMax+1))
	for _, last := range []bool{true, false} {
		w, c, x := detachedCall(t, &fakehost.Request{Method: "GET", Target: "/"})
		require.True(t, x.CanWrite(len(block)))
		require.False(t, x.CanWrite(1<<30))
		require.NoError(t, x.WritePacked(200, nil, 0, int64(len(block))))
		before := w.Region().CQTail.Load()
		_, err := x.WriteBlock(block, last)
		require.NoError(t, err)
		assert.Equal(t, last, w.Region().CQTail.Load() == before)
		x.Finish()
		resp, err := c.Wait()
		require.NoError(t, err)
		assert.Equal(t, string(block), string(resp.Body))
		assert.True(t, resp.Complete)
	}
}

func TestInterimOfADetachedExchange(t *testing.T) {
	_, c, x := detachedCall(t, &fakehost.Request{Method: "GET", Target: "/"})
	head, n := packed(t, "Link", "</a>; rel=preload")
	require.NoError(t, x.Interim(103, head, n))
	assert.Error(t, x.Interim(200, nil, 0))
	require.NoError(t, x.WritePacked(204, nil, 0, -1))
	x.Finish()
	resp, err := c.Wait()
	require.NoError(t, err)
	assert.Equal(t, []int{103}, resp.Interim)
	assert.Equal(t, 204, resp.Status)
}

func TestPartOfAFileDoesNotWait(t *testing.T) {
	text := strings.Repeat("0123456789", 100000)
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	for _, flags := range []uint32{0, bridge.ReqSendfile} {
		f, err := os.Open(name)
		require.NoError(t, err)
		_, c, x := detachedCall(t, &fakehost.Request{Method: "GET", Target: "/", Flags: flags, Hold: flags != 0})
		require.NoError(t, x.WritePacked(200, nil, 0, 500000))
		n, err := x.SendPart(int(f.Fd()), 5, 500000)
		require.NoError(t, err)
		assert.EqualValues(t, 500000, n)
		require.NoError(t, f.Close()) // the server has its own
		x.Finish()
		if flags != 0 {
			time.Sleep(10 * time.Millisecond)
			c.Resume()
		}
		resp, err := c.Wait()
		require.NoError(t, err)
		assert.Equal(t, text[5:500005], string(resp.Body))
		assert.True(t, resp.Complete)
	}
}

func TestGoneTellsWhy(t *testing.T) {
	_, c, x := detachedCall(t, &fakehost.Request{Method: "GET", Target: "/"})
	gone, timeout := x.Gone()
	assert.False(t, gone || timeout)
	c.Tell(bridge.HostTimeout)
	gone, timeout = x.Gone()
	assert.True(t, gone && timeout)
	x.Cut(nil)
	x.Finish()
	_, err := c.Wait()
	require.NoError(t, err)
}

func TestRetireAsksTheHost(t *testing.T) {
	d := detached{make(chan *Exchange, 1)}
	w := serveConf(t, fakehost.Config{}, d)
	assert.Zero(t, w.Region().Retire.Load())
	w.g.Retire("worn out")
	assert.EqualValues(t, 1, w.Region().Retire.Load())
	assert.Eventually(t, func() bool { return w.logged("worn out") }, 5*time.Second, time.Millisecond)
}
