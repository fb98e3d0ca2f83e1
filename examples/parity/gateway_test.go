package parity

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gsgi/gsgi/examples/parity/cases"
)

// kinds are where the gateway interface is tested: its own server first.
var kinds = []string{standard, nginx, apache, prefork}

// A gatewayCase is a request to an application of the gateway interface, with
// what the client gets, what the body reports, and what the log says.
type gatewayCase struct {
	send   string
	status int
	body   string
	length int64 // -1: chunked; -2: none
	cut    bool
	report string // what the body has seen, "" for no report
	log    string
}

var gatewayCases = map[string]gatewayCase{
	"one block has a length":            {send: Get("one"), status: 200, body: "one block", length: 9},
	"blocks have none":                  {send: Get("blocks"), status: 200, body: "ab", length: -1, report: `"a" true; "" true; "b" true; closed`},
	"no block is a length of 0":         {send: Get("none"), status: 200, report: "closed"},
	"a length that is given":            {send: Get("sized"), status: 200, body: "abcd", length: 4, report: `"ab" true; "cd" true; closed`},
	"HEAD never begins the body":        {send: cases.Request("HEAD", "/gw/blocks", ""), status: 200, length: -2, report: "closed"},
	"HEAD with a length":                {send: cases.Request("HEAD", "/gw/sized", ""), status: 200, length: 4, report: "closed"},
	"204 never begins the body":         {send: Get("204"), status: 204, length: -2, report: "closed"},
	"304 never begins the body":         {send: Get("304"), status: 304, length: -2, report: "closed"},
	"the head may come from the body":   {send: Get("late"), status: 202, body: "late", length: -1, report: "closed"},
	"an error before the head replaces": {send: Get("replaced"), status: 500, body: "sorry", length: -1, report: "closed"},

	"no start":                          {send: Get("wrong/no-start"), status: 500, report: `"x" false; closed`, log: "before StartResponse was called"},
	"two starts before the head":        {send: Get("wrong/two-starts"), status: 500, report: "closed", log: "a second time without an error"},
	"two starts after the head":         {send: Get("wrong/two-starts-after-head"), status: 200, body: "begun", cut: true, report: "closed", log: "a second time without an error"},
	"an error after the head":           {send: Get("wrong/error-after-head"), status: 200, body: "begun", cut: true, report: "closed", log: "too late"},
	"a header of the connection":        {send: Get("wrong/hop"), status: 500, report: "closed", log: "belongs to the connection"},
	"a transfer coding":                 {send: Get("wrong/chunked"), status: 500, report: "closed", log: "belongs to the connection"},
	"a status that is none":             {send: Get("wrong/status"), status: 500, report: "closed", log: "status 99 is not"},
	"a status that is not final":        {send: Get("wrong/interim"), status: 500, report: "closed", log: "status 103 is not"},
	"a name that is none":               {send: Get("wrong/name"), status: 500, report: "closed", log: "not a token"},
	"a value with a line end":           {send: Get("wrong/value"), status: 500, report: "closed", log: "control character"},
	"a length that is none":             {send: Get("wrong/length"), status: 500, report: "closed", log: "not one number"},
	"more than the length":              {send: Get("wrong/surplus"), status: 200, body: "abc", length: 3, report: `"ab" true; "cd" false; closed`, log: "longer than its Content-Length"},
	"less than the length":              {send: Get("wrong/short"), status: 200, body: "ab", length: 9, cut: true, report: `"ab" true; closed`, log: "its Content-Length is 9"},
	"an error among the blocks":         {send: Get("wrong/block-error"), status: 200, body: "begun", cut: true, report: "closed", log: "own"},
	"a panic before the first block":    {send: Get("wrong/panic"), status: 500, report: "closed", log: "on purpose"},
	"a second request finds it all new": {send: Get("blocks"), status: 200, body: "ab", length: -1, report: `"a" true; "" true; "b" true; closed`},
}

// Get is a request to an application.
func Get(name string) string { return cases.Get("/gw/"+name, "Connection: close") }

func TestGateway(t *testing.T) {
	for name, c := range gatewayCases {
		t.Run(name, func(t *testing.T) {
			for _, kind := range kinds {
				s := world.servers[kind]
				mark := len(s.log())
				res, body, err := ask(t, s, c.send)
				if kind == standard && c.status == 500 && c.body == "" && res == nil {
					// Standalone a panic is net/http's, which closes the connection.
					res = &http.Response{StatusCode: 500}
				}
				checkAnswer(t, kind, c, res, body, err)
				checkReport(t, kind, c)
				if c.log != "" && !logged(s, mark, regexp.QuoteMeta(c.log)) {
					t.Errorf("%s does not log %q but %q", kind, c.log, s.log()[mark:])
				}
			}
		})
	}
}

func checkAnswer(t *testing.T, kind string, c gatewayCase, res *http.Response, body string, err error) {
	t.Helper()
	if res == nil {
		t.Fatalf("%s: no answer: %v", kind, err)
	}
	if res.StatusCode != c.status {
		t.Errorf("%s: status %d", kind, res.StatusCode)
	}
	if c.status == 500 && c.body == "" {
		return // the server's page, or that of net/http
	}
	if c.body != body || c.cut != (err != nil) {
		t.Errorf("%s: %q, %v", kind, body, err)
	}
	length := res.ContentLength
	if _, said := res.Header["Content-Length"]; !said && length >= 0 || c.length == -2 && length == -1 {
		length = -2
	}
	// Apache tells the length of a response that ends before its head leaves.
	if !c.cut && length != c.length && (kind == standard || kind == nginx || c.length >= 0) {
		t.Errorf("%s: length %d, %v", kind, length, res.Header)
	}
}

// checkReport checks that the body was closed, once, after what it has seen.
func checkReport(t *testing.T, kind string, c gatewayCase) {
	t.Helper()
	_, name, _ := strings.Cut(strings.Fields(c.send)[1], "/gw/")
	want := 0
	if c.report != "" {
		want = 1
	}
	reports := gather("gateway "+strings.ReplaceAll(name, "/", " "), "", want, 5*time.Second)
	var texts []string
	for _, r := range reports {
		texts = append(texts, strings.Join(r.Lines, "; "))
	}
	if len(texts) != want || want == 1 && texts[0] != c.report {
		t.Errorf("%s: the body reports %q and not %q", kind, texts, c.report)
	}
}

// ask sends a request on a connection of its own.
func ask(t *testing.T, s *server, send string) (*http.Response, string, error) {
	t.Helper()
	conn := dial(t, s)
	io.WriteString(conn, strings.ReplaceAll(send, "$CASE", "gateway"))
	method, _, _ := strings.Cut(send, " ")
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, string(body), err
}

func dial(t *testing.T, s *server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.plain)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

func TestGatewayBlocksAreNotDelayed(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			conn := dial(t, world.servers[kind])
			fmt.Fprint(conn, "POST /gw/talk HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 6\r\n\r\n")
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			block := make([]byte, 6)
			if _, err := io.ReadFull(res.Body, block); err != nil || string(block) != "asked " {
				t.Fatalf("%q %v", block, err)
			}
			if kind == standard {
				conn.Close() // without full duplex net/http has closed the body
				gather("gateway talk", "", 1, 5*time.Second)
				return
			}
			fmt.Fprint(conn, "answer")
			rest, err := io.ReadAll(res.Body)
			if string(rest) != "answer" || err != nil {
				t.Errorf("%q %v", rest, err)
			}
			reports := gather("gateway talk", "", 1, 5*time.Second)
			if len(reports) != 1 || !slices.Equal(reports[0].Lines, []string{`"answer" <nil>`, "closed"}) {
				t.Errorf("%v", reports)
			}
		})
	}
}

func TestGatewayBodyIsClosedWhenTheClientLeaves(t *testing.T) {
	for _, kind := range kinds {
		for name, want := range map[string][]string{
			"unready": {"context canceled, wanted false", "closed"},
			"endless": {"not wanted", "closed"},
		} {
			t.Run(kind+" "+name, func(t *testing.T) {
				conn := dial(t, world.servers[kind])
				fmt.Fprintf(conn, "GET /gw/%s HTTP/1.1\r\nHost: localhost\r\n\r\n", name)
				if name == "endless" {
					io.ReadFull(conn, make([]byte, 200))
				} else {
					time.Sleep(100 * time.Millisecond)
				}
				conn.Close()
				reports := gather("gateway "+name, "", 1, 10*time.Second)
				if kind == standard && len(reports) == 1 && name == "unready" {
					// What is written then is in a buffer of net/http.
					reports[0].Lines[0] = strings.Replace(reports[0].Lines[0], "true", "false", 1)
				}
				if len(reports) != 1 || !slices.Equal(reports[0].Lines, want) {
					t.Errorf("%v", reports)
				}
			})
		}
	}
}

func TestGatewayBodyIsClosedWhenTheTimeIsOver(t *testing.T) {
	for _, kind := range []string{nginx, apache, prefork} {
		t.Run(kind, func(t *testing.T) {
			res, _, err := ask(t, world.servers[kind], cases.Get("/short/unready", "Connection: close"))
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != http.StatusGatewayTimeout {
				t.Errorf("status %d: the head has left before a block that is not empty", res.StatusCode)
			}
			reports := gather("gateway unready", "", 1, 10*time.Second)
			if len(reports) != 1 || !slices.Equal(reports[0].Lines, []string{"context deadline exceeded, wanted false", "closed"}) {
				t.Errorf("%v", reports)
			}
		})
	}
}

// environOf is the environ of a request for an application at a path.
func environOf(t *testing.T, s *server, target string, header ...string) map[string]string {
	t.Helper()
	res, body, err := ask(t, s, cases.Get(target, append(header, "Connection: close")...))
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v %v %s", target, res, err, body)
	}
	env := map[string]string{}
	for line := range strings.SplitSeq(body, "\n") {
		key, value, _ := strings.Cut(line, "=")
		env[key] = value
	}
	return env
}

func TestMountPoints(t *testing.T) {
	for _, kind := range []string{nginx, apache} {
		for _, c := range []struct{ target, script, info, query, uri string }{
			{"/gw/dump", "/gw", "/dump", "", ""},
			{"/gw/dump?a=b%20c", "/gw", "/dump", "a=b%20c", ""},
			{"/g%77/dump", "/gw", "/dump", "", ""},
			{"/gw/%64ump", "/gw", "/dump", "", ""},
			{"/gw%2Fdump", "/gw", "/dump", "", ""},
			{"/x/../gw/dump", "/gw", "/dump", "", ""},
			{"/gw//dump", "/gw", "/dump", "", ""},
			{"/gw/deep/er/dump", "/gw/deep/er", "/dump", "", ""},
			{"/gw/deep/er/../../dump", "/gw", "/dump", "", ""},
			{"/moved/dump", "/gw", "/dump", "moved=1", ""},
		} {
			t.Run(kind+" "+c.target, func(t *testing.T) {
				env := environOf(t, world.servers[kind], c.target)
				for key, want := range map[string]string{
					"SCRIPT_NAME": c.script, "PATH_INFO": c.info, "QUERY_STRING": c.query, "REQUEST_URI": c.target,
				} {
					if env[key] != want {
						t.Errorf("%s is %q and not %q", key, env[key], want)
					}
				}
			})
		}
	}
}

func TestPathsThatAreNotMounted(t *testing.T) {
	for _, kind := range []string{nginx, apache} {
		for target, body := range map[string]string{
			"/aliased/dump": "no application aliased/dump", // the alias is of files
			"/match/a/dump": "no application a/dump",
		} {
			res, text, err := ask(t, world.servers[kind], cases.Get(target, "Connection: close"))
			if err != nil || res.StatusCode != http.StatusNotFound || text != body {
				t.Errorf("%s: %s gives %v %v %q", kind, target, res, err, text)
			}
		}
	}
}

func TestRequestID(t *testing.T) {
	for _, kind := range []string{nginx, apache} {
		t.Run(kind, func(t *testing.T) {
			s := world.servers[kind]
			first, second := environOf(t, s, "/gw/dump"), environOf(t, s, "/gw/dump")
			if id := first["gsgi.request_id"]; id == "" || id != first["SERVER_ID"] || id == second["gsgi.request_id"] {
				t.Errorf("%q, the server's %q, another request's %q", id, first["SERVER_ID"], second["gsgi.request_id"])
			}
		})
	}
}
