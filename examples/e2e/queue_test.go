package e2e

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// global writes a directive of the main level in both spellings.
func global(kind, inNginx, inApache string) string {
	if kind == nginx {
		return inNginx
	}
	return inApache
}

// wantBusy checks for a 503 that says when to come again.
func wantBusy(t *testing.T, a *answer) {
	t.Helper()
	if a.Response == nil {
		t.Fatal(a.err)
	}
	assert.Equal(t, 503, a.StatusCode)
	seconds, err := strconv.Atoi(a.Header.Get("Retry-After"))
	assert.NoError(t, err, "Retry-After")
	assert.Positive(t, seconds)
}

// busy starts a server that takes two requests and queues one.
func busy(t *testing.T, kind, timeout string) *target {
	s := launch(t, kind, setup{
		main: global(kind, "gsgi_concurrency 2 queue=1 timeout="+timeout+";",
			"GSGIConcurrency 2 queue=1 timeout="+timeout),
		server: standard(kind).server,
	})
	return &target{s, h1}
}

func TestQueue(t *testing.T) {
	everyServer(t, []string{nginx, event, worker}, func(t *testing.T, kind string) {
		t.Run("with a long wait", func(t *testing.T) {
			x := busy(t, kind, "30s")
			x.run(t, "beyond it 503 with Retry-After at once, and who waits is answered in time", func(t *testing.T) {
				mark := x.log.mark()
				g := newGate(t)
				first, second := x.fetch(t, "/wait?"+g.query("1")), x.fetch(t, "/wait?"+g.query("2"))
				a, b := g.next(), g.next()
				third := x.fetch(t, "/wait?"+g.query("3"))
				x.wantFigure(t, "queued", 1)
				for range 20 {
					wantBusy(t, <-x.fetch(t, "/hello"))
				}
				g.none(200 * time.Millisecond)
				assert.Equal(t, "static hello\n", x.page(t, "/static/hello.txt").body)
				a.release()
				c := g.next()
				assert.Equal(t, "3", c.token)
				b.release()
				c.release()
				for _, answered := range []<-chan *answer{first, second, third} {
					assert.Equal(t, "waited\n", (<-answered).body)
				}
				assert.Equal(t, "hello\n", x.page(t, "/hello").body)
				line := x.log.want(t, mark, x.level("error")+`.*(?i)(queue|concurrency)`)
				assert.NotEmpty(t, line)
				assert.Less(t, countLines(x.log.since(mark), `(?i)(queue|concurrency)`), 20, "lines for 20 rejections")
			})
			x.run(t, "a request counts no more once its head is out", func(t *testing.T) {
				g := newGate(t)
				for range 4 {
					x.fetch(t, "/flush?"+g.query("stream"))
					defer g.next().release()
				}
				assert.Equal(t, "hello\n", x.page(t, "/hello").body)
			})
			x.run(t, "an abandoned request goes on counting", func(t *testing.T) {
				g := newGate(t)
				v := x.leave(t, g, "/wait?"+g.query("abandoned"))
				v.says()
				x.wantFigure(t, "abandoned", 1)
				x.wantFigure(t, "in_flight", 1)
				v.release()
				x.wantFigure(t, "in_flight", 0)
			})
		})
		t.Run("with a short wait", func(t *testing.T) {
			x := busy(t, kind, "300ms")
			x.run(t, "who waits too long gets 503 with Retry-After", func(t *testing.T) {
				g := newGate(t)
				x.fetch(t, "/wait?"+g.query("1"))
				x.fetch(t, "/wait?"+g.query("2"))
				a, b := g.next(), g.next()
				wantBusy(t, <-x.fetch(t, "/wait?"+g.query("3")))
				a.release()
				b.release()
				g.none(200 * time.Millisecond)
			})
		})
	})
}

func TestStartOfTheApplication(t *testing.T) {
	everyServer(t, []string{nginx, event, worker, prefork}, func(t *testing.T, kind string) {
		t.Run("requests wait for an application that starts", func(t *testing.T) {
			s := launchUnclean(t, kind, setup{app: "-entries=8080 -delay=1s", server: standardRoot(kind)})
			code, body, err := s.get("/hello")
			assert.NoError(t, err)
			assert.Equal(t, http.StatusOK, code)
			assert.Equal(t, "hello\n", body)
		})
		t.Run("503 with Retry-After when it takes too long, and files are served meanwhile", func(t *testing.T) {
			s := launchUnclean(t, kind, setup{
				app:    "-entries=8080 -delay=60s",
				main:   global(kind, "gsgi_probe off; gsgi_start_timeout 500ms;", "GSGIProbe off\nGSGIStartTimeout 500ms"),
				server: standardRoot(kind),
			})
			x := &target{s, h1}
			if kind != prefork {
				waiting := x.fetch(t, "/hello")
				assert.Equal(t, "static hello\n", x.page(t, "/static/hello.txt").body)
				wantBusy(t, <-waiting)
			}
			wantBusy(t, <-x.fetch(t, "/hello"))
			s.log.want(t, 0, `(?i)\[(gsgi:)?(error|emerg)\]`)
		})
	})
}

// standardRoot passes everything but files to the application.
func standardRoot(kind string) string {
	root := locationConf(kind, "/", "", "")
	if kind == nginx {
		root += "location /static/ { }\n"
	}
	return root
}

func TestApplicationThatFails(t *testing.T) {
	everyServer(t, []string{nginx, event, worker, prefork}, func(t *testing.T, kind string) {
		for _, c := range []struct{ how, says string }{
			{"return", `(?i)(main|return|ended|serve)`},
			{"panic", `panic.*failing on demand`},
			{"exit", `exiting on demand`},
		} {
			t.Run("by "+c.how+" in the worker: 503, files are served, and the log says why", func(t *testing.T) {
				s := launchUnclean(t, kind, setup{
					app:    "-entries=8080 -when=server -fail=" + c.how,
					server: standardRoot(kind),
				})
				x := &target{s, h1}
				s.log.want(t, 0, c.says)
				code := 0
				for end := time.Now().Add(10 * time.Second); code != 503 && time.Now().Before(end); {
					code, _, _ = s.get("/hello")
				}
				assert.Equal(t, 503, code)
				if c.how == "return" {
					wantBusy(t, <-x.fetch(t, "/hello"))
					said := countLines(s.log.since(0), `\[(gsgi:)?emerg\]`)
					assert.Positive(t, said, "emerg lines")
					for range 20 {
						assert.Equal(t, 503, x.page(t, "/hello").StatusCode)
						assert.Equal(t, "static hello\n", x.page(t, "/static/hello.txt").body)
					}
					assert.Equal(t, said, countLines(s.log.since(0), `\[(gsgi:)?emerg\]`), "emerg lines after 20 requests")
					assert.Less(t, countLines(s.log.since(0), `\[(gsgi:)?error\].*gsgi`), 15, "lines for 20 requests")
				}
			})
		}
	})
}

func TestServerStartsWithoutItsApplication(t *testing.T) {
	everyServer(t, []string{nginx, event, worker, prefork}, func(t *testing.T, kind string) {
		t.Run("answers 503 for it, serves files and says why", func(t *testing.T) {
			s := launchUnclean(t, kind, setup{
				app:    "-entries=8080 -when=probe -fail=panic",
				server: standardRoot(kind),
			})
			x := &target{s, h1}
			for range 3 {
				assert.Equal(t, 503, x.page(t, "/hello").StatusCode)
				assert.Equal(t, "static hello\n", x.page(t, "/static/hello.txt").body)
			}
			s.log.want(t, 0, `\[(gsgi:)?emerg\].*`)
			assert.Contains(t, s.texts(), "failing on demand")
			code, text, err := s.get("/gsgi-status?format=json")
			assert.NoError(t, err)
			assert.Equal(t, 200, code)
			assert.Contains(t, text, `"state":"failed"`)
		})
	})
}
