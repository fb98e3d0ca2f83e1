/*
 * Copyright (C) The GSGI Authors
 */

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "test.h"


#define MS  UINT64_C(1000000)


typedef struct {
    gsgi_bridge_t  *bridge;
    gsgi_slot_t    *slot;
    uint32_t        delay;      /* ms */
    uint32_t        events;
    int             close_fd;
    uint32_t        stop;
    pthread_t       thread;
    pthread_t       target;
} helper_t;


static void
sleep_ms(uint32_t ms)
{
    struct timespec  ts;

    ts.tv_sec = ms / 1000;
    ts.tv_nsec = ms % 1000 * MS;

    while (nanosleep(&ts, &ts) == -1) { /* void */ }
}


static void *
helper(void *data)
{
    helper_t  *h;

    h = data;
    sleep_ms(h->delay);

    if (h->close_fd != -1) {
        (void) close(h->close_fd);
    }

    if (h->events) {
        fake_ring(h->bridge, h->slot, h->events);
    }

    return NULL;
}


static void
begin(helper_t *h)
{
    memset(h, 0, sizeof(helper_t));
    h->bridge = test_bridge(0, 1, 0);
    h->slot = gsgi_slot_get(h->bridge);
    h->close_fd = -1;
    h->delay = 30;
}


static void
end(helper_t *h)
{
    CHECK(h->slot->cq_wait == GSGI_WAIT_NONE);
    gsgi_slot_put(h->bridge, h->slot);
    test_done(h->bridge);
}


static void
go(helper_t *h)
{
    CHECK(!pthread_create(&h->thread, NULL, helper, h));
}


static void
join(helper_t *h)
{
    CHECK(!pthread_join(h->thread, NULL));
}


static void
wait_takes_what_is_there(void)
{
    int       ready;
    uint32_t  events;
    helper_t  h;

    begin(&h);
    CHECK(gsgi_slot_take(h.slot) == 0);

    fake_ring(h.bridge, h.slot, GSGI_CQ_HEAD);
    fake_ring(h.bridge, h.slot, GSGI_CQ_END);
    CHECK(gsgi_slot_wait(h.bridge, h.slot, 0, 0, -1, 0, &events, &ready)
          == GSGI_OK);
    CHECK(events == (GSGI_CQ_HEAD | GSGI_CQ_END) && ready == 0);
    CHECK(h.slot->cq_events == 0);
    end(&h);
}


static void
wait_spins(void)
{
    uint32_t  events;
    helper_t  h;

    begin(&h);
    h.events = GSGI_CQ_HEAD;
    go(&h);
    CHECK(gsgi_slot_wait(h.bridge, h.slot, 2000000000, 0, -1, -1, &events,
                         NULL) == GSGI_OK);
    CHECK(events == GSGI_CQ_HEAD);
    join(&h);
    end(&h);
}


static void
wait_in_a_futex(void)
{
    uint32_t  events;
    uint64_t  start;
    helper_t  h;

    begin(&h);
    h.events = GSGI_CQ_DATA;
    start = gsgi_now();
    go(&h);
    CHECK(gsgi_slot_wait(h.bridge, h.slot, 0, 5000, -1, -1, &events, NULL)
          == GSGI_OK);
    CHECK(events == GSGI_CQ_DATA);
    CHECK(gsgi_now() - start < 3000 * MS);
    join(&h);
    CHECK(h.slot->cq_efd == -1);
    end(&h);
}


static void
wait_in_poll(void)
{
    int       i, ready, pair[2];
    uint32_t  events;
    uint64_t  start;
    helper_t  h;

    begin(&h);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    h.events = GSGI_CQ_DATA;
    start = gsgi_now();

    for (i = 0; i < 3; i++) {
        go(&h);
        CHECK(gsgi_slot_wait(h.bridge, h.slot, 0, 1, pair[0], 20000, &events,
                             &ready) == GSGI_OK);
        CHECK(events == GSGI_CQ_DATA && ready == 0);
        join(&h);
    }

    CHECK(h.slot->cq_efd != -1);
    CHECK(gsgi_now() - start < 3000 * MS);
    close(pair[0]);
    close(pair[1]);
    end(&h);
}


static void
wait_times_out(void)
{
    int       ready, pair[2];
    uint32_t  events;
    uint64_t  start;
    helper_t  h;

    begin(&h);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);

    start = gsgi_now();
    CHECK(gsgi_slot_wait(h.bridge, h.slot, 1000, 20, -1, 50, &events, NULL)
          == GSGI_AGAIN);
    CHECK(events == 0 && gsgi_now() - start >= 50 * MS);

    start = gsgi_now();
    CHECK(gsgi_slot_wait(h.bridge, h.slot, 1000, 20, pair[0], 60, &events,
                         &ready) == GSGI_AGAIN);
    CHECK(events == 0 && ready == 0 && gsgi_now() - start >= 60 * MS);

    start = gsgi_now();
    CHECK(gsgi_slot_wait(h.bridge, h.slot, 2000000000, 5000, pair[0], 10,
                         &events, &ready) == GSGI_AGAIN);
    CHECK(gsgi_now() - start < 1000 * MS);

    CHECK(gsgi_slot_wait(h.bridge, h.slot, 0, 0, pair[0], 0, &events, &ready)
          == GSGI_AGAIN);

    close(pair[0]);
    close(pair[1]);
    end(&h);
}


static void
wait_sees_the_client_leave(void)
{
    int       ready, pair[2];
    uint32_t  events;
    uint64_t  start;
    helper_t  h;

    begin(&h);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    h.close_fd = pair[1];
    start = gsgi_now();
    go(&h);
    CHECK(gsgi_slot_wait(h.bridge, h.slot, 0, 5, pair[0], 20000, &events,
                         &ready) == GSGI_OK);
    CHECK(events == 0 && ready == 1);
    CHECK(gsgi_now() - start < 3000 * MS);
    join(&h);
    close(pair[0]);
    end(&h);
}


/* A wake-up that belongs to news that were taken already. */
static void
wait_outlasts_stale_wakeups(void)
{
    int       ready, pair[2];
    uint32_t  events;
    uint64_t  one, start;
    helper_t  h;

    begin(&h);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);

    CHECK(gsgi_slot_wait(h.bridge, h.slot, 0, 0, pair[0], 1, &events, &ready)
          == GSGI_AGAIN);
    one = 1;
    CHECK(write(h.slot->cq_efd, &one, sizeof(one)) == sizeof(one));

    h.events = GSGI_CQ_END;
    start = gsgi_now();
    go(&h);
    CHECK(gsgi_slot_wait(h.bridge, h.slot, 0, 0, pair[0], 20000, &events,
                         &ready) == GSGI_OK);
    CHECK(events == GSGI_CQ_END && ready == 0);
    CHECK(gsgi_now() - start >= 25 * MS);
    join(&h);

    close(pair[0]);
    close(pair[1]);
    end(&h);
}


/* Clears cq_wait again and again, as late wake-ups of a former life do. */
static void *
meddler(void *data)
{
    helper_t  *h;

    h = data;

    while (!gsgi_load(&h->stop)) {
        fake_ring(h->bridge, h->slot, 0);
        (void) sched_yield();
    }

    return NULL;
}


static void
wait_outlasts_a_meddler(void)
{
    int        i;
    uint32_t   events;
    uint64_t   start;
    helper_t   h;
    pthread_t  thread;

    begin(&h);
    h.events = GSGI_CQ_HEAD;
    h.delay = 2;
    start = gsgi_now();
    CHECK(!pthread_create(&thread, NULL, meddler, &h));

    for (i = 0; i < 50; i++) {
        go(&h);
        CHECK(gsgi_slot_wait(h.bridge, h.slot, 0, 5000, -1, 5000, &events,
                             NULL) == GSGI_OK);
        CHECK(events == GSGI_CQ_HEAD);
        join(&h);
    }

    CHECK(gsgi_now() - start < 4000 * MS);

    gsgi_store(&h.stop, 1);
    CHECK(!pthread_join(thread, NULL));
    end(&h);
}


static void
on_signal(int signo)
{
}


static void *
nagger(void *data)
{
    helper_t  *h;

    h = data;

    while (!gsgi_load(&h->stop)) {
        (void) pthread_kill(h->target, SIGUSR1);
        sleep_ms(1);
    }

    return NULL;
}


static void
wait_outlasts_signals(void)
{
    int               ready, pair[2];
    uint32_t          events;
    uint64_t          start;
    helper_t          h;
    pthread_t         thread;
    struct sigaction  sa;

    begin(&h);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);

    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = on_signal;
    CHECK(sigaction(SIGUSR1, &sa, NULL) == 0);

    h.target = pthread_self();
    CHECK(!pthread_create(&thread, NULL, nagger, &h));

    start = gsgi_now();
    CHECK(gsgi_slot_wait(h.bridge, h.slot, 0, 40, pair[0], 80, &events,
                         &ready) == GSGI_AGAIN);
    CHECK(events == 0 && ready == 0);
    CHECK(gsgi_now() - start >= 80 * MS);

    h.events = GSGI_CQ_READ;
    go(&h);
    CHECK(gsgi_slot_wait(h.bridge, h.slot, 0, 5, pair[0], -1, &events,
                         &ready) == GSGI_OK);
    CHECK(events == GSGI_CQ_READ);
    join(&h);

    gsgi_store(&h.stop, 1);
    CHECK(!pthread_join(thread, NULL));
    close(pair[0]);
    close(pair[1]);
    end(&h);
}


static void
poll_sees_the_client_and_the_library(void)
{
    int       revents, pair[2];
    char      byte;
    helper_t  h;

    begin(&h);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);

    CHECK(gsgi_slot_poll(h.slot, pair[0], POLLIN, 20, &revents) == 0);
    CHECK(revents == 0);

    CHECK(gsgi_slot_poll(h.slot, pair[0], POLLOUT, 1000, &revents) == 0);
    CHECK(revents == POLLOUT);

    CHECK(write(pair[1], "x", 1) == 1);
    CHECK(gsgi_slot_poll(h.slot, pair[0], POLLIN, 1000, &revents) == 0);
    CHECK(revents == POLLIN);
    CHECK(read(pair[0], &byte, 1) == 1);

    h.events = GSGI_CQ_CREDIT;
    go(&h);
    CHECK(gsgi_slot_poll(h.slot, pair[0], POLLIN, 10000, &revents)
          == GSGI_CQ_CREDIT);
    CHECK(revents == 0);
    join(&h);

    close(pair[1]);
    CHECK(gsgi_slot_poll(h.slot, pair[0], 0, 1000, &revents) == 0);
    CHECK(revents & POLLHUP);

    close(pair[0]);
    end(&h);
}


const test_t  wait_tests[] = {
    { "wait_takes_what_is_there", wait_takes_what_is_there },
    { "wait_spins", wait_spins },
    { "wait_in_a_futex", wait_in_a_futex },
    { "wait_in_poll", wait_in_poll },
    { "wait_times_out", wait_times_out },
    { "wait_sees_the_client_leave", wait_sees_the_client_leave },
    { "wait_outlasts_stale_wakeups", wait_outlasts_stale_wakeups },
    { "wait_outlasts_a_meddler", wait_outlasts_a_meddler },
    { "wait_outlasts_signals", wait_outlasts_signals },
    { "poll_sees_the_client_and_the_library",
      poll_sees_the_client_and_the_library },
    { NULL, NULL }
};
