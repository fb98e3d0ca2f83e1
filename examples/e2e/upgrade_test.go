package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
)

var upgradeWays = []way{{nginx, h1}, {nginx, h1s}, {event, h1}, {event, h1s}, {worker, h1}, {prefork, h1}}

// open opens a connection for HTTP/1.1.
func (x *target) open(t *testing.T) net.Conn {
	t.Helper()
	addr := x.plain
	if x.protocol == h1s {
		addr = x.tls
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	if x.protocol == h1s {
		return tls.Client(c, &tls.Config{RootCAs: world.roots, ServerName: "localhost", NextProtos: []string{"http/1.1"}})
	}
	return c
}

// A socket is a WebSocket of either library.
type socket interface {
	send(p []byte) error
	receive() ([]byte, error)
	close() error
}

type coderSocket struct{ *coder.Conn }

func (s coderSocket) send(p []byte) error {
	return s.Write(context.Background(), coder.MessageBinary, p)
}

func (s coderSocket) receive() ([]byte, error) {
	_, p, err := s.Read(context.Background())
	return p, err
}

func (s coderSocket) close() error { return s.Close(coder.StatusNormalClosure, "") }

type gorillaSocket struct{ *gorilla.Conn }

func (s gorillaSocket) send(p []byte) error { return s.WriteMessage(gorilla.BinaryMessage, p) }

func (s gorillaSocket) receive() ([]byte, error) {
	_, p, err := s.ReadMessage()
	return p, err
}

// close waits for the close frame of the server.
func (s gorillaSocket) close() error {
	text := gorilla.FormatCloseMessage(gorilla.CloseNormalClosure, "")
	if err := s.WriteControl(gorilla.CloseMessage, text, time.Now().Add(time.Minute)); err != nil {
		return err
	}
	_, err := s.receive()
	s.Close()
	if gorilla.IsCloseError(err, gorilla.CloseNormalClosure) {
		return nil
	}
	return fmt.Errorf("closed by %w", err)
}

var clients = map[string]func(x *target, t *testing.T, path string) (socket, error){
	"coder": func(x *target, t *testing.T, path string) (socket, error) {
		transport := &http.Transport{
			DialContext:    func(context.Context, string, string) (net.Conn, error) { return x.open(t), nil },
			DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return x.open(t), nil },
		}
		c, _, err := coder.Dial(context.Background(), "ws://"+x.plain+path, &coder.DialOptions{HTTPClient: &http.Client{Transport: transport}})
		if err == nil {
			c.SetReadLimit(32 * mib)
		}
		return coderSocket{c}, err
	},
	"gorilla": func(x *target, t *testing.T, path string) (socket, error) {
		d := gorilla.Dialer{NetDial: func(string, string) (net.Conn, error) { return x.open(t), nil }}
		c, _, err := d.Dial("ws://"+x.plain+path, nil)
		return gorillaSocket{c}, err
	},
}

func echoed(t *testing.T, s socket, sizes ...int) {
	t.Helper()
	for _, size := range sizes {
		p := make([]byte, size)
		rand.New(rand.NewSource(int64(size))).Read(p)
		if err := s.send(p); err != nil {
			t.Fatal(err)
		}
		got, err := s.receive()
		if err != nil || !bytes.Equal(got, p) {
			t.Fatalf("%d bytes came back as %d: %v", size, len(got), err)
		}
	}
}

func TestWebSockets(t *testing.T) {
	each(t, upgradeWays, func(t *testing.T, x *target) {
		for client, dial := range clients {
			for _, server := range []string{"coder", "gorilla"} {
				x.run(t, client+" to "+server, func(t *testing.T) {
					s, err := dial(x, t, "/"+server)
					if err != nil {
						t.Fatal(err)
					}
					echoed(t, s, 0, 1, 100, 65536, 10*mib, 5)
					if err := s.close(); err != nil {
						t.Error(err)
					}
				})
				x.run(t, client+" closed by "+server, func(t *testing.T) {
					s, err := dial(x, t, "/"+server+"?n=1")
					if err != nil {
						t.Fatal(err)
					}
					echoed(t, s, 10)
					if _, err := s.receive(); !gorilla.IsCloseError(err, gorilla.CloseNormalClosure) &&
						coder.CloseStatus(err) != coder.StatusNormalClosure {
						t.Errorf("closed by %v", err)
					}
				})
			}
		}
	})
}

// A proxied upgrade passes two gateways of connections: the server's and the
// proxy's in the application.
func TestWebSocketThroughReverseProxy(t *testing.T) {
	upgrader := gorilla.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		for {
			kind, p, err := c.ReadMessage()
			if err != nil || c.WriteMessage(kind, p) != nil {
				return
			}
		}
	}))
	defer backend.Close()
	each(t, []way{{nginx, h1}, {event, h1}}, func(t *testing.T, x *target) {
		x.run(t, "echo", func(t *testing.T) {
			s, err := clients["gorilla"](x, t, "/proxy?to="+backend.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			echoed(t, s, 1, 100000, 3*mib)
			if err := s.close(); err != nil {
				t.Error(err)
			}
		})
	})
}

// upgrade asks for /raw and reads the head of the answer.
func (x *target) upgrade(t *testing.T, query, early string) *wire {
	t.Helper()
	w := newWire(t, x.open(t))
	w.send("GET /raw?%s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n%s", query, early)
	for _, want := range []string{"HTTP/1.1 101 Switching Protocols\r\n", "Connection: Upgrade\r\n", "Upgrade: raw\r\n", "\r\n"} {
		if got := w.line(); got != want {
			t.Fatalf("%q instead of %q", got, want)
		}
	}
	return w
}

// closeWrite ends what the test sends.
func (w *wire) closeWrite() {
	w.t.Helper()
	if err := w.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		w.t.Error(err)
	}
}

// reset ends a connection as a machine that vanishes does.
func (w *wire) reset() {
	c := w.Conn
	if s, ok := c.(*tls.Conn); ok {
		c = s.NetConn()
	}
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

func TestRawConnections(t *testing.T) {
	each(t, []way{{nginx, h1}, {nginx, h1s}, {event, h1}, {event, h1s}}, func(t *testing.T, x *target) {
		x.run(t, "bytes sent with the request", func(t *testing.T) {
			w := x.upgrade(t, "mode=echo", "early\n")
			w.send("late\n")
			if got := w.line() + w.line(); got != "early\nlate\n" {
				t.Errorf("got %q", got)
			}
			w.closeWrite()
			if rest := w.rest(); rest != "" {
				t.Errorf("then %q", rest)
			}
			x.accessLog(t, "101|GET /raw?mode=echo HTTP/1.1|site:8080|101|")
		})
		x.run(t, "handler that leaves", func(t *testing.T) {
			w := x.upgrade(t, "mode=echo&leave=1", "")
			time.Sleep(50 * time.Millisecond)
			w.send("to a goroutine\n")
			if got := w.line(); got != "to a goroutine\n" {
				t.Errorf("got %q", got)
			}
			w.Close()
		})
		x.run(t, "addresses", func(t *testing.T) {
			w := x.upgrade(t, "mode=addr", "")
			want := w.Conn.RemoteAddr().String() + " " + w.Conn.LocalAddr().String() + "\n"
			if got := w.line(); got != want {
				t.Errorf("%q instead of %q", got, want)
			}
			w.rest()
		})
		x.run(t, "body before", func(t *testing.T) {
			for _, path := range []string{"/raw", "/stream/raw"} {
				w := newWire(t, x.open(t))
				w.send("POST %s?mode=echo&body=read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbodyraw\n", path)
				for w.line() != "\r\n" {
				}
				if got := w.line(); got != "raw\n" {
					t.Errorf("got %q", got)
				}
				w.closeWrite()
				w.rest()
			}
		})
		x.run(t, "half close", func(t *testing.T) {
			if x.kind != nginx && x.protocol == h1s {
				t.Log("mod_ssl cannot end one half of a connection")
				return
			}
			g := newGate(t)
			w := x.upgrade(t, "mode=halves&"+g.query("t"), "")
			v := g.next()
			if got := w.rest(); got != "all of it\n" {
				t.Errorf("got %q", got)
			}
			w.send("the rest")
			w.closeWrite()
			if got := v.says(); got != `then "the rest" <nil>` {
				t.Errorf("the handler got %s", got)
			}
		})
		x.run(t, "deadline", func(t *testing.T) {
			g := newGate(t)
			w := x.upgrade(t, "mode=late&"+g.query("t"), "")
			if got := g.next().says(); got != "late true" {
				t.Error(got)
			}
			w.send("more\n")
			if got := w.line() + w.line(); got != "still here\nmore\n" {
				t.Errorf("got %q", got)
			}
			w.Close()
		})
		for _, mode := range []string{"flood", "crumbs"} {
			x.run(t, "client that does not read, "+mode, func(t *testing.T) {
				g := newGate(t)
				w := x.upgrade(t, "mode="+mode+"&"+g.query("t"), "")
				v := g.next()
				v.silent(500 * time.Millisecond)
				if n := x.figure(t, "chunks_used"); n > x.base.chunks+80 {
					t.Errorf("%d chunks are in use", n)
				}
				w.reset()
				if got := v.says(); !strings.HasPrefix(got, "failed ") {
					t.Error(got)
				}
			})
		}
		x.run(t, "handler that does not read", func(t *testing.T) {
			g := newGate(t)
			w := x.upgrade(t, "mode=deaf&"+g.query("t"), "")
			v := g.next()
			sent := make(chan int64)
			go func() {
				n, _ := io.Copy(w.Conn, bytes.NewReader(make([]byte, 40*mib)))
				sent <- n
			}()
			time.Sleep(500 * time.Millisecond)
			if n := x.figure(t, "chunks_used"); n > x.base.chunks+80 {
				t.Errorf("%d chunks are in use", n)
			}
			v.release()
			got, err := io.CopyN(io.Discard, w.in, 40*mib)
			if err != nil || <-sent != 40*mib {
				t.Errorf("%d bytes came back: %v", got, err)
			}
			w.Close()
		})
		x.run(t, "client that vanishes", func(t *testing.T) {
			g := newGate(t)
			w := x.upgrade(t, "mode=echo&"+g.query("t"), "")
			v := g.next()
			w.send("x")
			io.ReadFull(w.in, make([]byte, 1))
			w.reset()
			if got := v.says(); got == "echoed 1: <nil>" {
				t.Error("a reset looks like an end")
			}
		})
		x.run(t, "panic", func(t *testing.T) {
			w := x.upgrade(t, "mode=panic", "")
			w.rest()
		})
		x.run(t, "forgotten connection", func(t *testing.T) {
			w := x.upgrade(t, "mode=forget", "")
			for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				x.get("/gc")
				w.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
				if _, err := w.in.ReadByte(); err == io.EOF {
					return
				}
			}
			t.Error("it stays open")
		})
	})
}

// accessLog waits for a line of the access log that begins so.
func (s *server) accessLog(t *testing.T, begin string) {
	t.Helper()
	var text []byte
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		text, _ = os.ReadFile(s.dir + "/access.log")
		if strings.Contains("\n"+string(text), "\n"+begin) {
			return
		}
	}
	t.Errorf("no line %q in the access log:\n%s", begin, text[max(0, len(text)-2000):])
}

func TestHijackOfHTTP2(t *testing.T) {
	each(t, []way{{nginx, h2}, {event, h2}, {event, h2c}}, func(t *testing.T, x *target) {
		x.run(t, "is not supported", func(t *testing.T) {
			var got struct{ Hijacker, NotSupported bool }
			if err := json.Unmarshal([]byte(x.page(t, "/raw").body), &got); err != nil {
				t.Fatal(err)
			}
			if got.Hijacker || !got.NotSupported {
				t.Errorf("%+v", got)
			}
		})
	})
}

// What limits requests is no limit for a connection that is silent.
func TestIdleUpgradesStay(t *testing.T) {
	for kind, conf := range map[string]setup{
		nginx: {main: `client_header_timeout 1s; client_body_timeout 1s; send_timeout 1s; keepalive_timeout 1s;
			lingering_timeout 1s; gsgi_concurrency 1 queue=0; gsgi_timeout 1s;`,
			server: "location / { gsgi_pass site:8080; }"},
		event: {main: "Timeout 1\nKeepAliveTimeout 1\nGSGIConcurrency 1 queue=0\nGSGITimeout 1s\n" +
			"LoadModule reqtimeout_module /usr/lib/apache2/modules/mod_reqtimeout.so\nRequestReadTimeout header=1 body=1",
			server: "GSGIAlias / site:8080"},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			x := &target{launch(t, kind, conf), h1}
			plain := x.upgrade(t, "mode=echo", "")
			x.protocol = h1s
			secure := x.upgrade(t, "mode=echo", "")
			if code, body, err := x.get("/hello"); code != 200 {
				t.Errorf("another request got %d %q %v: upgrades count against gsgi_concurrency", code, body, err)
			}
			time.Sleep(3500 * time.Millisecond)
			for _, w := range []*wire{plain, secure} {
				w.send("still there?\n")
				if got := w.line(); got != "still there?\n" {
					t.Errorf("got %q", got)
				}
				w.Close()
			}
			x.noLeak(t)
		})
	}
}

func TestThousandsOfIdleUpgrades(t *testing.T) {
	const n = 2000
	raiseFiles(t)
	x := &target{launch(t, nginx, setup{server: "location / { gsgi_pass site:8080; }"}), h1}
	pid := x.workers()[0]
	before := int(resident(t, pid))
	wires := make([]*wire, n)
	for i := range wires {
		wires[i] = x.upgrade(t, "mode=echo", "")
	}
	if used := x.figure(t, "chunks_used"); used > x.base.chunks+2 {
		t.Errorf("%d chunks are in use by idle connections", used)
	}
	each := (int(resident(t, pid)) - before) / n
	t.Logf("%d bytes resident for each", each)
	if each > 64<<10 {
		t.Errorf("each takes %d bytes", each)
	}
	for i, w := range wires {
		w.send("%d\n", i)
	}
	for i, w := range wires {
		if got := w.line(); got != fmt.Sprintf("%d\n", i) {
			t.Fatalf("%d got %q", i, got)
		}
	}
	for _, w := range wires {
		w.Close()
	}
	x.base.files += 10 // of a runtime that has grown
	x.noLeak(t)
}

func raiseFiles(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
}

// An old worker stays until its upgraded connections end, or its time is up.
func TestReloadWhileUpgraded(t *testing.T) {
	server := map[string]string{
		nginx: "location / { gsgi_pass site:8080; }",
		event: "GSGIAlias / site:8080",
	}
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		x := &target{launch(t, kind, setup{server: server[kind], mpm: twoOf(kind)}), h1}
		w := x.upgrade(t, "mode=echo", "")
		old := x.workers()[0]
		renew(t, x.server)
		for range 3 {
			time.Sleep(500 * time.Millisecond)
			w.send("still there?\n")
			if got := w.line(); got != "still there?\n" {
				t.Fatalf("got %q", got)
			}
			if code, _, err := x.get("/hello"); code != 200 {
				t.Errorf("new requests get %d %v", code, err)
			}
		}
		if !alive(old) {
			t.Error("the old worker has gone")
		}
		w.Close()
		for end := time.Now().Add(15 * time.Second); alive(old); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the old worker does not end")
			}
		}
	})
	t.Run("until worker_shutdown_timeout", func(t *testing.T) {
		t.Parallel()
		x := &target{launch(t, nginx, setup{server: server[nginx], top: "worker_processes 1; worker_shutdown_timeout 1s;"}), h1}
		w := x.upgrade(t, "mode=echo", "")
		old := x.workers()[0]
		renew(t, x.server)
		w.rest()
		for end := time.Now().Add(15 * time.Second); alive(old); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the old worker does not end")
			}
		}
	})
}

// twoOf leaves Apache room for an old process beside the new one.
func twoOf(kind string) string {
	return strings.Replace(mpms[kind], "ServerLimit 1", "ServerLimit 3", 1)
}

// renew reloads and waits for the new worker.
func renew(t *testing.T, s *server) {
	t.Helper()
	old := s.workers()[0]
	if err := s.reload(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		for _, pid := range s.workers() {
			if pid != old {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatal("no new worker")
		}
	}
}
