//go:build soak

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gsgi/gsgi/examples/stream/flow"
	"github.com/stretchr/testify/assert"
)

// A soak is a server under mixed traffic: in its first part workers crash and
// configurations are reloaded, in its second part nothing may grow.
type soak struct {
	*server
	kinds []errand
	crash func(s *soak)
	id    atomic.Int64
	a     *account
	time  time.Duration

	mu       sync.Mutex
	troubles []trouble
}

// A trouble is what the chaos did, and excuses what happens to requests then.
type trouble struct {
	at    time.Time
	crash bool
}

// recovery is how long a crash is felt: the next worker waits before it loads
// the library that has killed the one before.
const recovery = 10 * time.Second

func TestSoak(t *testing.T) {
	showcase := filepath.Join(world.dir, "showcase.so")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", showcase, "../showcase")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, kind := range []string{nginx, event} {
		for _, c := range []struct {
			name  string
			conf  setup
			kinds []errand
			crash func(*soak)
		}{
			{"the test application", standard(kind), append(errands, slack("/gen?n=100000000")), crashInside},
			{"all examples", examples(kind, showcase), exampleErrands, killWorker},
		} {
			t.Run(kind+", "+c.name, func(t *testing.T) {
				t.Parallel()
				s := &soak{kinds: c.kinds, crash: c.crash, a: newAccount(), time: soakTime(time.Minute)}
				s.a.excuse = s.excuse
				s.run(t, kind, c.conf)
			})
		}
	}
}

func (s *soak) run(t *testing.T, kind string, conf setup) {
	var err error
	if s.server, err = prepareServer(kind, conf); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(s.dir, "state")
	if err := errors.Join(os.Mkdir(state, 0o755), os.Chmod(state, 0o777)); err != nil {
		t.Fatal(err)
	}
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	s.stopAtEnd(t)
	s.warm(t)
	s.renew(t)
	master := descriptorsOf(s.master())
	masterMemory := resident(t, s.master())

	t.Run("troubles", s.trouble)
	s.renew(t)
	t.Run("quiet", s.quiet)

	assert.LessOrEqual(t, descriptorsOf(s.master()), master, "descriptors of the first process")
	grown := resident(t, s.master()) - masterMemory
	assert.Less(t, grown, 4*mib+kept(), "memory of the first process")
	s.compare(t)
	for _, w := range s.a.wrong[:min(20, len(s.a.wrong))] {
		t.Error(w.err)
	}
	fmt.Printf("\n%s: %d crashes, %d reloads; the first process has grown by %d KiB\n%s",
		t.Name(), s.count(true), s.count(false), grown>>10, s.a.table())
}

// renew reloads, and waits until there is one new worker that answers.
func (s *soak) renew(t *testing.T) {
	t.Helper()
	old := s.workers()
	s.again(t)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if pids := s.workers(); len(pids) == 1 && !slices.Contains(old, pids[0]) {
			s.untilAnswers(t)
			return
		}
	}
	t.Fatalf("workers are left: %v of %v", s.workers(), old)
}

// trouble sends traffic in both protocols while workers crash and
// configurations are reloaded.
func (s *soak) trouble(t *testing.T) {
	limit := s.time * 6 / 10
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		pause := max(4*time.Second, min(limit/12, 30*time.Second))
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(pause):
			}
			s.mu.Lock()
			s.troubles = append(s.troubles, trouble{time.Now(), n%2 == 1})
			s.mu.Unlock()
			if n%2 == 1 {
				s.crash(s)
			} else {
				s.again(t)
			}
		}
	})
	s.both(t, s.kinds, limit, s.a)
	close(stop)
	wg.Wait()
}

// both sends traffic over HTTP/1.1 and HTTP/2 at the same time.
func (s *soak) both(t *testing.T, kinds []errand, limit time.Duration, a *account) {
	t.Run("both", func(t *testing.T) {
		for _, protocol := range []string{h1, h2} {
			t.Run(protocol, func(t *testing.T) {
				t.Parallel()
				x := &target{s.server, protocol}
				x.traffic(t, workload{kinds, 6, 1 << 40, limit, &s.id}, a)
			})
		}
	})
}

// quiet sends the same traffic without troubles and compares what the worker
// holds with what it held after the first part.
func (s *soak) quiet(t *testing.T) {
	pid := s.workers()[0]
	s.both(t, s.kinds, s.time/10, s.a)
	s.warm(t) // what the application keeps open belongs to it
	memory, threads, counted := s.settled(t, pid), threadsOf(pid), s.outcomes(t)
	s.both(t, s.kinds, s.time*3/10, s.a)
	s.noLeak(t)
	grown := s.settled(t, pid) - memory
	assert.Less(t, grown, int64(growth[s.kind])+kept(), "memory that the worker holds on to")
	assert.LessOrEqual(t, threadsOf(pid), threads+8, "threads")
	assert.Equal(t, []int{pid}, s.workers(), "the worker lives")
	s.balanced(t, counted)
	u, err := s.usage()
	assert.NoError(t, err)
	fmt.Printf("\n%s: memory +%d KiB (%d before), %d threads (%d), %d descriptors (%d), %d goroutines (%d), "+
		"%d slots, %d chunks\n", t.Name(), grown>>10, memory>>10, threadsOf(pid), threads, u.files, s.base.files,
		u.goroutines, s.base.goroutines, u.slots, u.chunks)
}

// kept is how much freed memory the sanitizer may keep.
func kept() int64 {
	if sanitized {
		return 64 * mib
	}
	return 0
}

// excuse explains what has gone wrong with a request by a trouble meanwhile.
func (s *soak) excuse(began time.Time, err error) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var answer *surprise
	isAnswer := errors.As(err, &answer)
	for _, x := range s.troubles {
		if !x.crash {
			continue
		}
		if isAnswer && answer.status == http.StatusServiceUnavailable && time.Since(x.at) < recovery {
			return away
		}
		if (!isAnswer || answer.status == 0 || answer.status == http.StatusOK) && time.Now().After(x.at) &&
			began.Before(x.at.Add(recovery)) {
			return crashed
		}
	}
	return ""
}

func (s *soak) count(crash bool) int {
	n := 0
	for _, x := range s.troubles {
		if x.crash == crash {
			n++
		}
	}
	return n
}

// crashInside has the application end its worker.
func crashInside(s *soak) {
	s.get("/crash?token=soak")
}

func killWorker(s *soak) {
	for _, pid := range s.workers() {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

var idOf = regexp.MustCompile(`^(\d+)\|\w+ \S*[?&]id=(\d+)[ &]`)

// compare holds the server's log against the clients' account: no request has
// two lines, and who got an answer has one with the same status. A request that
// has none was sent on a connection that the server has closed as idle.
func (s *soak) compare(t *testing.T) {
	f, err := os.Open(filepath.Join(s.dir, "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	logged := make(map[int64]int)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		m := idOf.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		status, _ := strconv.Atoi(m[1])
		id, _ := strconv.ParseInt(m[2], 10, 64)
		if logged[id] != 0 {
			t.Errorf("request %d is twice in the log", id)
		}
		logged[id] = status
	}
	s.a.wrong = slices.DeleteFunc(s.a.wrong, func(w mishap) bool {
		_, taken := logged[w.id]
		return !taken && (errors.Is(w.err, syscall.ECONNRESET) || errors.Is(w.err, net.ErrClosed))
	})
	missing, other := 0, 0
	for id, status := range s.a.statuses {
		switch logged[id] {
		case status:
		case 0:
			missing++
		default:
			other++
			if other < 5 {
				t.Errorf("request %d was answered with %d, and the log says %d", id, status, logged[id])
			}
		}
	}
	// A crash may come between the answer and its line.
	assert.LessOrEqual(t, missing, 12*s.count(true), "answers that are not in the log")
	fmt.Printf("\n%s: %d answers, %d of them not in the log of %d lines\n",
		t.Name(), len(s.a.statuses), missing, len(logged))
}

func descriptorsOf(pid int) int {
	n := 0
	for _, count := range openFiles(pid) {
		n += count
	}
	return n
}

func threadsOf(pid int) int {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	return len(tasks)
}

// slack is a client that takes little, and leaves.
func slack(path string) errand {
	return errand{10, func(c *caller) (string, error) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		res, err := c.request(ctx, path, nil)
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		defer res.Body.Close()
		for range 20 {
			if _, err := io.ReadFull(res.Body, make([]byte, 1000)); err != nil {
				return "", fmt.Errorf("%s: %w", path, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		return left, nil
	}}
}

// examples is a configuration of the showcase.
func examples(kind, library string) setup {
	conf := setup{noApp: true, main: fmt.Sprintf("gsgi_directory @DIR@/state;\ngsgi_app showcase %s book.db;", library)}
	if kind != nginx {
		conf.main = fmt.Sprintf("GSGIDirectory @DIR@/state\nGSGIApp showcase %s book.db", library)
	}
	for _, mount := range [][2]string{{"/book", "guestbook"}, {"/hello", "hello"}, {"/stream", "stream"}} {
		if kind == nginx {
			conf.server += fmt.Sprintf("location %s { gsgi_pass showcase:%s; gsgi_script_name %s; %s }\n",
				mount[0], mount[1], mount[0], "gsgi_request_buffering off;")
		} else {
			conf.server += fmt.Sprintf("GSGIAlias %s showcase:%s\n<Location %s>\nGSGIRequestBuffering off\n</Location>\n",
				mount[0], mount[1], mount[0])
		}
	}
	if kind == nginx {
		conf.server += "location /static/ { }\n"
	}
	return conf
}

// exampleErrands are the mixed traffic on the examples.
var exampleErrands = []errand{
	{200, func(c *caller) (string, error) { return c.contains("/hello/", "ello") }},
	{100, func(c *caller) (string, error) { return c.contains("/hello/gateway", "ello") }},
	{50, func(c *caller) (string, error) { return c.contains("/book/", "</html>") }},
	{20, func(c *caller) (string, error) { return c.contains("/book/static/style.css", "{") }},
	{5, sign},
	{100, func(c *caller) (string, error) { return c.get("/static/hello.txt", "static hello\n") }},
	{50, func(c *caller) (string, error) { return c.contains("/stream/", "<") }},
	{50, func(c *caller) (string, error) {
		n := c.rand.Int64N(300_000)
		want, _ := io.ReadAll(flow.NewPattern(n))
		return c.get(fmt.Sprintf("/stream/download?bytes=%d", n), string(want))
	}},
	{50, func(c *caller) (string, error) {
		text := pattern(c.rand.IntN(200_000))
		return c.contained("/stream/upload", fmt.Sprintf(`"bytes":%d`, len(text)), strings.NewReader(text))
	}},
	{20, func(c *caller) (string, error) { return c.leaves("/stream/events?every=10ms", nil) }},
	{20, func(c *caller) (string, error) { return c.leaves("/stream/download?bytes=100000000", nil) }},
	{20, func(c *caller) (string, error) { return c.leaves("/stream/upload", endless{}) }},
	slack("/stream/download?bytes=100000000"),
}

func (c *caller) contains(path, want string) (string, error) {
	return c.contained(path, want, nil)
}

func (c *caller) contained(path, want string, body io.Reader) (string, error) {
	status, text, err := c.whole(path, body)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	if status != http.StatusOK || !strings.Contains(text, want) {
		return "", &surprise{path, text, status}
	}
	return answered, nil
}

// sign leaves an entry in the guest book. The redirect is not followed, which
// would be a second request of the same id.
func sign(c *caller) (string, error) {
	form := url.Values{"name": {"Soak"}, "message": {fmt.Sprintf("number %d", c.rand.Int())}}
	c.form = true
	defer func() { c.form = false }()
	return c.failing("/book/", http.StatusSeeOther, answered, strings.NewReader(form.Encode()))
}
