/*
 * What the C files of package wsgi share.
 */

#ifndef GSGI_WSGI_PYTHON_H
#define GSGI_WSGI_PYTHON_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <pthread.h>

#include "gsgi.h"
#include "host.h"

#if PY_VERSION_HEX < 0x03090000
#error "Python 3.9 or newer is needed"
#endif

/* exported by Go */
extern int gsgi_go_send(gsgi_job_t *job, int how);
extern long gsgi_go_read(uint64_t id, char *buf, size_t len);
extern int gsgi_go_interim(gsgi_job_t *job);
extern int gsgi_go_gone(gsgi_job_t *job);
extern void gsgi_go_finish(gsgi_job_t *job, int cut);
extern void gsgi_go_log(gsgi_job_t *job, int level, char *text, size_t len);
extern void gsgi_go_changed(char *name, size_t len);

/* Text on its way to the log, up to the end of the line. */
typedef struct {
    char    *data;
    size_t   len;
    size_t   room;
} gsgi_line_t;

typedef struct {
    gsgi_job_t      *job;           /* under the interpreter lock */
    uint64_t         running;       /* atomic: its id + 1 */
    unsigned long    ident;         /* Python's number of the thread */
    PyThreadState   *state;
    gsgi_line_t      out, err;
    unsigned         interrupted;
    uint64_t         wanted;        /* job to interrupt, id + 1 */
    unsigned         woken;
    unsigned         doubtful;      /* only because nobody held the lock */
    unsigned         next;          /* idle, index + 1 */
    pthread_cond_t   cond;
    pthread_t        thread;
} gsgi_thread_t;

/* What every request needs of the interpreter. */
typedef struct {
    gsgi_python_conf_t  conf;
    PyObject           *app;        /* NULL: to be imported */
    PyObject           *boot;       /* module gsgi */
    PyObject           *template;   /* what is the same in all environs */
    PyObject           *timeout;    /* gsgi.RequestTimeout */
    PyTypeObject       *request;
    PyTypeObject       *input;
    PyTypeObject       *log;
    PyTypeObject       *wrapper;
    gsgi_thread_t      *threads;
} gsgi_python_t;

extern gsgi_python_t gsgi_python;
extern __thread gsgi_thread_t *gsgi_self;

/* The thread's way through a request, and PEP 3333's start_response. */
typedef struct {
    PyObject_HEAD
    gsgi_job_t  *job;               /* NULL: the request is over */
    PyObject    *input;             /* borrowed, until then */
    PyObject    *log;
    uint64_t     sent;
    unsigned     called;
    unsigned     started;
    unsigned     committed;
    unsigned     ended;             /* no more is wanted */
    unsigned     failed;
    unsigned     finished;          /* the job is Go's again */
} gsgi_request_t;

/* gil.c: the first is called with the lock, before there are other threads.
 * 0: it will not be known, and the second is always 0. */
int gsgi_gil_init(void);
int gsgi_gil_locked(void);

/* arena.c: before Python starts */
void gsgi_arena_init(void);

/* bytecode.c: a Py_OpenCodeHookFunction */
PyObject *gsgi_open_code(PyObject *path, void *unused);

/* traceback.c */
int gsgi_dump_init(void);

/* environ.c */
int gsgi_environ_init(void);
PyObject *gsgi_environ_new(gsgi_job_t *job);
PyObject *gsgi_latin1(const char *data, size_t len);

/* header.c */
int gsgi_status_parse(PyObject *status);
int gsgi_headers_pack(gsgi_job_t *job, PyObject *headers, int64_t *length);

/* request.c */
PyTypeObject *gsgi_request_type(void);
void gsgi_request_run(gsgi_job_t *job);
void gsgi_request_fail(gsgi_request_t *req);
int gsgi_request_block(gsgi_request_t *req, PyObject *block, int last);
int gsgi_request_commit(gsgi_request_t *req, int64_t length);
int gsgi_request_send(gsgi_request_t *req, int how);
int gsgi_request_bodiless(gsgi_request_t *req);
void gsgi_request_too_long(gsgi_request_t *req, gsgi_job_t *job,
    uint64_t length);

/* response.c */
int gsgi_respond(gsgi_request_t *req, PyObject *body);

/* input.c, log.c, file.c */
PyTypeObject *gsgi_input_type(void);
PyObject *gsgi_input_new(gsgi_job_t *job);
void gsgi_input_end(PyObject *input);
PyTypeObject *gsgi_log_type(void);
PyObject *gsgi_log_new(gsgi_job_t *job, int level, const char *name);
void gsgi_log_end(PyObject *log);
void gsgi_log_text(gsgi_job_t *job, int level, const char *text);
void gsgi_log_exception(gsgi_job_t *job);
PyTypeObject *gsgi_wrapper_type(void);
int gsgi_wrapper_file(PyObject *wrapper, gsgi_job_t *job);

/* done.c */
int gsgi_done_put(gsgi_job_t *job, int how);
uint64_t gsgi_now(void);

/* pool.c */
int gsgi_pool_start(void);

/* interpreter.c */
int gsgi_application(void);

#endif /* GSGI_WSGI_PYTHON_H */
