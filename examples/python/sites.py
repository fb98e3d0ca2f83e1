"""Three sites in one callable: a process has one Python interpreter."""

import importlib
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SITES = {
    "/django": ("django", "mysite.wsgi", "application"),
    "/flask": ("flask", "board", "create_app()"),
    "/cherrypy": ("cherrypy", "tree", "application"),
}


def load(folder, module, name):
    sys.path.append(os.path.join(os.path.dirname(HERE), folder))
    found = getattr(importlib.import_module(module), name.removesuffix("()"))
    return found() if name.endswith("()") else found


sites = {prefix: load(*site) for prefix, site in SITES.items()}


def application(environ, start_response):
    path = environ.get("PATH_INFO", "")
    for prefix, site in sites.items():
        if path == prefix or path.startswith(prefix + "/"):
            environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + prefix
            environ["PATH_INFO"] = path[len(prefix):]
            return site(environ, start_response)
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"no such site\n"]
