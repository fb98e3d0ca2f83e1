package wsgi

import (
	"os"
	"testing"
)

// TestMemory: Python's objects are in huge pages, which the system gets back
// when they are empty.
func TestMemory(t *testing.T) {
	want := `{"huge": true, "taken": true, "given back": true}`
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		want = `{"huge": false, "taken": false, "given back": true}`
	}
	each(t, setup{args: "memory --chdir @APPS@"}, func(t *testing.T, s *server) {
		for range 3 {
			s.want("/", 200, want)
		}
	})
}
