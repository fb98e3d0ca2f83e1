"""An object tree: a path is an attribute, its rest are arguments."""

import html

import cherrypy


class Sums:
    @cherrypy.expose
    def add(self, a, b=1):
        return "%d\n" % (int(a) + int(b))


class Root:
    sums = Sums()

    @cherrypy.expose
    def index(self, name="world"):
        return ("<!DOCTYPE html>\n<title>CherryPy in the web server</title>\n"
                "<h1>Hello, %s</h1>\n<a href='%s'>1 + 2</a>\n"
                % (html.escape(name), cherrypy.url("/sums/add/1/2")))

    @cherrypy.expose
    def count(self):
        n = cherrypy.session.get("n", 0) + 1
        cherrypy.session["n"] = n
        return "%d\n" % n

    @cherrypy.expose
    def upload(self, file):
        size = 0
        while True:
            block = file.file.read(65536)
            if not block:
                return "%d\n" % size
            size += len(block)


cherrypy.config.update({"environment": "embedded", "log.screen": True})
application = cherrypy.Application(Root(), script_name=None, config={
    "/": {"tools.sessions.on": True}})
