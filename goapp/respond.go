package goapp

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/gsgi/gsgi/module"
)

// sink is where a response goes: an exchange with the server, or an
// http.ResponseWriter.
type sink interface {
	WriteHead(status int, header [][2]string, length int64) error
	Write(p []byte) (int, error)
	Flush() error
	SendFile(f *os.File, n int64) (int64, error)
	Cut(err error) // 500 if the head has not left, else a cut; nil is not logged
}

// call is one request on its way through an application: the gateway's side
// of PEP 3333.
type call struct {
	env    Environ
	src    source
	to     sink
	body   Body
	isHead bool

	called    bool // start was, also if it panicked
	started   bool // status and header are valid
	committed bool // the head is with the sink
	ended     bool // no more of the body is wanted
	failed    bool // the response was cut
	over      atomic.Bool

	status int
	header Header
	length int64 // Content-Length, -1: none
	sent   int64 // bytes of the body
}

func (c *call) run(app Application) {
	defer c.over.Store(true)
	defer c.close()
	c.body = app(&c.env, c.start)
	c.respond()
}

// close closes the body, once.
func (c *call) close() {
	if c.body == nil {
		return
	}
	if err := c.body.Close(); err != nil {
		c.src.log(slog.LevelError, "gsgi: closing the body: "+err.Error())
	}
}

// start is the application's StartResponse.
func (c *call) start(status int, header Header, exc ...error) {
	if c.over.Load() {
		c.src.log(slog.LevelError, "gsgi: StartResponse was called after the response was over")
		return
	}
	err := firstError(exc)
	if err == nil && c.called {
		panic(violation("StartResponse was called a second time without an error"))
	}
	if err != nil && c.committed {
		panic(err)
	}
	c.called, c.started = true, false
	length, problem := checkHead(status, header)
	if problem != "" {
		panic(&Violation{Text: problem})
	}
	if length >= 0 {
		header = slices.DeleteFunc(slices.Clone(header), isContentLength)
	}
	if status == http.StatusNoContent {
		length = -1
	}
	c.started, c.status, c.header, c.length = true, status, header, length
}

func isContentLength(h [2]string) bool { return strings.EqualFold(h[0], "Content-Length") }

func firstError(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// checkHead returns the Content-Length, -1 for none, or what is wrong.
func checkHead(status int, header Header) (length int64, problem string) {
	length = -1
	if status < 200 || status > 999 {
		return length, fmt.Sprintf("status %d is not from 200 to 999", status)
	}
	for i := range header {
		name, value := header[i][0], header[i][1]
		if problem := module.ValidateHeader(name, value); problem != "" {
			return length, problem
		}
		if !isContentLength(header[i]) {
			continue
		}
		n, err := strconv.ParseUint(value, 10, 63)
		if err != nil || length >= 0 && length != int64(n) {
			return length, fmt.Sprintf("Content-Length %q is not one number", value)
		}
		length = int64(n)
	}
	return length, ""
}

// respond sends what the application returned.
func (c *call) respond() {
	if c.started && c.bodiless() {
		c.commit(c.bodyLength())
		return
	}
	switch b := c.body.(type) {
	case nil:
	case String:
		c.one(unsafe.Slice(unsafe.StringData(string(b)), len(b)))
		return
	case Bytes:
		c.one(b)
		return
	case interface{ File() *os.File }:
		if c.file(b.File()) {
			return
		}
		c.body.Blocks(c.yield)
	default:
		c.body.Blocks(c.yield)
	}
	c.finish()
}

// bodiless says whether the response has no body whatever the application
// gives.
func (c *call) bodiless() bool {
	return c.isHead || c.status == http.StatusNoContent || c.status == http.StatusNotModified
}

// bodyLength is what the body says of its length. An empty one for HEAD says
// nothing about GET's.
func (c *call) bodyLength() int64 {
	length := int64(-1)
	switch b := c.body.(type) {
	case nil:
		length = 0
	case interface{ Len() int64 }:
		length = b.Len()
	}
	if c.isHead && length <= 0 {
		return -1
	}
	return length
}

// commit gives the head to the sink. length is that of the body, if known.
func (c *call) commit(length int64) bool {
	if !c.started {
		c.fail(violation("the application did not call StartResponse"))
		return false
	}
	if c.length < 0 && c.status != http.StatusNoContent && c.status != http.StatusNotModified {
		c.length = length
	}
	c.committed = true
	if err := c.to.WriteHead(c.status, c.header, c.length); err != nil {
		c.fail(err)
		return false
	}
	return true
}

// fail gives the response up. The sink answers 500, or cuts.
func (c *call) fail(err error) {
	c.ended, c.failed = true, true
	if err == http.ErrAbortHandler {
		err = nil
	}
	c.to.Cut(err)
}

// one sends a body of one block: the length is known, and it is not flushed
// because the end of the response does that.
func (c *call) one(block []byte) {
	if c.commit(int64(len(block))) {
		c.write(block)
	}
	c.finish()
}

// yield takes a block of the body and hands it on.
func (c *call) yield(block []byte, err error) bool {
	switch {
	case c.ended || c.over.Load():
		return false
	case err != nil:
		c.fail(err)
		return false
	case !c.started:
		c.fail(violation("the body yielded before StartResponse was called"))
		return false
	case c.bodiless():
		c.ended = true
		return false
	case len(block) == 0:
		return true
	}
	if !c.committed && !c.commit(c.bodyLength()) || !c.write(block) {
		return false
	}
	if c.sent == c.length {
		return true
	}
	if err := c.to.Flush(); err != nil {
		c.lost(err)
		return false
	}
	return true
}

// lost ends a response that the sink does not take. That the client has gone
// is no news for the error log.
func (c *call) lost(err error) {
	if errors.Is(err, module.ErrGone) {
		err = nil
	}
	c.fail(err)
}

// write gives a block to the sink, without what the Content-Length has no
// room for.
func (c *call) write(block []byte) bool {
	surplus := false
	if c.length >= 0 && int64(len(block)) > c.length-c.sent {
		block, surplus = block[:c.length-c.sent], true
	}
	if len(block) > 0 {
		n, err := c.to.Write(block)
		c.sent += int64(n)
		if err != nil {
			c.lost(err)
			return false
		}
	}
	if surplus {
		c.ended = true
		c.src.log(slog.LevelError, fmt.Sprintf("gsgi: the body is longer than its Content-Length of %d: %v",
			c.length, http.ErrContentLength))
	}
	return !surplus
}

// file sends a regular file by descriptor; it returns false for any other.
func (c *call) file(f *os.File) bool {
	size := remaining(f)
	if size < 0 {
		return false
	}
	if c.commit(size) && c.length > 0 {
		n, err := c.to.SendFile(f, min(size, c.length))
		c.sent += n
		if err != nil {
			c.lost(err)
		}
	}
	c.finish()
	return true
}

// finish ends the response when the body has ended.
func (c *call) finish() {
	if c.failed {
		return
	}
	if !c.committed {
		length := c.bodyLength()
		if length < 0 && !c.isHead {
			length = 0
		}
		if !c.commit(length) {
			return
		}
	}
	if c.sent < c.length && !c.bodiless() {
		c.fail(fmt.Errorf("gsgi: the body ended after %d bytes, its Content-Length is %d: %w",
			c.sent, c.length, io.ErrUnexpectedEOF))
	}
}
