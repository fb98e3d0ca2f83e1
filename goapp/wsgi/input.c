/*
 * wsgi.input: the body of the request, read as it is asked for.
 */

#include "python.h"

#define ROOM  65536

typedef struct {
    PyObject_HEAD
    gsgi_job_t  *job;               /* NULL: the request is over */
    char        *buf;               /* the job's, or own */
    size_t       pos;
    size_t       end;
    char        *own;
    unsigned     eof;
    unsigned     busy;              /* a thread waits for Go */
    unsigned     drained;           /* the job is Go's, nothing was left */
} input_t;

static int
over(input_t *in)
{
    if (!in->job && !in->drained) {
        PyErr_SetString(PyExc_ValueError, "the request is over");
        return 1;
    }

    return 0;
}

static int
read_error(long rc)
{
    switch (rc) {

    case GSGI_READ_LARGE:
        PyErr_SetString(PyExc_OSError, "the request body is larger than the "
                        "server allows");
        break;

    case GSGI_READ_TIMEOUT:
        PyErr_SetString(PyExc_TimeoutError, "the client has stopped sending "
                        "the request body");
        break;

    default:
        PyErr_SetString(PyExc_ConnectionResetError, "the request body is not "
                        "complete: the client has gone");
    }

    return -1;
}

/*
 * Reads into p.  The number of bytes, 0 at the end, -1 with an exception.
 * Threads of the application's own may read, too, and the request may end
 * under them.
 */
static long
fetch(input_t *in, char *p, size_t len)
{
    PyThreadState *state;
    uint64_t id;
    long n;

    if (in->eof) {
        return 0;
    }

    if (in->busy) {
        PyErr_SetString(PyExc_RuntimeError, "another thread is reading");
        return -1;
    }

    id = in->job->id;
    in->busy = 1;
    state = PyEval_SaveThread();
    n = gsgi_go_read(id, p, len);
    PyEval_RestoreThread(state);
    in->busy = 0;

    if (!in->job) {
        (void) over(in);
        return -1;
    }

    if (n < 0) {
        return read_error(n);
    }

    in->eof = n == 0;

    return n;
}

static int
fill(input_t *in)
{
    long n;

    if (in->pos < in->end) {
        return 1;
    }

    if (in->eof) {
        return 0;
    }

    if (!in->own) {
        in->own = malloc(ROOM);
        if (!in->own) {
            PyErr_NoMemory();
            return -1;
        }
    }

    in->buf = in->own;
    in->pos = in->end = 0;
    n = fetch(in, in->own, ROOM);

    if (n > 0) {
        in->end = (size_t) n;
    }

    return n > 0 ? 1 : (int) n;
}

static size_t
take(input_t *in, char *p, size_t len)
{
    size_t n = in->end - in->pos;

    if (n > len) {
        n = len;
    }

    memcpy(p, in->buf + in->pos, n);
    in->pos += n;

    return n;
}

/* Exactly size bytes, but for the end of the body. */
static PyObject *
read_size(input_t *in, size_t size)
{
    PyObject *all;
    size_t n;
    long m;

    if (size > PY_SSIZE_T_MAX) {
        size = PY_SSIZE_T_MAX;
    }

    if (in->eof && size > in->end - in->pos) {
        size = in->end - in->pos;
    }

    all = PyBytes_FromStringAndSize(NULL, (Py_ssize_t) size);
    if (!all) {
        return NULL;
    }

    n = take(in, PyBytes_AS_STRING(all), size);

    while (n < size) {
        m = fetch(in, PyBytes_AS_STRING(all) + n, size - n);
        if (m < 0) {
            Py_DECREF(all);
            return NULL;
        }
        if (m == 0) {
            break;
        }
        n += (size_t) m;
    }

    if (n < size) {
        _PyBytes_Resize(&all, (Py_ssize_t) n);
    }

    return all;
}

/* All that is left: in steps that grow, as its length may not be known. */
static PyObject *
read_all(input_t *in)
{
    PyObject *all = NULL, *piece;
    size_t step = ROOM;

    for ( ;; ) {
        piece = read_size(in, in->eof ? in->end - in->pos : step);
        if (!piece) {
            Py_XDECREF(all);
            return NULL;
        }

        if (!all) {
            all = piece;
        } else {
            PyBytes_ConcatAndDel(&all, piece);
            if (!all) {
                return NULL;
            }
        }

        if (in->eof && in->pos == in->end) {
            return all;
        }

        step *= 2;
    }
}

static int
size_of(PyObject *const *args, Py_ssize_t nargs, Py_ssize_t *size)
{
    *size = -1;

    if (nargs > 1) {
        PyErr_SetString(PyExc_TypeError, "at most 1 argument");
        return -1;
    }

    if (nargs == 1 && args[0] != Py_None) {
        *size = PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
        if (*size == -1 && PyErr_Occurred()) {
            return -1;
        }
    }

    return 0;
}

static PyObject *
input_read(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    input_t *in = (input_t *) self;
    Py_ssize_t size;

    if (size_of(args, nargs, &size) || over(in)) {
        return NULL;
    }

    return size < 0 ? read_all(in) : read_size(in, (size_t) size);
}

/* A line of at most size bytes. */
static PyObject *
line(input_t *in, size_t size)
{
    PyObject *all = PyBytes_FromStringAndSize(NULL, 0);
    const char *p, *nl = NULL;
    PyObject *piece;
    size_t n;
    int rc;

    while (all && !nl && size > 0) {
        rc = fill(in);
        if (rc <= 0) {
            if (rc < 0) {
                Py_CLEAR(all);
            }
            break;
        }

        p = in->buf + in->pos;
        n = in->end - in->pos;
        nl = memchr(p, '\n', n < size ? n : size);
        n = nl ? (size_t) (nl - p) + 1 : (n < size ? n : size);

        piece = PyBytes_FromStringAndSize(p, (Py_ssize_t) n);
        in->pos += n;
        size -= n;
        PyBytes_ConcatAndDel(&all, piece);
    }

    return all;
}

static PyObject *
input_readline(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    input_t *in = (input_t *) self;
    Py_ssize_t size;

    if (size_of(args, nargs, &size) || over(in)) {
        return NULL;
    }

    return line(in, size < 0 ? (size_t) PY_SSIZE_T_MAX : (size_t) size);
}

static PyObject *
input_readlines(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    input_t *in = (input_t *) self;
    PyObject *lines, *one;
    Py_ssize_t hint, sum = 0, n = 1;

    if (size_of(args, nargs, &hint) || over(in)) {
        return NULL;
    }

    lines = PyList_New(0);

    while (lines && n > 0 && (hint <= 0 || sum < hint)) {
        one = line(in, (size_t) PY_SSIZE_T_MAX);
        n = one ? PyBytes_GET_SIZE(one) : 0;
        sum += n;
        if (!one || (n > 0 && PyList_Append(lines, one))) {
            Py_CLEAR(lines);
        }
        Py_XDECREF(one);
    }

    return lines;
}

static PyObject *
input_next(PyObject *self)
{
    input_t *in = (input_t *) self;
    PyObject *one;

    if (over(in)) {
        return NULL;
    }

    one = line(in, (size_t) PY_SSIZE_T_MAX);

    if (one && PyBytes_GET_SIZE(one) == 0) {
        Py_CLEAR(one);
    }

    return one;
}

static void
input_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    free(((input_t *) self)->own);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyMethodDef input_methods[] = {
    { "read", (PyCFunction) (void (*)(void)) input_read, METH_FASTCALL,
      "read(size=-1): bytes of the body" },
    { "readline", (PyCFunction) (void (*)(void)) input_readline,
      METH_FASTCALL, "readline(size=-1): a line of the body" },
    { "readlines", (PyCFunction) (void (*)(void)) input_readlines,
      METH_FASTCALL, "readlines(hint=-1): a list of lines" },
    { NULL, NULL, 0, NULL }
};

static PyType_Slot input_slots[] = {
    { Py_tp_methods, input_methods },
    { Py_tp_iter, PyObject_SelfIter },
    { Py_tp_iternext, input_next },
    { Py_tp_dealloc, input_dealloc },
    { Py_tp_doc, "PEP 3333's wsgi.input." },
    { 0, NULL }
};

static PyType_Spec input_spec = {
    "gsgi.Input", sizeof(input_t), 0, Py_TPFLAGS_DEFAULT, input_slots
};

PyTypeObject *
gsgi_input_type(void)
{
    return (PyTypeObject *) PyType_FromSpec(&input_spec);
}

PyObject *
gsgi_input_new(gsgi_job_t *job)
{
    input_t *in = PyObject_New(input_t, gsgi_python.input);

    if (in) {
        in->job = job;
        in->buf = job->data + job->entries_len;
        in->pos = 0;
        in->end = job->body_len;
        in->own = NULL;
        in->busy = in->drained = 0;
        in->eof = (job->flags & GSGI_JOB_WHOLE) != 0;
    }

    return (PyObject *) in;
}

/*
 * The request is over, and its memory with it.  What has been read to its end
 * stays so for as long as the application runs, that is to the second call.
 */
void
gsgi_input_end(PyObject *self)
{
    input_t *in = (input_t *) self;

    in->drained = in->job && in->eof && in->pos == in->end;
    in->job = NULL;
    in->buf = NULL;
    in->pos = in->end = 0;
    in->eof = 1;
}
