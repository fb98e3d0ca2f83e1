
/*
 * Copyright (C) The GSGI Authors
 */


#include <ngx_http_gsgi_module.h>


#define NGX_HTTP_GSGI_SPOOL_MAX  (1024 * 1024 * 1024)


/* what a buffer of the response holds besides its bytes */

typedef struct {
    ngx_buf_t                   buf;
    ngx_file_t                 *file;
    uint32_t                    chunk;         /* index + 1 */
    ngx_fd_t                    fd;
    off_t                       size;          /* to acknowledge */
    ngx_uint_t                  spooled;       /* unsigned  spooled:1; */
} ngx_http_gsgi_buf_t;


static void ngx_http_gsgi_process(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, uint32_t events);
static void ngx_http_gsgi_no_head(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, uint32_t events);
static void ngx_http_gsgi_process_data(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, uint32_t events);

static ngx_int_t ngx_http_gsgi_take_inline(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);
static ngx_int_t ngx_http_gsgi_take_data(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, gsgi_chunk_head_t *head, uint32_t index);
static ngx_int_t ngx_http_gsgi_take_file(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, gsgi_chunk_head_t *head);
static ngx_int_t ngx_http_gsgi_spool(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, ngx_buf_t *b);
static ngx_http_gsgi_buf_t *ngx_http_gsgi_get_buf(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);
static void ngx_http_gsgi_empty_buf(ngx_http_gsgi_ctx_t *ctx,
    ngx_http_gsgi_buf_t *gb);
static void ngx_http_gsgi_ack(ngx_http_gsgi_ctx_t *ctx, off_t size);

static ngx_chain_t *ngx_http_gsgi_next_out(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);
static ngx_int_t ngx_http_gsgi_output(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, ngx_chain_t *out);
static void ngx_http_gsgi_update_busy(ngx_http_gsgi_ctx_t *ctx,
    ngx_chain_t *out);
static ngx_int_t ngx_http_gsgi_wait_writable(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);
static void ngx_http_gsgi_writer(ngx_http_request_t *r);
static void ngx_http_gsgi_broken(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, ngx_int_t rc);
static void ngx_http_gsgi_cut(ngx_http_request_t *r);


void
ngx_http_gsgi_completion(ngx_http_gsgi_ctx_t *ctx, uint32_t events)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    if (events & GSGI_CQ_RELEASE) {
        ctx->released = 1;
    }

    if (ctx->done) {
        return;
    }

    r = ctx->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "http gsgi completion %xD: \"%V?%V\"",
                   events, &r->uri, &r->args);

    ngx_http_gsgi_process(r, ctx, events);

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_gsgi_process(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    uint32_t events)
{
    ngx_int_t  rc;

    if (ctx->upgraded || (events & GSGI_CQ_UPGRADE)) {
        ngx_http_gsgi_upgrade_events(r, ctx, events);
        return;
    }

    if (events & GSGI_CQ_END) {
        ctx->whole = 1;
    }

    if (events & (GSGI_CQ_END|GSGI_CQ_CUT|GSGI_CQ_RELEASE)) {

        if (!ctx->ended) {
            ctx->finished = ngx_current_msec;
        }

        ctx->ended = 1;

    } else if (events & GSGI_CQ_READ) {
        if (ngx_http_gsgi_body_begin(r, ctx) == NGX_DONE) {
            return;
        }

    } else if (events & GSGI_CQ_CREDIT) {
        if (ngx_http_gsgi_body_pump(r, ctx) == NGX_DONE) {
            return;
        }
    }

    if (!ctx->header_sent) {

        if (!(events & GSGI_CQ_HEAD)) {
            ngx_http_gsgi_no_head(r, ctx, events);
            return;
        }

        gsgi_slot_answered(ctx->worker->bridge, ctx->slot);

        ngx_http_gsgi_send_interims(r, ctx);

        rc = ngx_http_gsgi_process_head(r, ctx);

        if (rc == NGX_DONE) {
            return;
        }

        r->write_event_handler = ngx_http_gsgi_writer;
        r->connection->log->action = "sending to client";

        ctx->header_sent = 1;
        ctx->flush = 1;

        ngx_http_gsgi_set_timer(ctx);

        if (!r->header_only
            && ngx_http_gsgi_take_inline(r, ctx) != NGX_OK)
        {
            ngx_http_gsgi_finalize(r, ctx, NGX_ERROR);
            return;
        }
    }

    ngx_http_gsgi_process_data(r, ctx, events);
}


static void
ngx_http_gsgi_no_head(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    uint32_t events)
{
    if (!ctx->ended) {

        if (events & GSGI_CQ_DATA) {
            ngx_http_gsgi_send_interims(r, ctx);
        }

        return;
    }

    if (!(events & GSGI_CQ_CUT)) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "gsgi \"%V\": application ended without a response",
                      &ctx->conf->pass->name);
    }

    ngx_http_gsgi_outcome(ctx, failed);

    ctx->status = NGX_HTTP_INTERNAL_SERVER_ERROR;

    ngx_http_gsgi_finalize(r, ctx, NGX_HTTP_INTERNAL_SERVER_ERROR);
}


static void
ngx_http_gsgi_process_data(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    uint32_t events)
{
    ngx_int_t  rc;

    rc = NGX_OK;

    if (events & GSGI_CQ_FLUSH) {
        ctx->flush = 1;
    }

    if (events & (GSGI_CQ_DATA|GSGI_CQ_END|GSGI_CQ_CUT)) {
        rc = ngx_http_gsgi_take_chunks(r, ctx);
    }

    if (rc != NGX_OK) {
        ngx_http_gsgi_finalize(r, ctx, NGX_ERROR);
        return;
    }

    if (ctx->ended && (!ctx->whole || (events & GSGI_CQ_CUT))) {

        ctx->whole = 0;

        if (ctx->out && !ctx->discard) {
            ctx->flush = 1;
            (void) ngx_http_gsgi_output(r, ctx, ctx->out);
        }

        ngx_http_gsgi_finalize(r, ctx, NGX_ERROR);
        return;
    }

    if (ctx->discard) {

        if (ctx->ended) {
            ngx_http_gsgi_outcome(ctx, aborted);
            ngx_http_gsgi_end(ctx, 0);
            ngx_http_finalize_request(r, NGX_ERROR);
        }

        return;
    }

    ngx_http_gsgi_send(r, ctx);
}


static ngx_int_t
ngx_http_gsgi_take_inline(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    ngx_buf_t            *b;
    gsgi_slot_t          *slot;
    ngx_http_gsgi_buf_t  *gb;

    slot = ctx->slot;

    if (slot->body_len == 0 || ctx->discard) {
        return NGX_OK;
    }

    if (slot->body_off > GSGI_SLOT_DATA
        || slot->body_len > GSGI_SLOT_DATA - slot->body_off)
    {
        ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0,
                      "gsgi \"%V\": inline body is out of its slot",
                      &ctx->conf->pass->name);
        return NGX_ERROR;
    }

    gb = ngx_http_gsgi_get_buf(r, ctx);
    if (gb == NULL) {
        return NGX_ERROR;
    }

    b = &gb->buf;

    b->temporary = 1;
    b->start = gsgi_slot_data(slot) + slot->body_off;
    b->pos = b->start;
    b->last = b->start + slot->body_len;
    b->end = b->last;

    /* what lies in the slot takes no credit */

    ctx->bytes_sent += slot->body_len;

    return NGX_OK;
}


ngx_int_t
ngx_http_gsgi_take_chunks(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    uint32_t                 next, index;
    ngx_int_t                rc;
    gsgi_bridge_t           *b;
    gsgi_chunk_head_t       *head;

    b = ctx->worker->bridge;
    rc = NGX_OK;

    for (next = gsgi_out_take(b, ctx->slot); next; /* void */) {

        index = next - 1;
        head = gsgi_chunk_head(b, index);
        next = head->next;

        switch (head->kind) {

        case GSGI_CHUNK_DATA:
            if (ngx_http_gsgi_take_data(r, ctx, head, index) != NGX_OK) {
                rc = NGX_ERROR;
            }

            continue;

        case GSGI_CHUNK_FILE:
            if (ngx_http_gsgi_take_file(r, ctx, head) != NGX_OK) {
                rc = NGX_ERROR;
            }

            break;

        case GSGI_CHUNK_TRAILERS:
            if (ngx_http_gsgi_add_trailers(r, ctx, index) != NGX_OK) {
                rc = NGX_ERROR;
            }

            break;

        default: /* GSGI_CHUNK_INTERIM: it is too late */
            break;
        }

        gsgi_chunk_put(b, index);
    }

    return rc;
}


/* the chunk is ours, whatever the result */

static ngx_int_t
ngx_http_gsgi_take_data(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    gsgi_chunk_head_t *head, uint32_t index)
{
    ngx_int_t             rc;
    ngx_buf_t            *b, data;
    gsgi_bridge_t        *bridge;
    ngx_http_gsgi_buf_t  *gb;

    bridge = ctx->worker->bridge;

    if (head->off > GSGI_CHUNK_BYTES
        || head->len > GSGI_CHUNK_BYTES - head->off)
    {
        ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0,
                      "gsgi \"%V\": body is out of its chunk",
                      &ctx->conf->pass->name);
        gsgi_chunk_put(bridge, index);
        return NGX_ERROR;
    }

    ctx->out_published += head->len;

    if (ctx->discard || r->header_only || head->len == 0) {
        ngx_http_gsgi_ack(ctx, head->len);
        gsgi_chunk_put(bridge, index);
        return NGX_OK;
    }

    ctx->bytes_sent += head->len;

    ngx_memzero(&data, sizeof(ngx_buf_t));

    data.temporary = 1;
    data.start = gsgi_chunk_data(bridge, index) + head->off;
    data.pos = data.start;
    data.last = data.start + head->len;
    data.end = data.last;

    rc = ngx_http_gsgi_spool(r, ctx, &data);

    if (rc != NGX_DECLINED) {
        ngx_http_gsgi_ack(ctx, head->len);
        gsgi_chunk_put(bridge, index);
        return rc;
    }

    gb = ngx_http_gsgi_get_buf(r, ctx);

    if (gb == NULL) {
        gsgi_chunk_put(bridge, index);
        return NGX_ERROR;
    }

    b = &gb->buf;
    *b = data;
    b->tag = (ngx_buf_tag_t) &ngx_http_gsgi_module;

    gb->chunk = index + 1;
    gb->size = head->len;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_take_file(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    gsgi_chunk_head_t *head)
{
    ngx_buf_t            *b;
    ngx_http_gsgi_buf_t  *gb;

    ctx->out_published += head->file_len;

    if (ctx->discard || r->header_only || head->file_len <= 0) {
        (void) close(head->fd);
        ngx_http_gsgi_ack(ctx, head->file_len);
        return NGX_OK;
    }

    gb = ngx_http_gsgi_get_buf(r, ctx);

    if (gb == NULL) {
        (void) close(head->fd);
        return NGX_ERROR;
    }

    gb->fd = head->fd;
    gb->size = head->file_len;

    if (gb->file == NULL) {
        gb->file = ngx_palloc(r->pool, sizeof(ngx_file_t));
        if (gb->file == NULL) {
            return NGX_ERROR;
        }
    }

    ngx_memzero(gb->file, sizeof(ngx_file_t));

    gb->file->fd = head->fd;
    gb->file->log = r->connection->log;
    ngx_str_set(&gb->file->name, "application's file");

    b = &gb->buf;

    b->in_file = 1;
    b->file = gb->file;
    b->file_pos = head->file_off;
    b->file_last = head->file_off + head->file_len;

    ctx->bytes_sent += head->file_len;

    return NGX_OK;
}


/*
 * With gsgi_buffering what a slow client has not taken goes to a file, and the
 * application goes on.  NGX_DECLINED: the bytes stay in memory.
 */

static ngx_int_t
ngx_http_gsgi_spool(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    ngx_buf_t *b)
{
    ssize_t                    n;
    ngx_chain_t                in, *cl;
    ngx_temp_file_t           *tf;
    ngx_http_gsgi_buf_t       *gb;
    ngx_http_core_loc_conf_t  *clcf;

    tf = ctx->spool;

    if (!ctx->buffering || (tf && tf->offset >= NGX_HTTP_GSGI_SPOOL_MAX)) {
        return NGX_DECLINED;
    }

    if (ctx->out == NULL
        && (ctx->out_published - ctx->out_acked) * 2 < ctx->conf->buffer)
    {
        return NGX_DECLINED;
    }

    if (tf == NULL) {
        clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

        tf = ngx_pcalloc(r->pool, sizeof(ngx_temp_file_t));
        if (tf == NULL) {
            return NGX_ERROR;
        }

        tf->file.fd = NGX_INVALID_FILE;
        tf->file.log = r->connection->log;
        tf->path = clcf->client_body_temp_path;
        tf->pool = r->pool;
        tf->warn = "an application's response is buffered to a temporary file";
        tf->log_level = NGX_LOG_INFO;

        ctx->spool = tf;
    }

    in.buf = b;
    in.next = NULL;

    n = ngx_write_chain_to_temp_file(tf, &in);

    if (n == NGX_ERROR) {
        return NGX_ERROR;
    }

    /* the last piece grows as long as it waits for its turn */

    for (cl = ctx->out; cl && cl->next; cl = cl->next) { /* void */ }

    gb = cl ? (ngx_http_gsgi_buf_t *) cl->buf : NULL;

    if (gb == NULL || !gb->spooled) {
        gb = ngx_http_gsgi_get_buf(r, ctx);
        if (gb == NULL) {
            return NGX_ERROR;
        }

        gb->spooled = 1;
        gb->buf.in_file = 1;
        gb->buf.file = &tf->file;
        gb->buf.file_pos = tf->offset;
    }

    tf->offset += n;
    gb->buf.file_last = tf->offset;

    return NGX_OK;
}


/* a buffer at the end of ctx->out */

static ngx_http_gsgi_buf_t *
ngx_http_gsgi_get_buf(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    ngx_file_t           *file;
    ngx_chain_t          *cl;
    ngx_http_gsgi_buf_t  *gb;

    if (ctx->free) {
        cl = ctx->free;
        ctx->free = cl->next;

        gb = (ngx_http_gsgi_buf_t *) cl->buf;
        file = gb->file;

    } else {
        cl = ngx_alloc_chain_link(r->pool);
        if (cl == NULL) {
            return NULL;
        }

        gb = ngx_palloc(r->pool, sizeof(ngx_http_gsgi_buf_t));
        if (gb == NULL) {
            return NULL;
        }

        file = NULL;
        cl->buf = &gb->buf;
    }

    ngx_memzero(gb, sizeof(ngx_http_gsgi_buf_t));

    gb->file = file;
    gb->fd = NGX_INVALID_FILE;
    gb->buf.tag = (ngx_buf_tag_t) &ngx_http_gsgi_module;

    cl->next = NULL;
    *ctx->last_out = cl;
    ctx->last_out = &cl->next;

    return gb;
}


void
ngx_http_gsgi_put_buf(ngx_http_gsgi_ctx_t *ctx, ngx_chain_t *cl)
{
    ngx_http_gsgi_empty_buf(ctx, (ngx_http_gsgi_buf_t *) cl->buf);

    cl->next = ctx->free;
    ctx->free = cl;
}


static void
ngx_http_gsgi_empty_buf(ngx_http_gsgi_ctx_t *ctx, ngx_http_gsgi_buf_t *gb)
{
    if (gb->chunk) {
        gsgi_chunk_put(ctx->worker->bridge, gb->chunk - 1);
        gb->chunk = 0;
    }

    if (gb->fd != NGX_INVALID_FILE) {
        (void) close(gb->fd);
        gb->fd = NGX_INVALID_FILE;
    }

    ngx_http_gsgi_ack(ctx, gb->size);
    gb->size = 0;
}


static void
ngx_http_gsgi_ack(ngx_http_gsgi_ctx_t *ctx, off_t size)
{
    if (size <= 0) {
        return;
    }

    ctx->out_acked += size;

    if (!ctx->ended && !ctx->released) {
        gsgi_out_ack(ctx->worker->bridge, ctx->slot, (uint64_t) size,
                     ctx->out_published);
    }
}


void
ngx_http_gsgi_free_output(ngx_http_gsgi_ctx_t *ctx)
{
    ngx_chain_t  *cl;

    for (cl = ctx->busy; cl; cl = cl->next) {
        ngx_http_gsgi_empty_buf(ctx, (ngx_http_gsgi_buf_t *) cl->buf);
    }

    for (cl = ctx->out; cl; cl = cl->next) {
        ngx_http_gsgi_empty_buf(ctx, (ngx_http_gsgi_buf_t *) cl->buf);
    }

    ctx->busy = NULL;
    ctx->out = NULL;
    ctx->last_out = &ctx->out;
}


void
ngx_http_gsgi_send(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    ngx_int_t     rc;
    ngx_chain_t  *out;

    if (ctx->draining_body) {
        rc = ngx_http_output_filter(r, NULL);

        if (rc == NGX_ERROR
            || ngx_http_gsgi_wait_writable(r, ctx) != NGX_OK)
        {
            ngx_http_finalize_request(r, NGX_ERROR);
        }

        return;
    }

    for ( ;; ) {

        out = r->header_only ? NULL : ngx_http_gsgi_next_out(r, ctx);

        rc = ngx_http_gsgi_output(r, ctx, out);

        if (rc == NGX_ERROR) {
            ngx_http_gsgi_broken(r, ctx, rc);
            return;
        }

        if (ctx->last_sent) {
            ngx_http_gsgi_finish(r, ctx, rc);
            return;
        }

        if (ctx->out == NULL || ctx->busy) {
            break;
        }
    }

    if (ngx_http_gsgi_wait_writable(r, ctx) != NGX_OK) {
        ngx_http_gsgi_broken(r, ctx, NGX_ERROR);
    }
}


/* what goes to the filters now: a piece of the spool goes alone */

static ngx_chain_t *
ngx_http_gsgi_next_out(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    ngx_chain_t          *cl, *out, **ll;
    ngx_http_gsgi_buf_t  *gb;

    out = ctx->out;
    ll = &ctx->out;

    for (cl = ctx->out; cl; cl = cl->next) {
        gb = (ngx_http_gsgi_buf_t *) cl->buf;

        if (gb->spooled) {

            if (cl == out && ctx->busy == NULL) {
                ll = &cl->next;
            }

            break;
        }

        ll = &cl->next;
    }

    cl = *ll;

    if (cl == out) {
        return NULL;
    }

    *ll = NULL;
    ctx->out = cl;

    if (cl == NULL) {
        ctx->last_out = &ctx->out;
    }

    return out;
}


static ngx_int_t
ngx_http_gsgi_output(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    ngx_chain_t *out)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    if (out == ctx->out) {
        ctx->out = NULL;
        ctx->last_out = &ctx->out;
    }

    for (cl = out; cl && cl->next; cl = cl->next) { /* void */ }

    b = cl ? cl->buf : NULL;

    if (ctx->whole && ctx->out == NULL) {
        ctx->last_sent = 1;
    }

    if (r->header_only) {
        return NGX_OK;
    }

    /*
     * a writer that waits for its credit gets it only from what has left,
     * and the write filter keeps back what is small
     */

    if (b && !ctx->flush
        && (ngx_http_gsgi_load(&ctx->slot->out_waiting)
            || (ctx->out_published - ctx->out_acked) * 2 > ctx->conf->buffer))
    {
        ctx->flush = 1;
    }

    if (ctx->last_sent) {

        if (b == NULL) {
            return ngx_http_send_special(r, NGX_HTTP_LAST);
        }

        b->last_buf = (r == r->main && !r->post_action);
        b->sync = !b->last_buf && ngx_buf_size(b) == 0;
        b->last_in_chain = 1;

    } else if (ctx->flush) {
        ctx->flush = 0;

        if (b == NULL) {
            rc = ngx_http_send_special(r, NGX_HTTP_FLUSH);
            ngx_http_gsgi_update_busy(ctx, NULL);
            return rc;
        }

        b->flush = 1;
    }

    rc = NGX_OK;

    if (out || ctx->busy || r->connection->buffered) {
        rc = ngx_http_output_filter(r, out);
    }

    ngx_http_gsgi_update_busy(ctx, out);

    return rc;
}


static void
ngx_http_gsgi_update_busy(ngx_http_gsgi_ctx_t *ctx, ngx_chain_t *out)
{
    ngx_chain_t  *cl, **ll;

    for (ll = &ctx->busy; *ll; ll = &(*ll)->next) { /* void */ }

    *ll = out;

    while (ctx->busy) {
        cl = ctx->busy;

        if (ngx_buf_size(cl->buf) != 0) {
            break;
        }

        ctx->busy = cl->next;

        ngx_http_gsgi_put_buf(ctx, cl);
    }
}


static ngx_int_t
ngx_http_gsgi_wait_writable(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    ngx_event_t               *wev;
    ngx_connection_t          *c;
    ngx_http_core_loc_conf_t  *clcf;

    c = r->connection;

    if (c->data != r) {
        return NGX_OK;
    }

    wev = c->write;
    clcf = ngx_http_get_module_loc_conf(r->main, ngx_http_core_module);

    if (ngx_handle_write_event(wev, clcf->send_lowat) != NGX_OK) {
        return NGX_ERROR;
    }

    if (!wev->delayed) {

        if (wev->active && !wev->ready) {
            ngx_add_timer(wev, clcf->send_timeout);

        } else if (wev->timer_set) {
            ngx_del_timer(wev);
        }
    }

    return NGX_OK;
}


static void
ngx_http_gsgi_writer(ngx_http_request_t *r)
{
    ngx_event_t          *wev;
    ngx_connection_t     *c;
    ngx_http_gsgi_ctx_t  *ctx;

    c = r->connection;
    wev = c->write;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gsgi_module);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "http gsgi writer: \"%V?%V\"", &r->uri, &r->args);

    if (wev->timedout) {
        ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT,
                      "client timed out");
        c->timedout = 1;

        ngx_http_gsgi_broken(r, ctx, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    if (ctx->discard) {
        return;
    }

    if (wev->delayed || r->aio) {
        if (ngx_http_gsgi_wait_writable(r, ctx) != NGX_OK) {
            ngx_http_gsgi_broken(r, ctx, NGX_ERROR);
        }

        return;
    }

    ngx_http_gsgi_send(r, ctx);
}


/* the client does not take the response */

static void
ngx_http_gsgi_broken(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    ngx_int_t rc)
{
    if (ctx->conf->ignore_client_abort && !ctx->ended && !ctx->done) {

        ctx->discard = 1;

        r->connection->error = 1;
        r->read_event_handler = ngx_http_block_reading;

        if (r->connection->write->timer_set) {
            ngx_del_timer(r->connection->write);
        }

        if (ctx->out_published > ctx->out_acked) {
            ngx_http_gsgi_ack(ctx, ctx->out_published - ctx->out_acked);
        }

        return;
    }

    if (!ctx->done) {
        ngx_http_gsgi_outcome(ctx, aborted);
        ngx_http_gsgi_end(ctx, GSGI_HOST_ABORT);
    }

    ngx_http_finalize_request(r, rc);
}


/* the whole response is with the filters */

void
ngx_http_gsgi_finish(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    ngx_int_t rc)
{
    if (!ctx->done) {
        ngx_http_gsgi_outcome(ctx, answered);

        ctx->queue_us = ctx->slot->queue_us;

        ngx_http_gsgi_end(ctx, 0);

        if (ngx_http_gsgi_body_end(r, ctx) == NGX_AGAIN) {

            if (ngx_http_gsgi_wait_writable(r, ctx) != NGX_OK) {
                ngx_http_finalize_request(r, NGX_ERROR);
                return;
            }

            (void) ngx_http_gsgi_body_pump(r, ctx);
            return;
        }

    } else {
        ctx->draining_body = 0;

        if (ctx->timer.timer_set) {
            ngx_del_timer(&ctx->timer);
        }
    }

    ngx_http_finalize_request(r, rc);
}


void
ngx_http_gsgi_finalize(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    ngx_int_t rc)
{
    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "http gsgi finalize: %i", rc);

    if (ctx->slot) {
        ctx->queue_us = ctx->slot->queue_us;
    }

    ngx_http_gsgi_end(ctx, GSGI_HOST_ABORT);

    r->read_event_handler = ngx_http_block_reading;
    r->connection->log->action = "sending to client";

    if (rc == NGX_HTTP_REQUEST_TIME_OUT
        || rc == NGX_HTTP_CLIENT_CLOSED_REQUEST)
    {
        ngx_http_gsgi_outcome(ctx, aborted);
        ngx_http_finalize_request(r, rc);
        return;
    }

    if (!ctx->header_sent) {

        if (rc >= NGX_HTTP_BAD_REQUEST
            && rc < NGX_HTTP_INTERNAL_SERVER_ERROR)
        {
            ngx_http_gsgi_outcome(ctx, answered);

        } else {
            ngx_http_gsgi_outcome(ctx, failed);
        }

        ngx_http_finalize_request(r, rc);
        return;
    }

    ngx_http_gsgi_outcome(ctx, cut);

    if (ctx->upgraded) {
        ngx_http_finalize_request(r, NGX_ERROR);
        return;
    }

    ngx_http_gsgi_cut(r);
}


/* the client must see that the response is not whole */

static void
ngx_http_gsgi_cut(ngx_http_request_t *r)
{
    ngx_connection_t  *c;

    c = r->connection;

    r->keepalive = 0;
    r->main->keepalive = 0;

    if (!c->error) {
        (void) ngx_http_send_special(r, NGX_HTTP_FLUSH);
    }

    ngx_http_gsgi_show_cut(r);
    ngx_http_finalize_request(r, NGX_ERROR);
}


void
ngx_http_gsgi_show_cut(ngx_http_request_t *r)
{
    if (ngx_http_gsgi_framed(r)) {
        return;
    }

    ngx_http_gsgi_guard(r, 1);

#if (NGX_HTTP_SSL)

    if (r->connection->ssl) {
        r->connection->ssl->no_wait_shutdown = 1;
        r->connection->ssl->no_send_shutdown = 1;
    }

#endif
}


/* whether the end of the connection is not the end of the response */

ngx_int_t
ngx_http_gsgi_framed(ngx_http_request_t *r)
{
    r = r->main;

    return r->chunked || r->header_only
           || r->headers_out.content_length_n != -1
           || r->http_version >= NGX_HTTP_VERSION_20;
}


/* whoever closes the connection now resets it, be it the system */

void
ngx_http_gsgi_guard(ngx_http_request_t *r, ngx_uint_t on)
{
    struct linger      linger;
    ngx_connection_t  *c;

    c = r->connection;

    linger.l_onoff = on;
    linger.l_linger = 0;

    if (setsockopt(c->fd, SOL_SOCKET, SO_LINGER,
                   (const void *) &linger, sizeof(struct linger)) == -1)
    {
        ngx_log_error(NGX_LOG_ALERT, c->log, ngx_socket_errno,
                      "setsockopt(SO_LINGER) failed");
    }
}
