package goapp

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/gsgi/gsgi/module"
)

// Exclusive calls run in one worker at a time: for what an application does
// beside its requests and only once, such as sending mail from a queue. It
// waits until no other worker runs name, also one of an earlier generation
// that is draining, and returns what run returns.
//
// The context of run is done when ctx is, and when the worker begins to
// drain; run then returns, and another worker takes over within about a
// second. A worker that is killed loses its turn through the kernel. When ctx
// is done or the worker drains before the turn has come, Exclusive returns
// the context's error and run is not called.
//
// While a configuration is checked ([Mode] is [Checking]) it returns nil
// without calling run, as a check does not do the work of a worker.
// Standalone, processes of the same program and user exclude each other.
func Exclusive(ctx context.Context, name string, run func(context.Context) error) error {
	if name == "" {
		return errors.New("gsgi: Exclusive: empty name")
	}
	if Mode() == Checking {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(Context(), func() { cancel(context.Canceled) })
	defer stop()

	lock, err := newLock(name)
	if err != nil {
		return fmt.Errorf("gsgi: Exclusive %q: %w", name, err)
	}
	defer lock.close()
	if err := acquire(ctx, lock); err != nil {
		return fmt.Errorf("gsgi: Exclusive %q: %w", name, err)
	}
	return run(ctx)
}

// acquire tries until it has the lock. The kernel's own waiting could not be
// given up.
func acquire(ctx context.Context, lock *lock) error {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		ok, err := lock.try()
		if ok || err != nil {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
	}
}

// lockPath is the file that stands for name.
func lockPath(name string) (string, error) {
	dir, app := "", programName()
	if g := module.Current(); g != nil {
		dir, app = g.StateDir(), g.Name()
	}
	if dir == "" {
		var err error
		if dir, err = privateDir(); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, "exclusive-"+url.PathEscape(app)+"-"+url.PathEscape(name)+".lock"), nil
}

func programName() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Path != "" {
		return info.Path
	}
	return filepath.Base(os.Args[0])
}

// privateDir is a directory in the system's temporary one that nobody else
// can have put there.
func privateDir() (string, error) {
	dir := filepath.Join(os.TempDir(), "gsgi-"+strconv.Itoa(os.Getuid()))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if !info.IsDir() || !ownedByUs(info) {
		return "", fmt.Errorf("%s is not a private directory", dir)
	}
	return dir, nil
}
