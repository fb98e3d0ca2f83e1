/*
 * Reads the bytecode of modules.  A file object asks the system three times
 * as much, and a site has a thousand of them.
 */

#include "python.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* The open file and its size, or -1: also where the size is not told. */
static int
open_sized(const char *name, size_t *size)
{
    struct stat st;
    int fd = open(name, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return -1;
    }

    if (fstat(fd, &st) || st.st_size <= 0) {
        close(fd);
        return -1;
    }

    *size = (size_t) st.st_size;

    return fd;
}

/* All bytes of the file, or NULL, with an exception if there is no memory. */
static PyObject *
read_whole(const char *name)
{
    PyObject *bytes;
    ssize_t n;
    size_t size;
    int fd;

    Py_BEGIN_ALLOW_THREADS
    fd = open_sized(name, &size);
    Py_END_ALLOW_THREADS

    if (fd < 0) {
        return NULL;
    }

    bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t) size);

    if (bytes) {
        Py_BEGIN_ALLOW_THREADS
        n = read(fd, PyBytes_AS_STRING(bytes), size);
        Py_END_ALLOW_THREADS

        if (n != (ssize_t) size) {
            Py_CLEAR(bytes);
        }
    }

    close(fd);

    return bytes;
}

static int
is_bytecode(const char *name)
{
    size_t len = strlen(name);

    return len > 4 && strcmp(name + len - 4, ".pyc") == 0;
}

/* A bytes object with what the file holds, or NULL as above. */
static PyObject *
read_bytecode(PyObject *path)
{
    PyObject *name, *bytes = NULL;

    if (!PyUnicode_FSConverter(path, &name)) {
        return NULL;
    }

    if (is_bytecode(PyBytes_AS_STRING(name))
        && PySys_Audit("open", "Osi", path, "rb", O_RDONLY | O_CLOEXEC) == 0)
    {
        bytes = read_whole(PyBytes_AS_STRING(name));
    }

    Py_DECREF(name);

    return bytes;
}

/*
 * io.open_code() of PEP 578: a new file object for path.  What is not read
 * here is Python's own to open, and to raise an exception for.
 */
PyObject *
gsgi_open_code(PyObject *path, void *unused)
{
    PyObject *bytes = read_bytecode(path), *io, *file = NULL;

    if (PyErr_Occurred()) {
        return NULL;
    }

    io = PyImport_ImportModule("_io");

    if (io) {
        file = bytes ? PyObject_CallMethod(io, "BytesIO", "O", bytes)
                     : PyObject_CallMethod(io, "open", "Os", path, "rb");
        Py_DECREF(io);
    }

    Py_XDECREF(bytes);

    return file;
}
