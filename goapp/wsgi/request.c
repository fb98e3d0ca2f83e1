/*
 * One request on a Python thread: environ, the call of the application,
 * start_response and write.
 */

#include "python.h"

#include <structmember.h>

/* with its head, an answer up to this size lies in the slot and never waits */
#define SMALL  2000

static PyObject *key_input, *key_errors, *key_hints;

/* Whether nobody wants the response any more. */
static int
is_gone(gsgi_job_t *job)
{
    uint32_t flags;

    if (job->host_flags == NULL) {
        return gsgi_go_gone(job);
    }

    flags = __atomic_load_n(job->host_flags, __ATOMIC_SEQ_CST);

    return (flags & (GSGI_HOST_ABORT | GSGI_HOST_TIMEOUT | GSGI_HOST_STOP))
           != 0;
}

/* Nothing of the job is used any more: it is about to be Go's again. */
static void
let_go(gsgi_request_t *req)
{
    req->finished = 1;

    if (req->log) {
        gsgi_log_end(req->log);
    }
    if (req->input) {
        gsgi_input_end(req->input);
    }

    gsgi_self->job = NULL;
}

/*
 * Sends what the job says.  0: sent; 1: nobody wants it; -1: it failed and
 * has been logged, and the response with it.
 */
int
gsgi_request_send(gsgi_request_t *req, int how)
{
    gsgi_job_t *job = req->job;
    PyThreadState *state;
    int rc;

    if (how & GSGI_SEND_LAST) {
        let_go(req);
        if (!(how & GSGI_SEND_FILE) && gsgi_done_put(job, how)) {
            return GSGI_SENT;
        }
    }

    if ((how & GSGI_SEND_HEAD) && !(how & (GSGI_SEND_FILE | GSGI_SEND_FLUSH))
        && job->head_len + job->block_len <= SMALL)
    {
        rc = gsgi_go_send(job, how);
    } else {
        state = PyEval_SaveThread();
        rc = gsgi_go_send(job, how);
        PyEval_RestoreThread(state);
    }

    if (rc != GSGI_SENT) {
        req->ended = 1;
        req->failed = 1;
    }

    return rc;
}

int
gsgi_request_bodiless(gsgi_request_t *req)
{
    return (req->job->flags & GSGI_JOB_HEAD) || req->job->status == 204
        || req->job->status == 304;
}

/* What the head still lacks; length is that of the body, -1: not known. */
int
gsgi_request_commit(gsgi_request_t *req, int64_t length)
{
    gsgi_job_t *job = req->job;

    if (!req->started) {
        PyErr_SetString(PyExc_RuntimeError, "start_response was not called "
                        "before the body began");
        return -1;
    }

    if (job->length < 0 && job->status != 304) {
        job->length = length;
    }

    if (job->status == 204) {
        job->length = -1;
    }

    req->committed = 1;

    return 0;
}

/* What comes after the Content-Length; job: NULL when it is Go's again. */
void
gsgi_request_too_long(gsgi_request_t *req, gsgi_job_t *job, uint64_t length)
{
    char text[128];

    snprintf(text, sizeof(text), "the body is longer than its Content-Length "
             "of %llu: the rest is not sent", (unsigned long long) length);
    gsgi_log_text(job, GSGI_LOG_ERROR, text);
    req->ended = 1;
}

/* The part of a block that the Content-Length has room for. */
static size_t
clip(gsgi_request_t *req, size_t len)
{
    uint64_t left;

    if (req->job->length < 0) {
        return len;
    }

    left = (uint64_t) req->job->length - req->sent;
    if (len <= left) {
        return len;
    }

    gsgi_request_too_long(req, req->job, (uint64_t) req->job->length);

    return (size_t) left;
}

/*
 * Hands a block on.  last: nothing follows and the length is known.  0, or -1
 * with an exception.
 */
int
gsgi_request_block(gsgi_request_t *req, PyObject *block, int last)
{
    int how = last ? GSGI_SEND_LAST : GSGI_SEND_FLUSH;
    size_t len;

    if (!PyBytes_Check(block)) {
        PyErr_Format(PyExc_TypeError, "a block of the body must be bytes, not "
                     "%.200s", Py_TYPE(block)->tp_name);
        return -1;
    }

    len = (size_t) PyBytes_GET_SIZE(block);

    if (!req->started) {
        PyErr_SetString(PyExc_RuntimeError, "start_response was not called "
                        "before the first block");
        return -1;
    }

    if (req->ended || (len == 0 && !last)) {
        return 0;
    }

    if (!last && gsgi_request_bodiless(req)) {
        req->ended = 1;
        return 0;
    }

    if (!req->committed) {
        how |= GSGI_SEND_HEAD;
        if (gsgi_request_commit(req, last ? (int64_t) len : -1)) {
            return -1;
        }
    }

    len = gsgi_request_bodiless(req) ? 0 : clip(req, len);
    req->job->block = PyBytes_AS_STRING(block);
    req->job->block_len = len;
    req->sent += len;

    if (last && !gsgi_request_bodiless(req) && req->job->length >= 0
        && (int64_t) req->sent < req->job->length)
    {
        how &= ~GSGI_SEND_LAST;     /* too short: it ends as that */
    }

    gsgi_request_send(req, how);

    return 0;
}

/* The request's thread alone sends: it may end the request meanwhile. */
static int
is_other_thread(gsgi_request_t *req)
{
    if (gsgi_self && gsgi_self->job == req->job) {
        return 0;
    }

    PyErr_SetString(PyExc_RuntimeError, "only the thread that the application "
                    "was called on may send");

    return 1;
}

static PyObject *
write_block(PyObject *self, PyObject *block)
{
    gsgi_request_t *req = (gsgi_request_t *) self;

    if (!req->job || req->finished) {
        PyErr_SetString(PyExc_RuntimeError, "write was called after the end "
                        "of the request");
        return NULL;
    }

    if (is_other_thread(req)) {
        return NULL;
    }

    if (req->ended && !req->failed && PyBytes_Check(block)
        && PyBytes_GET_SIZE(block) && !gsgi_request_bodiless(req))
    {
        PyErr_SetString(PyExc_ValueError, "the body is longer than its "
                        "Content-Length");
        return NULL;
    }

    if (gsgi_request_block(req, block, 0)) {
        return NULL;
    }

    if (req->failed) {
        PyErr_SetString(PyExc_OSError, "nobody waits for the response any "
                        "more");
        return NULL;
    }

    Py_RETURN_NONE;
}

static PyMethodDef write_def = {
    "write", write_block, METH_O, "Sends a block of the body."
};

/* exc_info after the head has left: the exception goes on. */
static PyObject *
raise_again(PyObject *exc)
{
    PyObject *type = PyTuple_GET_ITEM(exc, 0);
    PyObject *value = PyTuple_GET_ITEM(exc, 1);
    PyObject *tb = PyTuple_GET_ITEM(exc, 2);

    Py_INCREF(type);
    Py_XINCREF(value);
    if (tb == Py_None) {
        tb = NULL;
    }
    Py_XINCREF(tb);
    PyErr_Restore(type, value, tb);

    return NULL;
}

static int
may_start(gsgi_request_t *req, PyObject *exc)
{
    if (exc != Py_None && (!PyTuple_Check(exc) || PyTuple_GET_SIZE(exc) != 3
                           || !PyExceptionClass_Check(PyTuple_GET_ITEM(exc,
                                                                       0))))
    {
        PyErr_SetString(PyExc_TypeError, "exc_info must be a tuple as of "
                        "sys.exc_info()");
        return 0;
    }

    if (exc != Py_None && req->committed) {
        raise_again(exc);
        return 0;
    }

    if (!req->job || req->finished) {
        PyErr_SetString(PyExc_RuntimeError, "start_response was called after "
                        "the end of the request");
        return 0;
    }

    if (exc == Py_None && req->called) {
        PyErr_SetString(PyExc_RuntimeError, "start_response was called a "
                        "second time without exc_info");
        return 0;
    }

    return 1;
}

static PyObject *
start_response(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = { "status", "response_headers", "exc_info",
                                NULL };
    gsgi_request_t *req = (gsgi_request_t *) self;
    PyObject *status, *headers, *exc = Py_None;
    int n;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|O:start_response",
                                     keywords, &status, &headers, &exc))
    {
        return NULL;
    }

    if (!may_start(req, exc)) {
        return NULL;
    }

    req->called = 1;
    req->started = 0;

    n = gsgi_status_parse(status);
    if (n < 0 || gsgi_headers_pack(req->job, headers, &req->job->length)) {
        return NULL;
    }

    req->job->status = (uint32_t) n;
    req->started = 1;

    return PyCFunction_New(&write_def, self);
}

static PyObject *
early_hints(PyObject *self, PyObject *headers)
{
    gsgi_request_t *req = (gsgi_request_t *) self;
    PyThreadState *state;
    int64_t length;

    if (!req->job || req->finished || req->started) {
        PyErr_SetString(PyExc_RuntimeError, "early hints come before "
                        "start_response");
        return NULL;
    }

    if (is_other_thread(req) || gsgi_headers_pack(req->job, headers, &length)) {
        return NULL;
    }

    req->job->status = 103;
    state = PyEval_SaveThread();
    gsgi_go_interim(req->job);
    PyEval_RestoreThread(state);
    req->job->status = 0;

    Py_RETURN_NONE;
}

static PyMethodDef hints_def = {
    "early_hints", early_hints, METH_O, "Sends 103 with these headers."
};

static void
request_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_Free(self);
    Py_DECREF(type);
}

static PyType_Slot request_slots[] = {
    { Py_tp_call, start_response },
    { Py_tp_dealloc, request_dealloc },
    { Py_tp_doc, "PEP 3333's start_response." },
    { 0, NULL }
};

static PyType_Spec request_spec = {
    "gsgi.start_response", sizeof(gsgi_request_t), 0, Py_TPFLAGS_DEFAULT,
    request_slots
};

PyTypeObject *
gsgi_request_type(void)
{
    key_input = PyUnicode_InternFromString("wsgi.input");
    key_errors = PyUnicode_InternFromString("wsgi.errors");
    key_hints = PyUnicode_InternFromString("wsgi.early_hints");

    if (!key_input || !key_errors || !key_hints) {
        return NULL;
    }

    return (PyTypeObject *) PyType_FromSpec(&request_spec);
}

/* Gives the response up: 500, or a cut. */
void
gsgi_request_fail(gsgi_request_t *req)
{
    req->ended = 1;
    req->failed = 1;
}

static int
fill(PyObject *env, gsgi_request_t *req, PyObject *input, PyObject *log)
{
    PyObject *hints;
    int rc;

    if (PyDict_SetItem(env, key_input, input)
        || PyDict_SetItem(env, key_errors, log))
    {
        return -1;
    }

    if (!(req->job->flags & GSGI_JOB_HINTS)) {
        return 0;
    }

    hints = PyCFunction_New(&hints_def, (PyObject *) req);
    if (!hints) {
        return -1;
    }

    rc = PyDict_SetItem(env, key_hints, hints);
    Py_DECREF(hints);

    return rc;
}

/* Closes what the application returned. */
static void
close_body(gsgi_request_t *req, PyObject *body)
{
    PyObject *close, *result;

    if (PyList_CheckExact(body) || PyTuple_CheckExact(body)) {
        return;
    }

    close = PyObject_GetAttrString(body, "close");

    if (!close) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear();
        } else {
            gsgi_log_exception(req->finished ? NULL : req->job);
        }
        return;
    }

    result = PyObject_CallNoArgs(close);
    Py_DECREF(close);

    if (!result) {
        gsgi_log_exception(req->finished ? NULL : req->job);
    }

    Py_XDECREF(result);
}

/* Logs an exception, unless it only says that nobody listens any more. */
static void
fault(gsgi_request_t *req)
{
    gsgi_job_t *job = req->finished ? NULL : req->job;

    if (job && is_gone(job) && PyErr_ExceptionMatches(PyExc_OSError)) {
        PyErr_Clear();
    } else {
        gsgi_log_exception(job);
    }

    gsgi_request_fail(req);
}

static void
call(gsgi_request_t *req, PyObject *env)
{
    PyObject *args[2], *body;

    args[0] = env;
    args[1] = (PyObject *) req;
    body = PyObject_Vectorcall(gsgi_python.app, args, 2, NULL);

    if (!body) {
        fault(req);
        return;
    }

    if (gsgi_respond(req, body)) {
        fault(req);
    }

    close_body(req, body);
    Py_DECREF(body);
}

static gsgi_request_t *
new_request(gsgi_job_t *job)
{
    gsgi_request_t *req = PyObject_New(gsgi_request_t, gsgi_python.request);

    if (!req) {
        return NULL;
    }

    req->job = job;
    req->input = req->log = NULL;
    req->sent = 0;
    req->called = req->started = req->committed = req->ended = 0;
    req->failed = req->finished = 0;

    return req;
}

static void
finish(gsgi_request_t *req)
{
    gsgi_job_t *job = req->job;

    if (job && !req->finished) {
        let_go(req);
        gsgi_go_finish(job, (int) req->failed);
    }

    req->job = NULL;
}

/* 503 as long as the application cannot be imported. */
static void
unavailable(gsgi_request_t *req)
{
    static const char entry[] = "Retry-After\0" "1";
    gsgi_job_t *job = req->job;
    gsgi_entry_t e;

    memset(&e, 0, sizeof(e));
    e.kind = GSGI_ENTRY_HEADER;
    e.name_len = 11;
    e.value_len = 1;

    if (job->head_room < sizeof(e) + sizeof(entry)) {
        free(job->head);
        job->head_room = 512;
        job->head = malloc(job->head_room);
    }

    if (job->head) {
        memcpy(job->head, &e, sizeof(e));
        memcpy(job->head + sizeof(e), entry, sizeof(entry));
        job->head_len = sizeof(e) + sizeof(entry);
        job->nheaders = 1;
    }

    job->status = 503;
    job->length = 0;
    job->block_len = 0;
    gsgi_request_send(req, GSGI_SEND_HEAD | GSGI_SEND_LAST);
}

/* The application's part. */
static void
serve(gsgi_request_t *req)
{
    PyObject *env, *input, *log;

    env = gsgi_environ_new(req->job);
    input = env ? gsgi_input_new(req->job) : NULL;
    log = input ? gsgi_log_new(req->job, GSGI_LOG_ERROR, "<wsgi.errors>")
                : NULL;
    req->input = input;
    req->log = log;

    if (log && fill(env, req, input, log) == 0) {
        call(req, env);
    } else {
        fault(req);
    }

    finish(req);
    if (input) {
        gsgi_input_end(input);
    }
    req->input = req->log = NULL;
    Py_XDECREF(log);
    Py_XDECREF(input);
    Py_XDECREF(env);
}

/* Runs a job, with the interpreter lock. */
void
gsgi_request_run(gsgi_job_t *job)
{
    gsgi_request_t *req = new_request(job);

    if (!req) {
        PyErr_Clear();
        gsgi_go_finish(job, 1);
        return;
    }

    job->begun = gsgi_now();

    if (is_gone(job)) {
        gsgi_request_fail(req);
    } else if (gsgi_application()) {
        unavailable(req);
    } else {
        serve(req);
    }

    finish(req);
    Py_DECREF(req);
}
