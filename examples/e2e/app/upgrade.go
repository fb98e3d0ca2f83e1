package app

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
)

const messageMax = 32 << 20

// coderEcho sends messages back until the client closes, or, when the query
// says so, closes itself after n of them.
func coderEcho(w http.ResponseWriter, r *http.Request) {
	c, err := coder.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow()
	c.SetReadLimit(messageMax)
	ctx := context.Background()
	for n := number(r.URL.Query(), "n", -1); n != 0; n-- {
		kind, p, err := c.Read(ctx)
		if err != nil {
			return
		}
		if c.Write(ctx, kind, p) != nil {
			return
		}
	}
	c.Close(coder.StatusNormalClosure, "enough")
}

var upgrader gorilla.Upgrader

// gorillaEcho is coderEcho with the other library. Its pumps outlive the
// handler, as those of its authors' examples do.
func gorillaEcho(w http.ResponseWriter, r *http.Request) {
	c, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	c.SetReadLimit(messageMax)
	go gorillaPump(c, number(r.URL.Query(), "n", -1))
}

func gorillaPump(c *gorilla.Conn, n int64) {
	defer c.Close()
	for ; n != 0; n-- {
		c.SetReadDeadline(time.Now().Add(time.Minute))
		kind, p, err := c.ReadMessage()
		if err != nil {
			return
		}
		c.SetWriteDeadline(time.Now().Add(time.Minute))
		if c.WriteMessage(kind, p) != nil {
			return
		}
	}
	text := gorilla.FormatCloseMessage(gorilla.CloseNormalClosure, "enough")
	c.WriteControl(gorilla.CloseMessage, text, time.Now().Add(time.Minute))
}

// proxy passes the request on to the server that the query names.
func proxy(w http.ResponseWriter, r *http.Request) {
	target := &url.URL{Scheme: "http", Host: r.URL.Query().Get("to")}
	httputil.NewSingleHostReverseProxy(target).ServeHTTP(w, r)
}

// raw takes the connection over and does what the mode says.
func raw(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if query.Get("body") == "read" {
		io.Copy(io.Discard, r.Body)
	}
	_, can := w.(http.Hijacker)
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		writeJSON(w, map[string]any{"Hijacker": can, "NotSupported": errors.Is(err, http.ErrNotSupported)})
		return
	}
	g, err := enter(query)
	if err != nil {
		panic(err)
	}
	if query.Get("head") != "none" {
		io.WriteString(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n")
		rw.Flush()
	}
	if query.Get("leave") != "" {
		go rawModes[query.Get("mode")](c, rw, g)
		return
	}
	rawModes[query.Get("mode")](c, rw, g)
}

var rawModes = map[string]func(net.Conn, *bufio.ReadWriter, *gate){
	"echo":   rawEcho,
	"flood":  rawFlood,
	"crumbs": rawCrumbs,
	"deaf":   rawDeaf,
	"halves": rawHalves,
	"late":   rawLate,
	"addr":   rawAddr,
	"forget": func(_ net.Conn, _ *bufio.ReadWriter, g *gate) { g.close() },
	"panic": func(c net.Conn, _ *bufio.ReadWriter, g *gate) {
		defer g.close()
		defer c.Close()
		panic("panic behind an upgrade")
	},
}

func rawEcho(c net.Conn, rw *bufio.ReadWriter, g *gate) {
	defer g.close()
	defer c.Close()
	n, err := io.Copy(c, rw)
	g.say("echoed %d: %v", n, err)
}

// rawFlood writes until the client stops it.
func rawFlood(c net.Conn, _ *bufio.ReadWriter, g *gate) {
	floodConn(c, g, make([]byte, 64<<10))
}

// rawCrumbs does it in small pieces.
func rawCrumbs(c net.Conn, _ *bufio.ReadWriter, g *gate) {
	floodConn(c, g, []byte("crumb\n"))
}

func floodConn(c net.Conn, g *gate, p []byte) {
	defer g.close()
	defer c.Close()
	for {
		if _, err := c.Write(p); err != nil {
			g.say("failed %v", err)
			return
		}
	}
}

// rawDeaf does not read before the test lets it.
func rawDeaf(c net.Conn, rw *bufio.ReadWriter, g *gate) {
	defer g.close()
	defer c.Close()
	g.wait(context.Background())
	io.Copy(c, rw)
}

// rawHalves ends its half before it reads the other one.
func rawHalves(c net.Conn, rw *bufio.ReadWriter, g *gate) {
	defer g.close()
	defer c.Close()
	io.WriteString(c, "all of it\n")
	c.(interface{ CloseWrite() error }).CloseWrite()
	text, err := io.ReadAll(rw)
	g.say("then %q %v", text, err)
}

// rawLate waits for a byte that does not come in time.
func rawLate(c net.Conn, rw *bufio.ReadWriter, g *gate) {
	defer g.close()
	defer c.Close()
	p := make([]byte, 1)
	c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	_, err := c.Read(p)
	g.say("late %t", errors.Is(err, os.ErrDeadlineExceeded))
	c.SetReadDeadline(time.Time{})
	io.WriteString(c, "still here\n")
	io.Copy(c, c)
}

func rawAddr(c net.Conn, rw *bufio.ReadWriter, g *gate) {
	defer g.close()
	defer c.Close()
	io.WriteString(c, c.LocalAddr().String()+" "+c.RemoteAddr().String()+"\n")
}
