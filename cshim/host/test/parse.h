/*
 * Copyright (C) The GSGI Authors
 *
 * A reader of request blocks, as the library has one.
 */

#ifndef GSGI_PARSE_H
#define GSGI_PARSE_H

#include "test.h"

typedef struct {
    gsgi_entry_t   entry;
    const u_char  *name;
    const u_char  *value;
} parsed_t;

/* The whole block, and an inline body behind it; the caller frees. */
u_char *parse_block(gsgi_bridge_t *b, gsgi_slot_t *slot, size_t *len_out);

/* Returns where the next entry is, NULL when there is none at p. */
const u_char *parse_entry(const u_char *p, const u_char *end, parsed_t *out);

/* The whole body, inline or on in_list; the caller frees. */
u_char *parse_body(gsgi_bridge_t *b, gsgi_slot_t *slot, size_t *len_out);

#endif /* GSGI_PARSE_H */
