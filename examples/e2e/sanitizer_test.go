package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// With GSGI_SANITIZERS the server modules that are tested were built with
// AddressSanitizer and UndefinedBehaviorSanitizer, whose libraries the servers
// must load first. A report fails the run.
var sanitized = os.Getenv("GSGI_SANITIZERS") != ""

// sanitizers are the variables of a server's environment; the workers write
// their reports into a directory of the run.
func sanitizers() ([]string, error) {
	if !sanitized {
		return nil, nil
	}
	var libraries []string
	for _, name := range []string{"libasan.so", "libubsan.so"} {
		path, err := exec.Command("gcc", "-print-file-name="+name).Output()
		if err != nil {
			return nil, err
		}
		libraries = append(libraries, strings.TrimSpace(string(path)))
	}
	dir := filepath.Join(world.dir, "sanitizers")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		return nil, err
	}
	log := ":log_path=" + filepath.Join(dir, "report")
	// A fault that an application is to end with is the kernel's to report.
	return []string{
		"LD_PRELOAD=" + strings.Join(libraries, " "),
		"ASAN_OPTIONS=detect_leaks=0:handle_segv=0:handle_abort=0:handle_sigbus=0:handle_sigill=0:handle_sigfpe=0" +
			":detect_stack_use_after_return=0:quarantine_size_mb=16" + log,
		"UBSAN_OPTIONS=print_stacktrace=1" + log,
	}, nil
}

// sanitizerReports returns what the sanitizers of all servers have written.
func sanitizerReports() error {
	names, _ := filepath.Glob(filepath.Join(world.dir, "sanitizers", "*"))
	var errs []error
	for _, name := range names {
		text, err := os.ReadFile(name)
		errs = append(errs, err, fmt.Errorf("report of a sanitizer:\n%s", clip(string(text), 8000)))
	}
	return errors.Join(errs...)
}
