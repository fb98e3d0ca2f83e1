/*
 * Copyright (C) The GSGI Authors
 */

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "test.h"


static void
slots_run_out_and_come_back(void)
{
    gsgi_slot_t    *a, *c;
    gsgi_bridge_t  *b;

    b = test_bridge(GSGI_REGION_RING, 2, 0);

    a = gsgi_slot_get(b);
    c = gsgi_slot_get(b);
    CHECK(a && c && a != c);
    CHECK(gsgi_slot_get(b) == NULL);
    CHECK(b->region->slots_used == 2);
    CHECK(gsgi_slot_at(b, gsgi_slot_index(b, c)) == c);

    gsgi_slot_put(b, a);
    CHECK(gsgi_slot_get(b) == a);

    gsgi_slot_put(b, a);
    gsgi_slot_put(b, c);
    test_done(b);
}


static void
slot_is_reset_but_for_three_fields(void)
{
    int             efd;
    gsgi_slot_t    *slot;
    gsgi_bridge_t  *b;

    b = test_bridge(0, 1, 0);

    slot = gsgi_slot_get(b);
    CHECK(slot->gen == 1 && slot->cq_efd == -1 && slot->body_fd == -1);
    gsgi_slot_put(b, slot);

    memset(slot, 0xff, sizeof(gsgi_slot_t));
    slot->next = 0;
    slot->in_list = slot->out_list = slot->head_chunk = slot->counted = 0;
    slot->gen = 41;
    efd = dup(b->region->host_efd);
    slot->cq_efd = efd;

    CHECK(gsgi_slot_get(b) == slot);
    CHECK(slot->gen == 42);
    CHECK(slot->cq_efd == efd);
    CHECK(slot->sq_events == UINT32_MAX);
    CHECK(slot->body_fd == -1);

    slot->gen = 0;
    slot->cq_efd = slot->body_fd = 0;
    slot->sq_events = 0;

    CHECK(slot->next == 0 && slot->flags == 0 && slot->entry == 0
          && slot->block_len == 0 && slot->block_chunk == 0
          && slot->body_kind == 0 && slot->inline_len == 0
          && slot->content_length == 0 && slot->id == 0 && slot->credit == 0
          && slot->protocol == 0 && slot->host_flags == 0
          && slot->in_list == 0 && slot->in_state == 0
          && slot->out_acked == 0 && slot->in_waiting == 0
          && slot->cq_wait == 0 && slot->counted == 0);
    CHECK(slot->cq_events == 0 && slot->out_list == 0 && slot->in_acked == 0
          && slot->out_waiting == 0 && slot->head_chunk == 0
          && slot->head_off == 0 && slot->head_len == 0
          && slot->body_off == 0 && slot->body_len == 0
          && slot->queue_us == 0 && slot->host_data == 0
          && slot->submitted_ns == 0 && slot->reserved1[0] == 0
          && slot->reserved1[5] == 0);

    slot->cq_efd = efd;
    gsgi_slot_put(b, slot);
    test_done(b);
}


static void
submit_counts_and_stamps(void)
{
    uint32_t        index, events;
    gsgi_slot_t    *slot;
    gsgi_bridge_t  *b;

    b = test_bridge(GSGI_REGION_RING, 1, 0);
    slot = gsgi_slot_get(b);
    gsgi_slot_submit(b, slot);

    CHECK(slot->counted == 1 && b->region->in_flight == 1);
    CHECK(slot->submitted_ns != 0 && slot->submitted_ns <= gsgi_now());

    gsgi_slot_answered(b, slot);
    gsgi_slot_answered(b, slot);
    CHECK(slot->counted == 0 && b->region->in_flight == 0);

    CHECK(fake_pop(b, &index, &events) == GSGI_OK);
    gsgi_slot_release(b, slot, 0);
    CHECK(b->region->abandoned == 0);

    fake_release(b, slot, 0);
    CHECK(gsgi_completion_next(b, &slot, &events) == GSGI_AGAIN);

    /* a host that knows the time has it kept, in this life of the slot */

    slot = gsgi_slot_get(b);
    CHECK(slot->submitted_ns == 0);
    slot->submitted_ns = 1;
    gsgi_slot_submit(b, slot);
    CHECK(slot->submitted_ns == 1);

    CHECK(fake_pop(b, &index, &events) == GSGI_OK);
    gsgi_slot_release(b, slot, 0);
    fake_release(b, slot, 0);
    CHECK(gsgi_completion_next(b, &slot, &events) == GSGI_AGAIN);
    test_done(b);
}


/* Leaves something in every place of a slot where a chunk may hang. */
static int
litter(gsgi_bridge_t *b, gsgi_slot_t *slot)
{
    int       fd;
    uint32_t  index;

    slot->credit = 65536;
    CHECK(gsgi_in_put(b, slot, "body", 4) == GSGI_OK);

    (void) fake_out(b, slot, GSGI_CHUNK_DATA, "data", 4);
    index = fake_out(b, slot, GSGI_CHUNK_FILE, NULL, 0);

    fd = open("/dev/null", O_RDONLY);
    CHECK(fd != -1);
    gsgi_chunk_head(b, index)->fd = fd;

    slot->head_chunk = gsgi_chunk_get(b) + 1;
    gsgi_chunk_head(b, slot->head_chunk - 1)->next = gsgi_chunk_get(b) + 1;

    return fd;
}


static void
release_in_order(uint32_t flags, int host_first, int take)
{
    int             fd;
    uint32_t        index, events;
    gsgi_slot_t    *slot, *got;
    gsgi_bridge_t  *b;

    b = test_bridge(flags, 1, 8);
    slot = gsgi_slot_get(b);
    gsgi_slot_submit(b, slot);
    fd = litter(b, slot);

    CHECK(fake_pop(b, &index, &events) == GSGI_OK);

    if (host_first) {
        gsgi_slot_release(b, slot, 0);
        CHECK(b->region->abandoned == 1 && b->region->in_flight == 1);
        CHECK(gsgi_slot_get(b) == NULL);

        (void) fake_out(b, slot, GSGI_CHUNK_DATA, "late", 4);
        fake_ring(b, slot, GSGI_CQ_DATA);
        fake_release(b, slot, GSGI_CQ_END);

        if (flags & GSGI_REGION_RING) {
            CHECK(gsgi_completion_next(b, &got, &events) == GSGI_AGAIN);
        }

    } else {
        fake_release(b, slot, GSGI_CQ_END);

        if (take && (flags & GSGI_REGION_RING)) {
            CHECK(gsgi_completion_next(b, &got, &events) == GSGI_OK);
            CHECK(got == slot && (events & GSGI_CQ_RELEASE));

        } else if (take) {
            CHECK(gsgi_slot_take(slot) & GSGI_CQ_RELEASE);
        }

        gsgi_slot_release(b, slot, take);

        if (flags & GSGI_REGION_RING) {
            CHECK(gsgi_completion_next(b, &got, &events) == GSGI_AGAIN);
        }
    }

    CHECK(fcntl(fd, F_GETFD) == -1);
    CHECK(gsgi_slot_get(b) == slot);

    gsgi_slot_put(b, slot);
    test_done(b);
}


static void
ring_host_lets_go_first(void)
{
    release_in_order(GSGI_REGION_RING, 1, 0);
}


static void
ring_library_lets_go_first(void)
{
    release_in_order(GSGI_REGION_RING, 0, 1);
    release_in_order(GSGI_REGION_RING, 0, 0);
}


static void
threads_host_lets_go_first(void)
{
    release_in_order(0, 1, 0);
}


static void
threads_library_lets_go_first(void)
{
    release_in_order(0, 0, 1);
    release_in_order(0, 0, 0);
}


/* Chunks of a slot whose host has gone are given back at once. */
static void
gone_slot_does_not_hoard(void)
{
    int             i;
    uint32_t        index, events;
    gsgi_slot_t    *slot, *got;
    gsgi_bridge_t  *b;

    b = test_bridge(GSGI_REGION_RING, 1, 2);
    slot = gsgi_slot_get(b);
    gsgi_slot_submit(b, slot);
    CHECK(fake_pop(b, &index, &events) == GSGI_OK);
    gsgi_slot_release(b, slot, 0);

    for (i = 0; i < 10; i++) {
        (void) fake_out(b, slot, GSGI_CHUNK_DATA, "x", 1);
        fake_ring(b, slot, GSGI_CQ_DATA);
        CHECK(gsgi_completion_next(b, &got, &events) == GSGI_AGAIN);
        CHECK(test_chunks_used(b) == 0);
    }

    fake_release(b, slot, 0);
    CHECK(gsgi_completion_next(b, &got, &events) == GSGI_AGAIN);
    test_done(b);
}


static void
stale_doorbell_serves_the_next_life(void)
{
    uint32_t        index, events, tail;
    gsgi_slot_t    *slot, *got;
    gsgi_bridge_t  *b;

    b = test_bridge(GSGI_REGION_RING, 1, 0);
    slot = gsgi_slot_get(b);
    gsgi_slot_submit(b, slot);
    CHECK(fake_pop(b, &index, &events) == GSGI_OK);

    /* the library lets go while the host pokes */

    fake_release(b, slot, GSGI_CQ_END);
    gsgi_slot_poke(b, slot);
    CHECK(gsgi_completion_next(b, &got, &events) == GSGI_OK);
    gsgi_slot_release(b, slot, 1);

    CHECK(gsgi_slot_get(b) == slot);
    CHECK(slot->sq_events == GSGI_SQ_POKE);

    tail = b->region->sq_tail;
    gsgi_slot_submit(b, slot);
    CHECK(b->region->sq_tail == tail);

    CHECK(fake_pop(b, &index, &events) == GSGI_OK);
    CHECK(index == 0 && events == GSGI_SQ_NEW);
    CHECK(fake_pop(b, &index, &events) == GSGI_AGAIN);

    /* and one that shows nothing at all */

    fake_release(b, slot, 0);
    CHECK(gsgi_slot_take(slot) == GSGI_CQ_RELEASE);
    CHECK(gsgi_completion_next(b, &got, &events) == GSGI_AGAIN);
    gsgi_slot_release(b, slot, 1);

    test_done(b);
}


static void
put_gives_back_what_was_packed(void)
{
    char            value[3 * GSGI_CHUNK_BYTES];
    gsgi_pack_t     p;
    gsgi_slot_t    *slot;
    gsgi_bridge_t  *b;

    memset(value, 'v', sizeof(value));
    b = test_bridge(0, 1, 8);
    slot = gsgi_slot_get(b);

    gsgi_pack_init(&p, b, slot);
    gsgi_pack_meta(&p, GSGI_META_URI, value, sizeof(value));
    gsgi_pack_body(&p, value, sizeof(value), sizeof(value));
    CHECK(gsgi_pack_done(&p) == GSGI_OK);
    CHECK(test_chunks_used(b) == 6);

    gsgi_slot_put(b, slot);
    test_done(b);
}


const test_t  slot_tests[] = {
    { "slots_run_out_and_come_back", slots_run_out_and_come_back },
    { "slot_is_reset_but_for_three_fields",
      slot_is_reset_but_for_three_fields },
    { "submit_counts_and_stamps", submit_counts_and_stamps },
    { "ring_host_lets_go_first", ring_host_lets_go_first },
    { "ring_library_lets_go_first", ring_library_lets_go_first },
    { "threads_host_lets_go_first", threads_host_lets_go_first },
    { "threads_library_lets_go_first", threads_library_lets_go_first },
    { "gone_slot_does_not_hoard", gone_slot_does_not_hoard },
    { "stale_doorbell_serves_the_next_life",
      stale_doorbell_serves_the_next_life },
    { "put_gives_back_what_was_packed", put_gives_back_what_was_packed },
    { NULL, NULL }
};
