package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

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
