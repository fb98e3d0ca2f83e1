"""A message board in a session: blueprints, a form, errors, a stream."""

import os

from flask import (Blueprint, Flask, Response, abort, redirect,
                   render_template_string, request, session, url_for)

PAGE = """<!DOCTYPE html>
<title>Flask in the web server</title>
<h1>{{ count }} messages of yours</h1>
<ul>{% for m in messages %}<li>{{ m }}</li>{% endfor %}</ul>
<form method="post"><input name="message"><button>say</button></form>
<p><a href="{{ url_for('board.numbers') }}">numbers</a></p>
"""

board = Blueprint("board", __name__)


@board.get("/")
def index():
    messages = session.get("messages", [])
    return render_template_string(PAGE, messages=messages,
                                  count=len(messages))


@board.post("/")
def say():
    message = request.form.get("message", "").strip()
    if not message:
        abort(400, "an empty message")
    session["messages"] = session.get("messages", [])[-9:] + [message]
    return redirect(url_for("board.index"))


@board.get("/numbers")
def numbers():
    count = min(request.args.get("count", 1000, type=int), 10000000)
    return Response(("%d\n" % i for i in range(count)),
                    mimetype="text/plain")


@board.get("/fail")
def fail():
    raise RuntimeError("on purpose")


def create_app(secret=None):
    app = Flask(__name__)
    app.secret_key = secret or os.environ.get("SECRET", "only-for-the-example")
    app.register_blueprint(board)

    @app.errorhandler(400)
    def bad_request(error):
        return "refused: %s\n" % error.description, 400

    return app
