package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A drift is a field more in the headers than the server has.
type drift struct {
	header, before, field, found string
}

var drifts = []drift{
	{"http/ngx_http_request.h", "ngx_table_elt_t                  *host;",
		"ngx_uint_t drift;", `"Host" is at`},
	{"http/ngx_http_request.h", "} ngx_http_headers_in_t;",
		"ngx_uint_t drift;", `is at`},
	{"http/ngx_http_request.h", "ngx_uint_t                        status;",
		"ngx_uint_t drift;", `is at`},
	{"http/ngx_http_request.h", "ngx_http_headers_in_t             headers_in;",
		"void *more;", `"Host"|"http_host" is at`},
	{"http/ngx_http_core_module.h", "off_t         client_max_body_size;",
		"void *more;", `"client_max_body_size" is at`},
	{"core/ngx_cycle.h", "ngx_msec_t                shutdown_timeout;",
		"void *more;", `"worker_shutdown_timeout" is at`},
}

// TestServerOfOtherStructures builds the check of the NGINX module with
// headers that are not those of the server.
func TestServerOfOtherStructures(t *testing.T) {
	b := newDriftBuild(t)
	for _, d := range append(drifts, drift{}) {
		name := d.before
		if name == "" {
			name = "none"
		}
		t.Run(name, func(t *testing.T) {
			text, err := checkWith(t, b.module(t, d))
			if d.header == "" {
				assert.NoError(t, err, text)
				return
			}
			assert.Error(t, err)
			assert.Contains(t, text, "[emerg]")
			assert.Contains(t, text, "ngx_http_gsgi_module was built for other structures than this nginx has")
			assert.Regexp(t, d.found, text)
			assert.Contains(t, text, "rebuild it against the headers of this very nginx")
		})
	}
}

// checkWith is what nginx -t says with another module.
func checkWith(t *testing.T, module string) (string, error) {
	t.Helper()
	saved := world.modules[nginx]
	world.modules[nginx] = module
	defer func() { world.modules[nginx] = saved }()
	s, err := prepareServer(nginx, standard(nginx))
	if err != nil {
		t.Fatal(err)
	}
	return s.check()
}

// TestServerOfOtherModules configures the NGINX module by hand and as make
// does, in a source tree that does not tell how the server was built.
func TestServerOfOtherModules(t *testing.T) {
	b := newDriftBuild(t)
	source := t.TempDir()
	for _, name := range []string{"auto", "configure", "src"} {
		if err := os.Symlink(filepath.Join(filepath.Dir(b.source), name), filepath.Join(source, name)); err != nil {
			t.Fatal(err)
		}
	}
	for argument, missing := range map[string]string{
		"": "ngx_http_ssl_module", "--with-http_ssl_module": "ngx_http_v2_module",
	} {
		t.Run("configure "+argument, func(t *testing.T) {
			b.config = t.TempDir()
			cmd := exec.Command("sh", "-c", "./configure --with-compat "+argument+" --builddir="+b.config)
			cmd.Dir = source
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			text, err := checkWith(t, b.module(t, drift{}))
			assert.Error(t, err)
			assert.Contains(t, text, "[emerg]")
			assert.Contains(t, text, "ngx_http_gsgi_module was built without "+missing+", which this nginx has")
			assert.Contains(t, text, `rebuild it with the --with-http_* arguments that "nginx -V" shows`)
		})
	}
	t.Run("make", func(t *testing.T) {
		out := t.TempDir()
		command(t, "../../build/nginx.sh", source, out, "-O2")
		b.config = filepath.Join(out, "nginx")
		text, err := checkWith(t, b.module(t, drift{}))
		assert.NoError(t, err, text)
	})
}

// A driftBuild has what the module was built from.
type driftBuild struct {
	source  string // NGINX's src
	objects string
	config  string // where NGINX's configure has written
	dir     string
}

func newDriftBuild(t *testing.T) *driftBuild {
	b := &driftBuild{
		source:  "/usr/share/nginx/src/src",
		objects: filepath.Join(filepath.Dir(world.modules[nginx]), "nginx"),
		dir:     filepath.Join(world.dir, "drift"),
	}
	if source := os.Getenv("NGINX_SRC"); source != "" {
		b.source = filepath.Join(source, "src")
	}
	b.config = b.objects
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return b
}

// module links the objects of the module with a check that has seen the drift.
func (b *driftBuild) module(t *testing.T, d drift) string {
	t.Helper()
	patched := t.TempDir()
	if d.header != "" {
		text, err := os.ReadFile(filepath.Join(b.source, d.header))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), d.before); n != 1 {
			t.Fatalf("%s has %q %d times", d.header, d.before, n)
		}
		changed := strings.Replace(string(text), d.before, d.field+" "+d.before, 1)
		name := filepath.Join(patched, filepath.Base(d.header))
		if err := os.WriteFile(name, []byte(changed), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check := filepath.Join(b.dir, "check.o")
	args := append([]string{"-c", "-O2", "-fPIC", "-o", check, "-I" + patched}, nginxHeaders(b.source)...)
	args = append(args, "-I"+b.config, "-I../../cshim/host", "-I../../nginx", "../../nginx/ngx_http_gsgi_check.c")
	command(t, "gcc", args...)

	module := filepath.Join(b.dir, "module.so")
	args = []string{"-shared", "-o", module, check, filepath.Join(b.objects, "ngx_http_gsgi_module_modules.o"), "-ldl"}
	for _, pattern := range []string{"addon/nginx/*.o", "addon/host/*.o"} {
		objects, _ := filepath.Glob(filepath.Join(b.objects, pattern))
		for _, object := range objects {
			if filepath.Base(object) != "ngx_http_gsgi_check.o" {
				args = append(args, object)
			}
		}
	}
	command(t, "gcc", args...)
	return module
}

// TestBuiltApart serves with a library that was built from a copy of the tree,
// in another directory and without paths in it.
func TestBuiltApart(t *testing.T) {
	dir := filepath.Join(world.dir, "apart")
	for _, part := range []string{"goapp", "module", "cshim", "examples/e2e"} {
		if err := os.CopyFS(filepath.Join(dir, part), os.DirFS("../../"+part)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go.mod", "go.sum", "examples/go.mod", "examples/go.sum"} {
		text, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	library := filepath.Join(dir, "apart.so")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", library, "./testapp")
	cmd.Dir = filepath.Join(dir, "examples/e2e")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	saved := world.library
	world.library = library
	defer func() { world.library = saved }()
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		x := &target{launch(t, kind, standard(kind)), h1}
		assert.Equal(t, "hello\n", x.page(t, "/hello").body)
		sum := x.ask(t, "POST", "/echo", strings.Repeat("0123456789", 10_000))
		assert.Equal(t, strings.Repeat("0123456789", 10_000), sum.body)
	})
}
