package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/gsgi/gsgi/examples/e2e/app"
)

// environment writes gsgi_env for each variable.
func environment(kind string, variables ...string) string {
	var b strings.Builder
	for _, v := range variables {
		b.WriteString(global(kind, "gsgi_env "+v+";\n", "GSGIEnv "+v+"\n"))
	}
	return b.String()
}

// settings asks the application what it was started with.
func (s *server) settings(t *testing.T) app.Settings {
	t.Helper()
	var settings app.Settings
	code, body, err := s.get("/settings")
	assert.NoError(t, err)
	assert.Equal(t, http.StatusOK, code)
	assert.NoError(t, json.Unmarshal([]byte(body), &settings), body)
	return settings
}

func TestEnvironment(t *testing.T) {
	masters := []string{"E2E_SECRET=of the master", "E2E_NAMED=handed on", "GOGC=7", "GODEBUG=panicnil=1",
		"TZ=Europe/Vienna", "LANG=C.UTF-8"}
	everyServer(t, []string{nginx, event, prefork}, func(t *testing.T, kind string) {
		s := launch(t, kind, setup{
			env:    masters,
			app:    `-entries=8080 "one word" last`,
			main:   environment(kind, "E2E_OWN=mine", "E2E_NAMED", "E2E_NOWHERE", `"E2E_SPACE=a b"`, "E2E_EMPTY="),
			server: standardRoot(kind),
		})
		var w app.Worker
		_, body, _ := s.get("/worker")
		assert.NoError(t, json.Unmarshal([]byte(body), &w), body)
		early := s.settings(t)
		assert.Equal(t, []string{world.library, "-entries=8080", "one word", "last"}, w.Args)
		assert.Equal(t, w.Args, early.Args)
		slices.Sort(w.Environ)
		slices.Sort(early.Environ)
		assert.Equal(t, w.Environ, early.Environ)
		var names []string
		for _, v := range w.Environ {
			name, value, _ := strings.Cut(v, "=")
			names = append(names, name)
			switch name {
			case "E2E_EMPTY", "E2E_NAMED", "E2E_OWN", "E2E_SPACE", "LANG", "TZ":
				assert.Equal(t, map[string]string{"E2E_NAMED": "handed on", "E2E_OWN": "mine", "E2E_SPACE": "a b",
					"LANG": "C.UTF-8", "TZ": "Europe/Vienna"}[name], value, name)
			}
		}
		assert.Equal(t, []string{"E2E_EMPTY", "E2E_NAMED", "E2E_OWN", "E2E_SPACE", "HOME", "LANG", "PATH", "TZ"}, names)
		assert.Equal(t, 100, early.GOGC)
		assert.Zero(t, early.MemoryLimit)
		assert.Equal(t, "*runtime.PanicNilError", early.PanicNil)
	})
}

func TestSettingsOfTheRuntime(t *testing.T) {
	everyServer(t, []string{nginx, event, prefork}, func(t *testing.T, kind string) {
		t.Run("as in a program", func(t *testing.T) {
			s := launch(t, kind, setup{
				app: "-entries=8080",
				main: environment(kind, "GOMEMLIMIT=300MiB", "GOGC=50", "GODEBUG=panicnil=1,gctrace=1",
					"GOMAXPROCS=3"),
				server: standardRoot(kind),
			})
			got := s.settings(t)
			assert.Equal(t, int64(300<<20), got.MemoryLimit, "GOMEMLIMIT")
			assert.Equal(t, 50, got.GOGC, "GOGC")
			assert.Equal(t, 3, got.Procs, "GOMAXPROCS")
			assert.Equal(t, "<nil>", got.PanicNil, "GODEBUG=panicnil=1")
			mark := s.log.mark()
			s.get("/gc")
			s.log.want(t, mark, `^gc \d+ @`)
		})
		t.Run("directives are stronger", func(t *testing.T) {
			s := launch(t, kind, setup{
				app: "-entries=8080",
				main: environment(kind, "GOMEMLIMIT=300MiB", "GOMAXPROCS=3") +
					global(kind, "gsgi_procs 1; gsgi_memory_limit 200m;", "GSGIProcs 1\nGSGIMemoryLimit 200m\n"),
				server: standardRoot(kind),
			})
			got := s.settings(t)
			assert.Equal(t, int64(200<<20), got.MemoryLimit)
			assert.Equal(t, 1, got.Procs)
		})
	})
}
