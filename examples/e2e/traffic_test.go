package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gsgi/gsgi/examples/e2e/app"
)

// What may become of a request.
const (
	answered = "answered"
	failed   = "answered with 500, the handler has panicked"
	late     = "answered with 504, the handler was too slow"
	away     = "answered with 503, the application was not there"
	cut      = "cut by the server, the handler has panicked"
	left     = "cut by the client"
	crashed  = "cut, the worker has crashed"
	goneAway = "cut by mod_http2, another stream was reset when its response began"
)

// An errand is a kind of request: what is sent, and what must come of it.
type errand struct {
	share int // of the traffic
	run   func(c *caller) (outcome string, err error)
}

// errands are the mixed traffic on the test application.
var errands = []errand{
	{300, func(c *caller) (string, error) { return c.get("/hello", "hello\n") }},
	{100, func(c *caller) (string, error) { return c.get("/gw/hello", "hello\n") }},
	{100, func(c *caller) (string, error) { return c.echo("/echo", 1+c.rand.IntN(60_000)) }},
	{50, func(c *caller) (string, error) { return c.echo("/stream/echo", 1+c.rand.IntN(300_000)) }},
	{100, func(c *caller) (string, error) { return c.pattern("/gen", c.rand.IntN(100_000)) }},
	{50, func(c *caller) (string, error) { return c.pattern("/spool/gen", c.rand.IntN(400_000)) }},
	{50, func(c *caller) (string, error) {
		return c.get("/file?name=small.bin", "0123456789abcdefghijklmnopqrstuvwxyz")
	}},
	{100, func(c *caller) (string, error) { return c.get("/static/hello.txt", "static hello\n") }},
	{20, func(c *caller) (string, error) {
		return c.failing("/panic", http.StatusInternalServerError, failed, nil)
	}},
	{20, func(c *caller) (string, error) { return c.breaks("/panic?after=flush") }},
	{2, func(c *caller) (string, error) {
		return c.failing("/short/sleep?ms=700", http.StatusGatewayTimeout, late, nil)
	}},
	// one in ten leaves
	{40, func(c *caller) (string, error) { return c.leaves("/gen?n=100000000", nil) }},
	{40, func(c *caller) (string, error) { return c.leaves("/slow?n=25&ms=20", nil) }},
	{20, func(c *caller) (string, error) { return c.leaves("/stream/echo", endless{}) }},
	{20, func(c *caller) (string, error) { return c.leaves("/echo", endless{}) }},
}

// A caller is one client of the traffic.
type caller struct {
	client *http.Client
	url    func(path string) string
	rand   *rand.Rand
	id     *atomic.Int64
	form   bool  // bodies are forms
	last   int64 // id of the last request
	status int   // of its answer, when that has come whole
}

// request sends one. Its id is in the log of the server.
func (c *caller) request(ctx context.Context, path string, body io.Reader) (*http.Response, error) {
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	c.last, c.status = c.id.Add(1), 0
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	req, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("%s%sid=%d", c.url(path), separator, c.last), body)
	if err != nil {
		return nil, err
	}
	if c.form {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	// A connection may be closed while a request is on its way, and net/http
	// then tries again what it may.
	req.Header.Set("X-Idempotency-Key", strconv.FormatInt(c.last, 10))
	return c.client.Do(req)
}

// whole sends a request and reads the answer.
func (c *caller) whole(path string, body io.Reader) (int, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	res, err := c.request(ctx, path, body)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil {
		c.status = res.StatusCode
	}
	return res.StatusCode, string(text), err
}

// A surprise is an answer that should not be.
type surprise struct {
	path, text string
	status     int
}

func (s *surprise) Error() string {
	return fmt.Sprintf("%s: %d, %d bytes %.100q", s.path, s.status, len(s.text), s.text)
}

func (c *caller) expect(path, want string, body io.Reader) (string, error) {
	status, text, err := c.whole(path, body)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	if status != http.StatusOK || text != want {
		return "", &surprise{path, text, status}
	}
	return answered, nil
}

func (c *caller) get(path, want string) (string, error) {
	return c.expect(path, want, nil)
}

func (c *caller) echo(path string, n int) (string, error) {
	text := pattern(n)
	return c.expect(path, text, strings.NewReader(text))
}

func (c *caller) pattern(path string, n int) (string, error) {
	return c.expect(fmt.Sprintf("%s?n=%d", path, n), pattern(n), nil)
}

func pattern(n int) string {
	text, _ := io.ReadAll(app.NewPattern(int64(n)))
	return string(text)
}

// failing expects another status than 200.
func (c *caller) failing(path string, want int, outcome string, body io.Reader) (string, error) {
	status, text, err := c.whole(path, body)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	if status != want {
		return "", &surprise{path, text, status}
	}
	return outcome, nil
}

// breaks expects an answer that begins and does not come to its end.
func (c *caller) breaks(path string) (string, error) {
	status, text, err := c.whole(path, nil)
	if err != nil && strings.Contains(err.Error(), "GOAWAY") {
		return goneAway, nil
	}
	// HTTP/2 may reset a stream before its head has left.
	if status == http.StatusOK && err != nil || err != nil && strings.Contains(err.Error(), "stream error") {
		return cut, nil
	}
	return "", &surprise{path, fmt.Sprintf("%s %v", text, err), status}
}

// leaves goes away at some moment.
func (c *caller) leaves(path string, body io.Reader) (string, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer time.AfterFunc(time.Duration(c.rand.IntN(40))*time.Millisecond, cancel).Stop()
	res, err := c.request(ctx, path, body)
	if err == nil {
		if res.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(res.Body)
			res.Body.Close()
			return "", &surprise{path, string(text), res.StatusCode}
		}
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	if err == nil {
		return answered, nil
	}
	if ctx.Err() == nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return left, nil
}

// endless is a body without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	return copy(p, bytes.Repeat([]byte("endless "), len(p)/8+1)), nil
}

// An account says what became of all requests.
type account struct {
	sync.Mutex
	outcomes map[string]int
	statuses map[int64]int // by id, of those that were answered
	wrong    []mishap
	excuse   func(began time.Time, err error) string // an outcome for an error
}

// A mishap is a request that went wrong, by id.
type mishap struct {
	id  int64
	err error
}

func newAccount() *account {
	return &account{outcomes: make(map[string]int), statuses: make(map[int64]int)}
}

func (a *account) note(c *caller, began time.Time, outcome string, err error) {
	switch {
	case err == nil:
	case strings.Contains(err.Error(), `debug="The user callback function failed"`),
		strings.Contains(err.Error(), "graceful shutdown GOAWAY"),
		strings.Contains(err.Error(), "http2: client conn"):
		// A client that resets a stream in the moment in which the server sends
		// the head there loses its whole connection, whatever the handler.
		outcome = goneAway
	case a.excuse != nil:
		outcome = a.excuse(began, err)
	}
	a.Lock()
	defer a.Unlock()
	if outcome == "" {
		a.wrong = append(a.wrong, mishap{c.last, err})
		return
	}
	a.outcomes[outcome]++
	if c.status != 0 {
		a.statuses[c.last] = c.status
	}
}

func (a *account) sum() int {
	n := 0
	for _, count := range a.outcomes {
		n += count
	}
	return n + len(a.wrong)
}

// table is the account for a reader.
func (a *account) table() string {
	var b strings.Builder
	for _, outcome := range slices.Sorted(maps.Keys(a.outcomes)) {
		fmt.Fprintf(&b, "%10d  %s\n", a.outcomes[outcome], outcome)
	}
	if len(a.wrong) > 0 {
		fmt.Fprintf(&b, "%10d  otherwise\n", len(a.wrong))
	}
	fmt.Fprintf(&b, "%10d  requests\n", a.sum())
	return b.String()
}

// A workload is traffic until the time has passed or so many were sent.
type workload struct {
	kinds    []errand
	clients  int
	requests int
	limit    time.Duration
	id       *atomic.Int64 // of the last request
}

// traffic sends a workload, and leaves no connection behind.
func (x *target) traffic(t *testing.T, l workload, a *account) {
	t.Run("traffic", func(t *testing.T) {
		end := time.Now().Add(l.limit)
		var sent atomic.Int64
		var wg sync.WaitGroup
		for n := range l.clients {
			c := &caller{
				client: &http.Client{
					Transport:     x.transport(t),
					CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
				},
				url:  x.url,
				rand: rand.New(rand.NewPCG(uint64(n), 1)),
				id:   l.id,
			}
			wg.Go(func() {
				for time.Now().Before(end) && sent.Add(1) <= int64(l.requests) {
					kind := l.pick(c)
					began := time.Now()
					outcome, err := kind.run(c)
					a.note(c, began, outcome, err)
				}
			})
		}
		wg.Wait()
	})
}

func (l *workload) pick(c *caller) errand {
	total := 0
	for _, e := range l.kinds {
		total += e.share
	}
	n := c.rand.IntN(total)
	for _, e := range l.kinds {
		if n -= e.share; n < 0 {
			return e
		}
	}
	panic("not reached")
}
