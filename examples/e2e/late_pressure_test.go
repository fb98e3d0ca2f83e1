package e2e

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
)

// noMappings is what a Go runtime says that gets no memory or thread any more.
// The text depends on what it wanted, and not every place in it looks whether
// it got that: then the server has the word.
const noMappings = `(fatal error: |pthread_create failed|SIGSEGV: |exited on signal|exit signal|ended by signal)`

// TestWithoutMappings has the application take all mappings that the system
// allows a process (vm.max_map_count): the Go runtime gets no memory then.
func TestWithoutMappings(t *testing.T) {
	everyServer(t, []string{nginx, event}, func(t *testing.T, kind string) {
		failing := standard(kind)
		t.Run("the check says so", func(t *testing.T) {
			failing.app = "-fail=maps -when=probe"
			s, err := prepareServer(kind, failing)
			if err != nil {
				t.Fatal(err)
			}
			text, err := s.check()
			assert.Error(t, err)
			assert.Regexp(t, noMappings, text)
		})
		t.Run("before it serves", func(t *testing.T) {
			failing.app = "-fail=maps"
			s := launchUnclean(t, kind, failing)
			s.want503(t)
			s.log.want(t, 0, noMappings)
			s.log.want(t, 0, `loading it in \d+ ms|GSGI0508`)
		})
		t.Run("later", func(t *testing.T) {
			s := launchUnclean(t, kind, standard(kind))
			s.untilAnswers(t)
			x := &target{s, h1}
			old := s.workers()[0]
			mark := s.log.mark()
			_, err := x.client(t).Get(x.url("/maps?n=exhaust"))
			assert.Error(t, err)
			gone(t, old)
			s.log.want(t, mark, noMappings)
			s.log.want(t, mark, `/maps\?n=exhaust`)
			s.untilAnswers(t)
		})
		t.Run("as many as leave the runtime some", func(t *testing.T) {
			s := launchUnclean(t, kind, standard(kind))
			s.untilAnswers(t)
			x := &target{s, h1}
			assert.Equal(t, "50000 <nil>\n", x.page(t, "/maps?n=50000").body)
			assert.Equal(t, http.StatusOK, x.page(t, "/gen?n=1000000").StatusCode)
		})
	})
}
