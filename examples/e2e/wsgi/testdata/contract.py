"""Every part of PEP 3333, a path each."""

import atexit
import ctypes
import gc
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc

STATE = {"closed": 0, "open": 0, "ended": []}
LOCAL = threading.local()
PLAIN = [("Content-Type", "text/plain")]

atexit.register(lambda: print("atexit has run", file=sys.stderr))
signal.signal(signal.SIGTERM, signal.SIG_IGN)


class Body:
    """An iterable that counts how often it is opened and closed."""

    def __init__(self, blocks):
        self.blocks = blocks
        STATE["open"] += 1

    def __iter__(self):
        return iter(self.blocks)

    def close(self):
        STATE["closed"] += 1


def endless():
    while True:
        yield b"x" * 4096
        time.sleep(0.01)


def text(start, status, body, headers=PLAIN):
    start(status, list(headers))
    return [body]


def hello(env, start):
    return text(start, "200 OK", b"Hello, world\n")


def environ(env, start):
    facts = {k: v for k, v in env.items() if isinstance(v, (str, int))}
    facts["types"] = sorted({type(v).__name__ for k, v in env.items()
                             if k.isupper()})
    facts["dict"] = type(env) is dict
    facts["version"] = env["wsgi.version"]
    facts["terminated"] = env["wsgi.input_terminated"]
    return text(start, "200 OK", json.dumps(facts).encode())


def process(env, start):
    facts = {"argv": sys.argv, "cwd": os.getcwd(), "path": sys.path,
             "environ": dict(os.environ), "prefix": sys.prefix,
             "encoding": sys.getfilesystemencoding(),
             "thread": threading.get_ident(), "pid": os.getpid(),
             "main": threading.main_thread().ident}
    return text(start, "200 OK", json.dumps(facts).encode())


def read_all(env, start):
    data = env["wsgi.input"]
    return text(start, "200 OK", data.read() + b"|" + data.read())


def read_sizes(env, start):
    data, out = env["wsgi.input"], []
    while True:
        piece = data.read(7)
        if not piece:
            break
        out.append(str(len(piece)).encode())
    return text(start, "200 OK", b" ".join(out))


def read_lines(env, start):
    data = env["wsgi.input"]
    out = [data.readline(), data.readline(3), data.readline()]
    out += data.readlines(1)
    out += list(data)
    out.append(data.readline())
    return text(start, "200 OK", b"|".join(out))


def read_hash(env, start):
    digest, n = hashlib.sha256(), 0
    while True:
        piece = env["wsgi.input"].read(1 << 20)
        if not piece:
            break
        digest.update(piece)
        n += len(piece)
    return text(start, "200 OK", ("%d %s" % (n, digest.hexdigest())).encode())


def errors(env, start):
    e = env["wsgi.errors"]
    e.write("first \u2603 line\n")
    e.write("half ")
    e.writelines(["a line\n", "last without end"])
    e.flush()
    print("printed to stdout")
    print("printed to stderr", file=sys.stderr)
    return hello(env, start)


def writes(env, start):
    write = start("200 OK", list(PLAIN))
    write(b"one ")
    write(b"")
    write(b"two ")
    return [b"three"]


def generator(env, start):
    def blocks():
        start("200 OK", list(PLAIN))
        yield b""
        yield b"late "
        yield b"start"
    return blocks()


GO_ON = threading.Event()


def slow(env, start):
    """Its second block is for who has seen the first one."""
    start("200 OK", list(PLAIN))

    def blocks():
        yield b"begin\n"
        yield b"end\n" if GO_ON.wait(30) else b"nobody has seen it\n"
    return Body(blocks())


def go_on(env, start):
    GO_ON.set()
    return hello(env, start)


def replaced(env, start):
    start("200 OK", [("Content-Type", "text/plain"), ("X-First", "1")])
    try:
        raise ValueError("replaced by exc_info")
    except ValueError:
        start("500 Oops", [("Content-Type", "text/plain")], sys.exc_info())
    return [b"the error page"]


def too_late(env, start):
    write = start("200 OK", list(PLAIN))
    write(b"out already\n")
    try:
        raise KeyError("after the head")
    except KeyError:
        start("500 Oops", list(PLAIN), sys.exc_info())
    return []


def wrapped(env, start):
    f = tempfile.TemporaryFile(dir=os.environ.get("SHARE"))
    f.write(b"0123456789" * 20000)
    f.seek(5)
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "100000")])
    return env["wsgi.file_wrapper"](f, 1000)


class NoFile:
    def __init__(self):
        self.left = [b"not ", b"a ", b"file", b""]

    def read(self, size):
        return self.left.pop(0)

    def close(self):
        STATE["closed"] += 1


def unwrapped(env, start):
    STATE["open"] += 1
    start("200 OK", list(PLAIN))
    return env["wsgi.file_wrapper"](NoFile())


def big_file(env, start):
    f = open(os.environ["BIG"], "rb")
    start("200 OK", [("Content-Type", "application/octet-stream")])
    return env["wsgi.file_wrapper"](f)


def big(env, start):
    n = int(env["QUERY_STRING"] or 1 << 20)
    start("200 OK", [("Content-Type", "application/octet-stream"),
                     ("Content-Length", str(n))])

    def blocks():
        left = n
        while left > 0:
            size = min(left, 1 << 16)
            yield b"b" * size
            left -= size
    return Body(blocks())


def hints(env, start):
    env["wsgi.early_hints"]([("Link", "</style.css>; rel=preload")])
    return hello(env, start)


def many(env, start):
    start("200 OK", list(PLAIN))
    return [b"%d\n" % i for i in range(1000)]


def large_list(env, start):
    start("200 OK", list(PLAIN))
    return tuple(b"%05d" % i * 4000 for i in range(10))


def nothing(env, start):
    start("204 No Content", [])
    return []


def unmodified(env, start):
    start("304 Not Modified", [("ETag", '"x"')])
    return []


def cookies(env, start):
    start("200 OK", PLAIN + [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"),
                             ("X-Latin", "caf\xe9")])
    return [env.get("HTTP_COOKIE", "").encode("latin-1")]


def sleep(env, start):
    time.sleep(float(env["QUERY_STRING"]))
    return hello(env, start)


def spin(env, start):
    end = time.time() + float(env["QUERY_STRING"])
    while time.time() < end:
        pass
    return hello(env, start)


def stuck(env, start):
    """Ends by itself only after a long time, whatever is raised in it."""
    end = time.time() + 20
    while time.time() < end:
        try:
            time.sleep(0.05)
        except BaseException:
            pass
    return hello(env, start)


def hold(env, start):
    """Waits with the interpreter lock, as C code may."""
    ctypes.PyDLL(None).sleep(20)
    return hello(env, start)


def forever(env, start):
    start("200 OK", list(PLAIN))
    return Body(endless())


def write_forever(env, start):
    write = start("200 OK", list(PLAIN))
    STATE["open"] += 1
    try:
        while True:
            write(b"y" * 4096)
            time.sleep(0.01)
    finally:
        STATE["closed"] += 1


def state(env, start):
    gc.collect()
    facts = dict(STATE, objects=len(gc.get_objects()))
    return text(start, "200 OK", json.dumps(facts).encode())


def traced(env, start):
    """How many bytes Python has allocated since this was first asked."""
    if not tracemalloc.is_tracing():
        tracemalloc.start()
    gc.collect()
    return text(start, "200 OK", str(tracemalloc.get_traced_memory()[0]).encode())


def local(env, start):
    LOCAL.count = getattr(LOCAL, "count", 0) + 1
    facts = [threading.get_ident(), LOCAL.count]
    return text(start, "200 OK", json.dumps(facts).encode())


def background(env, start):
    done = []
    t = threading.Thread(target=lambda: (time.sleep(0.05), done.append(1)))
    t.start()
    t.join()
    return text(start, "200 OK", str(done).encode())


def child(env, start):
    done = subprocess.run(["sh", "-c", "echo out; echo err >&2; exit 3"],
                          stdout=subprocess.PIPE, stderr=sys.stderr)
    return text(start, "200 OK", b"%s%d" % (done.stdout, done.returncode))


def kept(env, start):
    """What is kept of a request is harmless after it."""
    STATE["kept"] = (env["wsgi.input"], env["wsgi.errors"], start,
                     start("200 OK", list(PLAIN)))
    return [b"kept"]


def use_kept(env, start):
    data, log, begin, write = STATE.pop("kept")
    said = []
    for call in (lambda: data.read(), lambda: begin("200 OK", []),
                 lambda: write(b"x"), lambda: log.write("late line\n")):
        try:
            said.append(repr(call()))
        except Exception as e:
            said.append("%s: %s" % (type(e).__name__, e))
    return text(start, "200 OK", "\n".join(said).encode())


# What breaks the contract.

def fails(env, start):
    raise RuntimeError("the application fails")


def fails_late(env, start):
    start("200 OK", list(PLAIN))

    def blocks():
        yield b"some of it\n"
        raise RuntimeError("fails in the middle")
    return Body(blocks())


def exits(env, start):
    sys.exit(3)


def close_fails(env, start):
    class Bad(Body):
        def close(self):
            raise RuntimeError("close fails")
    start("200 OK", list(PLAIN))
    return Bad([b"fine"])


def late(env, start):
    """An answer that took its time, and code that runs after its end."""
    size, then = env["QUERY_STRING"].split(",")
    time.sleep(0.002)
    start("200 OK", PLAIN + [("Content-Length", size)])

    def blocks():
        yield b"l" * int(size)
        STATE["after"] = STATE.get("after", 0) + 1
        if then == "raise":
            raise RuntimeError("fails after the answer")
    return Body(blocks())


def after_last(env, start):
    """What can be asked when the answer is complete by its length."""
    start("200 OK", PLAIN + [("Content-Length", "4")])

    def blocks():
        yield b"done"
        said = [repr(env["wsgi.input"].read())]
        try:
            raise KeyError("of the application")
        except KeyError:
            try:
                start("500 Oops", [], sys.exc_info())
            except Exception as e:
                said.append(repr(e))
        STATE["said"] = said
    return Body(blocks())


def left_reader(env, start):
    """A thread that reads the body, also when the request is over."""
    data = env["wsgi.input"]

    def read():
        try:
            while data.readline(5000):
                pass
            said = "the end"
        except Exception as e:
            said = type(e).__name__
        STATE.setdefault("readers", []).append(said)
    threading.Thread(target=read).start()
    time.sleep(0.01)
    try:
        data.read(100)
    except RuntimeError:
        pass
    return text(start, "200 OK", b"left")


def writes_elsewhere(env, start):
    said = []
    write = start("200 OK", list(PLAIN))

    def use():
        try:
            write(b"x")
        except Exception as e:
            said.append("%s: %s" % (type(e).__name__, e))
    t = threading.Thread(target=use)
    t.start()
    t.join()
    return [said[0].encode()]


def two_blocks(env, start):
    start("200 OK", PLAIN + [("Content-Length", "16400")])
    return iter([b"1" * 16300, b"2" * 100])


def violate(status="200 OK", headers=None, body=(b"x",), again=False):
    def app(env, start):
        start(status, list(PLAIN) if headers is None else headers)
        if again:
            start(status, list(PLAIN))
        return body
    return app


PAGES = {
    f.__name__: f for f in (
        hello, environ, process, read_all, read_sizes, read_lines, read_hash,
        errors, writes, generator, slow, go_on, replaced, too_late, wrapped,
        unwrapped, big_file, big, hints, many, large_list, nothing,
        unmodified, cookies, sleep, spin, stuck, hold, traced, forever, write_forever,
        state, local, background, child, kept, use_kept, fails, fails_late, exits,
        close_fails, late, after_last, left_reader, writes_elsewhere,
        two_blocks)
}

PAGES.update({
    "no_start": lambda env, start: [b"x"],
    "none": lambda env, start: None,
    "number": violate(body=42),
    "bytes": violate(body=b"bytes"),
    "str": violate(body="str"),
    "str_block": violate(body=["str"]),
    "str_later": violate(body=[b"fine", "str"]),
    "str_yielded": violate(body=iter(["str"])),
    "header_list": violate(headers=[["Content-Type", "text/plain"]]),
    "header_string": violate(headers=["Content-Type"]),
    "header_bytes": violate(headers=[("X-Bytes", b"v")]),
    "header_tuple": violate(headers=(("A", "b"),)),
    "header_name": violate(headers=[("Bad Name", "v")]),
    "header_value": violate(headers=[("X-Split", "a\r\nB: c")]),
    "header_wide": violate(headers=[("X-Wide", "\u2603")]),
    "header_hop": violate(headers=[("Connection", "close")]),
    "header_length": violate(headers=[("Content-Length", "many")]),
    "status_number": violate(status=200),
    "status_words": violate(status="OK"),
    "status_control": violate(status="200 O\nK"),
    "status_low": violate(status="100 Continue"),
    "twice": violate(again=True),
    "short": violate(headers=[("Content-Length", "10")]),
    "long": violate(headers=[("Content-Length", "3")],
                    body=iter([b"abc", b"def"])),
})


def application(env, start):
    page = PAGES.get(env["PATH_INFO"].strip("/").split("/")[0] or "hello")
    if page is None:
        return text(start, "404 Not Found", b"no such page")
    return page(env, start)


def make(name, greeting="hi"):
    def app(env, start):
        return text(start, "200 OK", ("%s %s" % (greeting, name)).encode())
    return app


class Holder:
    inner = staticmethod(hello)


not_callable = 42
