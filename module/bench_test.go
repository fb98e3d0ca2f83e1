//go:build linux

package module

import (
	"net/http"
	"testing"

	"github.com/gsgi/gsgi/cshim/bridge"
	"github.com/gsgi/gsgi/module/fakehost"
)

type direct struct{}

var directHeader = [][2]string{{"Content-Type", "text/plain"}}
var hello = []byte("hello, world\n")

func (direct) ServeGSGI(x *Exchange) {
	_ = x.WriteHead(200, directHeader, int64(len(hello)))
	_, _ = x.Write(hello)
}

func webHello(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write(hello)
}

// allocations of a request inside the gateway, without the fake host's.
func allocations(t testing.TB, h Handler) float64 {
	host, err := fakehost.New(fakehost.Config{})
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(Config{Entries: []string{""}}, host.Base())
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Attach("8080", h); err != nil {
		t.Fatal(err)
	}
	req := &fakehost.Request{Method: "GET", Target: "/", Header: [][2]string{
		{"Host", "localhost"}, {"User-Agent", "test"}, {"Accept", "*/*"}}}
	slot := host.Pack(req)
	return testing.AllocsPerRun(1000, func() {
		host.Rearm(slot)
		x, err := g.take(slot)
		if err != nil {
			t.Fatal(err)
		}
		g.handle(x)
		x.in.finish()
		if x.out.finish(nil)&bridge.CQEnd == 0 {
			t.Fatal("not ended")
		}
		g.live[slot].Store(nil)
	})
}

func TestAllocationsPerRequest(t *testing.T) {
	if n := allocations(t, direct{}); n > 3 {
		t.Errorf("gateway interface: %v allocations, want at most 3", n)
	} else {
		t.Logf("gateway interface: %v", n)
	}
	if n := allocations(t, HTTP(http.HandlerFunc(webHello), nil)); n > 14 {
		t.Errorf("net/http: %v allocations, want at most 14", n)
	} else {
		t.Logf("net/http: %v", n)
	}
}
