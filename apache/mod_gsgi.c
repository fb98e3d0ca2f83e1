/*
 * Copyright (C) The GSGI Authors
 *
 * mod_gsgi: a Go application library inside httpd.  This file holds the
 * module record, the hooks and the table of directives; mod_gsgi.md is their
 * reference.
 */

#include "mod_gsgi.h"
#include "mpm_common.h"

#define GSGI_DIR_FIELD(field) \
    ((void *) APR_OFFSETOF(gsgi_dir_conf, field))

/* server config, virtual host, directory; never .htaccess */
#define GSGI_ANYWHERE  (RSRC_CONF | ACCESS_CONF)

static const command_rec gsgi_cmds[] = {
    AP_INIT_TAKE_ARGV("GSGIApp", gsgi_set_app, NULL, RSRC_CONF,
        "a name, the application library and its arguments"),
    AP_INIT_TAKE1("GSGIEnv", gsgi_set_env, NULL, RSRC_CONF,
        "NAME=VALUE, or NAME of a variable that the server has"),
    AP_INIT_TAKE1("GSGIDirectory", gsgi_set_directory, NULL, RSRC_CONF,
        "the application's working directory"),
    AP_INIT_TAKE1("GSGIStartTimeout", gsgi_set_start_timeout, NULL, RSRC_CONF,
        "longest time until the application serves"),
    AP_INIT_TAKE1("GSGIProbe", gsgi_set_probe, NULL, RSRC_CONF,
        "On or Off: run the application when the configuration is checked"),
    AP_INIT_TAKE1("GSGIProcs", gsgi_set_procs, NULL, RSRC_CONF,
        "GOMAXPROCS of a child process"),
    AP_INIT_TAKE1("GSGIMemoryLimit", gsgi_set_memory_limit, NULL, RSRC_CONF,
        "soft limit of the Go heap of a child process"),
    AP_INIT_TAKE_ARGV("GSGIConcurrency", gsgi_set_concurrency, NULL,
        RSRC_CONF, "a number of requests, queue=N and timeout=TIME"),
    AP_INIT_TAKE2("GSGIAlias", gsgi_set_alias, NULL, RSRC_CONF,
        "a URL path and the NAME[:ENTRY] that serves what is below it"),
    AP_INIT_TAKE1("GSGIPass", gsgi_set_pass, NULL, GSGI_ANYWHERE,
        "the NAME[:ENTRY] that serves this place, or off"),
    AP_INIT_TAKE1("GSGIScriptName", gsgi_set_script_name, NULL, GSGI_ANYWHERE,
        "the URL path at which the application is mounted"),
    AP_INIT_RAW_ARGS("GSGIParam", gsgi_set_param, NULL, GSGI_ANYWHERE,
        "a key of the environ, its value, and if_not_empty"),
    AP_INIT_TAKE1("GSGITimeout", gsgi_set_time, GSGI_DIR_FIELD(timeout),
        GSGI_ANYWHERE, "longest wait for the head of the response"),
    AP_INIT_TAKE1("GSGIRequestTimeout", gsgi_set_time,
        GSGI_DIR_FIELD(request_timeout), GSGI_ANYWHERE,
        "limit on the whole request, or off"),
    AP_INIT_TAKE1("GSGIRequestBuffering", gsgi_set_flag,
        GSGI_DIR_FIELD(request_buffering), GSGI_ANYWHERE,
        "On or Off: read the request body first"),
    AP_INIT_TAKE1("GSGIBuffering", gsgi_set_flag, GSGI_DIR_FIELD(buffering),
        GSGI_ANYWHERE, "On or Off: spool the response for slow clients"),
    AP_INIT_TAKE1("GSGIBuffer", gsgi_set_buffer, NULL, GSGI_ANYWHERE,
        "bytes on the way for one request, in each direction"),
    AP_INIT_TAKE1("GSGIIgnoreClientAbort", gsgi_set_flag,
        GSGI_DIR_FIELD(ignore_client_abort), GSGI_ANYWHERE,
        "On or Off: go on when the client has left"),
    AP_INIT_TAKE1("GSGIErrorOverride", gsgi_set_flag,
        GSGI_DIR_FIELD(error_override), GSGI_ANYWHERE,
        "On or Off: ErrorDocument for answers of 400 and above"),
    AP_INIT_TAKE1("GSGISendfile", gsgi_set_flag, GSGI_DIR_FIELD(sendfile),
        GSGI_ANYWHERE, "On or Off: obey X-Sendfile from the application"),
    { NULL }
};

static void gsgi_register_hooks(apr_pool_t *p)
{
    /* An Alias inside an application wins, also over GSGIAlias / */
    static const char *const before[] = {
        "mod_alias.c", "mod_proxy.c", "mod_rewrite.c", NULL
    };
    static const char *const after[] = {
        "mod_userdir.c", "mod_vhost_alias.c", NULL
    };

    ap_hook_pre_config(gsgi_parent_begin, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_check_config(gsgi_parent_check, NULL, NULL, APR_HOOK_LAST);
    ap_hook_post_config(gsgi_parent_prepare, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_status(gsgi_parent_child_status, NULL, NULL,
                         APR_HOOK_MIDDLE);

    ap_hook_optional_fn_retrieve(gsgi_environ_functions, NULL, NULL,
                                 APR_HOOK_MIDDLE);

    ap_hook_child_init(gsgi_child_first, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_child_init(gsgi_child_init, NULL, NULL, APR_HOOK_LAST);
    ap_hook_child_stopping(gsgi_child_stopping, NULL, NULL, APR_HOOK_FIRST);

    /* TRACE and OPTIONS * are answered before, the file system is walked
     * after map_to_storage */
    ap_hook_translate_name(gsgi_map_translate, before, after,
                           APR_HOOK_MIDDLE);
    ap_hook_map_to_storage(gsgi_map_storage, NULL, NULL, APR_HOOK_LAST);
    ap_hook_fixups(gsgi_map_fixups, NULL, NULL, APR_HOOK_MIDDLE);

    ap_hook_handler(gsgi_handler, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_handler(gsgi_status_handler, NULL, NULL, APR_HOOK_MIDDLE);
    gsgi_input_filters();
    gsgi_output_filters();
    gsgi_status_hooks();
}

#if defined(__GNUC__) && __GNUC__ >= 4
#pragma GCC visibility push(default)
#endif

AP_DECLARE_MODULE(gsgi) = {
    STANDARD20_MODULE_STUFF,
    gsgi_create_dir_conf,
    gsgi_merge_dir_conf,
    gsgi_create_server_conf,
    gsgi_merge_server_conf,
    gsgi_cmds,
    gsgi_register_hooks,
    AP_MODULE_FLAG_NONE
};

#if defined(__GNUC__) && __GNUC__ >= 4
#pragma GCC visibility pop
#endif
