package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// TestUnknownEntry passes a location to an entry that the application does
// not serve. Only a test of the configuration and a reload of NGINX refuse
// that; a server that starts answers 503 for that location alone.
func TestUnknownEntry(t *testing.T) {
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		wrong := setup{app: "-entries=8080,gw", server: standardRoot(kind) + admin(kind, "none")}
		t.Run("at a start", func(t *testing.T) {
			s := launchUnclean(t, kind, wrong)
			s.wantOnlyRoot(t)
			assert.Regexp(t, `emerg.*none`, s.texts())
			s.log.want(t, 0, `has no entry "none"`)
			out, err := s.check()
			assert.Error(t, err)
			assert.Regexp(t, `none.*8080`, out)
		})
		t.Run("one of several is not named, at a start", func(t *testing.T) {
			unnamed := wrong
			unnamed.server = strings.Replace(wrong.server, "site:none", "site", 1)
			s := launchUnclean(t, kind, unnamed)
			s.wantOnlyRoot(t)
			_, err := s.check()
			assert.Error(t, err)
		})
		t.Run("without a probe", func(t *testing.T) {
			blind := wrong
			blind.main = probeOff(kind)
			s := launchUnclean(t, kind, blind)
			s.wantOnlyRoot(t)
			s.log.want(t, 0, `does not serve the entries.*none.*8080`)
		})
		t.Run("at a reload", func(t *testing.T) {
			right := wrong
			right.server = strings.Replace(wrong.server, "site:none", "site:gw", 1)
			s := launchUnclean(t, kind, right)
			s.untilAnswers(t)
			conf, err := os.ReadFile(s.conf)
			assert.NoError(t, err)
			mark := s.log.mark()
			text := strings.Replace(string(conf), "site:gw", "site:none", 1)
			assert.NoError(t, os.WriteFile(s.conf, []byte(text), 0o644))
			assert.NoError(t, s.reload())
			s.log.want(t, mark, `emerg.*none`)
			if s.apache() {
				s.wantOnlyRoot(t)
				return
			}
			status, _, err := s.get("/admin/hello")
			assert.NoError(t, err)
			assert.NotEqual(t, 503, status, "the running configuration goes on")
		})
	})
}

// wantOnlyRoot waits until /admin is not served, and checks that the rest is.
func (s *server) wantOnlyRoot(t *testing.T) {
	t.Helper()
	s.untilAnswers(t)
	until(t, "503 from /admin", func() bool {
		status, _, _ := s.get("/admin/x")
		return status == 503
	})
	for path, want := range map[string]string{"/hello": "hello\n", "/static/hello.txt": "static hello\n"} {
		_, text, err := s.get(path)
		assert.NoError(t, err)
		assert.Equal(t, want, text)
	}
}

func TestCheckWaitsForEveryEntry(t *testing.T) {
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		t.Run("main may pause between two of them", func(t *testing.T) {
			conf := setup{app: "-entries=8080,admin -pause=1500ms", server: standardRoot(kind) + admin(kind, "admin")}
			x := &target{launch(t, kind, conf), h1}
			assert.Equal(t, "hello\n", x.page(t, "/hello").body)
			assert.Equal(t, 200, x.page(t, "/admin/").StatusCode)
		})
		t.Run("one that does not come is not waited for when main serves", func(t *testing.T) {
			conf := setup{app: "-entries=8080,admin -pause=1500ms", server: standardRoot(kind) + admin(kind, "none")}
			s, err := prepareServer(kind, conf)
			assert.NoError(t, err)
			began := time.Now()
			out, err := s.check()
			assert.Error(t, err)
			assert.Regexp(t, `"?none"?.*admin.*8080`, out)
			assert.Less(t, time.Since(began), 15*time.Second)
		})
	})
}

// admin passes a location to an entry.
func admin(kind, entry string) string {
	if kind == nginx {
		return "location /admin/ { gsgi_pass site:" + entry + "; }\n"
	}
	return "<Location /admin>\nGSGIPass site:" + entry + "\n</Location>\n"
}
