package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A wire is a connection on which a test sends and sees bytes.
type wire struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

func newWire(t *testing.T, c net.Conn) *wire {
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return &wire{Conn: c, t: t, in: bufio.NewReader(c)}
}

// send writes bytes as they are.
func (w *wire) send(format string, args ...any) {
	w.t.Helper()
	text := format
	if len(args) > 0 {
		text = fmt.Sprintf(format, args...)
	}
	if _, err := io.WriteString(w.Conn, text); err != nil {
		w.t.Fatal(err)
	}
}

// answer reads one response to a request of the method.
func (w *wire) answer(method string) *answer {
	w.t.Helper()
	res, err := http.ReadResponse(w.in, &http.Request{Method: method})
	if err != nil {
		w.t.Fatalf("no response: %v", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return &answer{res, string(body), err}
}

// rest reads to the end of the connection. A reset ends it as well as a close.
func (w *wire) rest() string {
	w.t.Helper()
	text, err := io.ReadAll(w.in)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		w.t.Fatalf("the connection stays open after %q", text)
	}
	return string(text)
}

// line reads a line.
func (w *wire) line() string {
	w.t.Helper()
	text, err := w.in.ReadString('\n')
	if err != nil {
		w.t.Fatalf("no line: %v after %q", err, text)
	}
	return text
}

var changing = regexp.MustCompile(`(?m)^(Date|Server|Last-Modified|ETag|Accept-Ranges|Vary|Upgrade): .*\r\n`)

// steady takes those header lines out that differ between runs and servers.
func steady(text string) string {
	// Apache offers HTTP/2 where it has it.
	text = strings.Replace(text, "Connection: Upgrade, ", "Connection: ", 1)
	return changing.ReplaceAllString(text, "")
}

// raw sends one request on a connection of its own, and returns all that
// comes back.
func (s *server) raw(t *testing.T, request string) string {
	t.Helper()
	w := s.dial(t)
	w.send("%s", request)
	text := w.rest()
	w.Close()
	return text
}

// still checks that the connection serves another request.
func (w *wire) still() {
	w.t.Helper()
	w.send("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if a := w.answer(http.MethodGet); a.body != "hello\n" {
		w.t.Errorf("the connection then gave %q", a.body)
	}
}
