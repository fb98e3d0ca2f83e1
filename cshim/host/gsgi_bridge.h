/*
 * Copyright (C) The GSGI Authors
 *
 * What the files of the bridge share among themselves.  Nothing in here is
 * for a server module: that sees gsgi_host.h only.
 */

#ifndef GSGI_BRIDGE_H
#define GSGI_BRIDGE_H

#include <pthread.h>

#include "gsgi_host.h"


struct gsgi_bridge_s {
    gsgi_region_t      *region;
    u_char             *slots;
    u_char             *chunks;
    gsgi_chunk_head_t  *heads;
    gsgi_cell_t        *sq;
    gsgi_cell_t        *cq;
    u_char             *log;
    uint32_t            seen_state;     /* app_state at the last sleep */
    pthread_mutex_t     log_lock;       /* without GSGI_REGION_RING */
    uint64_t            log_taken;      /* bytes of the record given last */
};


/* Both sides order everything by these: no other access to an atomic field. */
#define gsgi_load(p)      __atomic_load_n(p, __ATOMIC_SEQ_CST)
#define gsgi_store(p, v)  __atomic_store_n(p, v, __ATOMIC_SEQ_CST)
#define gsgi_swap(p, v)   __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST)
#define gsgi_add(p, v)    __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST)
#define gsgi_sub(p, v)    __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST)
#define gsgi_or(p, v)     __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST)

/* Leaves the present value in *old when it fails. */
#define gsgi_cas(p, old, v)                                                  \
    __atomic_compare_exchange_n(p, old, v, 0, __ATOMIC_SEQ_CST,              \
                                __ATOMIC_SEQ_CST)

/* Words of gsgi_slot_t.reserved1, which the library never looks at. */
#define GSGI_PRIV_GONE    0     /* the host has let go, RELEASE not taken */
#define GSGI_PRIV_ACKED   1     /* out_acked when a writer was last looked at */
#define GSGI_PRIV_TOTAL   2     /* announced length of a packed body, + 1 */
#define GSGI_PRIV_HEAD    3     /* GSGI_CQ_HEAD or UPGRADE has been taken */
#define GSGI_PRIV_EARLY   4     /* list of chunks that came before it */

#define GSGI_LOG_SIZE  (256 * 1024)     /* of the log ring, by default */

#define gsgi_ringed(b)  ((b)->region->flags & GSGI_REGION_RING)


/* Treiber stacks of things of one size, whose first field is "next".
 * All return an index + 1, or 0 for none. */
uint32_t gsgi_stack_pop(uint64_t *top, u_char *base, size_t size);
void gsgi_stack_push(uint64_t *top, u_char *base, size_t size,
    uint32_t index);
uint32_t gsgi_fresh_next(uint32_t *fresh, uint32_t limit);

/* Submission: sets bits in sq_events, rings and wakes where that is due. */
void gsgi_ring_submit(gsgi_bridge_t *b, gsgi_slot_t *slot, uint32_t old);
int gsgi_ring_empty(gsgi_bridge_t *b);
void gsgi_wake_library(gsgi_region_t *r);

/* Takes the news of a slot. */
uint32_t gsgi_slot_news(gsgi_slot_t *slot);

/* Gives back all that hangs on the slot, and the slot. */
void gsgi_slot_free(gsgi_bridge_t *b, gsgi_slot_t *slot);

/* Gives back a list of chunks; closes the descriptors of GSGI_CHUNK_FILE. */
void gsgi_chunk_drop(gsgi_bridge_t *b, uint32_t list);

/* Writes a header's name in canonical form.  dash: whether a dash or nothing
 * came before.  Returns the same for what comes after. */
int gsgi_canonical(u_char *to, const u_char *name, size_t n, int dash);

/* Links the new chunks from top down to low on top of in_list. */
void gsgi_in_push(gsgi_bridge_t *b, gsgi_slot_t *slot, uint32_t top,
    uint32_t low);

uint64_t gsgi_now(void);

#endif /* GSGI_BRIDGE_H */
