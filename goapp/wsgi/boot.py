"""What the library does in Python itself; for applications: LogHandler."""

import ast
import contextlib
import gc
import importlib
import importlib.util
import logging
import os
import signal
import sys
import threading
import traceback
from importlib.machinery import SourceFileLoader

ERROR, WARN, NOTICE, INFO, DEBUG = 4, 5, 6, 7, 8


class RequestTimeout(BaseException):
    """Raised in the thread of a request whose time is over."""


class LogHandler(logging.Handler):
    """Sends records to the server's log, each at its own level."""

    def emit(self, record):
        try:
            text = self.format(record)
        except Exception:
            self.handleError(record)
            return
        if record.levelno >= logging.ERROR:
            level = ERROR
        elif record.levelno >= logging.WARNING:
            level = WARN
        else:
            level = INFO if record.levelno >= logging.INFO else DEBUG
        _log(level, text)


def _format(kind, value, tb):
    if kind is None:
        return "no exception"
    hidden = ("<gsgi>", "<frozen importlib._bootstrap>", importlib.__file__,
              "<frozen importlib._bootstrap_external>")
    while tb is not None and tb.tb_frame.f_code.co_filename in hidden:
        tb = tb.tb_next
    if isinstance(value, _Mistake):
        return str(value)
    lines = traceback.format_exception(kind, value, tb)
    if issubclass(kind, ImportError) and not tb:
        return "".join(lines[-1:])
    return "".join(lines)


class _Mistake(Exception):
    pass


def _set_signal(number, handler):
    where = "".join(traceback.format_stack(sys._getframe(1), 3))
    _log(WARN, "signal.signal(%r, ...) is ignored, signals are the web "
         "server's:\n%s" % (number, where))
    return signal.getsignal(number)


_exit = os._exit
_server = os.getpid()


def _leave(status):
    # 2 from a worker of NGINX, 15 from a child of httpd end the server
    if status in (2, 15) and os.getpid() == _server:
        status = 1
    _exit(status)


def _start(paths, home):
    if home and os.path.exists(os.path.join(home, "pyvenv.cfg")):
        version = "python%d.%d" % sys.version_info[:2]
        if not os.path.isdir(os.path.join(home, "lib", version)):
            raise _Mistake("--home %s is not for %s, which this library has"
                           % (home, version))
    sys.path[:0] = [p for p in dict.fromkeys(paths) if p not in sys.path]
    sys.stdin = open(os.devnull)
    signal.signal = _set_signal
    os._exit = _leave


def _split(spec):
    """Splits MODULE:CALLABLE, where MODULE may be a path."""
    name, colon, call = spec.partition(":")
    if not colon:
        call = "application"
    return name, call.strip()


class _Script(SourceFileLoader):
    """Compiles the file as it is, as Python does with a script: bytecode
    that is kept knows a change only by its second and the file's size."""

    def get_code(self, fullname):
        return self.source_to_code(self.get_data(self.path), self.path)


def _is_path(name):
    # mysite.wsgi is a module, unless there is a file of that name
    return "/" in name or name.endswith(".py") or os.path.isfile(name)


def _module(name):
    if not _is_path(name):
        return importlib.import_module(name)
    path = os.path.abspath(name)
    if not os.path.isfile(path):
        raise _Mistake("%s is not a file" % path)
    stem = os.path.splitext(os.path.basename(path))[0]
    title = "_gsgi_" + "".join(c if c.isalnum() else "_" for c in stem)
    loader = _Script(title, path)
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader(title, loader))
    sys.modules[title] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[title]
        raise
    return module


def _find(module, name, call):
    """The object that an expression names: f, a.f or f('x', key=1)."""
    try:
        node = ast.parse(call, mode="eval").body
    except SyntaxError:
        raise _Mistake("%r is not the name of a callable" % call) from None
    args, kwargs = None, {}
    if isinstance(node, ast.Call):
        try:
            args = [ast.literal_eval(a) for a in node.args]
            kwargs = {k.arg: ast.literal_eval(k.value) for k in node.keywords}
        except ValueError:
            raise _Mistake("the arguments of %s must be literals"
                           % call) from None
        node = node.func
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise _Mistake("%r is not the name of a callable" % call)
    found = module
    for part in [node.id] + names[::-1]:
        try:
            found = getattr(found, part)
        except AttributeError:
            raise _Mistake("%s has no %s" % (name, part)) from None
    return found if args is None else found(*args, **kwargs)


@contextlib.contextmanager
def _importing(young=99991):    # no application sets this one itself
    """What an import makes stays: the collector looks at it when there is
    much, and not at every 700 objects."""
    first, *rest = gc.get_threshold()
    if 0 < first < young:
        gc.set_threshold(young, *rest)
    try:
        yield
    finally:
        now, *rest = gc.get_threshold()
        if now == young != first:
            if not gc.get_freeze_count():
                gc.freeze()         # all that is young ...
                gc.unfreeze()       # ... is old now
            gc.set_threshold(first, *rest)


def _import(spec, validate):
    name, call = _split(spec)
    if not name:
        raise _Mistake("no application is named: MODULE:CALLABLE")
    try:
        module = _module(name)
    except ModuleNotFoundError as e:
        if e.name and (name == e.name or name.startswith(e.name + ".")):
            raise _Mistake("there is no module %s; sys.path is %s"
                           % (e.name, os.pathsep.join(sys.path))) from None
        raise
    except SystemExit as e:
        raise _Mistake("%s has called sys.exit(%s) when it was imported"
                       % (name, e.code)) from e
    app = _find(module, name, call)
    if not callable(app):
        raise _Mistake("%s of %s is not callable, it is %r"
                       % (call, name, app))
    if validate:
        from wsgiref.validate import validator
        app = validator(app)
    return app


_loading = threading.Lock()


def _load(spec, validate):
    if not _loading.acquire(timeout=60):
        return None
    try:
        with _importing():
            return _import(spec, validate)
    finally:
        _loading.release()


def _stack(ident):
    frame = sys._current_frames().get(ident)
    if frame is None:
        return "the request has timed out; its thread is not in Python"
    return ("the request has timed out; its thread is here:\n"
            + "".join(traceback.format_stack(frame)))


_times = {}


def _changed():
    """The file of a module that has changed since it was first seen."""
    for module in list(sys.modules.values()):
        name = getattr(module, "__file__", None)
        if not isinstance(name, str):
            continue
        try:
            time = os.stat(name).st_mtime_ns
        except OSError:
            continue
        if _times.setdefault(name, time) != time:
            return name
    return None


def _end():
    import atexit
    threading._shutdown()
    atexit._run_exitfuncs()
    logging.shutdown()
    for stream in sys.stdout, sys.stderr:
        stream.flush()
