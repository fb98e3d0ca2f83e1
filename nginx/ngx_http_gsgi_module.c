
/*
 * Copyright (C) The GSGI Authors
 */


#include <ngx_http_gsgi_module.h>


static ngx_int_t ngx_http_gsgi_preconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_gsgi_postconfiguration(ngx_conf_t *cf);
static void *ngx_http_gsgi_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_gsgi_init_main_conf(ngx_conf_t *cf, void *conf);
static void *ngx_http_gsgi_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_gsgi_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);

static char *ngx_http_gsgi_app(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *ngx_http_gsgi_env(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *ngx_http_gsgi_directory(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_gsgi_concurrency(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_gsgi_pass(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_gsgi_script_name(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_gsgi_param(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_gsgi_request_timeout(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_gsgi_status(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

static ngx_int_t ngx_http_gsgi_note_variables(ngx_conf_t *cf,
    ngx_str_t *value);
static void ngx_http_gsgi_check_used(ngx_conf_t *cf,
    ngx_http_gsgi_main_conf_t *gmcf);
static ngx_uint_t ngx_http_gsgi_is_variable(ngx_conf_t *cf, ngx_str_t *name);
static ngx_uint_t ngx_http_gsgi_is_name(ngx_str_t *name);
static ngx_int_t ngx_http_gsgi_default_env(ngx_conf_t *cf,
    ngx_http_gsgi_main_conf_t *gmcf);
static ngx_int_t ngx_http_gsgi_add_env(ngx_conf_t *cf, ngx_array_t *env,
    ngx_str_t *value, ngx_uint_t named);


static ngx_conf_num_bounds_t  ngx_http_gsgi_procs_bounds = {
    ngx_conf_check_num_bounds, 1, 1024
};

static char *ngx_http_gsgi_positive_msec(ngx_conf_t *cf, void *post,
    void *data);
static char *ngx_http_gsgi_memory_bounds(ngx_conf_t *cf, void *post,
    void *data);
static char *ngx_http_gsgi_buffer_bounds(ngx_conf_t *cf, void *post,
    void *data);

static ngx_conf_post_t  ngx_http_gsgi_positive_msec_post =
    { ngx_http_gsgi_positive_msec };
static ngx_conf_post_t  ngx_http_gsgi_memory_post =
    { ngx_http_gsgi_memory_bounds };
static ngx_conf_post_t  ngx_http_gsgi_buffer_post =
    { ngx_http_gsgi_buffer_bounds };


static ngx_command_t  ngx_http_gsgi_commands[] = {

    { ngx_string("gsgi_app"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_2MORE,
      ngx_http_gsgi_app,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gsgi_env"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_gsgi_env,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gsgi_directory"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_gsgi_directory,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gsgi_start_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_gsgi_main_conf_t, start_timeout),
      &ngx_http_gsgi_positive_msec_post },

    { ngx_string("gsgi_probe"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_gsgi_main_conf_t, probe),
      NULL },

    { ngx_string("gsgi_procs"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_gsgi_main_conf_t, procs),
      &ngx_http_gsgi_procs_bounds },

    { ngx_string("gsgi_memory_limit"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_off_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_gsgi_main_conf_t, memory_limit),
      &ngx_http_gsgi_memory_post },

    { ngx_string("gsgi_concurrency"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE123,
      ngx_http_gsgi_concurrency,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gsgi_pass"),
      NGX_HTTP_LOC_CONF|NGX_HTTP_LIF_CONF|NGX_CONF_TAKE1,
      ngx_http_gsgi_pass,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gsgi_script_name"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_gsgi_script_name,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gsgi_param"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE23,
      ngx_http_gsgi_param,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gsgi_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gsgi_loc_conf_t, timeout),
      &ngx_http_gsgi_positive_msec_post },

    { ngx_string("gsgi_request_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_gsgi_request_timeout,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gsgi_request_buffering"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gsgi_loc_conf_t, request_buffering),
      NULL },

    { ngx_string("gsgi_buffering"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gsgi_loc_conf_t, buffering),
      NULL },

    { ngx_string("gsgi_buffer"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gsgi_loc_conf_t, buffer),
      &ngx_http_gsgi_buffer_post },

    { ngx_string("gsgi_ignore_client_abort"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gsgi_loc_conf_t, ignore_client_abort),
      NULL },

    { ngx_string("gsgi_intercept_errors"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gsgi_loc_conf_t, intercept_errors),
      NULL },

    { ngx_string("gsgi_accel_redirect"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_gsgi_loc_conf_t, accel_redirect),
      NULL },

    { ngx_string("gsgi_status"),
      NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_gsgi_status,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_gsgi_module_ctx = {
    ngx_http_gsgi_preconfiguration,        /* preconfiguration */
    ngx_http_gsgi_postconfiguration,       /* postconfiguration */

    ngx_http_gsgi_create_main_conf,        /* create main configuration */
    ngx_http_gsgi_init_main_conf,          /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_gsgi_create_loc_conf,         /* create location configuration */
    ngx_http_gsgi_merge_loc_conf           /* merge location configuration */
};


ngx_module_t  ngx_http_gsgi_module = {
    NGX_MODULE_V1,
    &ngx_http_gsgi_module_ctx,             /* module context */
    ngx_http_gsgi_commands,                /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_gsgi_init_process,            /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_gsgi_exit_process,            /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* what an application sees of the master's environment unless told more */

static ngx_str_t  ngx_http_gsgi_env_names[] = {
    ngx_string("PATH"),
    ngx_string("TZ"),
    ngx_string("LANG"),
    ngx_string("HOME"),
    ngx_null_string
};


static ngx_int_t
ngx_http_gsgi_preconfiguration(ngx_conf_t *cf)
{
    return ngx_http_gsgi_add_variables(cf);
}


static ngx_int_t
ngx_http_gsgi_postconfiguration(ngx_conf_t *cf)
{
    ngx_uint_t                   i;
    ngx_http_gsgi_pass_t       **pass;
    ngx_http_gsgi_main_conf_t   *gmcf;

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gsgi_module);

    ngx_http_gsgi_check_used(cf, gmcf);

    pass = gmcf->passes.elts;

    for (i = 0; i < gmcf->passes.nelts; i++) {

        if (pass[i]->name.len == gmcf->name.len
            && ngx_strncmp(pass[i]->name.data, gmcf->name.data, gmcf->name.len)
               == 0)
        {
            continue;
        }

        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "gsgi_pass \"%V\": no application library \"%V\" is "
                      "declared by gsgi_app in %s:%ui",
                      &pass[i]->value, &pass[i]->name, pass[i]->file,
                      pass[i]->line);
        return NGX_ERROR;
    }

    if (gmcf->name.len == 0) {
        return NGX_OK;
    }

    return ngx_http_gsgi_check_abi(cf);
}


static void *
ngx_http_gsgi_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_gsgi_main_conf_t  *gmcf;

    gmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gsgi_main_conf_t));
    if (gmcf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     gmcf->name = { 0, NULL };
     *     gmcf->directory = { 0, NULL };
     *     gmcf->concurrency = 0;
     *     gmcf->board = NULL;
     *     gmcf->error = { 0, NULL };
     */

    gmcf->start_timeout = NGX_CONF_UNSET_MSEC;
    gmcf->probe = NGX_CONF_UNSET;
    gmcf->procs = NGX_CONF_UNSET;
    gmcf->memory_limit = NGX_CONF_UNSET;
    gmcf->request_id = NGX_ERROR;
    gmcf->image.fd = -1;

    if (ngx_array_init(&gmcf->args, cf->pool, 4, sizeof(ngx_str_t)) != NGX_OK
        || ngx_array_init(&gmcf->env, cf->pool, 8, sizeof(ngx_str_t))
           != NGX_OK
        || ngx_array_init(&gmcf->passes, cf->pool, 4,
                          sizeof(ngx_http_gsgi_pass_t *))
           != NGX_OK
        || ngx_array_init(&gmcf->entries, cf->pool, 4, sizeof(gsgi_str_t))
           != NGX_OK
        || ngx_array_init(&gmcf->variables, cf->pool, 8,
                          sizeof(ngx_http_gsgi_used_t))
           != NGX_OK)
    {
        return NULL;
    }

    return gmcf;
}


static char *
ngx_http_gsgi_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_gsgi_main_conf_t *gmcf = conf;

    ngx_conf_init_msec_value(gmcf->start_timeout, 30000);
    ngx_conf_init_value(gmcf->probe, 1);
    ngx_conf_init_value(gmcf->procs, 0);
    ngx_conf_init_value(gmcf->memory_limit, 0);

    if (gmcf->concurrency == 0) {
        gmcf->concurrency = 1024;
        gmcf->queue = 1024;
        gmcf->queue_timeout = 10000;
    }

    if (ngx_http_gsgi_default_env(cf, gmcf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static void *
ngx_http_gsgi_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_gsgi_loc_conf_t  *glcf;

    glcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gsgi_loc_conf_t));
    if (glcf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     glcf->pass = NULL;
     *     glcf->script_name = { 0, NULL };
     */

    glcf->params = NGX_CONF_UNSET_PTR;
    glcf->timeout = NGX_CONF_UNSET_MSEC;
    glcf->request_timeout = NGX_CONF_UNSET_MSEC;
    glcf->buffer = NGX_CONF_UNSET_SIZE;
    glcf->request_buffering = NGX_CONF_UNSET;
    glcf->buffering = NGX_CONF_UNSET;
    glcf->ignore_client_abort = NGX_CONF_UNSET;
    glcf->intercept_errors = NGX_CONF_UNSET;
    glcf->accel_redirect = NGX_CONF_UNSET;

    return glcf;
}


static char *
ngx_http_gsgi_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_gsgi_loc_conf_t *prev = parent;
    ngx_http_gsgi_loc_conf_t *conf = child;

    ngx_http_core_loc_conf_t  *clcf;

    ngx_conf_merge_str_value(conf->script_name, prev->script_name, "");
    ngx_conf_merge_ptr_value(conf->params, prev->params, NULL);
    ngx_conf_merge_msec_value(conf->timeout, prev->timeout, 60000);
    ngx_conf_merge_msec_value(conf->request_timeout,
                              prev->request_timeout, 0);
    ngx_conf_merge_size_value(conf->buffer, prev->buffer, 256 * 1024);
    ngx_conf_merge_value(conf->request_buffering, prev->request_buffering, 1);
    ngx_conf_merge_value(conf->buffering, prev->buffering,
                         NGX_HTTP_GSGI_BUFFERING_AUTO);
    ngx_conf_merge_value(conf->ignore_client_abort,
                         prev->ignore_client_abort, 0);
    ngx_conf_merge_value(conf->intercept_errors, prev->intercept_errors, 0);
    ngx_conf_merge_value(conf->accel_redirect, prev->accel_redirect, 0);

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->noname && conf->pass == NULL) {
        conf->pass = prev->pass;
    }

    if (clcf->lmt_excpt && clcf->handler == NULL && conf->pass) {
        clcf->handler = ngx_http_gsgi_handler;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_gsgi_app(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gsgi_main_conf_t *gmcf = conf;

    ngx_str_t   *value, *arg;
    ngx_uint_t   i;

    value = cf->args->elts;

    if (gmcf->name.data) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "a server instance has one application library, "
                           "and line %ui of %s declares \"%V\"; serve several "
                           "applications from one library with "
                           "goapp.Handle() or ListenAndServe() on other "
                           "addresses, and write \"gsgi_pass %V:ENTRY\"",
                           gmcf->line, gmcf->file, &gmcf->name, &gmcf->name);
        return NGX_CONF_ERROR;
    }

    if (!ngx_http_gsgi_is_name(&value[1])) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid application name \"%V\", letters, digits, "
                           "\"_\", \"-\" and \".\" make one", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (value[2].len == 0) {
        return "has no library";
    }

    gmcf->name = value[1];
    gmcf->library = value[2];
    gmcf->file = cf->conf_file->file.name.data;
    gmcf->line = cf->conf_file->line;

    if (ngx_conf_full_name(cf->cycle, &gmcf->library, 0) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    for (i = 3; i < cf->args->nelts; i++) {
        arg = ngx_array_push(&gmcf->args);
        if (arg == NULL) {
            return NGX_CONF_ERROR;
        }

        *arg = value[i];
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_gsgi_env(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gsgi_main_conf_t *gmcf = conf;

    ngx_str_t  *value;

    value = cf->args->elts;

    if (value[1].len == 0 || value[1].data[0] == '=') {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid environment variable \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    switch (ngx_http_gsgi_add_env(cf, &gmcf->env, &value[1], 1)) {

    case NGX_OK:
        return NGX_CONF_OK;

    case NGX_BUSY:
        return "is duplicate";

    default:
        return NGX_CONF_ERROR;
    }
}


static ngx_int_t
ngx_http_gsgi_default_env(ngx_conf_t *cf, ngx_http_gsgi_main_conf_t *gmcf)
{
    ngx_str_t  *name;

    for (name = ngx_http_gsgi_env_names; name->len; name++) {
        if (ngx_http_gsgi_add_env(cf, &gmcf->env, name, 0) == NGX_ERROR) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_add_env(ngx_conf_t *cf, ngx_array_t *env, ngx_str_t *value,
    ngx_uint_t named)
{
    char        *master;
    u_char      *p;
    size_t       len;
    ngx_str_t   *var;
    ngx_uint_t   i;

    p = ngx_strlchr(value->data, value->data + value->len, '=');
    len = p ? (size_t) (p - value->data) : value->len;

    var = env->elts;

    for (i = 0; i < env->nelts; i++) {
        if (var[i].len >= len
            && ngx_strncmp(var[i].data, value->data, len) == 0
            && (var[i].data[len] == '=' || var[i].data[len] == '\0'))
        {
            return NGX_BUSY;
        }
    }

    master = p ? NULL : getenv((char *) value->data);

    if (p == NULL && master == NULL && !named) {
        return NGX_OK;
    }

    var = ngx_array_push(env);
    if (var == NULL) {
        return NGX_ERROR;
    }

    if (master == NULL) {

        /* a variable that the master has not stays as a bare name */

        *var = *value;
        return NGX_OK;
    }

    var->len = len + 1 + ngx_strlen(master);
    var->data = ngx_pnalloc(cf->pool, var->len + 1);
    if (var->data == NULL) {
        return NGX_ERROR;
    }

    ngx_sprintf(var->data, "%V=%s%Z", value, master);

    return NGX_OK;
}


static char *
ngx_http_gsgi_directory(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gsgi_main_conf_t *gmcf = conf;

    ngx_str_t        *value;
    ngx_file_info_t   fi;

    if (gmcf->directory.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "has an empty path";
    }

    gmcf->directory = value[1];

    if (ngx_conf_full_name(cf->cycle, &gmcf->directory, 0) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_file_info(gmcf->directory.data, &fi) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_file_info_n " \"%V\" failed",
                           &gmcf->directory);
        return NGX_CONF_ERROR;
    }

    if (!ngx_is_dir(&fi)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" is not a directory", &gmcf->directory);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_gsgi_concurrency(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gsgi_main_conf_t *gmcf = conf;

    ngx_int_t    n;
    ngx_str_t   *value, s;
    ngx_uint_t   i, queue, timeout;

    if (gmcf->concurrency) {
        return "is duplicate";
    }

    value = cf->args->elts;

    n = ngx_atoi(value[1].data, value[1].len);
    if (n == NGX_ERROR || n == 0 || n > 65536) {
        i = 1;
        goto invalid;
    }

    gmcf->concurrency = n;
    gmcf->queue = 1024;
    gmcf->queue_timeout = 10000;

    queue = 0;
    timeout = 0;

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "queue=", 6) == 0 && !queue++) {

            n = ngx_atoi(value[i].data + 6, value[i].len - 6);
            if (n == NGX_ERROR || n > 1048576) {
                goto invalid;
            }

            gmcf->queue = n;
            continue;
        }

        if (ngx_strncmp(value[i].data, "timeout=", 8) == 0 && !timeout++) {

            s.data = value[i].data + 8;
            s.len = value[i].len - 8;

            n = ngx_parse_time(&s, 0);
            if (n == NGX_ERROR || n == 0) {
                goto invalid;
            }

            gmcf->queue_timeout = n;
            continue;
        }

        goto invalid;
    }

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\"",
                       &value[i]);
    return NGX_CONF_ERROR;
}


static char *
ngx_http_gsgi_pass(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gsgi_loc_conf_t *glcf = conf;

    u_char                     *p;
    ngx_str_t                  *value;
    ngx_http_gsgi_pass_t       *pass, **ppass;
    ngx_http_core_loc_conf_t   *clcf;
    ngx_http_gsgi_main_conf_t  *gmcf;

    if (glcf->pass) {
        return "is duplicate";
    }

    value = cf->args->elts;

    pass = ngx_pcalloc(cf->pool, sizeof(ngx_http_gsgi_pass_t));
    if (pass == NULL) {
        return NGX_CONF_ERROR;
    }

    pass->value = value[1];
    pass->name = value[1];
    pass->file = cf->conf_file->file.name.data;
    pass->line = cf->conf_file->line;

    p = ngx_strlchr(value[1].data, value[1].data + value[1].len, ':');

    if (p) {
        pass->name.len = p - value[1].data;
        pass->entry.data = p + 1;
        pass->entry.len = value[1].data + value[1].len - p - 1;
    }

    if (!ngx_http_gsgi_is_name(&pass->name)
        || (p && !ngx_http_gsgi_is_name(&pass->entry)))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\", it must be the NAME of a "
                           "gsgi_app or NAME:ENTRY", &value[1]);
        return NGX_CONF_ERROR;
    }

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gsgi_module);

    ppass = ngx_array_push(&gmcf->passes);
    if (ppass == NULL) {
        return NGX_CONF_ERROR;
    }

    *ppass = pass;
    glcf->pass = pass;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    clcf->handler = ngx_http_gsgi_handler;

    if (clcf->name.len && clcf->name.data[clcf->name.len - 1] == '/') {
        clcf->auto_redirect = 1;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_gsgi_script_name(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gsgi_loc_conf_t *glcf = conf;

    ngx_str_t  *value;

    if (glcf->script_name.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len
        && (value[1].data[0] != '/'
            || value[1].data[value[1].len - 1] == '/'))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid mount point \"%V\", it must begin "
                           "with \"/\" and not end with it", &value[1]);
        return NGX_CONF_ERROR;
    }

    glcf->script_name = value[1];

    return NGX_CONF_OK;
}


static char *
ngx_http_gsgi_param(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gsgi_loc_conf_t *glcf = conf;

    ngx_str_t                         *value;
    ngx_http_gsgi_param_t             *param;
    ngx_http_compile_complex_value_t   ccv;

    value = cf->args->elts;

    if (value[1].len == 0 || value[1].len > 65535) {
        return "has an invalid key";
    }

    if (cf->args->nelts == 4
        && ngx_strcmp(value[3].data, "if_not_empty") != 0)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\"",
                           &value[3]);
        return NGX_CONF_ERROR;
    }

    if (glcf->params == NGX_CONF_UNSET_PTR) {
        glcf->params = ngx_array_create(cf->pool, 4,
                                        sizeof(ngx_http_gsgi_param_t));
        if (glcf->params == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    param = ngx_array_push(glcf->params);
    if (param == NULL) {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_gsgi_note_variables(cf, &value[2]) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    param->key = value[1];
    param->skip_empty = (cf->args->nelts == 4);

    ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

    ccv.cf = cf;
    ccv.value = &value[2];
    ccv.complex_value = &param->value;

    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* the core refuses an unknown variable, but cannot tell where it was used */

static ngx_int_t
ngx_http_gsgi_note_variables(ngx_conf_t *cf, ngx_str_t *value)
{
    u_char                      ch, *p, *name, *last;
    ngx_http_gsgi_used_t       *used;
    ngx_http_gsgi_main_conf_t  *gmcf;

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gsgi_module);

    p = value->data;
    last = value->data + value->len;

    while (p < last) {

        if (*p++ != '$') {
            continue;
        }

        if (p < last && *p == '{') {
            p++;
        }

        name = p;

        for ( /* void */ ; p < last; p++) {
            ch = (u_char) (*p | 0x20);

            if ((ch < 'a' || ch > 'z') && (*p < '0' || *p > '9') && *p != '_')
            {
                break;
            }
        }

        if (p == name || (*name >= '0' && *name <= '9')) {
            continue;
        }

        used = ngx_array_push(&gmcf->variables);
        if (used == NULL) {
            return NGX_ERROR;
        }

        used->name.data = ngx_pnalloc(cf->pool, p - name);
        if (used->name.data == NULL) {
            return NGX_ERROR;
        }

        used->name.len = p - name;
        ngx_strlow(used->name.data, name, used->name.len);

        used->file = cf->conf_file->file.name.data;
        used->line = cf->conf_file->line;
    }

    return NGX_OK;
}


static void
ngx_http_gsgi_check_used(ngx_conf_t *cf, ngx_http_gsgi_main_conf_t *gmcf)
{
    ngx_uint_t                  i;
    ngx_http_gsgi_used_t       *used;

    used = gmcf->variables.elts;

    for (i = 0; i < gmcf->variables.nelts; i++) {

        if (!ngx_http_gsgi_is_variable(cf, &used[i].name)) {
            ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                          "gsgi_param uses an unknown \"%V\" variable in "
                          "%s:%ui", &used[i].name, used[i].file, used[i].line);
        }
    }
}


static ngx_uint_t
ngx_http_gsgi_is_variable(ngx_conf_t *cf, ngx_str_t *name)
{
    ngx_uint_t                  i;
    ngx_hash_key_t             *key;
    ngx_http_variable_t        *v;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    key = cmcf->variables_keys->keys.elts;

    for (i = 0; i < cmcf->variables_keys->keys.nelts; i++) {
        if (key[i].key.len == name->len
            && ngx_strncmp(key[i].key.data, name->data, name->len) == 0)
        {
            return 1;
        }
    }

    v = cmcf->prefix_variables.elts;

    for (i = 0; i < cmcf->prefix_variables.nelts; i++) {
        if (v[i].name.len <= name->len
            && ngx_strncmp(v[i].name.data, name->data, v[i].name.len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


static char *
ngx_http_gsgi_request_timeout(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gsgi_loc_conf_t *glcf = conf;

    ngx_int_t   msec;
    ngx_str_t  *value;

    if (glcf->request_timeout != NGX_CONF_UNSET_MSEC) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        glcf->request_timeout = 0;
        return NGX_CONF_OK;
    }

    msec = ngx_parse_time(&value[1], 0);
    if (msec == NGX_ERROR || msec == 0) {
        return "invalid value";
    }

    glcf->request_timeout = msec;

    return NGX_CONF_OK;
}


static char *
ngx_http_gsgi_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t   *clcf;
    ngx_http_gsgi_main_conf_t  *gmcf;

    gmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_gsgi_module);
    gmcf->status_page = 1;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_gsgi_status_handler;

    return NGX_CONF_OK;
}


static char *
ngx_http_gsgi_positive_msec(ngx_conf_t *cf, void *post, void *data)
{
    ngx_msec_t  *msec = data;

    if (*msec == 0 || *msec > NGX_MAX_INT32_VALUE) {
        return "must be longer than 0 and shorter than 24d";
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_gsgi_memory_bounds(ngx_conf_t *cf, void *post, void *data)
{
    off_t  *size = data;

    if (*size < 1024 * 1024) {
        return "must be at least 1m";
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_gsgi_buffer_bounds(ngx_conf_t *cf, void *post, void *data)
{
    size_t  *size = data;

    if (*size < NGX_HTTP_GSGI_BUFFER_MIN || *size > NGX_HTTP_GSGI_BUFFER_MAX) {
        return "must be between 16k and 1g";
    }

    return NGX_CONF_OK;
}


static ngx_uint_t
ngx_http_gsgi_is_name(ngx_str_t *name)
{
    u_char      c, lc;
    ngx_uint_t  i;

    if (name->len == 0 || name->len > 63) {
        return 0;
    }

    for (i = 0; i < name->len; i++) {
        c = name->data[i];
        lc = (u_char) (c | 0x20);

        if ((lc >= 'a' && lc <= 'z') || (c >= '0' && c <= '9')
            || c == '_' || c == '-' || c == '.')
        {
            continue;
        }

        return 0;
    }

    return 1;
}
