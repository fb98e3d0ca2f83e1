package goapp

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
)

// Dispatch returns an application that passes each request to the one that is
// mounted where its path begins: the longest of the prefixes that matches on
// a segment boundary wins. The prefix moves from PATH_INFO to SCRIPT_NAME, as
// by [Environ.Mount].
//
// The prefixes begin with a slash; one at the end does not count. "/" or ""
// is for what no other prefix matches; without it such a request gets 404.
// Dispatch panics when a prefix is malformed or there twice, as "/a" and
// "/a/" are.
func Dispatch(mounts map[string]Application) Application {
	d := dispatcher{}
	for prefix, app := range mounts {
		key := strings.TrimSuffix(prefix, "/")
		switch {
		case key != "" && key[0] != '/' || strings.Contains(key, "//") || strings.HasSuffix(key, "/"):
			panic(fmt.Sprintf("gsgi: Dispatch: malformed prefix %q", prefix))
		case app == nil:
			panic(fmt.Sprintf("gsgi: Dispatch: nil Application for %q", prefix))
		case d.mounts[key] != nil:
			panic(fmt.Sprintf("gsgi: Dispatch: prefix %q is there twice", prefix))
		}
		if d.mounts == nil {
			d.mounts = maps.Clone(mounts)
			clear(d.mounts)
		}
		d.mounts[key] = app
		d.longest = max(d.longest, len(key))
	}
	return d.serve
}

type dispatcher struct {
	mounts  map[string]Application
	longest int
}

func (d dispatcher) serve(env *Environ, start StartResponse) Body {
	app, prefix := d.find(env.Get("PATH_INFO"))
	if app == nil {
		return notFound(env, start)
	}
	child, _ := env.Mount(prefix)
	return app(child, start)
}

// find returns the application of the longest prefix of path, nil for none.
func (d dispatcher) find(path string) (app Application, prefix string) {
	for end := len(path); ; end-- {
		boundary := end == len(path) || path[end] == '/'
		if boundary && end <= d.longest {
			if app := d.mounts[path[:end]]; app != nil {
				return app, path[:end]
			}
		}
		if end == 0 {
			return nil, ""
		}
	}
}

var plainText = Header{{"Content-Type", "text/plain; charset=utf-8"}, {"X-Content-Type-Options", "nosniff"}}

func notFound(_ *Environ, start StartResponse) Body {
	start(http.StatusNotFound, plainText)
	return String("404 page not found\n")
}
