/*
 * Copyright (C) The GSGI Authors
 *
 * The writer of the request block: one stream of bytes, of which the first
 * piece lies in the slot and the rest in full chunks.
 */

#include <string.h>

#include "gsgi_bridge.h"


#define GSGI_NAME_MAX  65535

/* RFC 9110, section 5.6.2: the characters of a token, a bit for each. */
static const uint32_t  gsgi_token[8] = {
    0x00000000, 0x03ff6cfa, 0xc7fffffe, 0x57ffffff, 0, 0, 0, 0
};


void
gsgi_pack_init(gsgi_pack_t *p, gsgi_bridge_t *b, gsgi_slot_t *slot)
{
    p->bridge = b;
    p->slot = slot;
    p->pos = gsgi_slot_data(slot);
    p->end = p->pos + GSGI_SLOT_DATA;
    p->len = 0;
    p->chunk = 0;
    p->rc = GSGI_OK;
}


/* Goes on in a new chunk.  Returns its index + 1, 0 on error. */
static uint32_t
gsgi_pack_chunk(gsgi_pack_t *p, uint16_t kind)
{
    int32_t  index;

    index = gsgi_chunk_get(p->bridge);

    if (index == -1) {
        p->rc = GSGI_NOMEM;
        return 0;
    }

    gsgi_chunk_head(p->bridge, index)->kind = kind;

    p->pos = gsgi_chunk_data(p->bridge, index);
    p->end = p->pos + GSGI_CHUNK_BYTES;

    return index + 1;
}


/* Notes how much of the current chunk is used. */
static void
gsgi_pack_close(gsgi_pack_t *p)
{
    uint32_t  index;

    if (p->chunk) {
        index = p->chunk - 1;
        gsgi_chunk_head(p->bridge, index)->len =
            (uint32_t) (p->pos - gsgi_chunk_data(p->bridge, index));
    }
}


static int
gsgi_pack_block_next(gsgi_pack_t *p)
{
    uint32_t  last, chunk;

    gsgi_pack_close(p);

    last = p->chunk;
    chunk = gsgi_pack_chunk(p, GSGI_CHUNK_BLOCK);

    if (chunk == 0) {
        return GSGI_NOMEM;
    }

    p->chunk = chunk;

    if (last) {
        gsgi_store(&gsgi_chunk_head(p->bridge, last - 1)->next, chunk);

    } else {
        p->slot->block_chunk = chunk;
    }

    return GSGI_OK;
}


static void
gsgi_pack_bytes(gsgi_pack_t *p, const void *data, size_t n)
{
    size_t         size;
    const u_char  *from;

    from = data;

    while (n) {
        size = p->end - p->pos;

        if (size == 0) {
            if (gsgi_pack_block_next(p) != GSGI_OK) {
                return;
            }

            continue;
        }

        size = n < size ? n : size;
        memcpy(p->pos, from, size);

        p->pos += size;
        from += size;
        n -= size;
    }
}


static int
gsgi_is_token(const u_char *name, size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        if (!(gsgi_token[name[i] >> 5] & (1u << (name[i] & 0x1f)))) {
            return 0;
        }
    }

    return 1;
}


int
gsgi_canonical(u_char *to, const u_char *name, size_t n, int dash)
{
    u_char  c;
    size_t  i;

    for (i = 0; i < n; i++) {
        c = name[i];

        if (dash ? c >= 'a' && c <= 'z' : c >= 'A' && c <= 'Z') {
            c ^= 0x20;
        }

        to[i] = c;
        dash = c == '-';
    }

    return dash;
}


static void
gsgi_pack_name(gsgi_pack_t *p, const u_char *name, size_t n)
{
    int     dash;
    size_t  size;
    u_char  piece[256];

    if (!gsgi_is_token(name, n)) {
        gsgi_pack_bytes(p, name, n);
        return;
    }

    if (n <= (size_t) (p->end - p->pos)) {
        (void) gsgi_canonical(p->pos, name, n, 1);
        p->pos += n;
        return;
    }

    for (dash = 1; n; n -= size) {
        size = n < sizeof(piece) ? n : sizeof(piece);
        dash = gsgi_canonical(piece, name, size, dash);

        gsgi_pack_bytes(p, piece, size);
        name += size;
    }
}


static int
gsgi_pack_entry(gsgi_pack_t *p, uint8_t kind, uint8_t id, size_t nlen,
    size_t vlen)
{
    uint64_t      len;
    gsgi_entry_t  entry;

    if (p->rc != GSGI_OK) {
        return p->rc;
    }

    len = p->len + sizeof(gsgi_entry_t) + nlen + (uint64_t) vlen;

    if (nlen > GSGI_NAME_MAX || vlen > UINT32_MAX || len > UINT32_MAX
        || p->slot->reserved1[GSGI_PRIV_TOTAL])
    {
        p->rc = GSGI_INVALID;
        return p->rc;
    }

    entry.kind = kind;
    entry.id = id;
    entry.name_len = (uint16_t) nlen;
    entry.value_len = (uint32_t) vlen;

    p->len = (uint32_t) len;
    gsgi_pack_bytes(p, &entry, sizeof(gsgi_entry_t));

    return p->rc;
}


void
gsgi_pack_meta(gsgi_pack_t *p, uint8_t id, const void *data, size_t len)
{
    if (gsgi_pack_entry(p, GSGI_ENTRY_META, id, 0, len) == GSGI_OK) {
        gsgi_pack_bytes(p, data, len);
    }
}


char *
gsgi_digits(uint64_t n, char *end)
{
    do {
        *--end = (char) ('0' + n % 10);
        n /= 10;
    } while (n);

    return end;
}


void
gsgi_pack_number(gsgi_pack_t *p, uint8_t id, uint64_t n)
{
    char  *first, text[GSGI_DIGITS];

    first = gsgi_digits(n, text + GSGI_DIGITS);
    gsgi_pack_meta(p, id, first, (size_t) (text + GSGI_DIGITS - first));
}


#define gsgi_is_blank(c)  ((c) == ' ' || (c) == '\t')


void
gsgi_pack_header(gsgi_pack_t *p, const void *name, size_t nlen,
    const void *value, size_t vlen)
{
    const u_char  *v;

    for (v = value; vlen && gsgi_is_blank(*v); v++, vlen--) { }
    for ( /* void */ ; vlen && gsgi_is_blank(v[vlen - 1]); vlen--) { }

    if (gsgi_pack_entry(p, GSGI_ENTRY_HEADER, 0, nlen, vlen) != GSGI_OK) {
        return;
    }

    gsgi_pack_name(p, name, nlen);

    if (p->rc == GSGI_OK) {
        gsgi_pack_bytes(p, v, vlen);
    }
}


void
gsgi_pack_param(gsgi_pack_t *p, const void *name, size_t nlen,
    const void *value, size_t vlen)
{
    if (gsgi_pack_entry(p, GSGI_ENTRY_PARAM, 0, nlen, vlen) != GSGI_OK) {
        return;
    }

    gsgi_pack_bytes(p, name, nlen);

    if (p->rc == GSGI_OK) {
        gsgi_pack_bytes(p, value, vlen);
    }
}


/* From here on p->len counts the body. */
static void
gsgi_pack_body_begin(gsgi_pack_t *p, size_t total)
{
    gsgi_slot_t  *slot;

    slot = p->slot;

    gsgi_pack_close(p);

    slot->block_len = p->len;
    slot->in_state = GSGI_IN_END;
    slot->reserved1[GSGI_PRIV_TOTAL] = (uint64_t) total + 1;

    p->len = 0;

    if (p->chunk == 0 && total <= (size_t) (p->end - p->pos)) {
        slot->body_kind = total ? GSGI_BODY_INLINE : GSGI_BODY_NONE;
        slot->inline_len = (uint32_t) total;
        return;
    }

    slot->body_kind = total ? GSGI_BODY_LIST : GSGI_BODY_NONE;
    p->chunk = 0;
    p->end = p->pos;
}


static int
gsgi_pack_list_next(gsgi_pack_t *p)
{
    uint32_t      chunk;
    gsgi_slot_t  *slot;

    slot = p->slot;

    gsgi_pack_close(p);

    chunk = gsgi_pack_chunk(p, GSGI_CHUNK_DATA);

    if (chunk == 0) {
        return GSGI_NOMEM;
    }

    p->chunk = chunk;

    gsgi_store(&gsgi_chunk_head(p->bridge, chunk - 1)->next, slot->in_list);
    gsgi_store(&slot->in_list, chunk);

    return GSGI_OK;
}


void
gsgi_pack_body(gsgi_pack_t *p, const void *data, size_t len, size_t total)
{
    size_t         size;
    const u_char  *from;

    if (p->rc != GSGI_OK) {
        return;
    }

    if (p->slot->reserved1[GSGI_PRIV_TOTAL] == 0) {
        gsgi_pack_body_begin(p, total);
    }

    if (total > UINT32_MAX || len > total - p->len) {
        p->rc = GSGI_INVALID;
        return;
    }

    p->len += (uint32_t) len;

    for (from = data; len; len -= size) {
        if (p->pos == p->end && gsgi_pack_list_next(p) != GSGI_OK) {
            return;
        }

        size = p->end - p->pos;
        size = len < size ? len : size;
        memcpy(p->pos, from, size);

        p->pos += size;
        from += size;
    }
}


/* Appends an entry of section 3.2.  Returns the new end, NULL without room. */
static u_char *
gsgi_trailer(u_char *p, u_char *end, const gsgi_str_t *name,
    const gsgi_str_t *value)
{
    gsgi_entry_t  entry;

    if (name->len == 0 || name->len > GSGI_NAME_MAX
        || !gsgi_is_token((const u_char *) name->data, name->len)
        || value->len > GSGI_CHUNK_BYTES
        || sizeof(gsgi_entry_t) + name->len + value->len + 2
           > (size_t) (end - p))
    {
        return NULL;
    }

    entry.kind = GSGI_ENTRY_HEADER;
    entry.id = 0;
    entry.name_len = (uint16_t) name->len;
    entry.value_len = (uint32_t) value->len;

    memcpy(p, &entry, sizeof(gsgi_entry_t));
    p += sizeof(gsgi_entry_t);

    (void) gsgi_canonical(p, (const u_char *) name->data, name->len, 1);
    p += name->len;
    *p++ = '\0';

    memcpy(p, value->data, value->len);
    p += value->len;
    *p++ = '\0';

    return p;
}


int
gsgi_in_trailers(gsgi_bridge_t *b, gsgi_slot_t *slot,
    const gsgi_str_t *fields, size_t n)
{
    u_char             *p, *next, *start, *end;
    int32_t             index;
    gsgi_chunk_head_t  *head;

    index = gsgi_chunk_get(b);

    if (index == -1) {
        return GSGI_NOMEM;
    }

    start = gsgi_chunk_data(b, index);
    end = start + GSGI_CHUNK_BYTES;

    for (p = start; n; n--, fields += 2) {
        next = gsgi_trailer(p, end, &fields[0], &fields[1]);

        if (next) {
            p = next;
        }
    }

    head = gsgi_chunk_head(b, index);
    head->kind = GSGI_CHUNK_TRAILERS;
    head->len = (uint32_t) (p - start);

    gsgi_in_push(b, slot, index + 1, index + 1);

    return GSGI_OK;
}


int
gsgi_pack_done(gsgi_pack_t *p)
{
    uint64_t  total;

    if (p->rc != GSGI_OK) {
        return p->rc;
    }

    total = p->slot->reserved1[GSGI_PRIV_TOTAL];

    gsgi_pack_close(p);

    if (total == 0) {
        p->slot->block_len = p->len;

    } else if (p->len != total - 1) {
        p->rc = GSGI_INVALID;       /* less than was announced */
    }

    return p->rc;
}
