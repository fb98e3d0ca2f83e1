package cases

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// routed serves a case by a mux, whose handlers answer with their pattern.
func routed(patterns ...string) handler {
	return func(w http.ResponseWriter, r *http.Request, say Say) {
		mux := http.NewServeMux()
		for _, pattern := range patterns {
			mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
				say("%s %s id=%q rest=%q", r.Pattern, r.URL.Path, r.PathValue("id"), r.PathValue("rest"))
				_, _ = io.WriteString(w, pattern)
			})
		}
		mux.ServeHTTP(w, r)
	}
}

func stripped(prefix string) handler {
	return func(w http.ResponseWriter, r *http.Request, say Say) {
		before := r.URL.Path
		http.StripPrefix(prefix, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			say("%q %q %q", r.URL.Path, r.URL.RawPath, r.RequestURI)
		})).ServeHTTP(w, r)
		say("%v", before == r.URL.Path)
	}
}

func limited(d time.Duration, f func(w http.ResponseWriter, r *http.Request, say Say)) handler {
	return func(w http.ResponseWriter, r *http.Request, say Say) {
		http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f(w, r, say) }), d, "<p>too late").ServeHTTP(w, r)
	}
}

func routingCases() []Case {
	tree := routed("/", "/dir/", "/dir/file", "/exact", "example.com/", "example.com/dir/")
	methods := routed("GET /item/{id}", "POST /item/{id}", "DELETE /item/{id}/{rest...}", "/files/{rest...}", "GET /only/{$}")
	return []Case{
		{Name: "a pattern for all", Like: "TestServeMuxHandler", Handle: tree, Send: Get("/nothing")},
		{Name: "a pattern of a path", Like: "TestServeMuxHandler", Handle: tree, Send: Get("/exact")},
		{Name: "a pattern of a tree", Like: "TestServeMuxHandler", Handle: tree, Send: Get("/dir/x/y")},
		{Name: "the longer pattern", Like: "TestServeMuxHandler", Handle: tree, Send: Get("/dir/file")},
		{Name: "a pattern of a host", Like: "TestHostHandlers", Handle: tree, Send: "GET /dir/ HTTP/1.1\r\nHost: example.com\r\nX-Case: $CASE\r\n\r\n"},
		{Name: "a pattern of a host, with a port", Like: "TestStripPortFromHost", Handle: tree, Send: "GET /x HTTP/1.1\r\nHost: example.com:8080\r\nX-Case: $CASE\r\n\r\n"},
		{Name: "the redirect to a tree", Like: "TestServeMuxHandlerRedirects", Handle: tree, Send: Get("/dir"), HTTP2: true},
		{Name: "the redirect to a tree keeps the query", Like: "TestServeWithSlashRedirectKeepsQueryString", Handle: tree, Send: Get("/dir?a=b&c=%20")},
		{Name: "the redirect to a tree for a host", Like: "TestServeWithSlashRedirectForHostPatterns", Handle: tree, Send: "GET /dir HTTP/1.1\r\nHost: example.com\r\nX-Case: $CASE\r\n\r\n"},
		{Name: "the redirect of a POST", Like: "TestServeMuxHandlerRedirectPost", Handle: tree, Send: Post("/dir", "a=1", encodedForm)},
		{Name: "the redirect to a clean path", Like: "TestMuxRedirectLeadingSlashes", Handle: tree, Send: Get("/dir/../exact")},
		{Name: "slashes at the start", Like: "TestMuxRedirectLeadingSlashes", Handle: tree, Send: Get("//exact")},
		{Name: "slashes within", Handle: tree, Send: Get("/dir//file")},
		{Name: "CONNECT to a mux", Handle: tree, Send: "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\nX-Case: $CASE\r\n\r\n"},
		{Name: "no pattern", Handle: routed("/a"), Send: Get("/b"), HTTP2: true},
		{Name: "a pattern with a method and a wildcard", Handle: methods, Send: Get("/item/7"), HTTP2: true},
		{Name: "HEAD for a pattern of GET", Handle: methods, Send: Request("HEAD", "/item/7", "")},
		{Name: "a method that no pattern has", Handle: methods, Send: Request("PUT", "/item/7", ""), HTTP2: true},
		{Name: "a wildcard with what is escaped", Handle: methods, Send: Get("/item/a%20b")},
		{Name: "a wildcard with a slash", Handle: methods, Send: Get("/item/a%2Fb")},
		{Name: "a wildcard for the rest", Handle: methods, Send: Get("/files/a/b/c")},
		{Name: "a wildcard for an empty rest", Handle: methods, Send: Get("/files/")},
		{Name: "the end of a pattern", Handle: methods, Send: Get("/only/") + Get("/only/x"), Methods: "GET GET"},
		{Name: "405 without a redirect", Like: "TestMuxNoSlash405WithTrailingSlash", Handle: routed("GET /dir/"), Send: Request("POST", "/dir", "")},
		{Name: "the redirect of POST to a tree with a wildcard", Like: "TestServeMuxHandlerTrailingSlash", Handle: routed("/{id}/"), Send: Post("/foo", "a=1", encodedForm)},
		{Name: "a wildcard that would be empty", Like: "TestMuxNoSlashRedirectWithTrailingSlash", Handle: routed("/{id}/"), Send: Get("/")},
		{Name: "the redirect of a target without a path", Like: "TestMuxRedirectRelative", Handle: routed("/a"), Send: Get("http://localhost")},
		{Name: "StripPrefix", Like: "TestStripPrefix TestStripPrefixNotModifyRequest", Handle: stripped("/foo"), Send: Get("/foo/bar"), HTTP2: true},
		{Name: "StripPrefix of an escaped path", Like: "TestStripPrefix", Handle: stripped("/foo"), Send: Get("/foo/b%2Fr")},
		{Name: "StripPrefix of all", Handle: stripped("/foo"), Send: Get("/foo")},
		{Name: "StripPrefix of another path", Like: "TestStripPrefix", Handle: stripped("/foo"), Send: Get("/bar")},
		{Name: "StripPrefix of nothing", Like: "TestStripPrefix", Handle: stripped(""), Send: Get("/bar")},
		{Name: "TimeoutHandler in time", Like: "TestTimeoutHandler", Handle: limited(time.Minute, func(w http.ResponseWriter, r *http.Request, say Say) {
			w.Header().Set("X-A", "1")
			w.WriteHeader(201)
			_, _ = io.WriteString(w, "text")
			_, deadline := r.Context().Deadline()
			say("%v", deadline)
		}), Send: Get("/"), HTTP2: true},
		{Name: "TimeoutHandler too late", Like: "TestTimeoutHandler", Handle: tooLate, Send: Get("/"), HTTP2: true},
		{Name: "TimeoutHandler that says nothing", Like: "TestTimeoutHandlerEmptyResponse", Handle: limited(time.Minute, func(http.ResponseWriter, *http.Request, Say) {}), Send: Get("/")},
		{Name: "TimeoutHandler and a panic", Like: "TestTimeoutHandlerPanicRecovery", Handle: limited(time.Minute, func(http.ResponseWriter, *http.Request, Say) {
			panic("within a limit")
		}), Send: Get("/"), Log: "within a limit"},
		{Name: "TimeoutHandler has no Flusher", Handle: limited(time.Minute, func(w http.ResponseWriter, _ *http.Request, say Say) {
			_, ok := w.(http.Flusher)
			say("%v", ok)
		}), Send: Get("/")},
		{Name: "TimeoutHandler and superfluous codes", Like: "TestTimeoutHandlerSuperfluousLogs", Handle: limited(time.Minute, func(w http.ResponseWriter, _ *http.Request, _ Say) {
			w.WriteHeader(200)
			w.WriteHeader(404)
		}), Send: Get("/"), Log: "superfluous"},
	}
}

func redirected(url string, code int) handler {
	return func(w http.ResponseWriter, r *http.Request, _ Say) { http.Redirect(w, r, url, code) }
}

func redirectCases() []Case {
	cases := []Case{
		{Name: "a redirect of HEAD", Like: "TestRedirectContentTypeAndBody", Handle: redirected("/b", 302), Send: Request("HEAD", "/a", "")},
		{Name: "a redirect of POST", Like: "TestRedirectContentTypeAndBody", Handle: redirected("/b", 303), Send: Post("/a", "x"), HTTP2: true},
		{Name: "a redirect with a type", Like: "TestRedirectContentTypeAndBody", Handle: func(w http.ResponseWriter, r *http.Request, _ Say) {
			w.Header().Set("Content-Type", "application/x")
			http.Redirect(w, r, "/b", 302)
		}, Send: Get("/a")},
		{Name: "a redirect from an escaped path", Like: "TestRedirectEscapedPath", Handle: redirected("qux%2Fbaz", 301), Send: Get("/foo%2Fbar/")},
		{Name: "RedirectHandler", Handle: web(http.RedirectHandler("/b", 308)), Send: Get("/a")},
		{Name: "http.Error", Like: "TestError TestErrorContentLength", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			set(w, "Content-Length: 99", "X-Content-Type-Options: scratch", "Content-Type: text/scratch", "ETag: scratch", "X-Other: kept", "Content-Encoding: gzip")
			http.Error(w, "oops", 500)
		}, Send: Get("/"), HTTP2: true},
		{Name: "http.Error behind a write", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			_, _ = io.WriteString(w, "begun ")
			http.Error(w, "oops", 500)
		}, Send: Get("/"), Log: "superfluous"},
		{Name: "http.NotFound", Handle: web(http.NotFoundHandler()), Send: Get("/"), HTTP2: true},
	}
	for i, url := range []string{
		"b", "./b", "../b", "../../b/", "/b", "//other/b", "http://other/b?c#d", "?q", "/é?ü", "/b c", "mailto:x", "",
	} {
		cases = append(cases, Case{
			Name: fmt.Sprintf("a redirect, %d", i), Like: "TestRedirect", Handle: redirected(url, 301+i%2), Send: Get("/dir/a?x=y"), HTTP2: i < 3,
		})
	}
	return cases
}

// tooLate reports what a handler gets that goes on when its time is over.
func tooLate(w http.ResponseWriter, r *http.Request, say Say) {
	done := make(chan struct{})
	limited(10*time.Millisecond, func(w http.ResponseWriter, r *http.Request, say Say) {
		defer close(done)
		<-r.Context().Done()
		say("%v", r.Context().Err() == context.DeadlineExceeded)
		var err error
		for err == nil {
			_, err = io.WriteString(w, "text")
		}
		say("%v", err)
	})(w, r, say)
	<-done
}
