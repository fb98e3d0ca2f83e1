//go:build linux && cgo

package bridgetest

import (
	"net/http"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gsgi/gsgi/cshim/bridge"
	"github.com/gsgi/gsgi/module"
)

const credit = 64 << 10

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(list)
}

// both runs a test against an event loop and against threads.
func both(t *testing.T, conf Config, handler http.HandlerFunc, run func(t *testing.T, s *Server)) {
	t.Helper()
	for _, ring := range []bool{true, false} {
		name := map[bool]string{true: "loop", false: "threads"}[ring]
		t.Run(name, func(t *testing.T) {
			conf := conf
			conf.Ring = ring
			run(t, serve(t, conf, handler))
		})
	}
}

// serve starts a server with an application. At the end nothing may be left.
func serve(t testing.TB, conf Config, handler http.HandlerFunc) *Server {
	t.Helper()
	s, err := New(conf)
	require.NoError(t, err)
	g, err := module.New(module.Config{Entries: []string{""}, Name: "site"}, s.Base())
	require.NoError(t, err)
	require.NoError(t, g.Attach("8080", module.HTTP(handler, nil)))
	r := s.Region()
	require.Equal(t, bridge.AppReady, r.AppState.Load())
	others := func() int { return goroutines() - int(r.Stats.Dispatchers.Load()) }
	before := others() + 1 // where settled counts
	t.Cleanup(func() {
		left := func() [5]int64 {
			return [5]int64{
				int64(r.SlotsUsed.Load()), int64(s.ChunksUsed()), int64(int32(r.InFlight.Load())),
				int64(int32(r.Abandoned.Load())), int64(r.Stats.Requests.Load() - r.Stats.Released.Load()),
			}
		}
		assert.Eventually(t, func() bool { return left() == [5]int64{} }, 10*time.Second, time.Millisecond)
		assert.Zero(t, left(), "slots, chunks, requests in flight, abandoned, not released")
		settled(t, "goroutines that take no requests", others, before)
		g.Drain()
		g.MainEnded("")
		assert.True(t, g.Stop(10*time.Second), "the application has stopped")
		s.Stop()
	})
	return s
}

// settled waits for a count to come back to what it was.
func settled(t testing.TB, what string, count func() int, most int) {
	t.Helper()
	assert.Eventually(t, func() bool { return count() <= most }, 10*time.Second, 5*time.Millisecond, what)
	if n := count(); n > most {
		t.Errorf("%s: %d, not more than %d were expected", what, n, most)
	}
}

// quiet waits until no request is in its slot any more; then no handler begins.
func quiet(t testing.TB, s *Server) {
	t.Helper()
	settled(t, "slots", func() int { return int(s.Region().SlotsUsed.Load()) }, 0)
}

func goroutines() int { return runtime.NumGoroutine() }
