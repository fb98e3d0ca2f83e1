/*
 * What the application returned, on its way to the client.
 */

#include "python.h"

/* blocks of a list are joined up to this size */
#define JOINED  65536

static int
not_iterable(PyObject *body)
{
    PyErr_Format(PyExc_TypeError, "the application returned %.200s; it must "
                 "return an iterable of bytes, such as [body]",
                 Py_TYPE(body)->tp_name);

    return -1;
}

/*
 * The head alone, with the length of the body that does not go with it: of one
 * block, unless something has been written before it.
 */
static int
head_only(gsgi_request_t *req, PyObject *body)
{
    PyObject *block = NULL;
    int64_t length = -1;

    if (PyList_CheckExact(body) && PyList_GET_SIZE(body) == 1) {
        block = PyList_GET_ITEM(body, 0);
    } else if (PyTuple_CheckExact(body) && PyTuple_GET_SIZE(body) == 1) {
        block = PyTuple_GET_ITEM(body, 0);
    }

    if (block && !req->ended && PyBytes_Check(block)
        && PyBytes_GET_SIZE(block))
    {
        length = PyBytes_GET_SIZE(block);
    }

    if (!req->committed) {
        if (gsgi_request_commit(req, length)) {
            return -1;
        }
        req->job->block_len = 0;
        gsgi_request_send(req, GSGI_SEND_HEAD | GSGI_SEND_LAST);
    }

    return 0;
}

/* The end of a body whose blocks have gone out. */
static int
end(gsgi_request_t *req)
{
    char text[128];

    if (req->failed || req->finished) {
        return 0;
    }

    if (!req->committed) {
        if (gsgi_request_commit(req, req->job->flags & GSGI_JOB_HEAD
                                     ? -1 : 0))
        {
            return -1;
        }
        req->job->block_len = 0;
        if (req->job->length <= 0 || gsgi_request_bodiless(req)) {
            gsgi_request_send(req, GSGI_SEND_HEAD | GSGI_SEND_LAST);
            return 0;
        }
        gsgi_request_send(req, GSGI_SEND_HEAD);
    }

    if (req->job->length >= 0 && (int64_t) req->sent < req->job->length
        && !gsgi_request_bodiless(req) && !req->failed)
    {
        snprintf(text, sizeof(text), "the body ended after %llu bytes, its "
                 "Content-Length is %lld", (unsigned long long) req->sent,
                 (long long) req->job->length);
        gsgi_log_text(req->job, GSGI_LOG_ERROR, text);
        gsgi_request_fail(req);
    }

    return 0;
}

static int
total(PyObject *const *blocks, Py_ssize_t n, size_t *sum)
{
    Py_ssize_t i;

    *sum = 0;

    for (i = 0; i < n; i++) {
        if (!PyBytes_Check(blocks[i])) {
            PyErr_Format(PyExc_TypeError, "block %zd of the body must be "
                         "bytes, not %.200s", i, Py_TYPE(blocks[i])->tp_name);
            return -1;
        }
        *sum += (size_t) PyBytes_GET_SIZE(blocks[i]);
    }

    return 0;
}

static PyObject *
joined(PyObject *const *blocks, Py_ssize_t n, size_t sum)
{
    PyObject *all = PyBytes_FromStringAndSize(NULL, (Py_ssize_t) sum);
    char *p;
    Py_ssize_t i;

    if (!all) {
        return NULL;
    }

    p = PyBytes_AS_STRING(all);

    for (i = 0; i < n; i++) {
        memcpy(p, PyBytes_AS_STRING(blocks[i]),
               (size_t) PyBytes_GET_SIZE(blocks[i]));
        p += PyBytes_GET_SIZE(blocks[i]);
    }

    return all;
}

/* All blocks are there, so the length is known and one call is enough. */
static int
sequence(gsgi_request_t *req, PyObject *const *blocks, Py_ssize_t n)
{
    PyObject *all;
    size_t sum;
    Py_ssize_t i;
    int rc;

    if (n == 0) {
        return end(req);
    }

    if (n == 1 && !req->committed) {
        rc = gsgi_request_block(req, blocks[0], 1);
        return rc ? rc : end(req);
    }

    if (total(blocks, n, &sum)) {
        return -1;
    }

    if (sum <= JOINED && !req->committed) {
        all = joined(blocks, n, sum);
        if (!all) {
            return -1;
        }
        rc = gsgi_request_block(req, all, 1);
        Py_DECREF(all);
        return rc ? rc : end(req);
    }

    if (!req->committed && req->started && req->job->length < 0) {
        req->job->length = (int64_t) sum;
    }

    for (i = 0; i < n && !req->ended; i++) {
        if (gsgi_request_block(req, blocks[i], 0)) {
            return -1;
        }
    }

    return end(req);
}

/* A list may change while a block of it waits. */
static int
list(gsgi_request_t *req, PyObject *body)
{
    PyObject *block, *copy;
    int rc;

    if (PyList_GET_SIZE(body) == 1) {
        block = PyList_GET_ITEM(body, 0);
        Py_INCREF(block);
        rc = sequence(req, &block, 1);
        Py_DECREF(block);
        return rc;
    }

    copy = PyList_AsTuple(body);
    if (!copy) {
        return -1;
    }

    rc = sequence(req, ((PyTupleObject *) copy)->ob_item,
                  PyTuple_GET_SIZE(copy));
    Py_DECREF(copy);

    return rc;
}

/*
 * Whether a block is the last by the Content-Length.  A request body that may
 * still be read keeps the request.
 */
static int
completes(gsgi_request_t *req, PyObject *block)
{
    gsgi_job_t *job = req->job;

    return !req->ended && req->started && job->length > 0
           && (job->flags & GSGI_JOB_WHOLE) && job->body_len == 0
           && PyBytes_Check(block)
           && (uint64_t) PyBytes_GET_SIZE(block)
              == (uint64_t) job->length - req->sent;
}

/* A block, of an answer that may be complete already. */
static int
pass(gsgi_request_t *req, PyObject *block)
{
    if (!req->finished) {
        return gsgi_request_block(req, block, completes(req, block));
    }

    if (!PyBytes_Check(block) || PyBytes_GET_SIZE(block)) {
        gsgi_request_too_long(req, NULL, req->sent);
    }

    return 0;
}

static int
iterate(gsgi_request_t *req, PyObject *body)
{
    PyObject *it = PyObject_GetIter(body), *block;
    int rc = 0;

    if (!it) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)
            && !Py_TYPE(body)->tp_iter && !PySequence_Check(body))
        {
            PyErr_Clear();
            return not_iterable(body);
        }
        return -1;
    }

    while (rc == 0 && !req->ended) {
        if (!req->finished && req->started && gsgi_request_bodiless(req)) {
            break;
        }
        block = PyIter_Next(it);
        if (!block) {
            rc = PyErr_Occurred() ? -1 : 0;
            break;
        }
        rc = pass(req, block);
        Py_DECREF(block);
    }

    Py_DECREF(it);

    return rc ? rc : end(req);
}

static int
send_file(gsgi_request_t *req)
{
    gsgi_job_t *job = req->job;
    int how = GSGI_SEND_FILE | GSGI_SEND_LAST;

    if (job->file_len == 0) {
        return end(req);
    }

    if (!req->committed) {
        how |= GSGI_SEND_HEAD;
        if (gsgi_request_commit(req, job->file_len)) {
            return -1;
        }
    }

    if (job->length >= 0
        && job->file_len > job->length - (int64_t) req->sent)
    {
        job->file_len = job->length - (int64_t) req->sent;
    }

    req->sent += (uint64_t) job->file_len;
    job->block_len = 0;

    if (job->length >= 0 && (int64_t) req->sent < job->length) {
        how &= ~GSGI_SEND_LAST;
    }

    gsgi_request_send(req, how);

    return req->finished ? 0 : end(req);
}

/* 0, or -1 with an exception; the body is closed by the caller. */
int
gsgi_respond(gsgi_request_t *req, PyObject *body)
{
    if (PyBytes_Check(body) || PyUnicode_Check(body) || body == Py_None) {
        return not_iterable(body);
    }

    if (req->started && gsgi_request_bodiless(req) && !req->committed) {
        return head_only(req, body);
    }

    if (PyTuple_CheckExact(body)) {
        return sequence(req, ((PyTupleObject *) body)->ob_item,
                        PyTuple_GET_SIZE(body));
    }

    if (PyList_CheckExact(body)) {
        return list(req, body);
    }

    if (Py_TYPE(body) == gsgi_python.wrapper && req->started
        && gsgi_wrapper_file(body, req->job))
    {
        return send_file(req);
    }

    return iterate(req, body);
}
