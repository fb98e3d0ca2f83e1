/*
 * Copyright (C) The GSGI Authors
 *
 * Which requests are the application's.
 */

#include "mod_gsgi.h"

/* The alias of a request: the url of a gsgi_alias_t.  A note, because notes
 * follow a request through the redirects of mod_dir and mod_negotiation. */
#define GSGI_ALIAS_NOTE  "gsgi-alias"

static gsgi_dir_conf *dir_conf(ap_conf_vector_t *v)
{
    return ap_get_module_config(v, &gsgi_module);
}

static int below(const char *path, const char *mount, apr_size_t len)
{
    return !strncmp(path, mount, len)
           && (path[len] == '/' || path[len] == '\0');
}

static gsgi_alias_t *find_alias(request_rec *r, const char *url)
{
    gsgi_server_conf *conf = ap_get_module_config(r->server->module_config,
                                                  &gsgi_module);
    gsgi_alias_t *all = (gsgi_alias_t *) conf->aliases->elts;
    int i;

    for (i = 0; i < conf->aliases->nelts; i++) {
        if (url ? !strcmp(all[i].url, url)
                : below(r->uri, all[i].url, all[i].len)) {
            return &all[i];
        }
    }

    return NULL;
}

/* GSGIPass of a place at or below the alias wins over it. */
static gsgi_target_t *choose(request_rec *r, gsgi_alias_t *alias)
{
    gsgi_dir_conf *conf = dir_conf(r->per_dir_config);

    if (alias
        && (!conf->target || !conf->place
            || strncmp(conf->place, alias->url, alias->len))) {
        return alias->target;
    }

    return conf->target == &gsgi_target_off ? NULL : conf->target;
}

int gsgi_map_translate(request_rec *r)
{
    gsgi_alias_t *alias;

    if (r->proxyreq || !r->uri || r->uri[0] != '/') {
        return DECLINED;
    }

    alias = find_alias(r, NULL);

    if (!alias || !choose(r, alias)) {
        return DECLINED;
    }

    apr_table_setn(r->notes, GSGI_ALIAS_NOTE, alias->url);
    r->filename = apr_pstrcat(r->pool, ap_document_root(r), r->uri, NULL);

    return OK;
}

/*
 * What GSGIPass of a Location or GSGIAlias maps to the application is not a
 * file: there is no walk of the file system.  httpd does the walk of the
 * Locations once more after this hook, so it is undone here.
 */
int gsgi_map_storage(request_rec *r)
{
    ap_conf_vector_t *config = r->per_dir_config;
    gsgi_target_t *target;
    int rc;

    if (r->proxyreq || !r->uri || r->uri[0] != '/'
        || !gsgi_conf->targets->nelts) {
        return DECLINED;
    }

    rc = ap_location_walk(r);
    target = rc == OK ? gsgi_map_target(r, NULL) : NULL;
    r->per_dir_config = config;

    return target ? OK : DECLINED;
}

gsgi_target_t *gsgi_map_target(request_rec *r, const char **script_name)
{
    const char *url = apr_table_get(r->notes, GSGI_ALIAS_NOTE);
    gsgi_alias_t *alias = url ? find_alias(r, url) : NULL;
    const char *mount = dir_conf(r->per_dir_config)->script_name;

    if (script_name) {
        mount = mount ? mount : alias ? alias->url : "";
        *script_name = below(r->uri, mount, strlen(mount)) ? mount : "";
    }

    return choose(r, alias);
}

static int has_handler(request_rec *r)
{
    core_dir_config *core = ap_get_core_module_config(r->per_dir_config);

    return core->expr_handler
           || (core->handler && strcmp(core->handler, "none")
               && strcmp(core->handler, GSGI_HANDLER));
}

/* mod_rewrite has a new path for the request, from a rule of its place. */
static int is_rewritten(request_rec *r)
{
    return r->handler && !strcmp(r->handler, "redirect-handler");
}

/* A SetHandler for the place wins, which makes exceptions possible. */
int gsgi_map_fixups(request_rec *r)
{
    if (r->proxyreq || has_handler(r) || is_rewritten(r)
        || !gsgi_map_target(r, NULL)) {
        return DECLINED;
    }

    r->handler = GSGI_HANDLER;

    /* mod_dir looks for an index where there is a directory */
    r->finfo.filetype = APR_NOFILE;

    return OK;
}
