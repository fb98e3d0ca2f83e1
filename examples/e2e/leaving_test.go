package e2e

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestTimeouts(t *testing.T) {
	each(t, starredWays, func(t *testing.T, x *target) {
		for _, c := range []struct{ mount, limit string }{{"/short", "gsgi_timeout"}, {"/total", "gsgi_request_timeout"}} {
			x.run(t, c.limit+" before the head: 504, the context is cancelled, the log names it", func(t *testing.T) {
				mark := x.log.mark()
				g := newGate(t)
				pid := x.workers()[0]
				answered := x.fetch(t, c.mount+"/wait?"+g.query("timeout"))
				v := g.next()
				assert.Regexp(t, `^done .`, v.says())
				a := <-answered
				if a.Response == nil {
					t.Fatal(a.err)
				}
				wantError(t, a, 504)
				x.log.want(t, mark, x.level("warn")+`.*(?i)`+limitName(x.kind, c.limit))
				if x.kind != prefork {
					x.wantFigure(t, "abandoned", 1)
				}
				v.release()
				x.wantFigure(t, "abandoned", 0)
				assert.Equal(t, pid, x.workers()[0])
			})
		}
		x.run(t, "gsgi_request_timeout after the head: a cut, the context is cancelled, the log names it", func(t *testing.T) {
			mark := x.log.mark()
			g := newGate(t)
			answered := x.fetch(t, "/total/flush?"+g.query("total"))
			v := g.next()
			assert.Regexp(t, `^done .`, v.says())
			a := <-answered
			if a.Response == nil {
				t.Fatal(a.err)
			}
			assert.Error(t, a.err)
			assert.Equal(t, "first\n", a.body)
			x.log.want(t, mark, x.level("warn")+`.*(?i)`+limitName(x.kind, "gsgi_request_timeout"))
			v.release()
		})
		x.run(t, "gsgi_timeout does not run after the head", func(t *testing.T) {
			a := x.page(t, "/short/slow?n=4&ms=200")
			assert.NoError(t, a.err)
			assert.Equal(t, "0\n1\n2\n3\n", a.body)
		})
	})
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		s := launch(t, kind, setup{server: standardRoot(kind) + locationConf(kind, "/before/", "gsgi_script_name /before; gsgi_timeout 2300ms;", "GSGIScriptName /before\nGSGITimeout 2300ms") +
			locationConf(kind, "/behind/", "gsgi_script_name /behind; gsgi_request_timeout 2600ms;", "GSGIScriptName /behind\nGSGIRequestTimeout 2600ms")})
		g := newGate(t)
		begun := time.Now()
		before, behind := s.dial(t), s.dial(t)
		before.send("GET /before/wait?%s HTTP/1.1\r\nHost: localhost\r\n\r\n", g.query("before"))
		v := g.next()
		behind.send("GET /behind/flush?%s HTTP/1.1\r\nHost: localhost\r\n\r\n", g.query("behind"))
		w := g.next()
		assert.Equal(t, 504, before.answer("GET").StatusCode)
		assert.GreaterOrEqual(t, time.Since(begun), 2200*time.Millisecond)
		assert.Error(t, behind.answer("GET").err)
		assert.GreaterOrEqual(t, time.Since(begun), 2500*time.Millisecond)
		assert.Less(t, time.Since(begun), 6*time.Second)
		v.release()
		w.release()
	})
	each(t, h1Ways, func(t *testing.T, x *target) {
		x.run(t, "gsgi_timeout stands still while the handler waits for the body", func(t *testing.T) {
			s := launch(t, x.kind, setup{server: locationConf(x.kind, "/",
				"gsgi_timeout 400ms; gsgi_request_buffering off;", "GSGITimeout 400ms\nGSGIRequestBuffering off")})
			w := s.dial(t)
			w.send("POST /sum HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n")
			for _, c := range "body" {
				time.Sleep(250 * time.Millisecond)
				w.send("%c", c)
			}
			assert.Equal(t, int64(4), sumIn(t, w.answer("POST")).N)
		})
	})
}

// limitName is a directive's name as a server's user knows it.
func limitName(kind, name string) string {
	if kind == nginx {
		return name
	}
	return strings.ReplaceAll(name, "_", "_?")
}

// locationConf passes one location to the application.
func locationConf(kind, path, inNginx, inApache string) string {
	if kind == nginx {
		return fmt.Sprintf("location %s { gsgi_pass site:8080; %s }\n", path, inNginx)
	}
	if path == "/" {
		return fmt.Sprintf("<LocationMatch \"^/(?!static/|gsgi-status)\">\nGSGIPass site:8080\n%s\n</LocationMatch>\n", inApache)
	}
	return fmt.Sprintf("<Location %s>\nGSGIPass site:8080\n%s\n</Location>\n", path, inApache)
}

func TestClientsThatLeave(t *testing.T) {
	each(t, starredWays, func(t *testing.T, x *target) {
		for _, mount := range []string{"", "/gw", "/stream"} {
			x.run(t, "cancel the context of a handler that neither reads nor writes, by "+mount+"/wait", func(t *testing.T) {
				mark := x.log.mark()
				g := newGate(t)
				v := x.leave(t, g, mount+"/wait?"+g.query("gone"))
				assert.Regexp(t, `^done .`, v.says())
				v.release()
				if x.kind == nginx {
					(&logFile{x.dir + "/access.log"}).want(t, 0, `^499\|GET `+regexp.QuoteMeta(mount)+`/wait\?`+
						regexp.QuoteMeta(g.query("gone")))
				}
				x.log.never(t, mark, `\[(\w*:)?(warn|error|crit|alert)\]`)
			})
		}
		x.run(t, "cancel the context after the head", func(t *testing.T) {
			g := newGate(t)
			v := x.leave(t, g, "/flush?"+g.query("gone"))
			assert.Regexp(t, `^done .`, v.says())
			v.release()
		})
		x.run(t, "end a writer that waits for its client", func(t *testing.T) {
			res, err := x.client(t).Get(x.url("/gen?n=1000000000"))
			if err != nil {
				t.Fatal(err)
			}
			io.CopyN(io.Discard, res.Body, 100_000)
			res.Body.Close()
		})
		x.run(t, "do not disturb a handler under gsgi_ignore_client_abort", func(t *testing.T) {
			g := newGate(t)
			v := x.leave(t, g, "/ignore/wait?"+g.query("ignored"))
			v.silent(700 * time.Millisecond)
			v.release()
		})
	})
	each(t, plainWays, func(t *testing.T, x *target) {
		x.run(t, "a client that is gone is told at info", func(t *testing.T) {
			mark := x.log.mark()
			g := newGate(t)
			v := x.leave(t, g, "/wait?"+g.query("gone"))
			v.says()
			x.log.want(t, mark, x.level("info")+`.*(?i)client`)
			v.release()
		})
	})
}

// leave asks for a path, closes the connection when the handler is at the
// gate, and returns the handler.
func (x *target) leave(t *testing.T, g *gate, path string) *visitor {
	t.Helper()
	if x.protocol == h1 {
		w := x.dial(t)
		w.send("GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
		v := g.next()
		w.Close()
		return v
	}
	transport := x.transport(t)
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	req, _ := http.NewRequest("GET", x.url(path), nil)
	ctx, cancel := withCancel()
	go func() {
		if res, err := client.Do(req.WithContext(ctx)); err == nil {
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
	}()
	v := g.next()
	cancel()
	return v
}
