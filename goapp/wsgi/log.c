/*
 * wsgi.errors, sys.stderr and sys.stdout: text to the server's log, line by
 * line.
 */

#include "python.h"

#include <structmember.h>

typedef struct {
    PyObject_HEAD
    gsgi_job_t   *job;              /* wsgi.errors */
    int           level;
    int           fd;
    unsigned      own;              /* the request's, not the process's */
    const char   *name;
    gsgi_line_t   line;
} log_t;

void
gsgi_log_text(gsgi_job_t *job, int level, const char *text)
{
    gsgi_go_log(job, level, (char *) text, strlen(text));
}

static gsgi_job_t *
job_of(log_t *log)
{
    if (log->own) {
        return log->job;
    }

    return gsgi_self ? gsgi_self->job : NULL;
}

/* Threads of the pool gather a line each. */
static gsgi_line_t *
line_of(log_t *log)
{
    if (log->own || !gsgi_self) {
        return &log->line;
    }

    return log->level == GSGI_LOG_ERROR ? &gsgi_self->err : &gsgi_self->out;
}

static void
flush(log_t *log)
{
    gsgi_line_t *line = line_of(log);
    size_t len = line->len;

    if (len > 0) {
        line->len = 0;
        gsgi_go_log(job_of(log), log->level, line->data, len);
    }
}

static int
append(gsgi_line_t *line, const char *text, size_t len)
{
    size_t room = line->room ? line->room : 256;
    char *p;

    while (room - line->len < len) {
        room *= 2;
    }

    if (room != line->room) {
        p = realloc(line->data, room);
        if (!p) {
            PyErr_NoMemory();
            return -1;
        }
        line->data = p;
        line->room = room;
    }

    memcpy(line->data + line->len, text, len);
    line->len += len;

    return 0;
}

static int
put(log_t *log, const char *text, size_t len)
{
    gsgi_line_t *line = line_of(log);
    const char *nl = memrchr(text, '\n', len);
    size_t whole = nl ? (size_t) (nl - text) + 1 : 0;

    if (nl && line->len == 0) {
        gsgi_go_log(job_of(log), log->level, (char *) text, whole);
    } else if (nl) {
        if (append(line, text, whole)) {
            return -1;
        }
        flush(log);
    }

    return len > whole ? append(line, text + whole, len - whole) : 0;
}

static PyObject *
log_write(PyObject *self, PyObject *text)
{
    PyObject *bytes;
    int rc;

    if (!PyUnicode_Check(text)) {
        return PyErr_Format(PyExc_TypeError, "write() argument must be str, "
                            "not %.200s", Py_TYPE(text)->tp_name);
    }

    bytes = PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace");
    if (!bytes) {
        return NULL;
    }

    rc = put((log_t *) self, PyBytes_AS_STRING(bytes),
             (size_t) PyBytes_GET_SIZE(bytes));
    Py_DECREF(bytes);

    return rc ? NULL : PyLong_FromSsize_t(PyUnicode_GET_LENGTH(text));
}

static PyObject *
log_writelines(PyObject *self, PyObject *lines)
{
    PyObject *it = PyObject_GetIter(lines), *one, *n;

    while (it && (one = PyIter_Next(it))) {
        n = log_write(self, one);
        Py_DECREF(one);
        if (!n) {
            break;
        }
        Py_DECREF(n);
    }

    Py_XDECREF(it);

    if (PyErr_Occurred()) {
        return NULL;
    }

    Py_RETURN_NONE;
}

static PyObject *
log_flush(PyObject *self, PyObject *unused)
{
    flush((log_t *) self);

    Py_RETURN_NONE;
}

static PyObject *
log_fileno(PyObject *self, PyObject *unused)
{
    return PyLong_FromLong(((log_t *) self)->fd);
}

static PyObject *
log_true(PyObject *self, PyObject *unused)
{
    Py_RETURN_TRUE;
}

static PyObject *
log_false(PyObject *self, PyObject *unused)
{
    Py_RETURN_FALSE;
}

static void
log_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    free(((log_t *) self)->line.data);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *
get_name(PyObject *self, void *unused)
{
    return PyUnicode_FromString(((log_t *) self)->name);
}

static PyObject *
get_text(PyObject *self, void *text)
{
    return PyUnicode_FromString(text);
}

static PyObject *
get_false(PyObject *self, void *unused)
{
    Py_RETURN_FALSE;
}

static PyObject *
get_none(PyObject *self, void *unused)
{
    Py_RETURN_NONE;
}

static PyMethodDef log_methods[] = {
    { "write", log_write, METH_O, "write(text): to the server's log" },
    { "writelines", log_writelines, METH_O, "writelines(texts)" },
    { "flush", log_flush, METH_NOARGS, "logs what has no line end yet" },
    { "close", log_flush, METH_NOARGS, "does not close" },
    { "fileno", log_fileno, METH_NOARGS, "the process's descriptor" },
    { "isatty", log_false, METH_NOARGS, "False" },
    { "readable", log_false, METH_NOARGS, "False" },
    { "seekable", log_false, METH_NOARGS, "False" },
    { "writable", log_true, METH_NOARGS, "True" },
    { NULL, NULL, 0, NULL }
};

static PyGetSetDef log_attributes[] = {
    { "name", get_name, NULL, NULL, NULL },
    { "mode", get_text, NULL, NULL, "w" },
    { "encoding", get_text, NULL, NULL, "utf-8" },
    { "errors", get_text, NULL, NULL, "backslashreplace" },
    { "closed", get_false, NULL, NULL, NULL },
    { "line_buffering", get_false, NULL, NULL, NULL },
    { "newlines", get_none, NULL, NULL, NULL },
    { NULL, NULL, NULL, NULL, NULL }
};

static PyType_Slot log_slots[] = {
    { Py_tp_methods, log_methods },
    { Py_tp_getset, log_attributes },
    { Py_tp_dealloc, log_dealloc },
    { Py_tp_doc, "PEP 3333's wsgi.errors: the server's log." },
    { 0, NULL }
};

static PyType_Spec log_spec = {
    "gsgi.Log", sizeof(log_t), 0, Py_TPFLAGS_DEFAULT, log_slots
};

PyTypeObject *
gsgi_log_type(void)
{
    return (PyTypeObject *) PyType_FromSpec(&log_spec);
}

PyObject *
gsgi_log_new(gsgi_job_t *job, int level, const char *name)
{
    log_t *log = PyObject_New(log_t, gsgi_python.log);

    if (log) {
        log->job = job;
        log->own = job != NULL;
        log->level = level;
        log->fd = level == GSGI_LOG_ERROR ? 2 : 1;
        log->name = name;
        memset(&log->line, 0, sizeof(log->line));
    }

    return (PyObject *) log;
}

/* The request is over; what is written later has no request. */
void
gsgi_log_end(PyObject *self)
{
    log_t *log = (log_t *) self;

    flush(log);
    log->job = NULL;
}

/* The traceback of the current exception, which is cleared. */
void
gsgi_log_exception(gsgi_job_t *job)
{
    PyObject *type, *value, *tb, *text;
    const char *p;
    Py_ssize_t len;

    PyErr_Fetch(&type, &value, &tb);
    PyErr_NormalizeException(&type, &value, &tb);

    text = PyObject_CallMethod(gsgi_python.boot, "_format", "OOO",
                               type ? type : Py_None, value ? value : Py_None,
                               tb ? tb : Py_None);
    p = text ? PyUnicode_AsUTF8AndSize(text, &len) : NULL;

    if (p) {
        gsgi_go_log(job, GSGI_LOG_ERROR, (char *) p, (size_t) len);
    } else {
        gsgi_log_text(job, GSGI_LOG_ERROR, "an exception that cannot be "
                      "formatted");
        PyErr_Clear();
    }

    Py_XDECREF(text);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(tb);
}
