package cases

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// writes writes texts, and reports what each write returns.
func writes(texts ...string) handler {
	return func(w http.ResponseWriter, _ *http.Request, say Say) {
		for _, text := range texts {
			n, err := io.WriteString(w, text)
			say("%d %v", n, err)
		}
	}
}

// sized is writes with a Content-Length.
func sized(length string, texts ...string) handler {
	return func(w http.ResponseWriter, r *http.Request, say Say) {
		w.Header().Set("Content-Length", length)
		writes(texts...)(w, r, say)
	}
}

// flushed flushes behind each text.
func flushed(texts ...string) handler {
	return func(w http.ResponseWriter, _ *http.Request, say Say) {
		for _, text := range texts {
			_, _ = io.WriteString(w, text)
			say("%v", http.NewResponseController(w).Flush())
		}
	}
}

func encoded(coding, length string) handler {
	return func(w http.ResponseWriter, _ *http.Request, say Say) {
		w.Header().Set("Transfer-Encoding", coding)
		if length != "" {
			w.Header().Set("Content-Length", length)
		}
		n, err := io.WriteString(w, "text")
		say("%d %v", n, err)
	}
}

// readerOnly hides all of a reader but Read.
type readerOnly struct{ io.Reader }

func copied(n int) handler {
	return func(w http.ResponseWriter, _ *http.Request, say Say) {
		m, err := io.Copy(w, readerOnly{strings.NewReader(strings.Repeat("0123456789", n/10))})
		say("%d %v", m, err)
	}
}

func lengthCases() []Case {
	long := func(n int) string { return strings.Repeat("x", n) }
	return []Case{
		{Name: "one short write", Like: "TestH12_SmallBody", Handle: writes("text"), Send: Get("/"), HTTP2: true},
		{Name: "several short writes", Like: "TestServerBufferedChunking", Handle: writes("a", "b", "c"), Send: Get("/"), HTTP2: true},
		{Name: "an empty write", Handle: writes(""), Send: Get("/"), HTTP2: true},
		{Name: "empty writes among others", Handle: writes("", "a", "", "b"), Send: Get("/"), HTTP2: true},
		{Name: "2,048 bytes", Handle: writes(long(2048)), Send: Get("/"), HTTP2: true},
		{Name: "2,049 bytes", Handle: writes(long(2049)), Send: Get("/"), HTTP2: true},
		{Name: "2,047 bytes and 2 more", Handle: writes(long(2047), "xx"), Send: Get("/"), HTTP2: true},
		{Name: "5,000 bytes", Handle: writes(long(5000)), Send: Get("/"), HTTP2: true},
		{Name: "1 MB", Handle: writes(long(1e6)), Send: Get("/"), HTTP2: true},
		{Name: "1,000 writes", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			for i := range 1000 {
				fmt.Fprintf(w, "%d\n", i)
			}
		}, Send: Get("/"), HTTP2: true},
		{Name: "flush at the end", Handle: flushed("text"), Send: Get("/"), HTTP2: true},
		{Name: "flush in the middle", Like: "TestH12_FlushMidBody TestChunkedResponseHeaders", Handle: flushed("one", "two", "three"), Send: Get("/"), HTTP2: true},
		{Name: "flush of nothing", Like: "TestH12_FlushBeforeBody", Handle: flushed(""), Send: Get("/"), HTTP2: true},
		{Name: "a length that is right", Like: "TestH12_ExplicitContentLength", Handle: sized("4", "text"), Send: Get("/"), HTTP2: true},
		{Name: "a length that is right, flushed", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			w.Header().Set("Content-Length", "6")
			flushed("one", "two")(w, r, say)
		}, Send: Get("/"), HTTP2: true},
		{Name: "a length of a long body", Handle: sized("5000", long(5000)), Send: Get("/"), HTTP2: true},
		{Name: "a length of 0", Like: "TestContentLengthZero", Handle: sized("0"), Send: Get("/") + Old("GET", "/", ""), Methods: "GET GET", Unprobed: true},
		{Name: "more than the length in one write", Handle: sized("2", "text"), Send: Get("/"), HTTP2: true},
		{Name: "more than the length in a second write", Like: "TestHandlerWritesTooMuch", Handle: sized("4", "text", "more", "and more"), Send: Get("/"), HTTP2: true},
		{Name: "more than a length of 0", Handle: sized("0", "text"), Send: Get("/"), HTTP2: true},
		{Name: "less than the length", Like: "TestH12_HandlerWritesTooLittle", Handle: sized("10", "text"), Send: Get("/"), HTTP2: true},
		{Name: "less than the length, flushed", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			w.Header().Set("Content-Length", "10")
			flushed("text")(w, r, say)
		}, Send: Get("/"), HTTP2: true},
		{Name: "nothing of the length", Handle: sized("10"), Send: Get("/"), HTTP2: true},
		{Name: "a length that is no number", Like: "TestDisableContentLength", Handle: sized("ten", "text"), Send: Get("/"), HTTP2: true, Log: `http: invalid Content-Length of "ten"`},
		{Name: "a negative length", Handle: sized("-1", "text"), Send: Get("/"), HTTP2: true},
		{Name: "a length with a plus", Handle: sized("+4", "text"), Send: Get("/")},
		{Name: "a length with blanks", Handle: sized(" 4 ", "text"), Send: Get("/")},
		{Name: "a length of nil", Like: "TestDisableContentLength", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			w.Header()["Content-Length"] = nil
			_, _ = io.WriteString(w, "text")
		}, Send: Get("/")},
		{Name: "two lengths", Handle: func(w http.ResponseWriter, _ *http.Request, say Say) {
			w.Header()["Content-Length"] = []string{"4", "4"}
			n, err := io.WriteString(w, "text")
			say("%d %v", n, err)
		}, Send: Get("/")},
		{Name: "identity", Like: "TestIdentityTransferEncoding TestIdentityResponse", Handle: encoded("identity", ""), Send: Get("/")},
		{Name: "identity with a length", Like: "TestIdentityResponse", Handle: encoded("identity", "4"), Send: Get("/")},
		{Name: "identity in HTTP/1.0", Like: "TestIdentityResponse", Handle: encoded("identity", ""), Send: Old("GET", "/", "")},
		{Name: "chunked by the handler", Like: "TestHandlerSetTransferEncodingChunked", Handle: encoded("chunked", ""), Send: Get("/")},
		{Name: "chunked by the handler, with a length", Like: "TestNoContentLengthIfTransferEncoding", Handle: encoded("chunked", "4"), Send: Get("/")},
		{Name: "gzip as transfer coding", Like: "TestHandlerSetTransferEncodingGzip", Handle: encoded("gzip", ""), Send: Get("/", "Connection: close")},
		{Name: "an unknown transfer coding", Like: "TestNoContentLengthIfTransferEncoding", Handle: encoded("foo", ""), Send: Get("/", "Connection: close")},
		{Name: "HEAD of a short body", Like: "TestH12_HeadContentLengthSmallBody TestH12_Head_ImplicitLen TestHeadResponses", Handle: writes("text"), Send: Request("HEAD", "/", ""), HTTP2: true},
		{Name: "HEAD of a long body", Like: "TestH12_HeadContentLengthLargeBody TestHeadResponses", Handle: writes(long(3000)), Send: Request("HEAD", "/", ""), HTTP2: true},
		{Name: "HEAD of nothing", Like: "TestH12_HeadContentLengthNoBody", Handle: writes(), Send: Request("HEAD", "/", ""), HTTP2: true},
		{Name: "HEAD with a length", Like: "TestH12_Head_ExplicitLen", Handle: sized("7"), Send: Request("HEAD", "/", ""), HTTP2: true},
		{Name: "HEAD with a length and a body", Handle: sized("4", "text"), Send: Request("HEAD", "/", ""), HTTP2: true},
		{Name: "HEAD with a length of 0", Handle: sized("0"), Send: Request("HEAD", "/", ""), HTTP2: true},
		{Name: "HEAD with more than the length", Handle: sized("2", "text"), Send: Request("HEAD", "/", ""), HTTP2: true},
		{Name: "HEAD with flush", Handle: flushed("one", "two"), Send: Request("HEAD", "/", ""), HTTP2: true},
		{Name: "HEAD with io.Copy", Like: "TestHeadReaderFrom", Handle: copied(5000), Send: Request("HEAD", "/", ""), HTTP2: true},
		{Name: "HEAD of 404", Handle: web(http.HandlerFunc(http.NotFound)), Send: Request("HEAD", "/", ""), HTTP2: true},
		{Name: "io.Copy of few bytes", Handle: copied(100), Send: Get("/"), HTTP2: true},
		{Name: "io.Copy of many bytes", Handle: copied(100_000), Send: Get("/"), HTTP2: true},
		{Name: "io.Copy of nothing", Handle: copied(0), Send: Get("/"), HTTP2: true},
		{Name: "ReadFrom between writes", Like: "TestServerReaderFromOrder", Handle: func(w http.ResponseWriter, _ *http.Request, say Say) {
			_, _ = io.WriteString(w, "before ")
			n, err := w.(io.ReaderFrom).ReadFrom(bytes.NewReader([]byte(long(4000))))
			say("%d %v", n, err)
			_, _ = io.WriteString(w, " behind")
		}, Send: Get("/")},
		{Name: "ReadFrom of more than the length", Handle: func(w http.ResponseWriter, _ *http.Request, say Say) {
			w.Header().Set("Content-Length", "10")
			n, err := io.Copy(w, readerOnly{strings.NewReader(long(20))})
			say("%d %v", n, err)
		}, Send: Get("/")},
		{Name: "WriteString", Like: "TestResponseWriterWriteString", Handle: func(w http.ResponseWriter, _ *http.Request, say Say) {
			n, err := w.(io.StringWriter).WriteString("text")
			say("%d %v", n, err)
		}, Send: Get("/")},
		{Name: "trailers that are announced", Like: "TestTrailersServerToClient TestTrailersServerToClientFlush", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			w.Header().Set("Trailer", "X-A, X-B")
			w.Header().Add("Trailer", "X-Never")
			_, _ = io.WriteString(w, "text")
			w.Header().Set("X-A", "1")
			w.Header().Set("X-B", "2")
			w.Header().Set("X-C", "3")
		}, Send: Get("/", "TE: trailers"), HTTP2: true},
		{Name: "trailers that are not announced", Like: "TestServerUndeclaredTrailers", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			_, _ = io.WriteString(w, "text")
			w.(http.Flusher).Flush()
			w.Header().Set(http.TrailerPrefix+"X-A", "1")
		}, Send: Get("/", "TE: trailers"), HTTP2: true},
		{Name: "trailers that nobody knew of", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			_, _ = io.WriteString(w, "text")
			w.Header().Set(http.TrailerPrefix+"X-A", "1")
		}, Send: Get("/", "TE: trailers"), HTTP2: true},
		{Name: "trailers for a client that did not ask", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			w.Header().Set("Trailer", "X-A")
			_, _ = io.WriteString(w, "text")
			w.Header().Set("X-A", "1")
		}, Send: Get("/")},
		{Name: "trailers of a body with a length", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			w.Header().Set("Trailer", "X-A")
			w.Header().Set("Content-Length", "4")
			_, _ = io.WriteString(w, "text")
			w.Header().Set("X-A", "1")
		}, Send: Get("/", "TE: trailers")},
		{Name: "trailers in HTTP/1.0", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			w.Header().Set("Trailer", "X-A")
			_, _ = io.WriteString(w, "text")
			w.Header().Set("X-A", "1")
		}, Send: Old("GET", "/", "")},
		{Name: "a trailer that is not allowed", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			w.Header().Set("Trailer", "Content-Length, X-A")
			_, _ = io.WriteString(w, "text")
			w.(http.Flusher).Flush()
			w.Header().Set("X-A", "1")
			w.Header().Set("Content-Length", "99")
		}, Send: Get("/", "TE: trailers")},
	}
}
