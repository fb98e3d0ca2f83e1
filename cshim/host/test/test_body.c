/*
 * Copyright (C) The GSGI Authors
 *
 * Bodies of requests on in_list.
 */

#include <sched.h>
#include <string.h>

#include "test.h"


/* Byte i of every body here. */
#define BYTE(i)  ((u_char) ((i) * 31 + (i) / 251))


static void
fill(u_char *p, size_t from, size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        p[i] = BYTE(from + i);
    }
}


/* Takes what is on in_list, checks and frees it.  Returns how much. */
static size_t
eat(gsgi_bridge_t *b, gsgi_slot_t *slot, size_t from)
{
    size_t              i, n;
    uint32_t            list, next;
    gsgi_chunk_head_t  *head;

    n = 0;

    for (list = fake_in_take(b, slot); list; list = next) {
        head = gsgi_chunk_head(b, list - 1);
        CHECK(head->kind == GSGI_CHUNK_DATA && head->len > 0);

        for (i = 0; i < head->len; i++) {
            CHECK(gsgi_chunk_data(b, list - 1)[head->off + i]
                  == BYTE(from + n + i));
        }

        n += head->len;
        next = head->next;
        gsgi_chunk_put(b, list - 1);
    }

    return n;
}


static void
crumbs_share_a_chunk(void)
{
    u_char          byte;
    size_t          i;
    gsgi_slot_t    *slot;
    gsgi_bridge_t  *b;

    b = test_bridge(0, 1, 2);
    slot = gsgi_slot_get(b);

    for (i = 0; i < 20000; i++) {
        byte = BYTE(i);
        CHECK(gsgi_in_put(b, slot, &byte, 1) == GSGI_OK);
        CHECK(test_chunks_used(b) == 1 + i / GSGI_CHUNK_BYTES);
    }

    CHECK(slot->sq_events & GSGI_SQ_POKE);
    CHECK(eat(b, slot, 0) == 20000);

    gsgi_slot_put(b, slot);
    test_done(b);
}


static void
large_pieces_are_cut(void)
{
    size_t          sum, i;
    gsgi_slot_t    *slot;
    gsgi_bridge_t  *b;

    static u_char        body[100000];
    static const size_t  piece[] = { 40000, 100, 16384, 16383, 2, 0, 27131 };

    fill(body, 0, sizeof(body));
    b = test_bridge(0, 1, 8);
    slot = gsgi_slot_get(b);

    for (sum = i = 0; i < sizeof(piece) / sizeof(piece[0]); i++) {
        CHECK(gsgi_in_put(b, slot, body + sum, piece[i]) == GSGI_OK);
        sum += piece[i];
    }

    CHECK(sum == sizeof(body));
    CHECK(eat(b, slot, 0) == sizeof(body));

    gsgi_slot_put(b, slot);
    test_done(b);
}


static void
without_chunks_nothing_is_published(void)
{
    gsgi_slot_t    *slot;
    gsgi_bridge_t  *b;

    static u_char  body[40000];

    fill(body, 0, sizeof(body));
    b = test_bridge(0, 1, 2);
    slot = gsgi_slot_get(b);

    CHECK(gsgi_in_put(b, slot, body, sizeof(body)) == GSGI_NOMEM);
    CHECK(slot->in_list == 0 && test_chunks_used(b) == 0);

    CHECK(gsgi_in_put(b, slot, body, 20000) == GSGI_OK);
    CHECK(gsgi_in_put(b, slot, body + 20000, 15000) == GSGI_NOMEM);
    CHECK(test_chunks_used(b) == 2);

    CHECK(gsgi_in_put(b, slot, body + 20000, 12000) == GSGI_OK);
    CHECK(eat(b, slot, 0) == 32000);
    CHECK(gsgi_in_put(b, slot, body + 32000, 8000) == GSGI_OK);
    CHECK(eat(b, slot, 32000) == 8000);

    gsgi_slot_put(b, slot);
    test_done(b);
}


/* A streamed upload under the credit, with both sides at work. */

#define STREAM_BYTES  (8 * 1024 * 1024)

typedef struct {
    gsgi_bridge_t  *bridge;
    gsgi_slot_t    *slot;
} stream_t;


static void *
stream_reader(void *data)
{
    size_t        n, sum;
    uint32_t      index, events;
    stream_t     *s;
    gsgi_slot_t  *slot;

    s = data;
    slot = s->slot;
    sum = 0;

    while (sum < STREAM_BYTES) {
        n = eat(s->bridge, slot, sum);

        if (n) {
            sum += n;
            gsgi_store(&slot->in_acked, sum);

            if (gsgi_swap(&slot->in_waiting, 0)) {
                fake_ring(s->bridge, slot, GSGI_CQ_CREDIT);
            }

            continue;
        }

        CHECK(gsgi_load(&slot->in_state) == GSGI_IN_OPEN
              || gsgi_load(&slot->in_list));

        if (fake_pop(s->bridge, &index, &events) != GSGI_OK) {
            fake_wait(s->bridge, 1);
        }
    }

    while (gsgi_load(&slot->in_state) != GSGI_IN_END) {
        (void) sched_yield();
    }

    CHECK(eat(s->bridge, slot, sum) == 0);
    fake_release(s->bridge, slot, GSGI_CQ_END);

    return NULL;
}


static void
upload_streams_under_credit(void)
{
    size_t          sum, n, room;
    uint32_t        events, seen, x;
    stream_t        s;
    pthread_t       thread;

    static u_char  piece[60000];

    s.bridge = test_bridge(0, 1, 8);
    s.slot = gsgi_slot_get(s.bridge);
    s.slot->credit = 65536;

    gsgi_slot_submit(s.bridge, s.slot);
    CHECK(!pthread_create(&thread, NULL, stream_reader, &s));

    seen = 0;
    x = 1;

    for (sum = 0; sum < STREAM_BYTES; /* void */) {
        room = gsgi_in_room(s.bridge, s.slot, sum);

        if (room == 0) {
            (void) gsgi_slot_wait(s.bridge, s.slot, 0, 10, -1, 10000, &events,
                                  NULL);
            CHECK(events);
            seen |= events;
            continue;
        }

        x = x * 1103515245 + 12345;
        n = 1 + (x >> 16) % ((x >> 8) % 4 ? 200 : sizeof(piece));
        n = n < room ? n : room;
        n = n < STREAM_BYTES - sum ? n : STREAM_BYTES - sum;

        fill(piece, sum, n);

        if (gsgi_in_put(s.bridge, s.slot, piece, n) == GSGI_OK) {
            sum += n;
            gsgi_in_notify(s.bridge, s.slot);
        }
    }

    gsgi_in_state(s.slot, GSGI_IN_END);
    gsgi_in_notify(s.bridge, s.slot);

    while (!(seen & GSGI_CQ_RELEASE)) {
        CHECK(gsgi_slot_wait(s.bridge, s.slot, 0, 10, -1, 10000, &events,
                             NULL) == GSGI_OK);
        seen |= events;
    }

    CHECK(!pthread_join(thread, NULL));
    gsgi_slot_release(s.bridge, s.slot, 1);
    test_done(s.bridge);
}


const test_t  body_tests[] = {
    { "crumbs_share_a_chunk", crumbs_share_a_chunk },
    { "large_pieces_are_cut", large_pieces_are_cut },
    { "without_chunks_nothing_is_published",
      without_chunks_nothing_is_published },
    { "upload_streams_under_credit", upload_streams_under_credit },
    { NULL, NULL }
};
