/*
 * Copyright (C) The GSGI Authors
 *
 * A second Go runtime in the process: both must be able to stop their
 * goroutines with SIGURG.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test.h"

#define TEST_READY  20000
#define TEST_STUCK  500         /* ms, of what is not going to end */

/* of a spin: */
#define TEST_LOOPS      1
#define TEST_COLLECTED  2
#define TEST_END        3

typedef void (*test_spin_pt)(uint32_t *state);

static gsgi_app_t     *test_app;
static gsgi_bridge_t  *test_b;
static gsgi_launch_t  *test_how;


static int
test_runtime_wait(uint32_t *state, uint32_t want, unsigned ms)
{
    uint64_t  end;

    for (end = test_now() + ms; test_now() < end; test_sleep(2)) {
        if (__atomic_load_n(state, __ATOMIC_SEQ_CST) == want) {
            return 1;
        }
    }

    return 0;
}


static void
test_runtime_load(void)
{
    char  err[GSGI_ERR_MAX];

    test_b = test_bridge();
    check_int(gsgi_child_app_start(&test_app, test_b, test_how, 0, err,
                                   sizeof(err)), GSGI_OK);
    check(test_wait_state(test_b, GSGI_APP_READY, TEST_READY));
    test_sleep(50);                 /* it has returned from its start */
}


/* What the application spins on is in its region. */

static uint32_t *
test_runtime_spin_ours(void)
{
    gsgi_app_drain(test_app);

    return (uint32_t *) &test_b->region->stats.reserved[0];
}


static test_spin_pt
test_runtime_load_other(const char *library)
{
    void          *handle;
    test_spin_pt   spin;

    handle = dlopen(test_path(library), RTLD_NOW|RTLD_LOCAL);
    check(handle != NULL);
    *(void **) &spin = dlsym(handle, "other_spin");
    check(spin != NULL);

    return spin;
}


static void
test_runtime_both(test_spin_pt spin)
{
    uint32_t  *state;

    static uint32_t  theirs;

    __atomic_store_n(&theirs, 0, __ATOMIC_SEQ_CST);
    spin(&theirs);
    check(test_runtime_wait(&theirs, TEST_COLLECTED, TEST_READY));
    __atomic_store_n(&theirs, TEST_END, __ATOMIC_SEQ_CST);

    state = test_runtime_spin_ours();
    check(test_runtime_wait(state, TEST_COLLECTED, TEST_READY));
    __atomic_store_n(state, TEST_END, __ATOMIC_SEQ_CST);
}


static void
test_runtime_warned(const char *library)
{
    char  text[GSGI_ERR_MAX];

    check_int(gsgi_app_runtimes(test_app, text, sizeof(text)), 1);
    check_has(text, library);
    check_has(text, " has brought a second Go runtime into this process, "
              "beside that of \"");
    check_has(text, "/app.so\"");
    check_int(gsgi_app_runtimes(test_app, text, sizeof(text)), 0);
}


static void
test_runtime_before_child(void)
{
    test_spin_pt  spin;

    spin = test_runtime_load_other("other.so");
    test_runtime_load();

    test_runtime_both(spin);
    test_runtime_warned("/other.so\"");
    test_runtime_both(spin);
}


static void
test_runtime_before(void)
{
    test_how = test_launch("app.so", "spin", NULL);
    check_int(test_fork(test_runtime_before_child), 0);
}


static void
test_runtime_after_child(void)
{
    char          text[GSGI_ERR_MAX];
    test_spin_pt  spin;

    test_runtime_load();
    check_int(gsgi_app_runtimes(test_app, text, sizeof(text)), 0);

    spin = test_runtime_load_other("other.so");
    test_runtime_warned("/other.so\"");
    test_runtime_both(spin);
}


/* A signal that the other one has swallowed must not be waited for. */

static void
test_runtime_stuck_child(void)
{
    uint32_t      *state;
    test_spin_pt   spin;

    test_runtime_load();
    spin = test_runtime_load_other("other.so");
    test_sleep(200);                /* its runtime starts behind the load */

    state = test_runtime_spin_ours();
    check(test_runtime_wait(state, TEST_LOOPS, TEST_READY));
    check(!test_runtime_wait(state, TEST_COLLECTED, TEST_STUCK));

    test_runtime_warned("/other.so\"");
    check(test_runtime_wait(state, TEST_COLLECTED, TEST_READY));
    __atomic_store_n(state, TEST_END, __ATOMIC_SEQ_CST);

    test_runtime_both(spin);
}


static void
test_runtime_after(void)
{
    test_how = test_launch("app.so", "spin", NULL);
    check_int(test_fork(test_runtime_after_child), 0);
    check_int(test_fork(test_runtime_stuck_child), 0);
}


/* Others load and unload something all the time. */

static int  test_runtime_ended;


static void *
test_runtime_loads(void *data)
{
    void  *handle;

    while (!__atomic_load_n(&test_runtime_ended, __ATOMIC_SEQ_CST)) {
        handle = dlopen("libutil.so.1", RTLD_NOW);

        if (handle) {
            dlclose(handle);
        }
    }

    return NULL;
}


static void
test_runtime_busy_child(void)
{
    char       err[GSGI_ERR_MAX];
    pthread_t  thread;

    test_b = test_bridge();
    check_int(pthread_create(&thread, NULL, test_runtime_loads, NULL), 0);
    check_int(gsgi_child_app_start(&test_app, test_b, test_how, 0, err,
                                   sizeof(err)), GSGI_OK);
    check(test_wait_state(test_b, GSGI_APP_READY, TEST_READY));

    __atomic_store_n(&test_runtime_ended, 1, __ATOMIC_SEQ_CST);
    pthread_join(thread, NULL);
}


static void
test_runtime_busy(void)
{
    int  i;

    for (i = 0; i < 4; i++) {
        test_how = test_launch("app.so", "spin", NULL);
        check_int(test_fork(test_runtime_busy_child), 0);
    }
}


static int
test_runtime_begun(void)
{
    struct sigaction  sa;

    return sigaction(SIGURG, NULL, &sa) == 0 && sa.sa_handler != SIG_DFL;
}


/* It comes while ours has SIGURG and goes on with its constructors. */

static void
test_runtime_meet_child(void)
{
    char          err[GSGI_ERR_MAX];
    uint64_t      end;
    test_spin_pt  spin;

    test_b = test_bridge();
    check_int(gsgi_child_app_start(&test_app, test_b, test_how, 0, err,
                                   sizeof(err)), GSGI_OK);

    for (end = test_now() + TEST_READY;
         !test_runtime_begun() && test_now() < end;
         /* void */)
    {
        sched_yield();
    }

    spin = test_runtime_load_other("other.so");
    check(test_wait_state(test_b, GSGI_APP_READY, TEST_READY));
    test_sleep(50);                 /* it has returned from its start */

    test_runtime_warned("/other.so\"");
    test_runtime_both(spin);
}


static void
test_runtime_meet(void)
{
    char  *extra[] = { (char *) "APP_CONSTRUCT=slow", NULL };

    test_how = test_launch("app.so", "spin", extra);
    check_int(test_fork(test_runtime_meet_child), 0);
}


static void
test_runtime_three_child(void)
{
    test_spin_pt  first, last;

    first = test_runtime_load_other("other.so");
    test_runtime_load();
    test_runtime_warned("/other.so\"");

    last = test_runtime_load_other("third.so");
    test_sleep(200);
    test_runtime_warned("/third.so\"");

    test_runtime_both(first);
    test_runtime_both(last);
}


static void
test_runtime_three(void)
{
    test_how = test_launch("app.so", "spin", NULL);
    check_int(test_fork(test_runtime_three_child), 0);
}


const test_t  test_runtime[] = {
    { "runtime: another one before ours", test_runtime_before },
    { "runtime: another one after ours", test_runtime_after },
    { "runtime: other libraries at the same time", test_runtime_busy },
    { "runtime: another one in the same instant", test_runtime_meet },
    { "runtime: two more", test_runtime_three },
    { NULL, NULL }
};
