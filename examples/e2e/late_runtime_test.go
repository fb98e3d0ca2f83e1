package e2e

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
)

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
			x := &target{s, h1}
			assert.Equal(t, "collected\n", x.page(t, "/other").body)
			assert.Equal(t, "collected\n", x.page(t, "/spin").body)
			assert.Equal(t, "collected\n", x.page(t, "/other").body)
			warning := s.log.want(t, 0, `has brought a second Go runtime into this process`)
			assert.Contains(t, warning, `"`+library+`"`)
			assert.Contains(t, warning, `"`+world.library+`"`)
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
	for _, name := range []string{"core", "event", "event/modules", "os/unix", "http", "http/modules", "http/v2"} {
		args = append(args, "-I"+filepath.Join(out, "nginx-src/src", name))
	}
	if order != "" {
		args = append(args, order)
	}
	command(t, "gcc", args...)
}
