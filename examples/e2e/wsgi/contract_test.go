package wsgi

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var contract = setup{
	args: "contract:application --chdir @APPS@ --threads 3 --env BIG=@SHARE@/big.bin --env MORE=a=b",
	env:  []string{"SAID=by the server"},
}

func facts(t *testing.T, a answer) map[string]any {
	t.Helper()
	m := map[string]any{}
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return m
}

func TestEnviron(t *testing.T) {
	each(t, contract, func(t *testing.T, s *server) {
		req := s.request(http.MethodPost, "/mount/environ/caf%C3%A9?a=b%20c&d", "12345")
		req.Header.Set("X-Two", "2")
		req.Header.Set("X_Under", "no")
		req.Header.Set("Proxy", "no")
		req.Header["Cookie"] = []string{"a=1", "b=2"}
		req.Header["X-Many"] = []string{"1", "2"}
		req.Header.Set("Content-Type", "text/x")
		f := facts(t, s.do(req))
		cookies := "a=1; b=2"
		if s.kind == apache {
			cookies = "a=1, b=2" // httpd joins all repeated headers so
		}
		host, port, _ := strings.Cut(s.addr, ":")
		for key, want := range map[string]any{
			"REQUEST_METHOD": "POST", "SCRIPT_NAME": "/mount", "PATH_INFO": "/environ/caf\u00c3\u00a9",
			"QUERY_STRING": "a=b%20c&d", "REQUEST_URI": "/mount/environ/caf%C3%A9?a=b%20c&d",
			"CONTENT_TYPE": "text/x", "CONTENT_LENGTH": "5", "SERVER_PROTOCOL": "HTTP/1.1",
			"SERVER_PORT": port, "REMOTE_ADDR": host, "HTTP_HOST": s.addr, "HTTP_X_TWO": "2",
			"HTTP_X_MANY": "1, 2", "HTTP_COOKIE": cookies, "wsgi.url_scheme": "http",
			"wsgi.multithread": true, "wsgi.multiprocess": false, "wsgi.run_once": false,
			"GATEWAY_INTERFACE": "CGI/1.1", "dict": true, "terminated": true,
		} {
			if f[key] != want {
				t.Errorf("%s is %v, not %v", key, f[key], want)
			}
		}
		for _, key := range []string{"HTTP_X_UNDER", "HTTP_PROXY", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH", "REMOTE_USER", "HTTPS"} {
			if v, ok := f[key]; ok {
				t.Errorf("%s is there: %v", key, v)
			}
		}
		if fmt.Sprint(f["types"]) != "[str]" || fmt.Sprint(f["version"]) != "[1 0]" {
			t.Errorf("types %v, version %v", f["types"], f["version"])
		}
		if !strings.Contains(strings.ToLower(fmt.Sprint(f["SERVER_SOFTWARE"])), s.kind) || f["SERVER_NAME"] == "" {
			t.Errorf("server is %v at %v", f["SERVER_SOFTWARE"], f["SERVER_NAME"])
		}
		f = facts(t, s.get("/unbuffered/environ"))
		if f["wsgi.url_scheme"] != "https" || f["HTTPS"] != "on" {
			t.Errorf("with HTTPS on: %v %v", f["wsgi.url_scheme"], f["HTTPS"])
		}
		// A repeated request has the same environ: nothing is left over.
		if g := facts(t, s.get("/environ")); g["HTTP_X_TWO"] != nil || g["SCRIPT_NAME"] != "" || g["QUERY_STRING"] != "" {
			t.Errorf("left over: %v", g)
		}
	})
}

func TestProcess(t *testing.T) {
	conf := contract
	conf.args = "contract:application --path @SHARE@ --chdir @APPS@ --env MORE=a=b --path @SHARE@/apps/.."
	each(t, conf, func(t *testing.T, s *server) {
		f := facts(t, s.get("/process"))
		apps := filepath.Join(world.dir, "apps")
		if f["cwd"] != apps || f["encoding"] != "utf-8" {
			t.Errorf("directory %v, encoding %v", f["cwd"], f["encoding"])
		}
		if p := fmt.Sprint(f["path"]); !strings.HasPrefix(p, "["+world.dir+" "+apps+" ") {
			t.Errorf("sys.path %v", p)
		}
		env := f["environ"].(map[string]any)
		if env["SAID"] != "by the server" || env["MORE"] != "a=b" || env["PATH"] == nil {
			t.Errorf("environ %v", env)
		}
		if len(env) > 12 {
			t.Errorf("the server's environment leaks: %v", env)
		}
		s.says(`signal\.signal\(.*is ignored.*contract\.py`)
		s.stop()
		s.says("atexit has run")
	})
}

func TestInput(t *testing.T) {
	each(t, contract, func(t *testing.T, s *server) {
		body := "first\nsecond\nthird\nfourth\nfifth without end"
		lines := "first\n|sec|ond\n|third\n|fourth\n|fifth without end|"
		long := strings.Repeat("0123456789abcdef\n", 20000)
		sum := fmt.Sprintf("%d %x", len(long), sha256.Sum256([]byte(long)))
		for _, mount := range []string{"", "/unbuffered"} {
			for _, c := range []struct{ path, body, want string }{
				{"/read_all", body, body + "|"},
				{"/read_all", "", "|"},
				{"/read_all", long, long + "|"},
				{"/read_sizes", body, "7 7 7 7 7 7 1"},
				{"/read_lines", body, lines},
				{"/read_lines", "", "|||"},
				{"/read_hash", long, sum},
			} {
				for _, chunked := range []bool{false, true} {
					req := s.request(http.MethodPost, mount+c.path, c.body)
					if chunked && c.body != "" {
						req.ContentLength = -1
					}
					if a := s.do(req); a.status != 200 || a.body != c.want {
						t.Errorf("%s of %d bytes, chunked %v: %d %.80q (%v), not %.80q", mount+c.path, len(c.body), chunked,
							a.status, a.body, a.err, c.want)
					}
				}
			}
		}
		req := s.request(http.MethodPost, "/environ", "12345")
		req.ContentLength = -1
		if f := facts(t, s.do(req)); f["CONTENT_LENGTH"] != "5" {
			t.Errorf("a chunked body that the server has received has CONTENT_LENGTH %v", f["CONTENT_LENGTH"])
		}
	})
}

func TestResponses(t *testing.T) {
	big := filepath.Join(world.dir, "big.bin")
	if err := os.WriteFile(big, []byte(strings.Repeat("f", 3<<20)), 0o644); err != nil {
		t.Fatal(err)
	}
	each(t, contract, func(t *testing.T, s *server) {
		hello := s.want("/hello", 200, "Hello, world\n")
		if hello.length != 13 || hello.header.Get("Content-Type") != "text/plain" {
			t.Errorf("hello has length %d, header %v", hello.length, hello.header)
		}
		s.want("/writes", 200, "one two three")
		s.want("/generator", 200, "late start")
		s.want("/replaced", 500, "the error page")
		if a := s.get("/replaced"); a.header.Get("X-First") != "" {
			t.Error("the first head was not replaced")
		}
		s.want("/unwrapped", 200, "not a file")
		part := strings.Repeat("0123456789", 20000)[5:100005]
		s.want("/wrapped", 200, part)
		if a := s.get("/big_file"); a.body != strings.Repeat("f", 3<<20) || a.length != 3<<20 {
			t.Errorf("a file of 3 MiB came as %d bytes, length %d", len(a.body), a.length)
		}
		var list strings.Builder
		for i := range 1000 {
			fmt.Fprintf(&list, "%d\n", i)
		}
		if a := s.want("/many", 200, list.String()); a.length != int64(list.Len()) {
			t.Errorf("a list has length %d", a.length)
		}
		if a := s.get("/large_list"); len(a.body) != 200000 || a.length != 200000 {
			t.Errorf("a tuple of large blocks: %d bytes, length %d", len(a.body), a.length)
		}
		if a := s.get("/big?5000000"); a.body != strings.Repeat("b", 5000000) {
			t.Errorf("big: %d bytes", len(a.body))
		}
		s.want("/nothing", 204, "")
		s.want("/unmodified", 304, "")
		a := s.get("/cookies")
		if fmt.Sprint(a.header["Set-Cookie"]) != "[a=1 b=2]" || a.header.Get("X-Latin") != "caf\xe9" {
			t.Errorf("header %q", a.header)
		}
		s.want("/missing", 404, "no such page")
		for path, length := range map[string]int64{"/hello": 13, "/big?100": 100, "/wrapped": 100000, "/generator": -1, "/writes": -1} {
			a := s.do(s.request(http.MethodHead, path, ""))
			if a.status != 200 || a.body != "" || a.length != length {
				t.Errorf("HEAD %s: %d, length %d and not %d", path, a.status, a.length, length)
			}
		}
		s.want("/background", 200, "[1]")
		s.want("/child", 200, "out\n3")
		s.want("/close_fails", 200, "fine")
		s.says(`RuntimeError: close fails`)
		balanced(s)
	})
}

// TestLate: the answer of a request that took its time is complete with its
// Content-Length, and what comes after that happens all the same.
func TestLate(t *testing.T) {
	each(t, contract, func(t *testing.T, s *server) {
		sizes := []int{1, 1500, 40_000, 1 << 16, 1<<16 + 1, 3 << 20}
		for _, size := range sizes {
			path := fmt.Sprintf("/late?%d,go_on", size)
			if a := s.get(path); a.status != 200 || a.length != int64(size) || a.body != strings.Repeat("l", size) {
				t.Errorf("%s: %d, length %d, %d bytes", path, a.status, a.length, len(a.body))
			}
			if a := s.do(s.request(http.MethodHead, path, "")); a.status != 200 || a.length != int64(size) || a.body != "" {
				t.Errorf("HEAD %s: %d, length %d", path, a.status, a.length)
			}
		}
		s.wait("the code after the answers", 5*time.Second, func() bool {
			return facts(t, s.get("/state"))["after"] == float64(len(sizes))
		})
		s.want("/late?7,raise", 200, "lllllll")
		s.says("RuntimeError: fails after the answer")
		balanced(s)
	})
}

// TestAfterLast: the rest of an application whose answer is complete by its
// length finds PEP 3333 as before.
func TestAfterLast(t *testing.T) {
	each(t, contract, func(t *testing.T, s *server) {
		s.want("/after_last", 200, "done")
		s.wait("the application's end", 5*time.Second, func() bool {
			return fmt.Sprint(facts(t, s.get("/state"))["said"]) == `[b'' KeyError('of the application')]`
		})
	})
}

// TestOtherThreads: what the application's own threads do with a request
// cannot hurt it, nor what comes after it.
func TestOtherThreads(t *testing.T) {
	each(t, contract, func(t *testing.T, s *server) {
		s.want("/writes_elsewhere", 200, "RuntimeError: only the thread that the application was called on may send")
		pid := facts(t, s.get("/process"))["pid"]
		const uploads = 40
		for range uploads {
			s.leave("/unbuffered/left_reader")
		}
		s.wait("the readers' end", 20*time.Second, func() bool {
			readers, _ := facts(t, s.get("/state"))["readers"].([]any)
			return len(readers) == uploads
		})
		if now := facts(t, s.get("/process"))["pid"]; now != pid {
			t.Errorf("process %v is now %v", pid, now)
		}
	})
}

// leave sends a part of a body, waits for the answer and goes away.
func (s *server) leave(path string) {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000000\r\n\r\n", path)
	answered := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 100))
		answered <- err
	}()
	line := []byte(strings.Repeat("line\n", 4000))
	for {
		select {
		case err := <-answered:
			if err != nil {
				s.t.Errorf("%s: %v", path, err)
			}
			return
		default:
			_, _ = conn.Write(line)
		}
	}
}

// balanced checks that every body that was opened has been closed.
func balanced(s *server) {
	s.t.Helper()
	var f map[string]any
	s.wait("close of every body", 15*time.Second, func() bool {
		f = facts(s.t, s.get("/state"))
		return f["open"] == f["closed"] || f["open"].(float64) == f["closed"].(float64)+1 && strings.Contains(s.log(), "close fails")
	})
}

// TestStreaming: a block is there before the next one is made.
func TestStreaming(t *testing.T) {
	each(t, contract, func(t *testing.T, s *server) {
		res, err := s.client().Do(s.request(http.MethodGet, "/slow", ""))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		in := bufio.NewReader(res.Body)
		if first, err := in.ReadString('\n'); first != "begin\n" {
			t.Fatalf("the first block is %q, %v", first, err)
		}
		s.want("/go_on", 200, "Hello, world\n")
		rest, err := io.ReadAll(in)
		if string(rest) != "end\n" || err != nil {
			t.Errorf("the rest is %q, %v", rest, err)
		}
		balanced(s)
	})
}

func TestEarlyHints(t *testing.T) {
	each(t, contract, func(t *testing.T, s *server) {
		var got []string
		trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			got = append(got, strconv.Itoa(code)+" "+h.Get("Link"))
			return nil
		}}
		req := s.request(http.MethodGet, "/hints", "")
		a := s.do(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
		if a.body != "Hello, world\n" || fmt.Sprint(got) != "[103 </style.css>; rel=preload]" {
			t.Errorf("%q after %q", a.body, got)
		}
	})
}

func TestErrorsStream(t *testing.T) {
	each(t, contract, func(t *testing.T, s *server) {
		s.want("/errors", 200, "Hello, world\n")
		for _, line := range []string{"first [^ ]{1,40} line", "half a line", "last without end", "printed to stdout", "printed to stderr"} {
			s.says(line)
		}
	})
}

// TestValidate runs the application in wsgiref.validate, which watches both
// sides.
func TestValidate(t *testing.T) {
	conf := contract
	conf.args += " --validate"
	each(t, conf, func(t *testing.T, s *server) {
		for _, path := range []string{"/hello", "/environ", "/errors", "/writes", "/generator", "/many", "/cookies", "/big?200000",
			"/background", "/mount/environ", "/large_list", "/missing", "/unmodified"} {
			a := s.get(path)
			if a.status >= 500 || a.err != nil {
				t.Errorf("%s: %d %v", path, a.status, a.err)
			}
		}
		for _, path := range []string{"/read_sizes", "/read_hash", "/unbuffered/read_sizes"} {
			if a := s.do(s.request(http.MethodPost, path, "some\nlines\nof text")); a.status != 200 {
				t.Errorf("%s: %d", path, a.status)
			}
		}
		if text := s.log(); strings.Contains(text, "AssertionError") {
			t.Errorf("wsgiref.validate complains:\n%s", tail(text, 3000))
		}
	})
}

func TestViolations(t *testing.T) {
	each(t, contract, func(t *testing.T, s *server) {
		for _, c := range []struct {
			path   string
			status int
			says   string
		}{
			{"fails", 500, `Traceback .*contract\.py.*RuntimeError: the application fails`},
			{"exits", 500, `SystemExit: 3`},
			{"no_start", 500, `start_response was not called before`},
			{"none", 500, `the application returned NoneType; it must return an iterable of bytes`},
			{"number", 500, `returned int; it must`},
			{"bytes", 500, `returned bytes; it must`},
			{"str", 500, `returned str; it must`},
			{"str_block", 500, `a block of the body must be bytes, not str`},
			{"str_later", 500, `block 1 of the body must be bytes, not str`},
			{"str_yielded", 500, `a block of the body must be bytes`},
			{"header_list", 500, `header 0 must be a tuple \(name, value\), not \['Content-Type', 'text/plain'\]`},
			{"header_string", 500, `header 0 must be a tuple`},
			{"header_bytes", 500, `the value of a header must be a str, not bytes`},
			{"header_tuple", 500, `the headers must be a list, not tuple`},
			{"header_name", 500, `not a token: 'Bad Name'`},
			{"header_value", 500, `header X-Split has a control character`},
			{"header_wide", 500, `beyond Latin-1`},
			{"header_hop", 500, `header Connection belongs to the connection`},
			{"header_length", 500, `Content-Length 'many' is not one number`},
			{"status_number", 500, `the status must be a str, not int`},
			{"status_words", 500, `the status 'OK' does not begin with a number`},
			{"status_control", 500, `the status .* has a control character`},
			{"status_low", 500, `is below 200`},
			{"twice", 500, `start_response was called a second time without exc_info`},
			{"fails_late", 0, `RuntimeError: fails in the middle`},
			{"too_late", 0, `KeyError: 'after the head'`},
			{"short", 0, `the body ended after 1 bytes, its Content-Length is 10`},
			{"long", 200, `the body is longer than its Content-Length of 3`},
		} {
			mark := len(s.log())
			a := s.get("/" + c.path)
			if c.status == 0 {
				if a.err == nil && a.status == 200 {
					t.Errorf("%s: the answer passes for complete: %q", c.path, a.body)
				}
			} else if a.status != c.status {
				t.Errorf("%s: %d (%v), not %d", c.path, a.status, a.err, c.status)
			}
			if c.path == "long" && a.body != "abc" {
				t.Errorf("long: %q", a.body)
			}
			s.says(c.says)
			if strings.Contains(s.log()[mark:], "panic") {
				t.Errorf("%s: a panic", c.path)
			}
		}
		s.want("/kept", 200, "kept")
		s.want("/use_kept", 200, "ValueError: the request is over\n"+
			"RuntimeError: start_response was called after the end of the request\n"+
			"RuntimeError: write was called after the end of the request\n10")
		s.want("/hello", 200, "Hello, world\n")
		balanced(s)
	})
}
