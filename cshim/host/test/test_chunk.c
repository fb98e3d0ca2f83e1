/*
 * Copyright (C) The GSGI Authors
 */

#include <string.h>

#include "test.h"


static void
chunks_run_out_and_come_back(void)
{
    int32_t             one, two;
    gsgi_bridge_t      *b;
    gsgi_chunk_head_t  *head;

    b = test_bridge(0, 1, 2);

    one = gsgi_chunk_get(b);
    two = gsgi_chunk_get(b);
    CHECK(one >= 0 && two >= 0 && one != two);
    CHECK(gsgi_chunk_get(b) == -1);

    head = gsgi_chunk_head(b, one);
    CHECK(head->fd == -1 && head->next == 0 && head->kind == 0);
    memset(head, 0xff, sizeof(gsgi_chunk_head_t));

    gsgi_chunk_put(b, one);
    CHECK(gsgi_chunk_get(b) == one);
    CHECK(head->fd == -1 && head->next == 0 && head->kind == 0
          && head->flags == 0 && head->off == 0 && head->len == 0
          && head->reserved == 0 && head->file_off == 0
          && head->file_len == 0);

    gsgi_chunk_put(b, one);
    gsgi_chunk_put(b, two);
    CHECK(b->region->chunks_idle == 2);
    test_done(b);
}


static void
idle_chunks_beyond_the_limit_lose_their_memory(void)
{
    int             i;
    int32_t         index[6];
    gsgi_bridge_t  *b;

    b = test_bridge(0, 1, 6);       /* keeps 4 */

    for (i = 0; i < 6; i++) {
        index[i] = gsgi_chunk_get(b);
        memset(gsgi_chunk_data(b, index[i]), 'x', GSGI_CHUNK_BYTES);
    }

    for (i = 0; i < 6; i++) {
        gsgi_chunk_put(b, index[i]);
    }

    CHECK(b->region->chunks_warm == 6);
    CHECK(gsgi_chunk_trim(b) == 1 && b->region->chunks_warm == 5);
    CHECK(gsgi_chunk_trim(b) == 0 && b->region->chunks_warm == 4);
    CHECK(gsgi_chunk_trim(b) == 0 && b->region->chunks_idle == 6);

    for (i = 0; i < 6; i++) {
        CHECK(gsgi_chunk_data(b, index[i])[GSGI_CHUNK_BYTES - 1]
              == (i < 4 ? 'x' : 0));
    }

    test_done(b);
}


/* After a burst the few that are in use are the warm ones. */
static void
warm_chunks_are_taken_first(void)
{
    int             i;
    int32_t         index[64], one;
    gsgi_bridge_t  *b;

    b = test_bridge(0, 1, 64);

    for (i = 0; i < 64; i++) {
        index[i] = gsgi_chunk_get(b);
    }

    for (i = 0; i < 64; i++) {
        gsgi_chunk_put(b, index[i]);
    }

    while (gsgi_chunk_trim(b)) { /* void */ }

    CHECK(b->region->chunks_warm == 4 && b->region->chunks_idle == 64);

    for (i = 0; i < 100; i++) {
        one = gsgi_chunk_get(b);
        CHECK(i == 0 || gsgi_chunk_data(b, one)[0] == 'x');
        gsgi_chunk_data(b, one)[0] = 'x';
        gsgi_chunk_put(b, one);
    }

    for (i = 0; i < 64; i++) {
        index[i] = gsgi_chunk_get(b);
        CHECK(index[i] != -1);
    }

    CHECK(gsgi_chunk_get(b) == -1 && b->region->chunks_idle == 0);

    for (i = 0; i < 64; i++) {
        gsgi_chunk_put(b, index[i]);
    }

    test_done(b);
}


/* Each thread signs the chunks that it holds. */

#define SIGN_THREADS  4
#define SIGN_HELD     5
#define SIGN_ROUNDS   20000

typedef struct {
    gsgi_bridge_t  *bridge;
    u_char          name;
    uint32_t        refused;
} signer_t;


static void *
signer(void *data)
{
    int        i, k;
    int32_t    held[SIGN_HELD];
    u_char    *p;
    signer_t  *s;

    s = data;
    memset(held, 0xff, sizeof(held));

    for (i = 0; i < SIGN_ROUNDS; i++) {
        k = i * 7 % SIGN_HELD;

        if (held[k] == -1) {
            held[k] = gsgi_chunk_get(s->bridge);

            if (held[k] == -1) {
                s->refused++;
                continue;
            }

            p = gsgi_chunk_data(s->bridge, held[k]);
            p[0] = p[GSGI_CHUNK_BYTES - 1] = s->name;
            gsgi_chunk_head(s->bridge, held[k])->len = s->name;
            continue;
        }

        p = gsgi_chunk_data(s->bridge, held[k]);
        CHECK(p[0] == s->name && p[GSGI_CHUNK_BYTES - 1] == s->name);
        CHECK(gsgi_chunk_head(s->bridge, held[k])->len == s->name);
        gsgi_chunk_put(s->bridge, held[k]);
        held[k] = -1;
    }

    for (k = 0; k < SIGN_HELD; k++) {
        if (held[k] != -1) {
            gsgi_chunk_put(s->bridge, held[k]);
        }
    }

    return NULL;
}


static void
chunk_stack_under_threads(void)
{
    int             i;
    signer_t        s[SIGN_THREADS];
    pthread_t       thread[SIGN_THREADS];
    gsgi_bridge_t  *b;

    b = test_bridge(0, 1, SIGN_THREADS * SIGN_HELD - 3);

    for (i = 0; i < SIGN_THREADS; i++) {
        s[i].bridge = b;
        s[i].name = (u_char) ('a' + i);
        s[i].refused = 0;
        CHECK(!pthread_create(&thread[i], NULL, signer, &s[i]));
    }

    for (i = 0; i < SIGN_THREADS; i++) {
        CHECK(!pthread_join(thread[i], NULL));
    }

    CHECK(b->region->chunk_fresh <= b->region->nchunks);
    test_done(b);
}


static void
response_comes_in_order(void)
{
    uint32_t        list;
    gsgi_slot_t    *slot;
    gsgi_bridge_t  *b;

    b = test_bridge(0, 1, 3);
    slot = gsgi_slot_get(b);
    CHECK(gsgi_out_take(b, slot) == 0);

    fake_ring(b, slot, GSGI_CQ_HEAD);
    CHECK(gsgi_slot_take(slot) == GSGI_CQ_HEAD);

    (void) fake_out(b, slot, GSGI_CHUNK_DATA, "1", 1);
    (void) fake_out(b, slot, GSGI_CHUNK_DATA, "2", 1);
    (void) fake_out(b, slot, GSGI_CHUNK_TRAILERS, "3", 1);

    list = gsgi_out_take(b, slot);
    CHECK(gsgi_chunk_data(b, list - 1)[0] == '1');
    CHECK(gsgi_out_take(b, slot) == 0);

    list = gsgi_chunk_head(b, list - 1)->next;
    CHECK(gsgi_chunk_data(b, list - 1)[0] == '2');

    list = gsgi_chunk_head(b, list - 1)->next;
    CHECK(gsgi_chunk_data(b, list - 1)[0] == '3');
    CHECK(gsgi_chunk_head(b, list - 1)->kind == GSGI_CHUNK_TRAILERS);
    CHECK(gsgi_chunk_head(b, list - 1)->next == 0);

    while (test_chunks_used(b)) {
        gsgi_chunk_put(b, test_chunks_used(b) - 1);
    }

    gsgi_slot_put(b, slot);
    test_done(b);
}


/* The letters of the chunks of a list; gives them back. */
static const char *
spell(gsgi_bridge_t *b, uint32_t list)
{
    int          n;
    uint32_t     next;
    static char  text[16];

    n = 0;

    for ( /* void */ ; list; list = next) {
        text[n++] = (char) gsgi_chunk_data(b, list - 1)[0];
        next = gsgi_chunk_head(b, list - 1)->next;
        gsgi_chunk_put(b, list - 1);
    }

    text[n] = '\0';

    return text;
}


static const char *
letters(gsgi_bridge_t *b, gsgi_slot_t *slot)
{
    return spell(b, gsgi_out_take(b, slot));
}


/* Informational responses can be had apart also when the head is there. */
static void
interim_comes_before_the_head(void)
{
    gsgi_slot_t    *slot;
    gsgi_bridge_t  *b;

    b = test_bridge(0, 1, 8);
    slot = gsgi_slot_get(b);

    (void) fake_out(b, slot, GSGI_CHUNK_INTERIM, "i", 1);
    (void) fake_out(b, slot, GSGI_CHUNK_INTERIM, "j", 1);
    (void) fake_out(b, slot, GSGI_CHUNK_DATA, "1", 1);
    fake_ring(b, slot, GSGI_CQ_HEAD | GSGI_CQ_DATA);
    CHECK(gsgi_slot_take(slot) == (GSGI_CQ_HEAD | GSGI_CQ_DATA));

    CHECK(strcmp(spell(b, gsgi_out_interim(b, slot)), "ij") == 0);
    CHECK(gsgi_out_interim(b, slot) == 0);

    (void) fake_out(b, slot, GSGI_CHUNK_DATA, "2", 1);
    CHECK(gsgi_out_interim(b, slot) == 0);
    CHECK(strcmp(letters(b, slot), "12") == 0);

    gsgi_slot_put(b, slot);
    test_done(b);
}


/* What is published with an upgrade needs no head, and the bytes of the client
 * are counted on from what the library has consumed of the body. */
static void
upgrade_takes_the_place_of_the_head(void)
{
    gsgi_slot_t    *slot;
    gsgi_bridge_t  *b;

    b = test_bridge(0, 1, 8);
    slot = gsgi_slot_get(b);
    slot->credit = 100;

    gsgi_slot_submit(b, slot);
    CHECK(gsgi_region(b)->in_flight == 1);

    slot->in_acked = 70;
    (void) fake_out(b, slot, GSGI_CHUNK_DATA, "1", 1);
    CHECK(strcmp(letters(b, slot), "") == 0);

    fake_ring(b, slot, GSGI_CQ_UPGRADE | GSGI_CQ_DATA);
    CHECK(gsgi_slot_take(slot) == (GSGI_CQ_UPGRADE | GSGI_CQ_DATA));
    CHECK(strcmp(letters(b, slot), "1") == 0);

    CHECK(gsgi_slot_upgraded(b, slot) == 70);
    CHECK(gsgi_region(b)->in_flight == 0);
    CHECK(gsgi_in_room(b, slot, 70) == 100);
    CHECK(gsgi_in_room(b, slot, 170) == 0);

    gsgi_slot_release(b, slot, 0);
    fake_release(b, slot, 0);
    test_done(b);
}


static void
body_waits_for_the_head(void)
{
    uint32_t        events;
    gsgi_slot_t    *slot;
    gsgi_bridge_t  *b;

    b = test_bridge(GSGI_REGION_RING, 1, 8);
    slot = gsgi_slot_get(b);

    (void) fake_out(b, slot, GSGI_CHUNK_INTERIM, "i", 1);
    (void) fake_out(b, slot, GSGI_CHUNK_INTERIM, "j", 1);
    (void) fake_out(b, slot, GSGI_CHUNK_DATA, "1", 1);
    CHECK(strcmp(letters(b, slot), "ij") == 0);

    (void) fake_out(b, slot, GSGI_CHUNK_DATA, "2", 1);
    CHECK(strcmp(letters(b, slot), "") == 0);

    fake_ring(b, slot, GSGI_CQ_HEAD);
    CHECK(gsgi_completion_next(b, &slot, &events) == GSGI_OK);

    (void) fake_out(b, slot, GSGI_CHUNK_DATA, "3", 1);
    CHECK(strcmp(letters(b, slot), "123") == 0);
    CHECK(strcmp(letters(b, slot), "") == 0);

    gsgi_slot_put(b, slot);
    test_done(b);

    b = test_bridge(0, 1, 8);           /* and nothing stays behind */
    slot = gsgi_slot_get(b);
    (void) fake_out(b, slot, GSGI_CHUNK_DATA, "1", 1);
    CHECK(strcmp(letters(b, slot), "") == 0);
    gsgi_slot_release(b, slot, 0);
    fake_release(b, slot, 0);
    test_done(b);
}


static uint32_t
poked(gsgi_bridge_t *b)
{
    uint32_t  index, events;

    return fake_pop(b, &index, &events) == GSGI_OK ? events : 0;
}


static void
writer_is_woken_at_half_the_credit(void)
{
    gsgi_slot_t    *slot;
    gsgi_bridge_t  *b;

    b = test_bridge(0, 1, 0);
    slot = gsgi_slot_get(b);
    slot->credit = 1000;

    slot->out_waiting = 1;
    gsgi_out_ack(b, slot, 499, 1000);
    CHECK(slot->out_acked == 499 && slot->out_waiting == 1);
    CHECK(poked(b) == 0);

    gsgi_out_ack(b, slot, 1, 1000);
    CHECK(slot->out_acked == 500 && slot->out_waiting == 0);
    CHECK(poked(b) == GSGI_SQ_POKE);

    slot->out_waiting = 1;
    gsgi_out_ack(b, slot, 400, 1000);
    CHECK(poked(b) == 0);
    gsgi_out_ack(b, slot, 100, 1000);       /* all that is published */
    CHECK(poked(b) == GSGI_SQ_POKE);

    gsgi_out_ack(b, slot, 700, 1700);       /* nobody waits */
    CHECK(poked(b) == 0);

    gsgi_slot_put(b, slot);
    test_done(b);
}


static void
server_is_told_of_room(void)
{
    gsgi_slot_t    *slot;
    gsgi_bridge_t  *b;

    b = test_bridge(0, 1, 0);
    slot = gsgi_slot_get(b);
    slot->credit = 1000;

    CHECK(gsgi_in_room(b, slot, 0) == 1000);
    CHECK(gsgi_in_room(b, slot, 990) == 10);
    CHECK(slot->in_waiting == 0);
    CHECK(gsgi_in_room(b, slot, 1000) == 0);
    CHECK(slot->in_waiting == 1);

    slot->in_acked = 600;
    CHECK(gsgi_in_room(b, slot, 1000) == 600);
    CHECK(gsgi_in_room(b, slot, 2000) == 0);     /* more than agreed */

    gsgi_slot_put(b, slot);
    test_done(b);
}


const test_t  chunk_tests[] = {
    { "chunks_run_out_and_come_back", chunks_run_out_and_come_back },
    { "idle_chunks_beyond_the_limit_lose_their_memory",
      idle_chunks_beyond_the_limit_lose_their_memory },
    { "warm_chunks_are_taken_first", warm_chunks_are_taken_first },
    { "chunk_stack_under_threads", chunk_stack_under_threads },
    { "response_comes_in_order", response_comes_in_order },
    { "body_waits_for_the_head", body_waits_for_the_head },
    { "interim_comes_before_the_head", interim_comes_before_the_head },
    { "upgrade_takes_the_place_of_the_head",
      upgrade_takes_the_place_of_the_head },
    { "writer_is_woken_at_half_the_credit",
      writer_is_woken_at_half_the_credit },
    { "server_is_told_of_room", server_is_told_of_room },
    { NULL, NULL }
};
