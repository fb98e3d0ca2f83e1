"""Tells what its import has met: the collector, and how code is read."""

import gc
import io
import json
import os
import sys

before = gc.get_stats()[0]["collections"]
if "OWN" in os.environ:
    gc.set_threshold(int(os.environ["OWN"]), 20, 30)
if "FREEZE" in os.environ:
    gc.freeze()
kept = [[i] for i in range(50000)]
during = gc.get_stats()[0]["collections"] - before

events = []
sys.addaudithook(lambda event, args: events.append(str(args[0]))
                 if event == "open" else None)


def read(path):
    """What io.open_code() gives for the path."""
    try:
        with io.open_code(path) as f:
            with open(path, "rb") as plain:
                same = f.read() == plain.read()
            return [type(f).__name__, same]
    except OSError as e:
        return [type(e).__name__, e.filename == path]


def code():
    cached = json.__spec__.cached
    events.clear()
    facts = {"pyc": read(cached), "audited": events.count(cached),
             "py": read(__file__), "missing": read("/nonexistent/a.pyc"),
             "directory": read(os.environ["PLACE"] + "/directory.pyc"),
             "empty": read(os.environ["PLACE"] + "/empty.pyc")}
    sys.path.append(os.environ["PLACE"])
    import sourceless
    import unreadable
    return dict(facts, sourceless=sourceless.value, unreadable=unreadable.value)


def collector():
    old = gc.get_objects(generation=2 if sys.version_info < (3, 14) else 1)
    return {"few": during < 5, "threshold": gc.get_threshold(),
            "frozen": gc.get_freeze_count() > 0,
            "old": any(o is kept for o in old)}


def application(environ, start_response):
    facts = code() if environ["PATH_INFO"] == "/code" else collector()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(facts, sort_keys=True).encode()]
