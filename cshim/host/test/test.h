/*
 * Copyright (C) The GSGI Authors
 *
 * Unit tests of the bridge.  The library's half is played by fake.c.
 */

#ifndef GSGI_TEST_H
#define GSGI_TEST_H

#include "../gsgi_bridge.h"


/* Not assert(): the checks stay under -DNDEBUG. */
#define CHECK(x)                                                             \
    do {                                                                     \
        if (!(x)) {                                                          \
            test_failed(__FILE__, __LINE__, #x);                             \
        }                                                                    \
    } while (0)

void test_failed(const char *file, int line, const char *what)
    __attribute__((noreturn));

typedef struct {
    const char  *name;
    void       (*run)(void);
} test_t;

extern const test_t  ring_tests[];
extern const test_t  slot_tests[];
extern const test_t  chunk_tests[];
extern const test_t  body_tests[];
extern const test_t  log_tests[];
extern const test_t  words_tests[];
extern const test_t  pack_tests[];
extern const test_t  head_tests[];
extern const test_t  wait_tests[];

/* A bridge, and its end: nothing may be in use then. */
gsgi_bridge_t *test_bridge(uint32_t flags, uint32_t nslots, uint32_t nchunks);
void test_done(gsgi_bridge_t *b);
uint32_t test_chunks_used(gsgi_bridge_t *b);

/* The library's half, written from gsgi.h alone. */
int fake_pop(gsgi_bridge_t *b, uint32_t *index_out, uint32_t *events_out);
void fake_wait(gsgi_bridge_t *b, int spot);
void fake_ring(gsgi_bridge_t *b, gsgi_slot_t *slot, uint32_t events);
void fake_release(gsgi_bridge_t *b, gsgi_slot_t *slot, uint32_t events);
void fake_publish(gsgi_bridge_t *b, gsgi_slot_t *slot, uint32_t index);
uint32_t fake_out(gsgi_bridge_t *b, gsgi_slot_t *slot, uint16_t kind,
    const void *data, size_t n);
uint32_t fake_in_take(gsgi_bridge_t *b, gsgi_slot_t *slot);
void fake_log(gsgi_bridge_t *b, uint16_t level, const char *text, size_t n);
int fake_efd_rung(int efd);

#endif /* GSGI_TEST_H */
