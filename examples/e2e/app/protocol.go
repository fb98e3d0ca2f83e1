package app

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// hints sends informational responses before the final one.
func hints(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	for i := range number(query, "n", 1) {
		w.Header().Set("Link", fmt.Sprintf("</%d.css>; rel=preload%s", i, strings.Repeat("x", int(number(query, "long", 0)))))
		w.WriteHeader(http.StatusEarlyHints)
	}
	gated(r.Context(), query)
	w.Header().Set("Link", "</final.css>")
	io.WriteString(w, "after the hints\n")
}

// trailers sends n bytes of the pattern and trailers behind them.
func trailers(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Trailer", "X-Sum, X-Unset")
	w.Header().Set("Content-Type", "application/octet-stream")
	io.Copy(w, NewPattern(number(r.URL.Query(), "n", 10)))
	w.Header().Set("X-Sum", "42")
	w.Header().Set(http.TrailerPrefix+"X-Late", "yes")
}

// inTrailers tells the trailers of the request before and after its body.
func inTrailers(w http.ResponseWriter, r *http.Request) {
	before := fmt.Sprint(r.Trailer)
	s := SumOf(r.Body)
	writeJSON(w, map[string]any{"Before": before, "After": fmt.Sprint(r.Trailer), "N": s.N})
}

// pingPong answers each line of the body before it reads the next.
func pingPong(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	if err := control.EnableFullDuplex(); err != nil {
		panic(err)
	}
	w.WriteHeader(http.StatusOK)
	control.Flush()
	in := bufio.NewReader(r.Body)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		io.WriteString(w, "pong "+line)
		control.Flush()
	}
}

// simplex begins its response, and only then reads.
func simplex(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, "begun\n")
	http.NewResponseController(w).Flush()
	n, err := io.Copy(io.Discard, r.Body)
	fmt.Fprintf(w, "read %d: %v\n", n, err)
}

// readDeadline waits for a body that does not come in time.
func readDeadline(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	control.EnableFullDuplex()
	control.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	n, err := io.Copy(io.Discard, r.Body)
	fmt.Fprintf(w, "read %d, late %t\n", n, errors.Is(err, os.ErrDeadlineExceeded))
}

// writeDeadline writes for a client that does not read.
func writeDeadline(w http.ResponseWriter, r *http.Request) {
	g, err := enter(r.URL.Query())
	if err != nil {
		panic(err)
	}
	defer g.close()
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
	for {
		if _, err := w.Write(make([]byte, 64<<10)); err != nil {
			g.say("late %t", errors.Is(err, os.ErrDeadlineExceeded))
			return
		}
	}
}

// timeoutHandler is net/http's, around a handler that takes its time.
var timeoutHandler = http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, "in time\n")
	select {
	case <-r.Context().Done():
	case <-time.After(millis(r.URL.Query(), "ms", 0)):
	}
}), 300*time.Millisecond, "out of time\n").ServeHTTP

// maxBytes reads at most ten bytes.
func maxBytes(w http.ResponseWriter, r *http.Request) {
	_, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 10))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		http.Error(w, fmt.Sprintf("more than %d", large.Limit), http.StatusRequestEntityTooLarge)
		return
	}
	fmt.Fprintln(w, "not more")
}

// lateUse uses writer and body after it has returned.
func lateUse(w http.ResponseWriter, r *http.Request) {
	g, err := enter(r.URL.Query())
	if err != nil {
		panic(err)
	}
	go func() {
		defer g.close()
		<-r.Context().Done()
		time.Sleep(50 * time.Millisecond)
		_, werr := io.WriteString(w, "too late\n")
		_, rerr := r.Body.Read(make([]byte, 1))
		control := http.NewResponseController(w)
		g.say("refused %t %t %t %t", werr != nil, rerr != nil, control.Flush() != nil,
			control.SetWriteDeadline(time.Now()) != nil)
	}()
	io.WriteString(w, "in time\n")
}

// certificate names whom the server has verified.
func certificate(w http.ResponseWriter, r *http.Request) {
	if len(r.TLS.PeerCertificates) == 0 {
		fmt.Fprintln(w, "nobody")
		return
	}
	fmt.Fprintf(w, "%s, %d chains, %s\n", r.TLS.PeerCertificates[0].Subject.CommonName,
		len(r.TLS.VerifiedChains), r.TLS.ServerName)
}
