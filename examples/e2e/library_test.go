package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/gsgi/gsgi/examples/e2e/app"
)

// A badLibrary is one that is found bad when the configuration is read.
type badLibrary struct {
	name string
	path string // in the run's directory; "" is the test application
	args string
	env  string
	says string // expression, without regard to case
}

var badLibraries = []badLibrary{
	{"one that is missing", "missing.so", "", "", `missing\.so.*no such file`},
	{"one that is no ELF", "small.bin", "", "", `small\.bin.*no ELF header`},
	{"one of another machine", "machine.so", "", "", `machine\.so.*is for .*AArch64.*this`},
	{"one that is no application", "other.so", "", "", `other\.so.*gsgi_abi`},
	{"one of another ABI", "abi.so", "", "", `abi\.so.*GSGI ABI 2\.\d+, this server has 1\.\d+`},
	{"one that was cut", "cut.so", "", "", `cut\.so.*(truncated|beyond|cut|end)`},
	{"an init that panics", "", "-entries=8080", "E2E_INIT_PANIC=too-early", `panic: too-early`},
	{"a main that returns", "", "-entries=8080 -when=probe -fail=return", "", `main has returned without serving`},
	{"a main that panics", "", "-entries=8080 -when=probe -fail=panic", "", `failing on demand`},
	{"a main that panics at length", "", "-entries=8080 -when=probe -fail=long", "", `long on demand, x+`},
	{"a wrong argument", "", "-no-such-flag", "", `flag provided but not defined: -no-such-flag`},
	{"os.Exit(2)", "", "-entries=8080 -when=probe -fail=exit -code=2", "", `exit code 2`},
	{"log.Fatal", "", "-entries=8080 -when=probe -fail=error", "", `fatal on demand`},
	{"an entry twice", "", "-entries=8080,admin,admin", "", `entry "admin" is served already`},
	{"one that does not get on", "", "-entries=8080 -when=probe -fail=hang", "", `not reach ListenAndServe within 700 ms`},
}

// writeBadLibraries makes files of the test application that are no good.
func writeBadLibraries(t *testing.T) {
	t.Helper()
	good, err := os.ReadFile(world.library)
	if err != nil {
		t.Fatal(err)
	}
	machine := bytes.Clone(good)
	binary.LittleEndian.PutUint16(machine[18:], 183) // e_machine
	if good[18] == 183 {
		binary.LittleEndian.PutUint16(machine[18:], 62)
	}
	abi := bytes.Clone(good)
	head := []byte("GSGIABI1\x20\x00\x00\x00") // magic and size of gsgi_abi_t
	at := bytes.Index(abi, head)
	if at < 0 || bytes.Count(abi, head) != 1 {
		t.Fatal("gsgi_abi cannot be found")
	}
	abi[at+len(head)]++
	other, err := os.ReadFile(world.modules["apache"])
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"machine.so": machine, "abi.so": abi, "cut.so": good[:len(good)/2], "other.so": other,
	} {
		writeShared(t, name, string(data))
	}
}

// setup is a configuration with the library between two marks.
func (b badLibrary) setup(kind string) setup {
	library := "@LIB@"
	if b.path != "" {
		library = "@SHARE@/" + b.path
	}
	main := global(kind, "gsgi_directory @SHARE@;\n", "GSGIDirectory @SHARE@\n")
	if b.env != "" {
		main += global(kind, "gsgi_env "+b.env+";\n", "GSGIEnv "+b.env+"\n")
	}
	if strings.Contains(b.args, "hang") {
		main += global(kind, "gsgi_start_timeout 700ms;\n", "GSGIStartTimeout 700ms\n")
	}
	main += "# begin\n" + global(kind, "gsgi_app site "+library+" "+b.args+";", "GSGIApp site "+library+" "+b.args) + "\n# end\n"
	return setup{noApp: true, main: main, server: standardRoot(kind)}
}

// wantPlace checks that a message names the cause, and the configuration with
// the line of gsgi_app.
func (b badLibrary) wantPlace(t *testing.T, s *server, text string) {
	t.Helper()
	assert.Regexp(t, `(?i)`+b.says, text)
	first, last := s.marked(t)
	for _, line := range linesNamed(s.conf, text) {
		if first < line && line < last {
			return
		}
	}
	t.Errorf("no file and line between %d and %d in %q", first, last, text)
}

// marked returns the lines of the marks in the configuration.
func (s *server) marked(t *testing.T) (first, last int) {
	t.Helper()
	conf, err := os.ReadFile(s.conf)
	if err != nil {
		t.Fatal(err)
	}
	line := func(mark string) int {
		return strings.Count(strings.Split(string(conf), mark)[0], "\n") + 1
	}
	return line("# begin"), line("# end")
}

// rewrite gives the server another configuration, without telling it.
func (s *server) rewrite(t *testing.T, conf setup) {
	t.Helper()
	text := nginxConf(conf)
	if s.apache() {
		text = apacheConf(s.kind, conf)
	}
	if err := os.WriteFile(s.conf, []byte(s.fill(text)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// signal tells the master.
func (s *server) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := s.first.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// twoGenerationsOf have room for a new child of Apache beside the old one.
var twoGenerationsOf = map[string]string{event: twoGenerations, worker: twoGenerations}

const twoGenerations = `StartServers 1
ServerLimit 4
ThreadsPerChild 16
MaxRequestWorkers 64
MinSpareThreads 1
MaxSpareThreads 64`

func TestBadLibraries(t *testing.T) {
	writeBadLibraries(t)
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		good := setup{app: "-entries=8080", server: standardRoot(kind), mpm: twoGenerationsOf[kind]}
		running := launchUnclean(t, kind, good)
		running.untilAnswers(t)
		for _, b := range badLibraries {
			t.Run(b.name+" is refused by a test, with file, line and cause", func(t *testing.T) { b.check(t, kind) })
			if kind == nginx || b.path == "" || b.path == "missing.so" {
				t.Run(b.name+" does no harm to a running server", func(t *testing.T) { b.reload(t, running) })
			}
			t.Run(b.name+" does not stop the start", func(t *testing.T) { b.start(t, kind) })
		}
	})
}

// check is nginx -t, apache2 -t.
func (b badLibrary) check(t *testing.T, kind string) {
	s, err := prepareServer(kind, b.setup(kind))
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(s.dir)
	out, err := s.check()
	assert.Error(t, err, "the configuration is accepted")
	b.wantPlace(t, s, out)
}

// reload makes a running server read a configuration with this library:
// NGINX refuses it, Apache goes on with the image that it has.
func (b badLibrary) reload(t *testing.T, s *server) {
	before := s.answering(t)
	mark := s.log.mark()
	conf := b.setup(s.kind)
	conf.mpm = twoGenerationsOf[s.kind]
	s.rewrite(t, conf)
	if s.apache() {
		s.signal(t, syscall.SIGUSR1)
		s.log.want(t, mark, `AH00489: .*resuming normal operations`)
		for end := time.Now().Add(20 * time.Second); s.answering(t) == before; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("worker %d is not replaced", before)
			}
		}
	} else {
		s.signal(t, syscall.SIGHUP)
		s.log.want(t, mark, `\[emerg\]`)
	}
	s.log.want(t, mark, `(?i)`+b.says)
	s.log.want(t, mark, s.level("emerg")+`.*`+s.conf)
	b.wantPlace(t, s, s.log.since(mark))
	x := &target{s, h1}
	assert.Equal(t, "hello\n", x.page(t, "/hello").body)
	assert.Equal(t, "static hello\n", x.page(t, "/static/hello.txt").body)
	if !s.apache() {
		assert.Equal(t, []int{before}, s.workers())
	}
}

// answering is the pid of a worker whose application answers.
func (s *server) answering(t *testing.T) int {
	t.Helper()
	code, body, err := s.get("/worker")
	if err != nil || code != http.StatusOK {
		t.Fatalf("the application does not answer: %d %v", code, err)
	}
	var w app.Worker
	if err := json.Unmarshal([]byte(body), &w); err != nil {
		t.Fatal(err)
	}
	return w.PID
}

// start is a cold start: all but the application is served.
func (b badLibrary) start(t *testing.T, kind string) {
	s := launchUnclean(t, kind, b.setup(kind))
	x := &target{s, h1}
	wantBusy(t, <-x.fetch(t, "/hello"))
	assert.Equal(t, "static hello\n", x.page(t, "/static/hello.txt").body)
	s.log.want(t, 0, s.level("emerg")+`.*`)
	b.wantPlace(t, s, s.texts())
	assert.Len(t, s.workers(), 1)
	for _, pid := range append(s.workers(), s.master()) {
		assert.False(t, hasLibrary(t, pid), "the library is loaded in process %d", pid)
	}
}
