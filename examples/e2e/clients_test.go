package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// impatient gives a server that waits a second for its clients.
func impatient(kind string) setup {
	if kind == nginx {
		return setup{
			main: "client_header_timeout 1s; client_body_timeout 1s; send_timeout 1s; large_client_header_buffers 4 8k;",
			server: `location / { gsgi_pass site:8080; }
				location /stream/ { gsgi_pass site:8080; gsgi_script_name /stream; gsgi_request_buffering off; }`,
		}
	}
	return setup{
		main: "LoadModule reqtimeout_module @MODS@/mod_reqtimeout.so\nTimeout 1\nRequestReadTimeout handshake=0 header=1 body=1\n",
		server: locationConf(kind, "/", "", "") + `<Location /stream>
				GSGIPass site:8080
				GSGIScriptName /stream
				GSGIRequestBuffering off
			</Location>`,
	}
}

// A failure is a conversation that goes wrong.
type failure struct {
	name string
	talk func(*failing) string // gives what the client got

	nginx, apache seen
}

// seen is what there is to see of a failure, as regular expressions: what the
// handler tells, "" when none runs, what the client gets, and what the logs of
// errors and of access say. PATH is the request's path there, PORT the
// client's port.
type seen struct{ handler, client, log string }

// failing is a failure that happens to a server.
type failing struct {
	t *testing.T
	*server
	g       *gate
	path    string
	port    string
	visitor *visitor
	told    string // what it has said
}

// begin sends a request, or a part of it. PATH is that of a handler that waits
// behind the gate.
func (f *failing) begin(text string) *wire {
	w := f.dial(f.t)
	f.port = port(w.LocalAddr().String())
	for _, mount := range []string{"", "/stream"} {
		path := mount + "/witness?" + f.g.query("x")
		if strings.Contains(text, " "+mount+"PATH ") {
			f.path = path
		}
		text = strings.ReplaceAll(text, " "+mount+"PATH ", " "+path+" ")
	}
	w.send("%s", text)
	return w
}

// arrived waits for the handler.
func (f *failing) arrived() { f.visitor = f.g.next() }

// stalls sends no more, and reads what comes.
func stalls(text string) func(*failing) string {
	return func(f *failing) string { return f.begin(text).rest() }
}

// halves ends the client's half of the connection.
func halves(text string) func(*failing) string {
	return func(f *failing) string {
		w := f.begin(text)
		time.Sleep(50 * time.Millisecond)
		w.Conn.(interface{ CloseWrite() error }).CloseWrite()
		return w.rest()
	}
}

// leaves ends the connection.
func leaves(text string, handler bool) func(*failing) string {
	return func(f *failing) string {
		w := f.begin(text)
		if handler {
			f.arrived()
		}
		time.Sleep(50 * time.Millisecond)
		w.Close()
		return ""
	}
}

const (
	get      = "GET PATH HTTP/1.1\r\nHost: localhost\r\n\r\n"
	sized    = " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc"
	chunked  = " HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc"
	badChunk = " HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n"
)

// drinks takes some of a response that has no end. The client then reads no
// more for as long as the handler writes, or leaves.
func drinks(stay bool) func(*failing) string {
	return func(f *failing) string {
		w := f.begin("GET /witness?write=1&" + f.g.query("x") + " HTTP/1.1\r\nHost: localhost\r\n\r\n")
		f.path = "/witness?write=1&" + f.g.query("x")
		io.CopyN(io.Discard, w.in, 10_000)
		if !stay {
			w.Close()
			return ""
		}
		f.arrived()
		for f.visitor.says() != "write "+hasLeft {
		}
		text := w.rest()
		return fmt.Sprint("ended by a last chunk: ", strings.HasSuffix(text, "\r\n0\r\n\r\n"))
	}
}

// hasLeft is what a handler gets that writes when the client has left.
const hasLeft = "gsgi: the client has gone"

// overHTTP2 sends a request with a body that does not come to its end, and
// gives up when the handler runs and leave says so.
func overHTTP2(mount, query string, body, leave bool) func(*failing) string {
	return func(f *failing) string {
		x := &target{f.server, h2}
		f.path = mount + "/witness?" + query + f.g.query("x")
		method, in := http.MethodGet, io.Reader(nil)
		if body {
			r, w := io.Pipe()
			defer w.CloseWithError(io.ErrUnexpectedEOF) // not an end
			go io.WriteString(w, "abc")
			method, in = http.MethodPost, r
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, method, x.url(f.path), in)
		if err != nil {
			f.t.Fatal(err)
		}
		answered := make(chan string, 1)
		go func() {
			res, err := x.client(f.t).Do(req)
			if err != nil {
				answered <- err.Error()
				return
			}
			defer res.Body.Close()
			if query != "" { // the response has no end
				io.CopyN(io.Discard, res.Body, 10_000)
				f.arrived()
				if leave {
					cancel()
				}
				for f.visitor.says() != "write "+hasLeft {
				}
			}
			_, err = io.Copy(io.Discard, res.Body)
			answered <- fmt.Sprint(res.StatusCode, " ", err)
		}()
		if leave && query == "" {
			f.arrived()
			time.Sleep(50 * time.Millisecond)
			cancel()
		}
		return <-answered
	}
}

// large sends fields that are too large.
func largeOverHTTP2(f *failing) string {
	x := &target{f.server, h2}
	req, err := http.NewRequest(http.MethodGet, x.url("/hello"), nil)
	if err != nil {
		f.t.Fatal(err)
	}
	for i := range 12 {
		req.Header.Set(fmt.Sprint("X-Large-", i), strings.Repeat("x", 10_000))
	}
	a := <-x.later(f.t, req)
	if a.Response == nil {
		return a.err.Error()
	}
	return a.Status
}

// floods is an upgraded connection whose client leaves, or takes no more.
func floods(stay bool) func(*failing) string {
	return func(f *failing) string {
		w := f.dial(f.t)
		f.port = port(w.LocalAddr().String())
		f.path = "/raw?mode=flood&" + f.g.query("x")
		w.send("GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n", f.path)
		f.arrived()
		io.CopyN(io.Discard, w.in, 10_000)
		if stay {
			f.told = f.visitor.says()
		}
		w.Close()
		return ""
	}
}

var failures = []failure{
	{"a stall in the request line", stalls("GET /hel"),
		seen{"", `^$`, `client timed out .*while reading client request line`},
		seen{"", `^(HTTP/1.1 408 .*)?$`, `:PORT\] AH01382: Request header read timeout`}},
	{"a stall in the head", stalls("GET /hello HTTP/1.1\r\nHost: loc"),
		seen{"", `^$`, `client timed out .*while reading client request headers`},
		seen{"", `^HTTP/1.1 408 `, `:PORT\] AH01382: Request header read timeout`}},
	{"a stall in a body", stalls("POST /streamPATH" + sized),
		seen{"body 3 late; context canceled", `^$`, `^408\|POST PATH `},
		seen{"body 3 late; not cancelled", `^HTTP/1.1 200 (?s:.*)Connection: (Upgrade, )?close`, `:PORT\] GSGI0204: `}},
	{"a stall in a chunked body", stalls("POST /streamPATH" + chunked),
		seen{"body 3 late; context canceled", `^$`, `^408\|POST PATH `},
		seen{"body 3 late; not cancelled", `^HTTP/1.1 200 (?s:.*)Connection: (Upgrade, )?close`, `:PORT\] GSGI0204: `}},
	{"a stall in a body that is received first", stalls("POST PATH" + sized),
		seen{"", `^$`, `^408\|POST PATH `},
		seen{"", `^HTTP/1.1 408 `, `:PORT\] GSGI0202: `}},
	{"a stall in a chunked body that is received first", stalls("POST PATH" + chunked),
		seen{"", `^$`, `^408\|POST PATH `},
		seen{"", `^HTTP/1.1 408 `, `:PORT\] GSGI0202: `}},
	{"a stall in the response", drinks(true),
		seen{"context canceled", `a last chunk: false`, `client timed out .*while sending to client.*PATH `},
		seen{"context canceled", `a last chunk: false`, `^200\|GET PATH `}},
	{"a stall in a body, HTTP/2", overHTTP2("/stream", "", true, false),
		seen{"body 3 late; context canceled", `PROTOCOL_ERROR`, `^408\|POST PATH `},
		seen{"body 3 late; not cancelled", `^200 <nil>$`, `GSGI0205: the client has stalled after 3 bytes`}},
	{"a stall in a body that is received first, HTTP/2", overHTTP2("", "", true, false),
		seen{"", `PROTOCOL_ERROR`, `client timed out.*PATH `},
		seen{"", `^408 `, `^408\|POST PATH `}},
	{"a stall in the response, HTTP/2", overHTTP2("", "write=1&", false, false),
		seen{"context canceled", `^200 .*PROTOCOL_ERROR`, `client timed out .*while sending to client.*PATH `},
		seen{"context canceled", `^200 .*(GOAWAY|stream error|EOF)`, `^200\|GET PATH `}},

	{"the client leaves in the request line", leaves("GET /hel", false),
		seen{"", ``, `client prematurely closed connection while reading client request line`},
		seen{"", ``, ``}},
	{"the client leaves in the head", leaves("GET /hello HTTP/1.1\r\nHost: loc", false),
		seen{"", ``, `client prematurely closed connection while reading client request headers`},
		seen{"", ``, ``}},
	{"the client leaves before the head of the response", leaves(get, true),
		seen{"body 0 whole; context canceled", ``, `client prematurely closed connection.*PATH `},
		seen{"body 0 whole; context canceled", ``, `:PORT\] GSGI0301: `}},
	{"the client leaves in a body", leaves("POST /streamPATH"+sized, true),
		seen{"body 3 cut; context canceled", ``, `^499\|POST PATH `},
		seen{"body 3 cut; context canceled", ``, `:PORT\] GSGI0204: `}},
	{"the client leaves in a chunked body", leaves("POST /streamPATH"+chunked, true),
		seen{"body 3 cut; context canceled", ``, `^499\|POST PATH `},
		seen{"body 3 cut; context canceled", ``, `:PORT\] GSGI0204: `}},
	{"the client leaves in the response", drinks(false),
		seen{"body 0 whole; write " + hasLeft + "; context canceled", ``, `^(200|499)\|GET PATH `},
		seen{"body 0 whole; write " + hasLeft + "; context canceled", ``, `^200\|GET PATH `}},
	{"a stall in an upgrade", floods(true),
		seen{"failed write tcp .*", ``, `client timed out .*PATH `},
		seen{"failed write tcp .*", ``, `:PORT\] GSGI0305: `}},
	{"the client leaves in an upgrade", floods(false),
		seen{"failed write tcp .*", ``, `^101\|GET PATH `},
		seen{"failed write tcp .*", ``, `^101\|GET PATH `}},
	{"a reset before the head of the response", overHTTP2("", "", false, true),
		seen{"body 0 whole; context canceled", `context canceled`, `^499\|GET PATH `},
		seen{"body 0 whole; context canceled", `context canceled`, `GSGI0301: `}},
	{"a reset in a body", overHTTP2("/stream", "", true, true),
		seen{"body 3 cut; context canceled", `context canceled`, `^499\|POST PATH `},
		seen{"body 3 cut; context canceled", `context canceled`, `GSGI0301: `}},
	{"a reset in the response", overHTTP2("", "write=1&", false, true),
		seen{"context canceled", `context canceled`, `^(200|499)\|GET PATH `},
		seen{"context canceled", `context canceled`, `^200\|GET PATH `}},

	{"half a connection in a body", halves("POST /streamPATH" + sized),
		seen{"body 3 cut; context canceled", `^$`, `client prematurely closed connection.*PATH `},
		seen{"body 3 cut; context canceled", `^$`, `:PORT\] GSGI0204: `}},
	{"half a connection in a chunked body", halves("POST /streamPATH" + chunked),
		seen{"body 3 cut; context canceled", `^$`, `client prematurely closed connection.*PATH `},
		seen{"body 3 cut; context canceled", `^$`, `:PORT\] GSGI0204: `}},
	{"half a connection in a body that is received first", halves("POST PATH" + sized),
		seen{"", `^$`, `client prematurely closed connection.*PATH `},
		seen{"", `^HTTP/1.1 400 `, `:PORT\] GSGI0202: `}},
	{"a malformed chunk", stalls("POST /streamPATH" + badChunk),
		seen{"body 0 cut; context canceled", `^HTTP/1.1 400 `, `client sent invalid chunked body.*PATH `},
		seen{"body 3 cut; not cancelled", `^HTTP/1.1 200 (?s:.*)Connection: (Upgrade, )?close`, `:PORT\] GSGI0204: `}},
	{"a malformed chunk in a body that is received first", stalls("POST PATH" + badChunk),
		seen{"", `^HTTP/1.1 400 `, `client sent invalid chunked body.*PATH `},
		seen{"", `^HTTP/1.1 400 `, `:PORT\] AH01590: Error reading/parsing chunk`}},
	{"fields that are too large", stalls("GET /hello HTTP/1.1\r\nHost: localhost\r\nX-A: " + strings.Repeat("x", 9000) + "\r\n\r\n"),
		seen{"", `^HTTP/1.1 400 `, `client sent too long header line`},
		seen{"", `^HTTP/1.1 400 `, `AH00561: Request header exceeds LimitRequestFieldSize`}},
	{"a target that is too large", stalls("GET /hello?" + strings.Repeat("x", 9000) + " HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		seen{"", `^HTTP/1.1 414 `, `client sent too long URI`},
		seen{"", `^HTTP/1.1 414 `, `AH00565: request failed`}},
	{"fields that are too large, HTTP/2", largeOverHTTP2,
		seen{"", `.`, `client sent too (long|large) `},
		seen{"", `^4\d\d |stream error`, ``}},
}

func TestFailuresOfClients(t *testing.T) {
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		s := launch(t, kind, impatient(kind))
		t.Run("all at a time", func(t *testing.T) {
			var wg sync.WaitGroup
			for _, c := range failures {
				wg.Go(func() { s.suffer(t, c) }) // most of them is waiting
			}
			wg.Wait()
		})
		s.noLeak(t)
		assert.NotContains(t, s.log.since(0), "Unknown error")
		assert.Equal(t, "hello\n", (&target{s, h1}).page(t, "/hello").body)
	})
}

// suffer has a conversation with the server, and checks what is seen of it.
func (s *server) suffer(t *testing.T, c failure) {
	want := c.apache
	if s.kind == nginx {
		want = c.nginx
	}
	f := &failing{t: t, server: s, g: newGate(t)}
	got := c.talk(f)
	assert.Regexp(t, want.client, got, "%s: what the client gets", c.name)
	if want.handler == "" {
		f.g.none(100 * time.Millisecond)
	} else {
		if f.visitor == nil {
			f.arrived()
		}
		text, err := io.ReadAll(f.visitor.in)
		assert.NoError(t, err, c.name)
		lines := strings.ReplaceAll(strings.TrimSpace(f.told+string(text)), "\n", "; ")
		assert.Regexp(t, "^("+want.handler+")$", lines, "%s: what the handler sees", c.name)
	}
	expression := strings.NewReplacer("PATH", regexp.QuoteMeta(f.path), "PORT", f.port).Replace(want.log)
	if !s.says(expression) {
		t.Errorf("%s: no log says %q", c.name, expression)
	}
}

// says waits for a line in one of the server's logs.
func (s *server) says(expression string) bool {
	re := regexp.MustCompile("(?m)" + expression)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if re.MatchString(s.log.since(0)) || re.MatchString((&logFile{s.dir + "/access.log"}).since(0)) {
			return true
		}
	}
	return false
}

// TestResetBodiesAreNotWhole resets HTTP/2 streams in their bodies, with and
// without a Content-Length, and their connections, in a server that has one
// processor: mod_http2 ends the body of such a stream as if it were whole, and
// aborts it a moment later.
func TestResetBodiesAreNotWhole(t *testing.T) {
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		s := launch(t, kind, impatient(kind))
		status, err := os.ReadFile("/proc/self/status")
		require.NoError(t, err)
		first := regexp.MustCompile(`Cpus_allowed_list:\s*(\d+)`).FindSubmatch(status)
		require.NotNil(t, first)
		for _, pid := range s.workers() {
			out, err := exec.Command("taskset", "-acp", string(first[1]), strconv.Itoa(pid)).CombinedOutput()
			require.NoError(t, err, "%s", out)
		}
		x := &target{s, h2}
		var wg sync.WaitGroup
		for k := range 4 {
			f := &failing{t: t, server: s, g: newGate(t)}
			client := x.tidyClient(t)
			conns := caught(client)
			wg.Go(func() {
				defer client.CloseIdleConnections()
				for i := range 250 {
					text := f.breaksOff(client, []int64{-1, 9}[(k+i)%2], func(cancel func()) {
						if i%50 == 49 {
							(<-conns).Close()
						} else {
							cancel()
						}
					})
					assert.Regexp(t, `^body \d (cut|`+hasLeft+`)$`, text, "request %d", i)
				}
			})
		}
		wg.Wait()
		x.resetBuffered(t)
		s.noLeak(t)
	})
}

// tidyClient closes its connections, also those that are not idle yet when it
// is told so: their last request has just been cancelled.
func (x *target) tidyClient(t *testing.T) *http.Client {
	client := x.client(t)
	client.Transport.(*http.Transport).IdleConnTimeout = time.Second
	return client
}

// resetBuffered does so with bodies that the server receives first: no handler
// runs.
func (x *target) resetBuffered(t *testing.T) {
	g := newGate(t)
	var wg sync.WaitGroup
	for range 4 {
		client := x.tidyClient(t)
		wg.Go(func() {
			defer client.CloseIdleConnections()
			for range 250 {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Millisecond)
				r, w := io.Pipe()
				go io.WriteString(w, "abc")
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, x.url("/witness?"+g.query("x")), r)
				if assert.NoError(t, err) {
					_, err = client.Do(req)
					assert.ErrorIs(t, err, context.DeadlineExceeded)
				}
				w.CloseWithError(io.ErrUnexpectedEOF) // not an end
				cancel()
			}
			if res, err := client.Get(x.url("/hello")); assert.NoError(t, err) {
				_, err = io.Copy(io.Discard, res.Body)
				assert.NoError(t, errors.Join(err, res.Body.Close()))
			}
		})
	}
	wg.Wait()
	g.none(200 * time.Millisecond)
}

// caught gives the connections that a client makes.
func caught(client *http.Client) <-chan net.Conn {
	conns := make(chan net.Conn, 1)
	tr := client.Transport.(*http.Transport)
	dial := tr.DialContext
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err == nil {
			conns <- c
		}
		return c, err
	}
	return conns
}

// breaksOff sends a part of a body, and leaves when the handler runs. It gives
// what the handler says of the body.
func (f *failing) breaksOff(client *http.Client, length int64, leave func(cancel func())) string {
	x := &target{f.server, h2}
	ctx, cancel := context.WithCancel(f.t.Context())
	defer cancel()
	r, w := io.Pipe()
	defer w.CloseWithError(io.ErrUnexpectedEOF) // not an end
	go io.WriteString(w, "abc")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, x.url("/stream/witness?"+f.g.query("x")), r)
	if err != nil {
		return err.Error()
	}
	req.ContentLength = length
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if res, err := client.Do(req); err == nil {
			res.Body.Close()
		}
	}()
	f.arrived()
	leave(cancel)
	defer f.visitor.release()
	text := f.visitor.says()
	<-answered
	return text
}
