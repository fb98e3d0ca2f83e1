/*
 * Copyright (C) The GSGI Authors
 *
 * The two rings of doorbells, and waking the library.
 */

#include <errno.h>
#include <sched.h>
#include <unistd.h>

#include "gsgi_bridge.h"


/*
 * Never full: a slot is in it at most once, and there are two cells for each.
 * A cell can only be behind when the thread that emptied it has lost its CPU
 * in the middle.
 */
static void
gsgi_ring_push(gsgi_cell_t *ring, uint32_t size, uint32_t *tail,
    uint32_t slot)
{
    uint32_t      t, seq;
    gsgi_cell_t  *cell;

    t = gsgi_load(tail);

    for ( ;; ) {
        cell = &ring[t & (size - 1)];
        seq = gsgi_load(&cell->seq);

        if (seq == t) {
            if (gsgi_cas(tail, &t, t + 1)) {
                break;
            }

            continue;
        }

        if ((int32_t) (seq - t) < 0) {
            (void) sched_yield();
        }

        t = gsgi_load(tail);
    }

    cell->slot = slot;
    gsgi_store(&cell->seq, t + 1);
}


static int
gsgi_ring_pop(gsgi_cell_t *ring, uint32_t size, uint32_t *head,
    uint32_t *slot_out)
{
    uint32_t      h, seq;
    gsgi_cell_t  *cell;

    h = gsgi_load(head);

    for ( ;; ) {
        cell = &ring[h & (size - 1)];
        seq = gsgi_load(&cell->seq);

        if (seq == h + 1) {
            if (gsgi_cas(head, &h, h + 1)) {
                break;
            }

            continue;
        }

        if ((int32_t) (seq - (h + 1)) < 0) {
            return GSGI_AGAIN;
        }

        h = gsgi_load(head);
    }

    *slot_out = cell->slot;
    gsgi_store(&cell->seq, h + size);

    return GSGI_OK;
}


void
gsgi_wake_library(gsgi_region_t *r)
{
    ssize_t   n;
    uint32_t  armed;
    uint64_t  one;

    if (gsgi_load(&r->go_armed) == 0) {
        return;
    }

    armed = gsgi_swap(&r->go_armed, 0);

    if (armed == 0 || armed > 2) {
        return;
    }

    one = 1;

    do {
        n = write(r->go_efd[armed - 1], &one, sizeof(one));
    } while (n == -1 && errno == EINTR);
}


void
gsgi_ring_submit(gsgi_bridge_t *b, gsgi_slot_t *slot, uint32_t old)
{
    gsgi_region_t  *r;

    if (old != 0) {
        return;
    }

    r = b->region;

    gsgi_ring_push(b->sq, r->ring_size, &r->sq_tail,
                   gsgi_slot_index(b, slot));
    gsgi_wake_library(r);
}


int
gsgi_ring_empty(gsgi_bridge_t *b)
{
    uint32_t        h;
    gsgi_region_t  *r;

    r = b->region;
    h = gsgi_load(&r->cq_head);

    return gsgi_load(&b->cq[h & (r->ring_size - 1)].seq) != h + 1;
}


/* News of a slot that the host has let go. */
static void
gsgi_completion_gone(gsgi_bridge_t *b, gsgi_slot_t *slot, uint32_t events)
{
    if (events & GSGI_CQ_RELEASE) {
        gsgi_slot_free(b, slot);
        return;
    }

    gsgi_chunk_drop(b, gsgi_swap(&slot->out_list, 0));
}


int
gsgi_completion_next(gsgi_bridge_t *b, gsgi_slot_t **slot_out,
    uint32_t *events_out)
{
    uint32_t        index, events;
    gsgi_slot_t    *slot;
    gsgi_region_t  *r;

    r = b->region;

    while (gsgi_ring_pop(b->cq, r->ring_size, &r->cq_head, &index)
           == GSGI_OK)
    {
        if (index >= r->nslots) {
            continue;
        }

        slot = gsgi_slot_at(b, index);
        events = gsgi_slot_news(slot);

        if (events == 0) {
            continue;
        }

        if (slot->reserved1[GSGI_PRIV_GONE]) {
            gsgi_completion_gone(b, slot, events);
            continue;
        }

        *slot_out = slot;
        *events_out = events;

        return GSGI_OK;
    }

    return GSGI_AGAIN;
}


int
gsgi_completion_sleep(gsgi_bridge_t *b)
{
    uint32_t        state;
    gsgi_region_t  *r;

    r = b->region;

    gsgi_store(&r->host_sleeping, 1);

    state = gsgi_load(&r->app_state);

    if (state == b->seen_state && gsgi_ring_empty(b)
        && gsgi_load(&r->log_head) == gsgi_load(&r->log_tail))
    {
        return GSGI_OK;
    }

    b->seen_state = state;
    gsgi_store(&r->host_sleeping, 0);

    return GSGI_AGAIN;
}
