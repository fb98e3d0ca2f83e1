package cases

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// handler is what a case has as its Handle.
type handler = func(w http.ResponseWriter, r *http.Request, say Say)

// web is a handler of net/http as that of a case.
func web(h http.Handler) handler {
	return func(w http.ResponseWriter, r *http.Request, _ Say) { h.ServeHTTP(w, r) }
}

// status answers with a code and, where it is not empty, a body; how the
// write went is reported.
func status(code int, body string, header ...string) handler {
	return func(w http.ResponseWriter, _ *http.Request, say Say) {
		set(w, header...)
		w.WriteHeader(code)
		if body != "" {
			n, err := io.WriteString(w, body)
			say("%d %v", n, err)
		}
	}
}

// set adds header lines to a response.
func set(w http.ResponseWriter, header ...string) {
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		w.Header().Add(name, value)
	}
}

// codeInPath answers with the code that the path names.
func codeInPath(w http.ResponseWriter, r *http.Request, _ Say) {
	code, _ := strconv.Atoi(r.URL.Path[1:])
	w.WriteHeader(code)
	_, _ = io.WriteString(w, "text")
}

func statusCases() []Case {
	return []Case{
		{Name: "every code from 200 to 599", Handle: codeInPath, Talk: everyCode},
		{Name: "codes over 599", Handle: codeInPath, Send: Get("/600") + Get("/799") + Get("/999"), Methods: "GET GET GET"},
		{Name: "200 without anything", Like: "TestH12_200NoBody", Handle: func(http.ResponseWriter, *http.Request, Say) {}, Send: Get("/"), HTTP2: true},
		{Name: "201 with a body", Handle: status(201, "made", "Location: /made/1"), Send: Get("/"), HTTP2: true},
		{Name: "204 with a body", Like: "TestCodesPreventingContentTypeAndBody", Handle: status(204, "x"), Send: Get("/"), HTTP2: true},
		{Name: "204 with a length", Handle: status(204, "", "Content-Length: 5"), Send: Get("/"), HTTP2: true},
		{Name: "204 with a type", Like: "TestContentTypeOkayOn204", Handle: status(204, "", "Content-Type: text/x"), Send: Get("/"), HTTP2: true},
		{Name: "205", Handle: status(205, ""), Send: Get("/"), HTTP2: true},
		{Name: "304 with a body", Like: "TestCodesPreventingContentTypeAndBody", Handle: status(304, "x"), Send: Get("/"), HTTP2: true},
		{Name: "304 with a tag and a date", Like: "TestH2_304NoBody Test304Responses", Handle: status(304, "", `ETag: "a"`, "Last-Modified: Sun, 02 Feb 2020 20:20:20 GMT"), Send: Get("/"), HTTP2: true},
		{Name: "304 with a type", Handle: status(304, "", "Content-Type: text/x"), Send: Get("/"), HTTP2: true},
		{Name: "304 with a length", Handle: status(304, "", "Content-Length: 5"), Send: Get("/"), HTTP2: true},
		{Name: "304 that is flushed", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			w.WriteHeader(304)
			say("%v", http.NewResponseController(w).Flush())
		}, Send: Get("/"), HTTP2: true},
		{Name: "401 with a challenge", Handle: status(401, "who?", `WWW-Authenticate: Basic realm="x"`), Send: Get("/"), HTTP2: true},
		{Name: "404 without a body", Like: "TestH2_404NoBody", Handle: status(404, ""), Send: Get("/"), HTTP2: true},
		{Name: "416 without a body", Handle: status(416, ""), Send: Get("/"), HTTP2: true},
		{Name: "500 with a body", Handle: status(500, "own page"), Send: Get("/"), HTTP2: true},
		{Name: "503 with Retry-After", Handle: status(503, "later", "Retry-After: 7"), Send: Get("/"), HTTP2: true},
		{Name: "a code nobody knows", Handle: status(299, "odd"), Send: Get("/"), HTTP2: true},
		{Name: "WriteHeader twice", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			w.WriteHeader(201)
			w.WriteHeader(404)
			_, _ = io.WriteString(w, "text")
		}, Send: Get("/"), HTTP2: true, Log: `http: superfluous response.WriteHeader call from github.com/gsgi/gsgi/examples/parity/cases.statusCases.func\d+ \(status.go:\d+\)`},
		{Name: "WriteHeader behind Write", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			_, _ = io.WriteString(w, "text")
			w.WriteHeader(404)
		}, Send: Get("/"), HTTP2: true, Log: `superfluous`},
		{Name: "WriteHeader of 0", Handle: status(0, "x"), Send: Get("/"), HTTP2: true, Log: `invalid WriteHeader code 0`},
		{Name: "WriteHeader of 99", Handle: status(99, "x"), Send: Get("/"), HTTP2: true, Log: `invalid WriteHeader code 99`},
		{Name: "WriteHeader of 1000", Handle: status(1000, "x"), Send: Get("/"), HTTP2: true, Log: `invalid WriteHeader code 1000`},
		{Name: "WriteHeader of -1", Handle: status(-1, "x"), Send: Get("/"), HTTP2: true, Log: `invalid WriteHeader code -1`},
		{Name: "an invalid code behind a valid one", Like: "TestWriteHeaderNoCodeCheck", Handle: func(w http.ResponseWriter, _ *http.Request, say Say) {
			w.WriteHeader(200)
			w.WriteHeader(0)
			say("went on")
		}, Send: Get("/"), HTTP2: true},
		{Name: "WriteHeader of 0, recovered", Like: "TestWriteHeader0", Handle: func(w http.ResponseWriter, _ *http.Request, say Say) {
			defer func() {
				say("%v", recover() != nil)
				w.WriteHeader(503)
			}()
			w.WriteHeader(0)
		}, Send: Get("/"), HTTP2: true},
		{Name: "early hints", Like: "TestEarlyHints TestEarlyHintsRequest", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			w.Header().Add("Link", "</style.css>; rel=preload; as=style")
			w.Header().Add("Link", "</script.js>; rel=preload; as=script")
			w.WriteHeader(103)
			w.Header().Add("Link", "</foo.js>; rel=preload; as=script")
			w.WriteHeader(103)
			_, _ = io.WriteString(w, "stuff")
		}, Send: Get("/"), HTTP2: true},
		{Name: "102", Like: "TestProcessing", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			w.WriteHeader(102)
			w.WriteHeader(200)
		}, Send: Get("/"), HTTP2: true},
		{Name: "an interim code nobody knows", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			w.Header().Set("X-Progress", "1")
			w.WriteHeader(150)
			_, _ = io.WriteString(w, "text")
		}, Send: Get("/")},
		{Name: "an interim code with a length", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			w.Header().Set("Content-Length", "4")
			w.WriteHeader(103)
			_, _ = io.WriteString(w, "text")
		}, Send: Get("/")},
		{Name: "100 by the handler", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			w.WriteHeader(100)
			_, _ = io.WriteString(w, "text")
		}, Send: Get("/")},
		{Name: "101 without Hijack", Like: "TestWriteHeaderSwitchingProtocols", Handle: func(w http.ResponseWriter, _ *http.Request, say Say) {
			w.Header().Set("Upgrade", "websocket")
			w.Header().Set("Connection", "Upgrade")
			w.WriteHeader(101)
			n, err := io.WriteString(w, "text")
			say("%d %v", n, err)
		}, Send: Get("/", "Connection: Upgrade", "Upgrade: websocket")},
	}
}

// everyCode asks for every code that may have a body on one connection.
func everyCode(c *Client) {
	for code := 200; code <= 599; code++ {
		if code == 204 || code == 304 {
			continue
		}
		c.Send("%s", Get(fmt.Sprintf("/%d", code)))
		before := c.Fields
		c.Fields, c.n = Fields{}, 0
		ok := c.Response("GET")
		if !ok || c.Fields["status"] != strconv.Itoa(code) || c.Fields["body"] != "text" || c.Fields["framing"] != "length" {
			before[fmt.Sprint(code)] = fmt.Sprint(c.Fields)
		}
		if text := http.StatusText(code); text != "" && c.Fields["reason"] != text {
			before["phrases"] = "others"
		}
		closed := strings.Contains(c.Fields["header Connection"], "close")
		c.Fields = before
		if closed || !ok {
			before["connections"] = "more than one"
			if c.Connect() != nil {
				return
			}
		}
	}
}
