package wsgi

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Options say which application is hosted, and how.
type Options struct {
	// App names the application: "mysite.wsgi:application", "app:create_app()",
	// or a path as in "/srv/site/site.wsgi". Without a callable that is
	// "application".
	App string

	Dir  string   // working directory, also in front of sys.path; "": as it is
	Path []string // directories for sys.path, in front
	Home string   // virtual environment, or ""

	// Threads is how many requests run Python at the same time, in each
	// worker; 0: 4.
	Threads int

	Env []string // NAME=VALUE, added to the environment

	Lazy      bool // import with the first request, not before the worker serves
	Unchecked bool // do not import when the server's configuration is checked
	Reload    bool // replace the worker when a file of a loaded module changes
	Validate  bool // put wsgiref.validate around the application

	// Bind is where the ready library listens when it is run by itself.
	Bind string
}

const defaultThreads = 4

// threadsMax keeps a slip of the pen from starting a million threads.
const threadsMax = 1024

type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(s string) error {
	*l = append(*l, s)
	return nil
}

// ParseArgs reads the arguments of gsgi_app: the application's name and
// options, in any order.
func ParseArgs(args []string) (Options, error) {
	o := Options{Bind: "127.0.0.1:8080"}
	fs := flag.NewFlagSet("wsgi", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	check := true
	preload := true
	fs.StringVar(&o.Dir, "chdir", "", "")
	fs.Var((*list)(&o.Path), "path", "")
	fs.StringVar(&o.Home, "home", "", "")
	fs.IntVar(&o.Threads, "threads", defaultThreads, "")
	fs.Var((*list)(&o.Env), "env", "")
	fs.BoolVar(&o.Lazy, "lazy", false, "")
	fs.BoolVar(&preload, "preload", true, "")
	fs.BoolVar(&o.Reload, "reload", false, "")
	fs.BoolVar(&check, "check", true, "")
	fs.BoolVar(&o.Validate, "validate", false, "")
	fs.StringVar(&o.Bind, "bind", o.Bind, "")
	for {
		if err := fs.Parse(args); err != nil {
			return o, fmt.Errorf("%w: the options are --chdir, --path, --home, --threads, --env, --lazy, --preload, "+
				"--reload, --check, --validate and --bind", err)
		}
		if fs.NArg() == 0 {
			break
		}
		if o.App != "" {
			return o, fmt.Errorf("two applications, %q and %q: one library hosts one", o.App, fs.Arg(0))
		}
		o.App, args = fs.Arg(0), fs.Args()[1:]
	}
	o.Lazy = o.Lazy || !preload
	o.Unchecked = !check
	return o, o.check()
}

// check finds what is wrong with the options, and completes them.
func (o *Options) check() error {
	if o.App == "" {
		return errors.New("no application is named: MODULE:CALLABLE, as in mysite.wsgi:application, or a path")
	}
	if o.Threads == 0 {
		o.Threads = defaultThreads
	}
	if o.Threads < 1 || o.Threads > threadsMax {
		return fmt.Errorf("%d threads: from 1 to %d are possible", o.Threads, threadsMax)
	}
	for _, e := range o.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return fmt.Errorf("the environment %q is not NAME=VALUE", e)
		}
	}
	for _, p := range append([]string{o.App, o.Dir, o.Home}, append(o.Path, o.Env...)...) {
		if strings.IndexByte(p, 0) >= 0 {
			return fmt.Errorf("%q has a NUL", p)
		}
	}
	return nil
}

// settle sets the process up for the application. It returns what goes in
// front of sys.path.
func (o *Options) settle() ([]string, error) {
	if o.Dir != "" {
		if err := os.Chdir(o.Dir); err != nil {
			return nil, fmt.Errorf("wsgi: --chdir: %w", err)
		}
	}
	for _, e := range o.Env {
		name, value, _ := strings.Cut(e, "=")
		if err := os.Setenv(name, value); err != nil {
			return nil, fmt.Errorf("wsgi: --env: %w", err)
		}
	}
	paths, err := o.sysPath()
	if err != nil {
		return nil, fmt.Errorf("wsgi: --path: %w", err)
	}
	return paths, nil
}

// sysPath is what goes in front of sys.path.
func (o *Options) sysPath() ([]string, error) {
	var paths []string
	for _, p := range append(o.Path[:len(o.Path):len(o.Path)], o.Dir) {
		if p == "" {
			continue
		}
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, err
		}
		paths = append(paths, abs)
	}
	return paths, nil
}
