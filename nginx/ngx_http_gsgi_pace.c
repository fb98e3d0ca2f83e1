
/*
 * Copyright (C) The GSGI Authors
 */


#include <ngx_http_gsgi_module.h>


/*
 * Where a handler computes on the only processor, the event loop that is
 * woken may have to wait for the next tick of the clock, 4 ms on many systems:
 * the scheduler looks at it then, or when somebody else wakes or sleeps.  So
 * while handlers compute for long, a thread wakes every 1.5 ms and sleeps at
 * once.  The p99 of the loop's wait becomes 1.4 ms instead of 3.6, for some
 * 700 switches a second (of 0.3, 0.6 and 1 ms, where handlers get less of the
 * processor, it is 2.6, 2.3 and 1.8).  Handlers that compute for less than
 * two of these times have the scheduler look by what they do.  Nothing depends
 * on it.
 */

#define NGX_HTTP_GSGI_PACE        1500000      /* ns */
#define NGX_HTTP_GSGI_PACE_LOOK   10000000     /* ns: at who has the time */
#define NGX_HTTP_GSGI_PACE_LOOKS  100          /* in vain, before it rests */
#define NGX_HTTP_GSGI_PACE_REST   100000000    /* ns, while requests run */
#define NGX_HTTP_GSGI_PACE_SHARE  4            /* at least a quarter of it */
#define NGX_HTTP_GSGI_PACE_LONG   (2 * NGX_HTTP_GSGI_PACE)    /* a request */


typedef struct {
    uint64_t                    time;
    int64_t                     used;          /* by all but the loop */
    uint64_t                    requests;
    uint64_t                    released;
} ngx_http_gsgi_look_t;


typedef struct {
    pthread_t                   thread;
    pthread_mutex_t             mutex;
    pthread_cond_t              cond;
    clockid_t                   loop;
    gsgi_region_t              *region;
    ngx_atomic_t                parked;
    ngx_uint_t                  started;
    ngx_uint_t                  stop;
} ngx_http_gsgi_pacer_t;


static void ngx_http_gsgi_pacer_wake(ngx_http_gsgi_pacer_t *p,
    ngx_uint_t stop);
static void *ngx_http_gsgi_pacer_cycle(void *data);
static ngx_uint_t ngx_http_gsgi_is_computing(ngx_http_gsgi_pacer_t *p,
    ngx_http_gsgi_look_t *last);
static void ngx_http_gsgi_look(ngx_http_gsgi_pacer_t *p,
    ngx_http_gsgi_look_t *look);
static uint64_t ngx_http_gsgi_ns(clockid_t clock);


static ngx_http_gsgi_pacer_t  ngx_http_gsgi_pacer;


/* called by the thread of the event loop; without the pacer all works, too */

void
ngx_http_gsgi_pace_start(gsgi_region_t *region, ngx_log_t *log)
{
    int                     err;
    sigset_t                set, old;
    pthread_condattr_t      attr;
    ngx_http_gsgi_pacer_t  *p;

    p = &ngx_http_gsgi_pacer;

    p->region = region;

    if (pthread_getcpuclockid(pthread_self(), &p->loop) != 0) {
        return;
    }

    pthread_mutex_init(&p->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->cond, &attr);
    pthread_condattr_destroy(&attr);

    sigfillset(&set);
    pthread_sigmask(SIG_BLOCK, &set, &old);

    err = pthread_create(&p->thread, NULL, ngx_http_gsgi_pacer_cycle, p);

    pthread_sigmask(SIG_SETMASK, &old, NULL);

    if (err) {
        ngx_log_error(NGX_LOG_WARN, log, err, "gsgi: pthread_create() failed");
        return;
    }

    p->started = 1;
}


void
ngx_http_gsgi_pace_resume(void)
{
    ngx_http_gsgi_pacer_t  *p;

    p = &ngx_http_gsgi_pacer;

    if (p->parked) {
        ngx_http_gsgi_pacer_wake(p, 0);
    }
}


void
ngx_http_gsgi_pace_stop(void)
{
    ngx_http_gsgi_pacer_t  *p;

    p = &ngx_http_gsgi_pacer;

    if (!p->started) {
        return;
    }

    ngx_http_gsgi_pacer_wake(p, 1);

    (void) pthread_join(p->thread, NULL);

    p->started = 0;
}


static void
ngx_http_gsgi_pacer_wake(ngx_http_gsgi_pacer_t *p, ngx_uint_t stop)
{
    pthread_mutex_lock(&p->mutex);
    p->stop = stop;
    p->parked = 0;
    pthread_cond_signal(&p->cond);
    pthread_mutex_unlock(&p->mutex);
}


static void *
ngx_http_gsgi_pacer_cycle(void *data)
{
    ngx_http_gsgi_pacer_t *p = data;

    uint64_t              until;
    ngx_uint_t            vain;
    struct timespec       ts;
    ngx_http_gsgi_look_t  last;

    (void) prctl(PR_SET_NAME, "gsgi-pace");

    vain = 1;

    pthread_mutex_lock(&p->mutex);

    ngx_http_gsgi_look(p, &last);

    while (!p->stop) {

        if (vain >= NGX_HTTP_GSGI_PACE_LOOKS
            && last.released == last.requests)
        {
            p->parked = 1;

            while (p->parked) {
                pthread_cond_wait(&p->cond, &p->mutex);
            }

            vain = 1;
            ngx_http_gsgi_look(p, &last);
            continue;
        }

        until = ngx_http_gsgi_ns(CLOCK_MONOTONIC)
                + (vain == 0 ? NGX_HTTP_GSGI_PACE
                   : vain < NGX_HTTP_GSGI_PACE_LOOKS ? NGX_HTTP_GSGI_PACE_LOOK
                   : NGX_HTTP_GSGI_PACE_REST);

        ts.tv_sec = until / 1000000000;
        ts.tv_nsec = until % 1000000000;

        (void) pthread_cond_timedwait(&p->cond, &p->mutex, &ts);

        if (until - last.time >= NGX_HTTP_GSGI_PACE_LOOK) {
            vain = ngx_http_gsgi_is_computing(p, &last) ? 0 : vain + 1;
        }
    }

    pthread_mutex_unlock(&p->mutex);

    return NULL;
}


static ngx_uint_t
ngx_http_gsgi_is_computing(ngx_http_gsgi_pacer_t *p,
    ngx_http_gsgi_look_t *last)
{
    int64_t               used, enough, each;
    ngx_http_gsgi_look_t  now;

    ngx_http_gsgi_look(p, &now);

    used = now.used - last->used;
    enough = (now.time - last->time) / NGX_HTTP_GSGI_PACE_SHARE;
    each = (now.released - last->released) * NGX_HTTP_GSGI_PACE_LONG;

    *last = now;

    return used >= enough && used >= each;
}


static void
ngx_http_gsgi_look(ngx_http_gsgi_pacer_t *p, ngx_http_gsgi_look_t *look)
{
    look->time = ngx_http_gsgi_ns(CLOCK_MONOTONIC);
    look->used = ngx_http_gsgi_ns(CLOCK_PROCESS_CPUTIME_ID)
                 - ngx_http_gsgi_ns(p->loop);
    look->requests = ngx_http_gsgi_load(&p->region->stats.requests);
    look->released = ngx_http_gsgi_load(&p->region->stats.released);
}


static uint64_t
ngx_http_gsgi_ns(clockid_t clock)
{
    struct timespec  ts;

    if (clock_gettime(clock, &ts) == -1) {
        return 0;
    }

    return (uint64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}
