package parity

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/textproto"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gsgi/gsgi/examples/parity/cases"
)

// A way is a server and a protocol; tags are the names by which a difference
// refers to it.
type way struct {
	kind, protocol string
	tags           []string
}

var ways = []way{
	{nginx, "HTTP/1", []string{"nginx", "nginx h1"}},
	{apache, "HTTP/1", []string{"apache", "apache h1", "event"}},
	{prefork, "HTTP/1", []string{"apache", "apache h1", "prefork"}},
	{nginx, "HTTP/2", []string{"nginx", "nginx h2"}},
	{apache, "HTTP/2", []string{"apache", "apache h2"}},
}

func (w way) is(names string) bool {
	if names == "all" {
		return true
	}
	for name := range strings.SplitSeq(names, ", ") {
		if slices.Contains(w.tags, name) {
			return true
		}
	}
	return false
}

// serverHeaders are header fields of a response that belong to a server and
// are not compared, with what a server may do to them.
var serverHeaders = map[string]string{
	"Date":       "is the server's; net/http sends it, too, and at another time",
	"Server":     "names the server; net/http sends none",
	"Keep-Alive": "Apache tells its time limit",
}

// connectionTokens are members of Connection that a server adds.
var connectionTokens = map[string]string{
	"keep-alive": "nginx and Apache say what is the default",
	"Keep-Alive": "nginx and Apache say what is the default",
	"Upgrade":    "Apache offers HTTP/2",
}

// upgradeTokens are members of Upgrade that a server adds.
var upgradeTokens = map[string]string{"h2": "Apache offers HTTP/2", "h2c": "Apache offers HTTP/2"}

func tidy(f cases.Fields) {
	_, h1 := f["version"]

	for name, value := range maps.Clone(f) {
		field, header, _ := strings.Cut(name, "header ")
		if header == "" {
			continue
		}
		delete(f, name)
		canonical := textproto.CanonicalMIMEHeaderKey(header)
		switch canonical {
		case "Connection":
			value = without(value, connectionTokens)
		case "Upgrade":
			value = without(value, upgradeTokens)
		}
		framed := canonical == "Transfer-Encoding" || canonical == "Content-Length" && f[field+"framing"] != "none"
		if serverHeaders[canonical] != "" || value == "" && (canonical == "Connection" || canonical == "Upgrade") || framed && h1 {
			continue // the framing is compared instead
		}
		f[field+"header "+header] = value
	}
	for name, value := range f {
		f[name] = boundary.ReplaceAllString(value, "boundary")
		if prefix, ok := strings.CutSuffix(name, "body"); ok && ownPage.MatchString(value) {
			f[name] = ownText
			for _, other := range ofPages {
				delete(f, prefix+other)
			}
		}
		if strings.HasSuffix(name, "reason") {
			delete(f, name) // the server's, and without meaning (RFC 9112, section 4)
		}
	}
}

// ownPage is the page of nginx or Apache for an error; ofPages are the fields
// that it comes with.
var (
	ownPage = regexp.MustCompile(`^(<html>\r\n<head><title>|<!DOCTYPE HTML PUBLIC )`)
	ofPages = []string{"framing", "version", "header Content-Type", "header Content-Length", "header Connection"}
)

// boundary is what separates the parts of a multipart response.
var boundary = regexp.MustCompile(`\b[0-9a-f]{60}\b`)

func without(list string, tokens map[string]string) string {
	var left []string
	for token := range strings.SplitSeq(strings.ReplaceAll(list, " | ", ","), ",") {
		if token = strings.TrimSpace(token); tokens[token] == "" {
			left = append(left, token)
		}
	}
	return strings.Join(left, ", ")
}

// observe has the conversation of a case with a server. runs is how often a
// handler must have run; under net/http, which is this process, that is found
// out.
func observe(t *testing.T, s *server, protocol string, c *cases.Case, want cases.Fields, runs int) (cases.Fields, int) {
	t.Helper()
	mark, sent := len(s.log()), cases.Sent.Load()
	var f cases.Fields
	if protocol == "HTTP/2" {
		f = overHTTP2(t, s, c)
	} else {
		f = overHTTP1(t, s, c)
	}
	probe := ""
	if s.kind == standard {
		runs, probe = finished(sent), "none"
	}
	patience := 5 * time.Second
	if want != nil && (want["status"] != f["status"] || want["body"] != f["body"]) {
		patience = 300 * time.Millisecond // most likely no handler has run
	}
	reports := gather(c.Name, probe, runs, patience)
	slices.SortFunc(reports, func(a, b cases.Report) int { return slices.Compare(a.Lines, b.Lines) })
	for i, r := range reports {
		for j, line := range r.Lines {
			f[fmt.Sprintf("handler %d.%d", i, j)] = line
		}
	}
	f["handlers"] = fmt.Sprint(len(reports))
	if c.Log != "" && protocol == "HTTP/1" {
		f["log"] = fmt.Sprint(logged(s, mark, c.Log))
	}
	tidy(f)
	return f, len(reports)
}

// finished waits until no handler runs in this process, and returns how many
// have.
func finished(before int64) int {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if cases.Running.Load() == 0 {
			break
		}
	}
	return int(cases.Sent.Load() - before)
}

// gather takes the reports of a case, as many as are wanted, and others that
// are there. Those of a further name count as wanted.
func gather(name, further string, n int, wait time.Duration) (reports []cases.Report) {
	for {
		if n <= 0 {
			wait = time.Millisecond
		}
		select {
		case r := <-world.reports:
			if r.Case == name {
				reports = append(reports, r)
			}
			if r.Case == name || r.Case == further {
				n--
			}
		case <-time.After(wait):
			return reports
		}
	}
}

func logged(s *server, mark int, expression string) bool {
	re := regexp.MustCompile(expression)
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if re.MatchString(s.log()[mark:]) {
			return true
		}
	}
	return false
}

func overHTTP1(t *testing.T, s *server, c *cases.Case) cases.Fields {
	t.Helper()
	client, err := cases.NewClient(c, func() (net.Conn, error) {
		if c.TLS {
			return tls.Dial("tcp", s.tls, &tls.Config{RootCAs: world.roots, ServerName: "localhost"})
		}
		return net.Dial("tcp", s.plain)
	})
	if err != nil {
		t.Fatal(err)
	}
	client.Run()
	return client.Fields
}

// overHTTP2 sends the request of a case over HTTP/2.
func overHTTP2(t *testing.T, s *server, c *cases.Case) cases.Fields {
	t.Helper()
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(c.Text(c.Send))))
	if err != nil {
		t.Fatal(err)
	}
	req.RequestURI = ""
	req.URL.Scheme, req.URL.Host = "https", s.tls
	req.Host = "localhost"
	if req.ContentLength == 0 {
		req.Body = nil
	}
	transport := &http.Transport{
		TLSClientConfig:    &tls.Config{RootCAs: world.roots, ServerName: "localhost"},
		DisableCompression: true,
		Protocols:          new(http.Protocols),
	}
	transport.Protocols.SetHTTP2(true)
	defer transport.CloseIdleConnections()
	f := cases.Fields{}
	ctx, cancel := context.WithTimeout(trace(f), 20*time.Second)
	defer cancel()
	res, err := transport.RoundTrip(req.WithContext(ctx))
	if err != nil {
		f["status"] = "none"
		return f
	}
	defer res.Body.Close()
	f["status"] = fmt.Sprint(res.StatusCode)
	for name, values := range res.Header {
		f["header "+name] = strings.Join(values, " | ")
	}
	body, err := io.ReadAll(res.Body)
	f["body"] = cases.Clip(string(body))
	if err != nil {
		f["end"] = "cut"
		delete(f, "body") // a reset may overtake what was sent before it
	}
	for name, values := range res.Trailer {
		if values != nil {
			f["trailer "+name] = strings.Join(values, " | ")
		}
	}
	return f
}

// differences compares what was observed and takes away what is intended. A
// row that explains nothing is an error, too.
func differences(c *cases.Case, w way, want, got cases.Fields) (lines []string) {
	left := map[string]string{}
	for name := range merged(want, got) {
		wanted, ok := want[name]
		has, there := got[name]
		if ok != there || wanted != has {
			left[name] = shown(got, name)
		}
	}
	general(w, want, got, left)
	for _, d := range c.Differ {
		if w.is(d.On) {
			lines = append(lines, explain(d, got, left)...)
		}
	}
	for name, has := range left {
		lines = append(lines, fmt.Sprintf("%s is %s and under net/http %s", name, has, shown(want, name)))
	}
	slices.Sort(lines)
	return lines
}

// merged has the names of both.
func merged(a, b cases.Fields) map[string]bool {
	names := map[string]bool{}
	for _, f := range []cases.Fields{a, b} {
		for name := range f {
			names[name] = true
		}
	}
	return names
}

// explain takes from left what d is the reason of.
func explain(d cases.Differ, got cases.Fields, left map[string]string) (lines []string) {
	for name, value := range d.Fields {
		has, differs := left[name]
		switch {
		case name == "*":
		case value == "?" || differs && (value == "*" || shownValue(value) == has) || oneOf(value, got[name]):
			delete(left, name)
		default:
			lines = append(lines, fmt.Sprintf("row %s: %s is %s and was to differ as %s", d.Row, name, shown(got, name), value))
		}
	}
	if _, all := d.Fields["*"]; all {
		clear(left)
	}
	return lines
}

// oneOf says whether has is one of several values, "a or b".
func oneOf(value, has string) bool {
	several := strings.Split(value, " or ")
	return len(several) > 1 && slices.Contains(several, has)
}

// generalRows are the rows of differences that any case may have.
var generalRows = []string{"version", "length", "own-page", "drops"}

// rows are all rows that the table names.
func rows() map[string]bool {
	names := map[string]bool{}
	for _, row := range generalRows {
		names[row] = true
	}
	for _, d := range cases.Differences {
		names[d.Row] = true
	}
	return names
}

// general takes from left the differences that any case may have.
func general(w way, want, got cases.Fields, left map[string]string) {
	take := func(row string, names ...string) {
		if !slices.Contains(generalRows, row) {
			panic("no general row: " + row)
		}
		for _, name := range names {
			delete(left, name)
		}
	}
	if w.protocol == "HTTP/2" && (want["header Content-Length"] == "" || got["header Content-Length"] == "") && left["header Content-Length"] != "" {
		take("length", "header Content-Length")
	}
	for name := range got {
		prefix, field := "", name
		if i := strings.LastIndexByte(name, ' '); i >= 0 {
			prefix, field = name[:i+1], name[i+1:]
		}
		is := func(field string) string { return got[prefix+field] }
		was := func(field string) string { return want[prefix+field] }
		switch {
		case field == "version" && left[name] != "" && was("version") == "HTTP/1.0":
			take("version", name)
			if got[prefix+"header Connection"] == "close" && want[prefix+"header Connection"] == "" {
				take("version", prefix+"header Connection") // an answer of HTTP/1.1 has to say it
			}
		case field == "framing" && w.is("apache") && is("framing") == "length" && was("framing") == "chunked":
			take("length", name)
		case field == "body" && is("body") == ownText && is("status") == was("status") && refused.MatchString(was("body")):
			take("own-page", name, prefix+"framing", prefix+"version", prefix+"header Content-Type", prefix+"header Connection",
				prefix+"header X-Content-Type-Options")
		case name == "connection" && left[name] != "" && w.is("apache h1") && drops[got["status"]]:
			take("drops", "connection", "header Connection")
		}
	}
}

const ownText = "the server's page"

// refused are the words of net/http for a request that is no good.
var refused = regexp.MustCompile(`^([45]\d\d [A-Z]|Unsupported transfer encoding$)`)

// drops are the codes after which Apache closes a connection.
var drops = map[string]bool{"400": true, "408": true, "411": true, "413": true, "414": true, "500": true, "501": true, "503": true}

// shownValue is how shown gives a value.
func shownValue(value string) string {
	if value == "absent" {
		return value
	}
	return strconv.Quote(value)
}

func shown(f cases.Fields, name string) string {
	if value, ok := f[name]; ok {
		return strconv.Quote(value)
	}
	return "absent"
}

func TestParity(t *testing.T) {
	for _, c := range cases.All() {
		if c.Send == "" && c.Talk == nil {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			for _, protocol := range []string{"HTTP/1", "HTTP/2"} {
				if protocol == "HTTP/2" && !c.HTTP2 {
					continue
				}
				want, runs := observe(t, world.servers[standard], protocol, c, nil, 0)
				if want["status"] == "" {
					t.Logf("observed under net/http: %v", want)
				}
				for _, w := range ways {
					if w.protocol != protocol {
						continue
					}
					began := time.Now()
					got, _ := observe(t, world.servers[w.kind], protocol, c, want, runs)
					if d := time.Since(began); d > time.Second {
						t.Logf("%s took %v, handlers %s of %d", w.kind, d, got["handlers"], runs)
					}
					for _, line := range differences(c, w, want, got) {
						t.Errorf("%s %s: %s", w.kind, protocol, line)
					}
				}
			}
		})
	}
}

func TestNamesOfCases(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range cases.All() {
		if seen[c.Name] {
			t.Errorf("two cases are named %q", c.Name)
		}
		seen[c.Name] = true
	}
	if len(seen) < 150 {
		t.Errorf("there are %d cases", len(seen))
	}
}
