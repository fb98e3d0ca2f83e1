
/*
 * Copyright (C) The GSGI Authors
 */


#include <ngx_http_gsgi_module.h>


static ngx_int_t ngx_http_gsgi_variable_not_found(ngx_http_variable_value_t *v);
static ngx_int_t ngx_http_gsgi_app_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gsgi_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gsgi_time_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_gsgi_bytes_sent_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


static ngx_http_variable_t  ngx_http_gsgi_vars[] = {

    { ngx_string("gsgi_app"), NULL,
      ngx_http_gsgi_app_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gsgi_status"), NULL,
      ngx_http_gsgi_status_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gsgi_time"), NULL,
      ngx_http_gsgi_time_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gsgi_queue_time"), NULL,
      ngx_http_gsgi_time_variable, 1,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("gsgi_bytes_sent"), NULL,
      ngx_http_gsgi_bytes_sent_variable, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_gsgi_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_gsgi_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_variable_found(ngx_http_variable_value_t *v, u_char *data,
    size_t len)
{
    v->len = len;
    v->data = data;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_variable_not_found(ngx_http_variable_value_t *v)
{
    v->not_found = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_app_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_gsgi_ctx_t  *ctx;

    ctx = ngx_http_gsgi_find_ctx(r);

    if (ctx == NULL) {
        return ngx_http_gsgi_variable_not_found(v);
    }

    return ngx_http_gsgi_variable_found(v, ctx->conf->pass->value.data,
                                        ctx->conf->pass->value.len);
}


static ngx_int_t
ngx_http_gsgi_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char               *p, *last;
    ngx_http_gsgi_ctx_t  *ctx;

    ctx = ngx_http_gsgi_find_ctx(r);

    if (ctx == NULL || ctx->status == 0) {
        return ngx_http_gsgi_variable_not_found(v);
    }

    p = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    last = ngx_sprintf(p, "%ui", ctx->status);

    return ngx_http_gsgi_variable_found(v, p, last - p);
}


static ngx_int_t
ngx_http_gsgi_time_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char               *p, *last;
    ngx_msec_int_t        ms;
    ngx_http_gsgi_ctx_t  *ctx;

    ctx = ngx_http_gsgi_find_ctx(r);

    if (ctx == NULL || ctx->submitted == 0) {
        return ngx_http_gsgi_variable_not_found(v);
    }

    p = ngx_pnalloc(r->pool, NGX_TIME_T_LEN + 4);
    if (p == NULL) {
        return NGX_ERROR;
    }

    if (data == 0) {
        ms = (ngx_msec_int_t)
             ((ctx->finished ? ctx->finished : ngx_current_msec) - ctx->start);

    } else if (ctx->slot == NULL && !ctx->upgraded) {

        /* it never got out of the queue */

        ms = (ngx_msec_int_t)
             ((ctx->finished ? ctx->finished : ngx_current_msec) - ctx->start);

    } else {
        ms = (ngx_msec_int_t) (ctx->submitted - ctx->start)
             + ctx->queue_us / 1000;
    }

    ms = ngx_max(ms, 0);

    last = ngx_sprintf(p, "%T.%03M", (time_t) ms / 1000, ms % 1000);

    return ngx_http_gsgi_variable_found(v, p, last - p);
}


static ngx_int_t
ngx_http_gsgi_bytes_sent_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char               *p, *last;
    ngx_http_gsgi_ctx_t  *ctx;

    ctx = ngx_http_gsgi_find_ctx(r);

    if (ctx == NULL) {
        return ngx_http_gsgi_variable_not_found(v);
    }

    p = ngx_pnalloc(r->pool, NGX_OFF_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    last = ngx_sprintf(p, "%O", ctx->bytes_sent);

    return ngx_http_gsgi_variable_found(v, p, last - p);
}


ngx_int_t
ngx_http_gsgi_status_handler(ngx_http_request_t *r)
{
    size_t                   len;
    ngx_int_t                rc, json;
    ngx_buf_t               *b;
    ngx_str_t                format;
    ngx_chain_t              out;
    ngx_http_gsgi_worker_t  *w;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    w = ngx_http_gsgi_get_worker();

    if (w == NULL) {
        return NGX_HTTP_SERVICE_UNAVAILABLE;
    }

    json = ngx_http_arg(r, (u_char *) "format", 6, &format) == NGX_OK
           && format.len == 4
           && ngx_strncmp(format.data, "json", 4) == 0;

    b = ngx_create_temp_buf(r->pool, GSGI_STATUS_MAX);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    len = gsgi_status_print(w->bridge, w->board, w->figures,
                            (char *) w->name.data, (int) json,
                            (char *) b->pos, GSGI_STATUS_MAX);

    b->last = b->pos + len;
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    if (json) {
        ngx_str_set(&r->headers_out.content_type, "application/json");

    } else {
        ngx_str_set(&r->headers_out.content_type, "text/plain");
    }

    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = len;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}
