package module

import "fmt"

// hopByHop are the headers that belong to a connection, not to a response
// (RFC 9110, section 7.6.1; PEP 3333, "Other HTTP Features").
var hopByHop = map[string]bool{
	"Connection":          true,
	"Keep-Alive":          true,
	"Proxy-Connection":    true,
	"Te":                  true,
	"Trailer":             true,
	"Transfer-Encoding":   true,
	"Upgrade":             true,
	"Proxy-Authorization": true,
}

// ValidateHeader checks a response header of the gateway interface. It
// returns what is wrong with it, or "".
func ValidateHeader(name, value string) string {
	if problem := checkHeader(name, value); problem != "" {
		return problem
	}
	if isHopByHop(name) {
		return fmt.Sprintf("header %q belongs to the connection, which is the server's", name)
	}
	return ""
}

func isHopByHop(name string) bool {
	if len(name) < 2 || len(name) > len("Proxy-Authorization") {
		return false
	}
	var buf [len("Proxy-Authorization")]byte
	return hopByHop[string(canonical(buf[:0], name))]
}

// canonical appends name in canonical form; the name is a token.
func canonical(buf []byte, name string) []byte {
	upper := true
	for i := range len(name) {
		c := name[i]
		switch {
		case upper && 'a' <= c && c <= 'z':
			c -= 'a' - 'A'
		case !upper && 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		buf = append(buf, c)
		upper = c == '-'
	}
	return buf
}

// tokens are the bytes of a field name (RFC 9110, section 5.6.2).
var tokens = func() (t [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
		t[c] = true
	}
	return t
}()

func isToken(s string) bool {
	for i := range len(s) {
		if !tokens[s[i]] {
			return false
		}
	}
	return s != ""
}

func checkHeader(name, value string) string {
	if !isToken(name) {
		return fmt.Sprintf("header name %q is not a token", name)
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return fmt.Sprintf("header %q has a control character in its value %q", name, value)
		}
	}
	return ""
}
