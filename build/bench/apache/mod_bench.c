/*
 * Copyright (C) The GSGI Authors
 *
 * SetHandler bench-hello: what Apache does itself in the least it can.
 */

#include "httpd.h"
#include "http_config.h"
#include "http_protocol.h"

static int hello(request_rec *r)
{
    static const char text[] = "Hello, world\n";

    if (!r->handler || strcmp(r->handler, "bench-hello")) {
        return DECLINED;
    }

    ap_set_content_type(r, "text/plain");
    ap_set_content_length(r, sizeof(text) - 1);
    ap_rwrite(text, sizeof(text) - 1, r);

    return OK;
}

static void register_hooks(apr_pool_t *p)
{
    ap_hook_handler(hello, NULL, NULL, APR_HOOK_MIDDLE);
}

module AP_MODULE_DECLARE_DATA bench_module = {
    STANDARD20_MODULE_STUFF,
    NULL, NULL, NULL, NULL, NULL,
    register_hooks
};
