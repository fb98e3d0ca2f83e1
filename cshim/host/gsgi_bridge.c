/*
 * Copyright (C) The GSGI Authors
 *
 * The region: its layout, and the stacks of what is free in it.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "gsgi_bridge.h"


#define GSGI_LOG_SIZE_MIN (4 * GSGI_LOG_MAX)
#define GSGI_COUNT_MAX    (1 << 24)     /* slots or chunks */


static uint64_t
gsgi_power_of_two(uint64_t n)
{
    uint64_t  p;

    for (p = 1; p < n; p <<= 1) { /* void */ }

    return p;
}


/* Takes len bytes of the layout at the next multiple of align. */
static uint64_t
gsgi_layout_take(uint64_t *end, uint64_t len, uint64_t align)
{
    uint64_t  off;

    off = (*end + align - 1) / align * align;
    *end = off + len;

    return off;
}


static void
gsgi_layout(gsgi_region_t *r, const gsgi_bridge_conf_t *conf)
{
    uint64_t  end, cells;

    memset(r, 0, sizeof(gsgi_region_t));

    r->magic = GSGI_MAGIC;
    r->size = sizeof(gsgi_region_t);
    r->flags = conf->flags;
    r->nslots = conf->nslots;
    r->nchunks = conf->nchunks;
    r->chunks_keep = conf->chunks_keep;
    r->ring_size = gsgi_power_of_two(2 * (uint64_t) conf->nslots);
    r->log_size = conf->log_size ? conf->log_size : GSGI_LOG_SIZE;

    if (r->log_size < GSGI_LOG_SIZE_MIN) {
        r->log_size = GSGI_LOG_SIZE_MIN;
    }

    r->log_size = gsgi_power_of_two(r->log_size);

    cells = (uint64_t) r->ring_size * sizeof(gsgi_cell_t);
    end = sizeof(gsgi_region_t);

    /* the header has its pages for itself: see gsgi_child_board_log */

    r->sq_off = gsgi_layout_take(&end, cells, GSGI_SLOT_BYTES);
    r->cq_off = gsgi_layout_take(&end, cells, 64);
    r->chunk_heads_off = gsgi_layout_take(&end,
                            (uint64_t) r->nchunks * sizeof(gsgi_chunk_head_t),
                            64);
    r->log_off = gsgi_layout_take(&end, r->log_size, GSGI_SLOT_BYTES);
    r->slots_off = gsgi_layout_take(&end,
                                    (uint64_t) r->nslots * GSGI_SLOT_BYTES,
                                    GSGI_SLOT_BYTES);
    r->chunks_off = gsgi_layout_take(&end,
                                     (uint64_t) r->nchunks * GSGI_CHUNK_BYTES,
                                     GSGI_CHUNK_BYTES);
    r->length = end;

    r->host_efd = -1;
    r->go_efd[0] = -1;
    r->go_efd[1] = -1;
}


/*
 * Private: futexes without FUTEX_PRIVATE_FLAG work on it all the same.
 * Huge pages would make the first byte of a slot cost 2 MiB.
 */
static gsgi_region_t *
gsgi_map(const gsgi_region_t *layout, char *err, size_t errlen)
{
    void  *p;

    p = mmap(NULL, layout->length, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) {
        snprintf(err, errlen, "mmap of %llu bytes for the bridge failed: %s",
                 (unsigned long long) layout->length, strerror(errno));
        return NULL;
    }

    (void) madvise(p, layout->length, MADV_NOHUGEPAGE);

    memcpy(p, layout, sizeof(gsgi_region_t));

    return p;
}


static int
gsgi_open_efds(gsgi_region_t *r, char *err, size_t errlen)
{
    r->host_efd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    r->go_efd[0] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    r->go_efd[1] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    if (r->host_efd != -1 && r->go_efd[0] != -1 && r->go_efd[1] != -1) {
        return GSGI_OK;
    }

    snprintf(err, errlen, "eventfd for the bridge failed: %s",
             strerror(errno));

    (void) close(r->host_efd);
    (void) close(r->go_efd[0]);
    (void) close(r->go_efd[1]);

    return GSGI_ERROR;
}


static void
gsgi_ring_init(gsgi_cell_t *ring, uint32_t size)
{
    uint32_t  i;

    for (i = 0; i < size; i++) {
        ring[i].seq = i;
    }
}


static gsgi_bridge_t *
gsgi_bridge_of(gsgi_region_t *r)
{
    u_char         *base;
    gsgi_bridge_t  *b;

    b = calloc(1, sizeof(gsgi_bridge_t));
    if (b == NULL) {
        return NULL;
    }

    base = (u_char *) r;

    b->region = r;
    b->sq = (gsgi_cell_t *) (base + r->sq_off);
    b->cq = (gsgi_cell_t *) (base + r->cq_off);
    b->heads = (gsgi_chunk_head_t *) (base + r->chunk_heads_off);
    b->log = base + r->log_off;
    b->slots = base + r->slots_off;
    b->chunks = base + r->chunks_off;

    pthread_mutex_init(&b->log_lock, NULL);

    gsgi_ring_init(b->sq, r->ring_size);

    if (gsgi_ringed(b)) {
        gsgi_ring_init(b->cq, r->ring_size);
    }

    return b;
}


int
gsgi_child_bridge_create(gsgi_bridge_t **b_out,
    const gsgi_bridge_conf_t *conf, char *err, size_t errlen)
{
    gsgi_region_t  layout, *r;

    if (conf->nslots == 0 || conf->nslots > GSGI_COUNT_MAX
        || conf->nchunks > GSGI_COUNT_MAX || conf->log_size > (1u << 30))
    {
        snprintf(err, errlen, "bridge of %u slots, %u chunks, %u bytes of log "
                 "is out of range", conf->nslots, conf->nchunks,
                 conf->log_size);
        return GSGI_INVALID;
    }

    gsgi_layout(&layout, conf);

    if (gsgi_open_efds(&layout, err, errlen) != GSGI_OK) {
        return GSGI_ERROR;
    }

    r = gsgi_map(&layout, err, errlen);
    *b_out = r ? gsgi_bridge_of(r) : NULL;

    if (*b_out) {
        return GSGI_OK;
    }

    if (r) {
        snprintf(err, errlen, "no memory for the bridge");
        (void) munmap(r, layout.length);
    }

    (void) close(layout.host_efd);
    (void) close(layout.go_efd[0]);
    (void) close(layout.go_efd[1]);

    return GSGI_NOMEM;
}


gsgi_region_t *
gsgi_region(gsgi_bridge_t *b)
{
    return b->region;
}


uint64_t
gsgi_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec;
}


#define gsgi_stack_next(base, size, index)                                   \
    ((uint32_t *) (void *) ((base) + (size_t) (index) * (size)))

#define gsgi_stack_tag  (UINT64_C(1) << 32)


uint32_t
gsgi_stack_pop(uint64_t *top, u_char *base, size_t size)
{
    uint32_t  first, next;
    uint64_t  old, new;

    old = gsgi_load(top);

    do {
        first = (uint32_t) old;

        if (first == 0) {
            return 0;
        }

        /* may be in use again by now: then the tag has moved on */

        next = gsgi_load(gsgi_stack_next(base, size, first - 1));
        new = ((old & ~(gsgi_stack_tag - 1)) + gsgi_stack_tag) | next;

    } while (!gsgi_cas(top, &old, new));

    return first;
}


void
gsgi_stack_push(uint64_t *top, u_char *base, size_t size, uint32_t index)
{
    uint64_t  old, new;

    old = gsgi_load(top);

    do {
        gsgi_store(gsgi_stack_next(base, size, index), (uint32_t) old);
        new = ((old & ~(gsgi_stack_tag - 1)) + gsgi_stack_tag) | (index + 1);

    } while (!gsgi_cas(top, &old, new));
}


uint32_t
gsgi_fresh_next(uint32_t *fresh, uint32_t limit)
{
    uint32_t  n;

    n = gsgi_load(fresh);

    while (n < limit) {
        if (gsgi_cas(fresh, &n, n + 1)) {
            return n + 1;
        }
    }

    return 0;
}
