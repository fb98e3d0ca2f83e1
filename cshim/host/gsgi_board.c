/*
 * Copyright (C) The GSGI Authors
 *
 * Figures of all workers of a configuration, and the memory of how the last
 * ones ended: a library that kills its worker is loaded again ever later.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "gsgi_board.h"

#define GSGI_BOARD_EARLY  60000     /* ms of life that make a death early */
#define GSGI_BOARD_DELAY  60000     /* ms, the longest delay */


/* For a worker that finds no free record. */
static gsgi_board_record_t  gsgi_board_private;

#define gsgi_board_offset(field)  offsetof(gsgi_board_worker_t, field)

/* Figures that only grow, and outlive their worker in board->past. */
static const size_t  gsgi_board_counters[] = {
    gsgi_board_offset(requests),
    gsgi_board_offset(answered),
    gsgi_board_offset(cut),
    gsgi_board_offset(aborted),
    gsgi_board_offset(timeouts),
    gsgi_board_offset(rejected),
    gsgi_board_offset(failed),
    gsgi_board_offset(bytes_sent),
    gsgi_board_offset(bytes_received)
};


gsgi_board_t *
gsgi_parent_board_create(uint32_t records)
{
    size_t         size;
    gsgi_board_t  *board;

    size = sizeof(gsgi_board_t) + records * sizeof(gsgi_board_record_t);

    board = mmap(NULL, size, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS,
                 -1, 0);

    if (board == MAP_FAILED) {
        return NULL;
    }

    board->size = size;
    board->nrecords = records;
    board->words = gsgi_words_create(records);

    return board;
}


void
gsgi_parent_board_destroy(gsgi_board_t *board)
{
    if (board != NULL) {
        gsgi_words_destroy(board->words, board->nrecords);
        munmap(board, board->size);
    }
}


static uint64_t
gsgi_board_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


/* A worker runs as another user than some who ask: EPERM means alive. */

int
gsgi_board_alive(uint32_t pid)
{
    if (pid == 0 || pid == GSGI_BOARD_CLAIMED) {
        return 0;
    }

    return kill((pid_t) pid, 0) == 0 || errno != ESRCH;
}


static void
gsgi_board_keep(gsgi_board_t *board, gsgi_board_worker_t *w)
{
    size_t     i;
    uint64_t  *from, *to;

    for (i = 0; i < sizeof(gsgi_board_counters) / sizeof(size_t); i++) {
        from = (uint64_t *) ((char *) w + gsgi_board_counters[i]);
        to = (uint64_t *) ((char *) &board->past + gsgi_board_counters[i]);

        __atomic_fetch_add(to, __atomic_exchange_n(from, 0, __ATOMIC_SEQ_CST),
                           __ATOMIC_SEQ_CST);
    }
}


/* Several workers may find the same dead one: who swaps its pid counts it. */

static void
gsgi_board_bury_one(gsgi_board_t *board, gsgi_board_record_t *record)
{
    uint32_t  pid;
    uint64_t  load;

    pid = __atomic_load_n(&record->worker.pid, __ATOMIC_SEQ_CST);

    if (pid == 0 || pid == GSGI_BOARD_CLAIMED || gsgi_board_alive(pid)
        || !__atomic_compare_exchange_n(&record->worker.pid, &pid,
                                        GSGI_BOARD_CLAIMED, 0,
                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
    {
        return;
    }

    load = __atomic_load_n(&record->load, __ATOMIC_SEQ_CST);

    if (gsgi_board_now() < load + GSGI_BOARD_EARLY) {
        __atomic_fetch_add(&board->early, 1, __ATOMIC_SEQ_CST);
        __atomic_store_n(&board->died, 1, __ATOMIC_SEQ_CST);

    } else {
        __atomic_store_n(&board->early, 0, __ATOMIC_SEQ_CST);
    }

    gsgi_board_keep(board, &record->worker);

    __atomic_store_n(&record->worker.pid, 0, __ATOMIC_SEQ_CST);
}


void
gsgi_board_bury(gsgi_board_t *board)
{
    uint32_t  i;

    for (i = 0; i < board->nrecords; i++) {
        gsgi_board_bury_one(board, &board->records[i]);
    }
}


static uint32_t
gsgi_board_delay(uint32_t early)
{
    uint32_t  delay;

    if (early == 0) {
        return 0;
    }

    for (delay = 1000; early > 1 && delay < GSGI_BOARD_DELAY; early--) {
        delay *= 2;
    }

    return delay < GSGI_BOARD_DELAY ? delay : GSGI_BOARD_DELAY;
}


static gsgi_board_record_t *
gsgi_board_take(gsgi_board_t *board, uint32_t *index)
{
    uint32_t              i, none;
    gsgi_board_record_t  *record;

    for (i = 0; i < board->nrecords; i++) {
        record = &board->records[i];
        none = 0;

        if (__atomic_compare_exchange_n(&record->worker.pid, &none,
                                        GSGI_BOARD_CLAIMED, 0,
                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        {
            *index = i;
            return record;
        }
    }

    *index = board->nrecords;

    return &gsgi_board_private;
}


gsgi_board_worker_t *
gsgi_child_board_enter(gsgi_board_t *board, uint32_t *worker_out,
    uint32_t *delay_out)
{
    gsgi_board_record_t  *record;

    gsgi_board_bury(board);

    *delay_out = gsgi_board_delay(__atomic_load_n(&board->early,
                                                  __ATOMIC_SEQ_CST));

    record = gsgi_board_take(board, worker_out);

    /* all but the pid, which is stored last and makes the record valid */

    memset((char *) &record->worker + sizeof(uint32_t), 0,
           sizeof(gsgi_board_worker_t) - sizeof(uint32_t));

    /* the minute of a worker that must wait begins when it loads */

    record->load = gsgi_board_now() + *delay_out;
    record->worker.started = (uint64_t) time(NULL);

    __atomic_store_n(&record->worker.pid, (uint32_t) getpid(),
                     __ATOMIC_SEQ_CST);

    return &record->worker;
}


void
gsgi_child_board_leave(gsgi_board_t *board, gsgi_board_worker_t *w)
{
    __atomic_store_n(&board->early, 0, __ATOMIC_SEQ_CST);

    gsgi_board_keep(board, w);

    __atomic_store_n(&((gsgi_board_record_t *) w)->words, 0,
                     __ATOMIC_SEQ_CST);
    __atomic_store_n(&w->pid, 0, __ATOMIC_SEQ_CST);
}
