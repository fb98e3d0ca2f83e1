package app

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/gsgi/gsgi/goapp"
)

// A Life is the application's record of what happens to it: one line for each
// event, with the process and the time in nanoseconds, in a file that its
// workers share.
type Life struct {
	path string
	turn sync.WaitGroup
}

// NewLife appends to a file; with an empty name, nowhere.
func NewLife(path string) *Life {
	return &Life{path: path}
}

// Note writes an event.
func (l *Life) Note(event string) {
	if l.path == "" {
		return
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		log.Print(err)
		return
	}
	defer f.Close()
	fmt.Fprintf(f, "%d %d %s %s\n", os.Getpid(), time.Now().UnixNano(), Version, event)
}

// Watch notes the end of [goapp.Context], and what one worker at a time does.
func (l *Life) Watch() {
	if l.path == "" || goapp.Mode() != goapp.InServer {
		return
	}
	l.Note("start")
	context.AfterFunc(goapp.Context(), func() { l.Note("context") })
	l.turn.Go(func() {
		err := goapp.Exclusive(context.Background(), "e2e", func(ctx context.Context) error {
			l.Note("turn begins")
			<-ctx.Done()
			time.Sleep(200 * time.Millisecond)
			l.Note("turn ends")
			return ctx.Err()
		})
		if !errors.Is(err, context.Canceled) {
			l.Note("exclusive: " + fmt.Sprint(err))
		}
	})
}

// End waits until the turn is over. It is what main has deferred.
func (l *Life) End() {
	l.turn.Wait()
	l.Note("deferred")
}

type baseKey struct{}

// Server is an http.Server with everything that goapp.Serve keeps.
func (l *Life) Server(addr string, h http.Handler) *http.Server {
	srv := &http.Server{
		Addr:        addr,
		ErrorLog:    log.New(os.Stderr, "of the server's own: ", 0),
		BaseContext: func(net.Listener) context.Context { return context.WithValue(context.Background(), baseKey{}, "ours") },
	}
	srv.RegisterOnShutdown(func() { l.Note("shutdown") })
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/base" {
			h.ServeHTTP(w, r)
			return
		}
		w.WriteHeader(http.StatusOK)
		w.WriteHeader(http.StatusOK)
		fmt.Fprintf(w, "base %v, server %v\n", r.Context().Value(baseKey{}),
			r.Context().Value(http.ServerContextKey) == srv)
	})
	return srv
}

// goPanics panics in a goroutine that goapp has started.
func goPanics(w http.ResponseWriter, r *http.Request) {
	token := r.URL.Query().Get("token")
	goapp.Go(func() { panic("gone wrong on demand " + token) })
	fmt.Fprintln(w, "begun")
}
