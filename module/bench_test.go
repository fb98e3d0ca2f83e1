//go:build linux

package module

import (
	"maps"
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

// A request of a browser, 12 headers.
var typical = &fakehost.Request{Method: "GET", Target: "/articles/2026?page=2", Header: [][2]string{
	{"Host", "www.example.com"}, {"User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
	{"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, {"Accept-Language", "en-US,en;q=0.5"},
	{"Accept-Encoding", "gzip, deflate, br"}, {"Referer", "https://www.example.com/articles"},
	{"Cookie", "session=0123456789abcdef0123456789abcdef"}, {"Upgrade-Insecure-Requests", "1"},
	{"Sec-Fetch-Dest", "document"}, {"Sec-Fetch-Mode", "navigate"}, {"Sec-Fetch-Site", "same-origin"}, {"Dnt", "1"}}}

// once returns a function that takes a request from its slot, handles it and
// ends it, inside the gateway: without rings and without the fake host's own
// work.
func once(t testing.TB, req *fakehost.Request, h Handler) func() {
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
	slot := host.Pack(req)
	return func() {
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
		g.slots.use(slot).live.Store(nil)
	}
}

func allocations(t testing.TB, h Handler) float64 {
	return testing.AllocsPerRun(1000, once(t, &fakehost.Request{Method: "GET", Target: "/", Header: [][2]string{
		{"Host", "localhost"}, {"User-Agent", "test"}, {"Accept", "*/*"}}}, h))
}

func benchmark(b *testing.B, h Handler) {
	run := once(b, typical, h)
	b.ReportAllocs()
	for b.Loop() {
		run()
	}
}

func BenchmarkHello(b *testing.B) { benchmark(b, direct{}) }

func BenchmarkHelloHTTP(b *testing.B) { benchmark(b, HTTP(http.HandlerFunc(webHello), nil)) }

// BenchmarkEnviron looks keys up as an application does.
func BenchmarkEnviron(b *testing.B) { benchmark(b, environReader{}) }

type environReader struct{ direct }

func (e environReader) ServeGSGI(x *Exchange) {
	for _, key := range []string{"REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "HTTP_COOKIE", "HTTP_ABSENT"} {
		x.Block().Environ(key)
	}
	e.direct.ServeGSGI(x)
}

// BenchmarkEnvironAll makes a map of all of it, as WSGI's.
func BenchmarkEnvironAll(b *testing.B) { benchmark(b, environCopier{}) }

type environCopier struct{ direct }

func (e environCopier) ServeGSGI(x *Exchange) {
	_ = maps.Collect(x.Block().EnvironAll())
	e.direct.ServeGSGI(x)
}

// BenchmarkParse is the packed block alone.
func BenchmarkParse(b *testing.B) {
	data := fakehost.Block(typical)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		var block Block
		if err := block.parse(data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkResponse writes a head of 10 headers and 2 KB in small pieces.
func BenchmarkResponse(b *testing.B) {
	piece := make([]byte, 100)
	benchmark(b, HTTP(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		for _, name := range responseNames {
			h.Set(name, "a value of some length")
		}
		for range 20 {
			_, _ = w.Write(piece)
		}
	}), nil))
}

var responseNames = []string{"Content-Type", "Cache-Control", "Etag", "Last-Modified", "Vary", "X-Frame-Options",
	"X-Content-Type-Options", "Referrer-Policy", "Content-Language", "Set-Cookie"}

func TestAllocationsPerRequest(t *testing.T) {
	if n := allocations(t, direct{}); n > 1 {
		t.Errorf("gateway interface: %v allocations, want at most 1", n)
	} else {
		t.Logf("gateway interface: %v", n)
	}
	if n := allocations(t, HTTP(http.HandlerFunc(webHello), nil)); n > 7 {
		t.Errorf("net/http: %v allocations, want at most 7", n)
	} else {
		t.Logf("net/http: %v", n)
	}
}
