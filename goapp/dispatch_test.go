package goapp

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// where answers with where it is mounted.
func where(name string) Application {
	return func(env *Environ, start StartResponse) Body {
		start(200, nil)
		return String(name + " " + env.Get("SCRIPT_NAME") + " " + env.Get("PATH_INFO"))
	}
}

func TestDispatch(t *testing.T) {
	app := Dispatch(map[string]Application{
		"/":         where("root"),
		"/blog":     where("blog"),
		"/blog/old": where("old"),
		"/shop/":    where("shop"),
	})
	tests := map[string]string{
		"/":           "root  /",
		"/x":          "root  /x",
		"/blog":       "blog /blog ",
		"/blog/":      "blog /blog /",
		"/blog/1":     "blog /blog /1",
		"/blogs":      "root  /blogs",
		"/blog/older": "blog /blog /older",
		"/blog/old/1": "old /blog/old /1",
		"/shop/1":     "shop /shop /1",
		"//blog":      "root  //blog",
		"/blog//old":  "blog /blog //old",
	}
	for path, want := range tests {
		t.Run(path, func(t *testing.T) {
			rec := httptest.NewRecorder()
			r := httptest.NewRequest("GET", "/", nil)
			r.URL.Path, r.RequestURI = path, path
			Handler(app).ServeHTTP(rec, r)
			assert.Equal(t, want, rec.Body.String())
		})
	}
}

func TestDispatchNested(t *testing.T) {
	app := Dispatch(map[string]Application{"/a": Dispatch(map[string]Application{"/b": where("b")})})
	get := func(path string) (int, string) {
		rec := httptest.NewRecorder()
		Handler(app).ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		return rec.Code, rec.Body.String()
	}
	code, body := get("/a/b/c")
	assert.Equal(t, 200, code)
	assert.Equal(t, "b /a/b /c", body)
	for _, path := range []string{"/", "/a", "/a/c", "/ab"} {
		code, body = get(path)
		assert.Equal(t, http.StatusNotFound, code, path)
		assert.Equal(t, "404 page not found\n", body)
	}
}

func TestDispatchMountsHandlers(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /page/{id}", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.PathValue("id")) })
	app := Dispatch(map[string]Application{"/site": FromHandler(mux)})
	rec := httptest.NewRecorder()
	Handler(app).ServeHTTP(rec, httptest.NewRequest("GET", "/site/page/7", nil))
	assert.Equal(t, "7", rec.Body.String())
}

func TestDispatchPanicsAtOnce(t *testing.T) {
	for _, mounts := range []map[string]Application{
		{"blog": where("")},
		{"//": where("")},
		{"/a//b": where("")},
		{"/a": where(""), "/a/": where("")},
		{"/": where(""), "": where("")},
		{"/a": nil},
	} {
		assert.Panics(t, func() { Dispatch(mounts) }, "%v", mounts)
	}
	assert.NotPanics(t, func() { Dispatch(nil) })
}

func FuzzDispatch(f *testing.F) {
	f.Add("/a", "/a/b", "/a/b/c")
	f.Add("/", "/x", "x")
	f.Add("/a/", "/a", "//a")
	f.Fuzz(func(t *testing.T, one, two, path string) {
		var app Application
		func() {
			defer func() { _ = recover() }()
			app = Dispatch(map[string]Application{one: where("1"), two: where("2")})
		}()
		if app == nil {
			return
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path, r.RequestURI = path, "/"
		env := EnvironOf(r)
		to := &trace{}
		c := &call{to: to, env: *env}
		c.src = *env.src
		c.run(app)
		if to.status == http.StatusNotFound {
			return
		}
		name, rest, _ := strings.Cut(to.body.String(), " ")
		prefix := strings.TrimSuffix(map[string]string{"1": one, "2": two}[name], "/")
		whole := env.Get("SCRIPT_NAME") + env.Get("PATH_INFO")
		if strings.Replace(rest, " ", "", 1) != whole && !strings.Contains(whole, " ") {
			t.Fatalf("%q became %q", whole, rest)
		}
		if !strings.HasPrefix(env.Get("PATH_INFO"), prefix) {
			t.Fatalf("%q went to %q", path, prefix)
		}
		if after := env.Get("PATH_INFO")[len(prefix):]; prefix != "" && after != "" && after[0] != '/' {
			t.Fatalf("%q went to %q inside of a segment", path, prefix)
		}
	})
}
