package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gsgi/gsgi/examples/e2e/app"
	"github.com/stretchr/testify/assert"
)

func TestResponsesInShort(t *testing.T) {
	thousand := new(strings.Builder)
	for i := range 1000 {
		fmt.Fprintf(thousand, "%d\n", i)
	}
	cases := []struct {
		name, path string
		status     int
		body       string
		length     string // the Content-Length; "-" for none
	}{
		{"a handler that does nothing", "/empty", 200, "", "0"},
		{"204", "/status?code=204", 204, "", "-"},
		{"204 of the gateway interface", "/gw/empty", 204, "", "-"},
		{"304", "/status?code=304", 304, "", "-"},
		{"205", "/status?code=205", 205, "", ""},
		{"201 with a body", "/status?code=201&body=made", 201, "made", "4"},
		{"404 of the application", "/status?code=404&body=not+here", 404, "not here", "8"},
		{"500 of the application", "/status?code=500&body=own+page", 500, "own page", "8"},
		{"a code that nobody knows", "/status?code=299&body=odd", 299, "odd", "3"},
		{"the highest code", "/status?code=599&body=high", 599, "high", "4"},
		{"a short body", "/hello", 200, "hello\n", "6"},
		{"a short body of the gateway interface", "/gw/hello", 200, "hello\n", "6"},
		{"1,000 small writes", "/small?n=1000", 200, thousand.String(), ""},
	}
	each(t, starredWays, func(t *testing.T, x *target) {
		for _, c := range cases {
			x.run(t, c.name, func(t *testing.T) {
				a := x.page(t, c.path)
				assert.NoError(t, a.err)
				assert.Equal(t, c.status, a.StatusCode)
				assert.Equal(t, c.body, a.body)
				length, ok := a.Header["Content-Length"]
				switch {
				case c.length == "-":
					assert.False(t, ok, "Content-Length: %v", length)
				case c.length != "":
					assert.Equal(t, []string{c.length}, length)
				}
			})
		}
	})
}

func TestResponseHeaders(t *testing.T) {
	each(t, starredWays, func(t *testing.T, x *target) {
		x.run(t, "come in order, repeated and with the bytes that were set", func(t *testing.T) {
			a := x.page(t, "/headers?h=X-One:1&h=X-Many:a&h=X-Many:b&h=X-Empty:&h=X-Latin:caf%E9&h=Link:%3C/a%3E")
			assert.Equal(t, []string{"1"}, a.Header["X-One"])
			assert.Equal(t, []string{"a", "b"}, a.Header["X-Many"])
			assert.Equal(t, []string{""}, a.Header["X-Empty"])
			assert.Equal(t, []string{"caf\xe9"}, a.Header["X-Latin"])
			assert.Equal(t, []string{"</a>"}, a.Header["Link"])
		})
		x.run(t, "two cookies are two headers", func(t *testing.T) {
			a := x.page(t, "/cookie")
			assert.Equal(t, []string{"a=1; Path=/", "b=2; HttpOnly"}, a.Header["Set-Cookie"])
		})
		x.run(t, "the type is found as net/http does, and is not changed when it is set", func(t *testing.T) {
			assert.Equal(t, "text/plain; charset=utf-8", x.page(t, "/hello").Header.Get("Content-Type"))
			for _, value := range []string{"text/html", "application/x-odd; a=b", "image/png"} {
				a := x.page(t, "/headers?h=Content-Type:"+url.QueryEscape(value))
				assert.Equal(t, []string{value}, a.Header["Content-Type"])
			}
		})
		x.run(t, "large ones arrive", func(t *testing.T) {
			long := strings.Repeat("x", 3000)
			path := "/headers?"
			for i := range 2 {
				path += fmt.Sprintf("h=X-Long-%d:%s&", i, long)
			}
			a := x.page(t, path)
			assert.Equal(t, long, a.Header.Get("X-Long-0"))
			assert.Equal(t, long, a.Header.Get("X-Long-1"))
		})
		x.run(t, "Date and Server are there once", func(t *testing.T) {
			a := x.page(t, "/hello")
			assert.Len(t, a.Header["Date"], 1)
			assert.Len(t, a.Header["Server"], 1)
		})
		x.run(t, "a redirect keeps its Location", func(t *testing.T) {
			for _, to := range []string{"/elsewhere?x=y", "https://example.com/x", "//example.com/"} {
				a := x.page(t, "/go?to="+to)
				assert.Equal(t, http.StatusFound, a.StatusCode)
				assert.Equal(t, to, a.Header.Get("Location"))
			}
		})
	})
}

func TestResponsesGenerated(t *testing.T) {
	each(t, starredWays, func(t *testing.T, x *target) {
		for _, path := range []string{"/gen?n=%d", "/gen?n=%d&cl=1", "/gw/gen?n=%d", "/gw/gen?n=%d&cl=1", "/narrow/gen?n=%d", "/spool/gen?n=%d"} {
			x.run(t, "of many sizes by "+path, func(t *testing.T) {
				for _, n := range []int64{1, 2_000, 3_840, 8_192, 16_384, 100_000, 3_000_000} {
					x.download(t, fmt.Sprintf(path, n), app.NewPattern(n), n, strings.Contains(path, "cl=1"))
				}
			})
		}
		x.run(t, "1 GiB with memory that does not grow", func(t *testing.T) {
			pid := x.workers()[0]
			before := resident(t, pid)
			resetPeak(t, pid)
			x.download(t, fmt.Sprintf("/gen?n=%d", gib), app.NewPattern(gib), gib, false)
			assert.Less(t, peak(t, pid)-before, int64(memoryRoom))
		})
	})
}

// download compares a response with what it should be, without keeping it.
func (x *target) download(t *testing.T, path string, want io.Reader, n int64, sized bool) {
	t.Helper()
	res, err := x.client(t).Get(x.url(path))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	assert.Equal(t, http.StatusOK, res.StatusCode, path)
	if sized {
		assert.Equal(t, n, res.ContentLength, path)
	}
	assert.Equal(t, app.SumOf(io.LimitReader(want, n)), app.SumOf(res.Body), path)
}

// zeros is what the sparse file reads as.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestResponsesFromFiles(t *testing.T) {
	each(t, starredWays, func(t *testing.T, x *target) {
		x.run(t, "1 GiB by io.Copy with memory that does not grow", func(t *testing.T) {
			pid := x.workers()[0]
			before := resident(t, pid)
			resetPeak(t, pid)
			x.download(t, "/file?name=sparse.bin", zeros{}, gib, false)
			assert.Less(t, peak(t, pid)-before, int64(memoryRoom))
		})
		x.run(t, "64 MiB by http.ServeContent", func(t *testing.T) {
			x.download(t, "/content?name=medium.bin", zeros{}, 64*mib, true)
		})
		x.run(t, "64 MiB by goapp.File", func(t *testing.T) {
			x.download(t, "/gw/file?name=medium.bin", zeros{}, 64*mib, false)
		})
		x.run(t, "a part of a file between other writes", func(t *testing.T) {
			a := x.page(t, "/file?name=small.bin&before=<&after=>&skip=10&limit=5")
			assert.Equal(t, "<abcde>", a.body)
			a = x.page(t, "/file?name=small.bin&before=<&after=>&skip=30&limit=50")
			assert.Equal(t, "<uvwxyz>", a.body)
			a = x.page(t, "/file?name=small.bin&skip=36")
			assert.Equal(t, "", a.body)
		})
		x.run(t, "ranges and conditions are answered as net/http does", func(t *testing.T) {
			x.conditions(t)
		})
	})
}

// conditions compares http.ServeContent with the same under net/http.
func (x *target) conditions(t *testing.T) {
	name := filepath.Join(world.dir, "small.bin")
	ref := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(name)
		if err != nil {
			panic(err)
		}
		defer f.Close()
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("ETag", `"e2e"`)
		http.ServeContent(w, r, "", app.Modified, f)
	}))
	defer ref.Close()
	standard := &target{server: &server{kind: x.kind, plain: ref.Listener.Addr().String()}, protocol: h1}
	for _, header := range []string{
		"", "Range: bytes=0-4", "Range: bytes=10-", "Range: bytes=-3", "Range: bytes=100-", "Range: bytes=0-1,5-6",
		`If-None-Match: "e2e"`, `If-None-Match: "other"`, `If-Match: "other"`,
		"If-Modified-Since: Mon, 02 Feb 2026 20:20:20 GMT", "If-Unmodified-Since: Sun, 01 Feb 2015 20:20:20 GMT",
	} {
		var answers []*answer
		for _, y := range []*target{standard, x} {
			req, _ := http.NewRequest("GET", y.url("/content?name=small.bin"), nil)
			if key, value, ok := strings.Cut(header, ": "); ok {
				req.Header.Set(key, value)
			}
			answers = append(answers, y.do(t, req))
		}
		want, got := answers[0], answers[1]
		assert.Equal(t, want.StatusCode, got.StatusCode, header)
		for _, key := range []string{"Content-Range", "Content-Length", "Etag", "Last-Modified"} {
			assert.Equal(t, want.Header[key], got.Header[key], "%s, %s", header, key)
		}
		boundary := regexp.MustCompile(`[0-9a-f]{60}`)
		assert.Equal(t, boundary.ReplaceAllString(want.body, "*"), boundary.ReplaceAllString(got.body, "*"), header)
	}
}

func TestFilesLeaveBySendfile(t *testing.T) {
	each(t, []way{{nginx, h1}, {event, h1}, {worker, h1}, {prefork, h1}}, func(t *testing.T, x *target) {
		for _, path := range []string{"/file?name=medium.bin", "/content?name=medium.bin", "/gw/file?name=medium.bin"} {
			x.run(t, path, func(t *testing.T) {
				// The first bytes may have been read to find the type.
				const want = 64*mib - 4096
				sent := x.traced(t, want, func() {
					x.download(t, path, zeros{}, 64*mib, false)
				})
				assert.GreaterOrEqual(t, sent, int64(want), "bytes sent by sendfile")
			})
		}
	})
}

// traced returns the bytes that the worker's sendfile calls sent meanwhile. It
// waits for some: the client may be ready before the trace is.
func (x *target) traced(t *testing.T, want int64, f func()) int64 {
	t.Helper()
	out := filepath.Join(t.TempDir(), "trace")
	defer strace(t, x.workers()[:1], "-e", "trace=sendfile,sendfile64", "-o", out)()
	f()
	for end := time.Now().Add(5 * time.Second); sentIn(t, out) < want && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	return sentIn(t, out)
}

// strace attaches itself to processes until the function that it returns is
// called.
func strace(t *testing.T, pids []int, args ...string) (end func()) {
	t.Helper()
	args = append(args, "-f", "-qq", "-e", "signal=none")
	for _, pid := range pids {
		args = append(args, "-p", strconv.Itoa(pid))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "strace", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 2 * time.Second // it may not notice that a process was killed
	stderr := new(strings.Builder)
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() {
		cancel()
		cmd.Wait()
	}
	for _, pid := range pids {
		if !untilTraced(pid) {
			end()
			t.Fatalf("strace does not attach: %s", stderr)
		}
	}
	return end
}

// sentIn adds up the sendfile calls of a trace.
func sentIn(t *testing.T, trace string) int64 {
	t.Helper()
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, m := range regexp.MustCompile(`(?m)sendfile.*= (\d+)$`).FindAllStringSubmatch(string(text), -1) {
		n, _ := strconv.ParseInt(m[1], 10, 64)
		total += n
	}
	return total
}

// untilTraced waits until every thread of a process has a tracer.
func untilTraced(pid int) bool {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		all := true
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		for _, name := range tasks {
			text, err := os.ReadFile(name)
			all = all && (err != nil || !strings.Contains(string(text), "TracerPid:\t0\n"))
		}
		if all {
			return true
		}
	}
	return false
}

func TestFlush(t *testing.T) {
	each(t, starredWays, func(t *testing.T, x *target) {
		for _, mount := range []string{"", "/stream"} {
			x.run(t, "the client of "+mount+"/flush sees the first line while the handler still runs", func(t *testing.T) {
				g := newGate(t)
				res, err := x.client(t).Get(x.url(mount + "/flush?" + g.query("flush")))
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				b := make([]byte, 6)
				_, err = io.ReadFull(res.Body, b)
				assert.NoError(t, err)
				assert.Equal(t, "first\n", string(b))
				g.next().release()
				rest, err := io.ReadAll(res.Body)
				assert.NoError(t, err)
				assert.Equal(t, "last\n", string(rest))
			})
		}
	})
}

func TestResponseBytes(t *testing.T) {
	each(t, []way{{nginx, h1}, {event, h1}, {worker, h1}, {prefork, h1}}, func(t *testing.T, x *target) {
		cases := []struct{ name, request, want string }{
			{"a short answer has a length",
				"GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
				"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhello\n"},
			{"HEAD ends behind the head",
				"HEAD /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
				"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"},
			{"204 has neither length nor chunks",
				"GET /gw/empty HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
				"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"},
			{"HTTP/1.0 is not sent chunks",
				"GET /slow?n=2&ms=1 HTTP/1.0\r\n\r\n",
				"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n0\n1\n"},
			{"HTTP/1.1 is",
				"GET /slow?n=2&ms=200 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
				"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n" +
					"2\r\n0\n\r\n2\r\n1\n\r\n0\r\n\r\n"},
		}
		for _, c := range cases {
			x.run(t, c.name, func(t *testing.T) {
				assert.Equal(t, c.want, sorted(steady(x.raw(t, c.request))))
			})
		}
	})
}

// sorted puts the header lines of a response in order.
func sorted(text string) string {
	head, body, ok := strings.Cut(text, "\r\n\r\n")
	if !ok {
		return text
	}
	lines := strings.Split(head, "\r\n")
	slices.Sort(lines[1:])
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + body
}
