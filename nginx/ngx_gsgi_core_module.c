
/*
 * Copyright (C) The GSGI Authors
 */


#include <ngx_http_gsgi_module.h>


/*
 * The library is checked here and not where gsgi_app is read, because the
 * user and group that it will run as are known only after the whole
 * configuration has been read.
 */


#define NGX_GSGI_CORE_CAUSE  1024


static char *ngx_gsgi_core_init_conf(ngx_cycle_t *cycle, void *conf);

static char *ngx_gsgi_core_check(ngx_cycle_t *cycle,
    ngx_http_gsgi_main_conf_t *gmcf);
static ngx_uint_t ngx_gsgi_core_starting(ngx_cycle_t *cycle);
static char *ngx_gsgi_core_failed(ngx_cycle_t *cycle,
    ngx_http_gsgi_main_conf_t *gmcf, char *err);
static char *ngx_gsgi_core_report(ngx_cycle_t *cycle,
    ngx_http_gsgi_main_conf_t *gmcf, char *err);
static char *ngx_gsgi_core_entry_failed(ngx_cycle_t *cycle,
    ngx_http_gsgi_main_conf_t *gmcf, ngx_http_gsgi_pass_t *pass,
    gsgi_probe_t *probe);
static char *ngx_gsgi_core_check_entries(ngx_cycle_t *cycle,
    ngx_http_gsgi_main_conf_t *gmcf, gsgi_probe_t *probe);
static ngx_uint_t ngx_gsgi_core_serves(gsgi_probe_t *probe, ngx_str_t *entry);

static ngx_int_t ngx_gsgi_core_entries(ngx_cycle_t *cycle,
    ngx_http_gsgi_main_conf_t *gmcf);
static ngx_int_t ngx_gsgi_core_entry(ngx_array_t *entries, ngx_str_t *name);
static char *ngx_gsgi_core_reuse(ngx_cycle_t *cycle,
    ngx_http_gsgi_main_conf_t *gmcf);
static ngx_int_t ngx_gsgi_core_launch(ngx_cycle_t *cycle,
    ngx_http_gsgi_main_conf_t *gmcf);
static ngx_str_t *ngx_gsgi_core_state_dir(ngx_cycle_t *cycle);
static char *ngx_gsgi_core_temp_dir(ngx_cycle_t *cycle);
static void ngx_gsgi_core_lookup(ngx_cycle_t *cycle,
    ngx_http_gsgi_main_conf_t *gmcf);
static void ngx_gsgi_core_cleanup(void *data);


static ngx_core_module_t  ngx_gsgi_core_module_ctx = {
    ngx_string("gsgi"),
    NULL,
    ngx_gsgi_core_init_conf
};


ngx_module_t  ngx_gsgi_core_module = {
    NGX_MODULE_V1,
    &ngx_gsgi_core_module_ctx,             /* module context */
    NULL,                                  /* module directives */
    NGX_CORE_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static char *
ngx_gsgi_core_init_conf(ngx_cycle_t *cycle, void *conf)
{
    ngx_core_conf_t            *ccf;
    ngx_pool_cleanup_t         *cln;
    ngx_http_gsgi_main_conf_t  *gmcf;

    gmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_gsgi_module);

    if (gmcf == NULL || ngx_process == NGX_PROCESS_SIGNALLER) {
        return NGX_CONF_OK;
    }

    if (gmcf->name.len == 0) {

        if (gmcf->status_page) {
            ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                          "\"gsgi_status\" needs a \"gsgi_app\"");
            return NGX_CONF_ERROR;
        }

        return NGX_CONF_OK;
    }

    ngx_gsgi_core_lookup(cycle, gmcf);

    if (ngx_http_gsgi_get_worker()) {
        return ngx_gsgi_core_reuse(cycle, gmcf);
    }

    if (ngx_gsgi_core_entries(cycle, gmcf) != NGX_OK
        || ngx_gsgi_core_launch(cycle, gmcf) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    cln = ngx_pool_cleanup_add(cycle->pool, 0);
    if (cln == NULL) {
        return NGX_CONF_ERROR;
    }

    cln->handler = ngx_gsgi_core_cleanup;
    cln->data = gmcf;

    if (!ngx_test_config) {
        ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx,
                                               ngx_core_module);

        /* workers of an older configuration have records of their own */

        gmcf->records = ngx_max(ccf->worker_processes, 1) * 2;

        gmcf->board = gsgi_parent_board_create((uint32_t) gmcf->records);
        gmcf->running = ngx_http_gsgi_running_create(gmcf->records);

        if (gmcf->board == NULL || gmcf->running == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cycle->log, ngx_errno,
                          "gsgi \"%V\": no memory for figures", &gmcf->name);
            return NGX_CONF_ERROR;
        }
    }

    return ngx_gsgi_core_check(cycle, gmcf);
}


static void
ngx_gsgi_core_cleanup(void *data)
{
    ngx_http_gsgi_main_conf_t *gmcf = data;

    gsgi_parent_image_close(&gmcf->image);

    if (gmcf->board) {
        gsgi_parent_board_destroy(gmcf->board);
        gmcf->board = NULL;
    }

    if (gmcf->running) {
        ngx_http_gsgi_running_destroy(gmcf->running, gmcf->records);
        gmcf->running = NULL;
    }
}


static char *
ngx_gsgi_core_check(ngx_cycle_t *cycle, ngx_http_gsgi_main_conf_t *gmcf)
{
    int               rc;
    char              err[GSGI_ERR_MAX];
    gsgi_probe_t     *probe;
    ngx_core_conf_t  *ccf;

    err[0] = '\0';

    if (gsgi_parent_image_open(&gmcf->image, (char *) gmcf->library.data,
                               ngx_gsgi_core_temp_dir(cycle), err,
                               sizeof(err))
        != GSGI_OK)
    {
        gmcf->image.fd = -1;
        return ngx_gsgi_core_failed(cycle, gmcf, err);
    }

    if (!gmcf->probe) {
        return NGX_CONF_OK;
    }

    probe = ngx_alloc(sizeof(gsgi_probe_t), cycle->log);
    if (probe == NULL) {
        return NGX_CONF_ERROR;
    }

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    rc = gsgi_parent_probe(&gmcf->launch, ccf->username, (uid_t) ccf->user,
                           (gid_t) ccf->group, (uint32_t) gmcf->start_timeout,
                           probe, err, sizeof(err));

    if (rc != GSGI_OK) {
        ngx_free(probe);
        return ngx_gsgi_core_failed(cycle, gmcf, err);
    }

    if (ngx_gsgi_core_check_entries(cycle, gmcf, probe) != NGX_CONF_OK) {
        ngx_free(probe);
        return NGX_CONF_ERROR;
    }

    ngx_free(probe);

    return NGX_CONF_OK;
}


/* not a test, a reload or an upgrade, in which older workers serve */

static ngx_uint_t
ngx_gsgi_core_starting(ngx_cycle_t *cycle)
{
    return !ngx_test_config && !ngx_inherited
           && ngx_is_init_cycle(cycle->old_cycle);
}


/*
 * All but a start is refused; a server that starts goes on without the
 * application and answers 503 in its stead.
 */

static char *
ngx_gsgi_core_failed(ngx_cycle_t *cycle, ngx_http_gsgi_main_conf_t *gmcf,
    char *err)
{
    if (ngx_gsgi_core_report(cycle, gmcf, err) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    gmcf->error.len = ngx_strlen(err);
    gmcf->error.data = ngx_pnalloc(cycle->pool, gmcf->error.len + 1);
    if (gmcf->error.data == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memcpy(gmcf->error.data, err, gmcf->error.len + 1);

    return NGX_CONF_OK;
}


static char *
ngx_gsgi_core_report(ngx_cycle_t *cycle, ngx_http_gsgi_main_conf_t *gmcf,
    char *err)
{
    size_t  len;

    /* the place comes behind the cause, and must not be cut off */

    len = ngx_min(strcspn(err, "\n"), NGX_GSGI_CORE_CAUSE);

    ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                  "gsgi_app \"%V\": %*s in %s:%ui", &gmcf->name, len, err,
                  gmcf->file, gmcf->line);

    ngx_http_gsgi_log_text(NGX_LOG_EMERG, cycle->log, &gmcf->name,
                           err + len, ngx_strlen(err + len));

    return ngx_gsgi_core_starting(cycle) ? NGX_CONF_OK : NGX_CONF_ERROR;
}


/* at a start only the locations of an unknown entry are without it */

static char *
ngx_gsgi_core_check_entries(ngx_cycle_t *cycle,
    ngx_http_gsgi_main_conf_t *gmcf, gsgi_probe_t *probe)
{
    ngx_uint_t              i;
    ngx_http_gsgi_pass_t  **pass;

    pass = gmcf->passes.elts;

    for (i = 0; i < gmcf->passes.nelts; i++) {

        if (ngx_gsgi_core_serves(probe, &pass[i]->entry)) {
            continue;
        }

        if (ngx_gsgi_core_entry_failed(cycle, gmcf, pass[i], probe)
            != NGX_CONF_OK)
        {
            return NGX_CONF_ERROR;
        }

        pass[i]->missing = 1;
    }

    gmcf->entries.nelts = 0;

    if (ngx_gsgi_core_entries(cycle, gmcf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    gmcf->launch.conf.nentries = (uint32_t) gmcf->entries.nelts;

    return NGX_CONF_OK;
}


static ngx_uint_t
ngx_gsgi_core_serves(gsgi_probe_t *probe, ngx_str_t *entry)
{
    uint32_t  n;

    if (entry->len == 0) {
        return probe->nentries == 1;
    }

    for (n = 0; n < probe->nentries; n++) {
        if (ngx_strlen(probe->entries[n]) == entry->len
            && ngx_strncmp(probe->entries[n], entry->data, entry->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


static char *
ngx_gsgi_core_entry_failed(ngx_cycle_t *cycle,
    ngx_http_gsgi_main_conf_t *gmcf, ngx_http_gsgi_pass_t *pass,
    gsgi_probe_t *probe)
{
    u_char    *p, *last;
    uint32_t   n;
    u_char     list[1024], err[2048];

    p = list;
    last = list + sizeof(list) - 1;

    for (n = 0; n < probe->nentries; n++) {
        p = ngx_slprintf(p, last, "%s\"%s\"", n ? ", " : "",
                         probe->entries[n]);
    }

    if (probe->nentries == 0) {
        p = ngx_slprintf(p, last, "none");
    }

    *p = '\0';
    last = err + sizeof(err) - 1;

    if (pass->entry.len == 0) {
        p = ngx_slprintf(err, last,
                         "gsgi_pass \"%V\" in %s:%ui does not say which entry "
                         "of the library serves it, write \"gsgi_pass "
                         "%V:ENTRY\"; the entries are: %s",
                         &pass->value, pass->file, pass->line, &pass->name,
                         list);
    } else {
        p = ngx_slprintf(err, last,
                         "gsgi_pass \"%V\" in %s:%ui names an entry that the "
                         "library does not serve; the entries are: %s",
                         &pass->value, pass->file, pass->line, list);
    }

    *p = '\0';

    return ngx_gsgi_core_report(cycle, gmcf, (char *) err);
}


static ngx_int_t
ngx_gsgi_core_entry(ngx_array_t *entries, ngx_str_t *name)
{
    gsgi_str_t  *entry;
    ngx_uint_t   i;

    entry = entries->elts;

    for (i = 0; i < entries->nelts; i++) {
        if (entry[i].len == name->len
            && ngx_strncmp(entry[i].data, name->data, name->len) == 0)
        {
            return i;
        }
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_gsgi_core_entries(ngx_cycle_t *cycle, ngx_http_gsgi_main_conf_t *gmcf)
{
    ngx_int_t               n;
    gsgi_str_t             *entry;
    ngx_uint_t              i;
    ngx_http_gsgi_pass_t  **pass;

    pass = gmcf->passes.elts;

    for (i = 0; i < gmcf->passes.nelts; i++) {

        if (pass[i]->missing) {
            continue;
        }

        n = ngx_gsgi_core_entry(&gmcf->entries, &pass[i]->entry);

        if (n == NGX_DECLINED) {

            if (gmcf->entries.nelts == NGX_HTTP_GSGI_ENTRIES) {
                ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                              "gsgi_pass \"%V\": more than %d entries in "
                              "%s:%ui", &pass[i]->value,
                              NGX_HTTP_GSGI_ENTRIES, pass[i]->file,
                              pass[i]->line);
                return NGX_ERROR;
            }

            entry = ngx_array_push(&gmcf->entries);
            if (entry == NULL) {
                return NGX_ERROR;
            }

            entry->len = pass[i]->entry.len;
            entry->data = entry->len ? (char *) pass[i]->entry.data : "";

            n = gmcf->entries.nelts - 1;
        }

        pass[i]->index = n;
    }

    return NGX_OK;
}


/*
 * With "master_process off" a reload happens in the process that has the
 * application already, and will have it to its end.
 */

static char *
ngx_gsgi_core_reuse(ngx_cycle_t *cycle, ngx_http_gsgi_main_conf_t *gmcf)
{
    ngx_int_t                 n;
    ngx_uint_t                i;
    ngx_http_gsgi_pass_t    **pass;
    ngx_http_gsgi_worker_t   *w;

    w = ngx_http_gsgi_get_worker();
    pass = gmcf->passes.elts;

    for (i = 0; i < gmcf->passes.nelts; i++) {

        n = ngx_gsgi_core_entry(w->entries, &pass[i]->entry);

        if (n == NGX_DECLINED) {
            ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                          "gsgi_pass \"%V\": a new entry needs a restart when "
                          "\"master_process\" is \"off\" in %s:%ui",
                          &pass[i]->value, pass[i]->file, pass[i]->line);
            return NGX_CONF_ERROR;
        }

        pass[i]->index = n;
    }

    ngx_log_error(NGX_LOG_WARN, cycle->log, 0,
                  "gsgi \"%V\": the application stays as it was loaded, "
                  "\"master_process\" is \"off\"", &gmcf->name);

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_gsgi_core_launch(ngx_cycle_t *cycle, ngx_http_gsgi_main_conf_t *gmcf)
{
    char             **argv, **envp;
    ngx_str_t         *value, *dir;
    ngx_uint_t         i;
    gsgi_launch_t     *launch;
    ngx_core_conf_t   *ccf;

    argv = ngx_pcalloc(cycle->pool, (gmcf->args.nelts + 2) * sizeof(char *));
    envp = ngx_pcalloc(cycle->pool, (gmcf->env.nelts + 1) * sizeof(char *));

    if (argv == NULL || envp == NULL) {
        return NGX_ERROR;
    }

    launch = &gmcf->launch;
    launch->image = &gmcf->image;
    launch->argv = argv;
    launch->envp = envp;
    launch->directory = (char *) gmcf->directory.data;

    *argv++ = (char *) gmcf->library.data;

    value = gmcf->args.elts;

    for (i = 0; i < gmcf->args.nelts; i++) {
        *argv++ = (char *) value[i].data;
    }

    value = gmcf->env.elts;

    for (i = 0; i < gmcf->env.nelts; i++) {
        if (ngx_strlchr(value[i].data, value[i].data + value[i].len, '=')) {
            *envp++ = (char *) value[i].data;
        }
    }

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    launch->conf.size = sizeof(gsgi_start_conf_t);
    launch->conf.abi_major = GSGI_ABI_MAJOR;
    launch->conf.abi_minor = GSGI_ABI_MINOR;
    launch->conf.nentries = (uint32_t) gmcf->entries.nelts;
    launch->conf.entries = gmcf->entries.elts;
    launch->conf.workers = (uint32_t) ngx_max(ccf->worker_processes, 1);
    launch->conf.procs = (uint32_t) gmcf->procs;
    launch->conf.start_timeout = (uint32_t) gmcf->start_timeout;
    launch->conf.stop_timeout = (uint32_t) ccf->shutdown_timeout;
    launch->conf.report_fd = -1;
    launch->conf.memory_limit = (uint64_t) gmcf->memory_limit;
    launch->conf.software.data = NGINX_VER;
    launch->conf.software.len = sizeof(NGINX_VER) - 1;
    launch->conf.name.data = (char *) gmcf->name.data;
    launch->conf.name.len = gmcf->name.len;
    launch->conf.starting = gmcf->probe && ngx_gsgi_core_starting(cycle);

    dir = ngx_gsgi_core_state_dir(cycle);

    if (dir) {
        launch->conf.state_dir.data = (char *) dir->data;
        launch->conf.state_dir.len = dir->len;
    }

    return NGX_OK;
}


/* a directory that nginx makes, and gives to the workers' user */

static ngx_str_t *
ngx_gsgi_core_state_dir(ngx_cycle_t *cycle)
{
    ngx_http_core_srv_conf_t   **cscf;
    ngx_http_core_loc_conf_t    *clcf;
    ngx_http_core_main_conf_t   *cmcf;

    cmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_core_module);

    if (cmcf->servers.nelts == 0) {
        return NULL;
    }

    cscf = cmcf->servers.elts;
    clcf = cscf[0]->ctx->loc_conf[ngx_http_core_module.ctx_index];

    return clcf->client_body_temp_path ? &clcf->client_body_temp_path->name
                                       : NULL;
}


/* nginx makes its own directories later, when it starts for the first time */

static char *
ngx_gsgi_core_temp_dir(ngx_cycle_t *cycle)
{
    ngx_str_t        *dir;
    ngx_file_info_t   fi;

    dir = ngx_gsgi_core_state_dir(cycle);

    if (dir && ngx_file_info(dir->data, &fi) != NGX_FILE_ERROR
        && ngx_is_dir(&fi))
    {
        return (char *) dir->data;
    }

    return "/tmp";
}


static void
ngx_gsgi_core_lookup(ngx_cycle_t *cycle, ngx_http_gsgi_main_conf_t *gmcf)
{
    ngx_uint_t                  i;
    ngx_command_t              *cmd;
    ngx_http_variable_t        *v;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_core_module);

    v = cmcf->variables.elts;

    for (i = 0; i < cmcf->variables.nelts; i++) {
        if (v[i].name.len == 10
            && ngx_strncmp(v[i].name.data, "request_id", 10) == 0)
        {
            gmcf->request_id = i;
        }
    }

    /* the realm is a private matter of its module, but its table is not */

    for (i = 0; cycle->modules[i]; i++) {

        if (ngx_strcmp(cycle->modules[i]->name, "ngx_http_auth_basic_module")
            != 0)
        {
            continue;
        }

        for (cmd = cycle->modules[i]->commands; cmd->name.len; cmd++) {
            if (ngx_strcmp(cmd->name.data, "auth_basic") == 0
                && cmd->set == ngx_http_set_complex_value_slot)
            {
                gmcf->auth_basic = cycle->modules[i];
                gmcf->auth_basic_realm = cmd->offset;
            }
        }
    }
}
