package app

import (
	"encoding/json"
	"net/http"

	"github.com/gsgi/gsgi/goapp"
)

// A Level is what one of several nested applications sees of a request.
// Strings are in Latin-1, as those of a Dump.
type Level struct {
	Name         string
	Script, Info string // SCRIPT_NAME and PATH_INFO
	URI, Seen    string // REQUEST_URI and the parameter SEEN
	Trail        string // the levels around it that have added to the environ
	Header       string // the field X-Nest
	Path, Raw    string // of the URL, where the level is a handler
	Handler      bool
}

// A Visit is a level before and after the one within it has answered.
type Visit struct{ Before, After Level }

// Nest is applications within each other. Dispatch mounts /d, and /d/e
// within. /h is a handler of net/http; what is below /h/s it strips and hands
// to an application, which mounts /h/s/e. Each level adds a line with a Visit,
// the innermost one first. The innermost one spoils the request it gets.
func Nest() goapp.Application {
	leaf := goapp.FromHandler(http.HandlerFunc(nestLeaf))
	ends := goapp.Dispatch(map[string]goapp.Application{"/e": leaf, "/": leaf})
	stripped := nestHandler("s", goapp.Handler(nestApp("inner", false, ends)))
	return nestApp("root", false, goapp.Dispatch(map[string]goapp.Application{
		"/":  leaf,
		"/d": nestApp("d", true, ends),
		"/h": goapp.FromHandler(nestHandler("h", http.StripPrefix("/s", stripped))),
	}))
}

// NestWeb is Nest behind middleware of net/http.
func NestWeb() http.Handler {
	return nestHandler("web", goapp.Handler(Nest()))
}

func level(name string, env *goapp.Environ) Level {
	return Level{
		Name: name, Script: Latin1(env.Get("SCRIPT_NAME")), Info: Latin1(env.Get("PATH_INFO")),
		URI: Latin1(env.Get("REQUEST_URI")), Seen: Latin1(env.Get("SEEN")),
		Trail: env.Get("NEST_TRAIL"), Header: env.Get("HTTP_X_NEST"),
	}
}

func requestLevel(name string, r *http.Request) Level {
	l := level(name, goapp.EnvironOf(r))
	l.Path, l.Raw, l.Handler = Latin1(r.URL.Path), Latin1(r.URL.RawPath), true
	return l
}

func (v Visit) line() []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return append(text, '\n')
}

// nestApp is a level that adds to the environ of the one within, or does not.
func nestApp(name string, adds bool, within goapp.Application) goapp.Application {
	return func(env *goapp.Environ, start goapp.StartResponse) goapp.Body {
		v := Visit{Before: level(name, env)}
		child := env
		if adds {
			child = env.With("NEST_TRAIL", env.Get("NEST_TRAIL")+name+" ").With("HTTP_X_NEST", name)
		}
		return &nestBody{within(child, start), func() []byte {
			v.After = level(name, env)
			return v.line()
		}}
	}
}

// A nestBody has a line behind the body within.
type nestBody struct {
	goapp.Body
	line func() []byte
}

// Blocks yields what is within, and the line.
func (b *nestBody) Blocks(yield func([]byte, error) bool) {
	wanted := true
	b.Body.Blocks(func(block []byte, err error) bool {
		wanted = yield(block, err)
		return wanted
	})
	if wanted {
		yield(b.line(), nil)
	}
}

func nestHandler(name string, within http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := Visit{Before: requestLevel(name, r)}
		within.ServeHTTP(w, r)
		v.After = requestLevel(name, r)
		w.Write(v.line())
	})
}

func nestLeaf(w http.ResponseWriter, r *http.Request) {
	l := requestLevel("leaf", r)
	w.Write(Visit{l, l}.line())
	http.NewResponseController(w).Flush()
	r.Header.Set("X-Nest", "spoiled")
	r.Method, r.RequestURI, r.ContentLength = "SPOILED", "/spoiled", -1
	r.URL.Path, r.URL.RawPath, r.URL.RawQuery = "/spoiled", "", "spoiled"
}
