
/*
 * Copyright (C) The GSGI Authors
 */


#include <ngx_http_gsgi_module.h>

#include <poll.h>


/*
 * A connection that the application has taken over: bytes go both ways as
 * they are, past the filters.
 */

#define NGX_HTTP_GSGI_UPGRADE_SIZE   16384
#define NGX_HTTP_GSGI_UPGRADE_ROUND  262144


static ngx_int_t ngx_http_gsgi_upgrade_begin(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);
static void ngx_http_gsgi_upgrade_status(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);
static ngx_int_t ngx_http_gsgi_upgrade_send(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);
static ngx_int_t ngx_http_gsgi_upgrade_write(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);
static void ngx_http_gsgi_upgrade_shutdown(ngx_connection_t *c);
static ngx_int_t ngx_http_gsgi_upgrade_put(ngx_http_gsgi_ctx_t *ctx,
    u_char *p, size_t n);
static ngx_int_t ngx_http_gsgi_upgrade_kept(ngx_http_gsgi_ctx_t *ctx,
    size_t room);
static ngx_int_t ngx_http_gsgi_upgrade_recv(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, size_t room);
static ngx_int_t ngx_http_gsgi_upgrade_broken(ngx_http_gsgi_ctx_t *ctx,
    ngx_connection_t *c);
static void ngx_http_gsgi_upgrade_reader(ngx_http_request_t *r);
static void ngx_http_gsgi_upgrade_writer(ngx_http_request_t *r);
static void ngx_http_gsgi_upgrade_abort(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);
static void ngx_http_gsgi_upgrade_close(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);


void
ngx_http_gsgi_upgrade_events(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    uint32_t events)
{
    if (!ctx->upgraded
        && ngx_http_gsgi_upgrade_begin(r, ctx) != NGX_OK)
    {
        ngx_http_gsgi_upgrade_abort(r, ctx);
        return;
    }

    if (events & (GSGI_CQ_END|GSGI_CQ_RELEASE)) {
        ctx->whole = 1;
    }

    if (events & GSGI_CQ_RELEASE) {
        ctx->ended = 1;
        ctx->finished = ngx_current_msec;
    }

    if (ngx_http_gsgi_take_chunks(r, ctx) != NGX_OK) {
        ngx_http_gsgi_upgrade_abort(r, ctx);
        return;
    }

    if (ctx->status == 0) {
        ngx_http_gsgi_upgrade_status(r, ctx);
    }

    if (ngx_http_gsgi_upgrade_send(r, ctx) != NGX_OK) {
        return;
    }

    if (events & (GSGI_CQ_UPGRADE|GSGI_CQ_CREDIT)) {
        ngx_http_gsgi_upgrade_read(r, ctx);
    }
}


static ngx_int_t
ngx_http_gsgi_upgrade_begin(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    ngx_connection_t          *c;
    ngx_http_core_loc_conf_t  *clcf;

    c = r->connection;

    ctx->in_published = gsgi_slot_upgraded(ctx->worker->bridge, ctx->slot);

    ctx->upgraded = 1;
    ctx->header_sent = 1;
    ctx->buffering = 0;
    ctx->body_begun = 1;
    ctx->body_done = 0;
    ctx->queue_us = ctx->slot->queue_us;

    if (r->header_in->pos < r->header_in->last) {
        ctx->kept = r->header_in;
    }

    r->keepalive = 0;
    r->headers_out.status = NGX_HTTP_SWITCHING_PROTOCOLS;

    r->read_event_handler = ngx_http_gsgi_upgrade_reader;
    r->write_event_handler = ngx_http_gsgi_upgrade_writer;

    c->log->action = "serving upgraded connection";

    /* the application has its own time limits */

    if (c->read->timer_set) {
        ngx_del_timer(c->read);
    }

    ngx_http_gsgi_set_timer(ctx);

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (clcf->tcp_nodelay && ngx_tcp_nodelay(c) != NGX_OK) {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* for the log, as far as the first bytes tell */

static void
ngx_http_gsgi_upgrade_status(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    uint32_t    status;
    ngx_buf_t  *b;

    if (ctx->out == NULL) {
        return;
    }

    b = ctx->out->buf;

    status = gsgi_head_status(b->pos, b->last - b->pos);

    ctx->status = status ? status : NGX_HTTP_SWITCHING_PROTOCOLS;

    r->headers_out.status = ctx->status;
}


/* NGX_OK, or NGX_DONE: the request has been finalized */

static ngx_int_t
ngx_http_gsgi_upgrade_send(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    ngx_event_t               *wev;
    ngx_connection_t          *c;
    ngx_http_core_loc_conf_t  *clcf;

    c = r->connection;
    wev = c->write;

    if (ngx_http_gsgi_upgrade_write(r, ctx) != NGX_OK) {
        ngx_http_gsgi_upgrade_abort(r, ctx);
        return NGX_DONE;
    }

    if (ngx_handle_write_event(wev, 0) != NGX_OK) {
        ngx_http_gsgi_upgrade_abort(r, ctx);
        return NGX_DONE;
    }

    if (ctx->out == NULL && !c->buffered) {

        if (ctx->ended) {
            ngx_http_gsgi_upgrade_close(r, ctx);
            return NGX_DONE;
        }

        if (ctx->whole && !ctx->last_sent) {
            ctx->last_sent = 1;
            ngx_http_gsgi_upgrade_shutdown(c);
        }

        if (wev->timer_set) {
            ngx_del_timer(wev);
        }

    } else if (wev->active && !wev->ready) {
        clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
        ngx_add_timer(wev, clcf->send_timeout);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_upgrade_write(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    ngx_chain_t       *cl, *rest;
    ngx_connection_t  *c;

    c = r->connection;

    if (ctx->out == NULL && !c->buffered) {
        return NGX_OK;
    }

    /* TLS would keep back what is small */

    for (cl = ctx->out; cl; cl = cl->next) {
        cl->buf->flush = 1;
    }

    rest = c->send_chain(c, ctx->out, 0);

    if (rest == NGX_CHAIN_ERROR) {
        c->error = 1;
        return NGX_ERROR;
    }

    while (ctx->out != rest) {
        cl = ctx->out;
        ctx->out = cl->next;

        ngx_http_gsgi_put_buf(ctx, cl);
    }

    if (ctx->out == NULL) {
        ctx->last_out = &ctx->out;
    }

    return NGX_OK;
}


/* the client sees the end of what it is sent, and may go on sending */

static void
ngx_http_gsgi_upgrade_shutdown(ngx_connection_t *c)
{
#if (NGX_HTTP_SSL)

    if (c->ssl) {
        (void) SSL_shutdown(c->ssl->connection);
        ERR_clear_error();
        return;
    }

#endif

    if (ngx_shutdown_socket(c->fd, NGX_WRITE_SHUTDOWN) == -1) {
        ngx_connection_error(c, ngx_socket_errno,
                             ngx_shutdown_socket_n " failed");
    }
}


void
ngx_http_gsgi_upgrade_read(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    size_t             room;
    ngx_int_t          rc;
    uint64_t           before;
    ngx_connection_t  *c;

    c = r->connection;
    before = ctx->in_published;
    rc = NGX_OK;

    while (rc == NGX_OK && !ctx->body_done && !ctx->ended) {

        room = gsgi_in_room(ctx->worker->bridge, ctx->slot,
                            ctx->in_published);

        if (room == 0) {
            break;
        }

        if (ctx->in_published - before > NGX_HTTP_GSGI_UPGRADE_ROUND) {
            ngx_post_event(c->read, &ngx_posted_next_events);
            break;
        }

        rc = ctx->kept ? ngx_http_gsgi_upgrade_kept(ctx, room)
                       : ngx_http_gsgi_upgrade_recv(r, ctx, room);
    }

    if (rc != NGX_ERROR && (c->read->pending_eof || ctx->body_done)) {
        rc = ngx_http_gsgi_upgrade_broken(ctx, c);
    }

    if (rc == NGX_ERROR || ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_http_gsgi_upgrade_abort(r, ctx);
        return;
    }

    if (!ctx->ended && (ctx->in_published != before || ctx->body_done)) {
        gsgi_in_notify(ctx->worker->bridge, ctx->slot);
    }
}


/* NGX_OK, or NGX_AGAIN: there is no chunk now, the bytes are kept */

static ngx_int_t
ngx_http_gsgi_upgrade_put(ngx_http_gsgi_ctx_t *ctx, u_char *p, size_t n)
{
    ngx_http_gsgi_worker_t  *w;

    w = ctx->worker;

    if (gsgi_in_put(w->bridge, ctx->slot, p, n) != GSGI_OK) {
        ngx_http_gsgi_body_starve(ctx);
        return NGX_AGAIN;
    }

    ctx->in_published += n;

    ngx_http_gsgi_count(w, bytes_received, n);

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_upgrade_kept(ngx_http_gsgi_ctx_t *ctx, size_t room)
{
    size_t      n;
    ngx_buf_t  *b;

    b = ctx->kept;
    n = ngx_min(room, (size_t) (b->last - b->pos));

    if (ngx_http_gsgi_upgrade_put(ctx, b->pos, n) != NGX_OK) {
        return NGX_AGAIN;
    }

    b->pos += n;

    if (b->pos == b->last) {
        ctx->kept = NULL;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_upgrade_recv(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    size_t room)
{
    ssize_t            n;
    ngx_connection_t  *c;
    u_char             buf[NGX_HTTP_GSGI_UPGRADE_SIZE];

    c = r->connection;

    n = c->recv(c, buf, ngx_min(room, sizeof(buf)));

    if (n == NGX_AGAIN || n == NGX_ERROR) {
        return n;
    }

    if (n == 0) {

        /* of TLS, also when the connection was reset */

        if (ngx_http_gsgi_upgrade_broken(ctx, c) != NGX_OK) {
            return NGX_ERROR;
        }

        ctx->body_done = 1;
        gsgi_in_state(ctx->slot, GSGI_IN_END);
        return NGX_OK;
    }

    if (ngx_http_gsgi_upgrade_put(ctx, buf, n) == NGX_OK) {
        return NGX_OK;
    }

    if (ctx->spare == NULL) {
        ctx->spare = ngx_create_temp_buf(r->pool, sizeof(buf));
        if (ctx->spare == NULL) {
            return NGX_ERROR;
        }
    }

    ctx->kept = ctx->spare;
    ctx->kept->pos = ctx->kept->start;
    ctx->kept->last = ngx_cpymem(ctx->kept->start, buf, n);

    return NGX_AGAIN;
}


/* a client that has only ended what it sends is not gone */

static ngx_int_t
ngx_http_gsgi_upgrade_broken(ngx_http_gsgi_ctx_t *ctx, ngx_connection_t *c)
{
    struct pollfd  pfd;

    pfd.fd = c->fd;
    pfd.events = 0;
    pfd.revents = 0;

    if (ctx->last_sent || poll(&pfd, 1, 0) <= 0) {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_INFO, c->log, 0,
                  "client broke off upgraded connection");
    c->error = 1;

    return NGX_ERROR;
}


static void
ngx_http_gsgi_upgrade_reader(ngx_http_request_t *r)
{
    ngx_http_gsgi_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_gsgi_module);

    ngx_http_gsgi_upgrade_read(r, ctx);
}


static void
ngx_http_gsgi_upgrade_writer(ngx_http_request_t *r)
{
    ngx_connection_t     *c;
    ngx_http_gsgi_ctx_t  *ctx;

    c = r->connection;
    ctx = ngx_http_get_module_ctx(r, ngx_http_gsgi_module);

    if (c->write->timedout) {
        ngx_log_error(NGX_LOG_INFO, c->log, NGX_ETIMEDOUT,
                      "client timed out");
        c->timedout = 1;

        ngx_http_gsgi_upgrade_abort(r, ctx);
        return;
    }

    (void) ngx_http_gsgi_upgrade_send(r, ctx);
}


static void
ngx_http_gsgi_upgrade_abort(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    if (ctx->slot && !ctx->ended) {
        gsgi_in_state(ctx->slot, GSGI_IN_BROKEN);
    }

    ngx_http_gsgi_outcome(ctx, aborted);
    ngx_http_gsgi_end(ctx, GSGI_HOST_ABORT);

    ngx_http_finalize_request(r, NGX_ERROR);
}


/* all is sent, also what the application has said last */

static void
ngx_http_gsgi_upgrade_close(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    ngx_http_gsgi_outcome(ctx, answered);

    /* the client may be a while, the slot is for others */

    ngx_http_gsgi_release(ctx);

    if (!ctx->body_done) {
        r->lingering_close = 1;
    }

    ngx_http_finalize_request(r, NGX_OK);
}
