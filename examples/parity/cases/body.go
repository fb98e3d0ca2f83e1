package cases

import (
	"errors"
	"io"
	"net/http"
	"strings"
)

// partial reads n bytes of the body.
func partial(n int) handler {
	return func(w http.ResponseWriter, r *http.Request, say Say) {
		p := make([]byte, n)
		m, err := io.ReadFull(r.Body, p)
		say("%q %v", p[:m], err)
		_, _ = io.WriteString(w, "text")
	}
}

// consumed reads the body and reports all about it.
func consumed(w http.ResponseWriter, r *http.Request, say Say) {
	say("length %d, %v, no body %v, trailer %v", r.ContentLength, r.TransferEncoding, r.Body == http.NoBody, r.Trailer)
	body, err := io.ReadAll(r.Body)
	say("%q %v", Clip(string(body)), err)
	n, err := r.Body.Read(make([]byte, 1))
	say("%d %v, trailer %v", n, err, r.Trailer)
	_, _ = io.WriteString(w, "text")
}

// broken reports whether a body ended in an error, and of what kind.
func broken(w http.ResponseWriter, r *http.Request, say Say) {
	body, err := io.ReadAll(r.Body)
	say("%q, unexpected end %v, error %v", body, errors.Is(err, io.ErrUnexpectedEOF), err != nil)
	_, _ = io.WriteString(w, "text")
}

// dangling sends a request and then nothing more.
func dangling(request string) func(*Client) {
	return func(c *Client) {
		c.Send("%s", request)
		c.CloseWrite()
		c.Response("POST")
	}
}

func bodyCases() []Case {
	cases := []Case{
		{Name: "a body with a length", Like: "TestH12_RequestContentLength_Known_NonZero", Handle: consumed, Send: Post("/", "hello"), HTTP2: true},
		{Name: "a chunked body", Like: "TestH12_RequestContentLength_Unknown", Handle: consumed, Send: Chunked("/", "hello")},
		{Name: "a body of several chunks", Handle: consumed, Send: Request("POST", "/", "3\r\nabc\r\n1\r\nd\r\n0010\r\n0123456789abcdef\r\n0\r\n\r\n", "Transfer-Encoding: chunked")},
		{Name: "chunks with extensions", Handle: consumed, Send: Request("POST", "/", "3;a=b;c\r\nabc\r\n0;x\r\n\r\n", "Transfer-Encoding: chunked")},
		{Name: "chunks with trailers", Like: "TestTrailersClientToServer", Handle: consumed, Send: Request("POST", "/", "3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n", "Trailer: X-Sum", "Transfer-Encoding: chunked")},
		{Name: "an empty chunked body", Handle: consumed, Send: Chunked("/", "")},
		{Name: "a body of no bytes", Like: "TestH12_RequestContentLength_Known_Zero TestZeroLengthPostAndResponse", Handle: consumed, Send: Post("/", ""), HTTP2: true},
		{Name: "POST without a body", Like: "TestZeroLengthPostAndResponse", Handle: consumed, Send: Request("POST", "/", ""), HTTP2: true},
		{Name: "GET has no body", Like: "TestGetBody", Handle: consumed, Send: Get("/"), HTTP2: true},
		{Name: "GET with a body", Handle: consumed, Send: Request("GET", "/", "hello", "Content-Length: 5")},
		{Name: "HEAD with a body", Like: "TestHeadBody", Handle: consumed, Send: Request("HEAD", "/", "hello", "Content-Length: 5")},
		{Name: "HEAD with a chunked body", Like: "TestHeadBody", Handle: consumed, Send: Request("HEAD", "/", "5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked")},
		{Name: "DELETE with a body", Handle: consumed, Send: Request("DELETE", "/", "hello", "Content-Length: 5"), HTTP2: true},
		{Name: "a body of 300,000 bytes", Handle: consumed, Send: Post("/", strings.Repeat("x", 300_000)), HTTP2: true},
		{Name: "a chunked body of 300,000 bytes", Handle: consumed, Send: Chunked("/", strings.Repeat("x", 300_000))},
		{Name: "a body read in part", Handle: partial(3), Send: Post("/", "hello"), HTTP2: true},
		{Name: "a chunked body read in part", Handle: partial(3), Send: Chunked("/", "hello")},
		{Name: "more of a body than there is", Handle: partial(9), Send: Post("/", "hello"), HTTP2: true},
		{Name: "a large body read in part", Handle: partial(3), Send: Post("/", strings.Repeat("x", 100_000))},
		{Name: "a large body not read", Like: "TestServerUnreadRequestBodyLarge TestHandlerFinishSkipBigContentLengthRead", Handle: status(404, "text"),
			Send: Request("POST", "/", strings.Repeat("x", 400_000), "Content-Length: 9999999999"), Unprobed: true},
		{Name: "a body not read", Like: "TestServerUnreadRequestBodyLittle", Handle: writes("text"), Send: Post("/", strings.Repeat("x", 100_000))},
		{Name: "a chunked body not read", Like: "TestServerUnreadRequestBodyLittle", Handle: writes("text"), Send: Chunked("/", strings.Repeat("x", 100_000))},
		{Name: "a read of no bytes", Handle: func(_ http.ResponseWriter, r *http.Request, say Say) {
			n, err := r.Body.Read(nil)
			say("%d %v", n, err)
		}, Send: Post("/", "hello")},
		{Name: "a body that is closed", Like: "TestHandlerBodyClose", Handle: func(_ http.ResponseWriter, r *http.Request, say Say) {
			say("%v", r.Body.Close())
			n, err := r.Body.Read(make([]byte, 1))
			say("%d %v", n, err)
			say("%v", r.Body.Close())
		}, Send: Post("/", "hello")},
		{Name: "a chunked body closed in part", Like: "TestHandlerBodyClose", Handle: func(_ http.ResponseWriter, r *http.Request, say Say) {
			n, err := io.ReadFull(r.Body, make([]byte, 2))
			say("%d %v", n, err)
			r.Body.Close()
			n, err = r.Body.Read(make([]byte, 1))
			say("%d %v", n, err)
		}, Send: Chunked("/", "hello")},
		{Name: "a body of nil", Like: "TestHandlerSetsBodyNil", Handle: func(w http.ResponseWriter, r *http.Request, _ Say) {
			r.Body = nil
			_, _ = io.WriteString(w, r.Method)
		}, Send: Post("/", "hello") + Get("/"), Methods: "POST GET"},
		lateReader("a body read after the handler has ended", "TestRequestBodyCloseDoesntBlock", Post("/", "hello")),
		lateReader("a chunked body read after the handler has ended", "", Chunked("/", "hello")),
		{Name: "the body while the response is written", Like: "TestConcurrentReadWriteReqBody TestResponseControllerEnableFullDuplex", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			_, _ = io.WriteString(w, "begun ")
			w.(http.Flusher).Flush()
			body, err := io.ReadAll(r.Body)
			say("%q %v", body, err)
			_, _ = w.Write(body)
		}, Send: Post("/", "hello"), HTTP2: true},
		{Name: "a body copied to the response", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			n, err := io.Copy(w, r.Body)
			say("%d %v", n, err)
		}, Send: Post("/", strings.Repeat("y", 2000)), HTTP2: true},
		{Name: "MaxBytesReader that is not reached", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 5))
			say("%q %v", body, err)
		}, Send: Post("/", "hello"), HTTP2: true},
		{Name: "MaxBytesReader that is passed", Like: "TestRequestBodyLimit", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4))
			var tooLarge *http.MaxBytesError
			say("%q %v %v", body, err, errors.As(err, &tooLarge))
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
		}, Send: Post("/", "hello"), HTTP2: true},
		{Name: "MaxBytesReader of a large body", Like: "TestRequestBodyLimit", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			n, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 1000))
			say("%d %v", n, err)
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
		}, Send: Post("/", strings.Repeat("x", 50_000))},
		{Name: "MaxBytesHandler", Like: "TestMaxBytesHandler", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			http.MaxBytesHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				say("%q %v", body, err)
			}), 3).ServeHTTP(w, r)
		}, Send: Post("/", "hello")},
	}
	return append(cases, continueCases()...)
}

// lateReader is a handler whose body is read when its request is over.
func lateReader(name, like, send string) Case {
	bodies := make(chan io.Reader, 1)
	return Case{
		Name: name, Like: like, Send: send,
		Handle: func(_ http.ResponseWriter, r *http.Request, _ Say) { bodies <- r.Body },
		Late: func(say Say) {
			n, err := (<-bodies).Read(make([]byte, 1))
			say("%d %v", n, err)
		},
	}
}

// expecting sends the head of a request whose body waits for 100 Continue.
func expecting(expect, body string, method string) func(*Client) {
	return func(c *Client) {
		c.Send("POST / HTTP/1.1\r\nHost: localhost\r\nX-Case: $CASE\r\nExpect: %s\r\nContent-Length: 5\r\n\r\n", expect)
		c.Send("%s", body)
		c.Response(method)
		c.Probe()
	}
}

func continueCases() []Case {
	return []Case{
		{Name: "100 when the handler reads", Like: "TestServerExpect", Handle: consumed, Talk: func(c *Client) {
			c.Send("POST / HTTP/1.1\r\nHost: localhost\r\nX-Case: $CASE\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
			c.Fields["first"] = c.Line() + c.Line()
			c.Send("hello")
			c.Response("POST")
			c.Probe()
		}},
		{Name: "no 100 when the handler does not read", Like: "TestServerExpect TestIssue11549_Expect100", Handle: writes("text"), Talk: expecting("100-continue", "", "POST")},
		{Name: "no 100 when the handler refuses", Like: "TestServerExpect TestNoSniffExpectRequestBody", Handle: status(401, "no"), Talk: expecting("100-continue", "", "POST")},
		{Name: "100 in capitals", Like: "TestServerExpect", Handle: consumed, Talk: expecting("100-Continue", "hello", "POST")},
		{Name: "another expectation", Like: "TestServerExpect", Handle: consumed, Talk: expecting("something", "hello", "POST")},
		{Name: "Expect with the body behind it", Like: "TestIssue13893_Expect100", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			body, err := io.ReadAll(r.Body)
			say("%q %q %v", r.Header["Expect"], body, err)
		}, Send: Post("/", "hello", "Expect: 100-continue")},
		{Name: "100 is not for HTTP/1.0", Like: "TestServerExpect", Handle: consumed, Send: Old("POST", "/", "hello", "Expect: 100-continue", "Content-Length: 5")},
		{Name: "100 and no body", Like: "TestServerExpect", Handle: consumed, Send: Request("POST", "/", "", "Expect: 100-continue", "Content-Length: 0")},
		{Name: "a read behind the head of the response", Like: "TestServerReadAfterWriteHeader100Continue", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			body, err := io.ReadAll(r.Body)
			say("%d %v", len(body), err != nil)
		}, Talk: func(c *Client) {
			c.Send("POST / HTTP/1.1\r\nHost: localhost\r\nX-Case: $CASE\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 5\r\n\r\n")
			c.Fields["first"] = c.Line()
			c.Send("hello")
			_, _ = io.Copy(io.Discard, c.in) // a client that leaves now may be gone before the handler reads
		}},
		{Name: "a body that the client ends early", Like: "TestRequestBodyReadErrorClosesConnection", Handle: broken, Talk: dangling(Request("POST", "/", "hel", "Content-Length: 5"))},
		{Name: "a chunked body that the client ends early", Like: "TestRequestBodyReadErrorClosesConnection", Handle: broken, Talk: dangling(Request("POST", "/", "5\r\nhel", "Transfer-Encoding: chunked"))},
		{Name: "a chunked body without its end", Like: "TestInvalidChunkedBodies", Handle: broken, Talk: dangling(Request("POST", "/", "3\r\nhel\r\n", "Transfer-Encoding: chunked"))},
		{Name: "a chunk of a size that is no number", Like: "TestInvalidChunkedBodies", Handle: broken, Talk: dangling(Request("POST", "/", "3\r\nabc\r\nzz\r\n", "Transfer-Encoding: chunked"))},
		{Name: "a chunk longer than its size", Like: "TestInvalidChunkedBodies", Handle: broken, Talk: dangling(Request("POST", "/", "3\r\nabcd\r\n0\r\n\r\n", "Transfer-Encoding: chunked"))},
		{Name: "a chunk of a size beyond all", Like: "TestInvalidChunkedBodies", Handle: broken, Talk: dangling(Request("POST", "/", "fffffffffffffffff\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: chunked"))},
		{Name: "a trailer that is no field", Like: "TestBodyReadBadTrailer TestInvalidTrailerClosesConnection", Handle: broken, Talk: dangling(Request("POST", "/", "3\r\nabc\r\n0\r\nno field\r\n\r\n", "Transfer-Encoding: chunked"))},
	}
}
