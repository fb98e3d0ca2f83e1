package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gsgi/gsgi/examples/e2e/app"
	"github.com/stretchr/testify/assert"
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

// reference serves the test application with net/http alone.
func reference(t *testing.T, protocol string) *httptest.Server {
	s := httptest.NewUnstartedServer(app.Handler())
	if protocol == h2 || protocol == h2c {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func TestRequestsArriveAsInNetHTTP(t *testing.T) {
	each(t, starredWays, func(t *testing.T, x *target) {
		ref := reference(t, x.protocol)
		x.run(t, "every field of the request and the environ", func(t *testing.T) {
			for _, q := range queries {
				if q.wire && x.protocol != h1 || q.not == x.kind {
					continue
				}
				t.Run(q.name, func(t *testing.T) {
					want, got := x.both(t, ref, q)
					x.adapt(want, got, q)
					environ := got.Environ
					want.Environ, got.Environ = nil, nil
					sameFields(t, reflect.ValueOf(*want), reflect.ValueOf(*got))
					x.checkEnviron(t, want, environ, q)
				})
			}
		})
	})
}

// sameFields compares two structs field by field.
func sameFields(t *testing.T, want, got reflect.Value) {
	t.Helper()
	for i := range want.NumField() {
		name, w, g := want.Type().Field(i).Name, want.Field(i), got.Field(i)
		if w.Kind() == reflect.Struct {
			sameFields(t, w, g)
			continue
		}
		if !reflect.DeepEqual(w.Interface(), g.Interface()) {
			t.Errorf("%s is %#v and should be %#v", name, reflect.Indirect(g), reflect.Indirect(w))
		}
	}
}

// both sends a query to net/http and to the server.
func (x *target) both(t *testing.T, ref *httptest.Server, q query) (want, got *app.Dump) {
	t.Helper()
	if x.protocol == h1 {
		want = wireDump(t, dialWire(t, ref.Listener.Addr().String()), q)
		got = wireDump(t, x.dial(t), q)
		return want, got
	}
	client := ref.Client()
	client.Transport.(*http.Transport).DisableCompression = true
	res, err := client.Do(q.request(ref.URL))
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(res.Body)
	res.Body.Close()
	a := x.do(t, q.request(x.url("/")))
	want, got = parseDump(t, string(text)), parseDump(t, a.body)
	if want.TLS != nil && a.TLS != nil {
		// What was negotiated is known to the client, too.
		want.TLS.Version, want.TLS.CipherSuite = a.TLS.Version, a.TLS.CipherSuite
		want.TLS.ServerName = "localhost"
	}
	return want, got
}

// wireDump sends the bytes, and replaces the addresses in the answer by what
// the connection has.
func wireDump(t *testing.T, w *wire, q query) *app.Dump {
	t.Helper()
	defer w.Close()
	w.send("%s", q.bytes())
	res, err := http.ReadResponse(bufio.NewReader(w.Conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s %v %s", res.Status, err, text)
	}
	d := parseDump(t, string(text))
	if d.RemoteAddr == w.LocalAddr().String() {
		d.RemoteAddr = "client"
	}
	if d.LocalAddr == w.RemoteAddr().String() {
		d.LocalAddr = "server"
	}
	return d
}

func parseDump(t *testing.T, text string) *app.Dump {
	t.Helper()
	d := new(app.Dump)
	if err := json.Unmarshal([]byte(text), d); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return d
}

// adapt takes from the comparison what is the server's by design: the path,
// addresses of other connections, and that Apache joins repeated headers.
func (x *target) adapt(want, got *app.Dump, q query) {
	if q.path != "" {
		want.URL.Path = q.path
		want.URL.RawPath = ""
	}
	want.URL.Text, got.URL.Text = "", ""
	want.URL.RequestURI, got.URL.RequestURI = "", ""
	if x.protocol != h1 {
		for _, d := range []*app.Dump{want, got} {
			d.RemoteAddr, _, _ = strings.Cut(d.RemoteAddr, ":")
			d.LocalAddr, _, _ = strings.Cut(d.LocalAddr, ":")
		}
	}
	if x.protocol == h2c {
		want.TLS = nil
	}
	if x.apache() {
		for _, d := range []*app.Dump{want, got} {
			for name, values := range d.Header {
				d.Header[name] = []string{strings.Join(values, ", ")}
			}
		}
	}
}

// checkEnviron compares the environ with RFC 3875, section 4.1, and PEP 3333,
// computed from the request that net/http saw.
func (x *target) checkEnviron(t *testing.T, r *app.Dump, env map[string]string, q query) {
	t.Helper()
	addr := x.plain
	want := map[string]string{
		"GATEWAY_INTERFACE": "CGI/1.1",
		"REQUEST_METHOD":    r.Method,
		"REQUEST_URI":       r.RequestURI,
		"SCRIPT_NAME":       "",
		"PATH_INFO":         r.URL.Path,
		"QUERY_STRING":      r.URL.RawQuery,
		"SERVER_PROTOCOL":   r.Proto,
		"REMOTE_ADDR":       "127.0.0.1",
		"SERVER_ADDR":       "127.0.0.1",
		"DOCUMENT_ROOT":     world.dir,
		"gsgi.url_scheme":   "http",
	}
	if x.protocol == h2 {
		addr = x.tls
		want["gsgi.url_scheme"] = "https"
		want["HTTPS"] = "on"
	}
	for name, values := range r.Header {
		key := "HTTP_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		want[key] = strings.Join(values, ", ")
	}
	want["HTTP_HOST"] = r.Host
	if r.Host == "" {
		delete(want, "HTTP_HOST")
	}
	if strings.HasPrefix(q.target, "http:") {
		want["HTTP_HOST"] = env["HTTP_HOST"] // what the header said
	}
	if len(r.TransferEncoding) > 0 {
		want["HTTP_TRANSFER_ENCODING"] = "chunked"
	}
	if _, made := r.Header["Cache-Control"]; made && env["HTTP_CACHE_CONTROL"] == "" {
		delete(want, "HTTP_CACHE_CONTROL") // made of Pragma by net/http
	}
	delete(want, "HTTP_CONTENT_TYPE")
	delete(want, "HTTP_CONTENT_LENGTH")
	if v, ok := r.Header["Content-Type"]; ok {
		want["CONTENT_TYPE"] = v[0]
	}
	if v, ok := r.Header["Content-Length"]; ok {
		want["CONTENT_LENGTH"] = v[0]
	}
	for key, value := range want {
		if v, ok := env[key]; !ok {
			t.Errorf("%s is missing and should be %q", key, value)
		} else if v != value {
			t.Errorf("%s is %q and should be %q", key, v, value)
		}
	}
	for key := range env {
		if _, known := want[key]; !known && strings.HasPrefix(key, "HTTP_") {
			t.Errorf("%s is in the environ, as %q", key, env[key])
		}
	}
	assert.NotEmpty(t, env["SERVER_NAME"])
	if v := env["SERVER_PORT"]; v != port(addr) {
		t.Errorf("SERVER_PORT is %q and the request came to %s", v, port(addr))
	}
	_, err := strconv.Atoi(env["REMOTE_PORT"])
	assert.NoError(t, err, "REMOTE_PORT")
	software := "nginx/"
	if x.apache() {
		software = "Apache"
	}
	assert.True(t, strings.HasPrefix(env["SERVER_SOFTWARE"], software), env["SERVER_SOFTWARE"])
}

// perRequest are the keys whose values differ between two requests.
var perRequest = regexp.MustCompile(`^(SCRIPT_NAME|REQUEST_URI|REMOTE_PORT|gsgi\.request_id|UNIQUE_ID|H2.*|SSL_SESSION_ID|SCRIPT_UR[LI]|PATH_TRANSLATED)$`)

func TestEnvironForTheGatewayInterface(t *testing.T) {
	each(t, starredWays, func(t *testing.T, x *target) {
		x.run(t, "the gateway interface sees the same environ as a handler", func(t *testing.T) {
			q := query{method: "POST", body: "a body", header: []string{"X-A: 1", "Cookie: a=b"}}
			dumps := make([]*app.Dump, 2)
			for i, mount := range []string{"/mount", "/gw"} {
				q.target = mount + "/dump/x?y=z"
				dumps[i] = parseDump(t, x.do(t, q.request(x.url("/"))).body)
				if x.protocol == h1 {
					dumps[i] = wireDump(t, x.dial(t), q)
				}
				env := dumps[i].Environ
				assert.Equal(t, mount, env["SCRIPT_NAME"])
				assert.Equal(t, "/dump/x", env["PATH_INFO"])
				assert.Equal(t, q.target, env["REQUEST_URI"])
				maps.DeleteFunc(env, func(key, _ string) bool { return perRequest.MatchString(key) })
			}
			assert.Equal(t, dumps[0].Environ, dumps[1].Environ)
			assert.Equal(t, dumps[0].Body, dumps[1].Body)
		})
	})
}

func TestRequestsFromAnIPv6Peer(t *testing.T) {
	each(t, plainWays, func(t *testing.T, x *target) {
		x.run(t, "its address has no brackets in the environ", func(t *testing.T) {
			w := dialWire(t, "[::1]:"+port(x.plain))
			d := wireDump(t, w, query{})
			assert.Equal(t, "client", d.RemoteAddr)
			assert.Equal(t, "server", d.LocalAddr)
			assert.Equal(t, "::1", d.Environ["REMOTE_ADDR"])
			assert.Equal(t, "::1", d.Environ["SERVER_ADDR"])
		})
	})
}

func TestHEAD(t *testing.T) {
	each(t, starredWays, func(t *testing.T, x *target) {
		x.run(t, "HEAD has the header of GET and no body", func(t *testing.T) {
			for _, path := range []string{"/hello", "/gw/hello", "/content?name=small.bin", "/gen?n=100000&cl=1"} {
				get, head := x.page(t, path), x.ask(t, http.MethodHead, path, "")
				get.Header.Del("Date")
				head.Header.Del("Date")
				assert.Equal(t, get.StatusCode, head.StatusCode, path)
				assert.Equal(t, get.Header, head.Header, path)
				assert.Empty(t, head.body)
			}
		})
		x.run(t, "a handler sees the method HEAD", func(t *testing.T) {
			g := newGate(t)
			req, err := http.NewRequest(http.MethodHead, x.url("/wait?"+g.query("head")), nil)
			if err != nil {
				t.Fatal(err)
			}
			answered := x.later(t, req)
			v := g.next()
			assert.Equal(t, "HEAD head", v.token)
			v.release()
			assert.Equal(t, http.StatusOK, (<-answered).StatusCode)
		})
	})
}

func TestHeadersThatCouldBeMistaken(t *testing.T) {
	each(t, plainWays, func(t *testing.T, x *target) {
		x.run(t, "Proxy and underscores never become HTTP_*", func(t *testing.T) {
			d := wireDump(t, x.dial(t), query{header: []string{
				"Proxy: http://evil.example", "proxy: again", "X_Forwarded_For: spoofed", "X-Real: 1", "X_Real: 2",
				"Content_Length: 5", "AUTH_TYPE: none"}})
			assert.NotContains(t, d.Environ, "HTTP_PROXY")
			assert.NotContains(t, d.Environ, "HTTP_X_FORWARDED_FOR")
			assert.NotContains(t, d.Environ, "HTTP_AUTH_TYPE")
			assert.NotContains(t, d.Environ, "CONTENT_LENGTH")
			assert.Equal(t, "1", d.Environ["HTTP_X_REAL"])
			assert.Equal(t, []string{"1"}, d.Header["X-Real"])
		})
	})
}
