import os

if os.path.exists(os.environ["FLAG"]):
    raise RuntimeError("not now")


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"now it works"]
