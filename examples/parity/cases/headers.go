package cases

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// with answers with header lines and a short body.
func with(header ...string) handler {
	return func(w http.ResponseWriter, _ *http.Request, _ Say) {
		set(w, header...)
		_, _ = io.WriteString(w, "text")
	}
}

// raw sets a header past the canonical form.
func raw(name string, values ...string) handler {
	return func(w http.ResponseWriter, _ *http.Request, _ Say) {
		w.Header()[name] = values
		_, _ = io.WriteString(w, "text")
	}
}

func sniff(body string) handler {
	return func(w http.ResponseWriter, _ *http.Request, _ Say) { _, _ = io.WriteString(w, body) }
}

func headerCases() []Case {
	cases := []Case{
		{Name: "the canonical form of a name", Handle: with("x-lower-case: a", "X-UPPER: b"), Send: Get("/")},
		{Name: "a name that is set in its own form", Handle: raw("x-OWN-form", "a"), Send: Get("/")},
		{Name: "a repeated header keeps its order", Like: "TestHeaderToWire", Handle: with("X-Many: a", "X-Many: b", "X-Many: a", "X-Many: c"), Send: Get("/"), HTTP2: true},
		{Name: "several cookies", Handle: with("Set-Cookie: a=1; Path=/", "Set-Cookie: b=2; HttpOnly", "Set-Cookie: a=3"), Send: Get("/"), HTTP2: true},
		{Name: "http.SetCookie", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			http.SetCookie(w, &http.Cookie{Name: "a", Value: "x y", Path: "/", MaxAge: 7, Secure: true, SameSite: http.SameSiteLaxMode, Quoted: true})
			http.SetCookie(w, &http.Cookie{Name: "bad name"})
		}, Send: Get("/"), HTTP2: true},
		{Name: "an empty value", Handle: with("X-Empty: "), Send: Get("/"), HTTP2: true},
		{Name: "no value at all", Handle: raw("X-None"), Send: Get("/"), HTTP2: true},
		{Name: "blanks around a value", Handle: raw("X-Blank", "  a b\t "), Send: Get("/"), HTTP2: true},
		{Name: "a tab within a value", Handle: raw("X-Tab", "a\tb"), Send: Get("/"), HTTP2: true},
		{Name: "a value in Latin-1", Handle: raw("X-Latin", "caf\xe9"), Send: Get("/"), HTTP2: true},
		{Name: "a value in UTF-8", Handle: raw("X-Utf", "café ☕"), Send: Get("/"), HTTP2: true},
		{Name: "a line end in a value", Like: "TestHeaderToWire", Handle: raw("X-Split", "a\r\nInjected: yes"), Send: Get("/")},
		{Name: "a NUL in a value", Handle: raw("X-Nul", "a\x00b"), Send: Get("/")},
		{Name: "a name with a blank", Handle: raw("X Blank", "a"), Send: Get("/")},
		{Name: "an empty name", Handle: raw("", "a"), Send: Get("/")},
		{Name: "deleted before the head", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			w.Header().Set("X-A", "1")
			w.Header().Del("X-A")
			_, _ = io.WriteString(w, "text")
		}, Send: Get("/"), HTTP2: true},
		{Name: "deleted and set behind WriteHeader", Like: "TestHeaderToWire", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			w.Header().Set("X-A", "1")
			w.WriteHeader(200)
			w.Header().Del("X-A")
			w.Header().Set("X-B", "1")
			w.Header().Set("Content-Type", "text/late")
			_, _ = io.WriteString(w, "text")
		}, Send: Get("/"), HTTP2: true},
		{Name: "set behind Write", Like: "TestHeaderToWire", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			_, _ = io.WriteString(w, "text")
			w.Header().Set("X-B", "1")
			w.Header().Set("Content-Length", "2")
		}, Send: Get("/"), HTTP2: true},
		{Name: "set behind Flush", Like: "TestHeaderToWire", Handle: func(w http.ResponseWriter, _ *http.Request, say Say) {
			w.(http.Flusher).Flush()
			w.Header().Set("X-B", "1")
			_, _ = io.WriteString(w, "text")
			say("%s", w.Header().Get("X-B"))
		}, Send: Get("/"), HTTP2: true},
		{Name: "set behind Header, without Write", Like: "TestHeaderToWire", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			h := w.Header()
			w.WriteHeader(200)
			h.Set("X-B", "1")
		}, Send: Get("/"), HTTP2: true},
		{Name: "the header map is the same one", Handle: func(w http.ResponseWriter, _ *http.Request, say Say) {
			w.Header().Set("X-A", "1")
			w.WriteHeader(200)
			say("%v", w.Header())
		}, Send: Get("/"), HTTP2: true},
		{Name: "Date by the handler", Handle: with("Date: Sun, 02 Feb 2020 20:20:20 GMT"), Send: Get("/"), HTTP2: true},
		{Name: "Date taken away", Like: "TestServerNoDate", Handle: raw("Date"), Send: Get("/"), HTTP2: true},
		{Name: "Server by the handler", Handle: with("Server: own/1.0"), Send: Get("/"), HTTP2: true},
		{Name: "Last-Modified and ETag", Handle: with("Last-Modified: Sun, 02 Feb 2020 20:20:20 GMT", `ETag: "own"`), Send: Get("/"), HTTP2: true},
		{Name: "a tag asked for that the handler ignores", Handle: with(`ETag: "own"`, "Last-Modified: Sun, 02 Feb 2020 20:20:20 GMT"),
			Send: Get("/", `If-None-Match: "own"`, "If-Modified-Since: Sun, 02 Feb 2025 20:20:20 GMT"), HTTP2: true},
		{Name: "a range asked for that the handler ignores", Handle: with(`ETag: "own"`), Send: Get("/", "Range: bytes=0-1"), HTTP2: true},
		{Name: "Vary, Cache-Control and Expires", Handle: with("Vary: Accept", "Cache-Control: max-age=5", "Cache-Control: private", "Expires: 0"), Send: Get("/"), HTTP2: true},
		{Name: "Location without a redirect", Handle: with("Location: /a b"), Send: Get("/"), HTTP2: true},
		{Name: "Content-Location, Refresh, Link", Handle: with("Content-Location: /x", "Refresh: 5", "Link: </a>; rel=next"), Send: Get("/"), HTTP2: true},
		{Name: "Status as a header", Handle: with("Status: 404 Not Found"), Send: Get("/"), HTTP2: true},
		{Name: "X-Accel and X-Sendfile that nobody obeys", Handle: with("X-Sendfile: /etc/passwd", "X-Accel-Redirect: /x"), Send: Get("/"), HTTP2: true},
		{Name: "Keep-Alive by the handler", Handle: with("Keep-Alive: timeout=99"), Send: Get("/")},
		{Name: "Upgrade without 101", Handle: with("Upgrade: websocket"), Send: Get("/")},
		{Name: "a type that is set", Handle: with("Content-Type: application/x-own; a=b"), Send: Get("/"), HTTP2: true},
		{Name: "an empty type", Like: "TestH12_ServerEmptyContentLength", Handle: raw("Content-Type", ""), Send: Get("/"), HTTP2: true},
		{Name: "a type of nil", Like: "TestServerContentType", Handle: raw("Content-Type"), Send: Get("/"), HTTP2: true},
		{Name: "two types", Handle: raw("Content-Type", "text/a", "text/b"), Send: Get("/")},
		{Name: "no type with an encoding", Like: "TestContentEncodingNoSniffing", Handle: with("Content-Encoding: gzip"), Send: Get("/"), HTTP2: true},
		{Name: "a type with an empty encoding", Like: "TestContentEncodingNoSniffing", Handle: raw("Content-Encoding", ""), Send: Get("/")},
		{Name: "nosniff", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			w.Header().Set("X-Content-Type-Options", "nosniff")
			_, _ = io.WriteString(w, "<html>")
		}, Send: Get("/"), HTTP2: true},
		{Name: "the type of what two writes begin", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			_, _ = io.WriteString(w, "<ht")
			_, _ = io.WriteString(w, "ml><body>")
		}, Send: Get("/"), HTTP2: true},
		{Name: "the type of what is written before a flush", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			_, _ = io.WriteString(w, "%P")
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, "DF-")
		}, Send: Get("/"), HTTP2: true},
		{Name: "the type behind a flush of nothing", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, "<html>")
		}, Send: Get("/"), HTTP2: true},
		{Name: "a hundred headers", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			for i := range 100 {
				w.Header().Set(fmt.Sprintf("X-Number-%d", i), strings.Repeat("v", 50))
			}
		}, Send: Get("/")},
		{Name: "a header of 8,000 bytes", Handle: with("X-Long: " + strings.Repeat("v", 8000)), Send: Get("/"), HTTP2: true},
		{Name: "the whole request header of 6,000 bytes", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			say("%s", Clip(r.Header.Get("X-Long")))
			w.Header().Set("X-Long", r.Header.Get("X-Long"))
		}, Send: Get("/", "X-Long: "+strings.Repeat("v", 6000)), HTTP2: true},
	}
	for name, body := range sniffed {
		cases = append(cases, Case{Name: "the type of " + name, Like: "TestServerContentType", Handle: sniff(body), Send: Get("/"), HTTP2: true})
	}
	return cases
}

var sniffed = map[string]string{
	"text": "hello", "HTML": "<!DOCTYPE html><p>", "XML": "<?xml version=\"1.0\"?>", "JSON": `{"a":1}`,
	"a PNG": "\x89PNG\x0d\x0a\x1a\x0a", "gzip": "\x1f\x8b\x08", "bytes": "\x00\x01\x02\x03", "UTF-8": "☕", "nothing": "",
}
