package cases

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// own is a response that a handler sends by itself.
const own = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nown"

// hijacked serves a case on the connection, which it closes.
func hijacked(f func(conn net.Conn, rw io.ReadWriter, w http.ResponseWriter, say Say)) handler {
	return func(w http.ResponseWriter, _ *http.Request, say Say) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			say("%v", err)
			return
		}
		defer conn.Close()
		f(conn, rw, w, say)
	}
}

// rest reads to the end of the connection.
func rest(c *Client) {
	text, err := io.ReadAll(c.in)
	c.Fields["rest"] = Clip(string(text))
	if timedOut(err) {
		c.Fields["rest"] += ", stalled"
	}
}

func hijackCases() []Case {
	return []Case{
		{Name: "Hijack with bytes behind the request", Like: "TestServerHijackGetsFullBody TestServerHijackGetsBackgroundByte_big",
			Handle: hijacked(func(conn net.Conn, rw io.ReadWriter, _ http.ResponseWriter, say Say) {
				text := make([]byte, 100_000)
				_, err := io.ReadFull(rw, text)
				say("%s %v", Clip(string(text)), err)
				_, _ = io.WriteString(conn, own)
			}), Send: Get("/") + strings.Repeat("x", 100_000), Unprobed: true},
		{Name: "Hijack with bytes that come later", Like: "TestServerHijackGetsBackgroundByte",
			Handle: hijacked(func(conn net.Conn, rw io.ReadWriter, _ http.ResponseWriter, say Say) {
				_, _ = io.WriteString(conn, "ready\n")
				text := make([]byte, 3)
				_, err := io.ReadFull(rw, text)
				say("%q %v", text, err)
				_, _ = io.WriteString(conn, own)
			}), Talk: func(c *Client) {
				c.Send("%s", Get("/"))
				c.Fields["ready"] = c.Line()
				c.Send("foo")
				rest(c)
			}},
		{Name: "a write to the connection when the handler has ended", Like: "TestWriteAfterHijack", Handle: func(w http.ResponseWriter, _ *http.Request, say Say) {
			conn, rw, err := http.NewResponseController(w).Hijack()
			say("%v", err)
			go func() {
				time.Sleep(20 * time.Millisecond)
				_, _ = rw.WriteString("to the buffer, ")
				_ = rw.Flush()
				_, _ = io.WriteString(conn, "to the connection")
				_ = conn.Close()
			}()
		}, Talk: func(c *Client) {
			c.Send("%s", Get("/"))
			rest(c)
		}},
		{Name: "a code behind Hijack", Like: "TestWriteHeaderNoCodeCheck_h1hijack", Handle: hijacked(func(conn net.Conn, _ io.ReadWriter, w http.ResponseWriter, say Say) {
			w.WriteHeader(0)
			_, _ = io.WriteString(conn, own)
			say("went on")
		}), Send: Get("/"), Unprobed: true},
		{Name: "a panic behind Hijack", Like: "TestHandlerPanicWithHijack", Handle: hijacked(func(conn net.Conn, _ io.ReadWriter, _ http.ResponseWriter, _ Say) {
			_, _ = io.WriteString(conn, own)
			panic("on purpose")
		}), Send: Get("/"), Unprobed: true, Log: "on purpose"},
		{Name: "Hijack behind CloseNotify", Like: "TestHijackAfterCloseNotifier", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			notifier, ok := w.(interface{ CloseNotify() <-chan bool })
			say("%v", ok && notifier.CloseNotify() != nil)
			hijacked(func(conn net.Conn, _ io.ReadWriter, _ http.ResponseWriter, _ Say) { _, _ = io.WriteString(conn, own) })(w, r, say)
		}, Send: Get("/"), Unprobed: true},
		{Name: "Hijack behind a flush", Like: "TestServerFlushAndHijack", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			_, _ = io.WriteString(w, "Hello, ")
			w.(http.Flusher).Flush()
			hijacked(func(conn net.Conn, _ io.ReadWriter, _ http.ResponseWriter, _ Say) {
				_, _ = io.WriteString(conn, "6\r\nworld!\r\n0\r\n\r\n")
			})(w, r, say)
		}, Send: Get("/"), Unprobed: true},
		{Name: "101 and then Hijack", Like: "TestDisableKeepAliveUpgrade", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			set(w, "Connection: Upgrade", "Upgrade: own")
			w.WriteHeader(http.StatusSwitchingProtocols)
			hijacked(func(conn net.Conn, rw io.ReadWriter, _ http.ResponseWriter, say Say) {
				text := make([]byte, 5)
				_, err := io.ReadFull(rw, text)
				say("%q %v", text, err)
				_, _ = conn.Write(text)
			})(w, r, say)
		}, Talk: func(c *Client) {
			c.Send("%s", Get("/", "Connection: Upgrade", "Upgrade: own"))
			if c.Response("GET") {
				c.Send("hello")
				rest(c)
			}
		}},
		{Name: "an upgrade that the handler does not take", Like: "TestH12_WebSocketUpgrade", Handle: with("X-A: b"),
			Send: Get("/", "Connection: Upgrade", "Upgrade: WebSocket"), Unprobed: true},
		{Name: "CloseNotify when the client leaves", Like: "TestHijackBeforeRequestBodyRead", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			body := r.Body
			r.Body = nil
			gone := w.(interface{ CloseNotify() <-chan bool }).CloseNotify()
			text, err := io.ReadAll(body)
			say("%d %v", len(text), err)
			select {
			case <-gone:
				say("gone")
			case <-time.After(10 * time.Second):
				say("not gone")
			}
		}, Talk: func(c *Client) {
			c.Send("%s", Post("/", strings.Repeat("a", 100_000)))
			time.Sleep(100 * time.Millisecond)
			c.Close()
		}},
	}
}

// deadlineCases are deadlines that have passed, and contexts that are over.
func deadlineCases() []Case {
	passed := time.Unix(1, 0)
	return []Case{
		{Name: "a write deadline that has passed", Like: "TestResponseControllerSetPastWriteDeadline", Handle: func(w http.ResponseWriter, _ *http.Request, say Say) {
			c := http.NewResponseController(w)
			for _, deadline := range []time.Time{{}, passed, time.Now().Add(time.Hour)} {
				say("%v", c.SetWriteDeadline(deadline))
				_, _ = io.WriteString(w, "text")
				say("%v", c.Flush() == nil)
			}
		}, Send: Get("/")},
		{Name: "a read deadline that has passed", Like: "TestResponseControllerSetPastReadDeadline", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			c := http.NewResponseController(w)
			text := make([]byte, 3)
			_, err := io.ReadFull(r.Body, text)
			say("%q %v", text, err)
			for _, deadline := range []time.Time{passed, {}} {
				say("%v", c.SetReadDeadline(deadline))
				text, err := io.ReadAll(r.Body)
				say("%q %v", text, err != nil)
			}
		}, Unprobed: true, Talk: func(c *Client) {
			c.Send("%s", Request("POST", "/", "3\r\none\r\n", "Transfer-Encoding: chunked"))
			c.Response("POST")
		}},
		{Name: "a read deadline that passes without a read", Like: "TestIssue58237", Handle: func(w http.ResponseWriter, _ *http.Request, say Say) {
			say("%v", http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Millisecond)))
			time.Sleep(10 * time.Millisecond)
		}, Send: Get("/"), HTTP2: true, Unprobed: true},
		{Name: "TimeoutHandler of a context that is cancelled", Like: "TestTimeoutHandlerContextCanceled", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			ctx, cancel := context.WithCancel(r.Context())
			cancel()
			limited(time.Minute, func(w http.ResponseWriter, r *http.Request, _ Say) { <-r.Context().Done() })(w, r.WithContext(ctx), say)
		}, Send: Get("/"), HTTP2: true},
	}
}
