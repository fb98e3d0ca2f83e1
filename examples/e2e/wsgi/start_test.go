package wsgi

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gsgi/gsgi/examples/internal/testserver"
)

// TestNames: how an application may be named.
func TestNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ spec, body string }{
		{"contract", "Hello, world\n"},
		{"contract:application", "Hello, world\n"},
		{"contract:make('Ann')", "hi Ann"},
		{"contract:make('Ann',greeting='hello')", "hello Ann"},
		{"contract:Holder.inner", "Hello, world\n"},
		{"@APPS@/script.wsgi", "_gsgi_script @APPS@/script.wsgi"},
		{"script.wsgi", "_gsgi_script @APPS@/script.wsgi"},
		{"./contract.py:hello", "Hello, world\n"},
	} {
		t.Run(c.spec, func(t *testing.T) {
			t.Parallel()
			s := launch(t, nginx, setup{args: `"` + c.spec + `" --chdir @APPS@`})
			s.want("/", 200, s.fill(c.body))
		})
	}
}

// TestWrong: a check of the configuration says what is wrong, with Python's
// own words and the place in the configuration.
func TestWrong(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, says string }{
		{"nosuch:application", `there is no module nosuch; sys\.path is .*/apps`},
		{"nosuch.deeper", `there is no module nosuch`},
		{"contract:nosuch", `contract has no nosuch`},
		{"contract:not_callable", `not_callable of contract is not callable, it is 42`},
		{"'contract:make('", `'make\(' is not the name of a callable`},
		{"broken", `broken\.py", line 1.*SyntaxError`},
		{"dependent", `dependent\.py", line 1.*ModuleNotFoundError: No module named 'no_such_dependency'`},
		{"exiting", `exiting has called sys\.exit\(4\)`},
		{"./nosuch.wsgi", `/apps/nosuch\.wsgi is not a file`},
		{"", `no application is named`},
		{"contract other", `two applications, "contract" and "other"`},
		{"contract --threads 0x", `invalid value "0x" for flag -threads`},
		{"contract --threads -1", `-1 threads: from 1 to`},
		{"contract --nosuch", `flag provided but not defined: -nosuch.*the options are --chdir`},
		{"contract --env NOVALUE", `"NOVALUE" is not NAME=VALUE`},
		{"contract --home /nonexistent", `--home /nonexistent is not a directory`},
		{"contract --home @SHARE@", `has no bin/python3`},
		{"contract --chdir /nonexistent", `--chdir: chdir /nonexistent: no such file`},
	} {
		for _, kind := range kinds {
			t.Run(kind+" "+c.args, func(t *testing.T) {
				t.Parallel()
				s := prepareServer(t, kind, setup{args: "--chdir @APPS@ " + c.args})
				text, ok := s.check()
				if ok || !regexp.MustCompile(`(?s)`+c.says).MatchString(text) {
					t.Errorf("the check (passed: %v) says %s\nand not %s", ok, text, c.says)
				}
				if !strings.Contains(text, "server.conf") {
					t.Errorf("the check names no place: %s", text)
				}
			})
		}
	}
	t.Run("unchecked", func(t *testing.T) {
		s := prepareServer(t, nginx, setup{args: "broken --check=false --chdir @APPS@"})
		if text, ok := s.check(); !ok {
			t.Errorf("--check=false checks: %s", text)
		}
	})
}

// TestSecond: a second site is refused when the configuration is read.
func TestSecond(t *testing.T) {
	both(t, func(t *testing.T, kind string) {
		s := prepareServer(t, kind, contract)
		text, err := os.ReadFile(s.conf)
		if err != nil {
			t.Fatal(err)
		}
		re := regexp.MustCompile(`(?m)^\s*(gsgi_app|GSGIApp) site (.*)$`)
		twice := re.ReplaceAllString(string(text), "$0\n$1 other $2")
		if err := os.WriteFile(s.conf, []byte(twice), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, ok := s.check(); ok || !regexp.MustCompile(`server\.conf`).MatchString(out) || !regexp.MustCompile(`one Go runtime|from one`).MatchString(out) {
			t.Errorf("%s: a second application: %s", kind, out)
		}
	})
}

// TestFailsLater: the import worked when the configuration was checked, and
// does not in the worker.
func TestFailsLater(t *testing.T) {
	each(t, setup{args: "flaky --lazy --chdir @APPS@", env: []string{"FLAG=@DIR@/flag"}, quiet: true}, func(t *testing.T, s *server) {
		flag := filepath.Join(s.dir, "flag")
		if err := os.WriteFile(flag, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if a := s.get("/"); a.status != 503 || a.header.Get("Retry-After") == "" {
				t.Errorf("lazy, failing: %d %v", a.status, a.header)
			}
		}
		s.says(`flaky\.py", line 4.*RuntimeError: not now`)
		if a := s.get("/plain"); a.status != 200 {
			t.Errorf("the rest of the server: %d", a.status)
		}
		if err := os.Remove(flag); err != nil {
			t.Fatal(err)
		}
		s.want("/", 200, "now it works")
	})
}

// TestFailsInWorker: without lazy the worker's application fails as a whole.
func TestFailsInWorker(t *testing.T) {
	conf := setup{args: "flaky --check=false --chdir @APPS@", env: []string{"FLAG=@APPS@/flaky.py"}, quiet: true}
	each(t, conf, func(t *testing.T, s *server) {
		s.says(`flaky\.py", line 4.*RuntimeError: not now`)
		if a := s.get("/"); a.status != 503 {
			t.Errorf("failed: %d %q", a.status, a.body)
		}
		if a := s.get("/plain"); a.status != 200 {
			t.Errorf("the rest of the server: %d", a.status)
		}
	})
}

// imports is how often imported.py has been imported for a server.
func (s *server) imports() int {
	text, _ := os.ReadFile(filepath.Join(s.dir, "state/imports"))
	return strings.Count(string(text), "\n")
}

// TestImportsOnce: a server that starts imports the application in its worker
// alone; its first page is as early as that. A test and a reload try it first.
func TestImportsOnce(t *testing.T) {
	each(t, setup{args: "imported --chdir @APPS@", env: []string{"IMPORTS=@DIR@/state/imports"}}, func(t *testing.T, s *server) {
		s.want("/", 200, "imported")
		if n := s.imports(); n != 1 {
			t.Errorf("imported %d times at the start", n)
		}
		if text, ok := s.check(); !ok || s.imports() != 2 {
			t.Errorf("a test (passed: %v): %d imports: %s", ok, s.imports(), text)
		}
		if s.kind == nginx {
			s.reload()
			s.wait("a check and a worker", 15*time.Second, func() bool { return s.imports() == 4 })
		}
	})
}

// TestCrashInImport: the first worker of a server that starts may die of the
// import; the next one tries it elsewhere, and serves the rest.
func TestCrashInImport(t *testing.T) {
	for _, c := range []struct{ name, env, says string }{
		{"crash", "CRASH=1", `ended by signal 6 \(Aborted\) before it served`},
		{"exit", "EXIT=1", `ended with exit code 1 before it served`},
		{"exit with what would end NGINX", "EXIT=2", `ended with exit code 1 before it served`},
		{"exit with what would end httpd", "EXIT=15", `ended with exit code 1 before it served`},
	} {
		conf := setup{args: "imported --chdir @APPS@", env: []string{"IMPORTS=@DIR@/state/imports", c.env}, quiet: true}
		t.Run(c.name, func(t *testing.T) {
			each(t, conf, func(t *testing.T, s *server) {
				s.wait("the check in the next worker", 30*time.Second, func() bool {
					return regexp.MustCompile(c.says).MatchString(s.log())
				})
				if a := s.get("/"); a.status != 503 {
					t.Errorf("failed: %d %q", a.status, a.body)
				}
				time.Sleep(2500 * time.Millisecond) // the next one would be due
				if n := s.imports(); n != 2 {
					t.Errorf("imported %d times: a worker and a check, that is all", n)
				}
				if a := s.get("/plain"); a.status != 200 {
					t.Errorf("the rest of the server: %d", a.status)
				}
				if s.kind == apache {
					return
				}
				// The worker after one that has ended in order is no wiser.
				if err := syscall.Kill(testserver.Children(s.first.Process.Pid)[0], syscall.SIGQUIT); err != nil {
					t.Fatal(err)
				}
				s.wait("another check", 15*time.Second, func() bool { return s.imports() == 3 })
				if n := len(regexp.MustCompile(`worker process \d+ exited`).FindAllString(s.log(), -1)); n != 2 {
					t.Errorf("%d workers have ended", n)
				}
			})
		})
	}
}

// TestHome: packages of a virtual environment.
func TestHome(t *testing.T) {
	venv := filepath.Join(world.dir, "venv")
	if out, err := exec.Command(python, "-m", "venv", "--without-pip", venv).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	found, err := filepath.Glob(filepath.Join(venv, "lib/python3.*/site-packages"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%v %v", found, err)
	}
	text := "import sys\nfrom contract import hello, text\ndef application(env, start):\n" +
		"    return text(start, '200 OK', (sys.prefix + ' ' + __file__).encode())\n"
	if err := os.WriteFile(filepath.Join(found[0], "only_here.py"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	each(t, setup{args: "only_here --chdir @APPS@ --home @SHARE@/venv"}, func(t *testing.T, s *server) {
		s.want("/", 200, venv+" "+found[0]+"/only_here.py")
	})
}

// TestPythonOfAnotherPrefix builds the library for a Python that is not the
// system's, and looks whose modules it imports.
func TestPythonOfAnotherPrefix(t *testing.T) {
	prefix := filepath.Join(world.dir, "python")
	for _, dir := range []string{"bin", "lib"} {
		if err := os.MkdirAll(filepath.Join(prefix, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	directory, err := exec.Command("pkg-config", "--variable=libdir", "python3-embed").Output()
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(strings.TrimSpace(string(directory)) + "/libpython3.*.so.1.0")
	if err != nil || len(found) != 1 {
		t.Fatalf("%v %v", found, err)
	}
	version := regexp.MustCompile(`python3\.\d+`).FindString(found[0])
	code, err := os.ReadFile(found[0])
	if err := errors.Join(err,
		os.WriteFile(filepath.Join(prefix, "lib", filepath.Base(found[0])), code, 0o755),
		os.WriteFile(filepath.Join(prefix, "bin/python3"), nil, 0o755),
		os.Symlink("/usr/lib/"+version, filepath.Join(prefix, "lib", version)),
	); err != nil {
		t.Fatal(err)
	}
	library := filepath.Join(prefix, "gsgi-wsgi.so")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", library, "./goapp/wsgi/gsgi-wsgi")
	cmd.Dir = "../../.."
	cmd.Env = append(os.Environ(), "CGO_LDFLAGS=-Wl,-rpath,"+prefix+"/lib")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	each(t, setup{library: library, args: "prefix --chdir @APPS@"}, func(t *testing.T, s *server) {
		s.want("/", 200, prefix+" "+prefix+"/bin/python3 "+prefix+"/lib/"+version+"/os.py")
	})
}
