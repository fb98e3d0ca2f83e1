package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gsgi/gsgi/examples/internal/testserver"
)

// The servers.
const (
	nginx   = "nginx"
	event   = "apache event"
	worker  = "apache worker"
	prefork = "apache prefork"
)

var everyKind = []string{nginx, event, worker, prefork}

// A setup is a configuration apart from what every server needs. Names
// between at signs are replaced: @DIR@ of the server, @SHARE@ of the run,
// @LIB@, @PORT@, @TLS@, @EXTRA@.
type setup struct {
	app    string // arguments of gsgi_app behind the library
	main   string // http {} or server config, in front of the rest
	server string // the server block, or the server config and all virtual hosts
	more   string // behind: further server blocks or virtual hosts
	top    string // NGINX only: the main context
	mpm    string // Apache only: instead of the usual processes and threads
	noApp  bool   // main has its own gsgi_app

	wrap []string // a program that starts the server's
	env  []string // of the server, besides the usual one
}

// A server is one running NGINX or Apache.
type server struct {
	kind string
	dir  string
	conf string

	plain, tls, extra string // host:port
	first             *testserver.Process
	log               *logFile
	base              usage
	wrap, env         []string
}

// everyServer runs f for the kinds of servers side by side, since most of a
// test is waiting, and returns when all have ended.
func everyServer(t *testing.T, kinds []string, f func(t *testing.T, kind string)) {
	t.Run("in", func(t *testing.T) {
		for _, kind := range kinds {
			t.Run(kind, func(t *testing.T) {
				t.Parallel()
				f(t, kind)
			})
		}
	})
}

func (s *server) apache() bool {
	return s.kind != nginx
}

// prepareServer writes the configuration of a server, which does not run yet.
func prepareServer(kind string, conf setup) (*server, error) {
	dir, err := os.MkdirTemp(world.dir, strings.ReplaceAll(kind, " ", "-")+"-")
	if err != nil {
		return nil, err
	}
	s := &server{kind: kind, dir: dir, wrap: conf.wrap, env: conf.env}
	if err := errors.Join(os.Chmod(dir, 0o755), testserver.Addresses(&s.plain, &s.tls, &s.extra)); err != nil {
		return nil, err
	}
	s.log = &logFile{path: filepath.Join(dir, "error.log")}
	text := nginxConf(conf)
	if s.apache() {
		text = apacheConf(kind, conf)
	}
	s.conf = filepath.Join(dir, "server.conf")
	return s, os.WriteFile(s.conf, []byte(s.fill(text)), 0o644)
}

func port(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

func (s *server) fill(text string) string {
	return strings.NewReplacer(
		"@DIR@", s.dir,
		"@SHARE@", world.dir,
		"@LIB@", world.library,
		"@PORT@", port(s.plain),
		"@TLS@", port(s.tls),
		"@EXTRA@", port(s.extra),
	).Replace(text)
}

// command is the server's program with this configuration.
func (s *server) command(args ...string) *exec.Cmd {
	program := []string{"/usr/sbin/nginx", "-p", s.dir, "-c", s.conf}
	if s.apache() {
		program = []string{"/usr/sbin/apache2", "-d", s.dir, "-f", s.conf}
	}
	program = slices.Concat(s.wrap, program, args)
	cmd := exec.Command(program[0], program[1:]...)
	cmd.Env = slices.Concat(os.Environ(), world.env, s.env)
	return cmd
}

// check runs the server's test of the configuration.
func (s *server) check() (string, error) {
	out, err := s.command("-t").CombinedOutput()
	return string(out), err
}

func (s *server) start() error {
	stderr, err := os.Create(filepath.Join(s.dir, "stderr"))
	if err != nil {
		return err
	}
	defer stderr.Close()
	return s.startWith(stderr)
}

func (s *server) startWith(stderr *os.File) error {
	var args []string
	if s.apache() {
		args = []string{"-DFOREGROUND"}
	}
	var err error
	if s.first, err = testserver.Start(s.command(args...), stderr); err != nil {
		return err
	}
	return s.untilReady()
}

// untilReady waits until the server answers anything.
func (s *server) untilReady() error {
	var last error
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); {
		if s.first.Ended() {
			return fmt.Errorf("%s has ended: %v\n%s", s.kind, s.first.ProcessState, s.texts())
		}
		if _, _, last = s.get("/gsgi-status"); last == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.first.Kill()
	return fmt.Errorf("%s does not answer: %w\n%s", s.kind, last, clip(s.texts(), 8000))
}

// texts is what the server has said since its start.
func (s *server) texts() string {
	stderr, _ := os.ReadFile(filepath.Join(s.dir, "stderr"))
	return string(stderr) + s.log.since(0)
}

// stop ends the server gracefully and reports what was not clean about it.
func (s *server) stop() error {
	signal := syscall.SIGQUIT
	if s.apache() {
		signal = syscall.SIGTERM
	}
	workers := testserver.Children(s.master())
	if !s.first.Stop(signal, 20*time.Second) {
		return fmt.Errorf("%s did not stop within 20 s\n%s", s.kind, s.log.tail(40))
	}
	if !s.first.ProcessState.Success() {
		return fmt.Errorf("%s: %v\n%s", s.kind, s.first.ProcessState, s.log.tail(40))
	}
	for _, pid := range workers {
		if alive(pid) {
			return fmt.Errorf("%s left worker %d behind", s.kind, pid)
		}
	}
	return nil
}

// alarms are log lines that no case of the shared servers may cause.
var alarms = regexp.MustCompile(`(?m)^.*(\[(\w*:)?(alert|emerg|crit)\]|exited on signal|exit signal|` +
	`open socket|AH00045|still did not exit).*$`)

// clean reports lines in the log that a healthy server does not write.
func (s *server) clean() error {
	if lines := alarms.FindAllString(s.log.since(0), 10); lines != nil {
		return fmt.Errorf("%s logged:\n%s", s.kind, strings.Join(lines, "\n"))
	}
	return nil
}

// launch starts a server for one test, which ends it. Its log is shown when
// the test fails; unclean permits alarms in it.
func launch(t *testing.T, kind string, conf setup) *server {
	t.Helper()
	s := launchUnclean(t, kind, conf)
	t.Cleanup(func() {
		if err := s.clean(); err != nil {
			t.Error(err)
		}
	})
	s.warm(t)
	return s
}

func launchUnclean(t *testing.T, kind string, conf setup) *server {
	t.Helper()
	s, err := prepareServer(kind, conf)
	if err == nil {
		err = s.start()
	}
	if err != nil {
		t.Fatal(err)
	}
	s.stopAtEnd(t)
	return s
}

// stopAtEnd ends the server with the test.
func (s *server) stopAtEnd(t *testing.T) {
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", s.kind, s.log.tail(60))
		}
	})
}

// get fetches a page over a connection of its own.
func (s *server) get(path string) (int, string, error) {
	transport := &http.Transport{DisableKeepAlives: true}
	client := http.Client{Transport: transport, Timeout: 20 * time.Second}
	res, err := client.Get("http://" + s.plain + path)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), err
}

// master is the pid of the server's first process.
func (s *server) master() int {
	return s.first.Pid()
}

// workers are the pids of the server's children.
func (s *server) workers() []int {
	return testserver.Children(s.master())
}
