package goapp

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"strings"

	"github.com/gsgi/gsgi/module"
)

// source is where an environ and its children look: the request that the
// server packed, or an http.Request, or both, when middleware of net/http
// lies between the server and the application.
type source struct {
	x     *module.Exchange // inside a server
	req   *http.Request    // not on the direct path
	under *Environ         // that req was built from, by FromHandler
}

func (s *source) context() context.Context {
	if s.req != nil {
		return s.req.Context()
	}
	return s.x.Context()
}

func (s *source) input() io.Reader {
	switch {
	case s.req == nil:
		return s.x.Body()
	case s.req.Body == nil:
		return http.NoBody
	}
	return s.req.Body
}

func (s *source) log(level slog.Level, text string) {
	if s.x != nil {
		s.x.Log(level, text)
		return
	}
	logFor(s.req, level, text)
}

// lookup finds the value of a key. What middleware may have changed in req is
// looked up there; all else, and what a parameter of the configuration
// replaces, where req came from.
func (s *source) lookup(key string) (string, bool) {
	if v, ok := gatewayVar(key); ok {
		return v, true
	}
	if s.req == nil {
		return s.x.Block().Environ(key)
	}
	if s.under == nil && s.x == nil {
		return standaloneVar(s.req, key)
	}
	v, ok, own := requestVar(s, key)
	switch {
	case own && (s.x == nil || !replaced(s.x.Block(), key, v)):
		return v, ok
	case s.under != nil:
		return s.under.Lookup(key)
	}
	return s.x.Block().Environ(key)
}

// replaced says whether a parameter takes the place of the value v that the
// request has: it does as long as v is what the server said.
func replaced(b *module.Block, key, v string) bool {
	if _, ok := b.Param(key); !ok {
		return false
	}
	return v == serverSaid(b, key)
}

// serverSaid is the value of a key of requestVar without the parameters.
func serverSaid(b *module.Block, key string) string {
	meta := func(id module.MetaID) string {
		v, _ := b.Meta(id)
		return v
	}
	switch key {
	case "REQUEST_METHOD":
		return meta(module.MetaMethod)
	case "REQUEST_URI":
		return meta(module.MetaURI)
	case "SCRIPT_NAME":
		return meta(module.MetaScriptName)
	case "PATH_INFO":
		return b.PathInfo()
	case "QUERY_STRING":
		return meta(module.MetaQuery)
	case "REMOTE_ADDR":
		return meta(module.MetaRemoteAddr)
	case "REMOTE_PORT":
		return meta(module.MetaRemotePort)
	}
	name := headerOfKey(key)
	var values []string
	for n, v := range b.Headers() {
		if n == name {
			values = append(values, v)
		}
	}
	return joinValues(name, values)
}

// all yields every key once, with its value.
func (s *source) all() iter.Seq2[string, string] {
	if s.req == nil {
		return s.allOfBlock()
	}
	return func(yield func(string, string) bool) {
		seen := map[string]bool{}
		for key := range s.keys() {
			if seen[key] {
				continue
			}
			seen[key] = true
			if v, ok := s.lookup(key); ok && !yield(key, v) {
				return
			}
		}
	}
}

func (s *source) allOfBlock() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for key, v := range s.x.Block().EnvironAll() {
			if _, ok := gatewayVar(key); !ok && !yield(key, v) {
				return
			}
		}
		for _, key := range gatewayKeys {
			if v, ok := gatewayVar(key); ok && !yield(key, v) {
				return
			}
		}
	}
}

// keys yields the keys that may have a value, some of them more than once.
func (s *source) keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, key := range standaloneKeys {
			if !yield(key) {
				return
			}
		}
		for name := range s.req.Header {
			if key, ok := keyOfHeader(name); ok && !yield(key) {
				return
			}
		}
		if s.under != nil {
			for key := range s.under.All() {
				if !yield(key) {
					return
				}
			}
		}
		if s.x != nil && s.under == nil {
			for key := range s.x.Block().EnvironAll() {
				if !yield(key) {
					return
				}
			}
		}
		for _, key := range gatewayKeys {
			if !yield(key) {
				return
			}
		}
	}
}

// keyOfHeader is the key of a request header; ok is false for one that has
// none: its name could stand for another one, or it has a key of its own.
func keyOfHeader(name string) (key string, ok bool) {
	switch name {
	case "Content-Type", "Content-Length", "Proxy", "Host", "Transfer-Encoding":
		return "", false
	}
	if strings.IndexByte(name, '_') >= 0 {
		return "", false
	}
	return "HTTP_" + strings.ReplaceAll(strings.ToUpper(name), "-", "_"), true
}

// headerOfKey is the canonical name of the header that a key stands for, ""
// for a key of none.
func headerOfKey(key string) string {
	switch key {
	case "CONTENT_TYPE":
		return "Content-Type"
	case "CONTENT_LENGTH":
		return "Content-Length"
	}
	name, ok := strings.CutPrefix(key, "HTTP_")
	if !ok {
		return ""
	}
	name = http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
	switch name {
	case "Content-Type", "Content-Length", "Proxy":
		return ""
	}
	return name
}

// joinValues makes one value of a repeated header.
func joinValues(name string, values []string) string {
	if name == "Cookie" {
		return strings.Join(values, "; ")
	}
	return strings.Join(values, ", ")
}
