
/*
 * Copyright (C) The GSGI Authors
 */


#include <ngx_http_gsgi_module.h>


typedef ngx_int_t (*ngx_http_gsgi_header_handler_pt)(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, ngx_str_t *name, ngx_str_t *value,
    ngx_uint_t offset);

typedef struct {
    ngx_str_t                         name;
    ngx_http_gsgi_header_handler_pt   handler;
    ngx_uint_t                        offset;
    ngx_uint_t                        redirect;  /* unsigned  redirect:1; */
} ngx_http_gsgi_header_t;


static ngx_http_gsgi_header_t *ngx_http_gsgi_find_header(gsgi_str_t *name);
static ngx_int_t ngx_http_gsgi_is_header(gsgi_str_t *name, ngx_str_t *known);
static ngx_int_t ngx_http_gsgi_get_header(ngx_http_gsgi_ctx_t *ctx,
    ngx_str_t *known, ngx_str_t *value);
static ngx_int_t ngx_http_gsgi_invalid_head(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, const char *reason);
static ngx_int_t ngx_http_gsgi_copy_headers(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, ngx_uint_t redirect);
static ngx_int_t ngx_http_gsgi_redirect(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, ngx_str_t *uri);
static ngx_int_t ngx_http_gsgi_intercept(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);
static void ngx_http_gsgi_unread_body(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);

static ngx_table_elt_t *ngx_http_gsgi_push_header(ngx_http_request_t *r,
    ngx_str_t *name, ngx_str_t *value);
static ngx_int_t ngx_http_gsgi_copy_header(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, ngx_str_t *name, ngx_str_t *value,
    ngx_uint_t offset);
static ngx_int_t ngx_http_gsgi_copy_multi_header(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, ngx_str_t *name, ngx_str_t *value,
    ngx_uint_t offset);
static ngx_int_t ngx_http_gsgi_copy_content_type(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, ngx_str_t *name, ngx_str_t *value,
    ngx_uint_t offset);
static ngx_int_t ngx_http_gsgi_copy_last_modified(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, ngx_str_t *name, ngx_str_t *value,
    ngx_uint_t offset);
static ngx_int_t ngx_http_gsgi_copy_location(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, ngx_str_t *name, ngx_str_t *value,
    ngx_uint_t offset);
static ngx_int_t ngx_http_gsgi_hide_header(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, ngx_str_t *name, ngx_str_t *value,
    ngx_uint_t offset);
static ngx_int_t ngx_http_gsgi_accel_limit_rate(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, ngx_str_t *name, ngx_str_t *value,
    ngx_uint_t offset);
static ngx_int_t ngx_http_gsgi_accel_buffering(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, ngx_str_t *name, ngx_str_t *value,
    ngx_uint_t offset);
static ngx_int_t ngx_http_gsgi_accel_charset(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, ngx_str_t *name, ngx_str_t *value,
    ngx_uint_t offset);


static ngx_http_gsgi_header_t  ngx_http_gsgi_headers[] = {

    { ngx_string("Content-Type"), ngx_http_gsgi_copy_content_type, 0, 1 },

    { ngx_string("Date"), ngx_http_gsgi_copy_header,
                 offsetof(ngx_http_headers_out_t, date), 0 },

    { ngx_string("Server"), ngx_http_gsgi_copy_header,
                 offsetof(ngx_http_headers_out_t, server), 0 },

    { ngx_string("Last-Modified"), ngx_http_gsgi_copy_last_modified, 0, 0 },

    { ngx_string("ETag"), ngx_http_gsgi_copy_header,
                 offsetof(ngx_http_headers_out_t, etag), 0 },

    { ngx_string("WWW-Authenticate"), ngx_http_gsgi_copy_header,
                 offsetof(ngx_http_headers_out_t, www_authenticate), 0 },

    { ngx_string("Location"), ngx_http_gsgi_copy_location, 0, 0 },

    { ngx_string("Refresh"), ngx_http_gsgi_copy_header,
                 offsetof(ngx_http_headers_out_t, refresh), 0 },

    { ngx_string("Set-Cookie"), ngx_http_gsgi_copy_header, 0, 1 },

    { ngx_string("Content-Disposition"), ngx_http_gsgi_copy_header, 0, 1 },

    { ngx_string("Cache-Control"), ngx_http_gsgi_copy_multi_header,
                 offsetof(ngx_http_headers_out_t, cache_control), 1 },

    { ngx_string("Expires"), ngx_http_gsgi_copy_header,
                 offsetof(ngx_http_headers_out_t, expires), 1 },

    { ngx_string("Accept-Ranges"), ngx_http_gsgi_copy_header,
                 offsetof(ngx_http_headers_out_t, accept_ranges), 1 },

    { ngx_string("Content-Range"), ngx_http_gsgi_copy_header,
                 offsetof(ngx_http_headers_out_t, content_range), 0 },

    { ngx_string("Content-Encoding"), ngx_http_gsgi_copy_header,
                 offsetof(ngx_http_headers_out_t, content_encoding), 0 },

    { ngx_string("Link"), ngx_http_gsgi_copy_multi_header,
                 offsetof(ngx_http_headers_out_t, link), 0 },

    { ngx_string("X-Accel-Redirect"), ngx_http_gsgi_hide_header, 0, 0 },

    { ngx_string("X-Accel-Expires"), ngx_http_gsgi_hide_header, 0, 0 },

    { ngx_string("X-Accel-Limit-Rate"), ngx_http_gsgi_accel_limit_rate, 0, 1 },

    { ngx_string("X-Accel-Buffering"), ngx_http_gsgi_accel_buffering, 0, 0 },

    { ngx_string("X-Accel-Charset"), ngx_http_gsgi_accel_charset, 0, 1 },

    { ngx_null_string, NULL, 0, 0 }
};


static ngx_str_t  ngx_http_gsgi_x_accel_redirect =
    ngx_string("X-Accel-Redirect");
static ngx_str_t  ngx_http_gsgi_www_authenticate =
    ngx_string("WWW-Authenticate");


/* NGX_OK: the header is sent; NGX_DONE: the request has been finalized */

ngx_int_t
ngx_http_gsgi_process_head(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    ngx_int_t          rc;
    ngx_str_t          uri;
    gsgi_head_iter_t   it;
    const gsgi_head_t *head;

    if (gsgi_head_first(&it, ctx->worker->bridge, ctx->slot) != GSGI_OK) {
        return ngx_http_gsgi_invalid_head(r, ctx, "a malformed head");
    }

    head = it.head;

    if (head->status < 200) {
        return ngx_http_gsgi_invalid_head(r, ctx, "an interim status");
    }

    ctx->status = head->status;

    if (ctx->conf->accel_redirect
        && ngx_http_gsgi_get_header(ctx, &ngx_http_gsgi_x_accel_redirect, &uri)
           == NGX_OK
        && uri.len)
    {
        return ngx_http_gsgi_redirect(r, ctx, &uri);
    }

    if (head->status >= NGX_HTTP_BAD_REQUEST && ctx->conf->intercept_errors) {

        rc = ngx_http_gsgi_intercept(r, ctx);

        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    if (head->flags & GSGI_HEAD_CLOSE) {
        r->keepalive = 0;
    }

    if (ctx->conf->buffering == NGX_HTTP_GSGI_BUFFERING_AUTO) {
        ctx->buffering = (head->flags & GSGI_HEAD_SPOOL) ? 1 : 0;
    }

    ngx_http_gsgi_unread_body(r, ctx);

    rc = ngx_http_gsgi_copy_headers(r, ctx, 0);

    if (rc == NGX_DECLINED) {
        return ngx_http_gsgi_invalid_head(r, ctx, "a malformed head");
    }

    if (rc != NGX_OK) {
        ngx_http_gsgi_outcome(ctx, failed);
        ngx_http_gsgi_finalize(r, ctx, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return NGX_DONE;
    }

    r->headers_out.status = head->status;
    r->headers_out.content_length_n = (head->flags & GSGI_HEAD_LENGTH)
                                      ? head->content_length : -1;

    /* conditional requests are the application's */

    r->disable_not_modified = 1;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->post_action) {
        ngx_http_gsgi_outcome(ctx, aborted);
        ngx_http_gsgi_end(ctx, GSGI_HOST_ABORT);
        ngx_http_finalize_request(r, rc);
        return NGX_DONE;
    }

    if (r == r->main && !ngx_http_gsgi_framed(r)) {
        ctx->guarded = 1;
        ngx_http_gsgi_guard(r, 1);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_invalid_head(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    const char *reason)
{
    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "gsgi \"%V\": application sent %s",
                  &ctx->conf->pass->name, reason);

    ngx_http_gsgi_outcome(ctx, failed);

    ctx->status = NGX_HTTP_INTERNAL_SERVER_ERROR;

    ngx_http_gsgi_finalize(r, ctx, NGX_HTTP_INTERNAL_SERVER_ERROR);

    return NGX_DONE;
}


static ngx_int_t
ngx_http_gsgi_get_header(ngx_http_gsgi_ctx_t *ctx, ngx_str_t *known,
    ngx_str_t *value)
{
    gsgi_str_t        n, v;
    gsgi_head_iter_t  it;

    if (gsgi_head_first(&it, ctx->worker->bridge, ctx->slot) != GSGI_OK) {
        return NGX_ERROR;
    }

    while (gsgi_head_next(&it, &n, &v) == GSGI_OK) {
        if (ngx_http_gsgi_is_header(&n, known)) {
            value->len = v.len;
            value->data = (u_char *) v.data;
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_gsgi_is_header(gsgi_str_t *name, ngx_str_t *known)
{
    return name->len == known->len
           && ngx_strncasecmp((u_char *) name->data, known->data, known->len)
              == 0;
}


static ngx_http_gsgi_header_t *
ngx_http_gsgi_find_header(gsgi_str_t *name)
{
    ngx_http_gsgi_header_t  *h;

    for (h = ngx_http_gsgi_headers; h->name.len; h++) {
        if (ngx_http_gsgi_is_header(name, &h->name)) {
            return h;
        }
    }

    return NULL;
}


/* NGX_DECLINED: the head is malformed */

static ngx_int_t
ngx_http_gsgi_copy_headers(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    ngx_uint_t redirect)
{
    ngx_int_t                rc;
    ngx_str_t                name, value;
    gsgi_str_t               n, v;
    gsgi_head_iter_t         it;
    ngx_http_gsgi_header_t  *h;

    (void) gsgi_head_first(&it, ctx->worker->bridge, ctx->slot);

    for ( ;; ) {
        rc = gsgi_head_next(&it, &n, &v);

        if (rc == GSGI_AGAIN) {
            return NGX_OK;
        }

        if (rc != GSGI_OK) {
            return NGX_DECLINED;
        }

        name.len = n.len;
        name.data = (u_char *) n.data;
        value.len = v.len;
        value.data = (u_char *) v.data;

        h = ngx_http_gsgi_find_header(&n);

        if (h) {
            if (redirect && !h->redirect) {
                continue;
            }

            rc = h->handler(r, ctx, &name, &value, h->offset);

        } else if (!redirect) {
            rc = ngx_http_gsgi_copy_header(r, ctx, &name, &value, 0);
        }

        if (rc != NGX_OK) {
            return NGX_ERROR;
        }
    }
}


static ngx_int_t
ngx_http_gsgi_redirect(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    ngx_str_t *uri)
{
    ngx_str_t   args;
    ngx_uint_t  flags;

    if (ngx_http_gsgi_copy_headers(r, ctx, 1) != NGX_OK) {
        return ngx_http_gsgi_invalid_head(r, ctx, "a malformed head");
    }

    ngx_http_gsgi_outcome(ctx, answered);

    ngx_http_gsgi_end(ctx, GSGI_HOST_ABORT);

    r->read_event_handler = ngx_http_block_reading;

    if (uri->data[0] == '@') {
        ngx_http_named_location(r, uri);
        ngx_http_finalize_request(r, NGX_DONE);
        return NGX_DONE;
    }

    ngx_str_null(&args);
    flags = NGX_HTTP_LOG_UNSAFE;

    if (ngx_http_parse_unsafe_uri(r, uri, &args, &flags) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_HTTP_NOT_FOUND);
        return NGX_DONE;
    }

    if (r->method != NGX_HTTP_HEAD) {
        r->method = NGX_HTTP_GET;
        r->method_name = ngx_http_core_get_method;
    }

    ngx_http_internal_redirect(r, uri, &args);
    ngx_http_finalize_request(r, NGX_DONE);

    return NGX_DONE;
}


static ngx_int_t
ngx_http_gsgi_intercept(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    ngx_str_t                  value;
    ngx_uint_t                 i;
    ngx_http_err_page_t       *page;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (clcf->error_pages == NULL) {
        return NGX_DECLINED;
    }

    page = clcf->error_pages->elts;

    for (i = 0; i < clcf->error_pages->nelts; i++) {

        if (page[i].status != (ngx_int_t) ctx->status) {
            continue;
        }

        if (ctx->status == NGX_HTTP_UNAUTHORIZED
            && ngx_http_gsgi_get_header(ctx, &ngx_http_gsgi_www_authenticate,
                                        &value)
               == NGX_OK
            && ngx_http_gsgi_copy_header(r, ctx,
                                 &ngx_http_gsgi_www_authenticate, &value,
                                 offsetof(ngx_http_headers_out_t,
                                          www_authenticate))
               != NGX_OK)
        {
            ngx_http_gsgi_finalize(r, ctx, NGX_HTTP_INTERNAL_SERVER_ERROR);
            return NGX_DONE;
        }

        ngx_http_gsgi_outcome(ctx, answered);

        ngx_http_gsgi_finalize(r, ctx, ctx->status);
        return NGX_DONE;
    }

    return NGX_DECLINED;
}


/*
 * A client that still waits for 100 Continue when the response begins sends
 * its body or not: nobody can know where the next request would start.
 */

static void
ngx_http_gsgi_unread_body(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx)
{
    if (ctx->slot->body_kind != GSGI_BODY_STREAM
        || ctx->body_begun
        || !(ctx->slot->flags & GSGI_REQ_EXPECT))
    {
        return;
    }

    ctx->expect = 1;

    r->expect_tested = 1;
    r->keepalive = 0;
}


ngx_int_t
ngx_http_gsgi_add_trailers(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    uint32_t chunk)
{
    gsgi_str_t         n, v;
    ngx_table_elt_t   *h;
    gsgi_head_iter_t   it;

    if (gsgi_head_chunk(&it, ctx->worker->bridge, chunk) != GSGI_OK) {
        return NGX_OK;
    }

    while (gsgi_head_next(&it, &n, &v) == GSGI_OK) {

        h = ngx_list_push(&r->headers_out.trailers);
        if (h == NULL) {
            return NGX_ERROR;
        }

        ngx_memzero(h, sizeof(ngx_table_elt_t));

        h->key.len = n.len;
        h->key.data = ngx_pnalloc(r->pool, n.len);

        h->value.len = v.len;
        h->value.data = ngx_pnalloc(r->pool, v.len);

        if (h->key.data == NULL || h->value.data == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(h->key.data, n.data, n.len);
        ngx_memcpy(h->value.data, v.data, v.len);

        h->hash = 1;
    }

    return NGX_OK;
}


/* names and values stay in the slot, which outlives the request's log */

static ngx_table_elt_t *
ngx_http_gsgi_push_header(ngx_http_request_t *r, ngx_str_t *name,
    ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NULL;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    h->key = *name;
    h->value = *value;

    return h;
}


static ngx_int_t
ngx_http_gsgi_copy_header(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    ngx_str_t *name, ngx_str_t *value, ngx_uint_t offset)
{
    ngx_table_elt_t  *h, **ph;

    h = ngx_http_gsgi_push_header(r, name, value);
    if (h == NULL) {
        return NGX_ERROR;
    }

    if (offset) {
        ph = (ngx_table_elt_t **) ((char *) &r->headers_out + offset);
        *ph = h;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_copy_multi_header(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, ngx_str_t *name, ngx_str_t *value,
    ngx_uint_t offset)
{
    ngx_table_elt_t   *h, **ph;
#if (nginx_version < 1023000)
    ngx_array_t       *pa;
#endif

    h = ngx_http_gsgi_push_header(r, name, value);
    if (h == NULL) {
        return NGX_ERROR;
    }

#if (nginx_version >= 1023000)

    ph = (ngx_table_elt_t **) ((char *) &r->headers_out + offset);

    while (*ph) {
        ph = &(*ph)->next;
    }

#else

    pa = (ngx_array_t *) ((char *) &r->headers_out + offset);

    if (pa->elts == NULL
        && ngx_array_init(pa, r->pool, 2, sizeof(ngx_table_elt_t *)) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ph = ngx_array_push(pa);
    if (ph == NULL) {
        return NGX_ERROR;
    }

#endif

    *ph = h;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_copy_content_type(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, ngx_str_t *name, ngx_str_t *value,
    ngx_uint_t offset)
{
    u_char     *p, *semicolon, *last;
    ngx_str_t  *charset;

    r->headers_out.content_type = *value;
    r->headers_out.content_type_len = value->len;
    r->headers_out.content_type_lowcase = NULL;

    last = value->data + value->len;

    for (semicolon = ngx_strlchr(value->data, last, ';');
         semicolon;
         semicolon = ngx_strlchr(p, last, ';'))
    {
        p = semicolon + 1;

        while (p < last && *p == ' ') {
            p++;
        }

        if (last - p <= 8
            || ngx_strncasecmp(p, (u_char *) "charset=", 8) != 0)
        {
            continue;
        }

        charset = &r->headers_out.charset;

        charset->data = p + 8;
        charset->len = last - charset->data;

        if (charset->data[0] == '"') {
            charset->data++;
            charset->len--;
        }

        if (charset->len && charset->data[charset->len - 1] == '"') {
            charset->len--;
        }

        r->headers_out.content_type_len = semicolon - value->data;
        break;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_copy_last_modified(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, ngx_str_t *name, ngx_str_t *value,
    ngx_uint_t offset)
{
    ngx_table_elt_t  *h;

    h = ngx_http_gsgi_push_header(r, name, value);
    if (h == NULL) {
        return NGX_ERROR;
    }

    r->headers_out.last_modified = h;
    r->headers_out.last_modified_time = ngx_parse_http_time(value->data,
                                                            value->len);

    return NGX_OK;
}


/*
 * The core makes a relative headers_out.location absolute: such one is left
 * as the application wrote it.
 */

static ngx_int_t
ngx_http_gsgi_copy_location(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    ngx_str_t *name, ngx_str_t *value, ngx_uint_t offset)
{
    ngx_table_elt_t  *h;

    h = ngx_http_gsgi_push_header(r, name, value);
    if (h == NULL) {
        return NGX_ERROR;
    }

    if (value->len && value->data[0] != '/') {
        r->headers_out.location = h;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_hide_header(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    ngx_str_t *name, ngx_str_t *value, ngx_uint_t offset)
{
    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_accel_limit_rate(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, ngx_str_t *name, ngx_str_t *value,
    ngx_uint_t offset)
{
    ngx_int_t  n;

    if (!ctx->conf->accel_redirect) {
        return NGX_OK;
    }

    n = ngx_atoi(value->data, value->len);

    if (n != NGX_ERROR) {
        r->limit_rate = (size_t) n;
        r->limit_rate_set = 1;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_accel_buffering(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, ngx_str_t *name, ngx_str_t *value,
    ngx_uint_t offset)
{
    if (!ctx->conf->accel_redirect) {
        return NGX_OK;
    }

    if (value->len == 2
        && ngx_strncasecmp(value->data, (u_char *) "no", 2) == 0)
    {
        ctx->buffering = 0;

    } else if (value->len == 3
               && ngx_strncasecmp(value->data, (u_char *) "yes", 3) == 0)
    {
        ctx->buffering = 1;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_accel_charset(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    ngx_str_t *name, ngx_str_t *value, ngx_uint_t offset)
{
    ngx_str_t  *charset;

    if (!ctx->conf->accel_redirect) {
        return NGX_OK;
    }

    charset = ngx_palloc(r->pool, sizeof(ngx_str_t));
    if (charset == NULL) {
        return NGX_ERROR;
    }

    *charset = *value;
    r->headers_out.override_charset = charset;

    return NGX_OK;
}
