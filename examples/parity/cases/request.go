package cases

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
)

// described reports every field of a request.
func described(w http.ResponseWriter, r *http.Request, say Say) {
	u := r.URL
	say("%s %s %s %d.%d", r.Method, r.RequestURI, r.Proto, r.ProtoMajor, r.ProtoMinor)
	say("host %q, scheme %q, opaque %q, URL host %q, user %v", r.Host, u.Scheme, u.Opaque, u.Host, u.User)
	say("path %q, raw %q, query %q, forced %v, fragment %q", u.Path, u.RawPath, u.RawQuery, u.ForceQuery, u.Fragment)
	say("URL %q, URI %q", u.String(), u.RequestURI())
	say("length %d, coding %v, close %v, trailer %v", r.ContentLength, r.TransferEncoding, r.Close, r.Trailer)
	say("pattern %q, TLS %v, response %v", r.Pattern, r.TLS != nil, r.Response)
	fields(r.Header, say)
	_, _ = io.WriteString(w, "text")
}

// fields reports header fields, but for the one that names the case.
func fields(h http.Header, say Say) {
	var lines []string
	for name, values := range h {
		if name != Header {
			lines = append(lines, fmt.Sprintf("%s: %q", name, values))
		}
	}
	slices.Sort(lines)
	say("%s", strings.Join(lines, ", "))
}

func requestCases() []Case {
	d := func(name, send string, like ...string) Case {
		return Case{Name: name, Like: strings.Join(like, " "), Handle: described, Send: send}
	}
	h2 := func(c Case) Case {
		c.HTTP2 = true
		return c
	}
	cases := []Case{
		h2(d("a plain request", Get("/a/b?c=d&e"))),
		d("a path that is escaped", Get("/a%20b/%C3%A9/%41")),
		d("a slash that is escaped", Get("/a%2Fb")),
		d("a percent sign that is escaped", Get("/a%25b")),
		d("a question mark that is escaped", Get("/a%3Fb?c")),
		d("a plus", Get("/a+b?c+d")),
		d("a semicolon in the path", Get("/a;b=c/d")),
		d("a path with what need not be escaped", Get("/!$&'()*+,;=:@-._~")),
		d("a path with what should be escaped", Get("/a|b\"c<d>^`{}")),
		d("a path in UTF-8", Get("/é")),
		d("two slashes within", Get("/a//b")),
		d("two slashes at the start", Get("//a/b")),
		d("a dot", Get("/a/./b")),
		d("two dots", Get("/a/../b")),
		d("two dots at the end", Get("/a/b/..")),
		d("an empty query", Get("/a?")),
		d("two question marks", Get("/a?b?c")),
		d("a query with what should be escaped", Get("/a?b=\"<>|")),
		d("a malformed escape", Get("/a%zzb")),
		d("an escaped NUL", Get("/a%00b")),
		d("a fragment", Get("/a#b")),
		d("an absolute target", Get("http://localhost/a?b")),
		d("an absolute target of another host than Host", Get("http://other.example:81/a")),
		d("an absolute target without a path", Get("http://localhost")),
		d("a target without a slash", Get("a/b")),
		d("the target * of OPTIONS", Request("OPTIONS", "*", ""), "TestOptions"),
		d("the target * of GET", Get("*")),
		h2(d("OPTIONS of a path", Request("OPTIONS", "/a", ""))),
		d("TRACE", Request("TRACE", "/a", "")),
		d("CONNECT", "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\nX-Case: $CASE\r\n\r\n"),
		d("a method in lower case", Request("get", "/", ""), "TestCaseSensitiveMethod"),
		h2(d("a method nobody knows", Request("BREW", "/", ""))),
		d("a method with a dash", Request("M-SEARCH", "/", "")),
		h2(d("PROPFIND", Request("PROPFIND", "/", ""))),
		d("PUT", Request("PUT", "/", "abc", "Content-Length: 3")),
		d("Host with a port", Request("GET", "/", "")[:0]+"GET / HTTP/1.1\r\nHost: localhost:8080\r\nX-Case: $CASE\r\n\r\n", "TestStripPortFromHost"),
		d("Host in capitals", "GET / HTTP/1.1\r\nHost: LocalHost\r\nX-Case: $CASE\r\n\r\n"),
		d("Host that is an address", "GET / HTTP/1.1\r\nHost: [::1]:80\r\nX-Case: $CASE\r\n\r\n", "TestServerValidatesHostHeader"),
		d("Host that is empty", "GET / HTTP/1.1\r\nHost:\r\nX-Case: $CASE\r\n\r\n", "TestServerValidatesHostHeader"),
		d("no Host in HTTP/1.0", Old("GET", "/", ""), "TestServerValidatesHostHeader"),
		d("Host in HTTP/1.0", Old("GET", "/", "", "Host: localhost")),
		h2(d("header fields of every kind", Get("/", "User-Agent: x/1", "Accept: a, b", "Accept-Encoding: gzip", "Accept-Language: de", "Referer: http://a/",
			"Authorization: Basic dTpw", "If-None-Match: *", "X-Forwarded-For: 1.2.3.4", "Origin: null", "Content-Type: a/b"))),
		h2(d("a repeated header field", Get("/", "X-A: 1", "x-a: 2", "X-A: 3"))),
		d("a field name that is not canonical", Get("/", "x-lOWER-cASE: 1")),
		d("an empty field", Get("/", "X-Empty:", "X-Blank:   ")),
		d("blanks around a field", Get("/", "X-A:   a  b \t ")),
		d("a field in Latin-1", Get("/", "X-A: caf\xe9")),
		d("a field with a colon and quotes", Get("/", `X-A: a:b "c" , d`)),
		d("a field name with every character that may be in it", Get("/", "X!#$%&'*+-.^`|~9: 1")),
		d("a field name with an underscore", Get("/", "X_A: 1", "X-B: 2")),
		d("the field Proxy", Get("/", "Proxy: http://evil/")),
		d("Pragma", Get("/", "Pragma: no-cache")),
		d("Te and Upgrade", Get("/", "TE: trailers", "Upgrade: h2c-none")),
		h2(d("several cookie fields", Get("/", "Cookie: a=1", "Cookie: b=2"))),
		d("a hundred fields", Get("/", hundred()...)),
		d("line feeds alone", strings.ReplaceAll(Get("/", "X-A: 1"), "\r\n", "\n")),
		{Name: "basic authentication", Handle: func(_ http.ResponseWriter, r *http.Request, say Say) {
			user, password, ok := r.BasicAuth()
			say("%q %q %v", user, password, ok)
		}, Send: Get("/", "Authorization: Basic dTpwOnA="), HTTP2: true},
		{Name: "UserAgent and Referer", Handle: func(_ http.ResponseWriter, r *http.Request, say Say) {
			say("%q %q %v", r.UserAgent(), r.Referer(), r.ProtoAtLeast(1, 1))
		}, Send: Get("/", "User-Agent: x/1", "Referer: http://a/"), HTTP2: true},
		{Name: "the client's address", Like: "TestSetsRemoteAddr", Handle: func(_ http.ResponseWriter, r *http.Request, say Say) {
			host, port, err := net.SplitHostPort(r.RemoteAddr)
			say("%s %v %v", host, port != "" && port != "0", err)
		}, Send: Get("/"), HTTP2: true},
		{Name: "no TLS", Like: "TestTLSServer", Handle: func(_ http.ResponseWriter, r *http.Request, say Say) { say("%v", r.TLS == nil) }, Send: Get("/")},
		{Name: "TLS", Like: "TestTLSServer", Handle: func(_ http.ResponseWriter, r *http.Request, say Say) {
			t := r.TLS
			say("%v %s %v %q %q %v %v", t.HandshakeComplete, tls.VersionName(t.Version), strings.HasPrefix(tls.CipherSuiteName(t.CipherSuite), "TLS_"),
				t.ServerName, t.NegotiatedProtocol, len(t.PeerCertificates), t.DidResume)
		}, Send: Get("/"), TLS: true},
		{Name: "the request written back", Handle: func(w http.ResponseWriter, r *http.Request, _ Say) {
			w.Header().Set("Content-Type", "message/http")
			_ = r.Write(w)
		}, Send: Post("/a%2Fb?c", "hello", "X-A: 1")},
		{Name: "a copy of the request", Handle: func(_ http.ResponseWriter, r *http.Request, say Say) {
			c := r.Clone(r.Context())
			c.URL.Path = "/changed"
			c.Header.Set("X-A", "2")
			say("%s %s", r.URL.Path, r.Header.Get("X-A"))
		}, Send: Get("/a", "X-A: 1")},
	}
	return cases
}

func hundred() (lines []string) {
	for i := range 90 {
		lines = append(lines, fmt.Sprintf("X-Number-%02d: %d", i, i))
	}
	return lines
}

// malformedCases are requests that a server refuses by itself, mostly.
func malformedCases() []Case {
	m := func(name, like, send string) Case {
		return Case{Name: name, Like: like, Handle: described, Send: send}
	}
	line := func(text string) string { return text + "\r\nHost: localhost\r\nX-Case: $CASE\r\n\r\n" }
	field := func(text string) string { return line("GET / HTTP/1.1\r\n" + text) }
	head := func(text string) string { return text + "\r\nX-Case: $CASE\r\n\r\n" }
	post := func(fields, body string) string {
		return "POST / HTTP/1.1\r\nHost: localhost\r\nX-Case: $CASE\r\n" + fields + "\r\n\r\n" + body
	}
	return []Case{
		m("no version", "", "GET /\r\n\r\n"),
		m("a method that is none", "TestServerValidatesMethod", line("GE(T / HTTP/1.1")),
		m("no target", "", line("GET HTTP/1.1")),
		m("a blank in the target", "", line("GET /a b HTTP/1.1")),
		m("two blanks before the target", "", line("GET  / HTTP/1.1")),
		m("HTTP/0.9 by its name", "", line("GET / HTTP/0.9")),
		m("HTTP/1.2", "", line("GET / HTTP/1.2")),
		m("HTTP/3.0", "", line("GET / HTTP/3.0")),
		m("a version that is none", "", line("GET / HTTP/x")),
		{Name: "the preface of HTTP/2", Like: "TestServerHandlersCanHandleH2PRI", Handle: described, Talk: func(c *Client) {
			c.Send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
			c.CloseWrite()
			c.Response("PRI")
		}},
		m("no Host", "TestServerValidatesHostHeader", head("GET / HTTP/1.1")),
		m("two Hosts", "TestServerValidatesHostHeader", field("Host: localhost")),
		m("two Hosts that differ", "TestServerValidatesHostHeader", field("Host: other")),
		m("a Host with a blank", "TestServerValidatesHostHeader", head("GET / HTTP/1.1\r\nHost: a b")),
		m("a Host with a slash", "TestServerValidatesHostHeader", head("GET / HTTP/1.1\r\nHost: a/b")),
		m("a Host in UTF-8", "TestServerValidatesHostHeader", head("GET / HTTP/1.1\r\nHost: \u043f\u0440\u0438\u0432\u0435\u0442")),
		m("a Host with a line feed", "TestServerValidatesHostHeader", head("GET / HTTP/1.1\r\nHost: a\x06b")),
		m("a blank before the colon", "TestServerValidatesHeaders", field("X-A : 1")),
		m("a blank in a field name", "TestServerValidatesHeaders", field("X A: 1")),
		m("no colon", "TestServerValidatesHeaders", field("X-A")),
		m("no field name", "TestServerValidatesHeaders", field(": 1")),
		m("a control character in a field", "TestServerValidatesHeaders", field("X-A: a\x01b")),
		m("a NUL in a field", "TestServerValidatesHeaders", field("X-A: a\x00b")),
		m("a carriage return in a field", "TestServerValidatesHeaders", field("X-A: a\rb")),
		m("a field over two lines", "TestServerValidatesHeaders", field("X-A: a\r\n b")),
		m("a first line that is a continuation", "", field(" X-A: 1")),
		m("a field name in UTF-8", "TestServerValidatesHeaders", field("X-é: 1")),
		m("a field of 2 MB", "TestRequestLimit", field("X-A: "+strings.Repeat("x", 2<<20))),
		m("a target of 2 MB", "", line("GET /"+strings.Repeat("x", 2<<20)+" HTTP/1.1")),
		m("a length that is none", "", post("Content-Length: x", "")),
		m("a negative length of a body", "", post("Content-Length: -1", "")),
		m("a length with a plus sign", "", post("Content-Length: +5", "hello")),
		m("a length beyond all", "", post("Content-Length: 99999999999999999999", "hello")),
		m("two lengths that are equal", "", post("Content-Length: 5\r\nContent-Length: 5", "hello")),
		m("two lengths that differ", "", post("Content-Length: 5\r\nContent-Length: 6", "hello")),
		m("a list of lengths", "", post("Content-Length: 5, 5", "hello")),
		m("a length and chunked", "", post("Content-Length: 3\r\nTransfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n")),
		m("a transfer coding that nobody has", "TestUnsupportedTransferEncodingsReturn501", post("Transfer-Encoding: fugazi", "")),
		m("gzip and chunked", "TestUnsupportedTransferEncodingsReturn501", post("Transfer-Encoding: gzip, chunked", "0\r\n\r\n")),
		m("chunked twice", "TestUnsupportedTransferEncodingsReturn501", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n")),
		m("identity of the client", "TestUnsupportedTransferEncodingsReturn501", post("Transfer-Encoding: identity", "")),
		m("chunked in capitals", "", post("Transfer-Encoding: CHUNKED", "0\r\n\r\n")),
		m("chunked in HTTP/1.0", "", "POST / HTTP/1.0\r\nHost: localhost\r\nX-Case: $CASE\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
		m("TLS to a plain port", "TestTLSServerRejectHTTPRequests", "\x16\x03\x01\x00\x05hello\r\n\r\n"),
	}
}
