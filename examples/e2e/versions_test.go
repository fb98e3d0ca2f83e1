package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gsgi/gsgi/examples/e2e/app"
)

// versionText is what version n of the library calls itself.
func versionText(n int) string {
	return fmt.Sprintf("e2e version %08d", n)
}

// image is the test application's file, with the place of its version.
var image = sync.OnceValues(func() ([]byte, error) {
	text, err := os.ReadFile(world.library)
	if err != nil {
		return nil, err
	}
	if n := bytes.Count(text, []byte(app.Version)); n != 1 {
		return nil, fmt.Errorf("the library has its version %d times", n)
	}
	return text, nil
})

// writeVersion makes version n the server's library: by renaming a new file,
// or by overwriting the one that is there.
func (s *server) writeVersion(n int, inPlace bool) error {
	text, err := image()
	if err != nil {
		return err
	}
	text = bytes.Replace(text, []byte(app.Version), []byte(versionText(n)), 1)
	path := filepath.Join(s.dir, "app.so")
	if inPlace {
		return os.WriteFile(path, text, 0o755)
	}
	return errors.Join(os.WriteFile(path+".new", text, 0o755), os.Rename(path+".new", path))
}

// ownLibrary is a setup with a library file of the server's own, which
// writeVersion makes.
func ownLibrary(kind string, conf setup) setup {
	conf.noApp = true
	conf.main = global(kind, "gsgi_directory @SHARE@; gsgi_app site @DIR@/app.so ", "GSGIDirectory @SHARE@\nGSGIApp site @DIR@/app.so ") +
		conf.app + global(kind, ";\n", "\n") + conf.main
	return conf
}

// startVersioned starts a server with version 1 of a library of its own.
func startVersioned(t *testing.T, kind string, conf setup) *server {
	t.Helper()
	s, err := prepareServer(kind, ownLibrary(kind, conf))
	if err == nil {
		err = s.writeVersion(1, false)
	}
	if err == nil {
		err = s.start()
	}
	if err != nil {
		t.Fatal(err)
	}
	s.stopAtEnd(t)
	s.untilAnswers(t)
	return s
}

// A history says which versions of the library were current when.
type history struct {
	mu   sync.Mutex
	eras []era
}

type era struct {
	version  string
	from, to time.Time // to is zero while it lasts
}

func (h *history) begin(version string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.eras = append(h.eras, era{version: version, from: time.Now()})
}

// end is called when no worker with the version is left.
func (h *history) end(version string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.eras, func(e era) bool { return e.version == version })
	h.eras[i].to = time.Now()
}

// has says whether a version was current at some moment between two.
func (h *history) has(version string, from, to time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.eras, func(e era) bool {
		return e.version == version && !e.from.After(to) && (e.to.IsZero() || !e.to.Before(from))
	})
}
