package cases

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
)

// A Report is what a handler saw, and what happened to it.
type Report struct {
	Case  string
	Lines []string
}

// Server is a handler that finds the case of a request and runs it. Reports
// go to the address that the environment names in PARITY_REPORTS.
func Server() http.Handler {
	byName := make(map[string]*Case)
	for _, c := range All() {
		byName[c.Name] = c
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := byName[r.Header.Get(Header)]
		if c == nil {
			c = &Case{Name: "none", Handle: none}
		}
		c.serve(w, r)
	})
}

// none answers what belongs to no case, the probe of a connection among it.
func none(w http.ResponseWriter, r *http.Request, say Say) {
	say("%s %s", r.Method, r.RequestURI)
}

// Running and Sent count the handlers that run in this process, and their
// reports.
var Running, Sent atomic.Int64

// Over is the key of a *func() in the context of a connection: what is put
// there is called once the server has finished the request. net/http ends the
// context before that, and whoever uses the ResponseWriter in between, or when
// the connection is closed, has a race with it.
var Over = new(int)

// record gathers what a handler says.
type record struct {
	mu    sync.Mutex
	lines []string
}

func (r *record) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (c *Case) serve(w http.ResponseWriter, r *http.Request) {
	Running.Add(1)
	rec := new(record)
	ctx := r.Context()
	report := func() {
		if c.Late != nil {
			c.Late(rec.say)
		}
		rec.mu.Lock()
		defer rec.mu.Unlock()
		send(Report{c.Name, rec.lines})
		Sent.Add(1)
		Running.Add(-1)
	}
	defer func() {
		over, known := ctx.Value(Over).(*func())
		switch {
		case c.Late == nil:
			go report()
		case known:
			*over = report
		default:
			context.AfterFunc(ctx, report)
		}
	}()
	c.Handle(w, r, rec.say)
}

func send(r Report) {
	conn, err := net.Dial("tcp", os.Getenv("PARITY_REPORTS"))
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		panic(err)
	}
}

// report sends a report of one line.
func report(name, format string, args ...any) {
	send(Report{name, []string{fmt.Sprintf(format, args...)}})
}
