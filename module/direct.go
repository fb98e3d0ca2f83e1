package module

import (
	"errors"
	"fmt"

	"github.com/gsgi/gsgi/cshim/bridge"
)

// The direct path of the gateway interface: no http.Request, no http.Header.

// WriteHead sets the status (100 to 999, but not informational) and the
// headers of the response. length is the Content-Length, or -1. Headers are
// checked with [ValidateHeader]; Content-Length is not among them. Nothing is
// sent before the first Write, Flush, SendFile or the handler's return.
func (x *Exchange) WriteHead(status int, header [][2]string, length int64) error {
	o := &x.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.headless(status); err != nil {
		return err
	}
	for _, h := range header {
		if problem := ValidateHeader(h[0], h[1]); problem != "" {
			o.reset()
			return fmt.Errorf("gsgi: %s", problem)
		}
		o.add(h[0], h[1])
	}
	o.commit(status, length)
	return nil
}

// headless says why there can be no head with this status now.
func (o *output) headless(status int) error {
	switch {
	case o.closed:
		return ErrOver
	case o.committed:
		return errors.New("gsgi: the head has been written")
	case status < 200 || status > 999:
		return fmt.Errorf("gsgi: status %d is not between 200 and 999", status)
	}
	return nil
}

// Write gathers p for the response, and hands it on when there is enough of
// it. It waits while the client is slow. p is the caller's again on return.
func (x *Exchange) Write(p []byte) (int, error) { return x.WriteBlock(p, false) }

// Flush hands on what is gathered, and has the server send it.
func (x *Exchange) Flush() error {
	x.out.mu.Lock()
	defer x.out.mu.Unlock()
	if !x.out.committed {
		return fmt.Errorf("gsgi: flush before the head")
	}
	return x.out.flush()
}

// HeadWritten says whether the head is set.
func (x *Exchange) HeadWritten() bool {
	x.out.mu.Lock()
	defer x.out.mu.Unlock()
	return x.out.committed
}

// HeadSent says whether the head is with the server, beyond replacement.
func (x *Exchange) HeadSent() bool {
	x.out.mu.Lock()
	defer x.out.mu.Unlock()
	return x.out.sent
}

// ResetHead forgets a head, and what was written, unless it has been sent.
func (x *Exchange) ResetHead() {
	x.out.mu.Lock()
	defer x.out.mu.Unlock()
	if !x.out.sent {
		x.out.reset()
		x.out.inline, x.out.written = 0, 0
	}
}

// Cut gives the response up when the handler returns: 500 before the head is
// sent, a visible cut after. err, when it is not nil, is logged.
func (x *Exchange) Cut(err error) {
	x.out.mu.Lock()
	x.out.cut = true
	x.out.mu.Unlock()
	if err != nil {
		x.log(bridge.LogError, err.Error())
	}
}
