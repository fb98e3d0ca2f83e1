/*
 * The interpreter's half of package wsgi, as Go sees it.  Nothing of Python
 * is in here; python.h is what the C files share.
 *
 * A job is a request on its way to a Python thread and back.  Go fills it in
 * and submits it; a thread of the pool runs the application and calls
 * gsgi_go_* with it.  After gsgi_go_finish, or gsgi_go_send with
 * GSGI_SEND_LAST, it is Go's again.
 */

#ifndef GSGI_WSGI_HOST_H
#define GSGI_WSGI_HOST_H

#include <stddef.h>
#include <stdint.h>

/* gsgi_job_t.flags */
#define GSGI_JOB_HEAD    0x1        /* HEAD: the body is not sent */
#define GSGI_JOB_WHOLE   0x2        /* body_len bytes are all of the body */
#define GSGI_JOB_HINTS   0x4        /* gsgi_go_interim works */

typedef struct gsgi_job_s  gsgi_job_t;

struct gsgi_job_s {
    /* the request [go] */
    uint64_t     id;
    uint32_t     flags;             /* GSGI_JOB_* */
    uint32_t     entries_len;       /* packed: cshim/gsgi.h, section 3.1 */
    size_t       body_len;          /* behind the entries */
    size_t       room;
    int64_t      content_length;    /* of a chunked body that is here whole,
                                       else -1 */
    const uint32_t  *host_flags;    /* of the slot, atomic; NULL: ask
                                       gsgi_go_gone */
    char        *data;

    /* the response [c], for gsgi_go_send and gsgi_go_interim */
    char        *head;              /* packed: cshim/gsgi.h, section 3.2 */
    size_t       head_len;
    size_t       head_room;
    uint32_t     nheaders;
    uint32_t     status;
    int64_t      length;            /* Content-Length, or -1 */
    const char  *block;
    size_t       block_len;
    int64_t      file_off;
    int64_t      file_len;
    int          fd;                /* GSGI_SEND_FILE */
    uint64_t     begun;             /* CLOCK_MONOTONIC, ns */
    int          how;               /* of gsgi_done_list */

    gsgi_job_t  *next;
};

typedef struct {
    const char         *spec;       /* module:callable, or a path */
    const char         *home;       /* of a virtual environment, or "" */
    const char         *boot;       /* source of the start, in Python */
    const char *const  *paths;      /* for sys.path, in front */
    size_t              npaths;
    const char *const  *env;        /* NAME=VALUE, NULL at the end; kept */
    unsigned            threads;
    int                 multiprocess;
    int                 lazy;
    int                 validate;
    const char         *software;
} gsgi_python_conf_t;

/*
 * Starts the interpreter, imports the application unless lazy, and starts the
 * threads.  Once in a process.  0, or -1: what is wrong has been logged, or
 * is in err.
 */
int gsgi_python_start(const gsgi_python_conf_t *conf, char *err,
    size_t errlen);

/* Runs what Python runs at the end.  1 when it has ended within ms, else 0. */
int gsgi_python_stop(unsigned ms);

gsgi_job_t *gsgi_job_new(uint64_t id);
void gsgi_job_free(gsgi_job_t *job);

/* Room for size bytes in data; what was there is lost.  0, or -1. */
int gsgi_job_reserve(gsgi_job_t *job, size_t size);

/*
 * Where Go puts jobs: it adds one to the list, a stack by next, and then calls
 * gsgi_job_queued unless watched is set.  A call into C wakes the runtime's
 * monitor, so there is none while a thread computes and another looks at the
 * queue anyway.
 */
typedef struct {
    gsgi_job_t  *jobs;              /* atomic */
    uint32_t     watched;           /* atomic */
} gsgi_inbox_t;

gsgi_inbox_t *gsgi_job_inbox(void);
void gsgi_job_queued(void);

/*
 * Answers that wait to be sent as by gsgi_go_send, with how of each: a list by
 * next, which is taken by an atomic exchange with NULL.  gsgi_done_open returns
 * an eventfd that is written when the list was empty, -1 when there is none;
 * it is called before gsgi_python_start.
 */
int gsgi_done_open(void);
gsgi_job_t **gsgi_done_list(void);

/* What thread i does: the id of its job + 1, 0 for none. */
uint64_t gsgi_thread_job(unsigned i);

/*
 * Logs where thread i is in its job and raises gsgi.RequestTimeout there, if
 * it still runs that job.  Returns at once.
 */
void gsgi_thread_interrupt(unsigned i, uint64_t id);

/* How many interrupts wait for the interpreter lock. */
unsigned gsgi_interrupts(void);

/* Writes where all Python threads are to descriptor 2, without the lock.  0
 * when this version of Python cannot. */
int gsgi_python_dump(void);

/* Begins to watch the files of the loaded modules; what has changed is given
 * to gsgi_go_changed. */
void gsgi_python_watch(void);

/*
 * Called by Python threads, exported by Go.
 */

#define GSGI_SEND_HEAD   0x1        /* status, head, length are set */
#define GSGI_SEND_FLUSH  0x2
#define GSGI_SEND_LAST   0x4        /* the response is complete; finish */
#define GSGI_SEND_FILE   0x8        /* fd, file_off, file_len */

#define GSGI_SENT   0
#define GSGI_GONE   1               /* nobody wants it any more */
#define GSGI_FAULT  -1              /* it has been logged */

#define GSGI_READ_GONE     -1
#define GSGI_READ_LARGE    -2
#define GSGI_READ_TIMEOUT  -3

#endif /* GSGI_WSGI_HOST_H */
