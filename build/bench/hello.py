import os


def application(environ, start_response):
    path = environ["PATH_INFO"]
    at = path.find("/admin/")
    if at >= 0:
        environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + path[:at]
        environ["PATH_INFO"] = path[at:]
        return django()(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello, world\n"]


site = None


def django():
    """The example with Django's admin, from the first page of it on."""
    global site
    if site is None:
        import sys
        sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "django"))
        from mysite.wsgi import application as loaded
        site = loaded
    return site
