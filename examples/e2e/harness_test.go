package e2e

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/gsgi/gsgi/examples/internal/testserver"
)

// world is what all servers of a run share.
var world struct {
	dir     string // files that the workers may read
	library string // the test application
	roots   *x509.CertPool
	modules map[string]string
	env     []string // of the servers, besides that of the tests
}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(world.dir)
	code := m.Run()
	if err := errors.Join(stopShared(), sanitizerReports()); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return code
}

func prepare() error {
	nginx, apache, err := testserver.Modules()
	if err != nil {
		return err
	}
	world.modules = map[string]string{"nginx": nginx, "apache": apache}
	dir, err := os.MkdirTemp("/tmp", "gsgi-e2e-")
	if err != nil {
		return err
	}
	world.dir = dir
	if err := errors.Join(os.Chmod(dir, 0o755), writeFiles(dir)); err != nil {
		return err
	}
	if _, world.roots, err = testserver.Certificate(dir); err != nil {
		return err
	}
	if world.env, err = sanitizers(); err != nil {
		return err
	}
	world.library = filepath.Join(dir, "testapp.so")
	return build(world.library)
}

// build makes the test application.
func build(library string) error {
	var env []string
	if experiment := os.Getenv("GSGI_GOEXPERIMENT"); experiment != "" {
		env = append(env, "GOEXPERIMENT="+experiment)
	}
	return testserver.Library(library, "./testapp", env...)
}

const (
	mib = 1 << 20
	gib = 1 << 30
)

// writeFiles makes what the servers and the application serve as files. The
// large one is all holes, so that it costs no room.
func writeFiles(dir string) error {
	static := filepath.Join(dir, "static")
	if err := os.Mkdir(static, 0o755); err != nil {
		return err
	}
	files := map[string]string{
		"static/hello.txt": "static hello\n",
		"static/ssi.shtml": "",
		"small.bin":        "0123456789abcdefghijklmnopqrstuvwxyz",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for name, size := range map[string]int64{"sparse.bin": gib, "medium.bin": 64 * mib, "static/large.bin": 16 * mib} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if err := errors.Join(f.Truncate(size), f.Chmod(0o644), f.Close()); err != nil {
			return err
		}
	}
	return nil
}
