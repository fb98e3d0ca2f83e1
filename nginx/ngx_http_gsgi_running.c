
/*
 * Copyright (C) The GSGI Authors
 */


#include <ngx_http_gsgi_module.h>

#include <sys/mman.h>


/*
 * What a worker was doing when it died: its first requests in flight, in
 * memory that the next worker reads.
 */

#define NGX_HTTP_GSGI_RUNNING  16


typedef struct {
    ngx_atomic_uint_t           number;        /* of the connection */
    size_t                      len;
    u_char                      line[240];
} ngx_http_gsgi_running_request_t;


struct ngx_http_gsgi_running_s {
    ngx_atomic_t                      pid;
    ngx_http_gsgi_running_request_t   requests[NGX_HTTP_GSGI_RUNNING];
};


static void ngx_http_gsgi_running_report(ngx_http_gsgi_running_t *running,
    ngx_pid_t pid, ngx_str_t *name, ngx_log_t *log);


ngx_http_gsgi_running_t *
ngx_http_gsgi_running_create(ngx_uint_t workers)
{
    void  *p;

    p = mmap(NULL, workers * sizeof(ngx_http_gsgi_running_t),
             PROT_READ|PROT_WRITE, MAP_ANON|MAP_SHARED, -1, 0);

    return (p == MAP_FAILED) ? NULL : p;
}


void
ngx_http_gsgi_running_destroy(ngx_http_gsgi_running_t *running,
    ngx_uint_t workers)
{
    (void) munmap(running, workers * sizeof(ngx_http_gsgi_running_t));
}


/* takes a record, and tells what the worker that had it left in it */

ngx_http_gsgi_running_t *
ngx_http_gsgi_running_enter(ngx_http_gsgi_running_t *running,
    ngx_uint_t workers, ngx_str_t *name, ngx_log_t *log)
{
    ngx_uint_t                i;
    ngx_atomic_uint_t         pid;
    ngx_http_gsgi_running_t  *own;

    own = NULL;

    for (i = 0; i < workers; i++) {

        pid = running[i].pid;

        if (pid && (kill((ngx_pid_t) pid, 0) == 0 || ngx_errno != NGX_ESRCH)) {
            continue;
        }

        if (pid == 0 && own) {
            continue;
        }

        if (!ngx_atomic_cmp_set(&running[i].pid, pid, ngx_pid)) {
            continue;
        }

        if (pid) {
            ngx_http_gsgi_running_report(&running[i], (ngx_pid_t) pid, name,
                                         log);
        }

        if (own) {
            running[i].pid = 0;

        } else {
            own = &running[i];
        }
    }

    return own;
}


void
ngx_http_gsgi_running_leave(ngx_http_gsgi_running_t *running)
{
    ngx_memzero(running->requests, sizeof(running->requests));

    running->pid = 0;
}


static void
ngx_http_gsgi_running_report(ngx_http_gsgi_running_t *running, ngx_pid_t pid,
    ngx_str_t *name, ngx_log_t *log)
{
    ngx_uint_t                        i;
    ngx_http_gsgi_running_request_t  *request;

    for (i = 0; i < NGX_HTTP_GSGI_RUNNING; i++) {

        request = &running->requests[i];

        if (request->len == 0) {
            continue;
        }

        ngx_log_error(NGX_LOG_ALERT, log, 0,
                      "gsgi \"%V\": request \"%*s\" of connection *%uA was "
                      "running when worker process %P ended",
                      name, ngx_min(request->len, sizeof(request->line)),
                      request->line, request->number, pid);

        request->len = 0;
    }
}


void
ngx_http_gsgi_running_begin(ngx_http_gsgi_running_t *running,
    ngx_http_request_t *r, uint32_t slot)
{
    ngx_http_gsgi_running_request_t  *request;

    if (slot >= NGX_HTTP_GSGI_RUNNING) {
        return;
    }

    request = &running->requests[slot];

    request->number = r->connection->number;
    request->len = ngx_min(r->request_line.len, sizeof(request->line));
    ngx_memcpy(request->line, r->request_line.data, request->len);
}


void
ngx_http_gsgi_running_end(ngx_http_gsgi_running_t *running, uint32_t slot)
{
    if (slot < NGX_HTTP_GSGI_RUNNING) {
        running->requests[slot].len = 0;
    }
}
