package goapp

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gsgi/gsgi/module"
)

// gatewayKeys are the keys that are the same for all requests.
var gatewayKeys = []string{
	"gsgi.version", "gsgi.multithread", "gsgi.multiprocess", "gsgi.run_once", "gsgi.input_terminated",
}

// gatewayVar returns the value of one of gatewayKeys.
func gatewayVar(key string) (string, bool) {
	if !strings.HasPrefix(key, "gsgi.") {
		return "", false
	}
	switch key {
	case "gsgi.version":
		return "1.0", true
	case "gsgi.multithread", "gsgi.input_terminated":
		return "1", true
	case "gsgi.multiprocess":
		if _, count := Worker(); count > 1 {
			return "1", true
		}
		return "0", true
	case "gsgi.run_once":
		return "0", true
	}
	return "", false
}

// standaloneKeys are the keys beside HTTP_* that an http.Request can have.
var standaloneKeys = []string{
	"GATEWAY_INTERFACE", "REQUEST_METHOD", "REQUEST_URI", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING",
	"CONTENT_TYPE", "CONTENT_LENGTH", "SERVER_NAME", "SERVER_PORT", "SERVER_ADDR", "SERVER_PROTOCOL",
	"SERVER_SOFTWARE", "REMOTE_ADDR", "REMOTE_PORT", "HTTPS", "SSL_PROTOCOL", "SSL_CIPHER", "SSL_TLS_SNI",
	"SSL_CLIENT_CERT", "SSL_SESSION_RESUMED", "HTTP_HOST", "HTTP_TRANSFER_ENCODING", "gsgi.url_scheme",
}

// requestVar returns the value of a key that middleware may change in a
// request; own is false for every other key.
func requestVar(s *source, key string) (value string, ok, own bool) {
	r := s.req
	switch key {
	case "REQUEST_METHOD":
		if r.Method == "" {
			return http.MethodGet, true, true
		}
		return r.Method, true, true
	case "REQUEST_URI":
		return requestURI(r), true, true
	case "SCRIPT_NAME":
		script, _ := splitPath(s)
		return script, true, true
	case "PATH_INFO":
		_, info := splitPath(s)
		return info, true, true
	case "QUERY_STRING":
		return urlOf(r).RawQuery, true, true
	case "CONTENT_LENGTH":
		value, ok = contentLengthVar(r)
		return value, ok, true
	case "REMOTE_ADDR":
		host, _ := splitAddr(r.RemoteAddr)
		return host, host != "", true
	case "REMOTE_PORT":
		_, port := splitAddr(r.RemoteAddr)
		return port, port != "", true
	}
	if name := headerOfKey(key); name != "" {
		value, ok = headerVar(r, name)
		return value, ok, true
	}
	return "", false, false
}

// standaloneVar returns the value of a key for a request that net/http has
// received.
func standaloneVar(r *http.Request, key string) (string, bool) {
	if v, ok, own := requestVar(&source{req: r}, key); own {
		return v, ok
	}
	switch key {
	case "GATEWAY_INTERFACE":
		return "CGI/1.1", true
	case "SERVER_SOFTWARE":
		return "gsgi", true
	case "SERVER_PROTOCOL":
		if r.Proto == "" {
			return "HTTP/1.1", true
		}
		return r.Proto, true
	case "SERVER_NAME", "SERVER_PORT", "SERVER_ADDR":
		return serverVar(r, key)
	case "gsgi.url_scheme":
		return schemeOf(r), true
	case "HTTPS":
		return "on", r.TLS != nil
	}
	if strings.HasPrefix(key, "SSL_") && r.TLS != nil {
		return tlsVar(r.TLS, key)
	}
	return "", false
}

func schemeOf(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

func urlOf(r *http.Request) *url.URL {
	if r.URL == nil {
		return &url.URL{}
	}
	return r.URL
}

func requestURI(r *http.Request) string {
	if r.RequestURI != "" {
		return r.RequestURI
	}
	return urlOf(r).RequestURI()
}

// splitPath returns SCRIPT_NAME and PATH_INFO. What http.StripPrefix, or a
// router that mounts, has taken from the front of the path is in SCRIPT_NAME.
func splitPath(s *source) (script, info string) {
	path := urlOf(s.req).Path
	mount, full := "", ""
	switch {
	case s.under != nil:
		mount = s.under.Get("SCRIPT_NAME")
		full = mount + s.under.Get("PATH_INFO")
	case s.x != nil:
		mount, _ = s.x.Block().Meta(module.MetaScriptName)
		full, _ = s.x.Block().Meta(module.MetaPath)
	default:
		full = targetPath(s.req)
	}
	cut, ok := strings.CutSuffix(full, path)
	if ok && path != "" && path[0] != '/' {
		cut, ok = strings.CutSuffix(cut, "/")
	}
	if !ok {
		if rest, found := strings.CutPrefix(path, mount); found && (rest == "" || rest[0] == '/') {
			path = rest
		}
		return mount, path
	}
	if len(cut) < len(mount) && strings.HasPrefix(full, mount) {
		cut = mount
	}
	return cut, full[len(cut):]
}

// targetPath is the path of the request target, decoded.
func targetPath(r *http.Request) string {
	path, target := urlOf(r).Path, r.RequestURI
	if rest, ok := strings.CutPrefix(target, path); ok && (rest == "" || rest[0] == '?') {
		return path
	}
	if u, err := url.ParseRequestURI(target); err == nil {
		return u.Path
	}
	return path
}

func contentLengthVar(r *http.Request) (string, bool) {
	if r.ContentLength > 0 {
		return strconv.FormatInt(r.ContentLength, 10), true
	}
	if r.ContentLength == 0 && r.Header.Get("Content-Length") != "" {
		return "0", true
	}
	return "", false
}

// headerVar returns the value of a request header by its canonical name.
func headerVar(r *http.Request, name string) (string, bool) {
	switch name {
	case "Host":
		return r.Host, r.Host != ""
	case "Transfer-Encoding":
		return strings.Join(r.TransferEncoding, ", "), len(r.TransferEncoding) > 0
	}
	values, ok := r.Header[name]
	return joinValues(name, values), ok
}

// splitAddr splits an address; one without a port is all host.
func splitAddr(addr string) (host, port string) {
	if h, p, err := net.SplitHostPort(addr); err == nil {
		return h, p
	}
	return strings.TrimSuffix(strings.TrimPrefix(addr, "["), "]"), ""
}

// bracket puts an IPv6 address into brackets (RFC 3875, section 4.1.14).
func bracket(host string) string {
	if strings.IndexByte(host, ':') >= 0 {
		return "[" + host + "]"
	}
	return host
}

// serverVar tells the server's side of the connection. The name is the one
// that the client used, the port the one on which the request arrived.
func serverVar(r *http.Request, key string) (string, bool) {
	host, port := splitAddr(r.Host)
	local := localAddr(r.Context())
	localHost, localPort := splitAddr(local)
	switch key {
	case "SERVER_ADDR":
		return localHost, localHost != ""
	case "SERVER_NAME":
		switch {
		case host != "":
			return bracket(host), true
		case localHost != "":
			return bracket(localHost), true
		}
		return "localhost", true
	}
	switch {
	case localPort != "":
		return localPort, true
	case port != "":
		return port, true
	case r.TLS != nil:
		return "443", true
	}
	return "80", true
}

func localAddr(ctx context.Context) string {
	if addr, ok := ctx.Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		return addr.String()
	}
	return ""
}

// tlsVar answers the keys of Apache's mod_ssl that net/http knows.
func tlsVar(state *tls.ConnectionState, key string) (string, bool) {
	switch key {
	case "SSL_PROTOCOL":
		return strings.Replace(tls.VersionName(state.Version), "TLS 1.", "TLSv1.", 1), state.Version != 0
	case "SSL_CIPHER":
		return tls.CipherSuiteName(state.CipherSuite), state.CipherSuite != 0
	case "SSL_TLS_SNI":
		return state.ServerName, state.ServerName != ""
	case "SSL_SESSION_RESUMED":
		return "Resumed", state.DidResume
	case "SSL_CLIENT_CERT":
		if len(state.PeerCertificates) == 0 {
			return "", false
		}
		cert := &pem.Block{Type: "CERTIFICATE", Bytes: state.PeerCertificates[0].Raw}
		return string(pem.EncodeToMemory(cert)), true
	}
	return "", false
}
