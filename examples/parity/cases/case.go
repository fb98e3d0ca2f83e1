// Package cases is the table of the parity tests: handlers, and what a client
// sends to them. The library that the servers load and the tests share it.
package cases

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// Say reports what a handler sees to the test.
type Say func(format string, args ...any)

// A Case is a handler and a client's part of the conversation with it.
type Case struct {
	Name string
	Like string // the test of net/http that covers the same, if one does

	Handle func(w http.ResponseWriter, r *http.Request, say Say)
	Late   func(say Say) // runs when the request is over

	Send    string        // what the client sends on one connection
	Methods string        // of the requests in Send, when it is not one
	Talk    func(*Client) // instead of Send: a dialogue

	HTTP2    bool   // Send makes sense over HTTP/2, too
	TLS      bool   // over TLS
	Unprobed bool   // whether the connection is kept is left to the server
	Log      string // what the log says, over HTTP/1, as a regular expression

	Differ []Differ
}

// Fields are what was observed of a conversation.
type Fields map[string]string

// All are the cases.
func All() []*Case {
	var all []*Case
	for _, table := range [][]Case{
		statusCases(), headerCases(), lengthCases(), connectionCases(), bodyCases(), formCases(), requestCases(),
		malformedCases(), routingCases(), redirectCases(), fileCases(), failureCases(), controlCases(), hijackCases(), deadlineCases(),
		softwareCases(),
	} {
		for i := range table {
			all = append(all, &table[i])
		}
	}
	attach(all)
	return all
}

// Header is the field that names the case to the library.
const Header = "X-Case"

// Get is a GET of a target with further header lines.
func Get(target string, header ...string) string {
	return Request(http.MethodGet, target, "", header...)
}

// Post is a POST with a body and its length.
func Post(target, body string, header ...string) string {
	return Request(http.MethodPost, target, body, append(header, "Content-Length: "+strconv.Itoa(len(body)))...)
}

// Chunked is a POST with a body of one chunk.
func Chunked(target, body string, header ...string) string {
	text := "0\r\n\r\n"
	if body != "" {
		text = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	}
	return Request(http.MethodPost, target, text, append(header, "Transfer-Encoding: chunked")...)
}

// Request is a request of HTTP/1.1.
func Request(method, target, body string, header ...string) string {
	return start(method+" "+target+" HTTP/1.1", append([]string{"Host: localhost"}, header...)) + body
}

// Old is a request of HTTP/1.0.
func Old(method, target, body string, header ...string) string {
	return start(method+" "+target+" HTTP/1.0", header) + body
}

// start is a head, with the name of the case in it.
func start(line string, header []string) string {
	return line + "\r\n" + Header + ": $CASE\r\n" + strings.Join(append(header, "\r\n"), "\r\n")
}

// Text replaces the name of the case in what a client sends.
func (c *Case) Text(text string) string { return strings.ReplaceAll(text, "$CASE", c.Name) }
