/*
 * Copyright (C) The GSGI Authors
 *
 * A library that answers from C, and what the tests share.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "test.h"


void
test_failed(const char *file, int line, const char *what)
{
    fflush(stdout);
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
    abort();
}


gsgi_bridge_t *
test_bridge(uint32_t flags, uint32_t nslots, uint32_t nchunks)
{
    char                 err[GSGI_ERR_MAX];
    gsgi_bridge_t       *b;
    gsgi_bridge_conf_t   conf;

    memset(&conf, 0, sizeof(conf));
    conf.flags = flags;
    conf.nslots = nslots;
    conf.nchunks = nchunks;
    conf.chunks_keep = 4;

    CHECK(gsgi_child_bridge_create(&b, &conf, err, sizeof(err)) == GSGI_OK);
    CHECK(gsgi_region(b)->magic == GSGI_MAGIC);

    return b;
}


uint32_t
test_chunks_used(gsgi_bridge_t *b)
{
    return b->region->chunk_fresh - b->region->chunks_idle;
}


/* Bridges are for ever; tests make many, so they take them apart. */
void
test_done(gsgi_bridge_t *b)
{
    uint32_t        i;
    gsgi_region_t  *r;

    r = b->region;

    CHECK(r->slots_used == 0);
    CHECK(r->in_flight == 0);
    CHECK(r->abandoned == 0);
    CHECK(test_chunks_used(b) == 0);

    for (i = 0; i < r->slot_fresh; i++) {
        if (gsgi_slot_at(b, i)->cq_efd != -1) {
            (void) close(gsgi_slot_at(b, i)->cq_efd);
        }
    }

    (void) close(r->host_efd);
    (void) close(r->go_efd[0]);
    (void) close(r->go_efd[1]);
    (void) munmap(r, r->length);
    pthread_mutex_destroy(&b->log_lock);
    free(b);
}


static int
fake_ready(gsgi_bridge_t *b)
{
    uint32_t  h;

    h = gsgi_load(&b->region->sq_head);

    return gsgi_load(&b->sq[h % b->region->ring_size].seq) == h + 1;
}


int
fake_pop(gsgi_bridge_t *b, uint32_t *index_out, uint32_t *events_out)
{
    uint32_t        h;
    gsgi_cell_t    *cell;
    gsgi_region_t  *r;

    r = b->region;

    for ( ;; ) {
        h = gsgi_load(&r->sq_head);
        cell = &b->sq[h % r->ring_size];

        if (gsgi_load(&cell->seq) != h + 1) {
            if (gsgi_load(&r->sq_head) != h) {
                continue;
            }

            return GSGI_AGAIN;
        }

        if (gsgi_cas(&r->sq_head, &h, h + 1)) {
            break;
        }
    }

    *index_out = cell->slot;
    gsgi_store(&cell->seq, h + r->ring_size);

    *events_out = gsgi_swap(&gsgi_slot_at(b, *index_out)->sq_events, 0);

    return GSGI_OK;
}


int
fake_efd_rung(int efd)
{
    uint64_t  count;

    return read(efd, &count, sizeof(count)) == sizeof(count);
}


/* Waits for submissions, a second at most. */
void
fake_wait(gsgi_bridge_t *b, int spot)
{
    struct pollfd  pfd;

    gsgi_store(&b->region->go_armed, spot + 1);

    if (fake_ready(b)) {
        return;
    }

    pfd.fd = b->region->go_efd[spot];
    pfd.events = POLLIN;

    (void) poll(&pfd, 1, 1000);
    (void) fake_efd_rung(pfd.fd);
}


static void
fake_write(int efd)
{
    uint64_t  one;

    one = 1;
    CHECK(write(efd, &one, sizeof(one)) == sizeof(one));
}


static void
fake_cq_push(gsgi_bridge_t *b, uint32_t index)
{
    uint32_t        t;
    gsgi_cell_t    *cell;
    gsgi_region_t  *r;

    r = b->region;

    for ( ;; ) {
        t = gsgi_load(&r->cq_tail);
        cell = &b->cq[t % r->ring_size];

        if (gsgi_load(&cell->seq) != t) {
            (void) sched_yield();
            continue;
        }

        if (gsgi_cas(&r->cq_tail, &t, t + 1)) {
            break;
        }
    }

    cell->slot = index;
    gsgi_store(&cell->seq, t + 1);
}


static void
fake_wake(gsgi_slot_t *slot)
{
    switch (gsgi_swap(&slot->cq_wait, GSGI_WAIT_NONE)) {

    case GSGI_WAIT_FUTEX:
        (void) syscall(SYS_futex, &slot->cq_wait, FUTEX_WAKE, 1, NULL, NULL,
                       0);
        break;

    case GSGI_WAIT_POLL:
        fake_write(slot->cq_efd);
        break;
    }
}


void
fake_ring(gsgi_bridge_t *b, gsgi_slot_t *slot, uint32_t events)
{
    uint32_t  old;

    old = gsgi_or(&slot->cq_events, events);

    if (!gsgi_ringed(b)) {
        fake_wake(slot);
        return;
    }

    if (old == 0) {
        fake_cq_push(b, gsgi_slot_index(b, slot));

        if (gsgi_swap(&b->region->host_sleeping, 0)) {
            fake_write(b->region->host_efd);
        }
    }
}


static void
fake_drop(gsgi_bridge_t *b, uint32_t list)
{
    uint32_t  next;

    for ( /* void */ ; list; list = next) {
        next = gsgi_chunk_head(b, list - 1)->next;

        if (gsgi_chunk_head(b, list - 1)->kind == GSGI_CHUNK_FILE) {
            (void) close(gsgi_chunk_head(b, list - 1)->fd);
        }

        gsgi_chunk_put(b, list - 1);
    }
}


void
fake_release(gsgi_bridge_t *b, gsgi_slot_t *slot, uint32_t events)
{
    if (gsgi_ringed(b)) {
        fake_ring(b, slot, events | GSGI_CQ_RELEASE);
        return;
    }

    if (!(gsgi_or(&slot->cq_events, events | GSGI_CQ_RELEASE)
          & GSGI_CQ_HOST_GONE))
    {
        fake_wake(slot);
        return;
    }

    fake_drop(b, gsgi_swap(&slot->in_list, 0));
    fake_drop(b, gsgi_swap(&slot->out_list, 0));
    fake_drop(b, slot->head_chunk);

    if (gsgi_swap(&slot->counted, 0)) {
        gsgi_sub(&b->region->in_flight, 1);
        gsgi_sub(&b->region->abandoned, 1);
    }

    gsgi_stack_push(&b->region->slot_free, b->slots, GSGI_SLOT_BYTES,
                    gsgi_slot_index(b, slot));
    gsgi_sub(&b->region->slots_used, 1);
}


void
fake_publish(gsgi_bridge_t *b, gsgi_slot_t *slot, uint32_t index)
{
    uint32_t  old;

    old = gsgi_load(&slot->out_list);

    do {
        gsgi_store(&gsgi_chunk_head(b, index)->next, old);
    } while (!gsgi_cas(&slot->out_list, &old, index + 1));
}


uint32_t
fake_out(gsgi_bridge_t *b, gsgi_slot_t *slot, uint16_t kind,
    const void *data, size_t n)
{
    int32_t  index;

    index = gsgi_chunk_get(b);
    CHECK(index >= 0 && n <= GSGI_CHUNK_BYTES);

    gsgi_chunk_head(b, index)->kind = kind;
    gsgi_chunk_head(b, index)->len = (uint32_t) n;

    if (n) {
        memcpy(gsgi_chunk_data(b, index), data, n);
    }

    fake_publish(b, slot, index);

    return index;
}


uint32_t
fake_in_take(gsgi_bridge_t *b, gsgi_slot_t *slot)
{
    uint32_t  list, next, first;

    list = gsgi_swap(&slot->in_list, 0);

    for (first = 0; list; list = next) {
        next = gsgi_chunk_head(b, list - 1)->next;
        gsgi_store(&gsgi_chunk_head(b, list - 1)->next, first);
        first = list;
    }

    return first;
}


void
fake_log(gsgi_bridge_t *b, uint16_t level, const char *text, size_t n)
{
    uint64_t     head, pos, left, need;
    gsgi_log_t   rec;

    head = gsgi_load(&b->region->log_head);
    pos = head % b->region->log_size;
    left = b->region->log_size - pos;
    need = (sizeof(rec) + n + 7) / 8 * 8;

    memset(&rec, 0, sizeof(rec));

    if (left < need) {
        rec.len = (uint32_t) left;
        rec.level = GSGI_LOG_PAD;
        memcpy(b->log + pos, &rec, left < sizeof(rec) ? left : sizeof(rec));
        head += left;
        pos = 0;
    }

    CHECK(head + need - gsgi_load(&b->region->log_tail)
          <= b->region->log_size);

    rec.len = (uint32_t) n;
    rec.level = level;
    rec.slot = 7;
    rec.gen = 9;

    memcpy(b->log + pos, &rec, sizeof(rec));
    memcpy(b->log + pos + sizeof(rec), text, n);

    gsgi_store(&b->region->log_head, head + need);
}
