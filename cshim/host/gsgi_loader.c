/*
 * Copyright (C) The GSGI Authors
 *
 * The application in a worker: loads, starts, drains and stops its library,
 * all in one thread of its own.  The event loop never enters the library.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "gsgi_load.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC  (1U << 2)
#endif

#define GSGI_LOAD_STACK  (1024 * 1024)

struct gsgi_app_s {
    gsgi_region_t        *region;
    const gsgi_launch_t  *launch;
    pid_t                 pid;
    uint32_t              delay;

    pthread_mutex_t       lock;     /* of what follows */
    pthread_cond_t        wished;
    int                   drain;
    int                   stop;
    uint32_t              stop_timeout;

    gsgi_library_t        library;  /* of the loader's thread, to error */
    gsgi_gateway_t       *gateway;
    char                  error[GSGI_ERR_MAX];
};


static void *gsgi_app_thread(void *data);


/* Stores a state in place of the library, which is not there to do it. */

static void
gsgi_app_state(gsgi_app_t *app, uint32_t state)
{
    uint64_t        one;
    gsgi_region_t  *region;

    region = app->region;
    __atomic_store_n(&region->app_state, state, __ATOMIC_SEQ_CST);

    if (__atomic_exchange_n(&region->host_sleeping, 0, __ATOMIC_SEQ_CST) != 0)
    {
        one = 1;

        while (write(region->host_efd, &one, sizeof(one)) == -1
               && errno == EINTR)
        {
            /* void */
        }
    }
}


static int
gsgi_app_thread_start(gsgi_app_t *app)
{
    int                 rc;
    size_t              size;
    pthread_t           thread;
    pthread_attr_t      attr;
    pthread_condattr_t  clock;

    pthread_mutex_init(&app->lock, NULL);

    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&app->wished, &clock);
    pthread_condattr_destroy(&clock);

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);

    if (pthread_attr_getstacksize(&attr, &size) == 0
        && size < GSGI_LOAD_STACK)
    {
        pthread_attr_setstacksize(&attr, GSGI_LOAD_STACK);
    }

    rc = pthread_create(&thread, &attr, gsgi_app_thread, app);
    pthread_attr_destroy(&attr);

    return rc;
}


int
gsgi_child_app_start(gsgi_app_t **app_out, gsgi_bridge_t *b,
    const gsgi_launch_t *launch, uint32_t delay, char *err, size_t errlen)
{
    int          rc;
    gsgi_app_t  *app;

    app = calloc(1, sizeof(gsgi_app_t));
    *app_out = app;

    if (app == NULL) {
        snprintf(err, errlen, "no memory to load \"%s\"",
                 launch->image->path);
        return GSGI_ERROR;
    }

    app->region = gsgi_region(b);
    app->launch = launch;
    app->pid = getpid();
    app->delay = delay;

    gsgi_child_signals(0);

    rc = gsgi_app_thread_start(app);

    if (rc != 0) {
        snprintf(app->error, sizeof(app->error), "no thread to load "
                 "\"%.1024s\": %s", launch->image->path, strerror(rc));
        snprintf(err, errlen, "%s", app->error);
        gsgi_app_state(app, GSGI_APP_FAILED);
        return GSGI_ERROR;
    }

    return GSGI_OK;
}


/* Ends early, with GSGI_AGAIN, when there is no need to load any more. */

static int
gsgi_app_delay(gsgi_app_t *app)
{
    int              rc;
    struct timespec  until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += app->delay / 1000;
    until.tv_nsec += app->delay % 1000 * 1000000L;

    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }

    rc = 0;
    pthread_mutex_lock(&app->lock);

    while (!app->drain && !app->stop && rc != ETIMEDOUT && app->delay) {
        rc = pthread_cond_timedwait(&app->wished, &app->lock, &until);
    }

    rc = app->drain || app->stop;
    pthread_mutex_unlock(&app->lock);

    return rc ? GSGI_AGAIN : GSGI_OK;
}


static int
gsgi_app_load(gsgi_app_t *app)
{
    int                rc;
    char               text[GSGI_ERR_MAX];
    gsgi_start_conf_t  conf;

    if (gsgi_library_load(&app->library, app->launch, app->error,
                          sizeof(app->error))
        != GSGI_OK)
    {
        return GSGI_ERROR;
    }

    text[0] = '\0';

    conf = app->launch->conf;
    conf.size = sizeof(conf);
    conf.abi_major = GSGI_ABI_MAJOR;
    conf.abi_minor = GSGI_ABI_MINOR;
    conf.report_fd = -1;
    conf.starting = 0;
    conf.region = app->region;
    conf.err = text;
    conf.errlen = sizeof(text);

    /* those that the application takes must be known before it does */

    gsgi_signals_adopt();

    rc = app->library.start(&conf, &app->gateway);

    if (rc != GSGI_OK) {
        snprintf(app->error, sizeof(app->error),
                 "\"%.1000s\" did not start: %.1000s",
                 app->launch->image->path,
                 text[0] ? text : "the library does not say why");
        return GSGI_ERROR;
    }

    return GSGI_OK;
}


/* Drains as often as wished, and stops once: the handle is void then. */

static void
gsgi_app_serve(gsgi_app_t *app)
{
    int       stop;
    uint32_t  timeout;

    do {
        pthread_mutex_lock(&app->lock);

        while (!app->drain && !app->stop) {
            pthread_cond_wait(&app->wished, &app->lock);
        }

        stop = app->stop;
        timeout = app->stop_timeout;
        app->drain = 0;

        pthread_mutex_unlock(&app->lock);

        if (stop) {
            app->library.stop(app->gateway, timeout);

        } else {
            app->library.drain(app->gateway);
        }

    } while (!stop);
}


static void *
gsgi_app_thread(void *data)
{
    sigset_t     none;
    gsgi_app_t  *app = data;

    pthread_setname_np(pthread_self(), "gsgi-load");

    /* programs that the application starts inherit this mask */

    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);

    if (gsgi_app_delay(app) != GSGI_OK) {
        gsgi_app_state(app, GSGI_APP_STOPPED);
        return NULL;
    }

    if (gsgi_app_load(app) != GSGI_OK) {
        gsgi_app_state(app, GSGI_APP_FAILED);
        return NULL;
    }

    gsgi_app_serve(app);

    return NULL;
}


const char *
gsgi_app_error(gsgi_app_t *app)
{
    if (app == NULL
        || __atomic_load_n(&app->region->app_state, __ATOMIC_SEQ_CST)
           != GSGI_APP_FAILED)
    {
        return "";
    }

    return app->error;
}


/* In a forked child there is no library, and no thread to ask. */

static void
gsgi_app_wish(gsgi_app_t *app, int *wish, uint32_t timeout)
{
    if (app->pid != getpid()) {
        return;
    }

    pthread_mutex_lock(&app->lock);

    *wish = 1;
    app->stop_timeout = timeout;
    pthread_cond_signal(&app->wished);

    pthread_mutex_unlock(&app->lock);
}


void
gsgi_app_drain(gsgi_app_t *app)
{
    if (app != NULL) {
        gsgi_app_wish(app, &app->drain, 0);
    }
}


void
gsgi_app_stop(gsgi_app_t *app, uint32_t timeout)
{
    if (app != NULL) {
        gsgi_app_wish(app, &app->stop, timeout);
    }
}


int
gsgi_app_wait(gsgi_app_t *app, uint32_t timeout)
{
    uint32_t         state, waited;
    struct timespec  step = { 0, 5 * 1000000L };

    if (app == NULL) {
        return GSGI_OK;
    }

    for (waited = 0; /* void */ ; waited += 5) {
        state = __atomic_load_n(&app->region->app_state, __ATOMIC_SEQ_CST);

        if (state == GSGI_APP_STOPPED || state == GSGI_APP_FAILED) {
            return GSGI_OK;
        }

        if (waited >= timeout || app->pid != getpid()) {
            return GSGI_AGAIN;
        }

        nanosleep(&step, NULL);
    }
}


int
gsgi_app_runtimes(gsgi_app_t *app, char *text, size_t len)
{
    char  path[1024];

    if (app == NULL || gsgi_library_base() == 0) {
        return 0;
    }

    gsgi_runtimes_share();

    if (!gsgi_runtimes_new(path, sizeof(path))) {
        return 0;
    }

    snprintf(text, len, "\"%s\" has brought a second Go runtime into this "
             "process, beside that of \"%s\"; they share SIGURG, but Go does "
             "not support this", path, app->launch->image->path);

    return 1;
}


static void
gsgi_child_cloexec_each(void)
{
    int             fd;
    DIR            *dir;
    struct rlimit   limit;
    struct dirent  *entry;

    dir = opendir("/proc/self/fd");

    if (dir != NULL) {
        while ((entry = readdir(dir)) != NULL) {
            fd = atoi(entry->d_name);

            if (fd > 2) {
                fcntl(fd, F_SETFD, FD_CLOEXEC);
            }
        }

        closedir(dir);
        return;
    }

    if (getrlimit(RLIMIT_NOFILE, &limit) == -1
        || limit.rlim_cur > 65536)
    {
        limit.rlim_cur = 65536;
    }

    for (fd = 3; fd < (int) limit.rlim_cur; fd++) {
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
}


void
gsgi_child_cloexec(void)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) == 0) {
        return;
    }
#endif

    gsgi_child_cloexec_each();
}
