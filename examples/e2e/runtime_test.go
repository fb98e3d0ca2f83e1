package e2e

import (
	"debug/elf"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/gsgi/gsgi/examples/internal/testserver"
)

// TestModulesHaveTheLinkersLock: what starts our runtime with the lock of the
// dynamic linker held is an indirect function that both modules must export.
func TestModulesHaveTheLinkersLock(t *testing.T) {
	const indirect = 10 // STT_GNU_IFUNC
	nginxModule, apacheModule, err := testserver.Modules()
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range []string{nginxModule, apacheModule} {
		f, err := elf.Open(module)
		if err != nil {
			t.Fatal(err)
		}
		symbols, err := f.DynamicSymbols()
		assert.NoError(t, err)
		assert.True(t, slices.ContainsFunc(symbols, func(s elf.Symbol) bool {
			return s.Name == "gsgi_runtime_locked" && elf.ST_TYPE(s.Info) == indirect
		}), module)
		f.Close()
	}
}

// TestSecondRuntime has another module load a Go library of its own into the
// worker. Both runtimes must go on stopping their goroutines, without which a
// collection of garbage waits for the end of every tight loop.
func TestSecondRuntime(t *testing.T) {
	library := filepath.Join(world.dir, "other.so")
	command(t, "go", "build", "-buildmode=c-shared", "-o", library, "./otherlib")
	for _, c := range []struct{ name, order string }{
		{"before the application", "-DOTHER_ORDER=APR_HOOK_FIRST"},
		{"while the application starts", "-DOTHER_ORDER=APR_HOOK_REALLY_LAST+10"},
		{"later", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			module := filepath.Join(world.dir, "mod_other.so")
			buildOther(t, module, library, c.order)
			s := launch(t, event, setup{
				main:   "LoadModule other_module " + module,
				server: locationConf(event, "/", "", ""),
			})
			(&target{s, h1}).wantBothRuntimes(t, library)
		})
	}
}

// wantBothRuntimes checks that the collections of the worker's two runtimes end,
// and that the log names their libraries.
func (x *target) wantBothRuntimes(t *testing.T, other string) {
	t.Helper()
	assert.Equal(t, "collected\n", x.page(t, "/other").body)
	assert.Equal(t, "collected\n", x.page(t, "/spin").body)
	assert.Equal(t, "collected\n", x.page(t, "/other").body)
	warning := x.log.want(t, 0, `has brought a second Go runtime into this process`)
	assert.Contains(t, warning, `"`+other+`"`)
	assert.Contains(t, warning, `"`+world.library+`"`)
}

// buildOther builds the other module, which needs no apxs to be loaded.
func buildOther(t *testing.T, module, library, order string) {
	t.Helper()
	args := []string{"-shared", "-fPIC", "-O2", "-o", module, "testdata/mod_other.c",
		fmt.Sprintf("-DOTHER_LIBRARY=%q", library)}
	for _, name := range []string{"INCLUDEDIR", "APR_INCLUDEDIR", "APU_INCLUDEDIR"} {
		args = append(args, "-I"+strings.TrimSpace(command(t, "apxs", "-q", name)))
	}
	args = append(args, strings.Fields(command(t, "apxs", "-q", "EXTRA_CPPFLAGS"))...)
	if order != "" {
		args = append(args, order)
	}
	command(t, "gcc", args...)
}

// TestSecondRuntimeInNginx is TestSecondRuntime with a dynamic module of NGINX.
func TestSecondRuntimeInNginx(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	library := filepath.Join(dir, "other.so")
	command(t, "chmod", "755", filepath.Dir(dir), dir)
	command(t, "go", "build", "-buildmode=c-shared", "-o", library, "./otherlib")
	for i, c := range []struct{ name, order string }{
		{"before the application", `-DOTHER_ORDER="ngx_http_gsgi_module"`},
		{"while the application starts", ""},
		{"later", "-DOTHER_LATER"},
	} {
		t.Run(c.name, func(t *testing.T) {
			module := filepath.Join(dir, fmt.Sprintf("ngx_other%d.so", i))
			buildNginxOther(t, module, library, c.order)
			s := launch(t, nginx, setup{
				top:    "load_module " + module + "; worker_processes 1;",
				server: locationConf(nginx, "/", "", ""),
			})
			(&target{s, h1}).wantBothRuntimes(t, library)
		})
	}
}

// buildNginxOther builds the other module with the headers that ours was
// configured with.
func buildNginxOther(t *testing.T, module, library, order string) {
	t.Helper()
	out := filepath.Dir(world.modules["nginx"])
	args := []string{"-shared", "-fPIC", "-O2", "-o", module, "testdata/ngx_other.c",
		fmt.Sprintf("-DOTHER_LIBRARY=%q", library), "-I" + filepath.Join(out, "nginx")}
	args = append(args, nginxHeaders(filepath.Join(out, "nginx-src/src"))...)
	if order != "" {
		args = append(args, order)
	}
	command(t, "gcc", args...)
}

// nginxHeaders is where NGINX's headers are, for the compiler.
func nginxHeaders(source string) (args []string) {
	for _, dir := range []string{
		"core", "event", "event/modules", "event/quic", "os/unix", "http", "http/modules", "http/v2", "http/v3",
	} {
		args = append(args, "-I"+filepath.Join(source, dir))
	}
	return args
}

// command runs a program and returns what it says.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
