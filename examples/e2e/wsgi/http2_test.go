package wsgi

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const nginxTLS = `
	server {
		listen @ADDR@ ssl http2;
		server_name localhost;
		ssl_certificate @SHARE@/cert.pem;
		ssl_certificate_key @SHARE@/cert.pem;
		location / { gsgi_pass site; }
		location /tight/ { gsgi_pass site; gsgi_script_name /tight; gsgi_buffering off; gsgi_buffer 16k; }
		location /unbuffered/ { gsgi_pass site; gsgi_script_name /unbuffered; gsgi_request_buffering off; gsgi_buffering off; }
	}
`

const apacheTLS = `
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
LoadModule http2_module /usr/lib/apache2/modules/mod_http2.so
Listen @ADDR@
H2EarlyHints on
<VirtualHost @ADDR@>
	Protocols h2
	SSLEngine on
	SSLCertificateFile @SHARE@/cert.pem
	SSLCertificateKeyFile @SHARE@/cert.pem
</VirtualHost>
`

// certificate writes the certificate that Go's own tests have, with its key.
// The client that is returned trusts it, and speaks HTTP/2.
func certificate(t *testing.T) *http.Client {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	key, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	if err := os.WriteFile(filepath.Join(world.dir, "cert.pem"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return s.Client()
}

// TestHTTP2: many streams of one connection, through TLS.
func TestHTTP2(t *testing.T) {
	client := certificate(t)
	both(t, func(t *testing.T, kind string) {
		addr := freeAddr(t)
		conf := contract
		conf.http = strings.ReplaceAll(nginxTLS, "@ADDR@", addr)
		conf.hosts = strings.ReplaceAll(apacheTLS, "@ADDR@", addr)
		s := launch(t, kind, conf)
		url := "https://" + addr
		get := func(path string) string {
			return fetch(t, client, s.request(http.MethodGet, path, ""), url)
		}
		f := facts(t, answer{body: get("/environ?a=b")})
		for key, want := range map[string]any{"SERVER_PROTOCOL": "HTTP/2.0", "wsgi.url_scheme": "https", "HTTPS": "on",
			"QUERY_STRING": "a=b", "HTTP_HOST": addr} {
			if f[key] != want {
				t.Errorf("%s is %v, not %v", key, f[key], want)
			}
		}
		if p, _ := f["SSL_PROTOCOL"].(string); !strings.HasPrefix(p, "TLSv1.") || f["SSL_CIPHER"] == nil {
			t.Errorf("SSL_PROTOCOL is %v, SSL_CIPHER %v", f["SSL_PROTOCOL"], f["SSL_CIPHER"])
		}
		body := strings.Repeat("0123456789abcdef", 1<<16)
		sum := fmt.Sprintf("%d %x", len(body), sha256.Sum256([]byte(body)))
		var wg sync.WaitGroup
		for range 20 {
			for _, mount := range []string{"", "/unbuffered"} {
				wg.Go(func() {
					if got := fetch(t, client, s.request(http.MethodPost, mount+"/read_hash", body), url); got != sum {
						t.Errorf("an upload: %.80q", got)
					}
					if got := get(mount + "/big?300000"); got != strings.Repeat("b", 300000) {
						t.Errorf("a download: %d bytes", len(got))
					}
				})
			}
		}
		wg.Wait()
		for path, want := range map[string]string{"/writes": "one two three", "/generator": "late start", "/nothing": "",
			"/wrapped": strings.Repeat("0123456789", 20000)[5:100005]} {
			if got := get(path); got != want {
				t.Errorf("%s: %.80q", path, got)
			}
		}
		streams(t, s, client, url)
		if kind == nginx {
			noWindow(t, addr, "/tight/two_blocks")
			asked := time.Now()
			s.want("/hello", 200, "Hello, world\n")
			if waited := time.Since(asked); waited > 20*time.Second {
				t.Errorf("another client waits %v for one that takes nothing", waited)
			}
		}
		balanced(s)
	})
}

// noWindow asks for a page by a connection whose streams may get nothing.
func noWindow(t *testing.T, addr, path string) {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	const settings, initialWindow, headers, endOfStreamAndHeaders = 4, 4, 1, 5
	out := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	frame := func(kind, flags, stream byte, payload []byte) {
		out = append(out, 0, byte(len(payload)>>8), byte(len(payload)), kind, flags, 0, 0, 0, stream)
		out = append(out, payload...)
	}
	frame(settings, 0, 0, []byte{0, initialWindow, 0, 0, 0, 0})
	var block []byte
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":path", path}, {":authority", "localhost"}} {
		block = append(block, 0, byte(len(f[0])))
		block = append(append(block, f[0]...), byte(len(f[1])))
		block = append(block, f[1]...)
	}
	for stream := byte(1); stream <= 3; stream += 2 { // fewer than threads
		frame(headers, endOfStreamAndHeaders, stream, block)
	}
	if _, err := conn.Write(out); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
}

// fetch has a request answered through another address, in HTTP/2.
func fetch(t *testing.T, client *http.Client, req *http.Request, url string) string {
	t.Helper()
	res := begin(t, client, req, url)
	if res == nil {
		return ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.ProtoMajor != 2 {
		t.Errorf("%s: %s, %v", req.URL.Path, res.Proto, err)
	}
	return string(body)
}

func begin(t *testing.T, client *http.Client, req *http.Request, url string) *http.Response {
	t.Helper()
	req.URL.Scheme, req.URL.Host, _ = strings.Cut(url, "://")
	req.Host = ""
	res, err := client.Do(req)
	if err != nil {
		t.Errorf("%s: %v", req.URL.Path, err)
		return nil
	}
	return res
}

// streams has streams that end early, late, broken or with hints before them.
func streams(t *testing.T, s *server, client *http.Client, url string) {
	t.Helper()
	for _, mount := range []string{"", "/unbuffered"} {
		ctx, cancel := context.WithCancel(context.Background())
		res := begin(t, client, s.request(http.MethodGet, mount+"/forever", "").WithContext(ctx), url)
		if res != nil {
			_, _ = io.ReadFull(res.Body, make([]byte, 10000))
		}
		cancel()
	}
	if res := begin(t, client, s.request(http.MethodGet, "/slow", ""), url); res != nil {
		in := bufio.NewReader(res.Body)
		first, _ := in.ReadString('\n')
		s.want("/go_on", 200, "Hello, world\n")
		if rest, err := io.ReadAll(in); first+string(rest) != "begin\nend\n" || err != nil {
			t.Errorf("two blocks: %q %q %v", first, rest, err)
		}
		res.Body.Close()
	}
	if res, err := client.Get(url + "/fails_late"); err == nil { // the reset may overtake the head
		if body, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("a response that breaks off passes for complete: %q", body)
		}
		res.Body.Close()
	}
	var hint string
	trace := &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
		hint = h.Get("Link")
		return nil
	}}
	req := s.request(http.MethodGet, "/hints", "")
	body := fetch(t, client, req.WithContext(httptrace.WithClientTrace(req.Context(), trace)), url)
	if body != "Hello, world\n" || hint != "</style.css>; rel=preload" {
		t.Errorf("%q after the hint %q", body, hint)
	}
}
