/*
 * Copyright (C) The GSGI Authors
 */

#include <stdlib.h>
#include <string.h>

#include "parse.h"


u_char *
parse_block(gsgi_bridge_t *b, gsgi_slot_t *slot, size_t *len_out)
{
    size_t              n, len;
    u_char             *block;
    uint32_t            list;
    gsgi_chunk_head_t  *head;

    len = slot->block_len;
    block = malloc(len + 1);
    CHECK(block);

    n = len < GSGI_SLOT_DATA ? len : GSGI_SLOT_DATA;
    memcpy(block, gsgi_slot_data(slot), n);

    for (list = slot->block_chunk; list; list = head->next) {
        head = gsgi_chunk_head(b, list - 1);

        CHECK(head->kind == GSGI_CHUNK_BLOCK && head->off == 0);
        CHECK(head->len <= len - n);
        CHECK(head->len == GSGI_CHUNK_BYTES || head->next == 0);
        CHECK(head->len > 0);

        memcpy(block + n, gsgi_chunk_data(b, list - 1), head->len);
        n += head->len;
    }

    CHECK(n == len);
    *len_out = len;

    return block;
}


const u_char *
parse_entry(const u_char *p, const u_char *end, parsed_t *out)
{
    if (p == end) {
        return NULL;
    }

    CHECK((size_t) (end - p) >= sizeof(gsgi_entry_t));
    memcpy(&out->entry, p, sizeof(gsgi_entry_t));

    p += sizeof(gsgi_entry_t);
    CHECK((uint64_t) out->entry.name_len + out->entry.value_len
          <= (uint64_t) (end - p));

    out->name = p;
    out->value = p + out->entry.name_len;

    return out->value + out->entry.value_len;
}


u_char *
parse_body(gsgi_bridge_t *b, gsgi_slot_t *slot, size_t *len_out)
{
    u_char    *body, *from;
    size_t     len;
    uint32_t   list, next, n;

    len = 0;
    body = NULL;

    if (slot->body_kind == GSGI_BODY_INLINE) {
        len = slot->inline_len;
        CHECK(slot->block_chunk == 0);
        CHECK(slot->block_len + len <= GSGI_SLOT_DATA);
        body = malloc(len);
        CHECK(body);
        memcpy(body, gsgi_slot_data(slot) + slot->block_len, len);
    }

    for (list = fake_in_take(b, slot); list; list = next) {
        CHECK(slot->body_kind == GSGI_BODY_LIST);

        from = gsgi_chunk_data(b, list - 1);
        n = gsgi_chunk_head(b, list - 1)->len;
        next = gsgi_chunk_head(b, list - 1)->next;

        CHECK(n == GSGI_CHUNK_BYTES || next == 0);
        body = realloc(body, len + n);
        CHECK(body);
        memcpy(body + len, from, n);
        len += n;

        gsgi_chunk_put(b, list - 1);
    }

    *len_out = len;

    return body;
}
