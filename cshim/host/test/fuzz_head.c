/*
 * Copyright (C) The GSGI Authors
 *
 * Fuzz target: the head decoder reads any bytes within its bounds.
 *
 * Input: one byte of mode, four bytes of chunk lengths' seed, then the bytes.
 * Mode 0: a head in the slot; 1: in chunks; 2: trailers; 3: interim.
 */

#include <stdlib.h>
#include <string.h>

#include "test.h"


#define CHUNKS  4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static gsgi_bridge_t  *bridge;


static void
read_all(gsgi_head_iter_t *it)
{
    int              rc;
    size_t           sum;
    gsgi_str_t       name, value;
    volatile size_t  sink;

    for (sum = 0; /* void */; sum += sink) {
        rc = gsgi_head_next(it, &name, &value);

        if (rc != GSGI_OK) {
            CHECK(rc == GSGI_AGAIN || rc == GSGI_INVALID);
            return;
        }

        CHECK(name.len > 0 && name.data[name.len] == '\0');
        CHECK(value.data[value.len] == '\0');

        sink = strlen(name.data) + strlen(value.data);
        CHECK(sum <= (CHUNKS + 1) * GSGI_CHUNK_BYTES);
    }
}


/* Spreads the bytes over chunks, whose off, len and next come from seed. */
static void
spread(gsgi_slot_t *slot, uint32_t seed, const uint8_t *data, size_t size)
{
    int                 i;
    size_t              n;
    gsgi_chunk_head_t  *head;

    for (i = 0; i < CHUNKS; i++) {
        head = gsgi_chunk_head(bridge, i);
        memset(head, 0, sizeof(gsgi_chunk_head_t));

        n = (size >> 1) + (seed & 7);
        n = n < size && i < CHUNKS - 1 ? n : size;
        n = n < GSGI_CHUNK_BYTES ? n : GSGI_CHUNK_BYTES;

        memcpy(gsgi_chunk_data(bridge, i), data, n);
        data += n;
        size -= n;

        head->kind = (seed >> (8 + i) & 1) ? GSGI_CHUNK_DATA
                                           : GSGI_CHUNK_HEAD;
        head->len = (uint32_t) n + ((seed >> (12 + i) & 1) ? 1u << 31 : 0);
        head->off = (seed >> (16 + i) & 1) ? GSGI_CHUNK_BYTES - 8 : 0;
        head->next = (seed >> (20 + i) & 1) ? seed >> 24
                                            : (size ? (uint32_t) i + 2 : 0);
    }

    slot->head_chunk = 1;
}


static void
one_chunk(uint16_t kind, const uint8_t *data, size_t size)
{
    gsgi_head_iter_t    it;
    gsgi_chunk_head_t  *head;

    size = size < GSGI_CHUNK_BYTES ? size : GSGI_CHUNK_BYTES;
    head = gsgi_chunk_head(bridge, 0);
    memset(head, 0, sizeof(gsgi_chunk_head_t));

    head->kind = kind;
    head->len = (uint32_t) size;
    memcpy(gsgi_chunk_data(bridge, 0), data, size);

    if (gsgi_head_chunk(&it, bridge, 0) == GSGI_OK) {
        read_all(&it);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t            mode;
    uint32_t           seed;
    gsgi_slot_t       *slot;
    gsgi_head_iter_t   it;

    if (bridge == NULL) {
        bridge = test_bridge(0, 1, CHUNKS);
    }

    if (size < 5) {
        return 0;
    }

    (void) gsgi_head_status(data, size);

    mode = data[0] & 3;
    memcpy(&seed, data + 1, sizeof(seed));
    data += 5;
    size -= 5;

    if (mode >= 2) {
        one_chunk(mode == 2 ? GSGI_CHUNK_TRAILERS : GSGI_CHUNK_INTERIM, data,
                  size);
        return 0;
    }

    slot = gsgi_slot_get(bridge);

    if (mode == 1) {
        spread(slot, seed, data, size);

    } else {
        size = size < GSGI_SLOT_DATA ? size : GSGI_SLOT_DATA;
        memcpy(gsgi_slot_data(slot), data, size);
        slot->head_len = (uint32_t) size;
        slot->head_off = (seed & 0xff) ? seed : 0;
    }

    if (gsgi_head_first(&it, bridge, slot) == GSGI_OK) {
        read_all(&it);
    }

    slot->head_chunk = 0;
    gsgi_slot_put(bridge, slot);

    return 0;
}
