//go:build linux

package module

import (
	"net/http"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gsgi/gsgi/cshim/bridge"
	"github.com/gsgi/gsgi/module/fakehost"
)

// allocated is how many bytes f has the heap give.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// What is there for each slot, used or not, every collection looks through.
func TestSlotsThatAreNotUsedCostNothing(t *testing.T) {
	host, err := fakehost.New(fakehost.Config{Slots: 1 << 15})
	require.NoError(t, err)
	assert.Less(t, allocated(func() {
		g, err := New(Config{Entries: []string{""}}, host.Base())
		require.NoError(t, err)
		require.NoError(t, g.Attach("8080", direct{}))
	}), uint64(64<<10))
	resp, err := host.Do(&fakehost.Request{Method: "GET", Target: "/"})
	require.NoError(t, err)
	assert.Equal(t, 200, resp.Status)
}

func TestEverySlotHasItsState(t *testing.T) {
	const slots = 2*segmentSlots + 1
	table := newSlotTable(slots)
	seen := map[*slotState]bool{}
	for i := range uint32(slots) {
		assert.Nil(t, table.exchange(i))
		s := table.use(i)
		assert.Same(t, s, table.use(i))
		assert.False(t, seen[s])
		seen[s] = true
	}
	x := new(Exchange)
	table.use(slots - 1).live.Store(x)
	assert.Same(t, x, table.exchange(slots-1))
	n := 0
	for got := range table.exchanges {
		assert.Same(t, x, got)
		n++
	}
	assert.Equal(t, 1, n)
}

// The collector runs as often as there are bytes.
func TestBytesPerRequest(t *testing.T) {
	const rounds = 1000
	for _, c := range []struct {
		name string
		h    Handler
		most uint64
	}{{"gateway interface", direct{}, 1024}, {"net/http", HTTP(http.HandlerFunc(webHello), nil), 3072}} {
		run := once(t, &fakehost.Request{Method: "GET", Target: "/", Header: [][2]string{{"Host", "localhost"}}}, c.h)
		run()
		n := allocated(func() {
			for range rounds {
				run()
			}
		}) / rounds
		assert.LessOrEqual(t, n, c.most+16, c.name)
	}
}

// A dispatcher waits a hundred thousand times in a minute.
func TestWaitingAllocatesNothing(t *testing.T) {
	host, err := fakehost.New(fakehost.Config{})
	require.NoError(t, err)
	b, err := bridge.Open(host.Base())
	require.NoError(t, err)
	b.Idle = func() bool { return true }
	assert.Zero(t, testing.AllocsPerRun(100, func() { require.NoError(t, b.Wait(0)) }))
}

// A head that is packed late must not be in the next request's.
func TestHeadOfAnEndedRequest(t *testing.T) {
	var h keeper
	once(t, typical, &h)()
	assert.Nil(t, h.x.out.head.data)
}

type keeper struct {
	direct
	x *Exchange
}

func (k *keeper) ServeGSGI(x *Exchange) {
	k.direct.ServeGSGI(x)
	k.x = x
}
