package wsgi

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gsgi/gsgi/examples/internal/testserver"
)

// hosts are the columns of PARITY.md. The first is what the others are
// compared with.
var hosts = []string{"GSGI in NGINX", "GSGI in Apache", "Gunicorn", "Gunicorn behind NGINX", "uWSGI behind NGINX", "mod_wsgi"}

// A parityHost runs the application of testdata/parity.
type parityHost struct {
	name, addr string
}

// An asked request is what a case sends.
type asked struct {
	name string // the case's, and by default the page's
	row  string // of PARITY.md, where answers differ
	head string // the request line without the version, and header fields; "GET /NAME" if empty
	body string

	version string // of HTTP, 1.1 if empty
	bare    bool   // no Host of its own
	expects bool   // the body waits for 100, for a while
	half    bool   // closes its half of the connection
	leaves  bool   // closes the connection after some bytes
	rest    bool   // looks for bytes behind the response
	length  bool   // Content-Length is compared, which else is the server's
	silent  bool   // some never answer
	until   string // what the application sees late
	reason  bool   // the reason is compared
}

// TestParity sends the same requests to the same application in all hosts.
func TestParity(t *testing.T) {
	t.Parallel()
	rows, same := documentedRows(t), sameVersions(t)
	var running []parityHost
	running = append(running, parityNGINX(t)...)
	running = append(running, parityApache(t)...)
	running = slices.DeleteFunc(running, func(h parityHost) bool { return !same[h.name] })
	slices.SortFunc(running, func(a, b parityHost) int { return slices.Index(hosts, a.name) - slices.Index(hosts, b.name) })

	answers := make([][]string, len(running))
	var wg sync.WaitGroup
	for i, h := range running {
		wg.Go(func() {
			for _, c := range parityCases {
				answers[i] = append(answers[i], h.ask(c))
			}
		})
	}
	wg.Wait()
	differs := map[string]map[string]bool{} // by row and host
	for n, c := range parityCases {
		different := false
		for i, h := range running {
			if answers[i][n] == answers[0][n] {
				continue
			}
			different = true
			if differs[c.row] == nil {
				differs[c.row] = map[string]bool{}
			}
			differs[c.row][h.name] = true
		}
		if different == (c.row != "") || c.row != "" && !all(same, hosts[1:]) {
			continue
		}
		var text strings.Builder
		for i, h := range running {
			fmt.Fprintf(&text, "\n%s:\n%s", h.name, indent(answers[i][n]))
		}
		t.Errorf("case %s, row %q: differs is %v:%s", c.name, c.row, different, text.String())
	}
	delete(differs, "")
	compareRows(t, rows, differs, same)
}

// sameVersions are the hosts that are of the versions that PARITY.md tells of.
func sameVersions(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../../../goapp/wsgi/PARITY.md")
	if err != nil {
		t.Fatal(err)
	}
	same := map[string]bool{hosts[0]: true, hosts[1]: true}
	for name, installed := range map[string][]string{
		"Gunicorn": {"gunicorn", "--version"},
		"uWSGI":    {"uwsgi", "--version"},
		"mod_wsgi": {"dpkg-query", "-Wf", "${Version}", "libapache2-mod-wsgi-py3"},
	} {
		documented := regexp.MustCompile(name + ` ([\d.]*\d)`).FindSubmatch(text)
		out, err := exec.Command(installed[0], installed[1:]...).Output()
		found := regexp.MustCompile(`[\d.]*\d`).Find(out)
		if documented == nil || found == nil {
			t.Fatalf("%s: the version in PARITY.md is %q, that of the program %q, %v", name, documented, out, err)
		}
		for _, host := range hosts[2:] {
			if strings.HasPrefix(host, name) {
				same[host] = strings.HasPrefix(string(found)+".", string(documented[1])+".")
				if !same[host] {
					t.Logf("%s is not compared: PARITY.md tells of %s, here is %s", host, documented[1], found)
				}
			}
		}
	}
	return same
}

func all(set map[string]bool, names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return !set[name] })
}

func indent(text string) string { return "\t" + strings.ReplaceAll(text, "\n", "\n\t") }

// documentedRows are the rows of PARITY.md: for each the hosts that differ
// from the first column.
func documentedRows(t *testing.T) map[string]map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../../../goapp/wsgi/PARITY.md")
	if err != nil {
		t.Fatal(err)
	}
	head := "| row | " + strings.Join(hosts, " | ") + " | reason |"
	if !strings.Contains(string(text), head) {
		t.Errorf("PARITY.md has no table with the head %s", head)
	}
	rows := map[string]map[string]bool{}
	for _, line := range regexp.MustCompile(`(?m)^\| ([\w-]+) \| (.*) \|$`).FindAllStringSubmatch(string(text), -1) {
		cells := strings.Split(line[2], " | ")
		if line[1] == "row" {
			continue
		}
		if len(cells) != len(hosts)+1 || rows[line[1]] != nil {
			t.Errorf("PARITY.md: row %s has %d cells, or is there twice", line[1], len(cells))
			continue
		}
		rows[line[1]] = map[string]bool{}
		for i, name := range hosts[1:] {
			if cells[i+1] != "-" {
				rows[line[1]][name] = true
			}
		}
	}
	return rows
}

// compareRows compares the columns of the hosts that are the same.
func compareRows(t *testing.T, documented, found map[string]map[string]bool, same map[string]bool) {
	t.Helper()
	for row, names := range found {
		if documented[row] == nil {
			t.Errorf("PARITY.md has no row %q, in which these differ: %v", row, slices.Sorted(maps.Keys(names)))
			continue
		}
		for _, name := range hosts[1:] {
			if same[name] && documented[row][name] != names[name] {
				t.Errorf("PARITY.md, row %q: %s differs: %v, in the table: %v", row, name, names[name], documented[row][name])
			}
		}
	}
	for row := range documented {
		if found[row] == nil && all(same, hosts[1:]) {
			t.Errorf("no case shows the row %q of PARITY.md", row)
		}
	}
}

// The hosts, each with what its own documentation recommends.

const behindNGINX = `
	upstream gunicorn { server unix:@DIR@/gunicorn.sock; }
	proxy_http_version 1.1;
	server {
		listen @GUNICORN@;
		server_name localhost;
		client_max_body_size 0;
		location / {
			proxy_pass http://gunicorn;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
			proxy_set_header X-Forwarded-Proto $scheme;
			proxy_set_header Host $http_host;
			proxy_redirect off;
		}
		location /mount/ {
			proxy_pass http://gunicorn;
			proxy_set_header SCRIPT_NAME /mount;
			proxy_set_header Host $http_host;
			proxy_redirect off;
		}
	}
	server {
		listen @UWSGI@;
		server_name localhost;
		location / {
			include /etc/nginx/uwsgi_params;
			uwsgi_pass unix:@DIR@/uwsgi.sock;
		}
	}
`

// parityNGINX starts NGINX, and what is behind it.
func parityNGINX(t *testing.T) []parityHost {
	t.Helper()
	gunicorn, uwsgi, plain := freeAddr(t), freeAddr(t), freeAddr(t)
	s := prepareServer(t, nginx, setup{
		args: "pages --chdir @APPS@/parity",
		http: strings.NewReplacer("@GUNICORN@", gunicorn, "@UWSGI@", uwsgi).Replace(behindNGINX),
	})
	apps := filepath.Join(world.dir, "apps/parity")
	beside(s, "gunicorn", "--chdir", apps, "--worker-class", "gthread", "--threads", "4", "--bind", plain,
		"--bind", "unix:"+s.dir+"/gunicorn.sock", "--worker-tmp-dir", s.dir, "pages")
	beside(s, "uwsgi", "--plugin", "python3", "--socket", s.dir+"/uwsgi.sock", "--chmod-socket=666", "--chdir", apps,
		"--mount", "/=pages:application", "--mount", "/mount=pages:application", "--manage-script-name", "--single-interpreter", "--master", "--die-on-term",
		"--processes", "1", "--threads", "4", "--enable-threads", "--need-app")
	s.serve()
	for _, path := range []string{"gunicorn.sock", "uwsgi.sock"} {
		s.wait(path, 30*time.Second, func() bool {
			c, err := net.Dial("unix", filepath.Join(s.dir, path))
			if err == nil {
				c.Close()
			}
			return err == nil
		})
	}
	return []parityHost{{"GSGI in NGINX", s.addr}, {"Gunicorn", plain}, {"Gunicorn behind NGINX", gunicorn}, {"uWSGI behind NGINX", uwsgi}}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	var addr string
	if err := testserver.Addresses(&addr); err != nil {
		t.Fatal(err)
	}
	return addr
}

// beside runs a program until the end of the test, its output in a file.
func beside(s *server, name string, args ...string) {
	s.t.Helper()
	out, err := os.Create(filepath.Join(s.dir, name+".log"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if s.t.Failed() {
			text, _ := os.ReadFile(out.Name())
			s.t.Logf("log of %s:\n%s", name, tail(string(text), 3000))
		}
	})
}

const modWSGI = `
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule wsgi_module /usr/lib/apache2/modules/mod_wsgi.so
ServerRoot @DIR@
DefaultRuntimeDir @DIR@
PidFile @DIR@/pid
ErrorLog @DIR@/error.log
User www-data
Group www-data
Listen @ADDR@
ServerName localhost
ServerLimit 1
StartServers 1
ThreadsPerChild 64
MaxRequestWorkers 64
KeepAliveTimeout 1
WSGIScriptAlias /mount @APPS@/parity/pages.py application-group=%{GLOBAL}
WSGIScriptAlias / @APPS@/parity/pages.py application-group=%{GLOBAL}
<Directory @APPS@/parity>
	Require all granted
</Directory>
`

func parityApache(t *testing.T) []parityHost {
	t.Helper()
	here := launch(t, apache, setup{args: "pages --chdir @APPS@/parity"})
	there := prepareServer(t, apache, setup{})
	text := strings.ReplaceAll(there.fill(modWSGI), "@ADDR@", there.addr)
	if err := os.WriteFile(there.conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	there.serve()
	return []parityHost{{"GSGI in Apache", here.addr}, {"mod_wsgi", there.addr}}
}

// What a client gets and the application sees, in words.

const (
	patience = 10 * time.Second
	silence  = 3 * time.Second // no answer, where that may be
)

func (h parityHost) ask(c asked) string {
	id := strings.ReplaceAll(h.name, " ", "-") + "." + c.name
	got := h.converse(c, id)
	_, port, _ := net.SplitHostPort(h.addr)
	return strings.ReplaceAll(got, port, "PORT") + h.seen(id, c.until)
}

// bytes are the head and the body that a case sends.
func (c asked) bytes(id string) (head, body string) {
	if c.head == "" {
		c.head = "GET /" + c.name
	}
	if c.version == "" {
		c.version = "1.1"
	}
	line, fields, _ := strings.Cut(c.head, "\n")
	head = line + " HTTP/" + c.version + "\r\n"
	if !c.bare {
		head += "Host: site.example\r\n"
	}
	head += "X-Case: " + id + "\r\n"
	for field := range strings.Lines(fields) {
		head += strings.TrimSuffix(field, "\n") + "\r\n"
	}
	return head + "\r\n", c.body
}

func (h parityHost) converse(c asked, id string) string {
	conn, err := net.Dial("tcp", h.addr)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	limit := patience
	if c.silent {
		limit = silence
	}
	_ = conn.SetDeadline(time.Now().Add(limit))
	head, body := c.bytes(id)
	in := bufio.NewReaderSize(conn, 1<<16)
	if c.expects {
		_, _ = io.WriteString(conn, head)
		_ = conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		_, _ = in.Peek(1)
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		head = ""
	}
	_, _ = io.WriteString(conn, head+body)
	if c.half {
		_ = conn.(*net.TCPConn).CloseWrite()
	}
	method, _, _ := strings.Cut(c.head, " ")
	return c.read(in, conn, method)
}

// read reads the responses to a request.
func (c asked) read(in *bufio.Reader, conn net.Conn, method string) string {
	text := ""
	for {
		head := peekHead(in)
		if head == "" {
			return text + "no answer\n"
		}
		res, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return text + fmt.Sprintf("a malformed answer: %.60q\n", head)
		}
		if res.StatusCode < 200 {
			text += fmt.Sprintln(res.StatusCode)
			continue
		}
		if c.leaves {
			_, _ = io.ReadFull(res.Body, make([]byte, 1000))
			return text
		}
		body, err := io.ReadAll(res.Body)
		text += c.describe(res, head, string(body), err)
		if c.rest {
			_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if more, _ := io.ReadAll(in); len(more) > 0 {
				text += fmt.Sprintf("behind it: %.40q\n", more)
			}
		}
		return text
	}
}

// peekHead is the head of the next response, which stays to be read.
func peekHead(in *bufio.Reader) string {
	for {
		data, _ := in.Peek(in.Buffered())
		if i := strings.Index(string(data), "\r\n\r\n"); i >= 0 {
			return string(data[:i+2])
		}
		if _, err := in.Peek(len(data) + 1); err != nil {
			return ""
		}
	}
}

// today is a date that is not the application's.
var today = regexp.MustCompile(`\w+, \d\d \w+ 20\d\d .* GMT$`)

// unlike are fields of a response that are the server's own.
var unlike = []string{"Date", "Server", "Connection", "Keep-Alive", "Transfer-Encoding", "Accept-Ranges", "Content-Length"}

func (c asked) describe(res *http.Response, head, body string, err error) string {
	text := fmt.Sprintln(res.StatusCode)
	if c.reason {
		text = res.Status + "\n"
	}
	if res.Header.Get("X-App") == "" {
		return text + "the server's page\n"
	}
	fields := strings.Split(strings.TrimSuffix(head, "\r\n"), "\r\n")[1:]
	slices.Sort(fields)
	for _, field := range fields {
		name, _, _ := strings.Cut(field, ":")
		own := name == http.CanonicalHeaderKey(c.name) // the case is about it
		if name == "Content-Length" {
			own = c.length
		}
		if own || !slices.Contains(unlike, http.CanonicalHeaderKey(name)) && name != "X-App" {
			text += fmt.Sprintf("%.80q\n", today.ReplaceAllString(field, "today"))
		}
	}
	if len(body) > 400 {
		body = fmt.Sprintf("%d bytes, %.20s", len(body), body)
	}
	text += fmt.Sprintf("%q\n", body)
	if err != nil {
		text += "cut\n"
	}
	return text
}

// seen is what the application has noted of a request.
func (h parityHost) seen(id, until string) string {
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	var lines []string
	for end := time.Now().Add(3 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		res, err := client.Get("http://" + h.addr + "/seen?" + id)
		if err == nil {
			err = json.NewDecoder(res.Body).Decode(&lines)
			res.Body.Close()
		}
		done := err == nil && (until == "" || slices.Contains(lines, until))
		if done || time.Now().After(end) {
			return fmt.Sprintf("the application: %s", strings.Join(lines, ", "))
		}
	}
}
