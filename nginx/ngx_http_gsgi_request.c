
/*
 * Copyright (C) The GSGI Authors
 */


#include <ngx_http_gsgi_module.h>


static const char *ngx_http_gsgi_no_entry(ngx_http_request_t *r,
    ngx_http_gsgi_pass_t *pass);
static ngx_http_gsgi_ctx_t *ngx_http_gsgi_create_ctx(ngx_http_request_t *r,
    ngx_http_gsgi_worker_t *w, ngx_http_gsgi_loc_conf_t *glcf);
static void ngx_http_gsgi_body_handler(ngx_http_request_t *r);
static void ngx_http_gsgi_cleanup(void *data);

static void ngx_http_gsgi_begin_timer(ngx_http_gsgi_ctx_t *ctx);
static void ngx_http_gsgi_grow_up(ngx_http_gsgi_ctx_t *ctx);
static ngx_msec_int_t ngx_http_gsgi_left(ngx_http_gsgi_ctx_t *ctx);
static void ngx_http_gsgi_timer_handler(ngx_event_t *ev);
static void ngx_http_gsgi_timeout(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, const char *limit, ngx_msec_t msec);

static uint32_t ngx_http_gsgi_flags(ngx_http_request_t *r);
static ngx_int_t ngx_http_gsgi_pack(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, gsgi_slot_t *slot);
static void ngx_http_gsgi_pack_request(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, gsgi_pack_t *p);
static void ngx_http_gsgi_pack_uri(ngx_http_request_t *r, gsgi_pack_t *p);
static void ngx_http_gsgi_pack_server(ngx_http_request_t *r, gsgi_pack_t *p);
static void ngx_http_gsgi_pack_client(ngx_http_request_t *r, gsgi_pack_t *p);
static void ngx_http_gsgi_pack_request_id(ngx_http_request_t *r,
    gsgi_pack_t *p);
static ngx_uint_t ngx_http_gsgi_authenticated(ngx_http_request_t *r);
static void ngx_http_gsgi_pack_headers(ngx_http_request_t *r, gsgi_pack_t *p,
    ngx_uint_t body, ngx_uint_t authenticated);
static ngx_int_t ngx_http_gsgi_pack_params(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, gsgi_pack_t *p);
static ngx_int_t ngx_http_gsgi_pack_body(ngx_http_request_t *r,
    gsgi_pack_t *p, int *fd);
#if (NGX_HTTP_SSL)
static void ngx_http_gsgi_pack_tls(ngx_http_request_t *r, gsgi_pack_t *p);
static void ngx_http_gsgi_pack_certificate(ngx_http_request_t *r,
    gsgi_pack_t *p);
#endif


ngx_int_t
ngx_http_gsgi_handler(ngx_http_request_t *r)
{
    ngx_int_t                  rc;
    const char                *reason;
    ngx_http_gsgi_ctx_t       *ctx;
    ngx_http_gsgi_worker_t    *w;
    ngx_http_gsgi_loc_conf_t  *glcf;

    glcf = ngx_http_get_module_loc_conf(r, ngx_http_gsgi_module);

    if (glcf->pass == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    w = ngx_http_gsgi_get_worker();

    ctx = ngx_http_gsgi_create_ctx(r, w, glcf);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* do not take in an upload that is going to be refused */

    rc = glcf->pass->missing ? NGX_DECLINED : ngx_http_gsgi_admit(w);

    if (rc == NGX_ERROR || rc == NGX_BUSY || rc == NGX_DECLINED) {
        ctx->done = 1;

        if (w) {
            ngx_http_gsgi_count(w, requests, 1);
        }

        if (rc == NGX_DECLINED) {
            reason = ngx_http_gsgi_no_entry(r, glcf->pass);

        } else if (rc == NGX_BUSY) {
            reason = "queue of gsgi_concurrency is full";

        } else {
            reason = "application is not available";
        }

        return ngx_http_gsgi_reject(r, w, reason);
    }

    if (glcf->request_buffering && r == r->main && r->request_body == NULL
        && ngx_http_gsgi_has_body(r))
    {
        rc = ngx_http_read_client_request_body(r, ngx_http_gsgi_body_handler);

        if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
            return rc;
        }

        return NGX_DONE;
    }

    r->main->count++;

    ngx_http_gsgi_enter(r, ctx);

    return NGX_DONE;
}


static const char *
ngx_http_gsgi_no_entry(ngx_http_request_t *r, ngx_http_gsgi_pass_t *pass)
{
    u_char  *p;
    size_t   len;

    if (pass->entry.len == 0) {
        return "application has several entries and none is named";
    }

    len = sizeof("application has no entry \"\"") + pass->entry.len;

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return "application has no such entry";
    }

    ngx_sprintf(p, "application has no entry \"%V\"%Z", &pass->entry);

    return (const char *) p;
}


static ngx_http_gsgi_ctx_t *
ngx_http_gsgi_create_ctx(ngx_http_request_t *r, ngx_http_gsgi_worker_t *w,
    ngx_http_gsgi_loc_conf_t *glcf)
{
    ngx_pool_cleanup_t   *pcln;
    ngx_http_cleanup_t   *cln;
    ngx_http_gsgi_ctx_t  *ctx;

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_gsgi_ctx_t));
    if (ctx == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     ctx->slot = NULL;
     *     ctx->out = NULL;
     *     ctx->busy = NULL;
     *     ctx->free = NULL;
     *     ctx->status = 0;
     */

    ctx->request = r;
    ctx->worker = w;
    ctx->conf = glcf;
    ctx->start = ngx_current_msec;
    ctx->buffering = (glcf->buffering == 1);
    ctx->last_out = &ctx->out;

    ctx->timer.handler = ngx_http_gsgi_timer_handler;
    ctx->timer.data = ctx;
    ctx->timer.log = r->connection->log;

    /* the one runs before the request is logged, the other after */

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NULL;
    }

    cln->handler = ngx_http_gsgi_cleanup;
    cln->data = ctx;

    pcln = ngx_pool_cleanup_add(r->pool, 0);
    if (pcln == NULL) {
        ctx->done = 1;
        return NULL;
    }

    pcln->handler = ngx_http_gsgi_release;
    pcln->data = ctx;

    ngx_http_set_ctx(r, ctx, ngx_http_gsgi_module);

    return ctx;
}


ngx_http_gsgi_ctx_t *
ngx_http_gsgi_find_ctx(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t   *cln;
    ngx_http_gsgi_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gsgi_module);

    if (ctx) {
        return ctx;
    }

    if (!r->internal && !r->filter_finalize) {
        return NULL;
    }

    /* an internal redirect clears contexts, the cleanup still knows ours */

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_gsgi_release) {
            ctx = cln->data;

            if (ctx->request == r) {
                return ctx;
            }
        }
    }

    return NULL;
}


ngx_int_t
ngx_http_gsgi_has_body(ngx_http_request_t *r)
{
    if (r->request_body) {

        if (r->request_body->bufs == NULL || r->reading_body) {
            return 0;
        }

        /* a subrequest has the body only if it repeats the request */

        return r == r->main
               || (r->method == r->main->method
                   && !(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD)));
    }

    return r == r->main
           && !r->discard_body
           && (r->headers_in.content_length_n > 0 || r->headers_in.chunked);
}


static void
ngx_http_gsgi_body_handler(ngx_http_request_t *r)
{
    ngx_http_gsgi_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gsgi_module);

    ngx_http_gsgi_enter(r, ctx);
}


static void
ngx_http_gsgi_cleanup(void *data)
{
    ngx_http_gsgi_ctx_t *ctx = data;

    ngx_http_request_t  *r;

    if (ctx->slot || ctx->queued) {

        if (ngx_http_gsgi_shutdown_passed(ctx->worker)) {
            ctx->worker->cut++;
            ngx_http_gsgi_outcome(ctx, cut);
            ngx_http_gsgi_show_cut(ctx->request);

        } else {
            ngx_http_gsgi_outcome(ctx, aborted);
        }
    }

    r = ctx->request;

    if (ctx->guarded && ctx->last_sent && !r->buffered
        && !r->connection->buffered && !r->connection->error)
    {
        ngx_http_gsgi_guard(r, 0);
    }

    ngx_http_gsgi_end(ctx, GSGI_HOST_ABORT);
}


void
ngx_http_gsgi_release(void *data)
{
    ngx_http_gsgi_ctx_t *ctx = data;

    gsgi_slot_t             *slot;
    ngx_http_gsgi_worker_t  *w;

    ngx_http_gsgi_end(ctx, GSGI_HOST_ABORT);

    slot = ctx->slot;

    if (slot == NULL) {
        return;
    }

    ctx->ended = 1;

    ngx_http_gsgi_free_output(ctx);

    gsgi_head_free(ctx->worker->bridge, slot);

    ctx->slot = NULL;
    slot->host_data = 0;

    w = ctx->worker;
    w->nactive--;

    if (w->running_requests) {
        ngx_http_gsgi_running_end(w->running_requests,
                                  gsgi_slot_index(w->bridge, slot));
    }

    gsgi_slot_release(w->bridge, slot, ctx->released);

    ngx_http_gsgi_update_figures(w);

    if (w->nwaiting && w->connection) {
        ngx_http_gsgi_post(w);
    }
}


void
ngx_http_gsgi_end(ngx_http_gsgi_ctx_t *ctx, uint32_t host_flags)
{
    ngx_http_gsgi_grow_up(ctx);

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }

    if (ctx->done) {
        return;
    }

    ctx->done = 1;

    if (!ctx->ended) {
        ctx->finished = ngx_current_msec;
    }

    if (ctx->bytes_sent) {
        ngx_http_gsgi_count(ctx->worker, bytes_sent, ctx->bytes_sent);
    }

    if (ctx->queued) {
        ngx_http_gsgi_leave_queue(ctx);
    }

    if (ctx->starving) {
        ctx->starving = 0;
        ngx_queue_remove(&ctx->starved);
    }

    if (ctx->slot && !ctx->ended && !ctx->released) {
        gsgi_slot_tell(ctx->worker->bridge, ctx->slot, host_flags);
    }
}


void
ngx_http_gsgi_set_timer(ngx_http_gsgi_ctx_t *ctx)
{
    ngx_msec_int_t  left;

    left = ngx_http_gsgi_left(ctx);

    if (ctx->young && left >= 2 * NGX_HTTP_GSGI_WATCH) {
        return;
    }

    ngx_http_gsgi_grow_up(ctx);

    ngx_add_timer(&ctx->timer, (ngx_msec_t) ngx_max(left, 1));
}


/*
 * Most requests have ended long before their limit: a timer is set for those
 * that are still there when the watch, which comes once in a second, finds
 * them for the second time at the latest.
 */

static void
ngx_http_gsgi_begin_timer(ngx_http_gsgi_ctx_t *ctx)
{
    ngx_http_gsgi_worker_t  *w;

    w = ctx->worker;

    if (!ctx->timer.timer_set
        && ngx_http_gsgi_left(ctx) >= 2 * NGX_HTTP_GSGI_WATCH)
    {
        ctx->young = 1;
        ngx_queue_insert_tail(&w->young, &ctx->queue);

        if (!w->watch_event.timer_set) {
            ngx_add_timer(&w->watch_event, NGX_HTTP_GSGI_WATCH);
        }

        /* a worker that exits waits for its timers */

        w->watch_event.cancelable = 0;

        return;
    }

    ngx_http_gsgi_set_timer(ctx);
}


static void
ngx_http_gsgi_grow_up(ngx_http_gsgi_ctx_t *ctx)
{
    ngx_http_gsgi_worker_t  *w;

    if (!ctx->young) {
        return;
    }

    w = ctx->worker;

    ctx->young = 0;
    ngx_queue_remove(&ctx->queue);

    w->watch_event.cancelable = ngx_queue_empty(&w->young);
}


void
ngx_http_gsgi_set_timers(ngx_http_gsgi_worker_t *w)
{
    ngx_queue_t          *q;
    ngx_http_gsgi_ctx_t  *ctx;

    while (!ngx_queue_empty(&w->young)) {

        q = ngx_queue_head(&w->young);
        ctx = ngx_queue_data(q, ngx_http_gsgi_ctx_t, queue);

        if (ngx_current_msec - ctx->submitted < NGX_HTTP_GSGI_WATCH) {
            return;
        }

        ngx_http_gsgi_grow_up(ctx);
        ngx_http_gsgi_set_timer(ctx);
    }
}


/* the time until the next limit, in milliseconds */

static ngx_msec_int_t
ngx_http_gsgi_left(ngx_http_gsgi_ctx_t *ctx)
{
    ngx_msec_t                 now, limit;
    ngx_msec_int_t             left, rest;
    ngx_http_gsgi_worker_t    *w;
    ngx_http_gsgi_loc_conf_t  *glcf;

    w = ctx->worker;
    glcf = ctx->conf;
    now = ngx_current_msec;
    left = NGX_HTTP_GSGI_HOLD;

    if (ctx->queued) {
        limit = w->ready ? w->queue_timeout : w->start_timeout;
        left = (ngx_msec_int_t) (ctx->submitted + limit - now);

    } else if (ctx->slot && !ctx->header_sent) {
        limit = glcf->timeout + ctx->body_waited;

        if (ngx_http_gsgi_body_waits(ctx)) {
            limit += now - ctx->body_time;
        }

        left = (ngx_msec_int_t) (ctx->submitted + limit - now);
    }

    if (glcf->request_timeout) {
        rest = (ngx_msec_int_t) (ctx->start + glcf->request_timeout - now);
        left = ngx_min(left, rest);
    }

    return left;
}


static void
ngx_http_gsgi_timer_handler(ngx_event_t *ev)
{
    ngx_msec_t                 now, waited;
    ngx_connection_t          *c;
    ngx_http_request_t        *r;
    ngx_http_gsgi_ctx_t       *ctx;
    ngx_http_gsgi_worker_t    *w;
    ngx_http_gsgi_loc_conf_t  *glcf;

    ctx = ev->data;
    r = ctx->request;
    c = r->connection;
    w = ctx->worker;
    glcf = ctx->conf;
    now = ngx_current_msec;

    ngx_http_set_log_request(c->log, r);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "http gsgi timer: \"%V?%V\"", &r->uri, &r->args);

    waited = ctx->body_waited;

    if (ngx_http_gsgi_body_waits(ctx)) {
        waited += now - ctx->body_time;
    }

    if (ctx->draining_body) {
        ngx_http_gsgi_finish(r, ctx, NGX_OK);

    } else if (glcf->request_timeout
               && now - ctx->start >= glcf->request_timeout)
    {
        ngx_http_gsgi_timeout(r, ctx, "gsgi_request_timeout",
                              glcf->request_timeout);

    } else if (ctx->queued
               && now - ctx->submitted >= (w->ready ? w->queue_timeout
                                                    : w->start_timeout))
    {
        ngx_http_gsgi_end(ctx, 0);
        ngx_http_gsgi_finalize(r, ctx,
            ngx_http_gsgi_reject(r, w, w->ready
                     ? "timeout of gsgi_concurrency has passed in the queue"
                     : "gsgi_start_timeout has passed before the start"));

    } else if (ctx->slot && !ctx->header_sent
               && now - ctx->submitted >= glcf->timeout + waited)
    {
        ngx_http_gsgi_timeout(r, ctx, "gsgi_timeout", glcf->timeout);

    } else {
        ngx_http_gsgi_set_timer(ctx);
    }

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_gsgi_timeout(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    const char *limit, ngx_msec_t msec)
{
    ngx_log_error(NGX_LOG_WARN, r->connection->log, 0,
                  "gsgi \"%V\": %s of %M ms has passed%s",
                  &ctx->conf->pass->name, limit, msec,
                  ctx->header_sent ? ", the response is cut" : "");

    ngx_http_gsgi_outcome(ctx, timeouts);

    if (!ctx->header_sent) {
        ctx->status = NGX_HTTP_GATEWAY_TIME_OUT;
    }

    ngx_http_gsgi_end(ctx, GSGI_HOST_TIMEOUT);
    ngx_http_gsgi_finalize(r, ctx, NGX_HTTP_GATEWAY_TIME_OUT);
}


ngx_int_t
ngx_http_gsgi_submit(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    ngx_int_t                rc;
    gsgi_slot_t             *slot;
    ngx_connection_t        *c;
    ngx_http_gsgi_worker_t  *w;

    c = r->connection;
    w = ctx->worker;

    slot = gsgi_slot_get(w->bridge);
    if (slot == NULL) {
        return NGX_AGAIN;
    }

    rc = ngx_http_gsgi_pack(r, ctx, slot);

    if (rc != NGX_OK) {
        gsgi_slot_put(w->bridge, slot);
        return rc;
    }

    slot->host_data = (uint64_t) (uintptr_t) ctx;
    ctx->slot = slot;
    w->nactive++;
    ctx->submitted = ngx_current_msec;

    c->log->action = "waiting for application";

    ngx_http_gsgi_figure(w, last_request, slot->id);

    if (w->running_requests) {
        ngx_http_gsgi_running_begin(w->running_requests, r,
                                    gsgi_slot_index(w->bridge, slot));
    }

    ngx_http_gsgi_begin_timer(ctx);

    ngx_http_gsgi_post(w);

    if (w->submitted) {
        slot->submitted_ns = w->turn_ns;
    }

    gsgi_slot_submit(w->bridge, slot);

    if (w->submitted++ == 0) {
        w->turn_ns = slot->submitted_ns;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_pack(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    gsgi_slot_t *slot)
{
    int                        fd, rc;
    ngx_uint_t                 body, stream, authenticated;
    gsgi_pack_t                p;
    ngx_http_gsgi_worker_t    *w;
    ngx_http_gsgi_loc_conf_t  *glcf;

    w = ctx->worker;
    glcf = ctx->conf;
    fd = -1;

    slot->flags = ngx_http_gsgi_flags(r);
    slot->entry = (uint32_t) glcf->pass->index;
    slot->id = r->connection->number;
    slot->credit = (uint32_t) glcf->buffer;
    slot->protocol = (uint32_t) r->http_version;

    body = ngx_http_gsgi_has_body(r);
    stream = body && r->request_body == NULL;

    gsgi_pack_init(&p, w->bridge, slot);

    ngx_http_gsgi_pack_request(r, ctx, &p);
    ngx_http_gsgi_pack_server(r, &p);
    ngx_http_gsgi_pack_client(r, &p);
    ngx_http_gsgi_pack_request_id(r, &p);

    authenticated = ngx_http_gsgi_authenticated(r);

    if (authenticated) {
        gsgi_pack_meta(&p, GSGI_META_REMOTE_USER, r->headers_in.user.data,
                       r->headers_in.user.len);
        gsgi_pack_meta(&p, GSGI_META_AUTH_TYPE, "Basic", 5);
    }

#if (NGX_HTTP_SSL)

    if (r->connection->ssl) {
        ngx_http_gsgi_pack_tls(r, &p);
    }

#endif

    ngx_http_gsgi_pack_headers(r, &p, body, authenticated);

    if (ngx_http_gsgi_pack_params(r, ctx, &p) != NGX_OK) {
        return NGX_ERROR;
    }

    if (stream) {
        slot->body_kind = GSGI_BODY_STREAM;
        slot->content_length = r->headers_in.chunked
                               ? -1 : r->headers_in.content_length_n;

    } else if (body) {
        if (ngx_http_gsgi_pack_body(r, &p, &fd) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    rc = gsgi_pack_done(&p);

    if (rc == GSGI_OK) {
        return NGX_OK;
    }

    if (fd != -1) {
        slot->body_fd = -1;
        (void) close(fd);
    }

    if (rc == GSGI_NOMEM) {
        return NGX_AGAIN;
    }

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "gsgi \"%V\": the request cannot be packed",
                  &glcf->pass->name);

    return NGX_ERROR;
}


static uint32_t
ngx_http_gsgi_flags(ngx_http_request_t *r)
{
    uint32_t           flags;
    ngx_connection_t  *c;

    c = r->connection;
    flags = 0;

    if (r->method == NGX_HTTP_HEAD) {
        flags |= GSGI_REQ_HEAD;
    }

#if (NGX_HTTP_SSL)

    if (c->ssl) {
        flags |= GSGI_REQ_TLS;
    }

#endif

    if (c->sendfile) {
        flags |= GSGI_REQ_SENDFILE;
    }

    if (r->keepalive) {
        flags |= GSGI_REQ_KEEPALIVE;
    }

    if (r != r->main) {
        return flags;
    }

    if (r->headers_in.transfer_encoding) {
        flags |= GSGI_REQ_CHUNKED;
    }

    if (r->http_version >= NGX_HTTP_VERSION_11) {
        flags |= GSGI_REQ_TRAILERS;
    }

    if (r->http_version == NGX_HTTP_VERSION_10
        || r->http_version == NGX_HTTP_VERSION_11)
    {
        flags |= GSGI_REQ_UPGRADE;
    }

    if (r->http_version == NGX_HTTP_VERSION_11
        && r->headers_in.expect && !r->expect_tested)
    {
        flags |= GSGI_REQ_EXPECT;
    }

    return flags;
}


static void
ngx_http_gsgi_pack_request(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    gsgi_pack_t *p)
{
    ngx_str_t  *mount;

    gsgi_pack_meta(p, GSGI_META_METHOD, r->method_name.data,
                   r->method_name.len);
    ngx_http_gsgi_pack_uri(r, p);
    gsgi_pack_meta(p, GSGI_META_PATH, r->uri.data, r->uri.len);

    mount = &ctx->conf->script_name;

    if (mount->len && r->uri.len >= mount->len
        && ngx_strncmp(r->uri.data, mount->data, mount->len) == 0
        && (r->uri.len == mount->len || r->uri.data[mount->len] == '/'))
    {
        gsgi_pack_meta(p, GSGI_META_SCRIPT_NAME, mount->data, mount->len);
    }

    if (r->args.len) {
        gsgi_pack_meta(p, GSGI_META_QUERY, r->args.data, r->args.len);
    }

    if (r->http_protocol.len) {
        gsgi_pack_meta(p, GSGI_META_PROTOCOL, r->http_protocol.data,
                       r->http_protocol.len);

    } else {
        gsgi_pack_meta(p, GSGI_META_PROTOCOL, "HTTP/0.9", 8);
    }
}


/* the request target as received: the core keeps only the path of a URL */

static void
ngx_http_gsgi_pack_uri(ngx_http_request_t *r, gsgi_pack_t *p)
{
    u_char  *start, *last;

    if (r != r->main || r->schema_start == NULL
        || r->http_version >= NGX_HTTP_VERSION_20
        || r->request_line.len <= r->method_name.len)
    {
        gsgi_pack_meta(p, GSGI_META_URI, r->unparsed_uri.data,
                       r->unparsed_uri.len);
        return;
    }

    start = r->schema_start;
    last = r->request_line.data + r->request_line.len;

    while (last > start && *--last != ' ') { /* void */ }

    while (last > start && last[-1] == ' ') {
        last--;
    }

    gsgi_pack_meta(p, GSGI_META_URI, start, last - start);
}


/* The address of this end, without the port. */

static void
ngx_http_gsgi_local_addr(ngx_connection_t *c, ngx_str_t *addr)
{
    char                *first;
    u_char              *byte;
    ngx_uint_t           i;
    struct sockaddr_in  *sin;

    if (ngx_connection_local_sockaddr(c, NULL, 0) != NGX_OK) {
        addr->len = 0;
        return;
    }

    if (c->local_sockaddr->sa_family != AF_INET) {
        addr->len = ngx_sock_ntop(c->local_sockaddr, c->local_socklen,
                                  addr->data, NGX_SOCKADDR_STRLEN, 0);
        return;
    }

    sin = (struct sockaddr_in *) c->local_sockaddr;
    byte = (u_char *) &sin->sin_addr;
    first = (char *) addr->data + NGX_SOCKADDR_STRLEN;

    for (i = 4; i > 0; i--) {
        first = gsgi_digits(byte[i - 1], first);
        *--first = '.';
    }

    addr->len = addr->data + NGX_SOCKADDR_STRLEN - (u_char *) first - 1;
    addr->data = (u_char *) first + 1;
}


static void
ngx_http_gsgi_pack_server(ngx_http_request_t *r, gsgi_pack_t *p)
{
    ngx_str_t                  addr, root, *name;
    ngx_connection_t          *c;
    ngx_http_core_srv_conf_t  *cscf;
    ngx_http_core_loc_conf_t  *clcf;
    u_char                     text[NGX_SOCKADDR_STRLEN];

    c = r->connection;

#if (NGX_HTTP_SSL)

    if (c->ssl) {
        gsgi_pack_meta(p, GSGI_META_SCHEME, "https", 5);

    } else
#endif
    {
        gsgi_pack_meta(p, GSGI_META_SCHEME, "http", 4);
    }

    addr.data = text;
    ngx_http_gsgi_local_addr(c, &addr);

    cscf = ngx_http_get_module_srv_conf(r, ngx_http_core_module);

    name = &cscf->server_name;

    /* patterns and the customary "_" name nothing */

    if (name->len == 0 || ngx_strchr("~*._", name->data[0])) {
        name = r->headers_in.server.len ? &r->headers_in.server : &addr;
    }

    gsgi_pack_meta(p, GSGI_META_SERVER_NAME, name->data, name->len);
    gsgi_pack_meta(p, GSGI_META_SERVER_ADDR, addr.data, addr.len);

    gsgi_pack_number(p, GSGI_META_SERVER_PORT,
                     ngx_inet_get_port(c->local_sockaddr));

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    root = clcf->root;

    if (clcf->root_lengths
        && ngx_http_script_run(r, &root, clcf->root_lengths->elts, 0,
                               clcf->root_values->elts)
           == NULL)
    {
        return;
    }

    gsgi_pack_meta(p, GSGI_META_DOCUMENT_ROOT, root.data, root.len);
}


static void
ngx_http_gsgi_pack_client(ngx_http_request_t *r, gsgi_pack_t *p)
{
    ngx_uint_t         port;
    ngx_connection_t  *c;

    c = r->connection;

    gsgi_pack_meta(p, GSGI_META_REMOTE_ADDR, c->addr_text.data,
                   c->addr_text.len);

    port = ngx_inet_get_port(c->sockaddr);

    if (port > 0 && port < 65536) {
        gsgi_pack_number(p, GSGI_META_REMOTE_PORT, port);
    }
}


static void
ngx_http_gsgi_pack_request_id(ngx_http_request_t *r, gsgi_pack_t *p)
{
    ngx_connection_t           *c;
    ngx_http_variable_value_t  *v;
    ngx_http_gsgi_main_conf_t  *gmcf;
    char                       *first, *last, text[3 * (GSGI_DIGITS + 1)];

    gmcf = ngx_http_get_module_main_conf(r, ngx_http_gsgi_module);

    /* $request_id has a price, it is used where the configuration has it */

    if (gmcf->request_id != NGX_ERROR) {
        v = ngx_http_get_indexed_variable(r, gmcf->request_id);

        if (v && !v->not_found) {
            gsgi_pack_meta(p, GSGI_META_REQUEST_ID, v->data, v->len);
            return;
        }
    }

    c = r->connection;

    last = text + sizeof(text);

    first = gsgi_digits(c->requests, last);
    *--first = '-';
    first = gsgi_digits(c->number, first);
    *--first = '-';
    first = gsgi_digits((uint64_t) ngx_pid, first);

    gsgi_pack_meta(p, GSGI_META_REQUEST_ID, first, last - first);
}


static ngx_uint_t
ngx_http_gsgi_authenticated(ngx_http_request_t *r)
{
    void                        *conf;
    ngx_str_t                    realm;
    ngx_http_complex_value_t   **value;
    ngx_http_gsgi_main_conf_t   *gmcf;

    if (r->headers_in.user.len == 0) {
        return 0;
    }

    gmcf = ngx_http_get_module_main_conf(r, ngx_http_gsgi_module);

    if (gmcf->auth_basic == NULL) {
        return 0;
    }

    /* $remote_user alone proves nothing: the location must have asked */

    conf = r->main->loc_conf[gmcf->auth_basic->ctx_index];
    value = (ngx_http_complex_value_t **)
                                     ((char *) conf + gmcf->auth_basic_realm);

    if (*value == NULL || ngx_http_complex_value(r, *value, &realm) != NGX_OK) {
        return 0;
    }

    return !(realm.len == 3 && ngx_strncmp(realm.data, "off", 3) == 0);
}


static void
ngx_http_gsgi_pack_headers(ngx_http_request_t *r, gsgi_pack_t *p,
    ngx_uint_t body, ngx_uint_t authenticated)
{
    ngx_str_t         value;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].hash == 0
            || (authenticated && &h[i] == r->headers_in.authorization))
        {
            continue;
        }

        /* the body went to somebody else */

        if (!body
            && ((&h[i] == r->headers_in.content_length
                 && r->headers_in.content_length_n != 0)
                || &h[i] == r->headers_in.transfer_encoding
                || &h[i] == r->headers_in.expect))
        {
            continue;
        }

        value = h[i].value;

        /* the core trims spaces but not tabs */

        while (value.len
               && (value.data[0] == ' ' || value.data[0] == '\t'))
        {
            value.data++;
            value.len--;
        }

        while (value.len
               && (value.data[value.len - 1] == ' '
                   || value.data[value.len - 1] == '\t'))
        {
            value.len--;
        }

        gsgi_pack_header(p, h[i].key.data, h[i].key.len, value.data,
                         value.len);
    }
}


static ngx_int_t
ngx_http_gsgi_pack_params(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    gsgi_pack_t *p)
{
    ngx_str_t               value;
    ngx_uint_t              i;
    ngx_http_gsgi_param_t  *param;

    if (ctx->conf->params == NULL) {
        return NGX_OK;
    }

    param = ctx->conf->params->elts;

    for (i = 0; i < ctx->conf->params->nelts; i++) {

        if (ngx_http_complex_value(r, &param[i].value, &value) != NGX_OK) {
            return NGX_ERROR;
        }

        if (value.len == 0 && param[i].skip_empty) {
            continue;
        }

        gsgi_pack_param(p, param[i].key.data, param[i].key.len, value.data,
                        value.len);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_pack_body(ngx_http_request_t *r, gsgi_pack_t *p, int *fd)
{
    off_t         total;
    ngx_buf_t    *b;
    ngx_uint_t    file;
    ngx_chain_t  *cl;

    total = 0;
    file = 0;

    for (cl = r->request_body->bufs; cl; cl = cl->next) {
        total += ngx_buf_size(cl->buf);
        file |= !ngx_buf_in_memory(cl->buf) && cl->buf->in_file;
    }

    p->slot->content_length = total;

    if (total == 0) {
        return NGX_OK;
    }

    if (!file) {

        for (cl = r->request_body->bufs; cl; cl = cl->next) {
            b = cl->buf;

            if (ngx_buf_in_memory(b)) {
                gsgi_pack_body(p, b->pos, b->last - b->pos, (size_t) total);
            }
        }

        return NGX_OK;
    }

    b = r->request_body->bufs->buf;

    if (ngx_buf_size(b) != total || b->file_pos != 0) {
        ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0,
                      "request body is neither in memory nor in one file");
        return NGX_ERROR;
    }

    *fd = fcntl(b->file->fd, F_DUPFD_CLOEXEC, 3);

    if (*fd == -1) {
        ngx_log_error(NGX_LOG_ALERT, r->connection->log, ngx_errno,
                      "fcntl(F_DUPFD_CLOEXEC) failed");
        return NGX_ERROR;
    }

    p->slot->body_kind = GSGI_BODY_FILE;
    p->slot->body_fd = *fd;

    return NGX_OK;
}


#if (NGX_HTTP_SSL)

static void
ngx_http_gsgi_pack_tls(ngx_http_request_t *r, gsgi_pack_t *p)
{
    const char        *name;
    ngx_ssl_conn_t    *ssl;
    const SSL_CIPHER  *cipher;

    ssl = r->connection->ssl->connection;

    gsgi_pack_number(p, GSGI_META_TLS_VERSION, (uint64_t) SSL_version(ssl));

    cipher = SSL_get_current_cipher(ssl);

    if (cipher) {
        gsgi_pack_number(p, GSGI_META_TLS_CIPHER,
                         SSL_CIPHER_get_id(cipher) & 0xffff);
    }

    name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

    if (name) {
        gsgi_pack_meta(p, GSGI_META_TLS_SNI, name, ngx_strlen(name));
    }

#ifdef TLSEXT_TYPE_application_layer_protocol_negotiation
    {
    unsigned int          len;
    const unsigned char  *alpn;

    SSL_get0_alpn_selected(ssl, &alpn, &len);

    if (len) {
        gsgi_pack_meta(p, GSGI_META_TLS_ALPN, alpn, len);
    }
    }
#endif

    if (SSL_session_reused(ssl)) {
        gsgi_pack_meta(p, GSGI_META_TLS_RESUMED, "1", 1);
    }

    ngx_http_gsgi_pack_certificate(r, p);
}


static void
ngx_http_gsgi_pack_certificate(ngx_http_request_t *r, gsgi_pack_t *p)
{
    int              i;
    BIO             *bio;
    long             len;
    X509            *cert;
    char            *data;
    STACK_OF(X509)  *chain;
    ngx_ssl_conn_t  *ssl;

    ssl = r->connection->ssl->connection;

    if (SSL_get_verify_result(ssl) != X509_V_OK) {
        return;
    }

    cert = SSL_get_peer_certificate(ssl);
    if (cert == NULL) {
        return;
    }

    bio = BIO_new(BIO_s_mem());

    if (bio == NULL || PEM_write_bio_X509(bio, cert) == 0) {
        ngx_ssl_error(NGX_LOG_ALERT, r->connection->log, 0,
                      "PEM_write_bio_X509() failed");
        goto done;
    }

    chain = SSL_get_peer_cert_chain(ssl);

    for (i = 0; chain && i < sk_X509_num(chain); i++) {

        if (X509_cmp(sk_X509_value(chain, i), cert) != 0
            && PEM_write_bio_X509(bio, sk_X509_value(chain, i)) == 0)
        {
            ngx_ssl_error(NGX_LOG_ALERT, r->connection->log, 0,
                          "PEM_write_bio_X509() failed");
            goto done;
        }
    }

    len = BIO_get_mem_data(bio, &data);
    gsgi_pack_meta(p, GSGI_META_TLS_CLIENT_CERT, data, len);

done:

    BIO_free(bio);
    X509_free(cert);
}

#endif
