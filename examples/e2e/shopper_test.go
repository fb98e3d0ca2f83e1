package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gsgi/gsgi/examples/e2e/app"
)

// An exchange is a request as a client makes it, and what came back.
type exchange struct {
	path      string
	fresh     bool          // on a connection of its own
	pause     time.Duration // between connecting and the first byte
	headPause time.Duration // between the pieces of the head
	upload    time.Duration // how long sending the body takes, 0: GET
	download  time.Duration // pause between pieces that are read
	static    bool          // a file: no version

	version string
}

// A shopper is a client that holds to the rules of HTTP/1.1 to the letter: a
// request is lost when any byte of it was accepted on a fresh connection and
// no complete answer came. A connection that was used before may be closed by
// the server at any time between requests, so that one which ends without a
// byte of an answer has lost nothing if the request is idempotent, and it is
// made again on a fresh connection.
type shopper struct {
	conn net.Conn
	in   *bufio.Reader
}

const uploadPieces = 10

// do makes the exchange and tells how often the request was sent.
func (c *shopper) do(addr string, x *exchange) (tries int, err error) {
	reused := c.conn != nil && !x.fresh
	if !reused {
		if err := c.dial(addr, x); err != nil {
			return 0, err
		}
	}
	err = c.once(x)
	if reused && errors.Is(err, errNotAnswered) && x.upload == 0 {
		if err := c.dial(addr, x); err != nil {
			return 1, err
		}
		err = c.once(x)
		tries++
	}
	if err != nil || x.fresh {
		c.close()
	}
	return tries + 1, err
}

func (c *shopper) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func (c *shopper) dial(addr string, x *exchange) error {
	c.close()
	conn, err := net.DialTimeout("tcp", addr, 20*time.Second)
	if err != nil {
		return err
	}
	if x.download > 0 {
		conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	}
	time.Sleep(x.pause)
	c.conn, c.in = conn, bufio.NewReader(conn)
	return nil
}

// once sends the request and reads the answer.
func (c *shopper) once(x *exchange) error {
	c.conn.SetDeadline(time.Now().Add(30 * time.Second))
	sendErr := c.send(x)
	if _, err := c.in.Peek(1); err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return err
		}
		return fmt.Errorf("%w: %w", errNotAnswered, errors.Join(sendErr, err))
	}
	return c.read(x)
}

func (c *shopper) send(x *exchange) error {
	method, length := "GET", ""
	if x.upload > 0 {
		method, length = "POST", fmt.Sprintf("Content-Length: %d\r\n", uploadPieces*1000)
	}
	if x.fresh {
		length += "Connection: close\r\n"
	}
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", method, x.path, length)
	if x.headPause > 0 {
		for _, line := range strings.SplitAfter(head, "\n") {
			if _, err := io.WriteString(c.conn, line); err != nil {
				return err
			}
			time.Sleep(x.headPause)
		}
	} else if _, err := io.WriteString(c.conn, head); err != nil {
		return err
	}
	if x.upload > 0 {
		for i := range uploadPieces {
			time.Sleep(x.upload / uploadPieces)
			if _, err := c.conn.Write(app.At(int64(i*1000), 1000)); err != nil {
				return err
			}
		}
	}
	return nil
}

// read reads the answer and checks that it is the whole right one.
func (c *shopper) read(x *exchange) error {
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := slowly(res.Body, x.download)
	if err != nil {
		return fmt.Errorf("%d, %d bytes: %w", res.StatusCode, len(body), err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %q", res.Status, clip(string(body), 200))
	}
	if res.Close {
		c.close()
	}
	if x.static {
		if string(body) != "static hello\n" {
			return fmt.Errorf("%q for a file", body)
		}
		return nil
	}
	x.version = res.Header.Get("X-Version")
	want := 0
	if _, n, ok := strings.Cut(x.path, "?n="); ok {
		fmt.Sscan(n, &want)
	}
	pattern, err := io.ReadAll(app.NewPattern(int64(want)))
	if err != nil || !bytes.Equal(body, pattern) {
		return fmt.Errorf("%d bytes instead of %d", len(body), want)
	}
	sent := app.SumOf(nothing{})
	if x.upload > 0 {
		sent = app.PatternSum(uploadPieces * 1000)
	}
	if got := res.Header.Get("X-Body"); got != fmt.Sprint(sent) {
		return fmt.Errorf("the body that came in was %s and not %v", got, sent)
	}
	return nil
}

type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, io.EOF }

// slowly reads r with pauses between pieces.
func slowly(r io.Reader, pause time.Duration) ([]byte, error) {
	if pause == 0 {
		return io.ReadAll(r)
	}
	var b bytes.Buffer
	for {
		_, err := io.CopyN(&b, r, 100_000)
		if err == io.EOF {
			return b.Bytes(), nil
		}
		if err != nil {
			return b.Bytes(), err
		}
		time.Sleep(pause)
	}
}
