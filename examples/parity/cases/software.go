package cases

import (
	"compress/gzip"
	"expvar"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/http/pprof"
	"net/url"
	"strings"
	"sync"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/labstack/echo/v4"
)

// chiSite is a small application of chi.
func chiSite() http.Handler {
	r := chi.NewRouter()
	r.Use(middleware.RequestID, middleware.Recoverer, middleware.CleanPath, middleware.Heartbeat("/ping"))
	r.Get("/hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hello "+chi.URLParam(r, "name")+" from "+r.RemoteAddr[:3])
	})
	r.Route("/items", func(r chi.Router) {
		r.With(middleware.BasicAuth("items", map[string]string{"u": "p"})).Post("/", echoBody)
		r.Get("/{id:[0-9]+}", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, chi.URLParam(r, "id"))
		})
	})
	r.With(middleware.Compress(5)).Get("/zipped", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, strings.Repeat("zip ", 1000))
	})
	r.Get("/panic", func(http.ResponseWriter, *http.Request) { panic("in chi") })
	return r
}

func echoBody(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	_, _ = w.Write(body)
}

// echoSite is a small application of echo.
func echoSite() http.Handler {
	e := echo.New()
	e.GET("/users/:id", func(c echo.Context) error {
		return c.JSON(http.StatusOK, map[string]string{"id": c.Param("id"), "q": c.QueryParam("q")})
	})
	e.POST("/bind", func(c echo.Context) error {
		var v struct{ Name string }
		if err := c.Bind(&v); err != nil {
			return err
		}
		return c.String(http.StatusCreated, "bound "+v.Name)
	})
	e.GET("/stream", func(c echo.Context) error {
		c.Response().Header().Set(echo.HeaderContentType, "text/event-stream")
		for range 3 {
			_, _ = io.WriteString(c.Response(), "data: x\n\n")
			c.Response().Flush()
		}
		return nil
	})
	e.GET("/redirect", func(c echo.Context) error { return c.Redirect(http.StatusFound, "/users/1") })
	return e
}

// zipped compresses what a handler writes, as many a middleware does.
func zipped(next handler) handler {
	return func(w http.ResponseWriter, r *http.Request, say Say) {
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			next(w, r, say)
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Add("Vary", "Accept-Encoding")
		zip := gzip.NewWriter(w)
		defer zip.Close()
		next(zipWriter{w, zip}, r, say)
	}
}

type zipWriter struct {
	http.ResponseWriter
	zip *gzip.Writer
}

func (w zipWriter) Write(p []byte) (int, error) { return w.zip.Write(p) }

// backend is what the proxy of the cases passes requests on to.
var backend = sync.OnceValue(func() *url.URL {
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", echoBody)
	mux.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) {
		set(w, "X-Backend: 1", "Set-Cookie: a=1", "Set-Cookie: b=2", "Connection: X-Hop", "X-Hop: 1")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-For")+" "+r.URL.RawQuery)
	})
	mux.HandleFunc("/stream", func(w http.ResponseWriter, _ *http.Request) {
		for range 3 {
			_, _ = io.WriteString(w, "piece ")
			w.(http.Flusher).Flush()
		}
	})
	mux.HandleFunc("/trailer", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "text")
		w.Header().Set("X-Sum", "7")
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "begun")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	u, err := url.Parse(httptest.NewServer(mux).URL)
	if err != nil {
		panic(err)
	}
	return u
})

func proxied(w http.ResponseWriter, r *http.Request, _ Say) {
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(backend())
		p.SetXForwarded()
	}}
	proxy.ServeHTTP(w, r)
}

func softwareCases() []Case {
	chis, echos := web(chiSite()), web(echoSite())
	var values = func() *expvar.Map {
		m := new(expvar.Map).Init()
		m.Add("counted", 7)
		return m
	}()
	return []Case{
		{Name: "connect", Handle: web(rpcSite())},  // its client is in the tests
		{Name: "grpc-go", Handle: web(grpcSite())}, // and so is this one's
		{Name: "chi", Handle: chis, Send: Get("/hello/ann"), HTTP2: true},
		{Name: "chi, a pattern that does not match", Handle: chis, Send: Get("/items/x"), HTTP2: true},
		{Name: "chi, a number", Handle: chis, Send: Get("/items/42"), HTTP2: true},
		{Name: "chi, a method that is not allowed", Handle: chis, Send: Request("DELETE", "/items/42", ""), HTTP2: true},
		{Name: "chi, authentication asked for", Handle: chis, Send: Post("/items/", "x")},
		{Name: "chi, authentication given", Handle: chis, Send: Post("/items/", "x", "Authorization: Basic dTpw"), HTTP2: true},
		{Name: "chi, Heartbeat", Handle: chis, Send: Get("/ping"), HTTP2: true},
		{Name: "chi, Compress", Handle: chis, Send: Get("/zipped", "Accept-Encoding: gzip")},
		{Name: "chi, Recoverer", Handle: chis, Send: Get("/panic")},
		{Name: "echo, JSON", Handle: echos, Send: Get("/users/7?q=x"), HTTP2: true},
		{Name: "echo, Bind", Handle: echos, Send: Post("/bind", `{"name":"ann"}`, "Content-Type: application/json"), HTTP2: true},
		{Name: "echo, Bind of a form", Handle: echos, Send: Post("/bind", `name=ann`, encodedForm)},
		{Name: "echo, Bind that fails", Handle: echos, Send: Post("/bind", `{`, "Content-Type: application/json")},
		{Name: "echo, a stream", Handle: echos, Send: Get("/stream"), HTTP2: true},
		{Name: "echo, a redirect", Handle: echos, Send: Get("/redirect"), HTTP2: true},
		{Name: "echo, 404 and 405", Handle: echos, Send: Get("/none") + Request("PUT", "/users/1", ""), Methods: "GET PUT"},
		{Name: "gzip", Handle: zipped(writes(strings.Repeat("zip ", 2000))), Send: Get("/", "Accept-Encoding: gzip"), HTTP2: true},
		{Name: "gzip that is not asked for", Handle: zipped(writes("text")), Send: Get("/")},
		{Name: "a proxy, POST", Handle: proxied, Send: Post("/echo", "hello"), HTTP2: true},
		{Name: "a proxy, chunked", Handle: proxied, Send: Chunked("/echo", strings.Repeat("x", 100_000))},
		{Name: "a proxy, headers", Handle: proxied, Send: Get("/headers?a=b;c", "Connection: X-Mine", "X-Mine: 1"), HTTP2: true},
		{Name: "a proxy, a stream", Handle: proxied, Send: Get("/stream"), HTTP2: true},
		{Name: "a proxy, a trailer", Handle: proxied, Send: Get("/trailer", "TE: trailers"), HTTP2: true},
		{Name: "a proxy, HEAD", Handle: proxied, Send: Request("HEAD", "/stream", "")},
		{Name: "a proxy, a response that is cut", Handle: proxied, Send: Get("/cut"), HTTP2: true},
		{Name: "a proxy, 404", Handle: proxied, Send: Get("/missing")},
		{Name: "expvar", Handle: func(w http.ResponseWriter, r *http.Request, say Say) {
			rec := httptest.NewRecorder()
			expvar.Handler().ServeHTTP(rec, r)
			say("%d %v", rec.Code, strings.Contains(rec.Body.String(), `"memstats"`))
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, values.String())
		}, Send: Get("/")},
		{Name: "pprof, the index", Handle: profiled(pprof.Index, "full goroutine stack dump"), Send: Get("/debug/pprof/")},
		{Name: "pprof, goroutines", Handle: profiled(pprof.Index, "goroutine profile: total"), Send: Get("/debug/pprof/goroutine?debug=1")},
		{Name: "pprof, the heap", Handle: profiled(pprof.Index, "heap profile:"), Send: Get("/debug/pprof/heap?debug=1")},
		{Name: "pprof, a profile nobody knows", Handle: web(http.HandlerFunc(pprof.Index)), Send: Get("/debug/pprof/none")},
		{Name: "pprof, CPU", Handle: profiled(pprof.Profile, "\x1f\x8b"), Send: Get("/debug/pprof/profile?seconds=1")},
		{Name: "pprof, a trace", Handle: profiled(pprof.Trace, "go 1."), Send: Get("/debug/pprof/trace?seconds=0.1")},
		{Name: "pprof, symbols", Handle: profiled(pprof.Symbol, "num_symbols: 1"), Send: Get("/debug/pprof/symbol")},
	}
}

// profiled answers with the status and type of a page of pprof, and whether it
// has the text; the page itself is another every time.
func profiled(page http.HandlerFunc, text string) handler {
	return func(w http.ResponseWriter, r *http.Request, say Say) {
		seen := &scanned{ResponseWriter: w}
		page(seen, r)
		say("%d %v", seen.code, strings.Contains(string(seen.text), text))
	}
}

// scanned keeps the body that goes through it from the client.
type scanned struct {
	http.ResponseWriter
	code int
	text []byte
}

func (s *scanned) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

func (s *scanned) Write(p []byte) (int, error) {
	s.text = append(s.text, p...)
	return len(p), nil
}
