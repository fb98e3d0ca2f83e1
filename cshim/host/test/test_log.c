/*
 * Copyright (C) The GSGI Authors
 */

#include <stdio.h>
#include <string.h>

#include "test.h"


static void
log_lines_come_in_order(void)
{
    char            text[GSGI_LOG_MAX + 1];
    gsgi_log_t      rec;
    gsgi_bridge_t  *b;

    b = test_bridge(GSGI_REGION_RING, 1, 0);
    CHECK(gsgi_log_next(b, &rec, text) == GSGI_AGAIN);

    fake_log(b, GSGI_LOG_ERROR, "one", 3);
    fake_log(b, GSGI_LOG_DEBUG, "", 0);

    CHECK(gsgi_log_next(b, &rec, text) == GSGI_OK);
    CHECK(strcmp(text, "one") == 0 && rec.len == 3);
    CHECK(rec.level == GSGI_LOG_ERROR && rec.slot == 7 && rec.gen == 9);

    CHECK(gsgi_log_next(b, &rec, text) == GSGI_OK);
    CHECK(text[0] == '\0' && rec.len == 0 && rec.level == GSGI_LOG_DEBUG);

    CHECK(gsgi_log_next(b, &rec, text) == GSGI_AGAIN);
    CHECK(b->region->log_tail == b->region->log_head);
    test_done(b);
}


/* Lengths that leave every possible rest at the end, 8 bytes included. */
static void
log_wraps_with_a_pad(void)
{
    int             i, n;
    char            line[GSGI_LOG_MAX], text[GSGI_LOG_MAX + 1];
    gsgi_log_t      rec;
    gsgi_bridge_t  *b;

    memset(line, 'l', sizeof(line));
    b = test_bridge(0, 1, 0);

    for (i = 0; i < 2000; i++) {
        n = i % 3 ? i * 37 % (GSGI_LOG_MAX + 1) : i * 8 % 64;
        fake_log(b, GSGI_LOG_INFO, line, n);

        CHECK(gsgi_log_next(b, &rec, text) == GSGI_OK);
        CHECK(rec.len == (uint32_t) n && strlen(text) == (size_t) n);
        CHECK(rec.level == GSGI_LOG_INFO);
        CHECK(gsgi_log_next(b, &rec, text) == GSGI_AGAIN);
    }

    b->region->log_head = b->region->log_tail = b->region->log_size - 8;
    fake_log(b, GSGI_LOG_INFO, "over the edge", 13);
    CHECK(gsgi_log_next(b, &rec, text) == GSGI_OK);
    CHECK(strcmp(text, "over the edge") == 0);

    CHECK(gsgi_log_next(b, &rec, text) == GSGI_AGAIN);
    CHECK(b->region->log_tail > b->region->log_size);
    test_done(b);
}


static void
log_survives_nonsense(void)
{
    int             i;
    char            text[GSGI_LOG_MAX + 1];
    gsgi_log_t      rec;
    gsgi_bridge_t  *b;

    static const gsgi_log_t  wrong[] = {
        { UINT32_MAX, GSGI_LOG_INFO, 0, 0, 0 },
        { GSGI_LOG_MAX + 1, GSGI_LOG_INFO, 0, 0, 0 },
        { 100, GSGI_LOG_INFO, 0, 0, 0 },        /* longer than published */
        { 0, 9, 0, 0, 0 }
    };

    b = test_bridge(GSGI_REGION_RING, 1, 0);

    for (i = 0; i < 4; i++) {
        memcpy(b->log + b->region->log_head, &wrong[i], sizeof(rec));
        b->region->log_head += 24;
        CHECK(gsgi_log_next(b, &rec, text) == GSGI_AGAIN);

        fake_log(b, GSGI_LOG_WARN, "after", 5);
        CHECK(gsgi_log_next(b, &rec, text) == GSGI_OK);
        CHECK(strcmp(text, "after") == 0);
    }

    test_done(b);
}


#define LOG_THREADS  3
#define LOG_LINES    3000

typedef struct {
    gsgi_bridge_t  *bridge;
    uint32_t        read;
    uint32_t        sum;
} log_crowd_t;


static void *
log_reader(void *data)
{
    char          text[GSGI_LOG_MAX + 1];
    uint32_t      n;
    gsgi_log_t    rec;
    log_crowd_t  *c;

    c = data;

    while (gsgi_load(&c->read) < LOG_LINES) {
        if (gsgi_log_next(c->bridge, &rec, text) == GSGI_OK) {
            CHECK(sscanf(text, "line %u", &n) == 1);
            gsgi_add(&c->sum, n);
            gsgi_add(&c->read, 1);
        }
    }

    return NULL;
}


static void
log_has_many_readers_without_ring(void)
{
    int             i, n;
    char            line[32];
    pthread_t       thread[LOG_THREADS];
    log_crowd_t     c;

    c.bridge = test_bridge(0, 1, 0);
    c.read = c.sum = 0;

    for (i = 0; i < LOG_THREADS; i++) {
        CHECK(!pthread_create(&thread[i], NULL, log_reader, &c));
    }

    for (i = 0; i < LOG_LINES; i++) {
        n = snprintf(line, sizeof(line), "line %d", i);
        fake_log(c.bridge, GSGI_LOG_INFO, line, n);
    }

    for (i = 0; i < LOG_THREADS; i++) {
        CHECK(!pthread_join(thread[i], NULL));
    }

    CHECK(c.read == LOG_LINES);
    CHECK(c.sum == LOG_LINES * (LOG_LINES - 1) / 2);
    test_done(c.bridge);
}


const test_t  log_tests[] = {
    { "log_lines_come_in_order", log_lines_come_in_order },
    { "log_wraps_with_a_pad", log_wraps_with_a_pad },
    { "log_survives_nonsense", log_survives_nonsense },
    { "log_has_many_readers_without_ring",
      log_has_many_readers_without_ring },
    { NULL, NULL }
};
