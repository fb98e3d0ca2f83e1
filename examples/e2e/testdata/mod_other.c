/*
 * Copyright (C) The GSGI Authors
 *
 * A server module that brings a Go runtime of its own: OTHER_LIBRARY, loaded
 * when a child starts (OTHER_ORDER is the place among the modules), or with
 * the first request when that is not defined.
 */

#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

#include "httpd.h"
#include "http_config.h"
#include "http_protocol.h"

static void (*collect)(uint32_t *state);

static void load(apr_pool_t *pchild, server_rec *s)
{
    void *handle = dlopen(OTHER_LIBRARY, RTLD_NOW | RTLD_LOCAL);

    if (handle) {
        *(void **) &collect = dlsym(handle, "other_collect");
    }
}

static int handler(request_rec *r)
{
    /* never freed: a goroutine that is stuck looks at it later */
    uint32_t *state = calloc(1, sizeof(uint32_t));
    int i;

    if (strcmp(r->uri, "/other")) {
        return DECLINED;
    }

    if (!collect) {
        load(NULL, NULL);
    }

    if (!collect) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }

    collect(state);

    for (i = 0; i < 2000 && __atomic_load_n(state, __ATOMIC_SEQ_CST) != 2;
         i++) {
        usleep(10000);
    }

    ap_rputs(i < 2000 ? "collected\n" : "stuck\n", r);
    __atomic_store_n(state, 3, __ATOMIC_SEQ_CST);

    return OK;
}

static void register_hooks(apr_pool_t *p)
{
#ifdef OTHER_ORDER
    ap_hook_child_init(load, NULL, NULL, OTHER_ORDER);
#endif
    ap_hook_handler(handler, NULL, NULL, APR_HOOK_REALLY_FIRST);
}

module AP_MODULE_DECLARE_DATA other_module = {
    STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, NULL, register_hooks
};
