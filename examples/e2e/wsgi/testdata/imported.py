import os

with open(os.environ["IMPORTS"], "a") as f:
    print(os.getpid(), file=f)
if os.environ.get("CRASH"):
    os.abort()
if os.environ.get("EXIT"):
    os._exit(int(os.environ["EXIT"]))


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"imported"]
