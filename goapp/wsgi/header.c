/*
 * Status and headers of start_response, checked and packed.
 */

#include "python.h"

/* they belong to the connection, which is the server's */
static const char *const hop_by_hop[] = {
    "connection", "keep-alive", "proxy-connection", "proxy-authenticate",
    "proxy-authorization", "te", "trailer", "trailers", "transfer-encoding",
    "upgrade", NULL
};

#define ENTRY_MAX  (GSGI_CHUNK_BYTES - sizeof(gsgi_head_t))

static int
is_token(const unsigned char *p, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        if (p[i] <= ' ' || p[i] >= 0x7f
            || strchr("\"(),/:;<=>?@[\\]{}", p[i]))
        {
            return 0;
        }
    }

    return len > 0;
}

static int
is_value(const unsigned char *p, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        if ((p[i] < ' ' && p[i] != '\t') || p[i] == 0x7f) {
            return 0;
        }
    }

    return 1;
}

static int
is_digit(Py_UCS4 c)
{
    return c >= '0' && c <= '9';
}

/* The number of "999 Reason"; -1 with an exception. */
int
gsgi_status_parse(PyObject *status)
{
    const void *p;
    Py_ssize_t i, len;
    int kind, n;

    if (!PyUnicode_Check(status)) {
        PyErr_Format(PyExc_TypeError, "the status must be a str, not %.200s",
                     Py_TYPE(status)->tp_name);
        return -1;
    }

    if (PyUnicode_READY(status) < 0) {
        return -1;
    }

    p = PyUnicode_DATA(status);
    kind = PyUnicode_KIND(status);
    len = PyUnicode_GET_LENGTH(status);

    for (i = 0; i < len; i++) {
        if (PyUnicode_READ(kind, p, i) < ' '
            || PyUnicode_READ(kind, p, i) == 0x7f
            || PyUnicode_READ(kind, p, i) > 0xff)
        {
            PyErr_Format(PyExc_ValueError, "the status %R has a control "
                         "character, or one beyond Latin-1", status);
            return -1;
        }
    }

    if (len < 3 || !is_digit(PyUnicode_READ(kind, p, 0))
        || !is_digit(PyUnicode_READ(kind, p, 1))
        || !is_digit(PyUnicode_READ(kind, p, 2))
        || (len > 3 && PyUnicode_READ(kind, p, 3) != ' '))
    {
        PyErr_Format(PyExc_ValueError, "the status %R does not begin with a "
                     "number of three digits and a blank", status);
        return -1;
    }

    n = (int) (PyUnicode_READ(kind, p, 0) - '0') * 100
        + (int) (PyUnicode_READ(kind, p, 1) - '0') * 10
        + (int) (PyUnicode_READ(kind, p, 2) - '0');

    if (n < 200) {
        PyErr_Format(PyExc_ValueError, "the status %R is below 200", status);
        return -1;
    }

    return n;
}

/* The Latin-1 bytes of a str; what says what it is. */
static const unsigned char *
bytes_of(PyObject *str, const char *what, size_t *len)
{
    if (!PyUnicode_Check(str)) {
        PyErr_Format(PyExc_TypeError, "the %s of a header must be a str, not "
                     "%.200s: %R", what, Py_TYPE(str)->tp_name, str);
        return NULL;
    }

    if (PyUnicode_READY(str) < 0) {
        return NULL;
    }

    if (PyUnicode_KIND(str) != PyUnicode_1BYTE_KIND) {
        PyErr_Format(PyExc_ValueError, "the %s of a header has a character "
                     "beyond Latin-1: %R", what, str);
        return NULL;
    }

    *len = (size_t) PyUnicode_GET_LENGTH(str);

    return PyUnicode_1BYTE_DATA(str);
}

static int
reserve(gsgi_job_t *job, size_t more)
{
    size_t room = job->head_room ? job->head_room : 512;
    char *p;

    while (room - job->head_len < more) {
        room *= 2;
    }

    if (room != job->head_room) {
        p = realloc(job->head, room);
        if (!p) {
            PyErr_NoMemory();
            return -1;
        }
        job->head = p;
        job->head_room = room;
    }

    return 0;
}

static int
pack(gsgi_job_t *job, const unsigned char *name, size_t nlen,
    const unsigned char *value, size_t vlen)
{
    gsgi_entry_t e;
    char *p;

    if (sizeof(e) + nlen + vlen + 2 > ENTRY_MAX) {
        PyErr_Format(PyExc_ValueError, "a header of %zu bytes is too long",
                     nlen + vlen);
        return -1;
    }

    if (reserve(job, sizeof(e) + nlen + vlen + 2)) {
        return -1;
    }

    memset(&e, 0, sizeof(e));
    e.kind = GSGI_ENTRY_HEADER;
    e.name_len = (uint16_t) nlen;
    e.value_len = (uint32_t) vlen;

    p = job->head + job->head_len;
    memcpy(p, &e, sizeof(e));
    p += sizeof(e);
    memcpy(p, name, nlen);
    p += nlen;
    *p++ = '\0';
    memcpy(p, value, vlen);
    p[vlen] = '\0';

    job->head_len += sizeof(e) + nlen + vlen + 2;
    job->nheaders++;

    return 0;
}

static int
is_name(const unsigned char *p, size_t len, const char *lower)
{
    return strlen(lower) == len && strncasecmp((const char *) p, lower, len)
           == 0;
}

/* Content-Length is not among the packed ones. */
static int
set_length(PyObject *value, const unsigned char *p, size_t len,
    int64_t *length)
{
    int64_t n = 0;
    size_t i;

    for (i = 0; i < len && i < 18 && is_digit(p[i]); i++) {
        n = n * 10 + (p[i] - '0');
    }

    if (len == 0 || i < len || (*length >= 0 && *length != n)) {
        PyErr_Format(PyExc_ValueError, "Content-Length %R is not one number",
                     value);
        return -1;
    }

    *length = n;

    return 0;
}

static int
pack_pair(gsgi_job_t *job, PyObject *name, PyObject *value, int64_t *length)
{
    const unsigned char *n, *v;
    size_t nlen, vlen;
    int i;

    n = bytes_of(name, "name", &nlen);
    v = n ? bytes_of(value, "value", &vlen) : NULL;

    if (!v) {
        return -1;
    }

    if (!is_token(n, nlen)) {
        PyErr_Format(PyExc_ValueError, "the name of a header is not a token: "
                     "%R", name);
        return -1;
    }

    if (!is_value(v, vlen)) {
        PyErr_Format(PyExc_ValueError, "header %U has a control character in "
                     "its value: %R", name, value);
        return -1;
    }

    for (i = 0; hop_by_hop[i]; i++) {
        if (is_name(n, nlen, hop_by_hop[i])) {
            PyErr_Format(PyExc_ValueError, "header %U belongs to the "
                         "connection, which is the server's", name);
            return -1;
        }
    }

    if (is_name(n, nlen, "content-length")) {
        return set_length(value, v, vlen, length);
    }

    return pack(job, n, nlen, v, vlen);
}

/* Packs a list of pairs into the job.  0, or -1 with an exception. */
int
gsgi_headers_pack(gsgi_job_t *job, PyObject *headers, int64_t *length)
{
    PyObject *pair;
    Py_ssize_t i;

    job->head_len = 0;
    job->nheaders = 0;
    *length = -1;

    if (!PyList_Check(headers)) {
        PyErr_Format(PyExc_TypeError, "the headers must be a list, not "
                     "%.200s", Py_TYPE(headers)->tp_name);
        return -1;
    }

    for (i = 0; i < PyList_GET_SIZE(headers); i++) {
        pair = PyList_GET_ITEM(headers, i);

        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) {
            PyErr_Format(PyExc_TypeError, "header %zd must be a tuple (name, "
                         "value), not %R", i, pair);
            return -1;
        }

        if (pack_pair(job, PyTuple_GET_ITEM(pair, 0),
                      PyTuple_GET_ITEM(pair, 1), length))
        {
            return -1;
        }
    }

    return 0;
}
