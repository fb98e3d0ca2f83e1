
/*
 * Copyright (C) The GSGI Authors
 */


#include <ngx_http_gsgi_module.h>


/*
 * Informational responses, 103 above all, which NGINX has no function for.
 * HTTP/1.1 gets one through the last filter, before the head; HTTP/2 as a
 * HEADERS frame whose fields are all literals, so that the encoder's table
 * stays as it is.
 */

#define NGX_HTTP_GSGI_INTERIM_SIZE    (GSGI_CHUNK_BYTES + 512)

#define NGX_HTTP_GSGI_V2_STATUS       0x08    /* its name in the static table */
#define NGX_HTTP_GSGI_V2_LITERAL      0x00
#define NGX_HTTP_GSGI_V2_HEADERS      0x1
#define NGX_HTTP_GSGI_V2_END_HEADERS  0x4


static void ngx_http_gsgi_send_interim(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, uint32_t chunk);
static ngx_buf_t *ngx_http_gsgi_interim_text(ngx_http_request_t *r,
    gsgi_head_iter_t *it);
#if (NGX_HTTP_V2)
static void ngx_http_gsgi_interim_v2(ngx_http_request_t *r,
    gsgi_head_iter_t *it);
static u_char *ngx_http_gsgi_interim_v2_fields(u_char *p, u_char *end,
    gsgi_head_iter_t *it);
static u_char *ngx_http_gsgi_interim_v2_length(u_char *p, size_t n);
static ngx_uint_t ngx_http_gsgi_interim_v2_allowed(gsgi_str_t *name);
static ngx_int_t ngx_http_gsgi_interim_v2_sent(
    ngx_http_v2_connection_t *h2c, ngx_http_v2_out_frame_t *frame);
#endif


void
ngx_http_gsgi_send_interims(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    uint32_t        next, index;
    gsgi_bridge_t  *b;

    b = ctx->worker->bridge;

    for (next = gsgi_out_interim(b, ctx->slot); next; /* void */) {

        index = next - 1;
        next = gsgi_chunk_head(b, index)->next;

        ngx_http_gsgi_send_interim(r, ctx, index);

        gsgi_chunk_put(b, index);
    }
}


/* what goes wrong here shows again with the head */

static void
ngx_http_gsgi_send_interim(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    uint32_t chunk)
{
    ngx_buf_t         *b;
    ngx_chain_t        out;
    gsgi_head_iter_t   it;

    if (r != r->main || r->connection->error
        || gsgi_head_chunk(&it, ctx->worker->bridge, chunk) != GSGI_OK
        || it.head->status >= NGX_HTTP_OK
        || it.head->status == NGX_HTTP_SWITCHING_PROTOCOLS)
    {
        return;
    }

#if (NGX_HTTP_V2)

    if (r->stream) {
        ngx_http_gsgi_interim_v2(r, &it);
        return;
    }

#endif

    if (r->http_version != NGX_HTTP_VERSION_11) {
        return;
    }

    b = ngx_http_gsgi_interim_text(r, &it);
    if (b == NULL) {
        return;
    }

    b->flush = 1;

    out.buf = b;
    out.next = NULL;

    (void) ngx_http_write_filter(r, &out);
}


static ngx_buf_t *
ngx_http_gsgi_interim_text(ngx_http_request_t *r, gsgi_head_iter_t *it)
{
    ngx_buf_t         *b;
    gsgi_str_t         n, v;
    const char        *text;
    gsgi_head_iter_t   rest;
    size_t             len;

    len = sizeof("HTTP/1.1 103 Early Hints" CRLF CRLF) + NGX_INT_T_LEN;

    for (rest = *it; gsgi_head_next(&rest, &n, &v) == GSGI_OK; /* void */) {
        len += n.len + sizeof(": ") - 1 + v.len + sizeof(CRLF) - 1;
    }

    b = ngx_create_temp_buf(r->pool, len);
    if (b == NULL) {
        return NULL;
    }

    text = (it->head->status == 102) ? "Processing"
           : (it->head->status == 103) ? "Early Hints" : "";

    b->last = ngx_sprintf(b->last, "HTTP/1.1 %ui %s" CRLF,
                          (ngx_uint_t) it->head->status, text);

    while (gsgi_head_next(it, &n, &v) == GSGI_OK) {
        b->last = ngx_cpymem(b->last, n.data, n.len);
        *b->last++ = ':'; *b->last++ = ' ';
        b->last = ngx_cpymem(b->last, v.data, v.len);
        *b->last++ = CR; *b->last++ = LF;
    }

    *b->last++ = CR; *b->last++ = LF;

    return b;
}


#if (NGX_HTTP_V2)

static void
ngx_http_gsgi_interim_v2(ngx_http_request_t *r, gsgi_head_iter_t *it)
{
    u_char                    *p, *end;
    uint32_t                   id;
    ngx_buf_t                 *b;
    ngx_int_t                  rc;
    ngx_pool_t                *pool;
    ngx_chain_t               *cl;
    ngx_http_v2_stream_t      *stream;
    ngx_http_v2_out_frame_t   *frame;
    ngx_http_v2_connection_t  *h2c;
    u_char                     block[NGX_HTTP_GSGI_INTERIM_SIZE];

    stream = r->stream;
    h2c = stream->connection;

    p = block;
    end = block + ngx_min(sizeof(block), h2c->frame_size);

    *p++ = NGX_HTTP_GSGI_V2_STATUS;
    p = ngx_http_gsgi_interim_v2_length(p, 3);
    p = ngx_sprintf(p, "%ui", (ngx_uint_t) it->head->status);

    p = ngx_http_gsgi_interim_v2_fields(p, end, it);

    if (p == NULL) {

        /* too long for one frame, and nobody is in need of it */

        return;
    }

    /* the stream may be over before the frame has left */

    pool = h2c->pool ? h2c->pool : h2c->connection->pool;

    frame = ngx_pcalloc(pool, sizeof(ngx_http_v2_out_frame_t));
    cl = ngx_alloc_chain_link(pool);
    b = ngx_create_temp_buf(pool, NGX_HTTP_V2_FRAME_HEADER_SIZE + (p - block));

    if (frame == NULL || cl == NULL || b == NULL) {
        return;
    }

    id = htonl((uint32_t) stream->node->id);

    b->last = ngx_http_v2_write_len_and_type(b->last, p - block,
                                             NGX_HTTP_GSGI_V2_HEADERS);
    *b->last++ = NGX_HTTP_GSGI_V2_END_HEADERS;
    b->last = ngx_cpymem(b->last, &id, sizeof(uint32_t));
    b->last = ngx_cpymem(b->last, block, p - block);
    b->flush = 1;

    cl->buf = b;
    cl->next = NULL;

    frame->first = cl;
    frame->last = cl;
    frame->length = p - block;
    frame->handler = ngx_http_gsgi_interim_v2_sent;

    ngx_http_v2_queue_ordered_frame(h2c, frame);

    stream->blocked = 1;
    rc = ngx_http_v2_send_output_queue(h2c);
    stream->blocked = 0;

    if (rc == NGX_ERROR) {
        r->connection->error = 1;
    }
}


static u_char *
ngx_http_gsgi_interim_v2_fields(u_char *p, u_char *end, gsgi_head_iter_t *it)
{
    gsgi_str_t  n, v;

    while (gsgi_head_next(it, &n, &v) == GSGI_OK) {

        if (!ngx_http_gsgi_interim_v2_allowed(&n)) {
            continue;
        }

        if ((size_t) (end - p) < 1 + 2 * NGX_HTTP_V2_INT_OCTETS + n.len
                                 + v.len)
        {
            return NULL;
        }

        *p++ = NGX_HTTP_GSGI_V2_LITERAL;

        p = ngx_http_gsgi_interim_v2_length(p, n.len);
        ngx_strlow(p, (u_char *) n.data, n.len);
        p += n.len;

        p = ngx_http_gsgi_interim_v2_length(p, v.len);
        p = ngx_cpymem(p, v.data, v.len);
    }

    return p;
}


/* RFC 7541, section 5.1, with a prefix of seven bits and no Huffman code */

static u_char *
ngx_http_gsgi_interim_v2_length(u_char *p, size_t n)
{
    if (n < 127) {
        *p++ = (u_char) n;
        return p;
    }

    *p++ = 127;

    for (n -= 127; n >= 128; n /= 128) {
        *p++ = (u_char) (n % 128 + 128);
    }

    *p++ = (u_char) n;

    return p;
}


/* RFC 9113, section 8.2.2 */

static ngx_uint_t
ngx_http_gsgi_interim_v2_allowed(gsgi_str_t *name)
{
    ngx_uint_t         i;
    static ngx_str_t   names[] = {
        ngx_string("Connection"),
        ngx_string("Keep-Alive"),
        ngx_string("Proxy-Connection"),
        ngx_string("Transfer-Encoding"),
        ngx_string("Upgrade"),
        ngx_null_string
    };

    for (i = 0; names[i].len; i++) {
        if (name->len == names[i].len
            && ngx_strncasecmp((u_char *) name->data, names[i].data,
                               names[i].len)
               == 0)
        {
            return 0;
        }
    }

    return 1;
}


static ngx_int_t
ngx_http_gsgi_interim_v2_sent(ngx_http_v2_connection_t *h2c,
    ngx_http_v2_out_frame_t *frame)
{
    return (frame->first->buf->pos == frame->first->buf->last) ? NGX_OK
                                                               : NGX_AGAIN;
}

#endif
