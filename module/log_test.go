//go:build linux

package module

import (
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/gsgi/gsgi/cshim/bridge"
	"github.com/gsgi/gsgi/module/fakehost"
)

func TestOutputReachesTheServersLog(t *testing.T) {
	stdout, stderr, def := os.Stdout, os.Stderr, slog.Default()
	defer func() {
		os.Stdout, os.Stderr = stdout, stderr
		slog.SetDefault(def)
		log.SetOutput(stderr)
		log.SetFlags(log.LstdFlags)
	}()
	w := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		slog.WarnContext(r.Context(), "of a request", "key", "value")
	})
	w.g.Redirect()
	w.g.catchOutput()
	fmt.Println("by stdout")
	fmt.Fprint(os.Stderr, "by stderr\nin two lines\n")
	log.Print("by log")
	slog.Info("by slog", "n", 1)
	slog.Default().WithGroup("g").With("a", 1).Error("by a child")
	assert.Eventually(t, func() bool { return len(w.Logs()) == 6 }, 5*time.Second, time.Millisecond)
	w.get(t, "/")

	want := []fakehost.Line{
		{Level: bridge.LogNotice, Text: "by stdout"},
		{Level: bridge.LogError, Text: "by stderr"},
		{Level: bridge.LogError, Text: "in two lines"},
		{Level: bridge.LogError, Text: "by log"},
		{Level: bridge.LogInfo, Text: "by slog n=1"},
		{Level: bridge.LogError, Text: "by a child g.a=1"},
		{Level: bridge.LogWarn, Slot: 1, Text: "of a request key=value"},
	}
	assert.Eventually(t, func() bool { return len(w.Logs()) >= len(want) }, 5*time.Second, time.Millisecond)
	assert.ElementsMatch(t, want, w.Logs())
}

// The descriptors that the process was started with stay open when nobody in
// Go refers to them any more. In a process of its own, because the tests'
// packages do refer to them.
func TestDescriptorsOneAndTwoStayOpen(t *testing.T) {
	if os.Getenv("GSGI_TEST_REDIRECT") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), "GSGI_TEST_REDIRECT=1")
		out, err := cmd.CombinedOutput()
		assert.NoError(t, err, string(out))
		return
	}
	w := serve(t, func(http.ResponseWriter, *http.Request) {})
	w.g.Redirect()
	w.g.catchOutput()
	for range 3 {
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
	}
	var st syscall.Stat_t
	if syscall.Fstat(1, &st) != nil || syscall.Fstat(2, &st) != nil {
		os.Exit(3)
	}
	os.Exit(0)
}
