/*
 * Copyright (C) The GSGI Authors
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "test.h"


/* Pages of the region from off on that take memory. */
static size_t
resident(gsgi_region_t *r, uint64_t off)
{
    size_t          i, n, pages;
    unsigned char  *map;

    pages = (r->length - off + 4095) / 4096;
    map = malloc(pages);

    CHECK(map && mincore((char *) r + off, r->length - off, map) == 0);

    for (i = n = 0; i < pages; i++) {
        n += map[i] & 1;
    }

    free(map);

    return n;
}


static void
starts_zeroed_and_untouched(void)
{
    gsgi_slot_t    *slot;
    gsgi_bridge_t  *b;
    gsgi_region_t  *r;

    b = test_bridge(GSGI_REGION_RING, 5, 3);
    r = gsgi_region(b);

    CHECK(r->size == sizeof(gsgi_region_t));
    CHECK(r->ring_size == 16);
    CHECK(r->log_size == 256 * 1024);
    CHECK(r->slots_off % GSGI_SLOT_BYTES == 0);
    CHECK(r->chunks_off % 4096 == 0);
    CHECK(r->chunks_off + 3 * GSGI_CHUNK_BYTES == r->length);
    CHECK(r->host_efd >= 0 && r->go_efd[0] >= 0 && r->go_efd[1] >= 0);
    CHECK(r->app_state == GSGI_APP_STARTING);
    CHECK(resident(r, r->log_off) == 0);

    slot = gsgi_slot_get(b);
    CHECK(resident(r, r->log_off) == 1);

    gsgi_slot_put(b, slot);
    test_done(b);
}


static void
refuses_what_is_out_of_range(void)
{
    char                 err[GSGI_ERR_MAX];
    gsgi_bridge_t       *b;
    gsgi_bridge_conf_t   conf;

    memset(&conf, 0, sizeof(conf));
    CHECK(gsgi_child_bridge_create(&b, &conf, err, sizeof(err))
          == GSGI_INVALID);
    CHECK(strstr(err, "out of range"));

    conf.nslots = 1;
    conf.nchunks = UINT32_MAX;
    CHECK(gsgi_child_bridge_create(&b, &conf, err, sizeof(err))
          == GSGI_INVALID);
}


/* Moves both rings to where the 32-bit positions overflow. */
static void
at_the_brink(gsgi_bridge_t *b)
{
    uint32_t        i, size, start;
    gsgi_region_t  *r;

    r = b->region;
    size = r->ring_size;
    start = 0u - 2 * size;

    for (i = 0; i < size; i++) {
        b->sq[i].seq = start + i;
        b->cq[i].seq = start + i;
    }

    r->sq_head = r->sq_tail = r->cq_head = r->cq_tail = start;
}


static void
ring_wraps_around(void)
{
    int             i, k;
    uint32_t        index, events;
    gsgi_slot_t    *slot[3], *got;
    gsgi_bridge_t  *b;

    b = test_bridge(GSGI_REGION_RING, 3, 0);
    at_the_brink(b);

    for (i = 0; i < 100; i++) {
        for (k = 0; k < 3; k++) {
            slot[k] = gsgi_slot_get(b);
            gsgi_slot_submit(b, slot[k]);
        }

        CHECK(gsgi_slot_get(b) == NULL);

        for (k = 0; k < 3; k++) {
            CHECK(fake_pop(b, &index, &events) == GSGI_OK);
            CHECK(gsgi_slot_at(b, index) == slot[k]);
            CHECK(events == GSGI_SQ_NEW);
            fake_release(b, slot[k], GSGI_CQ_HEAD | GSGI_CQ_END);
        }

        CHECK(fake_pop(b, &index, &events) == GSGI_AGAIN);

        for (k = 0; k < 3; k++) {
            CHECK(gsgi_completion_next(b, &got, &events) == GSGI_OK);
            CHECK(got == slot[k]);
            CHECK(events == (GSGI_CQ_HEAD | GSGI_CQ_END | GSGI_CQ_RELEASE));
            gsgi_slot_release(b, got, 1);
        }

        CHECK(gsgi_completion_next(b, &got, &events) == GSGI_AGAIN);
    }

    test_done(b);
}


static void
doorbells_coalesce(void)
{
    uint32_t        index, events;
    gsgi_slot_t    *slot, *got;
    gsgi_bridge_t  *b;

    b = test_bridge(GSGI_REGION_RING, 2, 0);
    slot = gsgi_slot_get(b);

    gsgi_slot_submit(b, slot);
    gsgi_slot_poke(b, slot);
    gsgi_slot_tell(b, slot, GSGI_HOST_ABORT);
    CHECK(b->region->sq_tail == 1);

    CHECK(fake_pop(b, &index, &events) == GSGI_OK);
    CHECK(events == (GSGI_SQ_NEW | GSGI_SQ_POKE));
    CHECK(slot->host_flags == GSGI_HOST_ABORT);
    CHECK(fake_pop(b, &index, &events) == GSGI_AGAIN);

    fake_ring(b, slot, GSGI_CQ_HEAD);
    fake_ring(b, slot, GSGI_CQ_DATA);
    fake_release(b, slot, GSGI_CQ_END);
    CHECK(b->region->cq_tail == 1);

    CHECK(gsgi_completion_next(b, &got, &events) == GSGI_OK);
    CHECK(events == (GSGI_CQ_HEAD | GSGI_CQ_DATA | GSGI_CQ_END
                     | GSGI_CQ_RELEASE));
    CHECK(gsgi_completion_next(b, &got, &events) == GSGI_AGAIN);

    gsgi_slot_release(b, slot, 1);
    test_done(b);
}


static void
library_is_woken_only_when_armed(void)
{
    uint32_t        index, events;
    gsgi_slot_t    *slot;
    gsgi_region_t  *r;
    gsgi_bridge_t  *b;

    b = test_bridge(GSGI_REGION_RING, 2, 0);
    r = b->region;
    slot = gsgi_slot_get(b);

    gsgi_slot_submit(b, slot);
    CHECK(!fake_efd_rung(r->go_efd[0]) && !fake_efd_rung(r->go_efd[1]));

    r->go_armed = 2;
    gsgi_slot_poke(b, slot);
    CHECK(!fake_efd_rung(r->go_efd[0]) && !fake_efd_rung(r->go_efd[1]));

    CHECK(fake_pop(b, &index, &events) == GSGI_OK);
    gsgi_slot_poke(b, slot);
    CHECK(!fake_efd_rung(r->go_efd[0]) && fake_efd_rung(r->go_efd[1]));
    CHECK(r->go_armed == 0);

    CHECK(fake_pop(b, &index, &events) == GSGI_OK);
    r->go_armed = 1;
    gsgi_slot_poke(b, slot);
    CHECK(fake_efd_rung(r->go_efd[0]) && !fake_efd_rung(r->go_efd[1]));

    fake_release(b, slot, 0);
    CHECK(gsgi_completion_next(b, &slot, &events) == GSGI_OK);
    gsgi_slot_release(b, slot, 1);
    test_done(b);
}


static void
host_sleeps_only_when_nothing_is_there(void)
{
    char            text[GSGI_LOG_MAX + 1];
    uint32_t        events;
    gsgi_log_t      rec;
    gsgi_slot_t    *slot;
    gsgi_region_t  *r;
    gsgi_bridge_t  *b;

    b = test_bridge(GSGI_REGION_RING, 2, 0);
    r = b->region;

    CHECK(gsgi_completion_sleep(b) == GSGI_OK);
    CHECK(r->host_sleeping == 1);

    slot = gsgi_slot_get(b);
    fake_ring(b, slot, GSGI_CQ_READ);
    CHECK(r->host_sleeping == 0);
    CHECK(fake_efd_rung(r->host_efd));

    CHECK(gsgi_completion_sleep(b) == GSGI_AGAIN);
    CHECK(r->host_sleeping == 0);
    CHECK(gsgi_completion_next(b, &slot, &events) == GSGI_OK);
    CHECK(gsgi_completion_sleep(b) == GSGI_OK);

    fake_log(b, GSGI_LOG_INFO, "x", 1);
    CHECK(gsgi_completion_sleep(b) == GSGI_AGAIN);
    CHECK(gsgi_log_next(b, &rec, text) == GSGI_OK);
    CHECK(gsgi_log_next(b, &rec, text) == GSGI_AGAIN);
    CHECK(gsgi_completion_sleep(b) == GSGI_OK);

    r->app_state = GSGI_APP_READY;
    CHECK(gsgi_completion_sleep(b) == GSGI_AGAIN);
    CHECK(gsgi_completion_sleep(b) == GSGI_OK);

    gsgi_slot_put(b, slot);
    test_done(b);
}


/*
 * Many request threads of a host and many dispatchers: every submission is
 * taken once, every answer comes back to its thread.
 */

#define CROWD_THREADS   4
#define CROWD_REQUESTS  4000

typedef struct {
    gsgi_bridge_t  *bridge;
    uint32_t        taken;
    uint32_t        left;       /* requests that are not taken */
} crowd_t;


static void *
crowd_dispatcher(void *data)
{
    uint32_t      index, events;
    crowd_t      *c;
    gsgi_slot_t  *slot;

    c = data;

    while (gsgi_load(&c->left)) {
        if (fake_pop(c->bridge, &index, &events) != GSGI_OK) {
            fake_wait(c->bridge, 0);
            continue;
        }

        slot = gsgi_slot_at(c->bridge, index);

        if (!(events & GSGI_SQ_NEW)) {
            continue;
        }

        gsgi_add(&c->taken, 1);
        gsgi_sub(&c->left, 1);

        slot->queue_us = (uint32_t) slot->id + 1;
        fake_release(c->bridge, slot, GSGI_CQ_HEAD | GSGI_CQ_END);
    }

    /* the others may all sleep on */

    gsgi_store(&c->bridge->region->go_armed, 0);
    (void) eventfd_write(c->bridge->region->go_efd[0], CROWD_THREADS);

    return NULL;
}


static void *
crowd_server(void *data)
{
    int           i;
    uint32_t      events, seen;
    crowd_t      *c;
    gsgi_slot_t  *slot;

    c = data;

    for (i = 0; i < CROWD_REQUESTS; i++) {
        while ((slot = gsgi_slot_get(c->bridge)) == NULL) {
            (void) sched_yield();
        }

        slot->id = (uint64_t) i * 3;
        gsgi_slot_submit(c->bridge, slot);

        if (i % 7 == 0) {
            gsgi_slot_tell(c->bridge, slot, GSGI_HOST_ABORT);
        }

        if (i % 5 == 0) {
            gsgi_slot_release(c->bridge, slot, 0);
            continue;
        }

        for (seen = 0; !(seen & GSGI_CQ_RELEASE); seen |= events) {
            (void) gsgi_slot_wait(c->bridge, slot, i % 3 * 1000, 1, -1, 5000,
                                  &events, NULL);
        }

        CHECK(slot->queue_us == (uint32_t) i * 3 + 1);
        gsgi_slot_release(c->bridge, slot, 1);
    }

    return NULL;
}


static void
crowd_of_threads_loses_nothing(void)
{
    int        i;
    crowd_t    c;
    pthread_t  server[CROWD_THREADS], dispatcher[CROWD_THREADS];

    c.bridge = test_bridge(0, CROWD_THREADS + 2, 0);
    c.taken = 0;
    c.left = CROWD_THREADS * CROWD_REQUESTS;
    at_the_brink(c.bridge);

    for (i = 0; i < CROWD_THREADS; i++) {
        CHECK(!pthread_create(&dispatcher[i], NULL, crowd_dispatcher, &c));
        CHECK(!pthread_create(&server[i], NULL, crowd_server, &c));
    }

    for (i = 0; i < CROWD_THREADS; i++) {
        CHECK(!pthread_join(server[i], NULL));
        CHECK(!pthread_join(dispatcher[i], NULL));
    }

    CHECK(c.taken == CROWD_THREADS * CROWD_REQUESTS);
    test_done(c.bridge);
}


const test_t  ring_tests[] = {
    { "starts_zeroed_and_untouched", starts_zeroed_and_untouched },
    { "refuses_what_is_out_of_range", refuses_what_is_out_of_range },
    { "ring_wraps_around", ring_wraps_around },
    { "doorbells_coalesce", doorbells_coalesce },
    { "library_is_woken_only_when_armed", library_is_woken_only_when_armed },
    { "host_sleeps_only_when_nothing_is_there",
      host_sleeps_only_when_nothing_is_there },
    { "crowd_of_threads_loses_nothing", crowd_of_threads_loses_nothing },
    { NULL, NULL }
};
