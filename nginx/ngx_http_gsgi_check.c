
/*
 * Copyright (C) The GSGI Authors
 */


#include <ngx_http_gsgi_module.h>


/*
 * A distribution may change the layout of a structure under the same version
 * and signature.  The tables of the running binary tell its own layout: what
 * is not as this module was compiled is refused before it crashes a worker.
 */

typedef struct {
    ngx_str_t                   name;
    uintptr_t                   offset;
} ngx_http_gsgi_layout_t;


static ngx_int_t ngx_http_gsgi_check_modules(ngx_conf_t *cf);
static ngx_int_t ngx_http_gsgi_check_headers(ngx_conf_t *cf);
static ngx_int_t ngx_http_gsgi_check_variables(ngx_conf_t *cf);
static ngx_int_t ngx_http_gsgi_check_commands(ngx_conf_t *cf,
    ngx_module_t *module, ngx_http_gsgi_layout_t *layout);
static ngx_int_t ngx_http_gsgi_check_layout(ngx_conf_t *cf,
    ngx_http_gsgi_layout_t *layout, ngx_str_t *name, uintptr_t offset);


#define ngx_http_gsgi_header_in(name, field)                                  \
    { ngx_string(name), offsetof(ngx_http_headers_in_t, field) }

#define ngx_http_gsgi_variable(name, field)                                   \
    { ngx_string(name), offsetof(ngx_http_request_t, field) }

#define ngx_http_gsgi_location(name, field)                                   \
    { ngx_string(name), offsetof(ngx_http_core_loc_conf_t, field) }


static ngx_http_gsgi_layout_t  ngx_http_gsgi_headers_in[] = {
    ngx_http_gsgi_header_in("Host", host),
    ngx_http_gsgi_header_in("Connection", connection),
    ngx_http_gsgi_header_in("If-Modified-Since", if_modified_since),
    ngx_http_gsgi_header_in("User-Agent", user_agent),
    ngx_http_gsgi_header_in("Referer", referer),
    ngx_http_gsgi_header_in("Content-Length", content_length),
    ngx_http_gsgi_header_in("Content-Range", content_range),
    ngx_http_gsgi_header_in("Content-Type", content_type),
    ngx_http_gsgi_header_in("Range", range),
    ngx_http_gsgi_header_in("If-Range", if_range),
    ngx_http_gsgi_header_in("Transfer-Encoding", transfer_encoding),
    ngx_http_gsgi_header_in("TE", te),
    ngx_http_gsgi_header_in("Expect", expect),
    ngx_http_gsgi_header_in("Upgrade", upgrade),
    ngx_http_gsgi_header_in("Authorization", authorization),
    ngx_http_gsgi_header_in("Keep-Alive", keep_alive),
#if (nginx_version >= 1023000)
    ngx_http_gsgi_header_in("Cookie", cookie),
#endif
    { ngx_null_string, 0 }
};


static ngx_http_gsgi_layout_t  ngx_http_gsgi_request[] = {
    ngx_http_gsgi_variable("http_host", headers_in.host),
    ngx_http_gsgi_variable("http_user_agent", headers_in.user_agent),
    ngx_http_gsgi_variable("content_type", headers_in.content_type),
    ngx_http_gsgi_variable("server_protocol", http_protocol),
    ngx_http_gsgi_variable("request_uri", unparsed_uri),
    ngx_http_gsgi_variable("uri", uri),
    ngx_http_gsgi_variable("query_string", args),
    ngx_http_gsgi_variable("sent_http_cache_control",
                           headers_out.cache_control),
    ngx_http_gsgi_variable("sent_http_link", headers_out.link),
    ngx_http_gsgi_variable("limit_rate", limit_rate),
    { ngx_null_string, 0 }
};


static ngx_http_gsgi_layout_t  ngx_http_gsgi_locations[] = {
    ngx_http_gsgi_location("client_max_body_size", client_max_body_size),
    ngx_http_gsgi_location("client_body_temp_path", client_body_temp_path),
    ngx_http_gsgi_location("send_timeout", send_timeout),
    ngx_http_gsgi_location("send_lowat", send_lowat),
    ngx_http_gsgi_location("lingering_timeout", lingering_timeout),
    { ngx_null_string, 0 }
};


static ngx_http_gsgi_layout_t  ngx_http_gsgi_core[] = {
    { ngx_string("worker_shutdown_timeout"),
      offsetof(ngx_core_conf_t, shutdown_timeout) },
    { ngx_null_string, 0 }
};


/*
 * What was compiled without: with --with-compat the signature is the same,
 * and an https request would be told to be an http one.
 */

static char  *ngx_http_gsgi_compiled_without[] = {
#if !(NGX_HTTP_SSL)
    "ngx_http_ssl_module",
#endif
#if !(NGX_HTTP_V2)
    "ngx_http_v2_module",
#endif
    NULL
};


ngx_int_t
ngx_http_gsgi_check_abi(ngx_conf_t *cf)
{
    if (ngx_http_gsgi_check_modules(cf) != NGX_OK
        || ngx_http_gsgi_check_headers(cf) != NGX_OK
        || ngx_http_gsgi_check_variables(cf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_http_gsgi_check_commands(cf, &ngx_http_core_module,
                                     ngx_http_gsgi_locations)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_gsgi_check_commands(cf, &ngx_core_module,
                                        ngx_http_gsgi_core);
}


static ngx_int_t
ngx_http_gsgi_check_modules(ngx_conf_t *cf)
{
    char        **name;
    ngx_uint_t    i;

    for (name = ngx_http_gsgi_compiled_without; *name; name++) {

        for (i = 0; cf->cycle->modules[i]; i++) {

            if (ngx_strcmp(cf->cycle->modules[i]->name, *name) != 0) {
                continue;
            }

            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "ngx_http_gsgi_module was built without %s, which "
                          "this nginx has, rebuild it with the --with-http_* "
                          "arguments that \"nginx -V\" shows", *name);

            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_check_headers(ngx_conf_t *cf)
{
    ngx_http_header_t  *header;

    for (header = ngx_http_headers_in; header->name.len; header++) {

        if (ngx_http_gsgi_check_layout(cf, ngx_http_gsgi_headers_in,
                                       &header->name, header->offset)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_check_variables(ngx_conf_t *cf)
{
    ngx_uint_t                  i;
    ngx_hash_key_t             *key;
    ngx_http_variable_t        *v;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    key = cmcf->variables_keys->keys.elts;

    for (i = 0; i < cmcf->variables_keys->keys.nelts; i++) {
        v = key[i].value;

        /* another module may have taken the variable over */

        if (v->data == 0) {
            continue;
        }

        if (ngx_http_gsgi_check_layout(cf, ngx_http_gsgi_request,
                                       &v->name, v->data)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_check_commands(ngx_conf_t *cf, ngx_module_t *module,
    ngx_http_gsgi_layout_t *layout)
{
    ngx_command_t  *cmd;

    for (cmd = module->commands; cmd->name.len; cmd++) {

        if (ngx_http_gsgi_check_layout(cf, layout, &cmd->name, cmd->offset)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_check_layout(ngx_conf_t *cf, ngx_http_gsgi_layout_t *layout,
    ngx_str_t *name, uintptr_t offset)
{
    for ( /* void */ ; layout->name.len; layout++) {

        if (layout->name.len != name->len
            || ngx_strncasecmp(layout->name.data, name->data, name->len) != 0
            || layout->offset == offset)
        {
            continue;
        }

        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "ngx_http_gsgi_module was built for other structures "
                      "than this nginx has (\"%V\" is at %uz, not at %uz), "
                      "rebuild it against the headers of this very nginx "
                      NGINX_VERSION " package",
                      name, (size_t) offset, (size_t) layout->offset);

        return NGX_ERROR;
    }

    return NGX_OK;
}
