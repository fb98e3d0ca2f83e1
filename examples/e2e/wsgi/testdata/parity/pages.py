"""The application of the parity table: what it does is what is compared.

Every answer that the application means has X-App.  What it sees goes to SEEN,
under the name of the case that the client sends.
"""

import io
import json
import sys
import tempfile
import time

SEEN = {}
PAGES = {}
APP = ("X-App", "1")
TEXT = ("Content-Type", "text/plain")


def page(f):
    PAGES[f.__name__] = f
    return f


def note(env, text):
    SEEN.setdefault(env.get("HTTP_X_CASE", "?"), []).append(text)


def begin(start, status="200 OK", *more):
    return start(status, [APP, TEXT] + list(more))


def attempt(env, what, f, *args):
    """Notes whether something is refused, and goes on if it is."""
    try:
        value = f(*args)
    except Exception:
        note(env, what + " is refused")
        return None
    note(env, what + " is accepted")
    return value


class Closing:
    """An iterable that notes its close."""

    def __init__(self, env, blocks):
        self.env, self.blocks = env, blocks

    def __iter__(self):
        return iter(self.blocks)

    def close(self):
        note(self.env, "closed")


# Ways to answer.

@page
def hello(env, start):
    begin(start)
    return [b"Hello\n"]


@page
def counted(env, start):
    begin(start, "200 OK", ("Content-Length", "6"))
    return [b"Hello\n"]


@page
def blocks(env, start):
    begin(start)
    return [b"one ", b"", b"two"]


@page
def pair(env, start):
    begin(start)
    return (b"one ", b"two")


@page
def empty(env, start):
    begin(start)
    return []


@page
def blank(env, start):
    begin(start)
    return [b""]


@page
def generated(env, start):
    def body():
        begin(start)
        yield b""
        yield b"late "
        yield b"start"
    return body()


@page
def lazy(env, start):
    """No block at all, and start_response only when asked for one."""
    def body():
        begin(start)
        return
        yield
    return body()


class Sequence:
    def __init__(self, blocks):
        self.blocks = blocks

    def __getitem__(self, i):
        return self.blocks[i]


@page
def sequence(env, start):
    begin(start)
    return Sequence([b"by ", b"index"])


class Sized(Sequence):
    def __len__(self):
        return len(self.blocks)

    def __iter__(self):
        return iter(self.blocks)


@page
def sized(env, start):
    begin(start)
    return Sized([b"len is 1"])


class Blocks(list):
    def __iter__(self):
        return iter([b"by iter"])


@page
def sublist(env, start):
    begin(start)
    return Blocks([b"not this"])


class Bytes(bytes):
    pass


@page
def subbytes(env, start):
    begin(start)
    return [Bytes(b"a subclass")]


@page
def array(env, start):
    begin(start)
    return [bytearray(b"no bytes")]


@page
def mapped(env, start):
    begin(start)
    return map(str.encode, ["a ", "map"])


@page
def megabyte(env, start):
    begin(start)
    return (b"m" * 4096 for _ in range(256))


@page
def keywords(env, start):
    start(status="200 OK", response_headers=[APP, TEXT], exc_info=None)
    return [b"by name"]


@page
def written(env, start):
    write = begin(start)
    write(b"one ")
    write(b"")
    write(b"two ")
    return [b"three"]


@page
def write_only(env, start):
    begin(start)(b"all of it")
    return []


@page
def write_more(env, start):
    write = begin(start, "200 OK", ("Content-Length", "3"))
    write(b"abc")
    try:
        write(b"def")
    except Exception:
        pass
    return []


@page
def write_str(env, start):
    attempt(env, "str", begin(start), "text")
    return [b"after"]


@page
def hints(env, start):
    f = env.get("wsgi.early_hints")
    if f:
        f([("Link", "</x.css>; rel=preload")])
    begin(start)
    return [b"hinted"]


# Status and headers.

def answer(status, *headers, body=(b"body\n",), kind=list):
    def f(env, start):
        start(status, [APP, TEXT] + list(headers))
        return kind(body)
    return f


PAGES.update({
    "custom": answer("299 Well Done"),
    "reason": answer("200 Fine"),
    "no_reason": answer("200"),
    "blank_reason": answer("200 "),
    "four_o_four": answer("404 Not Found"),
    "teapot": answer("418 I'm a teapot"),
    "failing": answer("500 Internal Server Error"),
    "busy": answer("503 Service Unavailable", ("Retry-After", "3")),
    "created": answer("201 Created", ("Location", "/made/1")),
    "moved": answer("302 Found", ("Location", "/else?a=b")),
    "located": answer("200 OK", ("Location", "/hello")),
    "unauthorized": answer("401 Unauthorized",
                           ("WWW-Authenticate", 'Basic realm="x"')),
    "nothing": answer("204 No Content", body=()),
    "nothing_said": answer("204 No Content"),
    "reset": answer("205 Reset Content", body=()),
    "unmodified": answer("304 Not Modified", ("ETag", '"x"'), body=()),
    "unmodified_counted": answer("304 Not Modified", ("Content-Length", "5"),
                                 body=()),
    "unmodified_said": answer("304 Not Modified"),
    "cookies": answer("200 OK", ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")),
    "latin": answer("200 OK", ("X-Latin", "caf\xe9")),
    "bare": answer("200 OK", ("X-Empty", "")),
    "spaced": answer("200 OK", ("X-Space", " a ")),
    "cased": answer("200 OK", ("x-LOWER", "1")),
    "many": answer("200 OK", *[("X-%03d" % i, "v" * 20) for i in range(90)]),
    "long": answer("200 OK", ("X-Long", "v" * 6000)),
    "server": answer("200 OK", ("Server", "mine")),
    "dated": answer("200 OK", ("Date", "Thu, 01 Jan 1970 00:00:00 GMT")),
    "typed": answer("200 OK", ("Content-Type", "text/html")),
    "accel": answer("200 OK", ("X-Accel-Redirect", "/elsewhere")),
    "sendfile": answer("200 OK", ("X-Sendfile", "/etc/hostname")),
    "etag": answer("200 OK", ("ETag", '"x"')),
    "last": answer("200 OK",
                   ("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT")),
    "connection": answer("200 OK", ("Connection", "close")),
    "keep_alive": answer("200 OK", ("Keep-Alive", "timeout=1")),
    "transfer": answer("200 OK", ("Transfer-Encoding", "identity")),
    "upgrade": answer("200 OK", ("Upgrade", "x")),
    "trailer": answer("200 OK", ("Trailer", "X-T")),
    "short": answer("200 OK", ("Content-Length", "10"), kind=iter),
    "surplus": answer("200 OK", ("Content-Length", "3"),
                      body=(b"abc", b"def"), kind=iter),
    "surplus_block": answer("200 OK", ("Content-Length", "3"),
                            body=(b"abcdef",)),
    "surplus_twice": answer("200 OK", ("Content-Length", "3"),
                            body=(b"abcdef", b"ghi")),
    "length_twice": answer("200 OK", ("Content-Length", "5"),
                           ("Content-Length", "5")),
    "length_other": answer("200 OK", ("Content-Length", "5"),
                           ("Content-Length", "6")),
    "length_word": answer("200 OK", ("Content-Length", "five")),
    "length_minus": answer("200 OK", ("Content-Length", "-5")),
    # mistakes
    "status_number": answer(200),
    "status_bytes": answer(b"200 OK"),
    "status_words": answer("OK"),
    "status_line": answer("200 OK\r\nX-Split: 1"),
    "status_low": answer("100 Continue"),
    "status_high": answer("1000 Much"),
    "header_list": answer("200 OK", ["X-List", "v"]),
    "header_triple": answer("200 OK", ("X-Three", "a", "b")),
    "header_string": answer("200 OK", "X-String"),
    "header_bytes": answer("200 OK", (b"X-Bytes", b"v")),
    "header_number": answer("200 OK", ("X-Number", 5)),
    "header_none": answer("200 OK", ("X-None", None)),
    "header_name": answer("200 OK", ("Bad Name", "v")),
    "header_colon": answer("200 OK", ("X-Colon:", "v")),
    "header_unnamed": answer("200 OK", ("", "v")),
    "header_line": answer("200 OK", ("X-Line", "a\r\nX-Split: 1")),
    "header_feed": answer("200 OK", ("X-Feed", "a\n b")),
    "header_nul": answer("200 OK", ("X-Nul", "a\0b")),
    "header_control": answer("200 OK", ("X-Control", "a\x01b")),
    "header_wide": answer("200 OK", ("X-Wide", "\u2603")),
    "str_block": answer("200 OK", body=("text",)),
    "str_yielded": answer("200 OK", body=("text",), kind=iter),
    "str_later": answer("200 OK", body=(b"fine", "text"), kind=iter),
    "none_block": answer("200 OK", body=(None,)),
})


def returns(value):
    def f(env, start):
        begin(start)
        return value
    return f


PAGES.update({
    "none": returns(None),
    "number": returns(42),
    "text": returns("text"),
    "bytes": returns(b"abc"),
    "headers_tuple": lambda env, start: (start("200 OK", (APP, TEXT)),
                                         [b"x"])[1],
    "headers_none": lambda env, start: (start("200 OK", None), [b"x"])[1],
    "no_start": lambda env, start: [b"never started"],
    "no_start_empty": lambda env, start: [],
})


@page
def listed(env, start):
    """The list of headers changes after start_response."""
    headers = [APP, TEXT]
    start("200 OK", headers)
    headers.append(("X-Later", "1"))
    return [b"x"]


@page
def twice(env, start):
    begin(start)
    attempt(env, "the second start", begin, start, "404 Not Found")
    return [b"x"]


@page
def replaced(env, start):
    begin(start, "200 OK", ("X-First", "1"))
    try:
        raise ValueError("before the head")
    except ValueError:
        start("500 Oops", [APP, TEXT], sys.exc_info())
    return [b"the error page"]


@page
def replaced_late(env, start):
    write = begin(start)
    write(b"out already\n")
    try:
        raise KeyError("after the head")
    except KeyError:
        try:
            start("500 Oops", [APP, TEXT], sys.exc_info())
        except KeyError:
            note(env, "raised again")
            raise
    note(env, "not raised")
    return [b"the error page"]


@page
def replaced_in_body(env, start):
    def body():
        begin(start)
        try:
            raise ValueError("before the first block")
        except ValueError:
            start("500 Oops", [APP, TEXT], sys.exc_info())
        yield b"the error page"
    return body()


# Errors.

@page
def fails(env, start):
    raise RuntimeError("at once")


@page
def fails_started(env, start):
    begin(start)
    raise RuntimeError("after start_response")


@page
def fails_first(env, start):
    begin(start)

    def body():
        raise RuntimeError("before the first block")
        yield b""
    return Closing(env, body())


@page
def fails_later(env, start):
    begin(start)

    def body():
        yield b"some of it\n"
        raise RuntimeError("in the middle")
    return Closing(env, body())


@page
def fails_counted(env, start):
    begin(start, "200 OK", ("Content-Length", "100"))

    def body():
        yield b"some of it\n"
        raise RuntimeError("in the middle")
    return Closing(env, body())


@page
def fails_close(env, start):
    class Bad(Closing):
        def close(self):
            note(env, "closed")
            raise RuntimeError("in close")
    begin(start)
    return Bad(env, [b"fine"])


@page
def exits(env, start):
    sys.exit(3)


@page
def closing(env, start):
    begin(start)
    return Closing(env, [b"one ", b"two"])


@page
def endless(env, start):
    begin(start)

    def body():
        while True:
            yield b"x" * 65536
            time.sleep(0.01)
    return Closing(env, body())


# Files.

def temporary(size):
    f = tempfile.TemporaryFile()
    f.write(b"0123456789" * (size // 10))
    f.seek(0)
    return f


@page
def filed(env, start):
    begin(start)
    return env["wsgi.file_wrapper"](temporary(50000))


@page
def filed_part(env, start):
    f = temporary(50000)
    f.seek(5)
    begin(start)
    return env["wsgi.file_wrapper"](f, 1000)


@page
def filed_counted(env, start):
    begin(start, "200 OK", ("Content-Length", "15"))
    return env["wsgi.file_wrapper"](temporary(50000))


@page
def filed_memory(env, start):
    begin(start)
    return env["wsgi.file_wrapper"](io.BytesIO(b"in memory " * 10))


@page
def filed_closed(env, start):
    class File(io.BytesIO):
        def close(self):
            note(env, "closed")
            io.BytesIO.close(self)
    begin(start)
    return env["wsgi.file_wrapper"](File(b"in memory"))


@page
def filed_iterated(env, start):
    begin(start)
    return iter(env["wsgi.file_wrapper"](io.BytesIO(b"abcdef"), 4))


# The request.

@page
def cgi(env, start):
    begin(start)
    names = ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING",
             "CONTENT_TYPE", "CONTENT_LENGTH", "SERVER_PROTOCOL")
    return [json.dumps({n: env.get(n) or "" for n in names}).encode()]


@page
def path(env, start):
    begin(start)
    return [ascii([env.get("SCRIPT_NAME"), env.get("PATH_INFO"),
                   env.get("QUERY_STRING")]).encode()]


@page
def uri(env, start):
    begin(start)
    return [ascii(env.get("REQUEST_URI", env.get("RAW_URI"))).encode()]


@page
def server_keys(env, start):
    begin(start)
    return [ascii([env.get(n) for n in ("SERVER_NAME", "SERVER_PORT",
                                        "REMOTE_ADDR")]).encode()]


@page
def more_keys(env, start):
    begin(start)
    names = [n for n in env if n.isupper() and not n.startswith("HTTP_")]
    return [" ".join(sorted(names)).encode()]


@page
def other_keys(env, start):
    begin(start)
    names = [n for n in env if not n.isupper() and n[:5] != "wsgi."]
    return [" ".join(sorted(names)).encode()]


@page
def wsgi_keys(env, start):
    begin(start)
    return [" ".join(sorted(n for n in env if n[:5] == "wsgi.")).encode()]


@page
def wsgi_values(env, start):
    begin(start)
    names = ("wsgi.version", "wsgi.url_scheme", "wsgi.run_once",
             "wsgi.multithread", "wsgi.multiprocess")
    return [ascii([env[n] for n in names]).encode()]


@page
def types(env, start):
    begin(start)
    kinds = {type(v).__name__ for n, v in env.items() if n.isupper()}
    return [ascii([type(env).__name__, sorted(kinds)]).encode()]


@page
def fields(env, start):
    begin(start)
    own = ("HTTP_X_CASE", "HTTP_HOST", "HTTP_CONNECTION", "HTTP_EXPECT",
           "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO")
    return [json.dumps({n: v for n, v in env.items()
                        if n[:5] == "HTTP_" and n not in own},
                       sort_keys=True).encode()]


@page
def scheme(env, start):
    begin(start)
    return [ascii([env["wsgi.url_scheme"], env.get("HTTPS")]).encode()]


@page
def forwarded(env, start):
    begin(start)
    return [ascii([env.get("HTTP_X_FORWARDED_FOR"),
                   env.get("HTTP_X_FORWARDED_PROTO"),
                   env.get("REMOTE_ADDR")]).encode()]


@page
def host(env, start):
    begin(start)
    return [ascii(env.get("HTTP_HOST")).encode()]


@page
def expect(env, start):
    begin(start)
    return [ascii(env.get("HTTP_EXPECT")).encode(), env["wsgi.input"].read(5)]


# The body of the request.

def short(data):
    return data if len(data) < 200 else b"%d bytes" % len(data)


@page
def read(env, start):
    n = int(env.get("CONTENT_LENGTH") or 0)
    data = env["wsgi.input"].read(n)
    begin(start)
    return [short(data)]


@page
def read_all(env, start):
    f = env["wsgi.input"]
    data = f.read(), f.read(), f.read(5)
    begin(start)
    return [b"|".join(short(d) for d in data)]


@page
def read_sizes(env, start):
    f = env["wsgi.input"]
    data = [f.read(0), f.read(3), f.read(4), f.read(100), f.read(1)]
    begin(start)
    return [b"|".join(data)]


@page
def read_minus(env, start):
    data = env["wsgi.input"].read(-1)
    begin(start)
    return [short(data)]


@page
def read_lines(env, start):
    f = env["wsgi.input"]
    data = [f.readline(), f.readline(3)] + f.readlines()
    begin(start)
    return [b"|".join(data)]


@page
def read_iter(env, start):
    data = list(env["wsgi.input"])
    begin(start)
    return [b"|".join(data)]


@page
def read_hint(env, start):
    data = env["wsgi.input"].readlines(3)
    begin(start)
    return [b"|".join(data)]


@page
def read_late(env, start):
    def body():
        begin(start)
        yield b"first "
        yield env["wsgi.input"].read(int(env["CONTENT_LENGTH"]))
    return body()


@page
def read_broken(env, start):
    attempt(env, "read", env["wsgi.input"].read)
    begin(start)
    return [b"x"]


@page
def length(env, start):
    begin(start)
    return [ascii(env.get("CONTENT_LENGTH")).encode()]


@page
def unread(env, start):
    begin(start)
    return [b"not read"]


def application(env, start):
    name = env["PATH_INFO"].split("/")[1] if env["PATH_INFO"] else ""
    if name == "seen":
        start("200 OK", [TEXT])
        return [json.dumps(SEEN.get(env["QUERY_STRING"], [])).encode()]
    note(env, "called")
    f = PAGES.get(name)
    if f is None:
        begin(start, "404 Not Found")
        return [ascii([env.get("SCRIPT_NAME"), env["PATH_INFO"]]).encode()]
    return f(env, start)
