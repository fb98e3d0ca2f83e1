"""Tells where the interpreter's memory is, and whether it is given back."""

import json
import threading


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * 4096


def advised():
    """Bytes that the system has been asked to hold in huge pages."""
    total = size = 0
    with open("/proc/self/smaps") as f:
        for line in f:
            word, *rest = line.split()
            if word == "Size:":
                size = int(rest[0]) * 1024
            elif word == "VmFlags:" and "hg" in rest:
                total += size
    return total


def deep(n):
    return n and deep(n - 1)


def many(n):
    threads = [threading.Thread(target=deep, args=(500,)) for _ in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def application(environ, start_response):
    many(200)
    before, huge = resident(), advised()
    objects = [b"%0200d" % i for i in range(300000)]
    taken, more = resident() - before, advised() - huge
    del objects
    kept = resident() - before
    facts = {"huge": huge > 0,
             "taken": taken > 60 << 20 and more > 60 << 20,
             "given back": kept < 8 << 20}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(facts).encode()]
