package app

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"time"
)

// witness tells the gate what becomes of a request: of its body, of what it
// writes where the query asks for that, and of its context.
func witness(w http.ResponseWriter, r *http.Request) {
	g, err := enter(r.URL.Query())
	if err != nil {
		panic(err)
	}
	defer g.close()
	n, err := io.Copy(io.Discard, r.Body)
	g.say("body %d %s", n, ending(err))
	if r.URL.Query().Get("write") != "" {
		g.say("write %s", ending(writeOn(w)))
	}
	select {
	case <-r.Context().Done():
		g.say("%v", r.Context().Err())
	case <-time.After(3 * time.Second):
		g.say("not cancelled")
	}
}

// writeOn writes until it cannot.
func writeOn(w http.ResponseWriter) error {
	for p := make([]byte, 64<<10); ; {
		if _, err := w.Write(p); err != nil {
			return err
		}
	}
}

// ending is how a body came to its end, in words.
func ending(err error) string {
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return "whole"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "late"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "cut"
	case errors.As(err, &large):
		return "too large"
	case errors.Is(err, context.Canceled):
		return "canceled"
	}
	return err.Error()
}
