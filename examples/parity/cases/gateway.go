package cases

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/gsgi/gsgi/goapp"
)

// Gateway serves the applications of the gateway interface by the first
// segment of the path, with the Validator around those that keep to the
// contract. What happens to their bodies is reported.
func Gateway() goapp.Application {
	validated := goapp.Validator(lawful)
	return func(env *goapp.Environ, start goapp.StartResponse) goapp.Body {
		if strings.HasPrefix(env.Get("PATH_INFO"), "/wrong/") {
			return wrong(env, start)
		}
		return validated(env, start)
	}
}

// A watched is a body that reports its Close.
type watched struct {
	name   string
	blocks goapp.Blocks
	seen   []string
}

// Blocks calls b.blocks.
func (b *watched) Blocks(yield func([]byte, error) bool) { b.blocks.Blocks(yield) }

func (b *watched) say(format string, args ...any) {
	b.seen = append(b.seen, fmt.Sprintf(format, args...))
}

// Close reports. Twice is two reports.
func (b *watched) Close() error {
	send(Report{b.name, append(b.seen, "closed")})
	return nil
}

var plain = goapp.Header{{"Content-Type", "text/plain"}}

func withLength(n string) goapp.Header {
	return append(slices.Clone(plain), [2]string{"Content-Length", n})
}

// lawful are applications that do nothing wrong.
func lawful(env *goapp.Environ, start goapp.StartResponse) goapp.Body {
	name := strings.TrimPrefix(env.Get("PATH_INFO"), "/")
	b := &watched{name: "gateway " + name}
	blocks := func(header goapp.Header, texts ...string) goapp.Body {
		start(200, header)
		b.blocks = func(yield func([]byte, error) bool) {
			for _, text := range texts {
				ok := yield([]byte(text), nil)
				b.say("%q %v", text, ok)
				if !ok {
					return
				}
			}
		}
		return b
	}
	switch name {
	case "dump":
		var lines []string
		for key, value := range env.All() {
			lines = append(lines, key+"="+value)
		}
		slices.Sort(lines)
		start(200, plain)
		return goapp.String(strings.Join(lines, "\n"))
	case "one":
		start(200, plain)
		return goapp.String("one block")
	case "blocks":
		return blocks(plain, "a", "", "b")
	case "none":
		return blocks(plain)
	case "sized":
		return blocks(withLength("4"), "ab", "cd")
	case "204":
		start(204, nil)
		return b
	case "304":
		start(304, nil)
		return b
	case "late":
		b.blocks = func(yield func([]byte, error) bool) {
			start(202, plain)
			yield([]byte("late"), nil)
		}
		return b
	case "replaced":
		start(200, withLength("99"))
		start(500, plain, errors.New("own"))
		b.blocks = func(yield func([]byte, error) bool) { yield([]byte("sorry"), nil) }
		return b
	case "talk":
		start(200, plain)
		b.blocks = func(yield func([]byte, error) bool) {
			yield([]byte("asked "), nil)
			text, err := io.ReadAll(env.Input())
			b.say("%q %v", text, err)
			yield(text, nil)
		}
		return b
	case "unready":
		start(200, plain)
		b.blocks = func(yield func([]byte, error) bool) {
			yield(nil, nil)
			<-env.Context().Done()
			b.say("%v, wanted %v", env.Context().Err(), yield([]byte("x"), nil))
		}
		return b
	case "endless":
		start(200, plain)
		b.blocks = func(yield func([]byte, error) bool) {
			for yield([]byte("more "), nil) {
				time.Sleep(5 * time.Millisecond)
			}
			b.say("not wanted")
		}
		return b
	}
	start(404, plain)
	return goapp.String("no application " + name)
}

// wrong are applications that break the contract.
func wrong(env *goapp.Environ, start goapp.StartResponse) goapp.Body {
	name := strings.TrimPrefix(env.Get("PATH_INFO"), "/wrong/")
	b := &watched{name: "gateway wrong " + name}
	one := func(texts ...string) goapp.Blocks {
		return func(yield func([]byte, error) bool) {
			for _, text := range texts {
				ok := yield([]byte(text), nil)
				b.say("%q %v", text, ok)
				if !ok {
					return
				}
			}
		}
	}
	b.blocks = one("x")
	// What is wrong with the head shows when the body begins, so that there is
	// a body to be closed.
	head := func(f func()) goapp.Body {
		b.blocks = func(yield func([]byte, error) bool) {
			f()
			one("x")(yield)
		}
		return b
	}
	switch name {
	case "no-start":
	case "two-starts":
		return head(func() { start(200, plain); start(200, plain) })
	case "two-starts-after-head":
		start(200, plain)
		b.blocks = func(yield func([]byte, error) bool) {
			yield([]byte("begun"), nil)
			start(500, plain)
		}
	case "error-after-head":
		start(200, plain)
		b.blocks = func(yield func([]byte, error) bool) {
			yield([]byte("begun"), nil)
			start(500, plain, errors.New("too late"))
		}
	case "hop":
		return head(func() { start(200, goapp.Header{{"Connection", "close"}}) })
	case "chunked":
		return head(func() { start(200, goapp.Header{{"transfer-encoding", "chunked"}}) })
	case "status":
		return head(func() { start(99, plain) })
	case "interim":
		return head(func() { start(103, plain) })
	case "name":
		return head(func() { start(200, goapp.Header{{"X Y", "1"}}) })
	case "value":
		return head(func() { start(200, goapp.Header{{"X", "1\r\nY: 2"}}) })
	case "length":
		return head(func() { start(200, withLength("four")) })
	case "surplus":
		start(200, withLength("3"))
		b.blocks = one("ab", "cd", "ef")
	case "short":
		start(200, withLength("9"))
		b.blocks = one("ab")
	case "block-error":
		start(200, plain)
		b.blocks = func(yield func([]byte, error) bool) {
			yield([]byte("begun"), nil)
			yield(nil, errors.New("own"))
		}
	case "panic":
		start(200, plain)
		b.blocks = func(func([]byte, error) bool) { panic("on purpose") }
	}
	return b
}
