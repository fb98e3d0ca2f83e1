/*
 * PEP 3333's environ, a dict built straight from the packed request.
 */

#include "python.h"

#define NAME_MAX_LEN  64
#define NAMES         256           /* a power of two */
#define NAMES_USED    160

typedef struct {
    size_t     len;
    PyObject  *key;
    char       name[NAME_MAX_LEN];
} name_t;

typedef struct {
    PyObject  *key;
    PyObject  *value;               /* the last one, which often comes again */
} meta_t;

static const char *const meta_keys[GSGI_META_MAX] = {
    [GSGI_META_METHOD] = "REQUEST_METHOD",
    [GSGI_META_URI] = "REQUEST_URI",
    [GSGI_META_SCRIPT_NAME] = "SCRIPT_NAME",
    [GSGI_META_PATH] = "PATH_INFO",
    [GSGI_META_QUERY] = "QUERY_STRING",
    [GSGI_META_PROTOCOL] = "SERVER_PROTOCOL",
    [GSGI_META_SCHEME] = "wsgi.url_scheme",
    [GSGI_META_SERVER_NAME] = "SERVER_NAME",
    [GSGI_META_SERVER_PORT] = "SERVER_PORT",
    [GSGI_META_SERVER_ADDR] = "SERVER_ADDR",
    [GSGI_META_REMOTE_ADDR] = "REMOTE_ADDR",
    [GSGI_META_REMOTE_PORT] = "REMOTE_PORT",
    [GSGI_META_REMOTE_USER] = "REMOTE_USER",
    [GSGI_META_AUTH_TYPE] = "AUTH_TYPE",
    [GSGI_META_DOCUMENT_ROOT] = "DOCUMENT_ROOT",
    [GSGI_META_REQUEST_ID] = "gsgi.request_id",
    [GSGI_META_TLS_SNI] = "SSL_TLS_SNI",
    [GSGI_META_TLS_CLIENT_CERT] = "SSL_CLIENT_CERT",
};

static meta_t     metas[GSGI_META_MAX];
static name_t     names[NAMES];
static unsigned   names_used;
static PyObject  *key_type, *key_length, *key_https, *key_input, *key_errors;
static PyObject  *key_hints, *value_on, *value_https, *value_http, *comma;
static PyObject  *semicolon, *empty, *key_resumed, *value_resumed;

PyObject *
gsgi_latin1(const char *data, size_t len)
{
    return PyUnicode_DecodeLatin1(data, (Py_ssize_t) len, NULL);
}

static int
intern(PyObject **p, const char *text)
{
    *p = PyUnicode_InternFromString(text);

    return *p ? 0 : -1;
}

static int
template_set(const char *key, PyObject *value)
{
    PyObject *k = PyUnicode_InternFromString(key);
    int rc = -1;

    if (k && value) {
        rc = PyDict_SetItem(gsgi_python.template, k, value);
    }

    Py_XDECREF(k);
    Py_XDECREF(value);

    return rc;
}

static int
template_init(void)
{
    gsgi_python.template = PyDict_New();

    if (!gsgi_python.template) {
        return -1;
    }

    Py_INCREF(gsgi_python.wrapper);

    return template_set("wsgi.version", Py_BuildValue("(ii)", 1, 0))
        || template_set("wsgi.url_scheme", PyUnicode_FromString("http"))
        || template_set("wsgi.multithread",
                        PyBool_FromLong(gsgi_python.conf.threads > 1))
        || template_set("wsgi.multiprocess",
                        PyBool_FromLong(gsgi_python.conf.multiprocess))
        || template_set("wsgi.run_once", PyBool_FromLong(0))
        || template_set("wsgi.input_terminated", PyBool_FromLong(1))
        || template_set("wsgi.file_wrapper",
                        (PyObject *) gsgi_python.wrapper)
        || template_set("GATEWAY_INTERFACE", PyUnicode_FromString("CGI/1.1"))
        || template_set("SERVER_SOFTWARE",
                        PyUnicode_FromString(gsgi_python.conf.software))
        || template_set("SCRIPT_NAME", PyUnicode_FromString(""))
        || template_set("PATH_INFO", PyUnicode_FromString(""))
        || template_set("QUERY_STRING", PyUnicode_FromString(""));
}

int
gsgi_environ_init(void)
{
    int i;

    for (i = 1; i < GSGI_META_MAX; i++) {
        if (meta_keys[i] && intern(&metas[i].key, meta_keys[i])) {
            return -1;
        }
    }

    if (intern(&key_type, "CONTENT_TYPE")
        || intern(&key_length, "CONTENT_LENGTH")
        || intern(&key_https, "HTTPS") || intern(&key_input, "wsgi.input")
        || intern(&key_errors, "wsgi.errors")
        || intern(&key_hints, "wsgi.early_hints")
        || intern(&key_resumed, "SSL_SESSION_RESUMED")
        || intern(&value_resumed, "Resumed") || intern(&value_on, "on")
        || intern(&value_https, "https") || intern(&value_http, "http")
        || intern(&comma, ", ") || intern(&semicolon, "; ")
        || intern(&empty, ""))
    {
        return -1;
    }

    return template_init();
}

/* Sets a key to a value that the call takes over. */
static int
set(PyObject *env, PyObject *key, PyObject *value)
{
    int rc;

    if (!value) {
        return -1;
    }

    rc = PyDict_SetItem(env, key, value);
    Py_DECREF(value);

    return rc;
}

static int
same(PyObject *str, const char *data, size_t len)
{
    return str && (size_t) PyUnicode_GET_LENGTH(str) == len
        && PyUnicode_KIND(str) == PyUnicode_1BYTE_KIND
        && memcmp(PyUnicode_1BYTE_DATA(str), data, len) == 0;
}

static int
set_meta(PyObject *env, int id, const char *data, size_t len)
{
    meta_t *m = &metas[id];
    PyObject *value;

    if (!m->key) {
        return 0;
    }

    if (!same(m->value, data, len)) {
        value = gsgi_latin1(data, len);
        if (!value) {
            return -1;
        }
        Py_XSETREF(m->value, value);
    }

    return PyDict_SetItem(env, m->key, m->value);
}

/* The key of a header, "Accept-Language": HTTP_ACCEPT_LANGUAGE. */
static PyObject *
make_key(const char *name, size_t len)
{
    PyObject *key = PyUnicode_New((Py_ssize_t) len + 5, 127);
    char *p;
    size_t i;
    char c;

    if (!key) {
        return NULL;
    }

    p = (char *) PyUnicode_1BYTE_DATA(key);
    memcpy(p, "HTTP_", 5);

    for (i = 0; i < len; i++) {
        c = name[i];
        if (c >= 'a' && c <= 'z') {
            c -= 'a' - 'A';
        } else if (c == '-') {
            c = '_';
        }
        p[i + 5] = c & 0x7f;
    }

    return key;
}

static unsigned
hash(const char *name, size_t len)
{
    unsigned h = 2166136261u;
    size_t i;

    for (i = 0; i < len; i++) {
        h = (h ^ (unsigned char) name[i]) * 16777619u;
    }

    return h;
}

/* The key of a header that becomes HTTP_*, a new reference.  The usual ones
 * are kept. */
static PyObject *
header_key(const char *name, size_t len)
{
    unsigned i = hash(name, len) & (NAMES - 1);
    name_t *n = &names[i];
    PyObject *key;

    while (n->key) {
        if (n->len == len && memcmp(n->name, name, len) == 0) {
            Py_INCREF(n->key);
            return n->key;
        }
        i = (i + 1) & (NAMES - 1);
        n = &names[i];
    }

    key = make_key(name, len);

    if (key && len <= NAME_MAX_LEN && names_used < NAMES_USED) {
        PyUnicode_InternInPlace(&key);
        names_used++;
        memcpy(n->name, name, len);
        n->len = len;
        n->key = key;
        Py_INCREF(key);
    }

    return key;
}

static int
is(const char *name, size_t len, const char *other)
{
    return strlen(other) == len && memcmp(name, other, len) == 0;
}

/* A header that comes again is joined to what is there. */
static int
join(PyObject *env, PyObject *key, PyObject *before, PyObject *value,
    PyObject *between)
{
    PyObject *head, *all;

    if (!value) {
        return -1;
    }

    head = PyUnicode_Concat(before, between);
    all = head ? PyUnicode_Concat(head, value) : NULL;
    Py_XDECREF(head);
    Py_DECREF(value);

    return set(env, key, all);
}

static int
set_header(PyObject *env, const char *name, size_t nlen, const char *data,
    size_t len)
{
    PyObject *key, *before, *value = gsgi_latin1(data, len);
    int rc;

    if (is(name, nlen, "Content-Type")) {
        return set(env, key_type, value);
    }

    if (is(name, nlen, "Content-Length")) {
        return set(env, key_length, value);
    }

    if (memchr(name, '_', nlen) || is(name, nlen, "Proxy")) {
        Py_XDECREF(value);
        return value ? 0 : -1;      /* it could pass for another one */
    }

    key = header_key(name, nlen);
    if (!key) {
        Py_XDECREF(value);
        return -1;
    }

    before = PyDict_GetItemWithError(env, key);

    if (before) {
        rc = join(env, key, before, value,
                  is(name, nlen, "Cookie") ? semicolon : comma);
    } else {
        rc = PyErr_Occurred() ? -1 : set(env, key, value);
    }

    Py_DECREF(key);

    return rc;
}

/* HTTPS of the configuration decides over the scheme. */
static int
param_https(PyObject *env, const char *data, size_t len)
{
    int on = (len == 1 && data[0] == '1')
        || (len == 2 && (data[0] | 0x20) == 'o' && (data[1] | 0x20) == 'n');

    return PyDict_SetItem(env, metas[GSGI_META_SCHEME].key,
                          on ? value_https : value_http);
}

static int
set_param(PyObject *env, const char *name, size_t nlen, const char *data,
    size_t len)
{
    PyObject *key = gsgi_latin1(name, nlen);
    int rc;

    if (!key) {
        return -1;
    }

    rc = set(env, key, gsgi_latin1(data, len));
    Py_DECREF(key);

    if (rc == 0 && is(name, nlen, "HTTPS")) {
        rc = param_https(env, data, len);
    }

    return rc;
}

/* One walk over the entries; parameters are last of all and replace. */
static int
set_entries(PyObject *env, const char *p, const char *end, int params,
    const char **span, size_t *lens)
{
    const char *name, *value;
    gsgi_entry_t e;
    int rc = 0;

    for ( ; end - p >= (long) sizeof(e) && rc == 0;
          p = value + e.value_len)
    {
        memcpy(&e, p, sizeof(e));
        name = p + sizeof(e);
        value = name + e.name_len;

        if (e.kind == GSGI_ENTRY_PARAM) {
            rc = params ? set_param(env, name, e.name_len, value,
                                    e.value_len) : 1;
            rc = params ? rc : 0;
        } else if (params) {
            continue;
        } else if (e.kind == GSGI_ENTRY_HEADER) {
            rc = set_header(env, name, e.name_len, value, e.value_len);
        } else if (e.id < GSGI_META_MAX) {
            span[e.id] = value;
            lens[e.id] = e.value_len;
        }
    }

    return rc;
}

/* PATH_INFO is the path without the mount point. */
static int
set_path(PyObject *env, const char **span, size_t *lens)
{
    const char *path = span[GSGI_META_PATH];
    size_t len = lens[GSGI_META_PATH], mount = lens[GSGI_META_SCRIPT_NAME];

    if (mount <= len && path
        && memcmp(path, span[GSGI_META_SCRIPT_NAME]
                        ? span[GSGI_META_SCRIPT_NAME] : "", mount) == 0
        && (mount == len || path[mount] == '/'))
    {
        path += mount;
        len -= mount;
    }

    return path ? set_meta(env, GSGI_META_PATH, path, len) : 0;
}

static int
set_facts(PyObject *env, const char **span, size_t *lens)
{
    int id;

    for (id = 1; id < GSGI_META_MAX; id++) {
        if (span[id] && id != GSGI_META_PATH
            && set_meta(env, id, span[id], lens[id]))
        {
            return -1;
        }
    }

    if (span[GSGI_META_TLS_RESUMED]
        && PyDict_SetItem(env, key_resumed, value_resumed))
    {
        return -1;
    }

    if (span[GSGI_META_SCHEME] && lens[GSGI_META_SCHEME] == 5
        && PyDict_SetItem(env, key_https, value_on))
    {
        return -1;
    }

    return set_path(env, span, lens);
}

PyObject *
gsgi_environ_new(gsgi_job_t *job)
{
    const char *span[GSGI_META_MAX], *p = job->data;
    size_t lens[GSGI_META_MAX];
    PyObject *env = PyDict_Copy(gsgi_python.template);

    memset(span, 0, sizeof(span));
    memset(lens, 0, sizeof(lens));

    if (!env) {
        return NULL;
    }

    if (set_entries(env, p, p + job->entries_len, 0, span, lens)
        || set_facts(env, span, lens)
        || (job->content_length >= 0
            && set(env, key_length,
                   PyUnicode_FromFormat("%lld",
                                        (long long) job->content_length)))
        || set_entries(env, p, p + job->entries_len, 1, NULL, NULL))
    {
        Py_DECREF(env);
        return NULL;
    }

    return env;
}
