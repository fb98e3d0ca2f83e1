package module

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http"
	"net/url"
	"strings"
	"unsafe"

	"github.com/gsgi/gsgi/cshim/bridge"
)

// noRequest is copied, with its context, for each request.
var noRequest = new(http.Request)

// web is an exchange in the form of net/http.
type web struct {
	request  http.Request
	url      url.URL
	response response
}

func (x *Exchange) asWeb() *web {
	if x.web == nil {
		w, ok := x.own.(*web)
		if !ok {
			w = new(web)
		}
		w.request = *noRequest.WithContext(&x.ctx) // copied, not allocated
		w.response.x = x
		w.response.header = make(http.Header, 4)
		x.web = w
		x.fill(&w.request, &w.url)
	}
	return x.web
}

func (w *web) removeForms() {
	if w.request.MultipartForm != nil {
		w.request.MultipartForm.RemoveAll()
	}
}

// Request is the request as net/http's server would give it to a handler, but
// for the path: that is the one that the server decided on, without the mount
// point. It is built once.
func (x *Exchange) Request() *http.Request { return &x.asWeb().request }

// ResponseWriter is the response in the form of net/http.
func (x *Exchange) ResponseWriter() http.ResponseWriter { return x.asWeb().writer(x) }

// writer is the response in the type that shows what it can do.
func (w *web) writer(x *Exchange) http.ResponseWriter {
	if x.flags&bridge.ReqUpgrade != 0 {
		return hijackable{&w.response}
	}
	return &w.response
}

func (x *Exchange) fill(r *http.Request, u *url.URL) {
	b := &x.block
	r.Method = b.get(MetaMethod)
	r.RequestURI = b.get(MetaURI)
	x.fillURL(u)
	r.URL = u
	r.Proto = b.get(MetaProtocol)
	r.ProtoMajor, r.ProtoMinor = int(x.proto/1000), int(x.proto%1000)
	x.fillHeader(r)
	if u.Host != "" {
		r.Host = u.Host
	}
	r.Body = x.Body()
	r.ContentLength = x.ContentLength()
	r.RemoteAddr = x.remoteAddr()
	if b.Scheme() == "https" && x.flags&bridge.ReqTLS != 0 {
		r.TLS = tlsState(b)
	}
}

func (x *Exchange) fillURL(u *url.URL) {
	b := &x.block
	u.Path = b.PathInfo()
	u.RawQuery = b.get(MetaQuery)
	uri := b.get(MetaURI)
	if uri != "" && uri[0] != '/' && uri != "*" {
		uri = x.absolute(u, uri)
	}
	raw, _, query := strings.Cut(uri, "?")
	u.ForceQuery = query && u.RawQuery == "" && strings.HasSuffix(uri, "?")
	if plain(raw) {
		return
	}
	raw, ok := strings.CutPrefix(raw, b.get(MetaScriptName))
	if !ok || !strings.HasPrefix(raw, "/") {
		return
	}
	if path, err := url.PathUnescape(raw); err != nil || path != u.Path {
		return
	}
	if u.EscapedPath() != raw {
		u.RawPath = raw
	}
}

// absolute takes scheme and host from a target in absolute form (RFC 9112,
// section 3.2.2), and returns the rest.
func (x *Exchange) absolute(u *url.URL, uri string) string {
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok {
		return uri
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	u.Scheme, u.Host = strings.ToLower(scheme), rest[:end]
	return rest[end:]
}

// plain says whether a path is as url.URL would write it, by its looks.
func plain(path string) bool {
	for i := range len(path) {
		c := path[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c == '/' || c == '-' || c == '.' || c == '_' || c == '~') {
			return false
		}
	}
	return true
}

// fillHeader makes the header map, all values in one slice. What net/http
// keeps out of it is kept out: Host, Transfer-Encoding, Trailer.
func (x *Exchange) fillHeader(r *http.Request) {
	b := &x.block
	most := max(b.headers, 1) - 1 // there is a Host
	r.Header = make(http.Header, most)
	values := make([]string, 0, most)
	chunked := x.flags&bridge.ReqChunked != 0
	for name, value := range b.Headers() {
		switch name {
		case "Host":
			if r.Host == "" {
				r.Host = value
			}
			continue
		case "Transfer-Encoding":
			continue
		case "Trailer":
			if chunked || x.proto >= 2000 {
				declareTrailers(r, value)
				continue
			}
		case "Content-Length":
			if chunked {
				continue
			}
		}
		if had := r.Header[name]; had != nil {
			r.Header[name] = append(had, value)
			continue
		}
		values = append(values, value)
		n := len(values)
		r.Header[name] = values[n-1 : n : n]
	}
	if chunked && x.proto == 1001 {
		r.TransferEncoding = []string{"chunked"}
	}
	r.Close = x.closing(r.Header)
	if v := r.Header["Pragma"]; x.proto < 2000 && len(v) > 0 && v[0] == "no-cache" && r.Header["Cache-Control"] == nil {
		r.Header["Cache-Control"] = []string{"no-cache"}
	}
}

// closing says whether the client's connection ends with this request.
func (x *Exchange) closing(h http.Header) bool {
	if x.proto >= 2000 {
		return false
	}
	for _, v := range h["Connection"] {
		if hasToken(v, "close") {
			return true
		}
		if x.proto < 1001 && hasToken(v, "keep-alive") {
			return false
		}
	}
	return x.proto < 1001
}

func declareTrailers(r *http.Request, value string) {
	for name := range strings.SplitSeq(value, ",") {
		name = http.CanonicalHeaderKey(strings.TrimSpace(name))
		switch name {
		case "", "Transfer-Encoding", "Trailer", "Content-Length":
			continue
		}
		if r.Trailer == nil {
			r.Trailer = make(http.Header)
		}
		r.Trailer[name] = nil
	}
}

// trailers fills r.Trailer when the body has come to its end. Of HTTP/2, as
// with net/http, only those that were announced count.
func (x *Exchange) trailers(data []byte) {
	if x.web == nil {
		return
	}
	r := &x.web.request
	for name, value := range fields(data) {
		name = http.CanonicalHeaderKey(name)
		if _, announced := r.Trailer[name]; !announced && x.proto >= 2000 {
			continue
		}
		if r.Trailer == nil {
			r.Trailer = make(http.Header)
		}
		r.Trailer[name] = append(r.Trailer[name], value)
	}
}

func (x *Exchange) remoteAddr() string {
	addr, ok := x.block.Meta(MetaRemoteAddr)
	if !ok {
		return "@" // as net/http gives for a unix socket
	}
	port := x.block.get(MetaRemotePort)
	if port == "" {
		port = "0"
	}
	if strings.IndexByte(addr, ':') >= 0 || len(addr)+1+len(port) > len(x.room) {
		return net.JoinHostPort(addr, port)
	}
	text := append(append(append(x.room[:0], addr...), ':'), port...)
	x.room = x.room[len(text):]
	return unsafe.String(&text[0], len(text))
}

// tlsState is what the server tells of the client's connection.
func tlsState(b *Block) *tls.ConnectionState {
	s := &tls.ConnectionState{
		HandshakeComplete:  true,
		Version:            b.number(MetaTLSVersion),
		CipherSuite:        b.number(MetaTLSCipher),
		ServerName:         b.get(MetaTLSSNI),
		NegotiatedProtocol: b.get(MetaTLSALPN),
	}
	_, s.DidResume = b.Meta(MetaTLSResumed)
	for rest := []byte(b.get(MetaTLSClientCert)); len(rest) > 0; {
		var p *pem.Block
		if p, rest = pem.Decode(rest); p == nil {
			break
		}
		if cert, err := x509.ParseCertificate(p.Bytes); err == nil {
			s.PeerCertificates = append(s.PeerCertificates, cert)
		}
	}
	if len(s.PeerCertificates) > 0 {
		s.VerifiedChains = [][]*x509.Certificate{s.PeerCertificates}
	}
	return s
}

// httpHandler serves an http.Handler.
type httpHandler struct {
	h    http.Handler
	srv  *http.Server
	base context.Context
}

// HTTP makes a Handler of h; nil is http.DefaultServeMux. srv, which may be
// nil, gives the handler when h is nil, BaseContext and ErrorLog, and is the
// value of [http.ServerContextKey].
func HTTP(h http.Handler, srv *http.Server) Handler {
	if h == nil && srv != nil {
		h = srv.Handler
	}
	if h == nil {
		h = http.DefaultServeMux
	}
	hh := &httpHandler{h: h, srv: srv, base: context.Background()}
	if srv != nil && srv.BaseContext != nil {
		if base := srv.BaseContext(nil); base != nil {
			hh.base = base
		}
	}
	return hh
}

// NewExchange makes the request and the response with the exchange.
func (h *httpHandler) NewExchange(size int) *Exchange {
	x, _ := NewExchange[web](size)
	return x
}

func (h *httpHandler) ServeGSGI(x *Exchange) {
	x.ctx.base, x.ctx.srv = h.base, h.srv
	w := x.asWeb()
	h.h.ServeHTTP(w.writer(x), &w.request)
	w.response.finish()
}
