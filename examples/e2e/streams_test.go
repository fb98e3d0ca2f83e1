package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gsgi/gsgi/examples/e2e/app"
	"github.com/stretchr/testify/assert"
)

// A lane is one client connection of HTTP/2. What its server has refused it
// opens again on a fresh connection, as section 6.8 of RFC 9113 allows it.
type lane struct {
	x *target

	mu   sync.Mutex
	conn *http.ClientConn
	used int // connections
}

// current is a connection that takes streams, another one than the last.
func (l *lane) current(last *http.ClientConn) (*http.ClientConn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil && l.conn != last {
		return l.conn, nil
	}
	tr := &http.Transport{
		Protocols:       new(http.Protocols),
		TLSClientConfig: &tls.Config{RootCAs: world.roots, ServerName: "localhost"},
	}
	tr.Protocols.SetHTTP2(true)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := tr.NewClientConn(ctx, "https", l.x.tls)
	if err != nil {
		return nil, err
	}
	if l.conn != nil {
		go closeIdle(l.conn) // its streams go on
	}
	l.conn = conn
	l.used++
	return conn, nil
}

func closeIdle(c *http.ClientConn) {
	for end := time.Now().Add(30 * time.Second); c.InFlight() > 0 && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	c.Close()
}

// refused says that the server has not begun with a stream: it was above the
// last one of GOAWAY, or reset as refused.
func refused(err error) bool {
	text := err.Error()
	return strings.Contains(text, "graceful shutdown GOAWAY") ||
		strings.Contains(text, "REFUSED_STREAM") ||
		strings.Contains(text, "client conn not usable")
}

// open sends a request until a server takes it.
func (l *lane) open(ctx context.Context, path string, body func() io.Reader) (res *http.Response, tries int, err error) {
	var last *http.ClientConn
	for tries = 1; tries < 50; tries++ {
		conn, err := l.current(last)
		if err != nil {
			return nil, tries, err
		}
		method, r := http.MethodGet, io.Reader(nil)
		if body != nil {
			method, r = http.MethodPost, body()
		}
		req, err := http.NewRequestWithContext(ctx, method, l.x.url(path), r)
		if err != nil {
			return nil, tries, err
		}
		res, err := conn.RoundTrip(req)
		if err == nil || !refused(err) {
			return res, tries, err
		}
		last = conn
	}
	return nil, tries, errors.New("refused again and again")
}

// A piecemeal body comes in pieces over a time.
type piecemeal struct {
	sent, size int
	pause      time.Duration
}

func (b *piecemeal) Read(p []byte) (int, error) {
	if b.sent == b.size {
		return 0, io.EOF
	}
	time.Sleep(b.pause)
	n := copy(p, app.At(int64(b.sent), min(1000, b.size-b.sent)))
	b.sent += n
	return n, nil
}

// The streams that one lane has open at a time, one of each.
var streams = []struct {
	name, path string
	n          int           // bytes of the response
	upload     int           // bytes of the request
	pause      time.Duration // between pieces of either
}{
	{name: "quick", path: "/version", n: 100},
	{name: "quick, longer", path: "/version", n: 5000},
	{name: "slow", path: "/version?ms=300", n: 100},
	{name: "download", path: "/version", n: 8_000_000, pause: 15 * time.Millisecond},
	{name: "upload", path: "/version", n: 100, upload: 10_000, pause: 70 * time.Millisecond},
	{name: "upload, streamed", path: "/stream/version", n: 100, upload: 10_000, pause: 70 * time.Millisecond},
}

// stream makes one request and checks that the answer is whole and right.
func (l *lane) stream(i int) (version string, tries int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s := streams[i]
	path := fmt.Sprintf("%s?n=%d", s.path, s.n)
	if strings.Contains(s.path, "?") {
		path = fmt.Sprintf("%s&n=%d", s.path, s.n)
	}
	var body func() io.Reader
	sent := app.SumOf(nothing{})
	if s.upload > 0 {
		body = func() io.Reader { return &piecemeal{size: s.upload, pause: s.pause} }
		sent = app.PatternSum(int64(s.upload))
	}
	res, tries, err := l.open(ctx, path, body)
	if err != nil {
		return "", tries, err
	}
	defer res.Body.Close()
	text, err := slowly(res.Body, s.pause)
	switch {
	case err != nil:
		err = fmt.Errorf("%d, %d bytes: %w", res.StatusCode, len(text), err)
	case res.StatusCode != http.StatusOK:
		err = fmt.Errorf("%s: %q", res.Status, clip(string(text), 200))
	case string(text) != pattern(s.n):
		err = fmt.Errorf("%d bytes that are not those of the pattern", len(text))
	case res.Header.Get("X-Body") != fmt.Sprint(sent):
		err = fmt.Errorf("the body that came in was %s and not %v", res.Header.Get("X-Body"), sent)
	}
	return res.Header.Get("X-Version"), tries, err
}

// run opens streams of some kinds without a pause, until the load ends. What
// is excused is an error that is not the application's, nor ours.
func (l *lane) run(load *load, kinds []int, excused func(error) bool) {
	for _, i := range kinds {
		load.wg.Go(func() {
			for {
				select {
				case <-load.end:
					return
				default:
				}
				from := time.Now()
				version, tries, err := l.stream(i)
				switch {
				case err == nil && !load.history.has(version, from, time.Now()):
					err = fmt.Errorf("%q was not current", version)
				case err != nil && excused(err):
					err = nil
				}
				load.note(streams[i].name, version, tries, from, err)
			}
		})
	}
}

// onlyOne keeps the clients of Apache from what mod_http2 does to all streams
// of a connection when one more comes after it was told to end.
const onlyOne = "H2MaxSessionStreams 1\n"

// cutByModHTTP2 knows it by what 2.4.71 says; a client of 2.4.68 may find that
// the fields of a response cannot be unpacked.
func cutByModHTTP2(err error) bool {
	return strings.Contains(err.Error(), `debug="The user callback function failed"`) ||
		strings.Contains(err.Error(), "connection error: COMPRESSION_ERROR")
}

// TestLateStreams has streams that come over a reload, on connections that
// have had GOAWAY or are about to have it.
func TestLateStreams(t *testing.T) {
	t.Parallel()
	var all []int
	var each [][]int
	for i := range streams {
		all = append(all, i)
		each = append(each, []int{i})
	}
	for _, c := range []struct {
		name, kind, main string
		lanes            [][]int // the streams of each connection
		excused          func(error) bool
	}{
		{"nginx", nginx, "", [][]int{all, all}, func(error) bool { return false }},
		{"apache event, one stream at a time", event, onlyOne, each, func(error) bool { return false }},
		{"apache event", event, "", [][]int{all, all}, cutByModHTTP2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := startVersioned(t, c.kind, inRoom(c.kind, setup{
				app: "-entries=8080", main: c.main, server: reloadConf(c.kind),
			}))
			load := &load{end: make(chan struct{}), made: make(map[string]int), seen: make(map[string]int)}
			load.history.begin(versionText(1))
			var lanes []*lane
			for _, kinds := range c.lanes {
				l := &lane{x: &target{s, h2}}
				l.run(load, kinds, c.excused)
				lanes = append(lanes, l)
			}
			s.replaceUnder(t, load, 4)
			for _, l := range lanes {
				l.conn.Close()
				assert.Greater(t, l.used, 1, "connections of a client")
			}
			for _, stream := range streams {
				assert.Positive(t, load.made[stream.name], stream.name)
			}
			assert.Positive(t, load.made["asked again"], "streams that came late")
			t.Logf("answers: %v, by version: %v", load.made, load.seen)
			if len(load.lost) > 0 {
				t.Errorf("%d streams were lost:\n%s", len(load.lost), clip(strings.Join(load.lost, "\n"), 4000))
			}
			s.log.never(t, 0, `exited on signal|exit signal|GSGI0506|has not stopped`)
		})
	}
}

// replaceUnder brings several versions into service under a load, ends that,
// and waits for the end of the old workers.
func (s *server) replaceUnder(t *testing.T, load *load, versions int) {
	t.Helper()
	var old []chan struct{}
	for n := range versions {
		time.Sleep(700 * time.Millisecond)
		gone, err := s.replace(&load.history, n+2, n%2 == 1)
		if !assert.NoError(t, err) {
			break
		}
		old = append(old, gone)
	}
	time.Sleep(time.Second)
	load.stop()
	for _, gone := range old {
		select {
		case <-gone:
		case <-time.After(30 * time.Second):
			t.Fatalf("old workers live on: %v", s.workers())
		}
	}
}

// TestLateStreamBesideADownload opens a stream on a connection whose server
// has been told to end, while a download waits there for its client to read.
func TestLateStreamBesideADownload(t *testing.T) {
	t.Parallel()
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		s := living(t, kind, inRoom(kind, setup{main: global(kind, "", onlyOne)}))
		l := &lane{x: &target{s, h2}}
		ctx := t.Context()
		file, _, err := l.open(ctx, "/static/large.bin", nil)
		if err != nil {
			t.Fatal(err)
		}
		first := l.conn
		generated, _, err := (&lane{x: l.x}).open(ctx, fmt.Sprintf("/gen?n=%d", largeSize), nil)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond) // for the window to be used up
		old := s.workers()
		assert.NoError(t, s.reload())
		for _, pid := range old {
			s.wantEvent(t, pid, "context")
		}
		late := make(chan string, 1)
		go func() {
			res, _, err := l.open(ctx, "/hello", nil)
			if err != nil {
				late <- err.Error()
				return
			}
			defer res.Body.Close()
			text, err := io.ReadAll(res.Body)
			late <- fmt.Sprint(res.StatusCode, " ", string(text), err)
		}()
		time.Sleep(300 * time.Millisecond)
		for name, body := range map[string]io.ReadCloser{"file": file.Body, "generated": generated.Body} {
			n, err := io.Copy(io.Discard, body)
			assert.NoError(t, err, name)
			assert.EqualValues(t, largeSize, n, name)
			body.Close()
		}
		assert.Equal(t, "200 hello\n<nil>", <-late)
		closeIdle(first)
		l.conn.Close()
		for _, pid := range old {
			gone(t, pid)
		}
	})
}
