/*
 * Copyright (C) The GSGI Authors
 *
 * Fuzz target: what is packed is read back as it was.
 *
 * Input: records of op, two bytes of name length, three of value length; the
 * texts are cut from the input itself, from its start, again and again.
 */

#include <stdlib.h>
#include <string.h>

#include "parse.h"


#define OPS  32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    uint8_t  kind;
    uint8_t  id;
    size_t   nlen;
    size_t   vlen;
} op_t;


static gsgi_bridge_t  *bridge;
static u_char          text[1 << 18];


static size_t
read_ops(op_t *ops, const uint8_t *data, size_t size)
{
    size_t  n;

    for (n = 0; n < OPS && size >= 6; n++) {
        ops[n].kind = data[0] % 4;
        ops[n].id = data[0] >> 2;
        ops[n].nlen = (data[1] | (size_t) data[2] << 8) + (data[0] >> 7);
        ops[n].vlen = data[3] | (size_t) data[4] << 8
                      | (size_t) (data[5] & 3) << 16;
        ops[n].vlen %= sizeof(text);

        data += 6;
        size -= 6;
    }

    return n;
}


static void
pack_ops(gsgi_pack_t *p, const op_t *op, size_t n)
{
    for ( /* void */ ; n; n--, op++) {
        switch (op->kind) {

        case GSGI_ENTRY_META:
            gsgi_pack_meta(p, op->id, text, op->vlen);
            break;

        case GSGI_ENTRY_HEADER:
            gsgi_pack_header(p, text, op->nlen, text, op->vlen);
            break;

        case GSGI_ENTRY_PARAM:
            gsgi_pack_param(p, text, op->nlen, text, op->vlen);
            break;

        default:                            /* the body, and the last */
            gsgi_pack_body(p, text, op->nlen < op->vlen ? op->nlen : op->vlen,
                           op->vlen);
            if (op->nlen < op->vlen) {
                gsgi_pack_body(p, text + op->nlen, op->vlen - op->nlen,
                               op->vlen);
            }

            return;
        }
    }
}


static int
same_but_case(const u_char *a, const u_char *b, size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        if (a[i] != b[i] && ((a[i] ^ b[i]) != 0x20
            || (a[i] | 0x20) < 'a' || (a[i] | 0x20) > 'z'))
        {
            return 0;
        }
    }

    return 1;
}


/* A header's value loses the blanks around it.  Returns where it begins. */
static size_t
trim(const op_t *op, size_t *len)
{
    size_t  from;

    from = 0;
    *len = op->vlen;

    if (op->kind == GSGI_ENTRY_HEADER) {
        while (*len && strchr(" \t", text[from + *len - 1])
               && text[from + *len - 1])
        {
            (*len)--;
        }

        while (*len && strchr(" \t", text[from]) && text[from]) {
            from++;
            (*len)--;
        }
    }

    return from;
}


static void
check_entry(const op_t *op, const parsed_t *e)
{
    size_t  from, len;

    from = trim(op, &len);

    CHECK(e->entry.kind == op->kind && e->entry.value_len == len);
    CHECK(memcmp(e->value, text + from, len) == 0);

    if (op->kind != GSGI_ENTRY_META) {
        CHECK(e->entry.name_len == op->nlen);
        CHECK(op->kind == GSGI_ENTRY_HEADER
              ? same_but_case(e->name, text, op->nlen)
              : memcmp(e->name, text, op->nlen) == 0);
    }
}


static void
check_ops(gsgi_slot_t *slot, const op_t *op, size_t n)
{
    size_t         len;
    u_char        *block, *body;
    parsed_t       e;
    const u_char  *p, *end;

    block = parse_block(bridge, slot, &len);
    end = block + len;

    for (p = block; n && op->kind; n--, op++) {
        p = parse_entry(p, end, &e);
        CHECK(p);
        check_entry(op, &e);
    }

    CHECK(p == end);
    free(block);

    body = parse_body(bridge, slot, &len);
    CHECK(len == (n ? op->vlen : 0));
    CHECK(len == 0 || memcmp(body, text, len) == 0);
    free(body);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int           rc;
    op_t          ops[OPS];
    size_t        i, n;
    gsgi_pack_t   p;
    gsgi_slot_t  *slot;

    if (bridge == NULL) {
        bridge = test_bridge(0, 1, 64);
    }

    for (i = 0; i < sizeof(text) && size; i += n) {
        n = size < sizeof(text) - i ? size : sizeof(text) - i;
        memcpy(text + i, data, n);

        if (i > 4096) {             /* enough of one kind */
            break;
        }
    }

    n = read_ops(ops, data, size);
    slot = gsgi_slot_get(bridge);

    gsgi_pack_init(&p, bridge, slot);
    pack_ops(&p, ops, n);
    rc = gsgi_pack_done(&p);

    if (rc == GSGI_OK) {
        check_ops(slot, ops, n);

    } else {
        CHECK(rc == GSGI_NOMEM || rc == GSGI_INVALID);
    }

    gsgi_slot_put(bridge, slot);
    CHECK(test_chunks_used(bridge) == 0);

    return 0;
}
