/*
 * Copyright (C) The GSGI Authors
 *
 * Chunks, the two bodies that travel in them, and their credit.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gsgi_bridge.h"


gsgi_chunk_head_t *
gsgi_chunk_head(gsgi_bridge_t *b, uint32_t index)
{
    return &b->heads[index];
}


u_char *
gsgi_chunk_data(gsgi_bridge_t *b, uint32_t index)
{
    return b->chunks + (size_t) index * GSGI_CHUNK_BYTES;
}


int32_t
gsgi_chunk_get(gsgi_bridge_t *b)
{
    uint32_t            n;
    gsgi_region_t      *r;
    gsgi_chunk_head_t  *head;

    r = b->region;
    n = gsgi_stack_pop(&r->chunk_free, (u_char *) b->heads,
                       sizeof(gsgi_chunk_head_t));

    if (n != 0) {
        gsgi_sub(&r->chunks_warm, 1);

    } else {
        n = gsgi_stack_pop(&r->chunk_cold, (u_char *) b->heads,
                           sizeof(gsgi_chunk_head_t));
    }

    if (n != 0) {
        gsgi_sub(&r->chunks_idle, 1);

    } else {
        n = gsgi_fresh_next(&r->chunk_fresh, r->nchunks);
        if (n == 0) {
            return -1;
        }
    }

    head = &b->heads[n - 1];

    gsgi_store(&head->next, 0);
    head->kind = 0;
    head->flags = 0;
    head->off = 0;
    head->len = 0;
    head->fd = -1;
    head->reserved = 0;
    head->file_off = 0;
    head->file_len = 0;

    return (int32_t) (n - 1);
}


/* The counts are raised first, so that they never fall below the truth. */
void
gsgi_chunk_put(gsgi_bridge_t *b, uint32_t index)
{
    gsgi_region_t  *r;

    r = b->region;

    gsgi_add(&r->chunks_idle, 1);
    gsgi_add(&r->chunks_warm, 1);

    gsgi_stack_push(&r->chunk_free, (u_char *) b->heads,
                    sizeof(gsgi_chunk_head_t), index);
}


/* A quarter at a time: what a busy worker will need again at once is most of
 * it, and an idle one is at its limit after a few calls. */
int
gsgi_chunk_trim(gsgi_bridge_t *b)
{
    uint32_t        n, top, warm;
    gsgi_region_t  *r;

    r = b->region;
    warm = gsgi_load(&r->chunks_warm);
    n = warm > r->chunks_keep ? (warm - r->chunks_keep + 3) / 4 : 0;

    for ( /* void */ ; n && gsgi_load(&r->chunks_warm) > r->chunks_keep; n--) {
        top = gsgi_stack_pop(&r->chunk_free, (u_char *) b->heads,
                             sizeof(gsgi_chunk_head_t));
        if (top == 0) {
            break;
        }

        gsgi_sub(&r->chunks_warm, 1);

        (void) madvise(gsgi_chunk_data(b, top - 1), GSGI_CHUNK_BYTES,
                       MADV_DONTNEED);

        gsgi_stack_push(&r->chunk_cold, (u_char *) b->heads,
                        sizeof(gsgi_chunk_head_t), top - 1);
    }

    return gsgi_load(&r->chunks_warm) > r->chunks_keep;
}


void
gsgi_chunk_drop(gsgi_bridge_t *b, uint32_t list)
{
    uint32_t            index;
    gsgi_chunk_head_t  *head;

    while (list != 0 && list <= b->region->nchunks) {
        index = list - 1;
        head = &b->heads[index];
        list = head->next;

        if (head->kind == GSGI_CHUNK_FILE && head->fd >= 0) {
            (void) close(head->fd);
        }

        gsgi_chunk_put(b, index);
    }
}


/* What is published now, oldest first. */
static uint32_t
gsgi_out_list(gsgi_bridge_t *b, gsgi_slot_t *slot)
{
    uint32_t            list, next, first;
    gsgi_chunk_head_t  *head;

    if (gsgi_load(&slot->out_list) == 0) {
        return 0;
    }

    list = gsgi_swap(&slot->out_list, 0);
    first = 0;

    while (list != 0 && list <= b->region->nchunks) {
        head = &b->heads[list - 1];
        next = head->next;

        gsgi_store(&head->next, first);

        first = list;
        list = next;
    }

    return first;
}


/* The field that refers to the first chunk after those that match. */
static uint32_t *
gsgi_out_skip(gsgi_bridge_t *b, uint32_t *link, int all)
{
    while (*link != 0
           && (all || b->heads[*link - 1].kind == GSGI_CHUNK_INTERIM))
    {
        link = &b->heads[*link - 1].next;
    }

    return link;
}


/*
 * The library publishes the first chunks of a body before it rings for the
 * head: only informational responses are given out until that has come.
 */
static uint32_t
gsgi_out_split(gsgi_bridge_t *b, gsgi_slot_t *slot, int all)
{
    uint32_t  list, early, *rest;

    list = gsgi_out_list(b, slot);
    early = (uint32_t) slot->reserved1[GSGI_PRIV_EARLY];

    if (early) {
        gsgi_store(gsgi_out_skip(b, &early, 1), list);
        list = early;
        slot->reserved1[GSGI_PRIV_EARLY] = 0;
    }

    if (list && !all) {
        rest = gsgi_out_skip(b, &list, 0);
        slot->reserved1[GSGI_PRIV_EARLY] = *rest;
        gsgi_store(rest, 0);
    }

    return list;
}


uint32_t
gsgi_out_take(gsgi_bridge_t *b, gsgi_slot_t *slot)
{
    return gsgi_out_split(b, slot, slot->reserved1[GSGI_PRIV_HEAD] != 0);
}


uint32_t
gsgi_out_interim(gsgi_bridge_t *b, gsgi_slot_t *slot)
{
    return gsgi_out_split(b, slot, 0);
}


void
gsgi_out_ack(gsgi_bridge_t *b, gsgi_slot_t *slot, uint64_t n,
    uint64_t published)
{
    uint64_t  acked;

    acked = slot->out_acked + n;
    gsgi_store(&slot->out_acked, acked);

    if (acked < published
        && acked - slot->reserved1[GSGI_PRIV_ACKED] < slot->credit / 2)
    {
        return;
    }

    slot->reserved1[GSGI_PRIV_ACKED] = acked;

    if (gsgi_load(&slot->out_waiting) && gsgi_swap(&slot->out_waiting, 0)) {
        gsgi_slot_poke(b, slot);
    }
}


static size_t
gsgi_in_left(gsgi_slot_t *slot, uint64_t published)
{
    uint64_t  used;

    used = published - gsgi_load(&slot->in_acked);

    return used < slot->credit ? slot->credit - used : 0;
}


size_t
gsgi_in_room(gsgi_bridge_t *b, gsgi_slot_t *slot, uint64_t published)
{
    size_t  room;

    room = gsgi_in_left(slot, published);

    if (room) {
        return room;
    }

    gsgi_store(&slot->in_waiting, 1);

    room = gsgi_in_left(slot, published);

    if (room) {
        gsgi_store(&slot->in_waiting, 0);
    }

    return room;
}


/*
 * Copies into new chunks on top of the list "under".  Returns the new top,
 * with the lowest of the new ones in *low_out, or 0: no chunk.
 */
static uint32_t
gsgi_in_stack(gsgi_bridge_t *b, uint32_t under, const u_char *data, size_t n,
    uint32_t *low_out)
{
    size_t              size;
    int32_t             index;
    uint32_t            top, next;
    gsgi_chunk_head_t  *head;

    top = under;

    while (n) {
        index = gsgi_chunk_get(b);

        if (index == -1) {
            for ( /* void */ ; top != under; top = next) {
                next = b->heads[top - 1].next;
                gsgi_chunk_put(b, top - 1);
            }

            return 0;
        }

        size = n < GSGI_CHUNK_BYTES ? n : GSGI_CHUNK_BYTES;
        memcpy(gsgi_chunk_data(b, index), data, size);

        head = &b->heads[index];
        head->kind = GSGI_CHUNK_DATA;
        head->len = size;
        gsgi_store(&head->next, top);

        if (top == under) {
            *low_out = index + 1;
        }

        top = index + 1;
        data += size;
        n -= size;
    }

    return top;
}


void
gsgi_in_push(gsgi_bridge_t *b, gsgi_slot_t *slot, uint32_t top, uint32_t low)
{
    uint32_t  old;

    old = gsgi_load(&slot->in_list);

    do {
        gsgi_store(&b->heads[low - 1].next, old);
    } while (!gsgi_cas(&slot->in_list, &old, top));
}


/*
 * What the library has not taken yet is taken back, and its newest chunk
 * filled: an upload in crumbs would use up all chunks else.  The library may
 * have seen an empty list meanwhile, hence the poke in any case.
 */
static int
gsgi_in_append(gsgi_bridge_t *b, gsgi_slot_t *slot, uint32_t list,
    const u_char *data, size_t n)
{
    size_t              fit;
    uint32_t            top, low;
    gsgi_chunk_head_t  *head;

    head = &b->heads[list - 1];

    fit = GSGI_CHUNK_BYTES - (head->off + head->len);
    fit = n < fit ? n : fit;

    top = gsgi_in_stack(b, list, data + fit, n - fit, &low);

    if (top) {
        memcpy(gsgi_chunk_data(b, list - 1) + head->off + head->len, data,
               fit);
        head->len += fit;
    }

    gsgi_store(&slot->in_list, top ? top : list);
    gsgi_slot_poke(b, slot);

    return top ? GSGI_OK : GSGI_NOMEM;
}


int
gsgi_in_put(gsgi_bridge_t *b, gsgi_slot_t *slot, const void *data, size_t n)
{
    uint32_t  list, top, low;

    if (n == 0) {
        return GSGI_OK;
    }

    if (n < GSGI_CHUNK_BYTES && gsgi_load(&slot->in_list)) {
        list = gsgi_swap(&slot->in_list, 0);

        if (list) {
            return gsgi_in_append(b, slot, list, data, n);
        }
    }

    low = 0;
    top = gsgi_in_stack(b, 0, data, n, &low);

    if (top == 0) {
        return GSGI_NOMEM;
    }

    gsgi_in_push(b, slot, top, low);

    return GSGI_OK;
}


void
gsgi_in_state(gsgi_slot_t *slot, uint32_t state)
{
    gsgi_store(&slot->in_state, state);
}


void
gsgi_in_notify(gsgi_bridge_t *b, gsgi_slot_t *slot)
{
    gsgi_slot_poke(b, slot);
}
