package e2e

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gsgi/gsgi/examples/e2e/app"
)

var protocolWays = []way{{nginx, h1}, {nginx, h1s}, {nginx, h2}, {event, h1}, {event, h1s}, {event, h2}, {event, h2c}}

// links fetches a page and gives the Link headers of the informational
// responses, as "status link".
func (x *target) links(t *testing.T, client *http.Client, path string) (*answer, []string) {
	t.Helper()
	var links []string
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			links = append(links, fmt.Sprint(code, " ", header.Get("Link")))
			return nil
		},
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, x.url(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return &answer{res, string(body), err}, links
}

func TestEarlyHints(t *testing.T) {
	each(t, protocolWays, func(t *testing.T, x *target) {
		x.run(t, "in order", func(t *testing.T) {
			client := x.client(t)
			for n := range 4 {
				a, links := x.links(t, client, fmt.Sprintf("/hints?n=%d", n))
				var want []string
				for i := range n {
					want = append(want, fmt.Sprintf("103 </%d.css>; rel=preload", i))
				}
				if !slices.Equal(links, want) {
					t.Errorf("hints %q instead of %q", links, want)
				}
				if a.StatusCode != 200 || a.body != "after the hints\n" || a.Header.Get("Link") != "</final.css>" {
					t.Errorf("then %d %v %q", a.StatusCode, a.Header, a.body)
				}
			}
		})
		x.run(t, "before the response", func(t *testing.T) {
			g := newGate(t)
			hint := make(chan string, 1)
			ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
				Got1xxResponse: func(_ int, header textproto.MIMEHeader) error {
					hint <- header.Get("Link")
					return nil
				},
			})
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, x.url("/hints?"+g.query("t")), nil)
			if err != nil {
				t.Fatal(err)
			}
			answered := x.later(t, req)
			v := g.next()
			select {
			case got := <-hint:
				if got != "</0.css>; rel=preload" {
					t.Errorf("got %q", got)
				}
			case <-time.After(10 * time.Second):
				t.Error("the hint waits for the response")
			}
			v.release()
			if a := <-answered; a.err != nil || a.body != "after the hints\n" {
				t.Errorf("%q %v", a.body, a.err)
			}
		})
		x.run(t, "long", func(t *testing.T) {
			a, links := x.links(t, x.client(t), "/hints?long=7000")
			if len(links) != 1 || len(links[0]) != len("103 </0.css>; rel=preload")+7000 || a.body != "after the hints\n" {
				t.Errorf("%d hints, then %q", len(links), a.body)
			}
		})
	})
	each(t, []way{{nginx, h1}, {event, h1}}, func(t *testing.T, x *target) {
		x.run(t, "bytes", func(t *testing.T) {
			w := x.dial(t)
			w.send("GET /hints HTTP/1.1\r\nHost: localhost\r\n\r\n")
			got := w.line() + w.line() + w.line() + w.line()
			want := "HTTP/1.1 103 Early Hints\r\nLink: </0.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n"
			// Apache before 2.4.71 does not know its name.
			if got = strings.Replace(got, "103 Status 103", "103 Early Hints", 1); got != want {
				t.Errorf("%q instead of %q", got, want)
			}
		})
		x.run(t, "HTTP/1.0", func(t *testing.T) {
			if got := x.raw(t, "GET /hints HTTP/1.0\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") {
				t.Errorf("got %q", got)
			}
		})
	})
}

func TestResponseTrailers(t *testing.T) {
	each(t, protocolWays, func(t *testing.T, x *target) {
		for _, n := range []int64{0, 10, 3000, 300_000} {
			x.run(t, fmt.Sprint(n), func(t *testing.T) {
				client := x.client(t)
				for range 2 {
					res, err := client.Get(x.url(fmt.Sprintf("/trailers?n=%d", n)))
					if err != nil {
						t.Fatal(err)
					}
					if _, announced := res.Trailer["X-Sum"]; !announced {
						t.Errorf("announced: %v", res.Trailer)
					}
					if got := app.SumOf(res.Body); got != app.PatternSum(n) {
						t.Errorf("the body is %+v", got)
					}
					res.Body.Close()
					if got := res.Trailer; got.Get("X-Sum") != "42" || got.Get("X-Late") != "yes" {
						t.Errorf("the trailers are %v", got)
					}
				}
			})
		}
	})
	each(t, []way{{nginx, h1}, {event, h1}}, func(t *testing.T, x *target) {
		x.run(t, "bytes", func(t *testing.T) {
			w := x.dial(t)
			w.send("GET /trailers?n=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
			for w.line() != "\r\n" {
			}
			if got := w.line() + w.line() + w.line(); !strings.HasPrefix(got, "1\r\n") || !strings.HasSuffix(got, "\r\n0\r\n") {
				t.Errorf("the body is %q", got)
			}
			lines := []string{w.line(), w.line(), w.line()}
			slices.Sort(lines)
			if got := strings.Join(lines, ""); got != "\r\nX-Late: yes\r\nX-Sum: 42\r\n" {
				t.Errorf("the trailers are %q", got)
			}
			w.still()
		})
		x.run(t, "HEAD and HTTP/1.0 have none", func(t *testing.T) {
			if a := x.ask(t, http.MethodHead, "/trailers?n=1", ""); a.StatusCode != 200 || a.body != "" {
				t.Errorf("%d %q", a.StatusCode, a.body)
			}
			text := x.raw(t, "GET /trailers?n=1 HTTP/1.0\r\n\r\n")
			if _, body, _ := strings.Cut(text, "\r\n\r\n"); len(body) != 1 {
				t.Errorf("the body is %q", body)
			}
		})
	})
}

func TestRequestTrailers(t *testing.T) {
	each(t, []way{{nginx, h1}, {event, h1}, {event, h2}, {event, h2c}}, func(t *testing.T, x *target) {
		for _, mount := range []string{"", "/stream"} {
			for _, n := range []int64{1, 200_000} {
				x.run(t, fmt.Sprint(mount, " ", n), func(t *testing.T) {
					req, err := http.NewRequest(http.MethodPost, x.url(mount+"/intrailers"), io.MultiReader(app.NewPattern(n)))
					if err != nil {
						t.Fatal(err)
					}
					req.ContentLength = -1
					req.Trailer = http.Header{"X-Sum": {"42"}}
					var got struct {
						Before, After string
						N             int64
					}
					if err := json.Unmarshal([]byte(x.do(t, req).body), &got); err != nil {
						t.Fatal(err)
					}
					want := "map[X-Sum:[42]]"
					if x.kind == nginx {
						want = "map[X-Sum:[]]"
					}
					if got.Before != "map[X-Sum:[]]" || got.After != want || got.N != n {
						t.Errorf("%+v", got)
					}
				})
			}
		}
	})
}

func TestFullDuplex(t *testing.T) {
	each(t, protocolWays, func(t *testing.T, x *target) {
		x.run(t, "ping-pong", func(t *testing.T) {
			r, w := io.Pipe()
			defer w.Close()
			req, err := http.NewRequest(http.MethodPost, x.url("/stream/pingpong"), r)
			if err != nil {
				t.Fatal(err)
			}
			client := x.client(t)
			go func() { io.WriteString(w, "0\n") }()
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			in := bufio.NewReader(res.Body)
			for i := range 20 {
				if i > 0 {
					fmt.Fprintln(w, i)
				}
				line, err := in.ReadString('\n')
				if want := fmt.Sprintf("pong %d\n", i); err != nil || line != want {
					t.Fatalf("%q instead of %q: %v", line, want, err)
				}
			}
			w.Close()
			if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
				t.Errorf("then %q, %v", rest, err)
			}
		})
	})
}

// Of HTTP/1.1 the body is read up, or given up, before the response begins.
func TestWithoutFullDuplex(t *testing.T) {
	each(t, []way{{nginx, h1}, {event, h1}}, func(t *testing.T, x *target) {
		for _, c := range []struct {
			n    int64
			body string
			kept bool
		}{
			{100_000, "begun\nread 0: http: invalid Read on closed Body\n", true},
			{1 << 20, "begun\nread 1048576: <nil>\n", false},
		} {
			x.run(t, fmt.Sprint(c.n), func(t *testing.T) {
				a := x.post(t, "/stream/simplex", app.NewPattern(c.n), c.n)
				if a.body != c.body || a.Close == c.kept {
					t.Errorf("%q, close %t", a.body, a.Close)
				}
			})
		}
	})
}

func TestControllerDeadlines(t *testing.T) {
	each(t, []way{{nginx, h1}, {nginx, h2}, {event, h1}, {event, h2}}, func(t *testing.T, x *target) {
		x.run(t, "read", func(t *testing.T) {
			r, w := io.Pipe()
			defer w.Close()
			go io.WriteString(w, "some")
			req, err := http.NewRequest(http.MethodPost, x.url("/stream/readlate"), r)
			if err != nil {
				t.Fatal(err)
			}
			if a := x.do(t, req); !strings.HasPrefix(a.body, "read 4, late true\n") {
				t.Errorf("%q", a.body)
			}
		})
		x.run(t, "read, and the rest later", func(t *testing.T) {
			if x.protocol == h2 {
				return
			}
			w := x.dial(t)
			w.send("POST /stream/readlate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nsome")
			if a := w.answer(http.MethodPost); a.body != "read 4, late true\n" {
				t.Errorf("%q", a.body)
			}
			w.send("666666")
			w.still()
		})
		x.run(t, "write", func(t *testing.T) {
			g := newGate(t)
			res, err := x.client(t).Get(x.url("/narrow/writelate?" + g.query("t")))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if got := g.next().says(); got != "late true" {
				t.Error(got)
			}
			if _, err := io.Copy(io.Discard, res.Body); err == nil {
				t.Error("the response looks whole")
			}
		})
	})
}

func TestWrappersOfNetHTTP(t *testing.T) {
	each(t, plainWays, func(t *testing.T, x *target) {
		x.run(t, "TimeoutHandler", func(t *testing.T) {
			if a := x.page(t, "/timeout"); a.StatusCode != 200 || a.body != "in time\n" {
				t.Errorf("%d %q", a.StatusCode, a.body)
			}
			if a := x.page(t, "/timeout?ms=20000"); a.StatusCode != 503 || a.body != "out of time\n" {
				t.Errorf("%d %q", a.StatusCode, a.body)
			}
		})
		x.run(t, "MaxBytesReader", func(t *testing.T) {
			for _, mount := range []string{"", "/stream"} {
				if a := x.ask(t, http.MethodPost, mount+"/maxbytes", "0123456789"); a.body != "not more\n" {
					t.Errorf("%q", a.body)
				}
				if a := x.ask(t, http.MethodPost, mount+"/maxbytes", "01234567890"); a.StatusCode != 413 || a.body != "more than 10\n" {
					t.Errorf("%d %q", a.StatusCode, a.body)
				}
			}
		})
		x.run(t, "use after the end", func(t *testing.T) {
			g := newGate(t)
			answered := x.fetch(t, "/lateuse?"+g.query("t"))
			if got := g.next().says(); got != "refused true true true true" {
				t.Error(got)
			}
			if a := <-answered; a.body != "in time\n" {
				t.Errorf("%q", a.body)
			}
		})
	})
}

// clientCertificate makes an authority, whose certificate is at the path, and
// a certificate of it.
func clientCertificate(t *testing.T) (authority string, cert tls.Certificate) {
	t.Helper()
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	template := func(name string, ca bool) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			BasicConstraintsValid: true, IsCA: ca,
			KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
	}
	caKey, clientKey := key(), key()
	ca := template("authority", true)
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template("client", false), ca, clientKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	authority = filepath.Join(t.TempDir(), "authority.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
	if err := os.WriteFile(authority, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return authority, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: clientKey}
}

func TestClientCertificates(t *testing.T) {
	authority, cert := clientCertificate(t)
	for kind, conf := range map[string]setup{
		nginx: {server: "location / { gsgi_pass site:8080; }\nssl_verify_client optional; ssl_client_certificate " + authority + ";"},
		event: {server: "GSGIAlias / site:8080\nSSLVerifyClient optional\nSSLCACertificateFile " + authority},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := launch(t, kind, conf)
			for _, protocol := range []string{h1s, h2} {
				x := &target{s, protocol}
				for want, certs := range map[string][]tls.Certificate{
					"nobody\n":                      nil,
					"client, 1 chains, localhost\n": {cert},
				} {
					transport := x.transport(t)
					transport.TLSClientConfig.Certificates = certs
					res, err := (&http.Client{Transport: transport}).Get(x.url("/certificate"))
					if err != nil {
						t.Fatal(err)
					}
					body, _ := io.ReadAll(res.Body)
					res.Body.Close()
					if string(body) != want {
						t.Errorf("%s: %q instead of %q", protocol, body, want)
					}
				}
			}
		})
	}
}
