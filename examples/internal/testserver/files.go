package testserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Built returns the absolute path of a file that make build has made, or of
// the one that the environment variable names instead.
func Built(variable, name string) (string, error) {
	path := os.Getenv(variable)
	if path == "" {
		root, err := root()
		if err != nil {
			return "", err
		}
		path = filepath.Join(root, "build/out", name)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w (make build, or set %s)", err, variable)
	}
	return path, nil
}

// Modules returns the paths of the server modules.
func Modules() (nginx, apache string, err error) {
	if nginx, err = Built("GSGI_NGINX_MODULE", "ngx_http_gsgi_module.so"); err != nil {
		return "", "", err
	}
	apache, err = Built("GSGI_APACHE_MODULE", "mod_gsgi.so")
	return nginx, apache, err
}

// root is the folder of the project, found from the working directory.
func root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "cshim/gsgi.h")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("the working directory is not within the project")
}

// Library builds the Go package in folder from as an application library that
// every user may load. The strings of env are added to the environment.
func Library(library, from string, env ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-buildmode=c-shared", "-o", library, from)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s does not build: %w\n%s", from, err, out)
	}
	return os.Chmod(library, 0o755)
}
