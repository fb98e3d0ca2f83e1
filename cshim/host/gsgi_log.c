/*
 * Copyright (C) The GSGI Authors
 *
 * The reading end of the log ring.
 */

#include <string.h>

#include "gsgi_bridge.h"


/*
 * Reads the record at tail.  Returns how far the next one is, 0 when the
 * ring holds something that is not a record; rec->level is GSGI_LOG_PAD
 * when there was none to give.
 */
static uint64_t
gsgi_log_read(gsgi_bridge_t *b, uint64_t tail, uint64_t head, gsgi_log_t *rec,
    char *text)
{
    uint64_t  pos, left;

    pos = tail & (b->region->log_size - 1);
    left = b->region->log_size - pos;

    if (left < sizeof(gsgi_log_t)) {
        rec->level = GSGI_LOG_PAD;
        return left;
    }

    memcpy(rec, b->log + pos, sizeof(gsgi_log_t));

    if (rec->level == GSGI_LOG_PAD) {
        return left;
    }

    if (rec->level > GSGI_LOG_DEBUG || rec->len > GSGI_LOG_MAX
        || sizeof(gsgi_log_t) + rec->len > left)
    {
        return 0;
    }

    memcpy(text, b->log + pos + sizeof(gsgi_log_t), rec->len);
    text[rec->len] = '\0';

    left = (sizeof(gsgi_log_t) + rec->len + 7) & ~UINT64_C(7);

    return left <= head - tail ? left : 0;
}


/* The record taken before has been written by now: its room is free. */

static int
gsgi_log_take(gsgi_bridge_t *b, gsgi_log_t *rec, char *text)
{
    uint64_t        head, tail, n;
    gsgi_region_t  *r;

    r = b->region;
    head = gsgi_load(&r->log_head);
    tail = gsgi_load(&r->log_tail) + b->log_taken;
    gsgi_store(&r->log_tail, tail);

    while (tail != head) {
        n = gsgi_log_read(b, tail, head, rec, text);

        if (n && rec->level != GSGI_LOG_PAD) {
            gsgi_store(&r->log_tail, tail);
            b->log_taken = n;
            return GSGI_OK;
        }

        tail = n && n <= head - tail ? tail + n : head;
    }

    gsgi_store(&r->log_tail, tail);
    b->log_taken = 0;

    return GSGI_AGAIN;
}


int
gsgi_log_next(gsgi_bridge_t *b, gsgi_log_t *rec, char *text)
{
    int             rc;
    gsgi_region_t  *r;

    r = b->region;

    if (gsgi_load(&r->log_head) == gsgi_load(&r->log_tail)) {
        return GSGI_AGAIN;
    }

    if (gsgi_ringed(b)) {
        return gsgi_log_take(b, rec, text);
    }

    pthread_mutex_lock(&b->log_lock);
    rc = gsgi_log_take(b, rec, text);
    pthread_mutex_unlock(&b->log_lock);

    return rc;
}
