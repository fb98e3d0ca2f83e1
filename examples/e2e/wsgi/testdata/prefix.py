"""Tells which Python runs it."""

import os
import sys


def application(environ, start_response):
    where = " ".join((sys.prefix, sys.executable, os.__file__))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [where.encode()]
