/*
 * Copyright (C) The GSGI Authors
 *
 * Admission: a request waits here, with its thread, until the application is
 * ready and fewer than GSGIConcurrency requests wait for their head.
 */

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <time.h>

#include "mod_gsgi.h"

APLOG_USE_MODULE(gsgi);

#define GSGI_CONCURRENCY  1024
#define GSGI_STEP         (100 * GSGI_MILLISECOND)
#define GSGI_RETRY        10      /* s, where no time can be told */

static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t  queue_moved = PTHREAD_COND_INITIALIZER;

static apr_uint32_t    queue_used;      /* places taken */
static apr_uint32_t    queue_waiting;   /* threads */

#define atomic_load(p)  __atomic_load_n(p, __ATOMIC_SEQ_CST)
#define atomic_add(p)   __atomic_add_fetch(p, 1, __ATOMIC_SEQ_CST)
#define atomic_sub(p)   __atomic_sub_fetch(p, 1, __ATOMIC_SEQ_CST)


apr_uint32_t gsgi_queue_length(void)
{
    return atomic_load(&queue_waiting);
}

void gsgi_queue_wake(void)
{
    pthread_mutex_lock(&queue_lock);
    pthread_cond_broadcast(&queue_moved);
    pthread_mutex_unlock(&queue_lock);
}

/* Waits for a move or a step of time; the lock is held. */
static void wait_step(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_nsec += GSGI_STEP;

    if (ts.tv_nsec >= (long) GSGI_SECOND) {
        ts.tv_nsec -= GSGI_SECOND;
        ts.tv_sec++;
    }

    pthread_cond_timedwait(&queue_moved, &queue_lock, &ts);
}

/* Not for a client whose body is still to come: what it has sent hides
 * whether it is there. */
static int has_left(gsgi_exchange_t *x)
{
    struct pollfd pfd;

    if (x->fd == -1 || x->conf->ignore_client_abort == 1) {
        return x->r->connection->aborted
               && x->conf->ignore_client_abort != 1;
    }

    pfd.fd = x->fd;
    pfd.events = x->in.done ? POLLRDHUP : 0;
    pfd.revents = 0;

    return poll(&pfd, 1, 0) > 0;
}

int gsgi_queue_refuse(gsgi_exchange_t *x, gsgi_limited_e kind,
                      const char *text, apr_uint64_t retry)
{
    request_rec *r = x->r;

    apr_table_setn(r->err_headers_out, "Retry-After",
                   apr_psprintf(r->pool, "%" APR_UINT64_T_FMT,
                                retry ? retry : GSGI_RETRY));
    gsgi_outcome(x, rejected);
    gsgi_log_limited(r, kind, text);

    return HTTP_SERVICE_UNAVAILABLE;
}

/* When the library is loaded: later, if it has killed other processes. */
static apr_uint64_t load_time(void)
{
    return gsgi_child.started + gsgi_child.delay * GSGI_MILLISECOND;
}

static uint32_t app_state(void)
{
    return atomic_load(&gsgi_child.region->app_state);
}

int gsgi_queue_ready(gsgi_exchange_t *x)
{
    apr_uint64_t until = load_time() + gsgi_conf->start_timeout * 1000;
    apr_uint64_t now;

    while (app_state() == GSGI_APP_STARTING) {
        now = gsgi_clock();

        if (now < load_time()) {
            return gsgi_queue_refuse(x, GSGI_LIMITED_STARTING,
                                     "it has ended the last processes",
                                     (load_time() - now) / GSGI_SECOND + 1);
        }

        if (now > until || atomic_load(&gsgi_child.stopping)
                           == GSGI_STOPPING_AT_ONCE) {
            return gsgi_queue_refuse(x, GSGI_LIMITED_STARTING,
                                     "it is not ready yet", 0);
        }

        if (has_left(x)) {
            return gsgi_exchange_aborted(x);
        }

        pthread_mutex_lock(&queue_lock);

        if (app_state() == GSGI_APP_STARTING) {
            wait_step();
        }

        pthread_mutex_unlock(&queue_lock);
    }

    if (app_state() == GSGI_APP_FAILED || app_state() == GSGI_APP_STOPPED) {
        return gsgi_queue_refuse(x, GSGI_LIMITED_FAILED,
                                 app_state() == GSGI_APP_FAILED
                                 ? "it has failed" : "it has ended", 0);
    }

    return OK;
}


/* What was let go but not ended by the application keeps its place. */
static int take_place(void)
{
    apr_uint32_t limit = gsgi_conf->concurrency ? gsgi_conf->concurrency
                                                : GSGI_CONCURRENCY;

    if (atomic_add(&queue_used) + atomic_load(&gsgi_child.region->abandoned)
        <= limit) {
        return 1;
    }

    atomic_sub(&queue_used);

    return 0;
}

static int wait_for_place(gsgi_exchange_t *x)
{
    apr_uint64_t until = gsgi_clock() + gsgi_conf->queue_timeout * 1000;
    apr_uint64_t retry = apr_time_sec(gsgi_conf->queue_timeout) + 1;
    int rc = OK;

    if ((int) atomic_add(&queue_waiting) > gsgi_conf->queue) {
        atomic_sub(&queue_waiting);
        return gsgi_queue_refuse(x, GSGI_LIMITED_QUEUE,
                                 "the queue is full", retry);
    }

    pthread_mutex_lock(&queue_lock);

    while (!take_place()) {
        if (gsgi_clock() >= until) {
            rc = gsgi_queue_refuse(x, GSGI_LIMITED_QUEUE, "no place came "
                                   "free in the queue's time", retry);
            break;
        }

        if (has_left(x)) {
            rc = gsgi_exchange_aborted(x);
            break;
        }

        wait_step();
    }

    pthread_mutex_unlock(&queue_lock);
    atomic_sub(&queue_waiting);

    return rc;
}

int gsgi_queue_enter(gsgi_exchange_t *x)
{
    int rc = take_place() ? OK : wait_for_place(x);

    x->queued = rc == OK;

    return rc;
}

void gsgi_queue_leave(gsgi_exchange_t *x)
{
    if (!x->queued) {
        return;
    }

    x->queued = 0;
    atomic_sub(&queue_used);

    if (atomic_load(&queue_waiting)) {
        pthread_mutex_lock(&queue_lock);
        pthread_cond_signal(&queue_moved);
        pthread_mutex_unlock(&queue_lock);
    }
}
