package cases

import (
	"io"
	"net/http"
	"runtime"
	"strings"
)

// failing writes a text, flushes it where it is to leave, and fails.
func failing(text string, flush bool, fail func()) handler {
	return func(w http.ResponseWriter, _ *http.Request, _ Say) {
		if text != "" {
			_, _ = io.WriteString(w, text)
		}
		if flush {
			w.(http.Flusher).Flush()
		}
		fail()
	}
}

func failureCases() []Case {
	panics := func() { panic("on purpose") }
	aborts := func() { panic(http.ErrAbortHandler) }
	return []Case{
		{Name: "a panic", Like: "TestHandlerPanic", Handle: failing("", false, panics), Send: Get("/"), HTTP2: true, Log: "panic.*on purpose"},
		{Name: "a panic of nil", Like: "TestHandlerPanicNil", Handle: failing("", false, func() { panic(nil) }), Send: Get("/"), Log: "panic called with nil argument"},
		{Name: "a panic of an error", Handle: failing("", false, func() { panic(io.ErrUnexpectedEOF) }), Send: Get("/"), Log: "panic.*unexpected EOF"},
		{Name: "a panic of the runtime", Handle: failing("", false, func() {
			http.Header(nil).Set("X-A", "1")
		}), Send: Get("/"), Log: "panic.*assignment to entry in nil map"},
		{Name: "a panic behind a write", Like: "TestHandlerPanic", Handle: failing("text", false, panics), Send: Get("/"), HTTP2: true, Log: "on purpose"},
		{Name: "a panic behind a flush", Like: "TestInterruptWithPanic TestHandlerPanic", Handle: failing("text", true, panics), Send: Get("/"), HTTP2: true, Log: "on purpose"},
		{Name: "a panic behind much", Handle: failing(strings.Repeat("x", 50_000), false, panics), Send: Get("/"), Log: "on purpose"},
		{Name: "a panic in a pipeline", Handle: failing("", false, panics), Send: Get("/") + Get("/"), Methods: "GET GET", Log: "on purpose"},
		{Name: "a panic with a body not read", Handle: failing("", false, panics), Send: Post("/", "hello"), Log: "on purpose"},
		{Name: "ErrAbortHandler", Handle: failing("", false, aborts), Send: Get("/"), HTTP2: true},
		{Name: "ErrAbortHandler behind a write", Handle: failing("text", false, aborts), Send: Get("/"), HTTP2: true},
		{Name: "ErrAbortHandler behind a flush", Handle: failing("text", true, aborts), Send: Get("/"), HTTP2: true},
		{Name: "ErrAbortHandler behind a length", Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			w.Header().Set("Content-Length", "100")
			failing("text", true, aborts)(w, nil, nil)
		}, Send: Get("/"), HTTP2: true},
		{Name: "ErrAbortHandler in HTTP/1.0", Handle: failing("text", true, aborts), Send: Old("GET", "/", "")},
		{Name: "Goexit", Handle: failing("", false, runtime.Goexit), Send: Get("/")},
		{Name: "Goexit behind a flush", Handle: failing("text", true, runtime.Goexit), Send: Get("/")},
		lateWriter("a write after the handler has ended", func(w http.ResponseWriter, say Say) {
			n, err := io.WriteString(w, strings.Repeat("late", 5000))
			say("%d %v", n, err != nil)
		}),
		lateWriter("WriteHeader after the handler has ended", func(w http.ResponseWriter, _ Say) { w.WriteHeader(500) }),
		lateWriter("a flush after the handler has ended", func(w http.ResponseWriter, say Say) {
			say("%v", http.NewResponseController(w).Flush() != nil)
		}),
		lateWriter("the header map after the handler has ended", func(w http.ResponseWriter, say Say) {
			w.Header().Set("X-Late", "1")
			say("%v", w.Header())
		}),
	}
}

// lateWriter is a handler whose writer is used when its request is over.
func lateWriter(name string, use func(w http.ResponseWriter, say Say)) Case {
	writers := make(chan http.ResponseWriter, 1)
	return Case{
		Name: name, Send: Get("/"),
		Handle: func(w http.ResponseWriter, _ *http.Request, _ Say) {
			_, _ = io.WriteString(w, "text")
			writers <- w
		},
		Late: func(say Say) { use(<-writers, say) },
	}
}
