package module

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/gsgi/gsgi/cshim/bridge"
)

// levelAlert marks a fault of the gateway or the host themselves.
const levelAlert = slog.LevelError + 4

func logLevel(l slog.Level) uint16 {
	switch {
	case l >= levelAlert:
		return bridge.LogAlert
	case l >= slog.LevelError:
		return bridge.LogError
	case l >= slog.LevelWarn:
		return bridge.LogWarn
	case l > slog.LevelInfo:
		return bridge.LogNotice
	case l >= slog.LevelInfo:
		return bridge.LogInfo
	}
	return bridge.LogDebug
}

// Log writes to the server's error log, line by line.
func (g *Gateway) Log(level slog.Level, text string) { g.logLines(logLevel(level), 0, 0, text) }

func (g *Gateway) logLines(level uint16, slot, gen uint32, text string) {
	if g.b == nil { // Checking: the server reads standard error
		fmt.Fprintln(inherited[2], text)
		return
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		for len(line) > bridge.LogMax {
			g.b.Log(level, slot, gen, line[:bridge.LogMax])
			line = line[bridge.LogMax:]
		}
		if line != "" {
			g.b.Log(level, slot, gen, line)
		}
	}
}

// inherited keeps the process's own files alive. Left to the garbage collector
// they would be closed, and the server's error log would go to whatever is
// opened next as descriptor 2: a client's connection.
var inherited = [...]*os.File{os.Stdin, os.Stdout, os.Stderr}

// Redirect makes what the application writes by os.Stdout, os.Stderr, package
// log and slog's default logger reach the server's error log. Descriptors 1
// and 2 stay what they are: the trace of a crash takes no detour. Until the
// application serves, the last words of one that gives up take none either.
func (g *Gateway) Redirect() {
	os.Stdout = inherited[2]
	slog.SetDefault(slog.New(newSlogHandler(g)))
	log.SetFlags(0)
	log.SetOutput(lineWriter{g, bridge.LogError})
	g.redirected.Store(true)
}

// catchOutput replaces os.Stdout and os.Stderr once the application serves.
func (g *Gateway) catchOutput() {
	if g.redirected.Load() {
		os.Stdout = g.pipe(bridge.LogNotice, inherited[1])
		os.Stderr = g.pipe(bridge.LogError, inherited[2])
	}
}

// pipe returns a file whose lines are logged; instead, when there is none.
func (g *Gateway) pipe(level uint16, instead *os.File) *os.File {
	r, w, err := os.Pipe()
	if err != nil {
		return instead
	}
	go func() {
		in := bufio.NewReaderSize(r, bridge.LogMax)
		for {
			line, err := in.ReadSlice('\n')
			g.logLines(level, 0, 0, string(line))
			if err != nil && err != bufio.ErrBufferFull {
				return
			}
		}
	}()
	return w
}

// lineWriter logs each Write.
type lineWriter struct {
	g     *Gateway
	level uint16
}

var _ io.Writer = lineWriter{}

func (w lineWriter) Write(p []byte) (int, error) {
	if w.g.b.AppState.Load() == bridge.AppStarting {
		fmt.Fprintf(inherited[2], "gsgi %q: %s", w.g.conf.Name, p)
		return len(p), nil
	}
	w.g.logLines(w.level, 0, 0, string(p))
	return len(p), nil
}

// slogHandler logs records at their level, as text without time and level,
// which the server adds. A record whose context is a request's has its id.
type slogHandler struct {
	g    *Gateway
	mu   *sync.Mutex
	buf  *strings.Builder
	text slog.Handler
}

func newSlogHandler(g *Gateway) *slogHandler {
	buf := new(strings.Builder)
	text := slog.NewTextHandler(buf, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
				return slog.Attr{}
			}
			return a
		},
	})
	return &slogHandler{g, new(sync.Mutex), buf, text}
}

func (h *slogHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *slogHandler) Handle(ctx context.Context, r slog.Record) error {
	h.mu.Lock()
	h.buf.Reset()
	err := h.text.Handle(ctx, r)
	attrs := strings.TrimSpace(h.buf.String())
	h.mu.Unlock()
	line := r.Message
	if attrs != "" {
		line += " " + attrs
	}
	if x := FromContext(ctx); x != nil {
		x.Log(r.Level, line)
	} else {
		h.g.Log(r.Level, line)
	}
	return err
}

func (h *slogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &slogHandler{h.g, h.mu, h.buf, h.text.WithAttrs(attrs)}
}

func (h *slogHandler) WithGroup(name string) slog.Handler {
	return &slogHandler{h.g, h.mu, h.buf, h.text.WithGroup(name)}
}
