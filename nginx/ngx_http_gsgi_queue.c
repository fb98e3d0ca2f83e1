
/*
 * Copyright (C) The GSGI Authors
 */


#include <ngx_http_gsgi_module.h>


static ngx_uint_t ngx_http_gsgi_has_room(ngx_http_gsgi_worker_t *w);
static void ngx_http_gsgi_enqueue(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);
static void ngx_http_gsgi_dequeue(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);
static ngx_int_t ngx_http_gsgi_watch_client(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);


/*
 * NGX_OK: a request would go to the application, NGX_AGAIN: it would wait,
 * NGX_BUSY: too many wait, NGX_ERROR: there is no application
 */

ngx_int_t
ngx_http_gsgi_admit(ngx_http_gsgi_worker_t *w)
{
    ngx_uint_t  limit;

    if (w == NULL || w->failed) {
        return NGX_ERROR;
    }

    limit = w->queue;

    if (!w->ready) {

        /* this worker's predecessors died of the library */

        if ((ngx_msec_int_t) (w->load_time - ngx_current_msec) > 0) {
            return NGX_ERROR;
        }

        limit += w->concurrency;

    } else if (w->nwaiting == 0 && ngx_http_gsgi_has_room(w)) {
        return NGX_OK;
    }

    return (w->nwaiting < limit) ? NGX_AGAIN : NGX_BUSY;
}


static ngx_uint_t
ngx_http_gsgi_has_room(ngx_http_gsgi_worker_t *w)
{
    return ngx_http_gsgi_load(&w->region->in_flight) < w->concurrency;
}


void
ngx_http_gsgi_enter(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    ngx_int_t                rc;
    ngx_http_gsgi_worker_t  *w;

    w = ctx->worker;

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    ctx->start = ngx_current_msec;
    ctx->submitted = ngx_current_msec;

    ngx_http_gsgi_count(w, requests, 1);

    if (ngx_http_gsgi_watch_client(r, ctx) != NGX_OK) {
        ngx_http_gsgi_outcome(ctx, failed);
        ngx_http_gsgi_finalize(r, ctx, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    rc = ngx_http_gsgi_admit(w);

    if (rc == NGX_OK) {
        rc = ngx_http_gsgi_submit(r, ctx);

        if (rc == NGX_OK) {
            return;
        }

        if (rc == NGX_AGAIN && w->nwaiting >= w->queue) {
            rc = NGX_BUSY;
        }
    }

    switch (rc) {

    case NGX_AGAIN:
        ngx_http_gsgi_enqueue(r, ctx);
        return;

    case NGX_BUSY:
        rc = ngx_http_gsgi_reject(r, w, "queue of gsgi_concurrency is full");
        break;

    default: /* NGX_ERROR */

        if (w && !w->failed) {
            ngx_http_gsgi_outcome(ctx, failed);
            rc = NGX_HTTP_INTERNAL_SERVER_ERROR;
            break;
        }

        rc = ngx_http_gsgi_reject(r, w, "application is not available");
    }

    ngx_http_gsgi_finalize(r, ctx, rc);
}


static ngx_int_t
ngx_http_gsgi_watch_client(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    ngx_event_t  *rev;

    if (ctx->conf->ignore_client_abort || r->discard_body) {
        return NGX_OK;
    }

    rev = r->connection->read;

    r->read_event_handler = ngx_http_test_reading;

    if (rev->ready) {
        ngx_post_event(rev, &ngx_posted_events);
        return NGX_OK;
    }

    return ngx_handle_read_event(rev, 0);
}


static void
ngx_http_gsgi_enqueue(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    ngx_http_gsgi_worker_t  *w;

    w = ctx->worker;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "http gsgi queue: %ui", w->nwaiting);

    r->connection->log->action = "waiting for room in application";

    ctx->queued = 1;

    ngx_queue_insert_tail(&w->waiting, &ctx->queue);
    w->nwaiting++;

    ngx_http_gsgi_update_figures(w);

    ngx_http_gsgi_set_timer(ctx);
}


void
ngx_http_gsgi_leave_queue(ngx_http_gsgi_ctx_t *ctx)
{
    ngx_http_gsgi_worker_t  *w;

    w = ctx->worker;

    ctx->queued = 0;

    ngx_queue_remove(&ctx->queue);
    w->nwaiting--;

    ngx_http_gsgi_update_figures(w);
}


void
ngx_http_gsgi_run_queue(ngx_http_gsgi_worker_t *w)
{
    ngx_queue_t          *q;
    ngx_connection_t     *c;
    ngx_http_gsgi_ctx_t  *ctx;

    while (w->nwaiting) {

        if (!w->failed && (!w->ready || !ngx_http_gsgi_has_room(w))) {
            return;
        }

        q = ngx_queue_head(&w->waiting);
        ctx = ngx_queue_data(q, ngx_http_gsgi_ctx_t, queue);
        c = ctx->request->connection;

        ngx_http_set_log_request(c->log, ctx->request);

        ngx_http_gsgi_dequeue(ctx->request, ctx);
        ngx_http_run_posted_requests(c);

        if (w->nwaiting && ngx_queue_head(&w->waiting) == q) {

            /* it found no slot or chunk and is the first again */

            return;
        }
    }
}


static void
ngx_http_gsgi_dequeue(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    ngx_int_t                rc;
    ngx_msec_t               since;
    ngx_http_gsgi_worker_t  *w;

    w = ctx->worker;

    ngx_http_gsgi_leave_queue(ctx);

    if (w->failed) {
        ngx_http_gsgi_finalize(r, ctx,
            ngx_http_gsgi_reject(r, w, "application is not available"));
        return;
    }

    since = ctx->submitted;

    rc = ngx_http_gsgi_submit(r, ctx);

    switch (rc) {

    case NGX_OK:
        break;

    case NGX_AGAIN:
        ctx->queued = 1;
        ctx->submitted = since;

        ngx_queue_insert_head(&w->waiting, &ctx->queue);
        w->nwaiting++;

        ngx_http_gsgi_update_figures(w);
        break;

    default: /* NGX_ERROR */
        ngx_http_gsgi_outcome(ctx, failed);
        ngx_http_gsgi_finalize(r, ctx, NGX_HTTP_INTERNAL_SERVER_ERROR);
    }
}


/* the application is ready: the time in the queue begins now */

void
ngx_http_gsgi_reset_queue(ngx_http_gsgi_worker_t *w)
{
    ngx_queue_t          *q;
    ngx_http_gsgi_ctx_t  *ctx;

    for (q = ngx_queue_head(&w->waiting);
         q != ngx_queue_sentinel(&w->waiting);
         q = ngx_queue_next(q))
    {
        ctx = ngx_queue_data(q, ngx_http_gsgi_ctx_t, queue);

        ctx->submitted = ngx_current_msec;
        ngx_http_gsgi_set_timer(ctx);
    }
}


ngx_int_t
ngx_http_gsgi_reject(ngx_http_request_t *r, ngx_http_gsgi_worker_t *w,
    const char *reason)
{
    time_t                      wait;
    ngx_msec_int_t              left;
    ngx_table_elt_t            *h;
    ngx_http_gsgi_ctx_t        *ctx;
    ngx_http_gsgi_main_conf_t  *gmcf;

    gmcf = ngx_http_get_module_main_conf(r, ngx_http_gsgi_module);
    ctx = ngx_http_get_module_ctx(r, ngx_http_gsgi_module);

    wait = 10;

    if (w) {
        ngx_http_gsgi_outcome(ctx, rejected);

        left = (ngx_msec_int_t) (w->load_time - ngx_current_msec);

        if (w->ready && !w->failed) {
            wait = w->queue_timeout / 1000;

        } else if (!w->failed && left > 0) {
            wait = left / 1000 + 1;
        }

        /* an overload must not be a load on the log too */

        if (w->rejected_time == ngx_time()) {
            w->rejected++;

        } else {
            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "gsgi \"%V\": %s, %ui more since the last report",
                          &w->name, reason, w->rejected);
            w->rejected_time = ngx_time();
            w->rejected = 0;
        }

    } else {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0, "gsgi \"%V\": %s",
                      &gmcf->name, reason);
    }

    ctx->status = NGX_HTTP_SERVICE_UNAVAILABLE;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    ngx_str_set(&h->key, "Retry-After");

    h->value.data = ngx_pnalloc(r->pool, NGX_TIME_T_LEN);
    if (h->value.data == NULL) {
        h->hash = 0;
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    h->value.len = ngx_sprintf(h->value.data, "%T", ngx_max(wait, 1))
                   - h->value.data;

    return NGX_HTTP_SERVICE_UNAVAILABLE;
}
