package cases

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// wrapped is a writer as middleware has it.
type wrapped struct{ http.ResponseWriter }

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func controlCases() []Case {
	return []Case{
		{Name: "Flush by a controller", Like: "TestResponseControllerFlush", Handle: func(w http.ResponseWriter, _ *http.Request, say Say) {
			_, _ = io.WriteString(w, "text")
			say("%v", http.NewResponseController(w).Flush())
		}, Send: Get("/"), HTTP2: true},
		{Name: "Flush through middleware", Like: "TestWrappedResponseController", Handle: func(w http.ResponseWriter, _ *http.Request, say Say) {
			_, _ = io.WriteString(w, "text")
			say("%v", http.NewResponseController(wrapped{wrapped{w}}).Flush())
		}, Send: Get("/"), HTTP2: true},
		{Name: "EnableFullDuplex", Handle: func(w http.ResponseWriter, _ *http.Request, say Say) {
			say("%v", http.NewResponseController(w).EnableFullDuplex())
		}, Send: Get("/"), HTTP2: true},
		{Name: "deadlines in the future", Like: "TestResponseControllerSetFutureWriteDeadline TestResponseControllerSetFutureReadDeadline", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			c := http.NewResponseController(w)
			say("%v %v", c.SetReadDeadline(time.Now().Add(time.Hour)), c.SetWriteDeadline(time.Now().Add(time.Hour)))
			body, err := io.ReadAll(r.Body)
			say("%q %v", body, err)
			_, err = io.WriteString(w, "text")
			say("%v", err)
		}, Send: Post("/", "hello"), HTTP2: true},
		{Name: "deadlines that are none", Handle: func(w http.ResponseWriter, _ *http.Request, say Say) {
			c := http.NewResponseController(w)
			say("%v %v", c.SetReadDeadline(time.Time{}), c.SetWriteDeadline(time.Time{}))
		}, Send: Get("/"), HTTP2: true},
		{Name: "what a writer can do", Handle: func(w http.ResponseWriter, _ *http.Request, say Say) {
			_, flusher := w.(http.Flusher)
			_, errFlusher := w.(interface{ FlushError() error })
			_, hijacker := w.(http.Hijacker)
			_, from := w.(io.ReaderFrom)
			_, text := w.(io.StringWriter)
			_, pusher := w.(http.Pusher)
			say("%v %v %v %v %v %v", flusher, errFlusher, hijacker, from, text, pusher)
		}, Send: Get("/")},
		{Name: "CloseNotifier", Like: "TestCloseNotifier", Handle: func(w http.ResponseWriter, _ *http.Request, say Say) {
			notifier, ok := w.(interface{ CloseNotify() <-chan bool }) // what old programs ask for
			say("%v", ok && notifier.CloseNotify() != nil)
		}, Send: Get("/")},
		{Name: "Hijack", Like: "TestResponseControllerHijack TestServerWriteHijackZeroBytes", Handle: func(w http.ResponseWriter, _ *http.Request, say Say) {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				say("%v", err)
				return
			}
			_, _ = io.WriteString(rw, "HTTP/1.1 200 OK\r\nX-Own: 1\r\nContent-Length: 3\r\n\r\nown")
			say("%v", rw.Flush())
			_, err = w.Write(nil)
			say("%v", errors.Is(err, http.ErrHijacked))
			_, _, err = http.NewResponseController(w).Hijack()
			say("%v", errors.Is(err, http.ErrHijacked))
			conn.Close()
		}, Send: Get("/")},
		{Name: "the context", Like: "TestServerContexts", Handle: func(_ http.ResponseWriter, r *http.Request, say Say) {
			_, limited := r.Context().Deadline()
			say("%v %v", r.Context().Err(), limited)
		}, Send: Get("/"), HTTP2: true},
		{Name: "the server in the context", Like: "TestServerContext_ServerContextKey", Handle: func(_ http.ResponseWriter, r *http.Request, say Say) {
			_, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
			say("%v", ok)
		}, Send: Get("/"), HTTP2: true},
		{Name: "the server's address in the context", Like: "TestServerContext_LocalAddrContextKey", Handle: func(_ http.ResponseWriter, r *http.Request, say Say) {
			addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
			if !ok {
				say("none")
				return
			}
			host, port, err := net.SplitHostPort(addr.String())
			say("%s %s %v %v", addr.Network(), host, port != "0", err)
		}, Send: Get("/"), HTTP2: true},
		lateContext(),
		{Name: "the context when the client leaves", Like: "TestServerRequestContextCancel_ConnClose", Handle: func(_ http.ResponseWriter, r *http.Request, say Say) {
			select {
			case <-r.Context().Done():
				say("%v", r.Context().Err())
			case <-time.After(10 * time.Second):
				say("not done")
			}
		}, Talk: func(c *Client) {
			c.Send("%s", Get("/"))
			time.Sleep(100 * time.Millisecond)
			c.Close()
		}},
		{Name: "a write when the client has left", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			<-r.Context().Done()
			var err error
			for n := 0; n < 1e7 && err == nil; n += 1000 {
				_, err = w.Write(make([]byte, 1000))
			}
			say("%v", err != nil)
		}, Talk: func(c *Client) {
			c.Send("%s", Get("/"))
			time.Sleep(100 * time.Millisecond)
			c.Close()
		}},
		{Name: "context.AfterFunc", Handle: func(_ http.ResponseWriter, r *http.Request, say Say) {
			stop := context.AfterFunc(r.Context(), func() {})
			say("%v", stop())
			ctx, cancel := context.WithCancelCause(r.Context())
			cancel(errors.New("own"))
			say("%v %v", context.Cause(ctx), r.Context().Err())
		}, Send: Get("/")},
	}
}

// lateContext is a handler whose context is looked at when it has returned.
func lateContext() Case {
	contexts := make(chan context.Context, 1)
	return Case{
		Name: "the context when the handler has returned", Like: "TestServerRequestContextCancel_ServeHTTPDone", Send: Get("/"), HTTP2: true,
		Handle: func(_ http.ResponseWriter, r *http.Request, _ Say) { contexts <- r.Context() },
		Late:   func(say Say) { say("%v", (<-contexts).Err()) },
	}
}
