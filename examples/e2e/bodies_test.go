package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gsgi/gsgi/examples/e2e/app"
	"github.com/stretchr/testify/assert"
)

// memoryRoom is what a worker may grow by while a body of any size passes.
const memoryRoom = 48 * mib

// post sends a body, with a Content-Length when length is not negative.
func (x *target) post(t *testing.T, path string, body io.Reader, length int64) *answer {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, x.url(path), body)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = length
	return x.do(t, req)
}

func sumIn(t *testing.T, a *answer) app.Sum {
	t.Helper()
	var s app.Sum
	if err := json.Unmarshal([]byte(a.body), &s); err != nil {
		t.Fatalf("%s: %v in %q", a.Status, err, clip(a.body, 500))
	}
	return s
}

func TestBodiesArriveWhole(t *testing.T) {
	sizes := []int64{0, 1, 100, 3_000, 4_096, 16_383, 16_384, 16_385, 100_000, 1_000_003, 5_000_000}
	each(t, starredWays, func(t *testing.T, x *target) {
		for _, mode := range []struct{ name, mount string }{{"buffered", ""}, {"streamed", "/stream"}, {"by the gateway interface", "/gw"}} {
			x.run(t, mode.name+", with Content-Length and without", func(t *testing.T) {
				for _, n := range sizes {
					want := app.PatternSum(n)
					for _, length := range []int64{n, -1} {
						got := sumIn(t, x.post(t, mode.mount+"/sum", app.NewPattern(n), length))
						assert.Equal(t, want, got, "%d bytes, length %d", n, length)
					}
				}
			})
		}
	})
}

func TestBodiesByteByByte(t *testing.T) {
	each(t, starredWays, func(t *testing.T, x *target) {
		if x.protocol != h1 {
			x.run(t, "a body in writes of one byte", func(t *testing.T) {
				for _, mount := range []string{"", "/stream"} {
					a := x.post(t, mount+"/sum", &dripping{r: app.NewPattern(300)}, 300)
					assert.Equal(t, app.PatternSum(300), sumIn(t, a))
				}
			})
			return
		}
		for _, mount := range []string{"", "/stream"} {
			x.run(t, "head and body of "+mount+"/sum come one byte at a time", func(t *testing.T) {
				w := x.dial(t)
				drip(w, "POST "+mount+"/sum HTTP/1.1\r\nHost: localhost\r\nContent-Length: 26\r\n\r\nabcdefghijklmnopqrstuvwxyz")
				assert.Equal(t, app.SumOf(strings.NewReader("abcdefghijklmnopqrstuvwxyz")), sumIn(t, w.answer("POST")))
				w.still()
			})
			x.run(t, "a chunked body of "+mount+"/sum comes one byte at a time", func(t *testing.T) {
				w := x.dial(t)
				drip(w, "POST "+mount+"/sum HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"+
					"5;ext=1\r\nhello\r\n1\r\n \r\n0005\r\nworld\r\n0\r\n\r\n")
				assert.Equal(t, app.SumOf(strings.NewReader("hello world")), sumIn(t, w.answer("POST")))
				w.still()
			})
		}
	})
}

// drip sends every byte in a segment of its own.
func drip(w *wire, text string) {
	for i := range len(text) {
		w.send("%s", text[i:i+1])
		time.Sleep(200 * time.Microsecond)
	}
}

// dripping reads one byte at a time.
type dripping struct{ r io.Reader }

func (d *dripping) Read(p []byte) (int, error) {
	time.Sleep(200 * time.Microsecond)
	return d.r.Read(p[:1])
}

func TestBodiesOfOneGiB(t *testing.T) {
	each(t, starredWays, func(t *testing.T, x *target) {
		x.run(t, "streamed to the handler with resident memory that does not grow", func(t *testing.T) {
			pid := x.workers()[0]
			before := resident(t, pid)
			resetPeak(t, pid)
			a := x.post(t, "/stream/sum", app.NewPattern(gib), gib)
			assert.Equal(t, app.PatternSum(gib), sumIn(t, a))
			assert.Less(t, peak(t, pid)-before, int64(memoryRoom))
		})
	})
}

func TestBodiesEchoedWhileTheyCome(t *testing.T) {
	each(t, plainWays, func(t *testing.T, x *target) {
		x.run(t, "a body is sent back whole", func(t *testing.T) {
			const n = 3_000_000
			for _, mount := range []string{"", "/stream"} {
				a := x.post(t, mount+"/echo", app.NewPattern(n), n)
				assert.NoError(t, a.err)
				assert.Equal(t, app.PatternSum(n), app.SumOf(strings.NewReader(a.body)))
			}
		})
	})
}

func TestBodiesReadInPart(t *testing.T) {
	each(t, starredWays, func(t *testing.T, x *target) {
		for _, mount := range []string{"", "/stream", "/gw"} {
			x.run(t, "the first bytes of "+mount+"/partial are right", func(t *testing.T) {
				path := strings.Replace(mount+"/partial?n=10", "/gw/partial", "/gw/sum", 1)
				for _, n := range []int64{20, 50_000, 200_000} {
					a := x.post(t, path, app.NewPattern(n), n)
					assert.Equal(t, http.StatusOK, a.StatusCode)
					assert.Equal(t, app.PatternSum(10), sumIn(t, a), "of %d", n)
				}
			})
		}
		if x.protocol != h1 {
			return
		}
		for _, mount := range []string{"", "/stream"} {
			x.run(t, "the connection of "+mount+"/partial is usable afterwards", func(t *testing.T) {
				w := x.dial(t)
				w.send("POST %s/partial?n=10 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n", mount)
				io.Copy(w, app.NewPattern(100_000))
				assert.Equal(t, app.PatternSum(10), sumIn(t, w.answer("POST")))
				w.still()
			})
		}
		x.run(t, "a large rest is not waited for, and the answer is not lost", func(t *testing.T) {
			w := x.dial(t)
			w.send("POST /stream/partial?n=10 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n")
			io.Copy(w, app.NewPattern(50_000))
			a := w.answer("POST")
			assert.Equal(t, app.PatternSum(10), sumIn(t, a))
		})
	})
}

func TestBodiesNotRead(t *testing.T) {
	each(t, starredWays, func(t *testing.T, x *target) {
		x.run(t, "the answer comes and the client may go on", func(t *testing.T) {
			client := x.client(t)
			for _, mount := range []string{"", "/stream"} {
				for _, n := range []int64{1, 5_000, 100_000} {
					res, err := client.Post(x.url(mount+"/noread"), "text/plain", app.NewPattern(n))
					if !assert.NoError(t, err, "%s %d", mount, n) {
						continue
					}
					text, err := io.ReadAll(res.Body)
					res.Body.Close()
					assert.NoError(t, err)
					assert.Equal(t, "not read\n", string(text))
				}
			}
		})
		if x.protocol != h1 {
			return
		}
		for _, mount := range []string{"", "/stream"} {
			for _, kind := range []string{"Content-Length: 100000", "Transfer-Encoding: chunked"} {
				x.run(t, "the connection of "+mount+"/noread with "+kind+" is usable afterwards", func(t *testing.T) {
					w := x.dial(t)
					w.send("POST %s/noread HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n", mount, kind)
					if strings.HasPrefix(kind, "Content") {
						io.Copy(w, app.NewPattern(100_000))
					} else {
						w.send("186a0\r\n")
						io.Copy(w, app.NewPattern(100_000))
						w.send("\r\n0\r\n\r\n")
					}
					a := w.answer("POST")
					assert.Equal(t, "not read\n", a.body)
					assert.False(t, a.Close, "Connection: close")
					w.still()
				})
			}
		}
	})
}

func TestBodiesOnRequest(t *testing.T) {
	each(t, []way{{nginx, h1}, {event, h1}, {worker, h1}, {prefork, h1}}, func(t *testing.T, x *target) {
		expect := "POST %s HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
		for _, mount := range []string{"", "/stream"} {
			x.run(t, "100 Continue comes before "+mount+"/sum has its body", func(t *testing.T) {
				w := x.dial(t)
				w.send(expect, mount+"/sum")
				assert.Equal(t, "HTTP/1.1 100 Continue\r\n", w.line())
				for w.line() != "\r\n" {
				}
				w.send("hello")
				assert.Equal(t, int64(5), sumIn(t, w.answer("POST")).N)
				w.still()
			})
		}
		x.run(t, "a handler that does not read the streamed body sends no 100 and the connection closes", func(t *testing.T) {
			w := x.dial(t)
			w.send(expect, "/stream/noread")
			a := w.answer("POST")
			assert.Equal(t, "HTTP/1.1 200 OK", a.Proto+" "+a.Status)
			assert.Equal(t, "not read\n", a.body)
			assert.Empty(t, w.rest())
		})
	})
}

func TestBodiesThatEndEarly(t *testing.T) {
	each(t, []way{{nginx, h1}, {event, h1}, {worker, h1}, {prefork, h1}}, func(t *testing.T, x *target) {
		x.run(t, "a client that leaves in its body is an error to the reader, not an end", func(t *testing.T) {
			g := newGate(t)
			w := x.dial(t)
			w.send("POST /stream/part?%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n", g.query("part"))
			v := g.next()
			w.send("0123456789")
			assert.Equal(t, "read 10", v.says())
			w.Close()
			assert.Contains(t, v.says(), "error")
		})
		x.run(t, "a malformed chunk is an error to the reader, and 400 or a cut to the client", func(t *testing.T) {
			w := x.dial(t)
			w.send("POST /stream/strict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n")
			text := w.rest()
			if text != "" {
				assert.Regexp(t, `^HTTP/1.1 [45]\d\d `, text)
			}
			assert.NotContains(t, text, "whole")
		})
		x.run(t, "a malformed chunk of a buffered body never reaches a handler", func(t *testing.T) {
			w := x.dial(t)
			w.send("POST /strict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n")
			text := w.rest()
			if text != "" {
				assert.Regexp(t, `^HTTP/1.1 4\d\d `, text)
			}
			assert.NotContains(t, text, "whole")
		})
	})
}

func TestForms(t *testing.T) {
	each(t, plainWays, func(t *testing.T, x *target) {
		type parsed struct {
			Form, Post url.Values
			Files      map[string]app.Sum
		}
		read := func(t *testing.T, a *answer) (p parsed) {
			t.Helper()
			if err := json.Unmarshal([]byte(a.body), &p); err != nil {
				t.Fatalf("%s %v %q", a.Status, err, a.body)
			}
			return p
		}
		x.run(t, "an encoded form", func(t *testing.T) {
			req, _ := http.NewRequest("POST", x.url("/form?a=query&c=3"), strings.NewReader("a=1&b=%C3%A9+x&a=2"))
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			p := read(t, x.do(t, req))
			assert.Equal(t, url.Values{"a": {"1", "2"}, "b": {"é x"}}, p.Post)
			assert.Equal(t, url.Values{"a": {"1", "2", "query"}, "b": {"é x"}, "c": {"3"}}, p.Form)
		})
		x.run(t, "an uploaded file, of which most lies on disk", func(t *testing.T) {
			r, w := io.Pipe()
			form := multipart.NewWriter(w)
			go func() {
				form.WriteField("title", "a file")
				part, _ := form.CreateFormFile("upload", "big.bin")
				io.Copy(part, app.NewPattern(20*mib))
				form.Close()
				w.Close()
			}()
			req, _ := http.NewRequest("POST", x.url("/form"), r)
			req.Header.Set("Content-Type", form.FormDataContentType())
			p := read(t, x.do(t, req))
			assert.Equal(t, "a file", p.Form.Get("title"))
			assert.Equal(t, map[string]app.Sum{"upload": app.PatternSum(20 * mib)}, p.Files)
		})
	})
}

func TestPipelinedRequests(t *testing.T) {
	each(t, []way{{nginx, h1}, {event, h1}, {worker, h1}, {prefork, h1}}, func(t *testing.T, x *target) {
		x.run(t, "are answered in order", func(t *testing.T) {
			w := x.dial(t)
			var b strings.Builder
			for i := range 20 {
				fmt.Fprintf(&b, "POST /echo?%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\nbody %02d", i, i)
			}
			w.send("%s", b.String())
			for i := range 20 {
				assert.Equal(t, fmt.Sprintf("body %02d", i), w.answer("POST").body)
			}
		})
	})
}
