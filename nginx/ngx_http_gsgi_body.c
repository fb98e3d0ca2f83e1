
/*
 * Copyright (C) The GSGI Authors
 */


#include <ngx_http_gsgi_module.h>


#define NGX_HTTP_GSGI_DRAIN_MAX   262144
#define NGX_HTTP_GSGI_STARVED     10
#define NGX_HTTP_GSGI_BLOCK       4096


static void ngx_http_gsgi_body_started(ngx_http_request_t *r);
static void ngx_http_gsgi_body_read(ngx_http_request_t *r);
static ngx_int_t ngx_http_gsgi_body_publish(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);
static ngx_int_t ngx_http_gsgi_body_put(ngx_http_gsgi_ctx_t *ctx,
    ngx_buf_t *b);
static void ngx_http_gsgi_body_wait(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);
static ngx_int_t ngx_http_gsgi_body_complete(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);
static ngx_int_t ngx_http_gsgi_body_error(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, ngx_int_t rc);


/* the handler's first read */

ngx_int_t
ngx_http_gsgi_body_begin(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    ngx_int_t  rc;

    if (ctx->body_begun || ctx->slot->body_kind != GSGI_BODY_STREAM) {
        return NGX_OK;
    }

    ctx->body_begun = 1;
    ctx->body_time = ngx_current_msec;

    r->request_body_no_buffering = 1;

    rc = ngx_http_read_client_request_body(r, ngx_http_gsgi_body_started);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return ngx_http_gsgi_body_error(r, ctx, rc);
    }

    /* the request is held already */

    r->main->count--;

    ctx->body_entered = 1;

    return ngx_http_gsgi_body_pump(r, ctx);
}


/* HTTP/2 comes here later with a short body that it has already */

static void
ngx_http_gsgi_body_started(ngx_http_request_t *r)
{
    ngx_http_gsgi_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gsgi_module);

    ctx->body_started = 1;

    if (ctx->body_entered) {
        (void) ngx_http_gsgi_body_pump(r, ctx);
    }
}


static void
ngx_http_gsgi_body_read(ngx_http_request_t *r)
{
    ngx_http_gsgi_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gsgi_module);

    if (ctx) {
        (void) ngx_http_gsgi_body_pump(r, ctx);
    }
}


/* NGX_OK, or NGX_DONE: the request has been finalized */

ngx_int_t
ngx_http_gsgi_body_pump(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    ngx_int_t  rc;

    if (!ctx->body_started || ctx->body_done) {
        return NGX_OK;
    }

    for ( ;; ) {

        rc = ngx_http_gsgi_body_publish(r, ctx);

        if (rc == NGX_ERROR) {
            return ngx_http_gsgi_body_error(r, ctx,
                                            NGX_HTTP_INTERNAL_SERVER_ERROR);
        }

        if (rc == NGX_AGAIN) {
            ngx_http_gsgi_body_wait(r, ctx);
            return NGX_OK;
        }

        if (!r->reading_body) {
            return ngx_http_gsgi_body_complete(r, ctx);
        }

        if (ctx->draining_body && ctx->in_drained > NGX_HTTP_GSGI_DRAIN_MAX) {
            ngx_http_gsgi_finish(r, ctx, NGX_OK);
            return NGX_DONE;
        }

        rc = ngx_http_read_unbuffered_request_body(r);

        if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
            return ngx_http_gsgi_body_error(r, ctx, rc);
        }

        if (rc == NGX_AGAIN && r->request_body->bufs == NULL) {
            break;
        }
    }

    r->read_event_handler = ngx_http_gsgi_body_read;

    if (!ctx->done) {
        gsgi_in_notify(ctx->worker->bridge, ctx->slot);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_body_publish(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    ngx_int_t                 rc;
    ngx_buf_t                *b;
    ngx_chain_t              *cl;
    ngx_http_request_body_t  *rb;

    rb = r->request_body;

    while (rb->bufs) {
        cl = rb->bufs;
        b = cl->buf;

        if (ctx->done || ctx->released) {
            ctx->in_drained += ngx_buf_size(b);
            b->pos = b->last;
            b->file_pos = b->file_last;

        } else {
            rc = ngx_http_gsgi_body_put(ctx, b);

            if (rc != NGX_OK) {
                return rc;
            }
        }

        rb->bufs = cl->next;
        ngx_free_chain(r->pool, cl);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_body_put(ngx_http_gsgi_ctx_t *ctx, ngx_buf_t *b)
{
    off_t                    size;
    size_t                   n;
    u_char                  *p;
    ngx_http_gsgi_worker_t  *w;
    u_char                   block[NGX_HTTP_GSGI_BLOCK];

    w = ctx->worker;

    if (ngx_http_gsgi_body_waits(ctx)) {
        ctx->body_waited += ngx_current_msec - ctx->body_time;
    }

    for (size = ngx_buf_size(b); size > 0; size = ngx_buf_size(b)) {

        n = gsgi_in_room(w->bridge, ctx->slot, ctx->in_published);

        if (n == 0) {
            return NGX_AGAIN;
        }

        if (ngx_buf_in_memory(b)) {
            n = (size_t) ngx_min((off_t) n, size);
            p = b->pos;

        } else {

            /* "client_body_in_file_only" */

            size = ngx_min(size, NGX_HTTP_GSGI_BLOCK);
            n = (size_t) ngx_min((off_t) n, size);
            p = block;

            if (ngx_read_file(b->file, p, n, b->file_pos) != (ssize_t) n) {
                return NGX_ERROR;
            }
        }

        if (gsgi_in_put(w->bridge, ctx->slot, p, n) != GSGI_OK) {

            ngx_http_gsgi_body_starve(ctx);
            return NGX_AGAIN;
        }

        if (ngx_buf_in_memory(b)) {
            b->pos += n;

        } else {
            b->file_pos += n;
        }

        ctx->in_published += n;
        ctx->body_time = ngx_current_msec;

        ngx_http_gsgi_count(w, bytes_received, n);
    }

    return NGX_OK;
}


/* no room: the application is slow, not the client */

static void
ngx_http_gsgi_body_wait(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    ngx_event_t  *rev;

    rev = r->connection->read;

    if (rev->timer_set) {
        ngx_del_timer(rev);
    }

    r->read_event_handler = ctx->conf->ignore_client_abort
                            ? ngx_http_block_reading
                            : ngx_http_test_reading;

    gsgi_in_notify(ctx->worker->bridge, ctx->slot);
}


static ngx_int_t
ngx_http_gsgi_body_complete(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    ctx->body_done = 1;

    if (ctx->draining_body) {
        ngx_http_gsgi_finish(r, ctx, NGX_OK);
        return NGX_DONE;
    }

    if (ctx->done) {
        return NGX_OK;
    }

    gsgi_in_state(ctx->slot, GSGI_IN_END);
    gsgi_in_notify(ctx->worker->bridge, ctx->slot);

    if (ctx->conf->ignore_client_abort) {
        r->read_event_handler = ngx_http_block_reading;
        return NGX_OK;
    }

    r->read_event_handler = ngx_http_test_reading;

    if (r->connection->read->ready) {
        ngx_post_event(r->connection->read, &ngx_posted_events);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_body_error(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    ngx_int_t rc)
{
    uint32_t           state;
    ngx_connection_t  *c;

    c = r->connection;

    ctx->body_done = 1;
    r->keepalive = 0;
    r->read_event_handler = ngx_http_block_reading;

    if (ctx->draining_body) {
        ngx_http_gsgi_finish(r, ctx, NGX_OK);
        return NGX_DONE;
    }

    switch (rc) {

    case NGX_HTTP_REQUEST_ENTITY_TOO_LARGE:
        state = GSGI_IN_TOO_LARGE;
        break;

    case NGX_HTTP_REQUEST_TIME_OUT:
        state = GSGI_IN_TIMEOUT;
        break;

    default:
        state = GSGI_IN_BROKEN;
    }

    gsgi_in_state(ctx->slot, state);
    gsgi_in_notify(ctx->worker->bridge, ctx->slot);

    if (c->error && ctx->conf->ignore_client_abort) {
        ctx->discard = 1;
        return NGX_OK;
    }

    if (c->error) {
        rc = NGX_HTTP_CLIENT_CLOSED_REQUEST;
        ngx_http_gsgi_outcome(ctx, aborted);

    } else if (ctx->header_sent) {

        /* the handler sees the error and ends its response as it likes */

        return NGX_OK;
    }

    ngx_http_gsgi_finalize(r, ctx, rc);

    return NGX_DONE;
}


/* does the handler wait for the client? */

ngx_int_t
ngx_http_gsgi_body_waits(ngx_http_gsgi_ctx_t *ctx)
{
    return ctx->body_begun && !ctx->body_done && ctx->slot
           && ngx_http_gsgi_load(&ctx->slot->in_acked) >= ctx->in_published;
}


/*
 * The response is out.  NGX_OK: the request can be finalized; NGX_AGAIN: the
 * rest of the body is read first, so that the connection can be kept.
 */

ngx_int_t
ngx_http_gsgi_body_end(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    off_t                      length;
    ngx_http_core_loc_conf_t  *clcf;

    if (r != r->main || ctx->slot->body_kind != GSGI_BODY_STREAM) {
        return NGX_OK;
    }

    if (!ctx->body_begun) {

        if (ctx->expect) {
            r->lingering_close = 1;
            return NGX_OK;
        }

        if (ngx_http_discard_request_body(r) != NGX_OK) {
            r->keepalive = 0;
        }

        return NGX_OK;
    }

    if (!r->reading_body || !r->keepalive) {
        return NGX_OK;
    }

#if (NGX_HTTP_V2)

    if (r->stream) {
        return NGX_OK;
    }

#endif

    length = ctx->slot->content_length;

    if (length != -1
        && length - (off_t) ctx->in_published > NGX_HTTP_GSGI_DRAIN_MAX)
    {
        return NGX_OK;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    ctx->draining_body = 1;

    if (ctx->starving) {
        ctx->starving = 0;
        ngx_queue_remove(&ctx->starved);
    }

    ngx_add_timer(&ctx->timer, clcf->lingering_timeout);

    return NGX_AGAIN;
}


/* there is no chunk: try again later */

void
ngx_http_gsgi_body_starve(ngx_http_gsgi_ctx_t *ctx)
{
    ngx_http_gsgi_worker_t  *w;

    w = ctx->worker;

    if (!ctx->starving) {
        ctx->starving = 1;
        ngx_queue_insert_tail(&w->starved, &ctx->starved);
    }

    if (!w->starved_event.timer_set) {
        ngx_add_timer(&w->starved_event, NGX_HTTP_GSGI_STARVED);
    }
}


void
ngx_http_gsgi_body_starved(ngx_event_t *ev)
{
    ngx_queue_t              starved, *q;
    ngx_connection_t        *c;
    ngx_http_gsgi_ctx_t     *ctx;
    ngx_http_gsgi_worker_t  *w;

    w = ev->data;

    ngx_queue_init(&starved);
    ngx_queue_add(&starved, &w->starved);
    ngx_queue_init(&w->starved);

    while (!ngx_queue_empty(&starved)) {
        q = ngx_queue_head(&starved);
        ngx_queue_remove(q);

        ctx = ngx_queue_data(q, ngx_http_gsgi_ctx_t, starved);
        ctx->starving = 0;

        c = ctx->request->connection;

        ngx_http_set_log_request(c->log, ctx->request);

        if (ctx->upgraded) {
            ngx_http_gsgi_upgrade_read(ctx->request, ctx);

        } else {
            (void) ngx_http_gsgi_body_pump(ctx->request, ctx);
        }

        ngx_http_run_posted_requests(c);
    }
}
