package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/gsgi/gsgi/examples/e2e/app"
	"github.com/stretchr/testify/assert"
)

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
