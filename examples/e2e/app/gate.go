package app

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/url"
)

// gate is a handler's connection to the test that decides over it.
type gate struct {
	conn net.Conn
	in   *bufio.Reader
}

// enter connects to the gate that the query names and announces the token.
// Without a gate it returns nil.
func enter(query url.Values) (*gate, error) {
	addr := query.Get("gate")
	if addr == "" {
		return nil, nil
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(conn, "%s\n", query.Get("token")); err != nil {
		conn.Close()
		return nil, err
	}
	return &gate{conn: conn, in: bufio.NewReader(conn)}, nil
}

// say sends the test a line.
func (g *gate) say(format string, args ...any) {
	if g != nil {
		fmt.Fprintf(g.conn, format+"\n", args...)
	}
}

// wait returns when the test lets the handler go on. What happens to ctx
// meanwhile is told to the test and does not end the wait.
func (g *gate) wait(ctx context.Context) {
	if g == nil {
		return
	}
	stop := context.AfterFunc(ctx, func() {
		g.say("done %v", context.Cause(ctx))
	})
	defer stop()
	g.in.ReadString('\n')
}

func (g *gate) close() {
	if g != nil {
		g.conn.Close()
	}
}

// gated enters the gate, waits and leaves.
func gated(ctx context.Context, query url.Values) {
	g, err := enter(query)
	if err != nil {
		panic(err)
	}
	defer g.close()
	g.wait(ctx)
}
