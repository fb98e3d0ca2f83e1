package app

import (
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"github.com/gsgi/gsgi/goapp"
)

// Dump is a request as a handler sees it. Every string is in Latin-1, one
// character a byte, so that bytes that are no UTF-8 get through JSON.
type Dump struct {
	Method, RequestURI, Proto string
	ProtoMajor, ProtoMinor    int
	Host, RemoteAddr          string
	URL                       DumpURL
	Header                    map[string][]string
	Trailer                   []string
	ContentLength             int64
	TransferEncoding          []string
	Close                     bool
	Query                     map[string][]string
	Cookies                   []string
	BasicAuth                 []string
	TLS                       *DumpTLS
	LocalAddr                 string
	HasServer, HasContext     bool
	Body                      Sum
	Environ                   map[string]string
}

// DumpURL has the fields of url.URL.
type DumpURL struct {
	Scheme, Opaque, Host, Path, RawPath, RawQuery, Fragment string

	ForceQuery, HasUser bool
	Text, RequestURI    string
}

// DumpTLS has the fields of tls.ConnectionState that a server fills.
type DumpTLS struct {
	Version, CipherSuite           uint16
	ServerName, NegotiatedProtocol string
	HandshakeComplete              bool
	PeerCertificates               int
}

// Latin1 makes every byte of s a character.
func Latin1(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

func dump(w http.ResponseWriter, r *http.Request) {
	d := NewDump(r)
	d.Environ = environ(goapp.EnvironOf(r))
	writeJSON(w, d)
}

// NewDump describes r and reads its body.
func NewDump(r *http.Request) *Dump {
	d := &Dump{
		Method:           Latin1(r.Method),
		RequestURI:       Latin1(r.RequestURI),
		Proto:            r.Proto,
		ProtoMajor:       r.ProtoMajor,
		ProtoMinor:       r.ProtoMinor,
		Host:             Latin1(r.Host),
		RemoteAddr:       r.RemoteAddr,
		URL:              dumpURL(r.URL),
		Header:           latin1Values(r.Header),
		ContentLength:    r.ContentLength,
		TransferEncoding: r.TransferEncoding,
		Close:            r.Close,
		Query:            latin1Values(r.URL.Query()),
		TLS:              dumpTLS(r),
		HasContext:       r.Context() != nil && r.Context().Err() == nil,
		HasServer:        r.Context().Value(http.ServerContextKey) != nil,
	}
	for name := range r.Trailer {
		d.Trailer = append(d.Trailer, name)
	}
	for _, c := range r.Cookies() {
		d.Cookies = append(d.Cookies, Latin1(c.String()))
	}
	if user, password, ok := r.BasicAuth(); ok {
		d.BasicAuth = []string{Latin1(user), Latin1(password)}
	}
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		d.LocalAddr = a.String()
	}
	d.Body = SumOf(r.Body)
	return d
}

func dumpURL(u *url.URL) DumpURL {
	return DumpURL{
		Scheme:     u.Scheme,
		Opaque:     Latin1(u.Opaque),
		Host:       Latin1(u.Host),
		Path:       Latin1(u.Path),
		RawPath:    Latin1(u.RawPath),
		RawQuery:   Latin1(u.RawQuery),
		Fragment:   Latin1(u.Fragment),
		ForceQuery: u.ForceQuery,
		HasUser:    u.User != nil,
		Text:       Latin1(u.String()),
		RequestURI: Latin1(u.RequestURI()),
	}
}

func dumpTLS(r *http.Request) *DumpTLS {
	if r.TLS == nil {
		return nil
	}
	return &DumpTLS{
		Version:            r.TLS.Version,
		CipherSuite:        r.TLS.CipherSuite,
		ServerName:         r.TLS.ServerName,
		NegotiatedProtocol: r.TLS.NegotiatedProtocol,
		HandshakeComplete:  r.TLS.HandshakeComplete,
		PeerCertificates:   len(r.TLS.PeerCertificates),
	}
}

func environ(env *goapp.Environ) map[string]string {
	m := make(map[string]string)
	for k, v := range env.All() {
		if _, double := m[k]; double {
			k += " (again)"
		}
		m[Latin1(k)] = Latin1(v)
	}
	return m
}

func latin1Values[M ~map[string][]string](values M) map[string][]string {
	m := make(map[string][]string, len(values))
	for k, list := range values {
		for _, v := range list {
			m[Latin1(k)] = append(m[Latin1(k)], Latin1(v))
		}
	}
	return m
}

func writeJSON(w http.ResponseWriter, v any) {
	text, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.Write(text)
}
