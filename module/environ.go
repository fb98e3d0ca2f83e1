package module

import (
	"crypto/tls"
	"iter"
	"strconv"
	"strings"
)

// environKeys are the keys that Environ knows beside HTTP_* and parameters,
// in the order in which EnvironAll yields them.
var environKeys = []string{
	"GATEWAY_INTERFACE", "REQUEST_METHOD", "REQUEST_URI", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING",
	"CONTENT_TYPE", "CONTENT_LENGTH", "SERVER_NAME", "SERVER_PORT", "SERVER_ADDR", "SERVER_PROTOCOL",
	"SERVER_SOFTWARE", "REMOTE_ADDR", "REMOTE_PORT", "REMOTE_USER", "AUTH_TYPE", "DOCUMENT_ROOT", "HTTPS",
	"SSL_PROTOCOL", "SSL_CIPHER", "SSL_TLS_SNI", "SSL_CLIENT_CERT", "SSL_SESSION_RESUMED", "gsgi.url_scheme",
	"gsgi.request_id",
}

// Environ returns a value of the environ (RFC 3875, PEP 3333): what the
// configuration sets, else a CGI key, an SSL_ key as Apache names it, a
// request header as HTTP_*, or gsgi.url_scheme and gsgi.request_id. A key
// that does not apply is absent (ok is false), not empty.
//
// Headers whose name has an underscore, and Proxy, are never among HTTP_*:
// they could not be told from others, or from the environment (httpoxy).
func (b *Block) Environ(key string) (value string, ok bool) {
	if v, ok := b.Param(key); ok {
		return v, true
	}
	switch key {
	case "REQUEST_METHOD":
		return b.Meta(MetaMethod)
	case "PATH_INFO":
		return b.PathInfo(), true
	case "SCRIPT_NAME":
		return b.get(MetaScriptName), true
	case "QUERY_STRING":
		return b.get(MetaQuery), true
	case "REQUEST_URI":
		return b.Meta(MetaURI)
	case "CONTENT_TYPE":
		return b.Header("Content-Type")
	case "CONTENT_LENGTH":
		return b.Header("Content-Length")
	case "SERVER_NAME":
		return b.Meta(MetaServerName)
	case "SERVER_PORT":
		return b.Meta(MetaServerPort)
	case "SERVER_ADDR":
		return b.Meta(MetaServerAddr)
	case "SERVER_PROTOCOL":
		return b.Meta(MetaProtocol)
	case "SERVER_SOFTWARE":
		return b.conf.Software, b.conf.Software != ""
	case "GATEWAY_INTERFACE":
		return "CGI/1.1", true
	case "REMOTE_ADDR":
		return b.Meta(MetaRemoteAddr)
	case "REMOTE_PORT":
		return b.Meta(MetaRemotePort)
	case "REMOTE_USER":
		return b.Meta(MetaRemoteUser)
	case "AUTH_TYPE":
		return b.Meta(MetaAuthType)
	case "DOCUMENT_ROOT":
		return b.Meta(MetaDocumentRoot)
	case "HTTPS":
		return "on", b.Scheme() == "https"
	case "gsgi.url_scheme":
		return b.Scheme(), true
	case "gsgi.request_id":
		return b.Meta(MetaRequestID)
	}
	if strings.HasPrefix(key, "SSL_") {
		return b.ssl(key)
	}
	if name, found := strings.CutPrefix(key, "HTTP_"); found {
		return b.httpKey(name)
	}
	return "", false
}

// EnvironAll yields every key of the environ once, with its value.
func (b *Block) EnvironAll() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		seen := make(map[string]bool, len(environKeys)+int(b.headers+b.params))
		each := func(key string) bool {
			if seen[key] {
				return true
			}
			seen[key] = true
			v, ok := b.Environ(key)
			return !ok || yield(key, v)
		}
		for _, key := range environKeys {
			if !each(key) {
				return
			}
		}
		for name := range b.Headers() {
			if inEnviron(name) && !each("HTTP_"+strings.ReplaceAll(strings.ToUpper(name), "-", "_")) {
				return
			}
		}
		for key := range b.Params() {
			if !each(key) {
				return
			}
		}
	}
}

// Scheme is "http" or "https"; a parameter HTTPS of on, or 1, or of another
// value decides over what the connection is.
func (b *Block) Scheme() string {
	if v, ok := b.Param("HTTPS"); ok {
		if strings.EqualFold(v, "on") || v == "1" {
			return "https"
		}
		return "http"
	}
	if v, ok := b.Meta(MetaScheme); ok {
		return v
	}
	return "http"
}

// PathInfo is the path that the server decided on, without the mount point.
func (b *Block) PathInfo() string {
	path := b.get(MetaPath)
	mount := b.get(MetaScriptName)
	if rest, ok := strings.CutPrefix(path, mount); ok && (rest == "" || rest[0] == '/') {
		return rest
	}
	return path
}

// inEnviron says whether a request header becomes HTTP_*.
func inEnviron(name string) bool {
	switch name {
	case "Content-Type", "Content-Length", "Proxy":
		return false
	}
	return strings.IndexByte(name, '_') < 0
}

// httpKey joins the headers that HTTP_<name> stands for.
func (b *Block) httpKey(name string) (value string, ok bool) {
	for n, v := range b.Headers() {
		if !sameKey(n, name) || !inEnviron(n) {
			continue
		}
		switch {
		case !ok:
			value, ok = v, true
		case n == "Cookie":
			value += "; " + v
		default:
			value += ", " + v
		}
	}
	return value, ok
}

// sameKey compares a header's name with the key's, "Accept-Language" with
// "ACCEPT_LANGUAGE".
func sameKey(header, key string) bool {
	if len(header) != len(key) {
		return false
	}
	for i := range len(header) {
		c := header[i]
		switch {
		case 'a' <= c && c <= 'z':
			c -= 'a' - 'A'
		case c == '-':
			c = '_'
		}
		if c != key[i] {
			return false
		}
	}
	return true
}

// ssl answers the SSL_ keys of mod_ssl that the facts give.
func (b *Block) ssl(key string) (string, bool) {
	switch key {
	case "SSL_PROTOCOL":
		v := b.number(MetaTLSVersion)
		return strings.Replace(tls.VersionName(v), "TLS 1.", "TLSv1.", 1), v != 0
	case "SSL_CIPHER":
		v := b.number(MetaTLSCipher)
		return tls.CipherSuiteName(v), v != 0
	case "SSL_TLS_SNI":
		return b.Meta(MetaTLSSNI)
	case "SSL_CLIENT_CERT":
		return b.Meta(MetaTLSClientCert)
	case "SSL_SESSION_RESUMED":
		if _, ok := b.Meta(MetaTLSResumed); ok {
			return "Resumed", true
		}
	}
	return "", false
}

func (b *Block) number(id MetaID) uint16 {
	n, _ := strconv.ParseUint(b.get(id), 10, 16)
	return uint16(n)
}
