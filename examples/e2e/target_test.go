package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The protocols.
const (
	h1  = "HTTP1"
	h1s = "HTTP1 TLS"
	h2  = "HTTP2"
	h2c = "HTTP2 cleartext"
)

// A target is a server that is asked in one protocol.
type target struct {
	*server
	protocol string
}

type way struct {
	kind, protocol string
}

// plainWays are what every case goes, starredWays what the central ones go.
var (
	plainWays   = []way{{nginx, h1}, {event, h1}}
	starredWays = []way{
		{nginx, h1}, {nginx, h2},
		{event, h1}, {event, h2}, {event, h2c},
		{worker, h1}, {worker, h2},
		{prefork, h1},
	}
)

// shared are the servers with the standard configuration, started when first
// needed and stopped at the end of the run.
var shared = struct {
	sync.Mutex
	servers map[string]*server
}{servers: make(map[string]*server)}

// sharedServer is for one test of a kind at a time.
func sharedServer(t *testing.T, kind string) *server {
	t.Helper()
	shared.Lock()
	s := shared.servers[kind]
	shared.Unlock()
	if s != nil {
		return s
	}
	s, err := prepareServer(kind, standard(kind))
	if err == nil {
		err = s.start()
	}
	if err != nil {
		t.Fatal(err)
	}
	shared.Lock()
	shared.servers[kind] = s
	shared.Unlock()
	s.warm(t)
	return s
}

func stopShared() error {
	var errs []error
	for _, s := range shared.servers {
		errs = append(errs, s.stop(), s.clean())
	}
	return errors.Join(errs...)
}

// each runs f against shared servers: side by side, but for the protocols of
// one server, whose cases look at what the server holds.
func each(t *testing.T, ways []way, f func(t *testing.T, x *target)) {
	var kinds []string
	for _, way := range ways {
		if !slices.Contains(kinds, way.kind) {
			kinds = append(kinds, way.kind)
		}
	}
	everyServer(t, kinds, func(t *testing.T, kind string) {
		for _, way := range ways {
			if way.kind != kind {
				continue
			}
			t.Run(way.protocol, func(t *testing.T) {
				f(t, &target{server: sharedServer(t, kind), protocol: way.protocol})
			})
		}
	})
}

// run is one case: the worker must hold afterwards what it held before, and
// the log is shown when the case fails.
func (x *target) run(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		mark := x.log.mark()
		t.Cleanup(func() {
			x.noLeak(t)
			if t.Failed() {
				t.Logf("log of %s:\n%s", x.kind, clip(x.log.since(mark), 8000))
			}
		})
		f(t)
	})
}

func (x *target) url(path string) string {
	if x.protocol == h2 || x.protocol == h1s {
		return "https://" + x.tls + path
	}
	return "http://" + x.plain + path
}

// transport returns a transport for the target's protocol; its connections
// are closed at the end of the test, whatever they are at then.
func (x *target) transport(t *testing.T) *http.Transport {
	var mu sync.Mutex
	var conns []net.Conn
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			c.Close()
		}
	})
	tr := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				conns = append(conns, c)
			}
			return c, err
		},
		DisableCompression:  true,
		DisableKeepAlives:   x.kind == prefork,
		MaxIdleConnsPerHost: 1000,
		Protocols:           new(http.Protocols),
		TLSClientConfig:     &tls.Config{RootCAs: world.roots, ServerName: "localhost"},
	}
	switch x.protocol {
	case h1, h1s:
		tr.Protocols.SetHTTP1(true)
	case h2:
		tr.Protocols.SetHTTP2(true)
	case h2c:
		tr.Protocols.SetUnencryptedHTTP2(true)
	}
	return tr
}

// client does not follow redirects and gives up after a minute.
func (x *target) client(t *testing.T) *http.Client {
	return &http.Client{
		Transport: x.transport(t),
		Timeout:   time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}

// An answer is a response with its body.
type answer struct {
	*http.Response
	body string
	err  error // reading the body
}

// do sends a request and reads the whole answer.
func (x *target) do(t *testing.T, req *http.Request) *answer {
	t.Helper()
	a := <-x.later(t, req)
	if a.Response == nil {
		t.Fatal(a.err)
	}
	return a
}

// later sends a request and gives its answer when it has come, one without
// Response where none came.
func (x *target) later(t *testing.T, req *http.Request) <-chan *answer {
	client := x.client(t)
	c := make(chan *answer, 1)
	go func() {
		res, err := client.Do(req)
		if err != nil {
			c <- &answer{err: err}
			return
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		c <- &answer{res, string(body), err}
	}()
	return c
}

// fetch is later for a path.
func (x *target) fetch(t *testing.T, path string) <-chan *answer {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, x.url(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	return x.later(t, req)
}

// ask sends a request of a method, a target and a body.
func (x *target) ask(t *testing.T, method, path, body string) *answer {
	t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, x.url(path), r)
	if err != nil {
		t.Fatal(err)
	}
	return x.do(t, req)
}

// page fetches a path.
func (x *target) page(t *testing.T, path string) *answer {
	t.Helper()
	return x.ask(t, http.MethodGet, path, "")
}

// dialAddr is where raw connections go.
func (s *server) dial(t *testing.T) *wire {
	t.Helper()
	return dialWire(t, s.plain)
}

func dialWire(t *testing.T, addr string) *wire {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return newWire(t, c)
}

func withCancel() (context.Context, context.CancelFunc) {
	return context.WithCancel(context.Background())
}
