
/*
 * Copyright (C) The GSGI Authors
 *
 * An NGINX module that brings a Go runtime of its own: OTHER_LIBRARY, loaded
 * when a worker starts (OTHER_ORDER names the module before which that is),
 * or with the first request when OTHER_LATER is defined.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <dlfcn.h>


typedef struct {
    ngx_event_t   timer;
    uint32_t     *state;
    ngx_uint_t    left;
} ngx_http_other_ctx_t;


static ngx_int_t ngx_http_other_postconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_other_init_process(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_other_divert(ngx_http_request_t *r);
static ngx_int_t ngx_http_other_handler(ngx_http_request_t *r);
static void ngx_http_other_timer_handler(ngx_event_t *ev);
static void ngx_http_other_cleanup(void *data);


static void  (*ngx_http_other_collect)(uint32_t *state);


static ngx_http_module_t  ngx_http_other_module_ctx = {
    NULL,                                  /* preconfiguration */
    ngx_http_other_postconfiguration,      /* postconfiguration */
    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */
    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */
    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_other_module = {
    NGX_MODULE_V1,
    &ngx_http_other_module_ctx,            /* module context */
    NULL,                                  /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_other_init_process,           /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


ngx_module_t *ngx_modules[] = { &ngx_http_other_module, NULL };

char *ngx_module_names[] = { "ngx_http_other_module", NULL };

char *ngx_module_order[] = {
#ifdef OTHER_ORDER
    "ngx_http_other_module", OTHER_ORDER,
#endif
    NULL
};


static ngx_int_t
ngx_http_other_postconfiguration(ngx_conf_t *cf)
{
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PREACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_other_divert;

    return NGX_OK;
}


static void
ngx_http_other_load(void)
{
    void  *handle;

    handle = dlopen(OTHER_LIBRARY, RTLD_NOW|RTLD_LOCAL);

    if (handle) {
        *(void **) &ngx_http_other_collect = dlsym(handle, "other_collect");
    }
}


static ngx_int_t
ngx_http_other_init_process(ngx_cycle_t *cycle)
{
#ifndef OTHER_LATER
    ngx_http_other_load();
#endif

    return NGX_OK;
}


static ngx_int_t
ngx_http_other_divert(ngx_http_request_t *r)
{
    if (r->uri.len == 6 && ngx_strncmp(r->uri.data, "/other", 6) == 0) {
        r->content_handler = ngx_http_other_handler;
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_other_handler(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t    *cln;
    ngx_http_other_ctx_t  *ctx;

    if (ngx_http_other_collect == NULL) {
        ngx_http_other_load();
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_other_ctx_t));

    if (cln == NULL || ngx_http_other_collect == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx = cln->data;
    ngx_memzero(ctx, sizeof(ngx_http_other_ctx_t));
    cln->handler = ngx_http_other_cleanup;

    /* never freed: a goroutine that is stuck looks at it later */

    ctx->state = ngx_calloc(sizeof(uint32_t), r->connection->log);
    if (ctx->state == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_set_ctx(r, ctx, ngx_http_other_module);

    ctx->left = 2000;
    ctx->timer.handler = ngx_http_other_timer_handler;
    ctx->timer.data = r;
    ctx->timer.log = r->connection->log;

    ngx_http_other_collect(ctx->state);

    ngx_add_timer(&ctx->timer, 10);
    r->main->count++;

    return NGX_DONE;
}


static void
ngx_http_other_timer_handler(ngx_event_t *ev)
{
    ngx_str_t                  type;
    ngx_connection_t          *c;
    ngx_http_request_t        *r;
    ngx_http_other_ctx_t      *ctx;
    ngx_http_complex_value_t   cv;

    r = ev->data;
    c = r->connection;
    ctx = ngx_http_get_module_ctx(r, ngx_http_other_module);

    if (__atomic_load_n(ctx->state, __ATOMIC_SEQ_CST) != 2 && --ctx->left) {
        ngx_add_timer(ev, 10);
        return;
    }

    ngx_str_set(&type, "text/plain");
    ngx_memzero(&cv, sizeof(ngx_http_complex_value_t));

    if (ctx->left) {
        ngx_str_set(&cv.value, "collected\n");

    } else {
        ngx_str_set(&cv.value, "stuck\n");
    }

    __atomic_store_n(ctx->state, 3, __ATOMIC_SEQ_CST);

    ngx_http_finalize_request(r, ngx_http_send_response(r, NGX_HTTP_OK, &type,
                                                        &cv));
    ngx_http_run_posted_requests(c);
}


static void
ngx_http_other_cleanup(void *data)
{
    ngx_http_other_ctx_t  *ctx = data;

    if (ctx->timer.timer_set) {
        ngx_del_timer(&ctx->timer);
    }

    if (ctx->state) {
        __atomic_store_n(ctx->state, 3, __ATOMIC_SEQ_CST);
    }
}
