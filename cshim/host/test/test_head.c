/*
 * Copyright (C) The GSGI Authors
 */

#include <stdio.h>
#include <string.h>

#include "../gsgi_bridge.h"
#include "test.h"


static gsgi_bridge_t  *bridge;
static gsgi_slot_t    *slot;


static void
begin(void)
{
    bridge = test_bridge(0, 1, 4);
    slot = gsgi_slot_get(bridge);
}


static void
end(void)
{
    slot->reserved1[GSGI_PRIV_HEAD] = 1;
    gsgi_head_free(bridge, slot);
    CHECK(slot->head_chunk == 0);
    gsgi_slot_put(bridge, slot);
    test_done(bridge);
}


static u_char *
put_head(u_char *p, uint32_t len, uint16_t status, uint32_t nheaders)
{
    gsgi_head_t  head;

    memset(&head, 0, sizeof(head));
    head.len = len;
    head.status = status;
    head.nheaders = nheaders;
    memcpy(p, &head, sizeof(head));

    return p + sizeof(head);
}


static u_char *
put_entry(u_char *p, const char *name, const char *value)
{
    gsgi_entry_t  e;

    memset(&e, 0, sizeof(e));
    e.kind = GSGI_ENTRY_HEADER;
    e.name_len = (uint16_t) strlen(name);
    e.value_len = (uint32_t) strlen(value);

    memcpy(p, &e, sizeof(e));
    p += sizeof(e);
    memcpy(p, name, e.name_len + 1);
    p += e.name_len + 1;
    memcpy(p, value, e.value_len + 1);

    return p + e.value_len + 1;
}


static int
next_is(gsgi_head_iter_t *it, const char *name, const char *value)
{
    gsgi_str_t  n, v;

    CHECK(gsgi_head_next(it, &n, &v) == GSGI_OK);

    return n.len == strlen(name) && strcmp(n.data, name) == 0
           && v.len == strlen(value) && strcmp(v.data, value) == 0;
}


static void
head_in_the_slot(void)
{
    u_char            *p, *start;
    gsgi_str_t         n, v;
    gsgi_head_iter_t   it;

    begin();

    start = gsgi_slot_data(slot) + 64;
    p = put_head(start, 0, 404, 2);
    p = put_entry(p, "Content-Type", "text/plain");
    p = put_entry(p, "X-Empty", "");
    (void) put_head(start, (uint32_t) (p - start), 404, 2);

    slot->head_off = 64;
    slot->head_len = (uint32_t) (p - start);

    CHECK(gsgi_head_first(&it, bridge, slot) == GSGI_OK);
    CHECK(it.head->status == 404 && it.left == 2);
    CHECK(next_is(&it, "Content-Type", "text/plain"));
    CHECK(next_is(&it, "X-Empty", ""));
    CHECK(gsgi_head_next(&it, &n, &v) == GSGI_AGAIN);
    CHECK(gsgi_head_next(&it, &n, &v) == GSGI_AGAIN);

    end();
}


static uint32_t
head_chunk(uint16_t kind)
{
    int32_t  index;

    index = gsgi_chunk_get(bridge);
    CHECK(index >= 0);
    gsgi_chunk_head(bridge, index)->kind = kind;

    return index;
}


/* Three chunks, one header in each, the first one behind the head. */
static void
head_in_chunks(void)
{
    int                 i;
    char                name[16];
    u_char             *p, *start;
    uint32_t            len, index, *link;
    gsgi_str_t          n, v;
    gsgi_head_iter_t    it;
    gsgi_chunk_head_t  *head;

    begin();

    link = &slot->head_chunk;
    start = NULL;
    len = 0;

    for (i = 0; i < 3; i++) {
        index = head_chunk(GSGI_CHUNK_HEAD);
        head = gsgi_chunk_head(bridge, index);
        head->off = (i == 0) ? 16 : 3;

        p = gsgi_chunk_data(bridge, index) + head->off;

        if (i == 0) {
            start = p;
            p = put_head(p, 0, 200, 3);
        }

        snprintf(name, sizeof(name), "X-%d", i);
        p = put_entry(p, name, "value");

        head->len = (uint32_t) (p - gsgi_chunk_data(bridge, index))
                    - head->off;
        len += head->len;

        *link = index + 1;
        link = &head->next;
    }

    (void) put_head(start, len, 200, 3);

    CHECK(gsgi_head_first(&it, bridge, slot) == GSGI_OK);
    CHECK(next_is(&it, "X-0", "value"));
    CHECK(next_is(&it, "X-1", "value"));
    CHECK(next_is(&it, "X-2", "value"));
    CHECK(gsgi_head_next(&it, &n, &v) == GSGI_AGAIN);

    /* a piece too many, a length too few, a ring of pieces */

    head = gsgi_chunk_head(bridge, slot->head_chunk - 1);
    ((gsgi_head_t *) (void *) start)->len--;
    CHECK(gsgi_head_first(&it, bridge, slot) == GSGI_INVALID);

    ((gsgi_head_t *) (void *) start)->len = UINT32_MAX;
    CHECK(gsgi_head_first(&it, bridge, slot) == GSGI_INVALID);

    *link = slot->head_chunk;
    CHECK(gsgi_head_first(&it, bridge, slot) == GSGI_INVALID);
    *link = 0;

    ((gsgi_head_t *) (void *) start)->len = len;
    head->kind = GSGI_CHUNK_DATA;
    CHECK(gsgi_head_first(&it, bridge, slot) == GSGI_INVALID);

    end();
}


static void
trailers_and_interim_heads(void)
{
    u_char            *p, *start;
    uint32_t           index;
    gsgi_str_t         n, v;
    gsgi_head_iter_t   it;

    begin();

    index = head_chunk(GSGI_CHUNK_TRAILERS);
    start = gsgi_chunk_data(bridge, index);
    CHECK(gsgi_head_chunk(&it, bridge, index) == GSGI_OK);
    CHECK(gsgi_head_next(&it, &n, &v) == GSGI_AGAIN);

    p = put_entry(put_entry(start, "A", "1"), "B", "2");
    gsgi_chunk_head(bridge, index)->len = (uint32_t) (p - start);
    CHECK(gsgi_head_chunk(&it, bridge, index) == GSGI_OK);
    CHECK(it.head == NULL);
    CHECK(next_is(&it, "A", "1"));
    CHECK(next_is(&it, "B", "2"));
    CHECK(gsgi_head_next(&it, &n, &v) == GSGI_AGAIN);

    p = put_entry(put_head(start, 0, 103, 1), "Link", "</x>");
    (void) put_head(start, (uint32_t) (p - start), 103, 1);
    gsgi_chunk_head(bridge, index)->kind = GSGI_CHUNK_INTERIM;
    gsgi_chunk_head(bridge, index)->len = (uint32_t) (p - start);
    CHECK(gsgi_head_chunk(&it, bridge, index) == GSGI_OK);
    CHECK(it.head->status == 103);
    CHECK(next_is(&it, "Link", "</x>"));
    CHECK(gsgi_head_next(&it, &n, &v) == GSGI_AGAIN);

    gsgi_chunk_head(bridge, index)->kind = GSGI_CHUNK_DATA;
    CHECK(gsgi_head_chunk(&it, bridge, index) == GSGI_INVALID);
    CHECK(gsgi_head_chunk(&it, bridge, 4) == GSGI_INVALID);
    CHECK(gsgi_head_chunk(&it, bridge, UINT32_MAX) == GSGI_INVALID);

    gsgi_chunk_put(bridge, index);
    end();
}


/* A sound head of one header with one thing changed. */
static int
changed_head(size_t at, u_char byte, int32_t longer)
{
    int                rc;
    u_char            *p, *start;
    gsgi_str_t         n, v;
    gsgi_head_iter_t   it;

    begin();

    start = gsgi_slot_data(slot);
    p = put_entry(put_head(start, 0, 200, 1), "Name", "value");
    (void) put_head(start, (uint32_t) (p - start) + longer, 200, 1);
    slot->head_len = (uint32_t) (p - start) + longer;
    start[at] ^= byte;

    rc = gsgi_head_first(&it, bridge, slot);

    while (rc == GSGI_OK) {
        rc = gsgi_head_next(&it, &n, &v);
    }

    end();

    return rc;
}


static void
broken_heads_are_refused(void)
{
    CHECK(changed_head(0, 0, 0) == GSGI_AGAIN);         /* sound */
    CHECK(changed_head(0, 1, 0) == GSGI_INVALID);       /* len */
    CHECK(changed_head(4, 200, 0) == GSGI_INVALID);     /* status 0 */
    CHECK(changed_head(5, 4, 0) == GSGI_INVALID);       /* status 1224 */
    CHECK(changed_head(16, 3, 0) == GSGI_INVALID);      /* nheaders 2 */
    CHECK(changed_head(16, 1, 0) == GSGI_INVALID);      /* nheaders 0 */
    CHECK(changed_head(24, 1, 0) == GSGI_INVALID);      /* kind */
    CHECK(changed_head(26, 4, 0) == GSGI_INVALID);      /* no name */
    CHECK(changed_head(26, 1, 0) == GSGI_INVALID);      /* name_len */
    CHECK(changed_head(28, 1, 0) == GSGI_INVALID);      /* value_len */
    CHECK(changed_head(31, 255, 0) == GSGI_INVALID);    /* value_len huge */
    CHECK(changed_head(36, 1, 0) == GSGI_INVALID);      /* NUL of the name */
    CHECK(changed_head(42, 1, 0) == GSGI_INVALID);      /* NUL of the value */
    CHECK(changed_head(0, 0, -1) == GSGI_INVALID);
    CHECK(changed_head(0, 0, 1) == GSGI_INVALID);
    CHECK(changed_head(0, 0, -20) == GSGI_INVALID);
}


static void
heads_outside_the_slot_are_refused(void)
{
    gsgi_head_iter_t  it;

    begin();
    (void) put_head(gsgi_slot_data(slot), 24, 200, 0);

    slot->head_len = 24;
    CHECK(gsgi_head_first(&it, bridge, slot) == GSGI_OK);

    slot->head_off = 4;
    CHECK(gsgi_head_first(&it, bridge, slot) == GSGI_INVALID);
    slot->head_off = GSGI_SLOT_DATA - 16;
    CHECK(gsgi_head_first(&it, bridge, slot) == GSGI_INVALID);
    slot->head_off = UINT32_MAX - 7;
    CHECK(gsgi_head_first(&it, bridge, slot) == GSGI_INVALID);

    slot->head_off = 0;
    slot->head_len = UINT32_MAX;
    CHECK(gsgi_head_first(&it, bridge, slot) == GSGI_INVALID);

    slot->head_chunk = 5;
    CHECK(gsgi_head_first(&it, bridge, slot) == GSGI_INVALID);

    slot->head_chunk = 0;
    end();
}


static uint32_t
status(const char *text)
{
    return gsgi_head_status(text, strlen(text));
}


static void
status_of_raw_bytes(void)
{
    CHECK(status("HTTP/1.1 101 Switching Protocols\r\n") == 101);
    CHECK(status("HTTP/1.0 404") == 404);
    CHECK(status("HTTP/1.1 999 ") == 999);
    CHECK(status("") == 0);
    CHECK(status("HTTP/1.1 10") == 0);
    CHECK(status("HTTP/1.1 1a1 ") == 0);
    CHECK(status("HTTP/1.1 011 ") == 0);
    CHECK(status("HTTP/2.0 200 ") == 0);
    CHECK(status("SSH-2.0-OpenSSH_9") == 0);
}


static void
trailers_of_the_request(void)
{
    uint32_t          list;
    gsgi_str_t        n, v, fields[8];
    gsgi_head_iter_t  it;
    static char       large[GSGI_CHUNK_BYTES];

    begin();

#define FIELD(i, text)                                                       \
    fields[i].data = text; fields[i].len = sizeof(text) - 1

    FIELD(0, "x-sum");  FIELD(1, "42");
    FIELD(2, "bad name");  FIELD(3, "1");
    FIELD(4, "X-Large");
    fields[5].data = large;
    fields[5].len = sizeof(large) - 10;
    FIELD(6, "X-EMPTY");  FIELD(7, "");

    CHECK(gsgi_in_trailers(bridge, slot, fields, 4) == GSGI_OK);

    list = fake_in_take(bridge, slot);
    CHECK(gsgi_head_chunk(&it, bridge, list - 1) == GSGI_OK);
    CHECK(next_is(&it, "X-Sum", "42"));
    CHECK(next_is(&it, "X-Empty", ""));
    CHECK(gsgi_head_next(&it, &n, &v) == GSGI_AGAIN);
    gsgi_chunk_put(bridge, list - 1);

    /* what nobody takes is freed with the slot */

    CHECK(gsgi_in_trailers(bridge, slot, fields, 1) == GSGI_OK);
    end();
}


/* The client leaves while the library still writes the second chunk. */
static void
head_is_the_librarys_until_it_rings(void)
{
    uint32_t  first, second;

    begin();

    first = head_chunk(GSGI_CHUNK_HEAD);
    slot->head_chunk = first + 1;
    gsgi_head_free(bridge, slot);
    CHECK(slot->head_chunk == first + 1);
    CHECK(test_chunks_used(bridge) == 1);

    second = head_chunk(GSGI_CHUNK_HEAD);
    gsgi_chunk_head(bridge, first)->next = second + 1;
    CHECK(test_chunks_used(bridge) == 2);

    gsgi_slot_free(bridge, slot);
    CHECK(test_chunks_used(bridge) == 0);
    test_done(bridge);
}


const test_t  head_tests[] = {
    { "head_in_the_slot", head_in_the_slot },
    { "head_in_chunks", head_in_chunks },
    { "head_is_the_librarys_until_it_rings",
      head_is_the_librarys_until_it_rings },
    { "trailers_and_interim_heads", trailers_and_interim_heads },
    { "trailers_of_the_request", trailers_of_the_request },
    { "status_of_raw_bytes", status_of_raw_bytes },
    { "broken_heads_are_refused", broken_heads_are_refused },
    { "heads_outside_the_slot_are_refused",
      heads_outside_the_slot_are_refused },
    { NULL, NULL }
};
