package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gsgi/gsgi/examples/e2e/app"
	"github.com/stretchr/testify/assert"
)

// TestHTTP3 is of what in NGINX differs from HTTP/2, where the system has it:
// Debian 12 has not.
func TestHTTP3(t *testing.T) {
	if !strings.Contains(command(t, "curl", "--version"), "HTTP3") || !strings.Contains(command(t, "nginx", "-V"), "v3_module") {
		t.Skip("curl or NGINX without HTTP/3")
	}
	s := launch(t, nginx, setup{server: "listen 127.0.0.1:@TLS@ quic;\n" + standardRoot(nginx)})
	s.untilAnswers(t)
	const size = 20 * mib
	for _, c := range []struct {
		name, path string
		upload     bool
		want       app.Sum
	}{
		{"an upload", "/sum", true, app.PatternSum(size)},
		{"a download with a length", "/gen?cl=1&n=20971520", false, app.PatternSum(size)},
		{"a download without", "/gen?n=20971520", false, app.PatternSum(size)},
		{"a body that comes back while it goes", "/echo", true, app.PatternSum(size)},
	} {
		t.Run(c.name, func(t *testing.T) {
			var in io.Reader
			var args []string
			if c.upload {
				in, args = app.NewPattern(size), []string{"-T", "-"}
			}
			out, err := s.curl3(in, c.path, args...)
			assert.NoError(t, err)
			got := app.SumOf(bytes.NewReader(out))
			if c.path == "/sum" {
				got = app.Sum{}
				assert.NoError(t, json.Unmarshal(out, &got))
			}
			assert.Equal(t, c.want, got)
		})
	}
	t.Run("the request", func(t *testing.T) {
		out, err := s.curl3(nil, "/a%20b?q=1", "-H", "X-One: 1")
		assert.NoError(t, err)
		var d app.Dump
		assert.NoError(t, json.Unmarshal(out, &d), "%s", out)
		assert.Equal(t, "HTTP/3.0", d.Proto)
		assert.Equal(t, "/a%20b?q=1", d.RequestURI)
		assert.Equal(t, []string{"1"}, d.Header["X-One"])
	})
	t.Run("a cut", func(t *testing.T) {
		out, err := s.curl3(nil, "/panic?after=flush")
		assert.Error(t, err, "%q looks whole", out)
	})
	t.Run("a client that leaves", func(t *testing.T) {
		g := newGate(t)
		go s.curl3(nil, "/wait?"+g.query("gone"), "--max-time", "1")
		v := g.next()
		assert.Regexp(t, `^done .`, v.says())
		v.release()
	})
	s.log.never(t, 0, `exited on signal`)
}

// curl3 asks for a path in HTTP/3.
func (s *server) curl3(in io.Reader, path string, args ...string) ([]byte, error) {
	args = append([]string{"-sS", "-k", "--http3-only", "--max-time", "60", "https://" + s.tls + path}, args...)
	cmd := exec.Command("curl", args...)
	cmd.Stdin = in
	cmd.WaitDelay = time.Second
	return cmd.Output()
}
