/*
 * Copyright (C) The GSGI Authors
 *
 * One request, as a server's module sees it.
 */

#define _GNU_SOURCE

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver_job.h"


static void
drv_append(char **buf, size_t *len, size_t *cap, const void *data, size_t n)
{
    if (n == 0) {
        return;
    }

    if (*len + n > *cap) {
        *cap = 2 * (*len + n);
        *buf = realloc(*buf, *cap);

        if (*buf == NULL) {
            abort();
        }
    }

    memcpy(*buf + *len, data, n);
    *len += n;
}


static void
drv_pack_block(gsgi_pack_t *p, drv_job_t *job)
{
    char         name[32], *fill;
    size_t       path;
    uint32_t     i, n;
    const char  *query;

    query = strchr(job->target, '?');
    path = query ? (size_t) (query - job->target) : strlen(job->target);

    gsgi_pack_meta(p, GSGI_META_METHOD, "POST", 4);
    gsgi_pack_meta(p, GSGI_META_URI, job->target, strlen(job->target));
    gsgi_pack_meta(p, GSGI_META_PATH, job->target, path);

    if (query) {
        gsgi_pack_meta(p, GSGI_META_QUERY, query + 1, strlen(query + 1));
    }

    gsgi_pack_meta(p, GSGI_META_PROTOCOL, "HTTP/1.1", 8);
    gsgi_pack_meta(p, GSGI_META_SCHEME, "http", 4);
    gsgi_pack_header(p, "host", 4, "example.com", 11);

    fill = malloc(job->fill_len + 1);

    if (fill == NULL) {
        abort();
    }

    memset(fill, 'f', job->fill_len);

    for (i = 0; i < job->nfill; i++) {
        n = snprintf(name, sizeof(name), "x-FILL-%u", i);
        gsgi_pack_header(p, name, n, fill, job->fill_len);
    }

    free(fill);
}


static void
drv_pack_body(gsgi_pack_t *p, drv_job_t *job)
{
    gsgi_slot_t  *slot;

    slot = job->slot;
    slot->content_length = (int64_t) job->body_len;

    switch (job->body_how) {

    case DRV_BODY_STREAM:
        slot->body_kind = GSGI_BODY_STREAM;
        slot->flags |= GSGI_REQ_CHUNKED;
        slot->content_length = -1;
        break;

    case DRV_BODY_FILE:
        slot->body_kind = GSGI_BODY_FILE;
        slot->body_fd = dup(job->body_fd);
        break;

    default:
        gsgi_pack_body(p, job->body, job->body_len / 2, job->body_len);
        gsgi_pack_body(p, (char *) job->body + job->body_len / 2,
                       job->body_len - job->body_len / 2, job->body_len);
    }
}


static void
drv_job_abort(gsgi_bridge_t *b, drv_job_t *job)
{
    if (drv_job_over(job)) {
        return;
    }

    job->aborted = 1;

    if (job->upgraded) {
        gsgi_in_state(job->slot, GSGI_IN_BROKEN);
    }

    gsgi_slot_tell(b, job->slot, GSGI_HOST_ABORT);
    gsgi_slot_release(b, job->slot, 0);
    job->slot = NULL;
}


int
drv_job_begin(gsgi_bridge_t *b, drv_job_t *job)
{
    gsgi_pack_t  pack;

    job->slot = gsgi_slot_get(b);

    if (job->slot == NULL) {
        return GSGI_NOMEM;
    }

    job->slot->flags = job->flags;
    job->slot->credit = job->credit;
    job->slot->protocol = 1001;
    job->slot->host_data = (uintptr_t) job;

    gsgi_pack_init(&pack, b, job->slot);
    drv_pack_block(&pack, job);
    drv_pack_body(&pack, job);

    if (gsgi_pack_done(&pack) != GSGI_OK) {
        if (job->slot->body_fd != -1) {
            (void) close(job->slot->body_fd);
        }

        gsgi_slot_put(b, job->slot);
        job->slot = NULL;
        return GSGI_NOMEM;
    }

    if (job->abort_at == DRV_ABORT_TIME) {
        job->deadline = drv_now() + job->abort_after * 1000;
    }

    gsgi_slot_submit(b, job->slot);

    if (job->abort_at == DRV_ABORT_SUBMIT) {
        drv_job_abort(b, job);
    }

    return GSGI_OK;
}


/* A client may keep an upgraded connection open. */
static int
drv_job_closes(drv_job_t *job)
{
    if (!job->upgraded || job->close_at == DRV_CLOSE_SENT) {
        return 1;
    }

    return job->close_at == DRV_CLOSE_END && (job->events & GSGI_CQ_END);
}


/* Hands over as much of the body as there is room for. */
static void
drv_job_feed(gsgi_bridge_t *b, drv_job_t *job)
{
    size_t  n, room;

    job->stalled = 0;

    if (job->in_ended) {
        return;
    }

    while (job->in_off < job->body_len) {
        room = gsgi_in_room(b, job->slot, job->in_base + job->in_off);

        if (room == 0) {
            break;
        }

        n = job->body_len - job->in_off;
        n = n < job->piece ? n : job->piece;
        n = n < room ? n : room;

        if (gsgi_in_put(b, job->slot, (char *) job->body + job->in_off, n)
            != GSGI_OK)
        {
            job->stalled = 1;
            break;
        }

        job->in_off += n;
    }

    if (job->in_off == job->body_len && drv_job_closes(job)) {
        job->in_ended = 1;
        gsgi_in_state(job->slot, GSGI_IN_END);
    }

    gsgi_in_notify(b, job->slot);
}


static void
drv_entries(drv_job_t *job, gsgi_head_iter_t *it, char **buf, size_t *len,
    size_t *cap)
{
    int         rc;
    gsgi_str_t  name, value;

    while ((rc = gsgi_head_next(it, &name, &value)) == GSGI_OK) {
        drv_append(buf, len, cap, name.data, name.len);
        drv_append(buf, len, cap, ": ", 2);
        drv_append(buf, len, cap, value.data, value.len);
        drv_append(buf, len, cap, "\n", 1);
    }

    if (rc != GSGI_AGAIN) {
        job->broken = 1;
    }
}


static void
drv_job_head(gsgi_bridge_t *b, drv_job_t *job)
{
    gsgi_slot_t       *slot;
    gsgi_head_iter_t   it;

    slot = job->slot;
    gsgi_slot_answered(b, slot);

    if (gsgi_head_first(&it, b, slot) != GSGI_OK
        || slot->body_off > GSGI_SLOT_DATA
        || slot->body_len > GSGI_SLOT_DATA - slot->body_off)
    {
        job->broken = 1;
        return;
    }

    job->status = it.head->status;
    job->head_flags = it.head->flags;
    job->length = it.head->content_length;

    drv_entries(job, &it, &job->head, &job->head_len, &job->head_cap);
    gsgi_head_free(b, slot);

    drv_append(&job->out, &job->out_len, &job->out_cap,
               gsgi_slot_data(slot) + slot->body_off, slot->body_len);
}


/* The connection is the application's: what it gets now is what the client
 * sends on it. */
static void
drv_job_upgrade(gsgi_bridge_t *b, drv_job_t *job)
{
    job->in_base = gsgi_slot_upgraded(b, job->slot);
    job->upgraded = 1;

    free(job->body);
    job->body = job->conn;
    job->body_len = job->conn_len;
    job->conn = NULL;

    job->in_off = 0;
    job->in_ended = 0;
    job->reading = 1;

    if (job->abort_at == DRV_ABORT_TAKEN) {
        job->deadline = drv_now() + job->abort_after * 1000;
    }
}


/* Returns how many bytes of the body the chunk was. */
static uint64_t
drv_job_chunk(gsgi_bridge_t *b, drv_job_t *job, uint32_t index)
{
    char                buf[8192];
    int64_t             off, end;
    ssize_t             n;
    gsgi_head_iter_t    it;
    gsgi_chunk_head_t  *head;

    head = gsgi_chunk_head(b, index);

    switch (head->kind) {

    case GSGI_CHUNK_DATA:
        drv_append(&job->out, &job->out_len, &job->out_cap,
                   gsgi_chunk_data(b, index) + head->off, head->len);
        return head->len;

    case GSGI_CHUNK_FILE:
        end = head->file_off + head->file_len;

        for (off = head->file_off; off < end; off += n) {
            n = end - off < (int64_t) sizeof(buf) ? end - off
                                                  : (int64_t) sizeof(buf);
            n = pread(head->fd, buf, n, off);

            if (n <= 0) {
                job->broken = 1;
                break;
            }

            drv_append(&job->out, &job->out_len, &job->out_cap, buf, n);
        }

        (void) close(head->fd);
        job->files++;
        return head->file_len;

    case GSGI_CHUNK_TRAILERS:
    case GSGI_CHUNK_INTERIM:
        if (gsgi_head_chunk(&it, b, index) != GSGI_OK) {
            job->broken = 1;
            return 0;
        }

        job->interim += it.head != NULL;
        drv_entries(job, &it, &job->trailers, &job->trailers_len,
                    &job->trailers_cap);
        return 0;
    }

    job->broken = 1;
    return 0;
}


static void
drv_job_ack(gsgi_bridge_t *b, drv_job_t *job)
{
    uint64_t  n;

    n = job->pace && job->owed > job->pace ? job->pace : job->owed;
    job->owed -= n;

    gsgi_out_ack(b, job->slot, n, job->taken);
}


static void
drv_job_data(gsgi_bridge_t *b, drv_job_t *job)
{
    uint64_t  n;
    uint32_t  list, next;

    for (list = gsgi_out_take(b, job->slot); list; list = next) {
        next = gsgi_chunk_head(b, list - 1)->next;

        n = drv_job_chunk(b, job, list - 1);
        gsgi_chunk_put(b, list - 1);

        job->taken += n;
        job->owed += n;
        job->held = job->owed > job->held ? job->owed : job->held;

        if (job->pace == 0) {
            drv_job_ack(b, job);
        }
    }
}


static int
drv_job_leaves(drv_job_t *job, uint32_t events)
{
    switch (job->abort_at) {

    case DRV_ABORT_HEAD:
        return events & (GSGI_CQ_HEAD|GSGI_CQ_UPGRADE);

    case DRV_ABORT_READ:
        return events & GSGI_CQ_READ;

    case DRV_ABORT_BYTES:
        return job->out_len >= job->abort_after;
    }

    return 0;
}


void
drv_job_news(gsgi_bridge_t *b, drv_job_t *job, uint32_t events)
{
    job->events |= events;

    if (events & GSGI_CQ_HEAD) {
        drv_job_head(b, job);
    }

    if (events & GSGI_CQ_UPGRADE) {
        drv_job_upgrade(b, job);
    }

    drv_job_data(b, job);

    if (events & GSGI_CQ_RELEASE) {
        gsgi_slot_release(b, job->slot, 1);
        job->slot = NULL;
        return;
    }

    if (drv_job_leaves(job, events)) {
        drv_job_abort(b, job);
        return;
    }

    if (events & GSGI_CQ_READ) {
        job->reading = 1;
    }

    if (job->upgraded
        || (job->reading && (events & (GSGI_CQ_READ | GSGI_CQ_CREDIT))))
    {
        drv_job_feed(b, job);
    }
}


void
drv_job_tick(gsgi_bridge_t *b, drv_job_t *job)
{
    if (drv_job_over(job)) {
        return;
    }

    if (job->deadline && drv_now() >= job->deadline) {
        drv_job_abort(b, job);
        return;
    }

    if (job->owed) {
        drv_job_ack(b, job);
    }

    if (job->stalled) {
        drv_job_feed(b, job);
    }
}


int
drv_job_ticks(drv_job_t *job)
{
    return job->deadline || job->stalled || job->owed;
}


int
drv_job_over(drv_job_t *job)
{
    return job->slot == NULL;
}


void
drv_job_free(drv_job_t *job)
{
    free(job->head);
    free(job->trailers);
    free(job->out);
    free(job->target);
    free(job->body);
    free(job->conn);
    free(job);
}
