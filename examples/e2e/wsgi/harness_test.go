package wsgi

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gsgi/gsgi/examples/internal/testserver"
)

const (
	nginx  = "nginx"
	apache = "apache"
)

var kinds = []string{nginx, apache}

// world is what all servers of a run share.
var world struct {
	dir   string            // files that the workers may read
	files map[string]string // modules and the library
}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e/wsgi:", err)
		return 1
	}
	defer os.RemoveAll(world.dir)
	if err := widen(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e/wsgi:", err)
		return 1
	}
	return m.Run()
}

// atOnce is how many servers are tested side by side: more than there are
// cores, as most of the time is spent waiting.
const atOnce = 6

// widen sets -parallel, unless the command line has it.
func widen() error {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(atOnce))
}

func prepare() error {
	nginxModule, apacheModule, err := testserver.Modules()
	if err != nil {
		return err
	}
	library, err := testserver.Built("GSGI_WSGI_LIBRARY", "gsgi-wsgi.so")
	if err != nil {
		return err
	}
	world.files = map[string]string{nginx: nginxModule, apache: apacheModule, "library": library}
	dir, err := os.MkdirTemp("/tmp", "gsgi-wsgi-")
	if err != nil {
		return err
	}
	world.dir = dir
	return errors.Join(os.Chmod(dir, 0o755), copyTree("testdata", filepath.Join(dir, "apps")), copyLibrary())
}

// copyLibrary puts the library, whose directory is the application's unless
// the configuration says otherwise, where the workers' user may go.
func copyLibrary() error {
	data, err := os.ReadFile(world.files["library"])
	if err != nil {
		return err
	}
	world.files["library"] = filepath.Join(world.dir, "gsgi-wsgi.so")
	return os.WriteFile(world.files["library"], data, 0o755)
}

// copyTree copies a folder so that the workers' user can read it.
func copyTree(from, to string) error {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	return filepath.Walk(to, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if info.IsDir() {
			mode = 0o755
		}
		return os.Chmod(path, mode)
	})
}

// A setup is what a test wants of a server.
type setup struct {
	args    string   // of the library: the application and its options
	env     []string // gsgi_env
	nginx   string   // directives of the location
	static  string   // NGINX: more locations
	http    string   // NGINX: more servers
	apache  string
	hosts   string // Apache: more servers
	library string // instead of the ready one
	entry   string // of the library
	workers int
	quiet   bool // the log may have alarms
}

// A server is one running NGINX or Apache.
type server struct {
	t     *testing.T
	kind  string
	quiet bool // the log may have alarms
	dir   string
	conf  string
	addr  string
	first *testserver.Process
}

// fill replaces the places of this run.
func (s *server) fill(text string) string {
	return strings.NewReplacer("@DIR@", s.dir, "@APPS@", filepath.Join(world.dir, "apps"), "@SHARE@", world.dir).Replace(text)
}

func prepareServer(t *testing.T, kind string, conf setup) *server {
	t.Helper()
	dir, err := os.MkdirTemp(world.dir, kind+"-")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, kind: kind, quiet: conf.quiet, dir: dir}
	if err := errors.Join(testserver.Addresses(&s.addr), os.Chmod(dir, 0o755), os.Mkdir(dir+"/state", 0o777), os.Chmod(dir+"/state", 0o777)); err != nil {
		t.Fatal(err)
	}
	s.write(conf)
	return s
}

// write writes the configuration.
func (s *server) write(conf setup) {
	s.t.Helper()
	if conf.workers == 0 {
		conf.workers = 1
	}
	if conf.library == "" {
		conf.library = world.files["library"]
	}
	text := s.nginxConf(conf)
	if s.kind == apache {
		text = s.apacheConf(conf)
	}
	s.conf = filepath.Join(s.dir, "server.conf")
	if err := os.WriteFile(s.conf, []byte(s.fill(text)), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func envLines(directive, end string, env []string) string {
	var b strings.Builder
	for _, e := range env {
		fmt.Fprintf(&b, "%s \"%s\"%s\n", directive, e, end)
	}
	return b.String()
}

func (s *server) nginxConf(conf setup) string {
	target := "site"
	if conf.entry != "" {
		target += ":" + conf.entry
	}
	return fmt.Sprintf(`load_module %s;
user www-data;
daemon off;
pid @DIR@/pid;
error_log @DIR@/error.log info;
worker_processes %d;
events { worker_connections 2000; }
http {
	log_format e2e '$status|$request|$gsgi_status|$gsgi_queue_time|$gsgi_time';
	access_log @DIR@/access.log e2e;
	client_body_temp_path @DIR@/body;
	proxy_temp_path @DIR@/proxy;
	fastcgi_temp_path @DIR@/fastcgi;
	uwsgi_temp_path @DIR@/uwsgi;
	scgi_temp_path @DIR@/scgi;
	client_max_body_size 0;
	sendfile on;
	%s
	gsgi_env PATH;
	gsgi_app site %s %s;
	server {
		listen %s;
		server_name localhost;
		root @SHARE@;
		location = /gsgi-status { gsgi_status; }
		location = /plain { return 200 "plain\n"; }
		location / { gsgi_pass %s; %s }
		location /mount/ { gsgi_pass %s; gsgi_script_name /mount; %s }
		location /unbuffered/ { gsgi_pass %s; gsgi_script_name /unbuffered; gsgi_request_buffering off; gsgi_buffering off; gsgi_param HTTPS on; }
		location /quick/ { gsgi_pass %s; gsgi_script_name /quick; gsgi_timeout 500ms; }
		%s
	}
%s}
`, world.files[nginx], conf.workers, envLines("gsgi_env", ";", conf.env), conf.library, conf.args, s.addr,
		target, conf.nginx, target, conf.nginx, target, target, conf.static, conf.http)
}

func (s *server) apacheConf(conf setup) string {
	target := "site"
	if conf.entry != "" {
		target += ":" + conf.entry
	}
	var load strings.Builder
	for _, name := range []string{"mpm_event", "authz_core", "mime", "alias"} {
		fmt.Fprintf(&load, "LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n", name, name)
	}
	return fmt.Sprintf(`%sLoadModule gsgi_module %s
ServerRoot @DIR@
DefaultRuntimeDir @DIR@
PidFile @DIR@/pid
ErrorLog @DIR@/error.log
LogLevel info
User www-data
Group www-data
Listen %s
ServerName localhost
DocumentRoot @SHARE@
TypesConfig /dev/null
EnableSendfile On
LimitRequestBody 0
Timeout 60
StartServers %d
ServerLimit %d
ThreadLimit 300
ThreadsPerChild 300
MaxRequestWorkers %d
MinSpareThreads 1
MaxSpareThreads %d
LogFormat "%%>s|%%r|%%{gsgi_status}n|%%{gsgi_queue_time}n|%%{gsgi_time}n" e2e
CustomLog @DIR@/access.log e2e
%s
GSGIEnv PATH
GSGIApp site %s %s
<Location /gsgi-status>
	SetHandler gsgi-status
</Location>
Alias /plain @APPS@/script.wsgi
<Directory @APPS@>
	Require all granted
</Directory>
<LocationMatch "^/(?!plain|gsgi-status|django-static)">
	GSGIPass %s
	%s
</LocationMatch>
<Location /mount>
	GSGIPass %s
	GSGIScriptName /mount
	%s
</Location>
<Location /unbuffered>
	GSGIPass %s
	GSGIScriptName /unbuffered
	GSGIRequestBuffering off
	GSGIBuffering off
	GSGIParam HTTPS on
</Location>
<Location /quick>
	GSGIPass %s
	GSGIScriptName /quick
	GSGITimeout 500ms
</Location>
%s`, load.String(), world.files[apache], s.addr, conf.workers, conf.workers+4, 300*conf.workers, 300*conf.workers,
		envLines("GSGIEnv", "", conf.env), conf.library, conf.args, target, conf.apache, target, conf.apache, target, target, conf.hosts)
}

func (s *server) command(args ...string) *exec.Cmd {
	if s.kind == apache {
		return exec.Command("/usr/sbin/apache2", append([]string{"-d", s.dir, "-f", s.conf}, args...)...)
	}
	return exec.Command("/usr/sbin/nginx", append([]string{"-p", s.dir, "-c", s.conf}, args...)...)
}

// check runs the server's test of the configuration.
func (s *server) check() (string, bool) {
	out, err := s.command("-t").CombinedOutput()
	return string(out), err == nil
}

// launch starts a server for one test, which ends it.
func launch(t *testing.T, kind string, conf setup) *server {
	t.Helper()
	s := prepareServer(t, kind, conf)
	s.serve()
	return s
}

// serve starts the server, which the end of the test ends.
func (s *server) serve() {
	s.t.Helper()
	s.start()
	s.t.Cleanup(func() {
		s.stop()
		if !s.quiet {
			s.clean()
		}
		if s.t.Failed() {
			s.t.Logf("log of %s:\n%s", s.kind, tail(s.log(), 6000))
		}
	})
}

func (s *server) start() {
	s.t.Helper()
	var args []string
	if s.kind == apache {
		args = []string{"-DFOREGROUND"}
	}
	out, err := os.Create(filepath.Join(s.dir, "stderr"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	if s.first, err = testserver.Start(s.command(args...), out); err != nil {
		s.t.Fatal(err)
	}
	s.wait("the server", 60*time.Second, func() bool {
		if s.first.Ended() {
			text, _ := os.ReadFile(filepath.Join(s.dir, "stderr"))
			s.t.Fatalf("%s has ended: %s%s", s.kind, text, s.log())
		}
		c, err := net.Dial("tcp", s.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// wait waits until something is so.
func (s *server) wait(what string, limit time.Duration, so func() bool) {
	s.t.Helper()
	for end := time.Now().Add(limit); !so(); time.Sleep(30 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("%s: waited %v for %s\n%s", s.kind, limit, what, tail(s.log(), 4000))
		}
	}
}

// either is NGINX's signal or Apache's.
func (s *server) either(nginxSignal, apacheSignal syscall.Signal) syscall.Signal {
	if s.kind == apache {
		return apacheSignal
	}
	return nginxSignal
}

func (s *server) reload() { _ = s.first.Process.Signal(s.either(syscall.SIGHUP, syscall.SIGUSR1)) }

func (s *server) stop() {
	s.t.Helper()
	if !s.first.Stop(s.either(syscall.SIGQUIT, syscall.SIGWINCH), 40*time.Second) {
		s.t.Errorf("%s did not stop within 40 s", s.kind)
	}
}

var alarms = regexp.MustCompile(`(?m)^.*(\[(\w*:)?(alert|emerg|crit)\]|exited on signal|exit signal).*$`)

// clean reports lines in the log that a healthy server does not write.
func (s *server) clean() {
	s.t.Helper()
	if lines := alarms.FindAllString(s.log(), 5); lines != nil {
		s.t.Errorf("%s logged:\n%s", s.kind, strings.Join(lines, "\n"))
	}
}

func (s *server) log() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "error.log"))
	return string(text)
}

// says waits until the log matches.
func (s *server) says(pattern string) string {
	s.t.Helper()
	re := regexp.MustCompile("(?s)" + pattern)
	var found string
	s.wait("the log to say "+pattern, 15*time.Second, func() bool {
		found = re.FindString(s.log())
		return found != ""
	})
	return found
}

func tail(text string, n int) string { return text[max(0, len(text)-n):] }

// An answer is a response with its body.
type answer struct {
	status int
	header http.Header
	body   string
	length int64
	err    error
}

// client is for requests of one test.
func (s *server) client() *http.Client {
	tr := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 100}
	s.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (s *server) do(req *http.Request) answer {
	s.t.Helper()
	res, err := s.client().Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(body), res.ContentLength, err}
}

func (s *server) request(method, path, body string) *http.Request {
	s.t.Helper()
	var r io.Reader
	if body != "" {
		r = bytes.NewReader([]byte(body))
	}
	req, err := http.NewRequest(method, "http://"+s.addr+path, r)
	if err != nil {
		s.t.Fatal(err)
	}
	return req
}

func (s *server) get(path string) answer {
	s.t.Helper()
	return s.do(s.request(http.MethodGet, path, ""))
}

// want is get, and its answer must be this one.
func (s *server) want(path string, status int, body string) answer {
	s.t.Helper()
	a := s.get(path)
	if a.err != nil || a.status != status || a.body != body {
		s.t.Errorf("%s %s: %d %.300q (%v), not %d %.300q", s.kind, path, a.status, a.body, a.err, status, body)
	}
	return a
}

// both runs a test once for each kind of server, side by side with all others.
func both(t *testing.T, f func(t *testing.T, kind string)) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f(t, kind)
		})
	}
}

// each runs a test with a server of each kind.
func each(t *testing.T, conf setup, f func(t *testing.T, s *server)) {
	t.Helper()
	both(t, func(t *testing.T, kind string) { f(t, launch(t, kind, conf)) })
}
