/*
 * wsgi.file_wrapper: an iterator of blocks, and the server's own way to send
 * a file where it is one.
 */

#include "python.h"

#include <structmember.h>
#include <sys/stat.h>

typedef struct {
    PyObject_HEAD
    PyObject    *file;
    Py_ssize_t   size;
} wrapper_t;

static PyObject *plain[3];          /* the types whose bytes are the file's */

static PyObject *
wrapper_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = { "filelike", "blksize", NULL };
    PyObject *file;
    Py_ssize_t size = 65536;
    wrapper_t *w;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|n:file_wrapper",
                                     keywords, &file, &size))
    {
        return NULL;
    }

    w = PyObject_New(wrapper_t, type);

    if (w) {
        Py_INCREF(file);
        w->file = file;
        w->size = size;
    }

    return (PyObject *) w;
}

static PyObject *
wrapper_next(PyObject *self)
{
    wrapper_t *w = (wrapper_t *) self;
    PyObject *block = PyObject_CallMethod(w->file, "read", "n", w->size);
    int rc = block ? PyObject_IsTrue(block) : 0;

    if (rc <= 0) {
        Py_CLEAR(block);
    }

    return block;
}

static PyObject *
wrapper_close(PyObject *self, PyObject *unused)
{
    PyObject *close = PyObject_GetAttrString(((wrapper_t *) self)->file,
                                             "close");
    PyObject *result;

    if (!close) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return NULL;
        }
        PyErr_Clear();
        Py_RETURN_NONE;
    }

    result = PyObject_CallNoArgs(close);
    Py_DECREF(close);

    return result;
}

static void
wrapper_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    Py_XDECREF(((wrapper_t *) self)->file);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyMethodDef wrapper_methods[] = {
    { "close", wrapper_close, METH_NOARGS, "closes the file" },
    { NULL, NULL, 0, NULL }
};

static PyMemberDef wrapper_members[] = {
    { "filelike", T_OBJECT, offsetof(wrapper_t, file), READONLY, NULL },
    { "blksize", T_PYSSIZET, offsetof(wrapper_t, size), READONLY, NULL },
    { NULL, 0, 0, 0, NULL }
};

static PyType_Slot wrapper_slots[] = {
    { Py_tp_new, wrapper_new },
    { Py_tp_iter, PyObject_SelfIter },
    { Py_tp_iternext, wrapper_next },
    { Py_tp_methods, wrapper_methods },
    { Py_tp_members, wrapper_members },
    { Py_tp_dealloc, wrapper_dealloc },
    { Py_tp_doc, "PEP 3333's wsgi.file_wrapper." },
    { 0, NULL }
};

static PyType_Spec wrapper_spec = {
    "gsgi.FileWrapper", sizeof(wrapper_t), 0, Py_TPFLAGS_DEFAULT,
    wrapper_slots
};

PyTypeObject *
gsgi_wrapper_type(void)
{
    static const char *const names[3] = {
        "BufferedReader", "FileIO", "BufferedRandom"
    };
    PyObject *io = PyImport_ImportModule("io");
    int i;

    for (i = 0; i < 3 && io; i++) {
        plain[i] = PyObject_GetAttrString(io, names[i]);
        if (!plain[i]) {
            return NULL;
        }
    }

    Py_XDECREF(io);

    return io ? (PyTypeObject *) PyType_FromSpec(&wrapper_spec) : NULL;
}

/*
 * The io object behind a file.  Others (gzip's) have a descriptor whose bytes
 * are not theirs, so only these types count, also as the attribute `file` of
 * the wrappers that tempfile and Django put around them.  A new reference, or
 * NULL without an exception.
 */
static PyObject *
io_object(PyObject *file)
{
    PyObject *inner;
    int i, depth;

    Py_INCREF(file);

    for (depth = 0; depth < 3; depth++) {
        for (i = 0; i < 3; i++) {
            if ((PyObject *) Py_TYPE(file) == plain[i]) {
                return file;
            }
        }

        inner = PyObject_GetAttrString(file, "file");
        Py_DECREF(file);

        if (!inner) {
            PyErr_Clear();
            return NULL;
        }

        file = inner;
    }

    Py_DECREF(file);

    return NULL;
}

static long long
number(PyObject *file, const char *method)
{
    PyObject *n = PyObject_CallMethod(file, method, NULL);
    long long value = n ? PyLong_AsLongLong(n) : -1;

    Py_XDECREF(n);

    if (PyErr_Occurred()) {
        PyErr_Clear();
        return -1;
    }

    return value;
}

static int
flushed(PyObject *file)
{
    PyObject *done;

    if ((PyObject *) Py_TYPE(file) != plain[2]) {
        return 1;
    }

    done = PyObject_CallMethod(file, "flush", NULL);

    if (!done) {
        PyErr_Clear();
        return 0;
    }

    Py_DECREF(done);

    return 1;
}

/* 1 with the job's file_* set when it is a regular file. */
int
gsgi_wrapper_file(PyObject *self, gsgi_job_t *job)
{
    PyObject *file = io_object(((wrapper_t *) self)->file);
    struct stat st;
    long long fd, at;

    if (!file) {
        return 0;
    }

    fd = flushed(file) ? number(file, "fileno") : -1;
    at = fd >= 0 ? number(file, "tell") : -1;
    Py_DECREF(file);

    if (fd < 0 || at < 0 || fstat((int) fd, &st) != 0
        || !S_ISREG(st.st_mode))
    {
        return 0;
    }

    job->fd = (int) fd;
    job->file_off = at;
    job->file_len = st.st_size > at ? st.st_size - at : 0;

    return 1;
}
