//go:build linux

package module

import (
	"bufio"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gsgi/gsgi/cshim/bridge"
	"github.com/gsgi/gsgi/module/fakehost"
)

func parsed(t *testing.T, req *fakehost.Request) *Block {
	t.Helper()
	b := &Block{conf: &Config{Software: "fake/1.0"}}
	require.NoError(t, b.parse(fakehost.Block(req)))
	return b
}

func TestEnviron(t *testing.T) {
	b := parsed(t, &fakehost.Request{
		Method: "POST", Target: "/app/a%20b?x=1", Path: "/app/a b", Mount: "/app",
		Header: [][2]string{
			{"Host", "example.com"}, {"Accept-Language", "de"}, {"X-Two", "1"}, {"X-Two", "2"}, {"Cookie", "a=1"},
			{"Cookie", "b=2"}, {"Content-Type", "text/plain"}, {"Content-Length", "3"}, {"Proxy", "evil"}, {"X_two", "spoof"},
		},
		Params: [][2]string{{"APP_ENV", "test"}, {"SERVER_NAME", "first"}, {"SERVER_NAME", "second"}, {"HTTPS", "on"}},
		Meta:   map[uint8]string{uint8(MetaTLSVersion): "772", uint8(MetaTLSCipher): "4865", uint8(MetaRequestID): "r1"},
	})
	want := map[string]string{
		"REQUEST_METHOD": "POST", "REQUEST_URI": "/app/a%20b?x=1", "SCRIPT_NAME": "/app", "PATH_INFO": "/a b",
		"QUERY_STRING": "x=1", "SERVER_NAME": "second", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
		"SERVER_SOFTWARE": "fake/1.0", "GATEWAY_INTERFACE": "CGI/1.1", "REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "1234",
		"HTTP_HOST": "example.com", "HTTP_ACCEPT_LANGUAGE": "de", "HTTP_X_TWO": "1, 2", "HTTP_COOKIE": "a=1; b=2",
		"CONTENT_TYPE": "text/plain", "CONTENT_LENGTH": "3", "APP_ENV": "test", "HTTPS": "on", "gsgi.url_scheme": "https",
		"SSL_PROTOCOL": "TLSv1.3", "SSL_CIPHER": "TLS_AES_128_GCM_SHA256", "gsgi.request_id": "r1",
	}
	assert.Equal(t, want, maps.Collect(b.EnvironAll()))
	for key, value := range want {
		got, ok := b.Environ(key)
		assert.True(t, ok, key)
		assert.Equal(t, value, got, key)
	}
	for _, key := range []string{"HTTP_PROXY", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH", "REMOTE_USER", "AUTH_TYPE", "SSL_TLS_SNI", "", "HTTP_"} {
		_, ok := b.Environ(key)
		assert.False(t, ok, key)
	}
}

func TestPathInfoNeedsASegmentBoundary(t *testing.T) {
	for _, c := range []struct{ path, mount, want string }{
		{"/app/x", "/app", "/x"}, {"/app", "/app", ""}, {"/application", "/app", "/application"}, {"/x", "", "/x"},
	} {
		b := parsed(t, &fakehost.Request{Method: "GET", Target: c.path, Mount: c.mount})
		assert.Equal(t, c.want, b.PathInfo(), c)
	}
}

// The same bytes through net/http's own parser give the same request.
func TestRequestIsAsNetHTTPBuildsIt(t *testing.T) {
	for _, c := range []struct {
		target, path string
		header       [][2]string
		length       int64
	}{
		{target: "/", path: "/"},
		{target: "/a/b?x=1&x=2", path: "/a/b"},
		{target: "/a?", path: "/a"},
		{target: "/a%20b", path: "/a b"},
		{target: "/a%2Fb", path: "/a/b"},
		{target: "/a+b%2b", path: "/a+b+"},
		{target: "/%ff", path: "/\xff"},
		{target: "/x", path: "/x", header: [][2]string{{"X-A", "1"}, {"X-A", "2"}, {"Accept", "*/*"}}},
		{target: "/x", path: "/x", header: [][2]string{{"Content-Length", "3"}}, length: 3},
		{target: "/x", path: "/x", header: [][2]string{{"Transfer-Encoding", "chunked"}, {"Trailer", "X-T"}}, length: -1},
	} {
		raw := "POST " + c.target + " HTTP/1.1\r\nHost: example.com\r\n"
		for _, h := range c.header {
			raw += h[0] + ": " + h[1] + "\r\n"
		}
		want, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw + "\r\nabc")))
		require.NoError(t, err)

		var got *http.Request
		w := serve(t, func(_ http.ResponseWriter, r *http.Request) { got = r })
		req := &fakehost.Request{Method: "POST", Target: c.target, Path: c.path, Length: c.length,
			Header: append([][2]string{{"Host", "example.com"}}, c.header...)}
		if c.length != 0 {
			req.Stream = strings.NewReader("abc")
		}
		w.do(t, req)
		assert.Equal(t, want.Method, got.Method)
		assert.Equal(t, want.URL, got.URL, c.target)
		assert.Equal(t, want.RequestURI, got.RequestURI)
		assert.Equal(t, want.Host, got.Host)
		assert.Equal(t, want.Header, got.Header, c)
		assert.Equal(t, want.ContentLength, got.ContentLength, c)
		assert.Equal(t, want.TransferEncoding, got.TransferEncoding, c)
		assert.Equal(t, want.Trailer, got.Trailer, c)
		assert.Equal(t, [3]any{want.Proto, want.ProtoMajor, want.ProtoMinor}, [3]any{got.Proto, got.ProtoMajor, got.ProtoMinor})
		assert.Equal(t, want.Form, got.Form)
		assert.Equal(t, "192.0.2.1:1234", got.RemoteAddr)
	}
}

func TestRawPathOnlyWhenItDecodesToThePath(t *testing.T) {
	var got url.URL
	w := serve(t, func(_ http.ResponseWriter, r *http.Request) { got = *r.URL })
	w.do(t, &fakehost.Request{Method: "GET", Target: "/admin/..%2fpublic", Path: "/public"})
	assert.Equal(t, "/public", got.Path)
	assert.Empty(t, got.RawPath)
	w.do(t, &fakehost.Request{Method: "GET", Target: "/app/a%2Fb", Path: "/app/a/b", Mount: "/app"})
	assert.Equal(t, "/a/b", got.Path)
	assert.Equal(t, "/a%2Fb", got.RawPath)
}

func TestValidateHeader(t *testing.T) {
	for _, ok := range [][2]string{{"X-A", "b"}, {"Content-Type", "text/html; charset=utf-8"}, {"X-Tab", "a\tb"}, {"X", ""}} {
		assert.Empty(t, ValidateHeader(ok[0], ok[1]), ok)
	}
	for _, bad := range [][2]string{
		{"", "x"}, {"A B", "x"}, {"A:", "x"}, {"A", "x\r\ny"}, {"A", "x\x00"}, {"A", "\x7f"},
		{"Connection", "close"}, {"TRANSFER-ENCODING", "chunked"}, {"te", "trailers"}, {"Upgrade", "h2c"}, {"keep-alive", "1"},
	} {
		assert.NotEmpty(t, ValidateHeader(bad[0], bad[1]), bad)
	}
}

// TestExchangesFillSizeClasses is about memory: 8 bytes more in an exchange
// are 128 to 256 in the heap. To an object with pointers the allocator adds 8.
func TestExchangesFillSizeClasses(t *testing.T) {
	assert.LessOrEqual(t, unsafe.Sizeof(roomy[web, smallRoom]{}), uintptr(1408-8))
	assert.LessOrEqual(t, unsafe.Sizeof(roomy[web, middleRoom]{}), uintptr(2304-8))
	assert.LessOrEqual(t, unsafe.Sizeof(roomy[web, largeRoom]{}), uintptr(3200-8))
}

// FuzzBlock: no bytes at all make the decoder read outside or loop, and every
// lookup agrees with the iteration.
func FuzzBlock(f *testing.F) {
	f.Add(fakehost.Block(&fakehost.Request{Method: "GET", Target: "/?q", Header: [][2]string{{"Host", "a"}, {"Cookie", "b"}}}))
	f.Add(fakehost.Entry(nil, bridge.EntryParam, 0, "HTTPS", "on"))
	f.Add([]byte{1, 2, 0, 0, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		b := Block{conf: new(Config)}
		if b.parse(data) != nil {
			return
		}
		n := 0
		for name := range b.Headers() {
			_, ok := b.Header(name)
			assert.True(t, ok)
			n++
		}
		assert.Equal(t, int(b.headers), n)
		for key, value := range b.EnvironAll() {
			got, ok := b.Environ(key)
			assert.True(t, ok)
			assert.Equal(t, value, got)
		}
	})
}

// FuzzHead: whatever the handler sets, the host can decode what it gets, and
// gets nothing that is not a header.
func FuzzHead(f *testing.F) {
	f.Add("X-A", "value", 3)
	f.Add("A\r\nB", "v\x00", 1)
	f.Add("Long", strings.Repeat("v", 9000), 20)
	f.Fuzz(func(t *testing.T, name, value string, n int) {
		var h head
		added := 0
		for range min(max(n, 0), 40) {
			if checkHeader(name, value) == "" && h.add(name, value) == "" {
				added++
			}
		}
		assert.EqualValues(t, added, h.count)
		for rest := h.data; len(rest) > 0; {
			whole := within(rest, bridge.ChunkBytes-bridge.HeadSize)
			require.Positive(t, whole)
			for piece := string(rest[:whole]); piece != ""; {
				require.GreaterOrEqual(t, len(piece), bridge.EntrySize)
				n, v := lengths([]byte(piece))
				require.Equal(t, [2]int{len(name), len(value)}, [2]int{n, v})
				size := bridge.EntrySize + len(name) + len(value) + 2
				assert.Equal(t, name+"\x00"+value+"\x00", piece[bridge.EntrySize:size])
				piece = piece[size:]
			}
			rest = rest[whole:]
		}
	})
}
