package cases

// A Differ is an intended difference of some cases: on which servers, in which
// fields of what was observed, and its row in the documentation of goapp. The
// value of a field is what it is on the server, "absent" when it is not there,
// "*" when it differs in any way, "?" when it may differ, and "a or b" when
// that depends on the server's version. The field "*" stands for all others.
type Differ struct {
	Row    string
	On     string // all, nginx, apache, prefork, with h1 or h2 behind it
	Fields Fields
	Cases  []string
}

// attach gives each case its differences.
func attach(all []*Case) {
	byName := make(map[string]*Case)
	for _, c := range all {
		byName[c.Name] = c
	}
	for _, d := range Differences {
		for _, name := range d.Cases {
			c := byName[name]
			if c == nil {
				panic("no case is named " + name)
			}
			c.Differ = append(c.Differ, d)
		}
	}
}

// page is what a case has instead of a response when the server answers by
// itself.
func page(status string) Fields {
	return Fields{"status": status, "body": "the server's page", "*": "?"}
}

// Differences are the intended differences.
var Differences = []Differ{
	{Row: "panic", On: "all", Fields: page("500"), Cases: []string{
		"WriteHeader of 0", "WriteHeader of 99", "WriteHeader of 1000", "WriteHeader of -1", "a panic", "a panic of nil", "a panic of an error",
		"a panic of the runtime", "a panic behind a write", "a panic in a pipeline", "a panic with a body not read", "TimeoutHandler and a panic",
		"ErrAbortHandler", "ErrAbortHandler behind a write", "Goexit",
	}},
	{Row: "panic", On: "all", Fields: Fields{"body": "?"}, Cases: []string{"a panic behind much"}},
	{Row: "bad-header", On: "all", Fields: page("500"), Cases: []string{
		"a line end in a value", "a NUL in a value", "a name with a blank", "an empty name",
	}},
	{Row: "101", On: "all", Fields: page("500"), Cases: []string{"101 without Hijack"}},
	{Row: "reason", On: "all", Fields: Fields{"phrases": "?"}, Cases: []string{"every code from 200 to 599"}},
	{Row: "drops", On: "apache", Fields: Fields{"connections": "more than one"}, Cases: []string{"every code from 200 to 599"}},
	{Row: "204", On: "all", Fields: Fields{"header Content-Type": "absent"}, Cases: []string{"204 with a type"}},
	{Row: "304", On: "nginx h2, apache h2", Fields: Fields{"header Content-Type": "absent"}, Cases: []string{"304 with a type"}},
	{Row: "304", On: "nginx h1", Fields: Fields{"header Content-Length": "5"}, Cases: []string{"304 with a length"}},
	{Row: "304", On: "nginx h2, apache h2", Fields: Fields{"end": "?", "body": "?"}, Cases: []string{"204 with a length", "304 with a length"}},
	{Row: "early-hints", On: "apache h2", Fields: Fields{"interim": "absent"}, Cases: []string{"early hints"}},
	{Row: "100", On: "all", Fields: Fields{"interim": "absent"}, Cases: []string{"100 by the handler"}},
	{Row: "blanks", On: "nginx h2, apache h2", Fields: Fields{"header X-Blank": "a b"}, Cases: []string{"blanks around a value"}},
	{Row: "range", On: "apache", Fields: Fields{"status": "206", "body": "te", "header Content-Range": "bytes 0-1/4", "header Content-Length": "?"},
		Cases: []string{"a range asked for that the handler ignores"}},
	{Row: "range", On: "apache", Fields: Fields{"status": "206", "header Content-Range": "bytes 0-35/36"}, Cases: []string{"ServeContent, ranges that overlap"}},
	{Row: "x-accel", On: "nginx", Fields: Fields{"header X-Accel-Redirect": "absent"}, Cases: []string{"X-Accel and X-Sendfile that nobody obeys"}},
	{Row: "type", On: "all", Fields: Fields{"header Content-Type": "absent"}, Cases: []string{"an empty type"}},
	{Row: "type", On: "all", Fields: Fields{"header Content-Type": "text/b"}, Cases: []string{"two types"}},
	{Row: "surplus", On: "nginx h1, apache h1", Fields: Fields{"connection": "kept"}, Cases: []string{
		"more than the length in a second write", "more than a length of 0",
	}},
	{Row: "surplus", On: "nginx h2, apache h2", Fields: Fields{"*": "?"}, Cases: []string{
		"more than the length in one write", "more than the length in a second write", "more than a length of 0", "HEAD with more than the length",
	}},
	{Row: "surplus", On: "all", Fields: Fields{
		"handler 0.0": "http: wrote more than the declared Content-Length", "end": "cut", "body": "*", "connection": "closed",
	}, Cases: []string{"io.Copy of a file beyond the length"}},
	{Row: "reset", On: "apache h2", Fields: Fields{"*": "?"}, Cases: []string{
		"less than the length", "less than the length, flushed", "nothing of the length", "a panic behind a flush", "ErrAbortHandler behind a flush",
		"ErrAbortHandler behind a length", "a proxy, a response that is cut",
	}},
	{Row: "transfer", On: "all", Fields: Fields{"*": "?"}, Cases: []string{
		"identity", "gzip as transfer coding", "an unknown transfer coding",
	}},
	{Row: "transfer", On: "nginx h1", Fields: Fields{"framing": "length"}, Cases: []string{"chunked by the handler, with a length"}},
	{Row: "length", On: "apache h1", Fields: Fields{"framing": "?", "connection": "?", "header Connection": "?"}, Cases: []string{
		"identity in HTTP/1.0", "HTTP/1.0 with keep-alive, streamed", "HTTP/1.0, streamed", "trailers in HTTP/1.0",
	}},
	{Row: "length", On: "apache h1", Fields: Fields{"header Content-Length": "absent"}, Cases: []string{"HEAD with a length of 0"}},
	{Row: "head-flush", On: "nginx h2, apache h2", Fields: Fields{"handler 0.0": "<nil>", "handler 0.1": "<nil>"}, Cases: []string{"HEAD with flush"}},
	{Row: "version", On: "all", Fields: Fields{"connection": "closed"}, Cases: []string{"HTTP/1.0 with keep-alive and close"}},
	{Row: "half-close", On: "nginx", Fields: Fields{"*": "?"}, Cases: []string{
		"the client's half is closed", "a body that the client ends early", "a chunked body that the client ends early", "a chunked body without its end",
	}},
	{Row: "broken-body", On: "nginx, apache", Fields: Fields{"*": "?"}, Cases: []string{
		"a chunked body that the client ends early", "a chunked body without its end", "a chunk of a size that is no number",
		"a chunk longer than its size", "a chunk of a size beyond all", "a trailer that is no field",
	}},
	{Row: "broken-body", On: "apache", Fields: Fields{"*": "?"}, Cases: []string{"a body that the client ends early"}},
	{Row: "request-trailers", On: "nginx", Fields: Fields{"handler 0.2": "0 EOF, trailer map[X-Sum:[]]"}, Cases: []string{"chunks with trailers"}},
	{Row: "no-body", On: "nginx h2, apache h2", Fields: Fields{"handler 0.0": "length 0, [], no body true, trailer map[]"}, Cases: []string{
		"a body of no bytes", "POST without a body", "GET has no body",
	}},
	{Row: "max-bytes", On: "all", Fields: Fields{"connection": "?", "header Connection": "?"}, Cases: []string{
		"MaxBytesReader that is passed", "MaxBytesReader of a large body", "MaxBytesHandler",
	}},
	{Row: "expect", On: "apache", Fields: Fields{"connection": "?", "header Connection": "?", "interim": "?"}, Cases: []string{
		"100 in capitals", "100 and no body", "Expect with the body behind it",
	}},
	{Row: "expectation", On: "nginx", Fields: Fields{"status": "200", "*": "?"}, Cases: []string{"another expectation"}},
	{Row: "path", On: "all", Fields: Fields{"handler 0.2": "*", "handler 0.3": "*"}, Cases: []string{
		"two slashes within", "two slashes at the start", "a dot", "two dots", "two dots at the end", "an absolute target without a path",
	}},
	{Row: "path", On: "all", Fields: Fields{"status": "200", "handler 0.0": "*", "header Location": "absent", "body": "*", "header Content-Type": "*"}, Cases: []string{
		"the redirect to a clean path", "slashes at the start", "slashes within",
	}},
	{Row: "path", On: "all", Fields: Fields{"status": "404", "*": "?"}, Cases: []string{"the redirect of a target without a path"}},
	{Row: "unread", On: "all", Fields: Fields{"header Connection": "absent"}, Cases: []string{
		"a large body not read", "a read deadline that has passed",
	}},
	{Row: "hijack", On: "all", Fields: Fields{"handler 0.0": "gsgi: Hijack after the head of the response was sent", "body": "Hello, ", "end": "?"},
		Cases: []string{"Hijack behind a flush"}},
	{Row: "path", On: "nginx", Fields: Fields{"handler 0.2": "*", "handler 0.3": "*"}, Cases: []string{"a fragment"}},
	{Row: "target", On: "apache", Fields: page("400"), Cases: []string{"a fragment"}},
	{Row: "target", On: "nginx", Fields: page("400"), Cases: []string{"an escaped NUL", "the target * of OPTIONS", "the target * of GET"}},
	{Row: "target", On: "apache", Fields: page("404"), Cases: []string{"an escaped NUL"}},
	{Row: "target", On: "apache", Fields: page("400"), Cases: []string{"the target * of GET"}},
	{Row: "target", On: "nginx", Fields: Fields{"status": "200", "*": "?"}, Cases: []string{"two blanks before the target"}},
	{Row: "method", On: "nginx", Fields: page("405"), Cases: []string{"TRACE"}},
	{Row: "method", On: "apache", Fields: Fields{"header Content-Type": "message/http", "*": "?"}, Cases: []string{"TRACE"}},
	{Row: "method", On: "nginx", Fields: page("400"), Cases: []string{"a method in lower case"}},
	{Row: "method", On: "nginx", Fields: page("400 or 405"), Cases: []string{"CONNECT", "CONNECT to a mux"}},
	{Row: "method", On: "apache", Fields: Fields{"handler 0.1": "*", "handler 0.2": "*", "handler 0.3": "*"}, Cases: []string{"CONNECT"}},
	{Row: "method", On: "apache", Fields: Fields{"status": "200", "*": "?"}, Cases: []string{"CONNECT to a mux"}},
	{Row: "host", On: "all", Fields: page("400"), Cases: []string{"Host that is empty"}},
	{Row: "host", On: "nginx", Fields: Fields{"status": "200 or 400", "*": "?"}, Cases: []string{"a Host in UTF-8"}},
	{Row: "fields", On: "nginx", Fields: Fields{"status": "200", "*": "?"}, Cases: []string{
		"no colon", "a control character in a field", "a field name in UTF-8",
	}},
	{Row: "fields", On: "nginx", Fields: page("400"), Cases: []string{"a field over two lines"}},
	{Row: "fields", On: "nginx", Fields: Fields{"handler 0.6": "*"}, Cases: []string{
		"a field name with every character that may be in it", "a field name with an underscore",
	}},
	{Row: "fields", On: "apache", Fields: page("400"), Cases: []string{"line feeds alone"}},
	{Row: "repeated", On: "apache h1", Fields: Fields{"handler 0.6": "X-A: [\"1, 2, 3\"]"}, Cases: []string{"a repeated header field"}},
	{Row: "repeated", On: "apache h2", Fields: Fields{"handler 0.6": "*"}, Cases: []string{"a repeated header field"}},
	{Row: "repeated", On: "apache h1", Fields: Fields{"handler 0.6": "Cookie: [\"a=1, b=2\"]"}, Cases: []string{"several cookie fields"}},
	{Row: "no-body", On: "apache h2", Fields: Fields{"handler 0.6": "?"}, Cases: []string{"header fields of every kind"}},
	{Row: "version", On: "all", Fields: Fields{"status": "none", "*": "?"}, Cases: []string{"no version"}},
	{Row: "version", On: "all", Fields: page("400"), Cases: []string{"HTTP/0.9 by its name"}},
	{Row: "version", On: "apache", Fields: Fields{"status": "200", "*": "?"}, Cases: []string{"HTTP/3.0"}},
	{Row: "preface", On: "nginx", Fields: page("400"), Cases: []string{"the preface of HTTP/2"}},
	{Row: "preface", On: "prefork", Fields: page("400"), Cases: []string{"the preface of HTTP/2"}},
	{Row: "preface", On: "event", Fields: Fields{"*": "?"}, Cases: []string{"the preface of HTTP/2"}},
	{Row: "too-large", On: "all", Fields: page("400"), Cases: []string{"a field of 2 MB"}},
	{Row: "too-large", On: "all", Fields: page("414"), Cases: []string{"a target of 2 MB"}},
	{Row: "framing", On: "all", Fields: page("400"), Cases: []string{"two lengths that are equal"}},
	{Row: "framing", On: "nginx", Fields: page("400"), Cases: []string{"a length and chunked", "chunked twice", "chunked in HTTP/1.0"}},
	{Row: "framing", On: "apache", Fields: Fields{"connection": "closed", "header Connection": "close"}, Cases: []string{"a length and chunked"}},
	{Row: "framing", On: "apache", Fields: page("400"), Cases: []string{"a transfer coding that nobody has", "identity of the client"}},
	{Row: "framing", On: "apache", Fields: Fields{"status": "200", "*": "?"}, Cases: []string{"gzip and chunked", "chunked twice"}},
	{Row: "framing", On: "apache", Fields: Fields{"handler 0.4": "*"}, Cases: []string{"chunked in HTTP/1.0"}},
	{Row: "max-bytes", On: "apache", Fields: Fields{"header Connection": "?"}, Cases: []string{"a form over 10 MB"}},
	{Row: "expectation", On: "apache", Fields: Fields{"body": "the server's page", "*": "?"}, Cases: []string{"another expectation"}},
	{Row: "copied", On: "nginx h1, apache h1", Fields: Fields{"handler 0.0": "2000 <nil>", "body": "*", "framing": "?"}, Cases: []string{"a body copied to the response"}},
	{Row: "panic", On: "all", Fields: Fields{"end": "cut"}, Cases: []string{"ErrAbortHandler in HTTP/1.0"}},
	{Row: "late", On: "all", Fields: Fields{"connection": "?"}, Cases: []string{"a write after the handler has ended"}},
	{Row: "late", On: "all", Fields: Fields{"handler 0.0": "true"}, Cases: []string{"a flush after the handler has ended"}},
	{Row: "expect", On: "nginx", Fields: Fields{"first": "?"}, Cases: []string{"a read behind the head of the response"}},
}
