/*
 * Copyright (C) The GSGI Authors
 *
 * The reader of response heads.  Trusts nothing that lies in the region.
 */

#include <string.h>

#include "gsgi_bridge.h"


/* Takes the n bytes at p as a head.  Returns whether they begin with one. */
static int
gsgi_head_open(gsgi_head_iter_t *it, const u_char *p, size_t n)
{
    const gsgi_head_t  *head;

    if (n < sizeof(gsgi_head_t) || (uintptr_t) p % sizeof(int64_t) != 0) {
        return 0;
    }

    head = (const gsgi_head_t *) (const void *) p;

    if (head->status < 100 || head->status > 999
        || ((head->flags & GSGI_HEAD_LENGTH) && head->content_length < 0))
    {
        return 0;
    }

    it->head = head;
    it->left = head->nheaders;
    it->pos = p + sizeof(gsgi_head_t);
    it->end = p + n;

    return 1;
}


/* The bytes of a chunk, NULL when it does not lie in the region. */
static const u_char *
gsgi_head_piece(gsgi_bridge_t *b, uint32_t chunk, uint32_t *len_out)
{
    uint32_t            off, len;
    gsgi_chunk_head_t  *head;

    if (chunk == 0 || chunk > b->region->nchunks) {
        return NULL;
    }

    head = gsgi_chunk_head(b, chunk - 1);
    off = head->off;
    len = head->len;

    if (off > GSGI_CHUNK_BYTES || len > GSGI_CHUNK_BYTES - off) {
        return NULL;
    }

    *len_out = len;

    return gsgi_chunk_data(b, chunk - 1) + off;
}


/* Whether the pieces of a head are all there. */
static int
gsgi_head_whole(gsgi_bridge_t *b, uint32_t chunk, uint32_t expected)
{
    uint32_t            len;
    uint64_t            sum;
    gsgi_chunk_head_t  *head;

    for (sum = 0; chunk; chunk = head->next) {
        if (gsgi_head_piece(b, chunk, &len) == NULL || len == 0) {
            return 0;
        }

        head = gsgi_chunk_head(b, chunk - 1);
        sum += len;

        if (head->kind != GSGI_CHUNK_HEAD || sum > expected) {
            return 0;
        }
    }

    return sum == expected;
}


int
gsgi_head_first(gsgi_head_iter_t *it, gsgi_bridge_t *b, gsgi_slot_t *slot)
{
    uint32_t       len;
    const u_char  *p;

    memset(it, 0, sizeof(gsgi_head_iter_t));
    it->bridge = b;

    if (slot->head_chunk == 0) {
        if (slot->head_off > GSGI_SLOT_DATA
            || slot->head_len > GSGI_SLOT_DATA - slot->head_off)
        {
            return GSGI_INVALID;
        }

        if (!gsgi_head_open(it, gsgi_slot_data(slot) + slot->head_off,
                            slot->head_len))
        {
            return GSGI_INVALID;
        }

        return it->head->len == slot->head_len ? GSGI_OK : GSGI_INVALID;
    }

    p = gsgi_head_piece(b, slot->head_chunk, &len);

    if (p == NULL || !gsgi_head_open(it, p, len)
        || !gsgi_head_whole(b, slot->head_chunk, it->head->len))
    {
        return GSGI_INVALID;
    }

    it->chunk = slot->head_chunk;

    return GSGI_OK;
}


int
gsgi_head_chunk(gsgi_head_iter_t *it, gsgi_bridge_t *b, uint32_t index)
{
    uint32_t            len;
    const u_char       *p;
    gsgi_chunk_head_t  *head;

    memset(it, 0, sizeof(gsgi_head_iter_t));
    it->bridge = b;

    if (index >= b->region->nchunks) {
        return GSGI_INVALID;
    }

    head = gsgi_chunk_head(b, index);
    p = gsgi_head_piece(b, index + 1, &len);

    if (p == NULL) {
        return GSGI_INVALID;
    }

    if (head->kind == GSGI_CHUNK_TRAILERS) {
        it->pos = p;
        it->end = p + len;
        return GSGI_OK;
    }

    if (head->kind != GSGI_CHUNK_INTERIM || !gsgi_head_open(it, p, len)
        || it->head->len != len)
    {
        return GSGI_INVALID;
    }

    return GSGI_OK;
}


/* Moves to the next piece.  Returns GSGI_AGAIN when there is none. */
static int
gsgi_head_turn(gsgi_head_iter_t *it)
{
    uint32_t       len;
    const u_char  *p;

    if (it->chunk == 0) {
        return GSGI_AGAIN;
    }

    it->chunk = gsgi_chunk_head(it->bridge, it->chunk - 1)->next;

    if (it->chunk == 0) {
        return GSGI_AGAIN;
    }

    p = gsgi_head_piece(it->bridge, it->chunk, &len);

    if (p == NULL || len == 0) {
        return GSGI_INVALID;
    }

    it->pos = p;
    it->end = p + len;

    return GSGI_OK;
}


int
gsgi_head_next(gsgi_head_iter_t *it, gsgi_str_t *name_out,
    gsgi_str_t *value_out)
{
    int            rc;
    uint64_t       need;
    const u_char  *p;
    gsgi_entry_t   entry;

    if (it->pos == it->end) {
        rc = gsgi_head_turn(it);

        if (rc == GSGI_AGAIN) {
            return it->left == 0 ? GSGI_AGAIN : GSGI_INVALID;
        }

        if (rc != GSGI_OK) {
            return rc;
        }
    }

    if ((it->head && it->left == 0)
        || (size_t) (it->end - it->pos) < sizeof(gsgi_entry_t))
    {
        return GSGI_INVALID;
    }

    memcpy(&entry, it->pos, sizeof(gsgi_entry_t));
    p = it->pos + sizeof(gsgi_entry_t);

    need = (uint64_t) entry.name_len + 1 + entry.value_len + 1;

    if (entry.kind != GSGI_ENTRY_HEADER || entry.name_len == 0
        || need > (uint64_t) (it->end - p)
        || p[entry.name_len] != '\0' || p[need - 1] != '\0')
    {
        return GSGI_INVALID;
    }

    name_out->data = (const char *) p;
    name_out->len = entry.name_len;
    value_out->data = (const char *) p + entry.name_len + 1;
    value_out->len = entry.value_len;

    it->pos = p + need;

    if (it->head) {
        it->left--;
    }

    return GSGI_OK;
}


uint32_t
gsgi_head_status(const void *data, size_t n)
{
    uint32_t       status;
    const u_char  *p;

    p = data;

    if (n < sizeof("HTTP/1.1 101") - 1
        || memcmp(p, "HTTP/1.", sizeof("HTTP/1.") - 1) != 0
        || p[8] != ' '
        || p[9] < '1' || p[9] > '9'
        || p[10] < '0' || p[10] > '9'
        || p[11] < '0' || p[11] > '9')
    {
        return 0;
    }

    status = (p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0');

    return status;
}


void
gsgi_head_free(gsgi_bridge_t *b, gsgi_slot_t *slot)
{
    if (slot->reserved1[GSGI_PRIV_HEAD]) {
        gsgi_chunk_drop(b, slot->head_chunk);
        slot->head_chunk = 0;
    }
}
