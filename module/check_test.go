//go:build linux

package module

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gsgi/gsgi/cshim/bridge"
	"github.com/gsgi/gsgi/module/fakehost"
)

// TestOnly: a program that serves one entry is not waited for.
func TestOnly(t *testing.T) {
	for only, want := range map[bool]time.Duration{false: glances * glance, true: 0} {
		synctest.Test(t, func(t *testing.T) {
			told := make(chan []string, 1)
			g := newGateway(Config{StartTimeout: time.Minute}, Checking)
			g.report = func(entries []string, _ error) { told <- entries }
			if only {
				g.Only()
			}
			begin := time.Now()
			if err := g.Attach("", direct{}); err != nil {
				t.Fatal(err)
			}
			entries := <-told
			if waited := time.Since(begin); len(entries) != 1 || waited < want || waited > want+5*glance {
				t.Errorf("only %v: the entries %q after %v, not %v", only, entries, waited, want)
			}
		})
	}
}

// TestCheckIsOverInTime: the host gives a check up after the start time-out.
func TestCheckIsOverInTime(t *testing.T) {
	for _, limit := range []time.Duration{time.Second, 30 * time.Second} {
		for _, first := range []time.Duration{0, limit / 4} {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				told := make(chan []string, 1)
				g := newGateway(Config{StartTimeout: limit, Entries: []string{"a", "b"}}, Checking)
				g.report = func(entries []string, _ error) { told <- entries }
				time.Sleep(first)
				assert.NoError(t, g.Attach("a", direct{}))
				assert.Equal(t, []string{"a"}, <-told)
				assert.Less(t, time.Since(begin), limit*9/10)
			})
		}
	}
}

// A worker is not ready at once when an entry comes a little later than main
// serves.
func TestReadyWaitsForALateEntry(t *testing.T) {
	host, err := fakehost.New(fakehost.Config{})
	require.NoError(t, err)
	g, err := New(Config{Entries: []string{"a", "b"}, StartTimeout: time.Minute}, host.Base())
	require.NoError(t, err)
	h := HTTP(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), nil)
	require.NoError(t, g.Attach("a", h))
	g.Arrived()
	time.AfterFunc(800*time.Millisecond, func() { g.Attach("b", h) })
	require.NoError(t, host.AwaitState(bridge.AppReady))
	resp, err := host.Do(&fakehost.Request{Method: "GET", Target: "/", Entry: 1})
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, resp.Status)
}
