package cases

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Client is a connection to a server, and what was observed on it.
type Client struct {
	net.Conn
	Fields Fields
	dial   func() (net.Conn, error)

	c  *Case
	in *bufio.Reader
	n  int // responses so far
}

// NewClient is the client of a case; dial gives its connections.
func NewClient(c *Case, dial func() (net.Conn, error)) (*Client, error) {
	client := &Client{Fields: Fields{}, dial: dial, c: c}
	return client, client.Connect()
}

// Connect takes a new connection.
func (c *Client) Connect() error {
	if c.Conn != nil {
		c.Close()
	}
	conn, err := c.dial()
	if err != nil {
		return err
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	c.Conn, c.in = conn, bufio.NewReader(conn)
	return nil
}

// Run has the conversation of the case.
func (c *Client) Run() {
	defer func() { c.Close() }() // of the last connection
	if c.c.Talk != nil {
		c.c.Talk(c)
		return
	}
	c.Send("%s", c.c.Send)
	methods := strings.Fields(c.c.Methods)
	if len(methods) == 0 {
		method, _, _ := strings.Cut(c.c.Send, " ")
		methods = []string{method}
	}
	for _, method := range methods {
		if !c.Response(method) {
			c.Fields["connection"] = "closed"
			return
		}
	}
	c.Probe()
}

// Send sends bytes as they are, but for the name of the case.
func (c *Client) Send(format string, args ...any) {
	// A server that does not want them may have closed; that shows when its
	// answer is read.
	_, _ = io.WriteString(c.Conn, c.c.Text(fmt.Sprintf(format, args...)))
}

// CloseWrite ends the client's half of the connection.
func (c *Client) CloseWrite() {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// Probe finds out whether the connection serves another request.
func (c *Client) Probe() {
	if c.c.Unprobed {
		return
	}
	_, _ = io.WriteString(c.Conn, "GET /probe HTTP/1.1\r\nHost: localhost\r\n\r\n")
	line, err := c.in.ReadString('\n')
	switch {
	case strings.HasPrefix(line, "HTTP/1.1 200 "):
		c.Fields["connection"] = "kept"
	case timedOut(err):
		c.Fields["connection"] = "stalled"
	case line != "":
		c.Fields["connection"] = "then " + strconv.Quote(line)
	default:
		c.Fields["connection"] = "closed"
	}
}

func timedOut(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// Line reads a line, without its end.
func (c *Client) Line() string {
	line, _ := c.in.ReadString('\n')
	return strings.TrimRight(line, "\r\n")
}

// field is the name of a field of the current response.
func (c *Client) field(name string) string {
	if c.n > 1 {
		return fmt.Sprintf("%d %s", c.n, name)
	}
	return name
}

// Response reads the response to a request of the method, with the interim
// ones before it. It is false when the connection cannot go on.
func (c *Client) Response(method string) bool {
	c.n++
	for {
		status, header, err := c.head()
		if err != nil {
			c.Fields[c.field("status")] = "none"
			if timedOut(err) {
				c.Fields[c.field("status")] = "none, stalled"
			}
			return false
		}
		code, reason, _ := strings.Cut(status, " ")
		if code[0] == '1' && code != "101" {
			c.Fields[c.field("interim")] += code + headerText(header) + ";"
			continue
		}
		c.Fields[c.field("status")], c.Fields[c.field("reason")] = code, reason
		for name, values := range header {
			c.Fields[c.field("header "+name)] = strings.Join(values, " | ")
		}
		return c.body(method, code, header)
	}
}

func headerText(header map[string][]string) string {
	var lines []string
	for name, values := range header {
		lines = append(lines, " "+name+": "+strings.Join(values, " | "))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// head reads a status line, less the version, and the fields behind it, their
// names as they are spelled.
func (c *Client) head() (status string, header map[string][]string, err error) {
	line, err := c.in.ReadString('\n')
	if err != nil {
		return "", nil, err
	}
	version, status, ok := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
	if !ok || !strings.HasPrefix(version, "HTTP/1.") || len(status) < 3 {
		return "", nil, fmt.Errorf("%q is no status line", line)
	}
	c.Fields[c.field("version")] = version
	header, err = c.lines()
	return status, header, err
}

// lines reads fields up to an empty line.
func (c *Client) lines() (map[string][]string, error) {
	header := make(map[string][]string)
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return header, nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("%q is no field", line)
		}
		header[name] = append(header[name], strings.TrimPrefix(value, " "))
	}
}

func get(header map[string][]string, name string) string {
	for n, values := range header {
		if textproto.CanonicalMIMEHeaderKey(n) == name && len(values) > 0 {
			return values[0]
		}
	}
	return ""
}

// body reads a body by its framing.
func (c *Client) body(method, code string, header map[string][]string) bool {
	length, lengthErr := strconv.ParseInt(get(header, "Content-Length"), 10, 64)
	var text []byte
	var err error
	framing, open := "none", true
	switch {
	case method == "HEAD" || code == "204" || code == "304" || code == "101":
	case method == "CONNECT" && code == "200":
	case strings.EqualFold(get(header, "Transfer-Encoding"), "chunked"):
		framing = "chunked"
		text, err = c.chunks()
	case lengthErr == nil:
		framing = "length"
		text = make([]byte, length)
		var n int
		n, err = io.ReadFull(c.in, text)
		text = text[:n]
	default:
		framing, open = "close", false
		text, err = io.ReadAll(c.in)
	}
	c.Fields[c.field("framing")] = framing
	c.Fields[c.field("body")] = Clip(string(text))
	switch {
	case timedOut(err):
		c.Fields[c.field("end")] = "stalled"
		return false
	case err != nil:
		c.Fields[c.field("end")] = "cut"
		return false
	}
	return open
}

// chunks reads a chunked body and its trailers.
func (c *Client) chunks() (text []byte, err error) {
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return text, err
		}
		size, err := strconv.ParseInt(strings.TrimRight(line, "\r\n"), 16, 32)
		if err != nil {
			return text, err
		}
		if size == 0 {
			trailer, err := c.lines()
			for name, values := range trailer {
				c.Fields[c.field("trailer "+name)] = strings.Join(values, " | ")
			}
			return text, err
		}
		chunk := make([]byte, size+2)
		n, err := io.ReadFull(c.in, chunk)
		text = append(text, chunk[:min(n, int(size))]...)
		if err != nil {
			return text, err
		}
	}
}

// Clip shortens a long text, with a hash in place of the rest.
func Clip(text string) string {
	if len(text) <= 600 {
		return text
	}
	return fmt.Sprintf("%s... %d bytes, %x", text[:200], len(text), sha256.Sum256([]byte(text)))
}
