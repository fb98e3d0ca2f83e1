/*
 * Copyright (C) The GSGI Authors
 *
 * SetHandler gsgi-status, and a line on the page of mod_status.
 */

#include "mod_gsgi.h"
#include "mod_status.h"
#include "apr_optional_hooks.h"

static int wants_json(request_rec *r)
{
    const char *args = r->args;

    for (; args; args = ap_strchr_c(args, '&')) {
        args += *args == '&';

        if (!strncmp(args, "format=json", 11)
            && (args[11] == '\0' || args[11] == '&')) {
            return 1;
        }
    }

    return 0;
}

static void refresh(void)
{
    gsgi_board_worker_t *w = gsgi_child.worker;
    gsgi_region_t *region = gsgi_child.region;

    if (!gsgi_child.bridge) {
        return;
    }

    w->queued = gsgi_queue_length();
    w->in_flight = region->in_flight;
    w->abandoned = region->abandoned;
    w->active = region->slots_used;
}

int gsgi_status_handler(request_rec *r)
{
    char *page;
    apr_size_t len;
    int json;

    if (!r->handler || strcmp(r->handler, GSGI_STATUS_HANDLER)) {
        return DECLINED;
    }

    r->allowed |= AP_METHOD_BIT << M_GET;

    if (r->method_number != M_GET) {
        return HTTP_METHOD_NOT_ALLOWED;
    }

    if (!gsgi_conf->name) {
        return HTTP_SERVICE_UNAVAILABLE;
    }

    json = wants_json(r);
    refresh();

    page = apr_palloc(r->pool, GSGI_STATUS_MAX);
    len = gsgi_status_print(gsgi_child.bridge, gsgi_conf->board,
                            gsgi_child.worker, gsgi_conf->name, json, page,
                            GSGI_STATUS_MAX);

    ap_set_content_type(r, json ? "application/json"
                                : "text/plain; charset=utf-8");
    ap_set_content_length(r, (apr_off_t) len);
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    ap_rwrite(page, (int) len, r);

    return OK;
}

static int status_hook(request_rec *r, int flags)
{
    gsgi_board_worker_t *w = gsgi_child.worker;

    if (!gsgi_conf->name) {
        return DECLINED;
    }

    refresh();

    if (flags & AP_STATUS_SHORT) {
        ap_rprintf(r, "GSGIRequests: %" APR_UINT64_T_FMT "\n"
                   "GSGIInFlight: %" APR_UINT64_T_FMT "\n"
                   "GSGIQueued: %" APR_UINT64_T_FMT "\n",
                   w->requests, w->in_flight, w->queued);
        return OK;
    }

    ap_rprintf(r, "<hr />\n<p>GSGI application <b>%s</b>, this process: %"
               APR_UINT64_T_FMT " requests, %" APR_UINT64_T_FMT
               " in flight, %" APR_UINT64_T_FMT " queued</p>\n",
               ap_escape_html(r->pool, gsgi_conf->name), w->requests,
               w->in_flight, w->queued);

    return OK;
}

void gsgi_status_hooks(void)
{
    APR_OPTIONAL_HOOK(ap, status_hook, status_hook, NULL, NULL,
                      APR_HOOK_MIDDLE);
}
