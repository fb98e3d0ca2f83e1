package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// h1Ways are the targets where bytes can be seen.
var h1Ways = []way{{nginx, h1}, {event, h1}, {worker, h1}, {prefork, h1}}

// token is a word that no other case has, for finding it in the log.
func token(t *testing.T) string {
	return regexp.MustCompile(`\W+`).ReplaceAllString(t.Name(), "-")
}

// wantError checks for the server's own error page, of which the application
// has no part.
func wantError(t *testing.T, a *answer, status int) {
	t.Helper()
	assert.NoError(t, a.err)
	assert.Equal(t, status, a.StatusCode)
	assert.Contains(t, a.Header.Get("Content-Type"), "text/html")
	assert.Contains(t, strings.ToLower(a.body), "<html>")
	assert.NotContains(t, a.body, "begun")
	assert.NotContains(t, a.body, "panic")
	assert.Empty(t, a.Header.Get("X-Other"))
}

// wantCut checks that a response with text at its start did not come to its
// end: an error to a client, and on the wire neither a last chunk nor more.
func (x *target) wantCut(t *testing.T, path, text string) {
	t.Helper()
	a := <-x.fetch(t, path)
	assert.Error(t, a.err, "the response passes for complete")
	if x.protocol != h1 {
		// The reset may overtake what was sent before it.
		assert.ErrorContains(t, a.err, "stream error")
		assert.True(t, strings.HasPrefix(text, a.body), a.body)
		return
	}
	if a.Response == nil {
		t.Fatal(a.err)
	}
	assert.Equal(t, text, a.body)
	raw := x.raw(t, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
	head, body, _ := strings.Cut(raw, "\r\n\r\n")
	assert.True(t, strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n"), head)
	if strings.Contains(head, "chunked") {
		text = fmt.Sprintf("%x\r\n%s\r\n", len(text), text)
	}
	assert.Equal(t, text, body)
}

func TestPanics(t *testing.T) {
	each(t, starredWays, func(t *testing.T, x *target) {
		for _, mount := range []string{"", "/gw"} {
			x.run(t, "before the head: 500, and the log has value and stack, by "+mount+"/panic", func(t *testing.T) {
				mark := x.log.mark()
				word := token(t)
				wantError(t, x.page(t, mount+"/panic?token="+word), 500)
				x.log.want(t, mark, x.level("error")+`.*panic on demand `+word)
				x.log.want(t, mark, x.level("error")+`.*e2e/app\.`)
				if x.kind == nginx {
					x.log.want(t, mark, `panic on demand `+word+`.*request: "GET `+mount+`/panic`)
				} else {
					x.log.want(t, mark, `\[client 127\.0\.0\.1[:\d]*\].*panic on demand `+word)
				}
			})
		}
		x.run(t, "after a write that has not left: never a whole 200", func(t *testing.T) {
			a := <-x.fetch(t, "/panic?after=write&token="+token(t))
			if a.Response != nil && a.err == nil {
				wantError(t, a, 500)
			}
		})
		for _, path := range []string{"/panic?after=flush", "/panic?after=flush&cl=100", "/gw/panic?after=flush"} {
			x.run(t, "after the head: the connection is cut, by "+path, func(t *testing.T) {
				mark := x.log.mark()
				word := token(t)
				x.wantCut(t, path+"&token="+word, "begun\n")
				x.log.want(t, mark, x.level("error")+`.*panic on demand `+word)
			})
		}
		x.run(t, "the worker goes on", func(t *testing.T) {
			pid := x.workers()[0]
			wantError(t, x.page(t, "/panic?token="+token(t)), 500)
			assert.Equal(t, "hello\n", x.page(t, "/hello").body)
			assert.Equal(t, pid, x.workers()[0])
		})
	})
}

func TestGoexit(t *testing.T) {
	each(t, starredWays, func(t *testing.T, x *target) {
		x.run(t, "before the head: 500, many times", func(t *testing.T) {
			for range 20 {
				wantError(t, x.page(t, "/goexit"), 500)
			}
			assert.Equal(t, "hello\n", x.page(t, "/hello").body)
		})
		x.run(t, "is in the log", func(t *testing.T) {
			mark := x.log.mark()
			x.page(t, "/goexit")
			x.log.want(t, mark, x.level("error")+`.*Goexit`)
		})
		x.run(t, "after the head: the connection is cut", func(t *testing.T) {
			x.wantCut(t, "/goexit?after=flush", "begun\n")
		})
	})
}

func TestErrAbortHandler(t *testing.T) {
	each(t, starredWays, func(t *testing.T, x *target) {
		x.run(t, "after the head: the connection is cut and the log says nothing", func(t *testing.T) {
			mark := x.log.mark()
			x.wantCut(t, "/abort?after=flush", "begun\n")
			x.page(t, "/log?by=log&text=afterwards")
			x.log.want(t, mark, "afterwards")
			x.log.never(t, mark, `(?i)(panic|abort|\[(\w+:)?(warn|error)\].*/abort)`)
		})
		x.run(t, "before the head: 500 or a cut, and the log says nothing", func(t *testing.T) {
			mark := x.log.mark()
			a := <-x.fetch(t, "/abort")
			if a.Response != nil {
				wantError(t, a, 500)
			}
			x.page(t, "/log?by=log&text=afterwards")
			x.log.want(t, mark, "afterwards")
			x.log.never(t, mark, `(?i)(panic|abort|\[(\w+:)?(warn|error)\].*/abort)`)
		})
	})
}

func TestBodyThatYieldsAnError(t *testing.T) {
	each(t, starredWays, func(t *testing.T, x *target) {
		x.run(t, "the answer is cut or 500, never whole, and the error is in the log", func(t *testing.T) {
			mark := x.log.mark()
			word := token(t)
			a := <-x.fetch(t, "/gw/error?token="+word)
			if a.Response != nil && a.err == nil {
				wantError(t, a, 500)
			}
			x.log.want(t, mark, x.level("error")+`.*error on demand `+word)
		})
	})
}

// badHeaders are names and values that no answer may have.
var badHeaders = []struct{ name, value string }{
	{"X-Split", "a\r\nInjected: yes"}, {"X-Split", "a\nb"}, {"X-Split", "a\rb"}, {"X-Nul", "a\x00b"},
	{"X-Bell", "a\x07b"}, {"X Space", "v"}, {"X:Colon", "v"}, {"", "v"}, {"X-Name\r\nInjected", "v"}, {"X-\xe9", "v"},
	{"X(Paren)", "v"},
}

func TestBadHeaders(t *testing.T) {
	each(t, starredWays, func(t *testing.T, x *target) {
		for _, mount := range []string{"", "/gw"} {
			x.run(t, "500, nothing of it is sent, and the log says so, by "+mount+"/badheader", func(t *testing.T) {
				for _, h := range badHeaders {
					mark := x.log.mark()
					query := url.Values{"name": {h.name}, "value": {h.value}}.Encode()
					a := x.page(t, mount+"/badheader?"+query)
					wantError(t, a, 500)
					assert.Empty(t, a.Header.Get("Injected"), "%q: %q", h.name, h.value)
					assert.NotContains(t, a.body, "must not be seen")
					x.log.want(t, mark, x.level("error")+`.*(?i)header`)
				}
			})
		}
	})
}

func TestContentLengthThatIsWrong(t *testing.T) {
	each(t, starredWays, func(t *testing.T, x *target) {
		x.run(t, "fewer bytes, begun: cut, and the log says so", func(t *testing.T) {
			mark := x.log.mark()
			x.wantCut(t, "/length?cl=100&n=20&flush=1", "01234567890123456789")
			x.log.want(t, mark, x.level("error")+`.*(?i)content-length`)
		})
		for _, path := range []string{"/length?cl=100&n=20", "/gw/length?cl=100&n=20", "/length?cl=100&n=0", "/length?cl=1000000&n=900000"} {
			x.run(t, "fewer bytes: never whole, and the log says so, by "+path, func(t *testing.T) {
				mark := x.log.mark()
				a := <-x.fetch(t, path)
				if a.Response != nil && a.err == nil {
					wantError(t, a, 500)
				}
				x.log.want(t, mark, x.level("error")+`.*(?i)content-length`)
			})
		}
		for _, path := range []string{"/length?cl=15&n=30", "/length?cl=15&n=30&flush=1", "/gw/length?cl=15&n=30", "/gw/length?cl=15&n=40"} {
			x.run(t, "more bytes: the surplus is not sent, and the log says so, by "+path, func(t *testing.T) {
				mark := x.log.mark()
				a := x.page(t, path)
				assert.NoError(t, a.err)
				assert.Equal(t, 200, a.StatusCode)
				assert.Equal(t, "012345678901234", a.body)
				assert.Equal(t, "15", a.Header.Get("Content-Length"))
				x.log.want(t, mark, x.level("error")+`.*(?i)content-length`)
			})
		}
		x.run(t, "more bytes: the writer is told http.ErrContentLength", func(t *testing.T) {
			g := newGate(t)
			answered := x.fetch(t, "/length?cl=15&n=30&"+g.query("surplus"))
			v := g.next()
			assert.Regexp(t, `^wrote 15: `+regexp.QuoteMeta(http.ErrContentLength.Error()), v.says())
			v.release()
			<-answered
		})
	})
	each(t, h1Ways, func(t *testing.T, x *target) {
		x.run(t, "more bytes: the connection serves another request", func(t *testing.T) {
			w := x.dial(t)
			w.send("GET /length?cl=15&n=30 HTTP/1.1\r\nHost: localhost\r\n\r\n")
			assert.Equal(t, "012345678901234", w.answer("GET").body)
			w.still()
		})
	})
}

func TestBodiesThatAreTooLarge(t *testing.T) {
	each(t, starredWays, func(t *testing.T, x *target) {
		x.run(t, "413 by their Content-Length", func(t *testing.T) {
			for _, mount := range []string{"/limited", "/limitedstream"} {
				a := x.post(t, mount+"/sum", strings.NewReader(strings.Repeat("x", 1001)), 1001)
				assert.Equal(t, 413, a.StatusCode, mount)
				a = x.post(t, mount+"/sum", strings.NewReader(strings.Repeat("x", 1000)), 1000)
				assert.Equal(t, int64(1000), sumIn(t, a).N, mount)
			}
		})
		x.run(t, "413 when they grow, and the reader gets an error", func(t *testing.T) {
			a := x.post(t, "/limited/strict", strings.NewReader(strings.Repeat("x", 5000)), -1)
			assert.Equal(t, 413, a.StatusCode)
			a = x.post(t, "/limitedstream/strict", strings.NewReader(strings.Repeat("x", 5000)), -1)
			assert.NotContains(t, a.body, "whole")
			assert.GreaterOrEqual(t, a.StatusCode, 400)
		})
	})
	each(t, h1Ways, func(t *testing.T, x *target) {
		x.run(t, "the reader of a streamed body gets an error", func(t *testing.T) {
			g := newGate(t)
			w := x.dial(t)
			w.send("POST /limitedstream/part?%s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", g.query("large"))
			w.send("a\r\n0123456789\r\n")
			v := g.next()
			assert.Equal(t, "read 10", v.says())
			w.send("800\r\n%s\r\n0\r\n\r\n", strings.Repeat("x", 2048))
			for line := v.says(); ; line = v.says() {
				if line != "read 10" {
					assert.Regexp(t, "^error ", line)
					break
				}
			}
			line, _ := bufio.NewReader(w.Conn).ReadString('\n')
			assert.Regexp(t, `^(HTTP/1.1 (413|200) .*|)`, line)
		})
	})
}
