package e2e

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A mistake in a configuration: the lines in both spellings, where a line
// break in front would hide which line is meant, and what the message names.
type mistake struct {
	name          string
	nginx, apache string
	where         string // "main", "server" (default "main")
	says          string // expression, without regard to case
	noApp         bool
}

const sameApp = "-entries=8080,admin"

var mistakes = []mistake{
	{"a library that is not there", "gsgi_app site /nowhere/x.so;", "GSGIApp site /nowhere/x.so", "main", "/nowhere/x.so", true},
	{"a library that is a directory", "gsgi_app site @SHARE@;", "GSGIApp site @SHARE@", "main", "", true},
	{"a library that is text", "gsgi_app site @SHARE@/small.bin;", "GSGIApp site @SHARE@/small.bin", "main", "ELF", true},
	{"a shared object that is no application", "gsgi_app site /lib/x86_64-linux-gnu/libz.so.1;",
		"GSGIApp site /lib/x86_64-linux-gnu/libz.so.1", "main", "", true},
	{"an application without a library", "gsgi_app site;", "GSGIApp site", "main", "", true},
	{"an application without anything", "gsgi_app;", "GSGIApp", "main", "", true},
	{"an empty name of an application", `gsgi_app "" @LIB@;`, `GSGIApp "" @LIB@`, "main", "", true},
	{"a colon in the name of an application", "gsgi_app a:b @LIB@;", "GSGIApp a:b @LIB@", "main", "", true},
	{"an application twice", "gsgi_app site @LIB@;", "GSGIApp site @LIB@", "main", "", false},
	{"a second library", "gsgi_app other @SHARE@/copy.so;", "GSGIApp other @SHARE@/copy.so", "main", "one", false},
	{"a variable without a name", "gsgi_env =x;", "GSGIEnv =x", "main", "", false},
	{"an empty variable", `gsgi_env "";`, `GSGIEnv ""`, "main", "", false},
	{"a variable with two arguments", "gsgi_env A B;", "", "main", "", false},
	{"a directory that is not there", "gsgi_directory /nowhere;", "GSGIDirectory /nowhere", "main", "/nowhere", true},
	{"a directory that is a file", "gsgi_directory @SHARE@/small.bin;", "GSGIDirectory @SHARE@/small.bin", "main", "", true},
	{"no time", "gsgi_start_timeout soon;", "GSGIStartTimeout soon", "main", "", false},
	{"a negative time", "gsgi_start_timeout -1s;", "GSGIStartTimeout -1s", "main", "", false},
	{"a time twice", "gsgi_start_timeout 1s; gsgi_start_timeout 2s;", "", "main", "duplicate", false},
	{"neither on nor off", "gsgi_probe maybe;", "GSGIProbe maybe", "main", "", false},
	{"no number of procs", "gsgi_procs many;", "GSGIProcs many", "main", "", false},
	{"a negative number of procs", "gsgi_procs -1;", "GSGIProcs -1", "main", "", false},
	{"a fraction of procs", "gsgi_procs 1.5;", "GSGIProcs 1.5", "main", "", false},
	{"no size", "gsgi_memory_limit big;", "GSGIMemoryLimit big", "main", "", false},
	{"a negative size", "gsgi_memory_limit -1m;", "GSGIMemoryLimit -1m", "main", "", false},
	{"no concurrency", "gsgi_concurrency many;", "GSGIConcurrency many", "main", "", false},
	{"concurrency 0", "gsgi_concurrency 0;", "GSGIConcurrency 0", "main", "", false},
	{"negative concurrency", "gsgi_concurrency -5;", "GSGIConcurrency -5", "main", "", false},
	{"a queue that is no number", "gsgi_concurrency 5 queue=x;", "GSGIConcurrency 5 queue=x", "main", "", false},
	{"a wait that is no time", "gsgi_concurrency 5 timeout=x;", "GSGIConcurrency 5 timeout=x", "main", "", false},
	{"an unknown parameter of concurrency", "gsgi_concurrency 5 foo=1;", "GSGIConcurrency 5 foo=1", "main", "foo", false},
	{"an application that is not declared", "location /x { gsgi_pass other; }", "<Location /x>\nGSGIPass other\n</Location>",
		"server", "other", false},
	{"an entry that the application does not serve", "location /x { gsgi_pass site:none; }",
		"<Location /x>\nGSGIPass site:none\n</Location>", "server", "none", false},
	{"two entries and none named", "location /x { gsgi_pass site; }", "<Location /x>\nGSGIPass site\n</Location>",
		"server", "(8080|admin)", false},
	{"an empty entry", "location /x { gsgi_pass site:; }", "<Location /x>\nGSGIPass site:\n</Location>", "server", "", false},
	{"no application", "location /x { gsgi_pass; }", "<Location /x>\nGSGIPass\n</Location>", "server", "", false},
	{"a pass twice", "location /x { gsgi_pass site:8080; gsgi_pass site:admin; }", "", "server", "duplicate", false},
	{"a mount point without a slash", "location /x { gsgi_pass site:8080; gsgi_script_name x; }",
		"<Location /x>\nGSGIScriptName x\n</Location>", "server", "", false},
	{"a mount point with a slash behind", "location /x { gsgi_pass site:8080; gsgi_script_name /x/; }",
		"<Location /x>\nGSGIScriptName /x/\n</Location>", "server", "", false},
	{"a parameter without a value", "gsgi_param A;", "GSGIParam A", "main", "", false},
	{"a parameter with a word too many", "gsgi_param A B C;", "GSGIParam A B C", "main", "", false},
	{"an empty key", `gsgi_param "" B;`, `GSGIParam "" B`, "main", "", false},
	{"a value with an unknown variable", "gsgi_param A $no_such_variable;", "GSGIParam A %{no_such_function:x}", "main", "no_such", false},
	{"a timeout that is no time", "gsgi_timeout x;", "GSGITimeout x", "main", "", false},
	{"a negative timeout", "gsgi_timeout -1;", "GSGITimeout -1", "main", "", false},
	{"a request timeout that is no time", "gsgi_request_timeout 5parsecs;", "GSGIRequestTimeout 5parsecs", "main", "", false},
	{"request buffering neither on nor off", "gsgi_request_buffering 1;", "GSGIRequestBuffering 1", "main", "", false},
	{"buffering neither on nor off", "gsgi_buffering yes;", "GSGIBuffering yes", "main", "", false},
	{"no buffer size", "gsgi_buffer x;", "GSGIBuffer x", "main", "", false},
	{"a buffer of nothing", "gsgi_buffer 0;", "GSGIBuffer 0", "main", "", false},
	{"a negative buffer", "gsgi_buffer -64k;", "GSGIBuffer -64k", "main", "", false},
	{"ignore_client_abort neither on nor off", "gsgi_ignore_client_abort 2;", "GSGIIgnoreClientAbort 2", "main", "", false},
	{"intercept_errors neither on nor off", "gsgi_intercept_errors 404;", "GSGIErrorOverride 404", "main", "", false},
	{"accel_redirect neither on nor off", "gsgi_accel_redirect x;", "GSGISendfile x", "main", "", false},
	{"status with an argument", "location /x { gsgi_status on; }", "", "server", "", false},
	{"an application in a server block", "gsgi_app late @LIB@;", "", "server", "not allowed here", false},
	{"a pass outside of a location", "gsgi_pass site:8080;", "", "server", "not allowed here", false},
	{"an application in a directory", "", "<Location /x>\nGSGIApp late @LIB@\n</Location>", "server", "not allowed", false},
	{"the environment in a directory", "", "<Location /x>\nGSGIEnv A=B\n</Location>", "server", "not allowed", false},
	{"an alias without an application", "", "GSGIAlias /x", "server", "", false},
	{"an alias without a slash", "", "GSGIAlias x site:8080", "server", "", false},
	{"an alias of an unknown application", "", "GSGIAlias /x other", "server", "other", false},
	{"an alias within a location", "", "<Location /x>\nGSGIAlias /y site:8080\n</Location>", "server", "not allowed", false},
	{"an argument too many for a switch", "gsgi_buffering on off;", "", "main", "", false},
}

func TestMistakesInTheConfiguration(t *testing.T) {
	library, err := os.ReadFile(world.library)
	if err != nil {
		t.Fatal(err)
	}
	writeShared(t, "copy.so", string(library))
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		for _, m := range mistakes {
			text := m.nginx
			if kind != nginx {
				text = m.apache
			}
			if text != "" {
				t.Run(m.name+" is refused with file and line", func(t *testing.T) { m.check(t, kind, text) })
			}
		}
	})
}

// check puts the lines between two marks and wants the message to name a line
// between them.
func (m mistake) check(t *testing.T, kind, text string) {
	s, err := prepareServer(kind, m.setup(kind, text))
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(s.dir)
	out, err := s.check()
	if !assert.Error(t, err, "the configuration is accepted: %s\n%s", text, out) {
		return
	}
	assert.Regexp(t, `(?i)`+m.says, out)
	conf, _ := os.ReadFile(s.conf)
	first := strings.Count(strings.Split(string(conf), "# begin")[0], "\n") + 1
	last := strings.Count(strings.Split(string(conf), "# end")[0], "\n") + 1
	for _, line := range linesNamed(s.conf, out) {
		if first < line && line < last {
			return
		}
	}
	t.Errorf("no file and line between %d and %d in %q", first, last, out)
}

// linesNamed finds the lines of a file that a message names.
func linesNamed(file, message string) []int {
	file = regexp.QuoteMeta(file)
	var lines []int
	for _, m := range regexp.MustCompile(file+`:(\d+)|line (\d+) of `+file).FindAllStringSubmatch(message, -1) {
		line, _ := strconv.Atoi(m[1] + m[2])
		lines = append(lines, line)
	}
	return lines
}

func (m mistake) setup(kind, text string) setup {
	text = "\n# begin\n" + text + "\n# end\n"
	conf := setup{app: sameApp, noApp: m.noApp}
	pass := standardNamed(kind)
	if m.where == "server" {
		conf.server = pass + text
		return conf
	}
	conf.main = text
	if m.noApp && !strings.Contains(strings.ToLower(text), "app") {
		conf.main = global(kind, "gsgi_app site @LIB@ "+sameApp+";", "GSGIApp site @LIB@ "+sameApp) + text
	}
	conf.server = pass
	if strings.Contains(m.name, "application") && m.noApp {
		conf.server = ""
	}
	return conf
}

func standardNamed(kind string) string {
	return locationConf(kind, "/app", "", "")
}

func TestConfigurationsThatAreRight(t *testing.T) {
	everyServer(t, []string{nginx, event, worker, prefork}, func(t *testing.T, kind string) {
		s, err := prepareServer(kind, standard(kind))
		if err != nil {
			t.Fatal(err)
		}
		out, err := s.check()
		assert.NoError(t, err, out)
	})
}

func TestProbeRefusesBadApplications(t *testing.T) {
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		for _, c := range []struct{ name, args, env, says string }{
			{"a main that panics", "-entries=8080 -when=probe -fail=panic", "", "failing on demand"},
			{"a main that exits", "-entries=8080 -when=probe -fail=exit", "", "exiting on demand"},
			{"a main that returns", "-entries=8080 -when=probe -fail=return", "", ""},
			{"an init that panics", "-entries=8080", "E2E_INIT_PANIC=too-early", "too-early"},
		} {
			t.Run(c.name+" fails the test of the configuration with its own message", func(t *testing.T) {
				conf := setup{app: c.args, server: standardNamed(kind)}
				if c.env != "" {
					conf.main = global(kind, "gsgi_env "+c.env+";", "GSGIEnv "+c.env)
				}
				s, err := prepareServer(kind, conf)
				if err != nil {
					t.Fatal(err)
				}
				out, err := s.check()
				assert.Error(t, err)
				assert.Contains(t, out, c.says)
				assert.Contains(t, out, s.conf)
			})
		}
	})
}
