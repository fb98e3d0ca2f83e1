/*
 * Copyright (C) The GSGI Authors
 *
 * The server: a loop with a thread of its own, or a thread for each request.
 */

#define _GNU_SOURCE

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "driver_job.h"


#define DRV_LOG_MAX  (1 << 20)

struct drv_s {
    gsgi_bridge_t    *bridge;
    uint32_t          flags;
    pthread_mutex_t   lock;
    pthread_cond_t    done;
    drv_job_t        *queue;        /* to begin */
    drv_job_t        *active;       /* of the loop */
    int               bell;         /* eventfd: queue or stop */
    int               stop;
    pthread_t         thread;
    char             *log;
    size_t            log_len;
};


uint64_t
drv_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec;
}


static void
drv_pause(void)
{
    struct timespec  ts;

    ts.tv_sec = 0;
    ts.tv_nsec = 100000;

    (void) nanosleep(&ts, NULL);
}


gsgi_region_t *
drv_region(drv_t *d)
{
    return gsgi_region(d->bridge);
}


/* The lock is held. */
static void
drv_drain_log(drv_t *d)
{
    char        text[GSGI_LOG_MAX + 1];
    gsgi_log_t  rec;

    while (gsgi_log_next(d->bridge, &rec, text) == GSGI_OK) {
        if (d->log_len + rec.len + 1 > DRV_LOG_MAX) {
            continue;
        }

        memcpy(d->log + d->log_len, text, rec.len);
        d->log_len += rec.len;
        d->log[d->log_len++] = '\n';
    }
}


size_t
drv_logs(drv_t *d, char *buf, size_t size)
{
    size_t  n;

    pthread_mutex_lock(&d->lock);

    if (!(d->flags & GSGI_REGION_RING)) {
        drv_drain_log(d);
    }

    n = d->log_len < size ? d->log_len : size;
    memcpy(buf, d->log, n);
    d->log_len = 0;

    pthread_mutex_unlock(&d->lock);

    return n;
}


static void
drv_finished(drv_t *d, drv_job_t *job)
{
    pthread_mutex_lock(&d->lock);
    job->done = 1;
    pthread_cond_broadcast(&d->done);
    pthread_mutex_unlock(&d->lock);
}


/* Begins what is queued, as long as there are slots. */
static void
drv_loop_queue(drv_t *d)
{
    int         stuck;
    drv_job_t  *job;

    for (stuck = 0; !stuck; /* void */) {
        pthread_mutex_lock(&d->lock);
        job = d->queue;

        if (job) {
            d->queue = job->next;
        }

        pthread_mutex_unlock(&d->lock);

        if (job == NULL) {
            return;
        }

        if (drv_job_begin(d->bridge, job) == GSGI_OK) {
            job->next = d->active;
            d->active = job;
            continue;
        }

        pthread_mutex_lock(&d->lock);
        job->next = d->queue;
        d->queue = job;
        pthread_mutex_unlock(&d->lock);
        stuck = 1;
    }
}


/* Goes over all jobs: what time brings, and ends.  Returns whether some
 * want to be looked at again soon. */
static int
drv_loop_active(drv_t *d)
{
    int          soon;
    drv_job_t   *job, **link;

    soon = 0;

    for (link = &d->active; *link; /* void */) {
        job = *link;
        drv_job_tick(d->bridge, job);

        if (drv_job_over(job)) {
            *link = job->next;
            drv_finished(d, job);
            continue;
        }

        soon |= drv_job_ticks(job);
        link = &job->next;
    }

    return soon;
}


static void
drv_loop_poll(drv_t *d, int soon)
{
    uint64_t       count;
    struct pollfd  pfd[2];

    pfd[0].fd = gsgi_region(d->bridge)->host_efd;
    pfd[0].events = POLLIN;
    pfd[1].fd = d->bell;
    pfd[1].events = POLLIN;

    if (poll(pfd, 2, soon ? 1 : 1000) <= 0) {
        return;
    }

    if (pfd[0].revents && read(pfd[0].fd, &count, sizeof(count)) < 0) {
        return;
    }

    if (pfd[1].revents && read(pfd[1].fd, &count, sizeof(count)) < 0) {
        return;
    }
}


static void *
drv_loop(void *data)
{
    int           soon;
    drv_t        *d;
    uint32_t      events;
    gsgi_slot_t  *slot;

    d = data;

    while (!__atomic_load_n(&d->stop, __ATOMIC_SEQ_CST)) {
        drv_loop_queue(d);

        while (gsgi_completion_next(d->bridge, &slot, &events) == GSGI_OK) {
            drv_job_news(d->bridge, (drv_job_t *) (uintptr_t) slot->host_data,
                         events);
        }

        pthread_mutex_lock(&d->lock);
        drv_drain_log(d);
        soon = d->queue != NULL;
        pthread_mutex_unlock(&d->lock);

        soon |= drv_loop_active(d);

        if (gsgi_completion_sleep(d->bridge) == GSGI_OK) {
            drv_loop_poll(d, soon);
        }
    }

    return NULL;
}


drv_t *
drv_new(uint32_t flags, uint32_t nslots, uint32_t nchunks, char *err,
    size_t errlen)
{
    drv_t               *d;
    gsgi_bridge_conf_t   conf;

    d = calloc(1, sizeof(drv_t));
    memset(&conf, 0, sizeof(conf));

    conf.flags = flags;
    conf.nslots = nslots;
    conf.nchunks = nchunks;
    conf.chunks_keep = 8;

    if (d == NULL || (d->log = malloc(DRV_LOG_MAX)) == NULL
        || gsgi_child_bridge_create(&d->bridge, &conf, err, errlen)
           != GSGI_OK)
    {
        return NULL;
    }

    d->flags = flags;
    d->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->done, NULL);

    if ((flags & GSGI_REGION_RING)
        && pthread_create(&d->thread, NULL, drv_loop, d) != 0)
    {
        return NULL;
    }

    return d;
}


void
drv_stop(drv_t *d)
{
    if (d->flags & GSGI_REGION_RING) {
        __atomic_store_n(&d->stop, 1, __ATOMIC_SEQ_CST);
        (void) eventfd_write(d->bell, 1);
        (void) pthread_join(d->thread, NULL);
    }
}


/* As a request thread of a server does it. */
static void
drv_do_here(drv_t *d, drv_job_t *job)
{
    uint32_t  events;

    while (drv_job_begin(d->bridge, job) != GSGI_OK) {
        drv_pause();
    }

    while (!drv_job_over(job)) {
        if (gsgi_slot_wait(d->bridge, job->slot, 20000, 1, d->bell,
                           drv_job_ticks(job) ? 1 : 1000, &events, NULL)
            == GSGI_OK)
        {
            drv_job_news(d->bridge, job, events);
        }

        drv_job_tick(d->bridge, job);
    }
}


static void
drv_do_in_loop(drv_t *d, drv_job_t *job)
{
    drv_job_t  **last;

    pthread_mutex_lock(&d->lock);

    for (last = &d->queue; *last; last = &(*last)->next) { /* void */ }

    *last = job;
    (void) eventfd_write(d->bell, 1);

    while (!job->done) {
        pthread_cond_wait(&d->done, &d->lock);
    }

    pthread_mutex_unlock(&d->lock);
}


void
drv_do(drv_t *d, drv_job_t *job)
{
    if (d->flags & GSGI_REGION_RING) {
        drv_do_in_loop(d, job);

    } else {
        drv_do_here(d, job);
    }
}
