package cases

import (
	"fmt"
	"io"
	"net/http"
)

// closing answers and asks for the connection to be closed.
func closing(w http.ResponseWriter, r *http.Request, say Say) {
	w.Header().Set("Connection", "close")
	_, _ = io.WriteString(w, "text")
	say("%v", r.Close)
}

func echoed(w http.ResponseWriter, r *http.Request, say Say) {
	body, err := io.ReadAll(r.Body)
	say("%s %s %q %v close=%v", r.Method, r.URL, Clip(string(body)), err, r.Close)
	fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Path, Clip(string(body)))
}

func connectionCases() []Case {
	return []Case{
		{Name: "close by the client", Like: "TestClientCanClose", Handle: echoed, Send: Get("/", "Connection: close")},
		{Name: "close by the client in capitals", Like: "TestClientCanClose", Handle: echoed, Send: Get("/", "Connection: Close")},
		{Name: "close by the client in a list", Handle: echoed, Send: Get("/", "Connection: foo, close")},
		{Name: "keep-alive by the client", Handle: echoed, Send: Get("/", "Connection: keep-alive")},
		{Name: "close by the handler", Like: "TestHandlersCanSetConnectionClose11", Handle: closing, Send: Get("/")},
		{Name: "close by the handler, HTTP/2", Handle: closing, Send: Get("/"), HTTP2: true, Unprobed: true},
		{Name: "close by the handler to HTTP/1.0", Like: "TestHandlersCanSetConnectionClose10", Handle: closing, Send: Old("GET", "/", "", "Connection: keep-alive")},
		{Name: "keep-alive by the handler", Handle: with("Connection: keep-alive"), Send: Get("/")},
		{Name: "HTTP/1.0", Like: "TestServeHTTP10Close", Handle: echoed, Send: Old("GET", "/", "")},
		{Name: "HTTP/1.0 with keep-alive", Like: "TestHTTP10ConnectionHeader", Handle: echoed, Send: Old("GET", "/", "", "Connection: keep-alive")},
		{Name: "HTTP/1.0 with keep-alive and close", Handle: echoed, Send: Old("GET", "/", "", "Connection: keep-alive, close")},
		{Name: "HTTP/1.0 with keep-alive, streamed", Handle: flushed("one", "two"), Send: Old("GET", "/", "", "Connection: keep-alive")},
		{Name: "HTTP/1.0 with keep-alive, 204", Like: "TestHTTP10KeepAlive204Response", Handle: status(204, ""), Send: Old("GET", "/", "", "Connection: keep-alive")},
		{Name: "HTTP/1.0 with keep-alive, 304", Like: "TestHTTP10KeepAlive304Response", Handle: status(304, ""), Send: Old("GET", "/", "", "Connection: keep-alive")},
		{Name: "HTTP/1.0 with keep-alive, HEAD", Handle: writes("text"), Send: Old("HEAD", "/", "", "Connection: keep-alive")},
		{Name: "HTTP/1.1 with 204", Like: "TestH2_204NoBody TestHTTP11KeepAlive204Response", Handle: status(204, ""), Send: Get("/")},
		{Name: "HTTP/1.0 with a body", Handle: echoed, Send: Old("POST", "/", "hello", "Content-Length: 5")},
		{Name: "HTTP/1.0, streamed", Handle: flushed("one", "two"), Send: Old("GET", "/", "")},
		{Name: "pipelined", Handle: echoed, Send: Get("/1") + Get("/2") + Get("/3"), Methods: "GET GET GET"},
		{Name: "pipelined with bodies", Handle: echoed, Send: Post("/1", "one") + Chunked("/2", "two") + Get("/3") + Post("/4", ""), Methods: "POST POST GET POST"},
		{Name: "pipelined, bodies not read", Handle: writes("text"), Send: Post("/1", "one") + Chunked("/2", "two") + Get("/3"), Methods: "POST POST GET"},
		{Name: "pipelined with HEAD and 204", Handle: func(w http.ResponseWriter, r *http.Request, _ Say) {
			if r.URL.Path == "/204" {
				w.WriteHeader(204)
				return
			}
			_, _ = io.WriteString(w, "text")
		}, Send: Request("HEAD", "/", "") + Get("/204") + Get("/"), Methods: "HEAD GET GET"},
		{Name: "pipelined behind close", Handle: closing, Send: Get("/1") + Get("/2"), Methods: "GET GET"},
		{Name: "an empty line before the request", Like: "TestTolerateCRLFBeforeRequestLine", Handle: echoed,
			Send: Post("/", "ab") + "\r\n" + Get("/"), Methods: "POST GET"},
		{Name: "the client's half is closed", Like: "TestClientWriteShutdown", Handle: echoed, Talk: func(c *Client) {
			c.Send("%s", Get("/"))
			c.CloseWrite()
			c.Response("GET")
		}},
		{Name: "nothing is sent", Like: "TestClientWriteShutdown", Handle: echoed, Talk: func(c *Client) {
			c.CloseWrite()
			c.Fields["got"] = c.Line()
		}},
		{Name: "a request in pieces", Handle: echoed, Talk: func(c *Client) {
			for _, piece := range []string{"PO", "ST / HTTP/1.1\r", "\nHost: loc", "alhost\r\nX-Case: $CASE\r\nContent-Le", "ngth: 4\r\n\r", "\nte", "xt"} {
				c.Send("%s", piece)
			}
			c.Response("POST")
			c.Probe()
		}},
		{Name: "the bytes of a body that looks like a request", Like: "TestConsumingBodyOnNextConn", Handle: writes("text"),
			Send: Post("/", "GET /evil HTTP/1.1\r\nHost: localhost\r\n\r\n")},
	}
}
