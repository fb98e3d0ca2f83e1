/*
 * Copyright (C) The GSGI Authors
 *
 * The life of a slot, seen from the host: taken, submitted, poked, let go.
 */

#include <string.h>

#include "gsgi_bridge.h"


gsgi_slot_t *
gsgi_slot_at(gsgi_bridge_t *b, uint32_t index)
{
    return (gsgi_slot_t *) (void *)
               (b->slots + (size_t) index * GSGI_SLOT_BYTES);
}


uint32_t
gsgi_slot_index(gsgi_bridge_t *b, const gsgi_slot_t *slot)
{
    return (uint32_t) (((const u_char *) slot - b->slots) / GSGI_SLOT_BYTES);
}


u_char *
gsgi_slot_data(gsgi_slot_t *slot)
{
    return (u_char *) slot + sizeof(gsgi_slot_t);
}


/*
 * "next" may be looked at by a pop that comes too late, sq_events and cq_wait
 * by a doorbell or a wake-up of the former life: these are atomic even here.
 */
static void
gsgi_slot_reset(gsgi_slot_t *slot)
{
    slot->gen++;
    slot->flags = 0;
    slot->entry = 0;
    slot->block_len = 0;
    slot->block_chunk = 0;
    slot->body_kind = GSGI_BODY_NONE;
    slot->inline_len = 0;
    slot->content_length = 0;
    slot->id = 0;
    slot->credit = 0;
    slot->body_fd = -1;
    slot->protocol = 0;

    slot->host_flags = 0;
    slot->in_list = 0;
    slot->in_state = GSGI_IN_OPEN;
    slot->out_acked = 0;
    slot->in_waiting = 0;
    slot->counted = 0;
    gsgi_store(&slot->cq_wait, GSGI_WAIT_NONE);

    gsgi_store(&slot->cq_events, 0);
    slot->out_list = 0;
    slot->in_acked = 0;
    slot->out_waiting = 0;
    slot->head_chunk = 0;
    slot->head_off = 0;
    slot->head_len = 0;
    slot->body_off = 0;
    slot->body_len = 0;
    slot->queue_us = 0;
    memset(slot->reserved, 0, sizeof(slot->reserved));

    slot->host_data = 0;
    slot->submitted_ns = 0;
    memset(slot->reserved1, 0, sizeof(slot->reserved1));
}


gsgi_slot_t *
gsgi_slot_get(gsgi_bridge_t *b)
{
    uint32_t        n;
    gsgi_slot_t    *slot;
    gsgi_region_t  *r;

    r = b->region;
    n = gsgi_stack_pop(&r->slot_free, b->slots, GSGI_SLOT_BYTES);

    if (n != 0) {
        slot = gsgi_slot_at(b, n - 1);

    } else {
        n = gsgi_fresh_next(&r->slot_fresh, r->nslots);
        if (n == 0) {
            return NULL;
        }

        slot = gsgi_slot_at(b, n - 1);
        slot->cq_efd = -1;
    }

    gsgi_add(&r->slots_used, 1);
    gsgi_slot_reset(slot);

    return slot;
}


static void
gsgi_slot_push(gsgi_bridge_t *b, gsgi_slot_t *slot)
{
    gsgi_region_t  *r;

    r = b->region;

    gsgi_stack_push(&r->slot_free, b->slots, GSGI_SLOT_BYTES,
                    gsgi_slot_index(b, slot));
    gsgi_sub(&r->slots_used, 1);
}


void
gsgi_slot_free(gsgi_bridge_t *b, gsgi_slot_t *slot)
{
    gsgi_region_t  *r;

    r = b->region;

    gsgi_chunk_drop(b, gsgi_swap(&slot->in_list, 0));
    gsgi_chunk_drop(b, gsgi_swap(&slot->out_list, 0));
    gsgi_chunk_drop(b, (uint32_t) slot->reserved1[GSGI_PRIV_EARLY]);
    gsgi_chunk_drop(b, slot->head_chunk);

    if (gsgi_swap(&slot->counted, 0)) {
        gsgi_sub(&r->in_flight, 1);

        if (slot->reserved1[GSGI_PRIV_GONE]) {
            gsgi_sub(&r->abandoned, 1);
        }
    }

    gsgi_slot_push(b, slot);
}


void
gsgi_slot_put(gsgi_bridge_t *b, gsgi_slot_t *slot)
{
    gsgi_chunk_drop(b, slot->block_chunk);
    slot->block_chunk = 0;

    gsgi_slot_free(b, slot);
}


void
gsgi_slot_submit(gsgi_bridge_t *b, gsgi_slot_t *slot)
{
    if (slot->submitted_ns == 0) {
        slot->submitted_ns = gsgi_now();
    }

    gsgi_store(&slot->counted, 1);
    gsgi_add(&b->region->in_flight, 1);

    gsgi_ring_submit(b, slot, gsgi_swap(&slot->sq_events, GSGI_SQ_NEW));
}


void
gsgi_slot_poke(gsgi_bridge_t *b, gsgi_slot_t *slot)
{
    gsgi_ring_submit(b, slot, gsgi_or(&slot->sq_events, GSGI_SQ_POKE));
}


void
gsgi_slot_tell(gsgi_bridge_t *b, gsgi_slot_t *slot, uint32_t host_flags)
{
    gsgi_or(&slot->host_flags, host_flags);
    gsgi_slot_poke(b, slot);
}


void
gsgi_slot_answered(gsgi_bridge_t *b, gsgi_slot_t *slot)
{
    if (gsgi_swap(&slot->counted, 0)) {
        gsgi_sub(&b->region->in_flight, 1);
    }
}


uint64_t
gsgi_slot_upgraded(gsgi_bridge_t *b, gsgi_slot_t *slot)
{
    gsgi_slot_answered(b, slot);

    return gsgi_load(&slot->in_acked);
}


/*
 * All else precedes the fetch-or: after it, without a ring, the library may
 * have freed the slot already.
 */
void
gsgi_slot_release(gsgi_bridge_t *b, gsgi_slot_t *slot, int released)
{
    if (released) {
        gsgi_slot_free(b, slot);
        return;
    }

    slot->reserved1[GSGI_PRIV_GONE] = 1;

    gsgi_chunk_drop(b, (uint32_t) slot->reserved1[GSGI_PRIV_EARLY]);
    slot->reserved1[GSGI_PRIV_EARLY] = 0;

    if (gsgi_load(&slot->counted)) {
        gsgi_add(&b->region->abandoned, 1);
    }

    if (gsgi_ringed(b)) {
        gsgi_chunk_drop(b, gsgi_swap(&slot->out_list, 0));
        return;
    }

    if (gsgi_or(&slot->cq_events, GSGI_CQ_HOST_GONE) & GSGI_CQ_RELEASE) {
        gsgi_slot_free(b, slot);
    }
}


uint32_t
gsgi_slot_news(gsgi_slot_t *slot)
{
    uint32_t  events;

    events = gsgi_swap(&slot->cq_events, 0);

    if (events & (GSGI_CQ_HEAD|GSGI_CQ_UPGRADE)) {
        slot->reserved1[GSGI_PRIV_HEAD] = 1;
    }

    return events;
}


uint32_t
gsgi_slot_take(gsgi_slot_t *slot)
{
    return gsgi_load(&slot->cq_events) ? gsgi_slot_news(slot) : 0;
}
