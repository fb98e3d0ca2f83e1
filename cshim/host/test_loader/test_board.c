/*
 * Copyright (C) The GSGI Authors
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../gsgi_board.h"
#include "test.h"

static gsgi_board_t  *test_the_board;

/* What the last worker was told. */
static struct {
    uint32_t  worker;
    uint32_t  delay;
} *test_told;


/* A worker that enters and dies. */

static void
test_board_die(void)
{
    gsgi_board_worker_t  *w;

    w = gsgi_child_board_enter(test_the_board, &test_told->worker,
                               &test_told->delay);
    w->requests = 5;
    w->in_flight = 2;
    w->last_request = 77;
    check_int(w->pid, getpid());
    check(w->started > 1000000000);
}


static void
test_board_finish(void)
{
    gsgi_board_worker_t  *w;

    w = gsgi_child_board_enter(test_the_board, &test_told->worker,
                               &test_told->delay);
    w->requests = 7;
    w->in_flight = 1;
    gsgi_child_board_leave(test_the_board, w);
}


static void
test_board_new(uint32_t records)
{
    if (test_told == NULL) {
        test_told = mmap(NULL, sizeof(*test_told), PROT_READ|PROT_WRITE,
                         MAP_SHARED|MAP_ANONYMOUS, -1, 0);
    }

    gsgi_parent_board_destroy(test_the_board);
    test_the_board = gsgi_parent_board_create(records);
    check(test_the_board != NULL);
}


static void
test_board_delays(void)
{
    size_t  i;

    static const uint32_t  expected[] = {
        0, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000
    };

    test_board_new(2);

    for (i = 0; i < sizeof(expected) / sizeof(uint32_t); i++) {
        check_int(test_fork(test_board_die), 0);
        check_int(test_told->delay, expected[i]);
        check_int(test_told->worker, 0);
    }

    /* one that leaves properly ends the row */

    test_fork(test_board_finish);
    check_int(test_told->delay, 60000);
    test_fork(test_board_die);
    check_int(test_told->delay, 0);
    test_fork(test_board_die);
    check_int(test_told->delay, 1000);
}


/* A death is early by the time since its load, also after a long delay. */

static void
test_board_long_life(void)
{
    test_board_new(1);

    test_fork(test_board_die);
    test_fork(test_board_die);
    check_int(test_told->delay, 1000);

    check(test_the_board->records[0].load > test_now());
    test_the_board->records[0].load -= 61000;
    test_fork(test_board_die);
    check_int(test_told->delay, 0);

    test_the_board->records[0].load = test_now() - 59000;
    test_fork(test_board_die);
    check_int(test_told->delay, 1000);
}


static void
test_board_counts(void)
{
    test_board_new(3);

    test_fork(test_board_die);
    test_fork(test_board_finish);
    test_fork(test_board_finish);

    check_int(test_the_board->past.requests, 5 + 7 + 7);
    check_int(test_the_board->past.in_flight, 0);
    check_int(test_the_board->records[0].worker.pid, 0);
}


/* As www-data or nobody, a worker cannot signal the master. */

static void
test_board_stranger(void)
{
    if (geteuid() == 0) {
        check_int(setgid(65534), 0);
        check_int(setuid(65534), 0);
        check_int(kill(getppid(), 0), -1);
    }

    test_board_die();
    check_int(test_told->worker, 1);
    check_int(test_told->delay, 0);
}


static void
test_board_alive(void)
{
    uint32_t              worker, delay;
    gsgi_board_worker_t  *w;

    test_board_new(2);

    w = gsgi_child_board_enter(test_the_board, &worker, &delay);
    check_int(worker, 0);
    check_int(test_fork(test_board_stranger), 0);
    check_int(w->pid, getpid());

    gsgi_child_board_leave(test_the_board, w);
    check_int(w->pid, 0);
}


static void
test_board_full(void)
{
    uint32_t              worker, delay;
    gsgi_board_worker_t  *first, *second;

    test_board_new(1);

    first = gsgi_child_board_enter(test_the_board, &worker, &delay);
    check_int(worker, 0);

    second = gsgi_child_board_enter(test_the_board, &worker, &delay);
    check_int(worker, 1);
    check(second != NULL && second != first);

    second->requests++;
    gsgi_child_board_leave(test_the_board, second);
    gsgi_child_board_leave(test_the_board, first);
    check_int(test_the_board->past.requests, 1);
}


/* Workers that enter at once, each with a record of its own. */

static void
test_board_crowd(void)
{
    int        i, round;
    pid_t      pids[8];
    uint32_t   worker, delay;
    uint64_t   seen;

    test_board_new(16);

    for (round = 0; round < 20; round++) {
        for (i = 0; i < 8; i++) {
            pids[i] = fork();

            if (pids[i] == 0) {
                gsgi_child_board_enter(test_the_board, &worker, &delay)
                    ->requests = 1;
                _exit(0);
            }
        }

        for (i = 0; i < 8; i++) {
            test_reap(pids[i]);
        }

        check(test_the_board->early <= (uint32_t) (round + 1) * 8);
    }

    /* each of the 160 deaths is counted once */

    gsgi_child_board_enter(test_the_board, &worker, &delay);
    check_int(test_the_board->early, 160);
    check_int(test_the_board->past.requests, 160);

    for (i = 0, seen = 0; i < 16; i++) {
        seen += test_the_board->records[i].worker.pid != 0;
    }

    check_int(seen, 1);
}


const test_t  test_board[] = {
    { "board: early deaths delay the next worker", test_board_delays },
    { "board: a life of a minute ends the row", test_board_long_life },
    { "board: counts outlive their worker", test_board_counts },
    { "board: a worker of another user is alive", test_board_alive },
    { "board: without a free record", test_board_full },
    { "board: many workers at once", test_board_crowd },
    { NULL, NULL }
};
