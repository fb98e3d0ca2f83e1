package parity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gsgi/gsgi/examples/internal/testserver"
	"github.com/gsgi/gsgi/examples/parity/cases"
	"github.com/gsgi/gsgi/goapp"
)

// The servers.
const (
	standard = "net/http"
	nginx    = "nginx"
	apache   = "apache"
	prefork  = "prefork"
)

// A server is one that serves the cases.
type server struct {
	kind       string
	plain, tls string // host:port
	h2c        string // HTTP/2 in cleartext
	dir        string
	first      *testserver.Process
	log        func() string
	base       int // goroutines at the start
}

// world is what a run has.
var world struct {
	dir     string
	modules map[string]string
	roots   *x509.CertPool
	cert    tls.Certificate
	reports chan cases.Report
	servers map[string]*server
	stop    []func()

	differences string // the documentation
}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	err := prepare()
	code := 1
	if err == nil {
		code = m.Run()
		err = inspect()
	}
	for _, stop := range world.stop {
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "parity:", err)
		return 1
	}
	return code
}

func prepare() error {
	dir, err := os.MkdirTemp("/tmp", "gsgi-parity-")
	if err != nil {
		return err
	}
	world.dir = dir
	world.stop = append(world.stop, func() { os.RemoveAll(dir) })
	text, err := os.ReadFile("../../goapp/DIFFERENCES.md")
	if err != nil {
		return err
	}
	world.differences = string(text)
	nginxModule, apacheModule, err := testserver.Modules()
	if err != nil {
		return err
	}
	world.modules = map[string]string{nginx: nginxModule, apache: apacheModule, prefork: apacheModule}
	if world.cert, world.roots, err = testserver.Certificate(dir); err != nil {
		return err
	}
	library := testserver.Library(filepath.Join(dir, "library.so"), "./library")
	if err := errors.Join(os.Chmod(dir, 0o755), listen(), library, writeFiles()); err != nil {
		return err
	}
	world.servers = make(map[string]*server)
	startStandard()
	for _, kind := range []string{nginx, apache, prefork} {
		if err := startServer(kind); err != nil {
			return err
		}
	}
	return nil
}

// writeFiles makes the file that cases serve, in the working directory of
// every server.
func writeFiles() error {
	text := strings.Repeat("0123456789", 10_000)
	if err := os.WriteFile(filepath.Join(world.dir, "large.bin"), []byte(text), 0o644); err != nil {
		return err
	}
	return os.Chdir(world.dir)
}

// listen takes the reports of handlers.
func listen() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	world.reports = make(chan cases.Report, 1000)
	world.stop = append(world.stop, func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			var r cases.Report
			if json.NewDecoder(c).Decode(&r) == nil {
				world.reports <- r
			}
			c.Close()
		}
	}()
	return os.Setenv("PARITY_REPORTS", l.Addr().String())
}

// logBuffer is the log of net/http's server.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func startStandard() {
	logs := new(logBuffer)
	all := cases.Server()
	gateway := goapp.Handler(cases.Gateway())
	root := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/gw/") {
			http.StripPrefix("/gw", gateway).ServeHTTP(w, r)
			return
		}
		all.ServeHTTP(w, r)
	})
	plain := httptest.NewUnstartedServer(root)
	plain.Config.ErrorLog = log.New(logs, "", 0)
	tellOver(plain.Config)
	plain.Start()
	secure := httptest.NewUnstartedServer(root)
	secure.EnableHTTP2 = true
	secure.Config.ErrorLog = log.New(logs, "", 0)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{world.cert}}
	secure.StartTLS()
	bare := httptest.NewUnstartedServer(root)
	bare.Config.ErrorLog = log.New(logs, "", 0)
	bare.Config.Protocols = new(http.Protocols)
	bare.Config.Protocols.SetUnencryptedHTTP2(true)
	bare.Start()
	world.servers[standard] = &server{
		kind: standard, plain: plain.Listener.Addr().String(), tls: secure.Listener.Addr().String(),
		h2c: bare.Listener.Addr().String(), log: logs.String,
	}
	world.stop = append(world.stop, plain.CloseClientConnections, secure.CloseClientConnections, bare.CloseClientConnections)
}

// tellOver makes a server call what its handlers leave as cases.Over.
func tellOver(s *http.Server) {
	var conns sync.Map // of net.Conn, *func()
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		over := new(func())
		conns.Store(c, over)
		return context.WithValue(ctx, cases.Over, over)
	}
	s.ConnState = func(c net.Conn, state http.ConnState) {
		over, ok := conns.Load(c)
		switch {
		case state == http.StateClosed:
			conns.Delete(c)
		case ok && state == http.StateIdle:
			if call := over.(*func()); *call != nil {
				(*call)()
				*call = nil
			}
		}
	}
}

func startServer(kind string) error {
	dir, err := os.MkdirTemp(world.dir, kind+"-")
	if err != nil {
		return err
	}
	s := &server{kind: kind, dir: dir}
	if err := testserver.Addresses(&s.plain, &s.tls, &s.h2c); err != nil {
		return err
	}
	conf := filepath.Join(dir, "server.conf")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(conf, []byte(s.conf()), 0o644)); err != nil {
		return err
	}
	s.log = func() string {
		text, _ := os.ReadFile(filepath.Join(dir, "error.log"))
		return string(text)
	}
	cmd := exec.Command("/usr/sbin/nginx", "-p", dir, "-c", conf)
	if kind != nginx {
		cmd = exec.Command("/usr/sbin/apache2", "-d", dir, "-f", conf, "-DFOREGROUND")
	}
	stderr, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		return err
	}
	defer stderr.Close()
	if s.first, err = testserver.Start(cmd, stderr); err != nil {
		return err
	}
	world.servers[kind] = s
	world.stop = append([]func(){s.stop}, world.stop...)
	return s.untilReady()
}

func (s *server) untilReady() error {
	var err error
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if s.first.Ended() {
			return fmt.Errorf("%s has ended\n%s", s.kind, s.texts())
		}
		var figures map[string]any
		if figures, err = s.figures(); err == nil && figures["goroutines"] != nil {
			s.base = s.goroutines(figures)
			return nil
		}
	}
	return fmt.Errorf("%s does not answer: %w\n%s", s.kind, err, s.texts())
}

// texts is what the server has said since its start.
func (s *server) texts() string {
	stderr, _ := os.ReadFile(filepath.Join(s.dir, "stderr"))
	return string(stderr) + s.log()
}

// stop ends a server gracefully, or at once when it takes too long.
func (s *server) stop() {
	signal := syscall.SIGQUIT
	if s.kind != nginx {
		signal = syscall.SIGTERM
	}
	s.first.Stop(signal, 20*time.Second)
}

// figures are the worker's part of the status page.
func (s *server) figures() (map[string]any, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	res, err := client.Get("http://" + s.plain + "/gsgi-status?format=json")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	var page struct{ Worker map[string]any }
	return page.Worker, json.Unmarshal(text, &page)
}

func (s *server) goroutines(figures map[string]any) int {
	all, _ := figures["goroutines"].(float64)
	dispatchers, _ := figures["dispatchers"].(float64)
	return int(all - dispatchers)
}

var alarms = regexp.MustCompile(`(?m)^.*(\[(\w*:)?(alert|emerg|crit)\]|exited on signal|exit signal|open socket).*$`)

// inspect finds what the cases have left behind in the servers.
func inspect() error {
	var errs []error
	for kind, s := range world.servers {
		if kind == standard {
			continue
		}
		if lines := alarms.FindAllString(s.log(), 5); lines != nil {
			errs = append(errs, fmt.Errorf("%s logged:\n%s", kind, strings.Join(lines, "\n")))
		}
		errs = append(errs, s.empty())
	}
	return errors.Join(errs...)
}

// empty waits until nothing is in use in a server but what was at its start.
func (s *server) empty() error {
	var problem error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		figures, err := s.figures()
		if err != nil {
			return err
		}
		problem = nil
		for _, name := range []string{"slots_used", "chunks_used", "in_flight", "abandoned", "queued"} {
			if n, ok := figures[name].(float64); !ok || n != 0 {
				problem = errors.Join(problem, fmt.Errorf("%s: %s is %v", s.kind, name, figures[name]))
			}
		}
		// The proxy of the cases has a backend, and the loader's threads come and go.
		if n := s.goroutines(figures); n > s.base+20 {
			problem = errors.Join(problem, fmt.Errorf("%s: %d goroutines, %d at the start", s.kind, n, s.base))
		}
		if problem == nil {
			return nil
		}
	}
	return problem
}
