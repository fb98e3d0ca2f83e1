package wsgi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var buildMixed = sync.OnceValues(func() (string, error) {
	library := filepath.Join(world.dir, "mixed.so")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "go", "build", "-buildmode=c-shared", "-o", library, "./mixed").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("mixed does not build: %w\n%s", err, out)
	}
	return library, os.Chmod(library, 0o755)
})

// TestMixed: Python behind middleware in Go.
func TestMixed(t *testing.T) {
	t.Parallel()
	library, err := buildMixed()
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range []string{"nethttp", "gateway"} {
		t.Run(entry, func(t *testing.T) {
			each(t, setup{library: library, args: "@APPS@", entry: entry}, func(t *testing.T, s *server) {
				mixed(t, s, entry)
			})
		})
	}
}

func mixed(t *testing.T, s *server, entry string) {
	hello := s.want("/py/hello", 200, "Hello, world\n")
	if entry == "gateway" && hello.header.Get("X-Marked") != "yes" {
		t.Errorf("header %v", hello.header)
	}
	if entry == "nethttp" {
		s.want("/go", 200, "from Go\n")
	}
	f := facts(t, s.get("/py/environ?a=b"))
	if f["SCRIPT_NAME"] != "/py" || f["PATH_INFO"] != "/environ" || f["QUERY_STRING"] != "a=b" || f["wsgi.url_scheme"] != "http" {
		t.Errorf("environ %v", f)
	}
	if entry == "gateway" && f["HTTP_X_MARK"] != "by Go" {
		t.Errorf("HTTP_X_MARK is %v", f["HTTP_X_MARK"])
	}
	s.want("/py/writes", 200, "one two three")
	s.want("/py/generator", 200, "late start")
	s.want("/py/unwrapped", 200, "not a file")
	s.want("/py/wrapped", 200, strings.Repeat("0123456789", 20000)[5:100005])
	s.want("/py/fails", 500, s.get("/py/fails").body)
	s.says("RuntimeError: the application fails")
	for _, path := range []string{"/py/fails_late", "/py/short"} {
		if a := s.get(path); a.err == nil && a.status == 200 {
			t.Errorf("%s passes for complete: %q", path, a.body)
		}
	}
	if a := s.do(s.request(http.MethodHead, "/py/hello", "")); a.status != 200 || a.length != 13 {
		t.Errorf("HEAD: %d %d", a.status, a.length)
	}
	if a := s.do(s.request(http.MethodPost, "/py/read_all", strings.Repeat("body ", 30000))); a.body != strings.Repeat("body ", 30000)+"|" {
		t.Errorf("a body: %d %d bytes", a.status, len(a.body))
	}
	s.want("/py/big?300000", 200, strings.Repeat("b", 300000))
	res, err := s.client().Do(s.request(http.MethodGet, "/py/forever", ""))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadFull(res.Body, make([]byte, 10000))
	res.Body.Close()
	s.wait("close of every body", 15*time.Second, func() bool {
		f := facts(t, s.get("/py/state"))
		return f["open"] == f["closed"]
	})
}

// TestStandalone: the ready library's program serves by itself.
func TestStandalone(t *testing.T) {
	t.Parallel()
	s := prepareServer(t, nginx, setup{args: "contract"})
	program := filepath.Join(world.dir, "gsgi-wsgi")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/gsgi/gsgi/goapp/wsgi/gsgi-wsgi").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	log, err := os.Create(filepath.Join(s.dir, "error.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(program, "contract", "--chdir", filepath.Join(world.dir, "apps"), "--bind", s.addr)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.wait("the program", 20*time.Second, func() bool { return s.get("/hello").status == 200 })
	s.want("/hello", 200, "Hello, world\n")
	f := facts(t, s.get("/environ/x?y"))
	if f["PATH_INFO"] != "/environ/x" || f["SERVER_SOFTWARE"] != "gsgi" {
		t.Errorf("environ %v", f)
	}
	s.want("/writes", 200, "one two three")
	_ = cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil {
		t.Errorf("the program ends: %v", err)
	}
	s.says("atexit has run")
}
