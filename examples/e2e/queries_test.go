package e2e

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// A query is a request that is sent alike to a server and to net/http.
type query struct {
	name    string
	method  string // GET
	target  string // /dump
	proto   string // HTTP/1.1
	header  []string
	body    string
	chunked bool
	wire    bool   // HTTP/1 only: what it is about does not exist in HTTP/2
	path    string // the path that a server decides on, where it is not net/http's
	not     string // a server that does not take it, by its own rules
}

func (q query) fields() (method, target, proto string) {
	method, target, proto = q.method, q.target, q.proto
	if method == "" {
		method = "GET"
	}
	if target == "" {
		target = "/dump"
	}
	if proto == "" {
		proto = "HTTP/1.1"
	}
	return method, target, proto
}

// bytes is the request as it goes over the wire.
func (q query) bytes() string {
	method, target, proto := q.fields()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s\r\n", method, target, proto)
	host := proto == "HTTP/1.1"
	for _, line := range q.header {
		b.WriteString(line + "\r\n")
		host = host && !strings.HasPrefix(strings.ToLower(line), "host:")
	}
	if host {
		b.WriteString("Host: localhost\r\n")
	}
	switch {
	case q.chunked:
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		for part := range slices.Chunk([]byte(q.body), 7) {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(part), part)
		}
		b.WriteString("0\r\n\r\n")
	case q.body != "":
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(q.body), q.body)
	default:
		b.WriteString("\r\n" + q.body)
	}
	return b.String()
}

// request is the same for a client of HTTP/2.
func (q query) request(base string) *http.Request {
	method, target, _ := q.fields()
	var body io.Reader
	if q.body != "" {
		body = strings.NewReader(q.body)
		if q.chunked {
			body = io.MultiReader(body)
		}
	}
	path, args, hasArgs := strings.Cut(target, "?")
	req, err := http.NewRequest(method, base, body)
	if err != nil {
		panic(err)
	}
	req.URL.RawQuery, req.URL.ForceQuery = args, hasArgs && args == ""
	req.Host = "localhost"
	for _, line := range q.header {
		name, value, _ := strings.Cut(line, ":")
		if strings.EqualFold(name, "Host") {
			req.Host = strings.TrimSpace(value)
			continue
		}
		req.Header.Add(name, strings.TrimSpace(value))
	}
	req.URL.Opaque = "//" + req.Host + path // sent as it is
	return req
}

var longCookie = "session=" + strings.Repeat("0123456789abcdef", 448)

var queries = []query{
	{name: "GET"},
	{name: "POST with a body", method: "POST", header: []string{"Content-Type: text/plain"}, body: "a body"},
	{name: "POST without a body", method: "POST", header: []string{"Content-Length: 0"}},
	{name: "PUT", method: "PUT", body: "put this"},
	{name: "DELETE", method: "DELETE"},
	{name: "DELETE with a body", method: "DELETE", body: "reason"},
	{name: "OPTIONS", method: "OPTIONS"},
	{name: "PATCH", method: "PATCH", body: "patch"},
	{name: "a method that nobody knows", method: "BREW"},
	{name: "a method that nobody knows with a body", method: "BREW", body: "coffee"},
	{name: "a method of WebDAV", method: "PROPFIND", header: []string{"Depth: 1"}},
	{name: "GET with a body", body: "unusual"},
	{name: "a chunked body", method: "POST", chunked: true, body: strings.Repeat("chunked ", 20)},
	{name: "HTTP/1.0", proto: "HTTP/1.0", wire: true},
	{name: "HTTP/1.0 with Host", proto: "HTTP/1.0", header: []string{"Host: example.com"}, wire: true},
	{name: "HTTP/1.0 to be kept alive", proto: "HTTP/1.0", header: []string{"Connection: keep-alive"}, wire: true},
	{name: "Connection: close", header: []string{"Connection: close"}, wire: true},
	{name: "Connection: keep-alive", header: []string{"Connection: keep-alive"}, wire: true},
	{name: "absolute form", target: "http://localhost/dump?a=b", wire: true},
	{name: "absolute form with another Host", target: "http://localhost/dump",
		header: []string{"Host: other.example"}, wire: true},
	{name: "a query", target: "/dump?a=1&b=2"},
	{name: "an empty query", target: "/dump?"},
	{name: "two question marks", target: "/dump??a"},
	{name: "a repeated key", target: "/dump?a=1&a=2&a=3"},
	{name: "encoded characters in the query", target: "/dump?a=%20+%2B%26%3d&%c3%a9=%ff"},
	{name: "a semicolon in the query", target: "/dump?a;b=c"},
	{name: "a broken escape in the query", target: "/dump?a=%zz"},
	{name: "raw bytes in the query", target: "/dump?a=\xe9\xff", wire: true},
	{name: "encoded letters in the path", target: "/dump/%41%62c"},
	{name: "plus and encoded space in the path", target: "/dump/a+b%20c%2Bd"},
	{name: "UTF-8 in the path", target: "/dump/%c3%a9%E2%82%AC"},
	{name: "bytes in the path that are no UTF-8", target: "/dump/%ff%fe%80"},
	{name: "raw bytes in the path", target: "/dump/\xe9/\xc3\xa9", wire: true},
	{name: "an encoded percent sign", target: "/dump/100%25"},
	{name: "an encoded question mark and number sign", target: "/dump/a%3fb%23c"},
	{name: "characters that need no escape", target: "/dump/!$&'()*,;=:@-._~"},
	{name: "characters that are escaped without need", target: "/dump/%7Euser/%2D%5F%2E%21%27%28%29%2A"},
	{name: "an encoded colon and comma", target: "/dump/a%3Ab%2Cc%3Bd"},
	{name: "a slash too many", target: "/dump//a", path: "/dump/a"},
	{name: "a dot segment", target: "/dump/./a", path: "/dump/a"},
	{name: "a double dot segment", target: "/dump/x/../a", path: "/dump/a"},
	{name: "an encoded dot segment", target: "/dump/x/%2e%2e/a", path: "/dump/a"},
	{name: "dots that are no segment", target: "/dump/..a/b../.c/..."},
	{name: "a trailing slash", target: "/dump/a/"},
	{name: "a long target", target: "/dump/" + strings.Repeat("long/", 700) + "?" + strings.Repeat("q=1&", 500)},
	{name: "a port in Host", header: []string{"Host: example.com:8080"}},
	{name: "capitals in Host", header: []string{"Host: EXAMPLE.com"}},
	{name: "an IPv6 address in Host", header: []string{"Host: [::1]:8080"}},
	{name: "odd spelling of names", header: []string{"x-lOwEr: 1", "X-UPPER: 2", "ETAG: 3", "x-9a: 4"}},
	{name: "space around values", header: []string{"X-A: \t spaced out \t ", "X-B:none"}, wire: true},
	{name: "an empty value", header: []string{"X-Empty:", "X-Blank:   "}},
	{name: "bytes in values that are no ASCII", header: []string{"X-Latin: caf\xe9", "X-Utf: caf\xc3\xa9"}},
	{name: "a tab within a value", header: []string{"X-Tab: a\tb"}},
	{name: "a repeated header", header: []string{"X-Many: 1", "X-Other: x", "x-many: 2", "X-Many: 3"}},
	{name: "many headers", header: manyHeaders(60)},
	{name: "a cookie of 7 KB", header: []string{"Cookie: " + longCookie}},
	{name: "cookies", header: []string{`Cookie: a=1; b="2"; c=3=3`}},
	{name: "credentials", header: []string{"Authorization: Basic dXNlcjpwYXNz"}},
	{name: "a bearer token", header: []string{"Authorization: Bearer abc.def.ghi"}},
	{name: "Pragma: no-cache", header: []string{"Pragma: no-cache"}},
	{name: "Pragma and Cache-Control", header: []string{"Pragma: no-cache", "Cache-Control: max-age=0"}},
	{name: "what a browser sends", header: []string{
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64)", "Accept: text/html,*/*;q=0.8",
		"Accept-Language: de,en;q=0.5", "Accept-Encoding: gzip, deflate, br", "DNT: 1",
		"Referer: http://localhost/x?y", "Upgrade-Insecure-Requests: 1", "Sec-Fetch-Mode: navigate"}},
	{name: "what a proxy adds", header: []string{
		"X-Forwarded-For: 192.0.2.1, 192.0.2.2", "X-Forwarded-Proto: https", "Forwarded: for=192.0.2.1",
		"Via: 1.1 proxy"}},
	{name: "a content type with parameters", method: "POST", body: "a=1&b=%20",
		header: []string{"Content-Type: application/x-www-form-urlencoded; charset=UTF-8"}},
}

func manyHeaders(n int) []string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("X-Header-%d: value %d", i, i))
	}
	return list
}
