package e2e

import (
	"bufio"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"
)

// A gate is where handlers of the test application come and wait until the
// test lets them go on.
type gate struct {
	t *testing.T
	l net.Listener
}

func newGate(t *testing.T) *gate {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &gate{t, l}
}

// query is what a request must have to come here.
func (g *gate) query(token string) string {
	return "gate=" + g.l.Addr().String() + "&token=" + url.QueryEscape(token)
}

// A visitor is a handler at the gate.
type visitor struct {
	t     *testing.T
	conn  net.Conn
	in    *bufio.Reader
	token string
}

// next waits for a handler.
func (g *gate) next() *visitor {
	g.t.Helper()
	g.l.(*net.TCPListener).SetDeadline(time.Now().Add(20 * time.Second))
	c, err := g.l.Accept()
	if err != nil {
		g.t.Fatalf("no handler came to the gate: %v", err)
	}
	c.SetDeadline(time.Now().Add(time.Minute))
	v := &visitor{t: g.t, conn: c, in: bufio.NewReader(c)}
	g.t.Cleanup(v.release)
	v.token = v.says()
	return v
}

// none checks that no handler comes for a while.
func (g *gate) none(d time.Duration) {
	g.t.Helper()
	g.l.(*net.TCPListener).SetDeadline(time.Now().Add(d))
	if c, err := g.l.Accept(); err == nil {
		c.Close()
		g.t.Error("a handler came that should not run")
	}
}

// says reads a line of the handler.
func (v *visitor) says() string {
	v.t.Helper()
	line, err := v.in.ReadString('\n')
	if err != nil {
		v.t.Fatalf("the handler at the gate says nothing: %v", err)
	}
	return strings.TrimSuffix(line, "\n")
}

// silent checks that the handler says nothing for a while.
func (v *visitor) silent(d time.Duration) {
	v.t.Helper()
	v.conn.SetReadDeadline(time.Now().Add(d))
	if line, err := v.in.ReadString('\n'); err == nil {
		v.t.Errorf("the handler says %q", line)
	}
	v.conn.SetReadDeadline(time.Now().Add(time.Minute))
}

// release lets the handler go on.
func (v *visitor) release() {
	v.conn.Close()
}
