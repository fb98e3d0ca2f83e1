package parity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
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
	dir        string
	cmd        *exec.Cmd
	exited     chan struct{}
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
	if err := errors.Join(os.Chmod(dir, 0o755), findModules(), certify(), listen(), buildLibrary(), writeFiles()); err != nil {
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

func findModules() error {
	world.modules = make(map[string]string)
	for server, file := range map[string][2]string{
		nginx:  {"GSGI_NGINX_MODULE", "../../build/out/ngx_http_gsgi_module.so"},
		apache: {"GSGI_APACHE_MODULE", "../../build/out/mod_gsgi.so"},
	} {
		name := file[1]
		if set := os.Getenv(file[0]); set != "" {
			name = set
		}
		path, err := filepath.Abs(name)
		if err != nil {
			return err
		}
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("%w (make build, or set %s)", err, file[0])
		}
		world.modules[server] = path
	}
	world.modules[prefork] = world.modules[apache]
	return nil
}

func buildLibrary() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	library := filepath.Join(world.dir, "library.so")
	out, err := exec.CommandContext(ctx, "go", "build", "-buildmode=c-shared", "-o", library, "./library").CombinedOutput()
	if err != nil {
		return fmt.Errorf("the library does not build: %w\n%s", err, out)
	}
	return os.Chmod(library, 0o755)
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

func certify() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "localhost"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		DNSNames:              []string{"localhost"},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	world.roots = x509.NewCertPool()
	world.roots.AppendCertsFromPEM(certPEM)
	world.cert, err = tls.X509KeyPair(certPEM, keyPEM)
	return errors.Join(err,
		os.WriteFile(filepath.Join(world.dir, "cert.pem"), certPEM, 0o644),
		os.WriteFile(filepath.Join(world.dir, "key.pem"), keyPEM, 0o600))
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
	plain.Start()
	secure := httptest.NewUnstartedServer(root)
	secure.EnableHTTP2 = true
	secure.Config.ErrorLog = log.New(logs, "", 0)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{world.cert}}
	secure.StartTLS()
	world.servers[standard] = &server{
		kind: standard, plain: plain.Listener.Addr().String(), tls: secure.Listener.Addr().String(), log: logs.String,
	}
	world.stop = append(world.stop, plain.CloseClientConnections, secure.CloseClientConnections)
}

func startServer(kind string) error {
	dir, err := os.MkdirTemp(world.dir, kind+"-")
	if err != nil {
		return err
	}
	s := &server{kind: kind, dir: dir, exited: make(chan struct{})}
	if err := s.choosePorts(); err != nil {
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
	s.cmd = exec.Command("/usr/sbin/nginx", "-p", dir, "-c", conf)
	if kind != nginx {
		s.cmd = exec.Command("/usr/sbin/apache2", "-d", dir, "-f", conf, "-DFOREGROUND")
	}
	stderr := new(logBuffer)
	s.cmd.Stdout, s.cmd.Stderr = stderr, stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	go func() {
		s.cmd.Wait()
		close(s.exited)
	}()
	world.servers[kind] = s
	world.stop = append([]func(){s.stop}, world.stop...)
	return s.untilReady(stderr)
}

// choosePorts picks two ports that are free now.
func (s *server) choosePorts() error {
	for _, addr := range []*string{&s.plain, &s.tls} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		*addr = l.Addr().String()
	}
	return nil
}

func (s *server) untilReady(stderr *logBuffer) error {
	var err error
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		select {
		case <-s.exited:
			return fmt.Errorf("%s has ended\n%s%s", s.kind, stderr, s.log())
		default:
		}
		var figures map[string]any
		if figures, err = s.figures(); err == nil && figures["goroutines"] != nil {
			s.base = s.goroutines(figures)
			return nil
		}
	}
	return fmt.Errorf("%s does not answer: %w\n%s%s", s.kind, err, stderr, s.log())
}

// stop ends a server gracefully, or at once when it takes too long.
func (s *server) stop() {
	signal := syscall.SIGQUIT
	if s.kind != nginx {
		signal = syscall.SIGTERM
	}
	s.cmd.Process.Signal(signal)
	select {
	case <-s.exited:
	case <-time.After(20 * time.Second):
		syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		<-s.exited
	}
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
