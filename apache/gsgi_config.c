/*
 * Copyright (C) The GSGI Authors
 *
 * The directives, and how the configuration of a place is made up from that
 * of the places around it.
 */

#include <errno.h>
#include <stdlib.h>

#include "mod_gsgi.h"
#include "apr_lib.h"

#define GSGI_NAME_MAX     63
#define GSGI_PROCS_MAX    1024
#define GSGI_COUNT_MAX    1000000
#define GSGI_BUFFER_MIN   4096
#define GSGI_BUFFER_MAX   (1 << 30)

gsgi_conf_t  *gsgi_conf;

gsgi_target_t gsgi_target_off = { "off", "off", "", "", -1 };

typedef struct {
    const char *unit;
    apr_int64_t factor;
} gsgi_unit_t;

/* Those of httpd and those of NGINX. */
static const gsgi_unit_t gsgi_times[] = {
    { "", APR_USEC_PER_SEC },
    { "ms", 1000 },
    { "s", APR_USEC_PER_SEC },
    { "m", APR_USEC_PER_SEC * 60 },
    { "mi", APR_USEC_PER_SEC * 60 },
    { "min", APR_USEC_PER_SEC * 60 },
    { "h", APR_USEC_PER_SEC * 3600 },
    { "d", APR_USEC_PER_SEC * 86400 },
    { NULL, 0 }
};

static const gsgi_unit_t gsgi_sizes[] = {
    { "", 1 },
    { "k", 1024 },
    { "m", 1024 * 1024 },
    { "g", 1024 * 1024 * 1024 },
    { NULL, 0 }
};


/*
 * Creation and merge
 */

int gsgi_parent_begin(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    gsgi_conf = apr_pcalloc(pconf, sizeof(*gsgi_conf));

    gsgi_conf->env = apr_array_make(pconf, 8, sizeof(char *));
    gsgi_conf->targets = apr_array_make(pconf, 4, sizeof(gsgi_target_t *));
    gsgi_conf->start_timeout = -1;
    gsgi_conf->queue = 1024;
    gsgi_conf->queue_timeout = apr_time_from_sec(10);
    gsgi_conf->probe = -1;

    return OK;
}

void *gsgi_create_dir_conf(apr_pool_t *p, char *dir)
{
    gsgi_dir_conf *conf = apr_pcalloc(p, sizeof(*conf));

    conf->params = apr_array_make(p, 0, sizeof(gsgi_param_t));
    conf->timeout = -1;
    conf->request_timeout = -1;
    conf->buffer = -1;
    conf->request_buffering = -1;
    conf->buffering = -1;
    conf->ignore_client_abort = -1;
    conf->error_override = -1;
    conf->sendfile = -1;

    return conf;
}

/* A key that is set again replaces the one from outside. */
static apr_array_header_t *merge_params(apr_pool_t *p,
                                        apr_array_header_t *base,
                                        apr_array_header_t *add)
{
    apr_array_header_t *params;
    gsgi_param_t *outer = (gsgi_param_t *) base->elts;
    gsgi_param_t *inner = (gsgi_param_t *) add->elts;
    int i, j;

    if (!add->nelts || !base->nelts) {
        return add->nelts ? add : base;
    }

    params = apr_array_make(p, base->nelts + add->nelts,
                            sizeof(gsgi_param_t));

    for (i = 0; i < base->nelts; i++) {
        for (j = 0; j < add->nelts; j++) {
            if (!strcmp(outer[i].key, inner[j].key)) {
                break;
            }
        }

        if (j == add->nelts) {
            APR_ARRAY_PUSH(params, gsgi_param_t) = outer[i];
        }
    }

    apr_array_cat(params, add);

    return params;
}

#define GSGI_MERGE(field, unset) \
    conf->field = add->field != (unset) ? add->field : base->field

void *gsgi_merge_dir_conf(apr_pool_t *p, void *basev, void *addv)
{
    gsgi_dir_conf *base = basev;
    gsgi_dir_conf *add = addv;
    gsgi_dir_conf *conf = apr_pcalloc(p, sizeof(*conf));

    GSGI_MERGE(target, NULL);
    conf->place = add->target ? add->place : base->place;
    GSGI_MERGE(script_name, NULL);
    GSGI_MERGE(timeout, -1);
    GSGI_MERGE(request_timeout, -1);
    GSGI_MERGE(buffer, -1);
    GSGI_MERGE(request_buffering, -1);
    GSGI_MERGE(buffering, -1);
    GSGI_MERGE(ignore_client_abort, -1);
    GSGI_MERGE(error_override, -1);
    GSGI_MERGE(sendfile, -1);

    conf->params = merge_params(p, base->params, add->params);

    return conf;
}

void *gsgi_create_server_conf(apr_pool_t *p, server_rec *s)
{
    gsgi_server_conf *conf = apr_pcalloc(p, sizeof(*conf));

    conf->aliases = apr_array_make(p, 0, sizeof(gsgi_alias_t));

    return conf;
}

/* As with Alias: those of the virtual host are looked at first. */
void *gsgi_merge_server_conf(apr_pool_t *p, void *basev, void *addv)
{
    gsgi_server_conf *base = basev;
    gsgi_server_conf *add = addv;
    gsgi_server_conf *conf = apr_pcalloc(p, sizeof(*conf));

    conf->aliases = apr_array_append(p, add->aliases, base->aliases);

    return conf;
}


/*
 * Values
 */

static const char *where(cmd_parms *cmd)
{
    return apr_psprintf(cmd->pool, "line %d of %s", cmd->directive->line_num,
                        cmd->directive->filename);
}

static const char *refuse(cmd_parms *cmd, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static const char *refuse(cmd_parms *cmd, const char *fmt, ...)
{
    const char *text;
    va_list args;

    va_start(args, fmt);
    text = apr_pvsprintf(cmd->pool, fmt, args);
    va_end(args);

    return apr_pstrcat(cmd->pool, cmd->cmd->name, ": ", text, NULL);
}

static const char *refuse_twice(cmd_parms *cmd)
{
    return refuse(cmd, "is given twice here");
}

/* Digits and a unit, nothing else.  Returns -1 for what is not that. */
static apr_int64_t parse_number(const char *arg, const gsgi_unit_t *units)
{
    const char *end = arg;
    apr_int64_t n;

    while (apr_isdigit(*end)) {
        end++;
    }

    errno = 0;
    n = apr_strtoi64(arg, NULL, 10);

    if (end == arg || errno != 0) {
        return -1;
    }

    for (; units->unit; units++) {
        if (!ap_cstr_casecmp(end, units->unit)) {
            return n <= APR_INT64_MAX / units->factor ? n * units->factor
                                                      : -1;
        }
    }

    return -1;
}

static const char *set_time(cmd_parms *cmd, const char *arg, int off,
                            apr_interval_time_t *time)
{
    *time = 0;

    if (off && !ap_cstr_casecmp(arg, "off")) {
        return NULL;
    }

    *time = parse_number(arg, gsgi_times);

    if (*time <= 0 || *time > apr_time_from_sec(GSGI_COUNT_MAX)) {
        return refuse(cmd, "\"%s\" is not a time above 0, as in 500ms, 60s "
                      "or 5m%s", arg, off ? ", nor off" : "");
    }

    return NULL;
}

static const char *set_switch(cmd_parms *cmd, const char *arg, int *on)
{
    if (*on != -1) {
        return refuse_twice(cmd);
    }

    if (ap_cstr_casecmp(arg, "on") && ap_cstr_casecmp(arg, "off")) {
        return refuse(cmd, "must be On or Off, not \"%s\"", arg);
    }

    *on = !ap_cstr_casecmp(arg, "on");

    return NULL;
}

static const char *set_count(cmd_parms *cmd, const char *arg, int min,
                             int max, int *count)
{
    static const gsgi_unit_t plain[] = { { "", 1 }, { NULL, 0 } };
    apr_int64_t n = parse_number(arg, plain);

    if (n < min || n > max) {
        return refuse(cmd, "\"%s\" is not a number between %d and %d", arg,
                      min, max);
    }

    *count = (int) n;

    return NULL;
}

static int valid_name(const char *name)
{
    const char *c;

    for (c = name; *c; c++) {
        if (!apr_isalnum(*c) && !strchr("_-.", *c)) {
            return 0;
        }
    }

    return c != name && c - name <= GSGI_NAME_MAX;
}

/* Finds or makes the target of NAME[:ENTRY]. */
static const char *set_target(cmd_parms *cmd, const char *arg,
                              gsgi_target_t **target)
{
    const char *colon = ap_strchr_c(arg, ':');
    const char *name = colon ? apr_pstrmemdup(cmd->pool, arg, colon - arg)
                             : arg;
    const char *entry = colon ? colon + 1 : "";
    gsgi_target_t **all = (gsgi_target_t **) gsgi_conf->targets->elts;
    int i;

    if (!valid_name(name) || (colon && !valid_name(entry))) {
        return refuse(cmd, "\"%s\" is not NAME or NAME:ENTRY (letters, "
                      "digits, \"_\", \"-\" and \".\")", arg);
    }

    for (i = 0; i < gsgi_conf->targets->nelts; i++) {
        if (!strcmp(all[i]->app, name) && !strcmp(all[i]->entry, entry)) {
            *target = all[i];
            return NULL;
        }
    }

    *target = apr_pcalloc(cmd->pool, sizeof(**target));
    (*target)->name = arg;
    (*target)->app = name;
    (*target)->entry = entry;
    (*target)->where = where(cmd);
    (*target)->index = -1;

    APR_ARRAY_PUSH(gsgi_conf->targets, gsgi_target_t *) = *target;

    return NULL;
}


/*
 * Directives of the server instance
 */

const char *gsgi_set_app(cmd_parms *cmd, void *dv, int argc,
                         char *const argv[])
{
    const char *library;
    int i;

    if (argc < 2) {
        return refuse(cmd, "takes a name and a library, then its arguments");
    }

    if (gsgi_conf->name) {
        return refuse(cmd, "there is an application already, \"%s\" (%s); a "
                      "process can have one Go runtime only, so build both "
                      "into one library with an entry for each "
                      "(goapp.Handle) and use them as NAME:ENTRY",
                      gsgi_conf->name, gsgi_conf->where);
    }

    if (!valid_name(argv[0]) || !strcmp(argv[0], "off")) {
        return refuse(cmd, "\"%s\" is not a name of letters, digits, \"_\", "
                      "\"-\" and \".\" (nor may it be off)", argv[0]);
    }

    library = ap_server_root_relative(cmd->pool, argv[1]);

    if (!library) {
        return refuse(cmd, "\"%s\" is not a path", argv[1]);
    }

    gsgi_conf->name = argv[0];
    gsgi_conf->library = library;
    gsgi_conf->where = where(cmd);
    gsgi_conf->args = apr_array_make(cmd->pool, argc, sizeof(char *));
    APR_ARRAY_PUSH(gsgi_conf->args, const char *) = library;

    for (i = 2; i < argc; i++) {
        APR_ARRAY_PUSH(gsgi_conf->args, const char *) = argv[i];
    }

    return NULL;
}

const char *gsgi_set_env(cmd_parms *cmd, void *dv, const char *arg)
{
    apr_size_t len = strcspn(arg, "=");
    const char **all = (const char **) gsgi_conf->env->elts;
    const char *value;
    int i;

    if (len == 0) {
        return refuse(cmd, "\"%s\" has no name; it is NAME=VALUE, or NAME",
                      arg);
    }

    for (i = 0; i < gsgi_conf->env->nelts; i++) {
        if (strcspn(all[i], "=") == len && !strncmp(all[i], arg, len)) {
            return refuse(cmd, "\"%.*s\" is set twice", (int) len, arg);
        }
    }

    if (arg[len] == '\0') {
        /* kept without "=" when the server does not have it: not inherited
         * by the defaults either */
        value = getenv(arg);
        arg = value ? apr_pstrcat(cmd->pool, arg, "=", value, NULL) : arg;
    }

    APR_ARRAY_PUSH(gsgi_conf->env, const char *) = arg;

    return NULL;
}

const char *gsgi_set_directory(cmd_parms *cmd, void *dv, const char *arg)
{
    if (gsgi_conf->directory) {
        return refuse_twice(cmd);
    }

    gsgi_conf->directory = ap_server_root_relative(cmd->pool, arg);

    if (!gsgi_conf->directory
        || !ap_is_directory(cmd->temp_pool, gsgi_conf->directory)) {
        return refuse(cmd, "\"%s\" is not a directory", arg);
    }

    return NULL;
}

const char *gsgi_set_start_timeout(cmd_parms *cmd, void *dv, const char *arg)
{
    if (gsgi_conf->start_timeout != -1) {
        return refuse_twice(cmd);
    }

    return set_time(cmd, arg, 0, &gsgi_conf->start_timeout);
}

const char *gsgi_set_probe(cmd_parms *cmd, void *dv, const char *arg)
{
    return set_switch(cmd, arg, &gsgi_conf->probe);
}

const char *gsgi_set_procs(cmd_parms *cmd, void *dv, const char *arg)
{
    if (gsgi_conf->procs) {
        return refuse_twice(cmd);
    }

    return set_count(cmd, arg, 1, GSGI_PROCS_MAX, &gsgi_conf->procs);
}

const char *gsgi_set_memory_limit(cmd_parms *cmd, void *dv, const char *arg)
{
    apr_int64_t n = parse_number(arg, gsgi_sizes);

    if (gsgi_conf->memory_limit) {
        return refuse_twice(cmd);
    }

    if (n < 1024 * 1024) {
        return refuse(cmd, "\"%s\" is not a size of 1m or more, as in 512m "
                      "or 2g", arg);
    }

    gsgi_conf->memory_limit = (apr_uint64_t) n;

    return NULL;
}

const char *gsgi_set_concurrency(cmd_parms *cmd, void *dv, int argc,
                                 char *const argv[])
{
    const char *err;
    int queue = -1;
    apr_interval_time_t timeout = -1;
    int i;

    if (gsgi_conf->concurrency) {
        return refuse_twice(cmd);
    }

    if (argc < 1) {
        return refuse(cmd, "takes a number, then queue=N and timeout=TIME");
    }

    err = set_count(cmd, argv[0], 1, GSGI_COUNT_MAX, &gsgi_conf->concurrency);

    for (i = 1; i < argc && !err; i++) {
        if (!strncmp(argv[i], "queue=", 6) && queue == -1) {
            err = set_count(cmd, argv[i] + 6, 0, GSGI_COUNT_MAX, &queue);
        }
        else if (!strncmp(argv[i], "timeout=", 8) && timeout == -1) {
            err = set_time(cmd, argv[i] + 8, 0, &timeout);
        }
        else {
            err = refuse(cmd, "\"%s\" is not queue=N or timeout=TIME, each "
                         "once", argv[i]);
        }
    }

    if (queue != -1) {
        gsgi_conf->queue = queue;
    }

    if (timeout != -1) {
        gsgi_conf->queue_timeout = timeout;
    }

    return err;
}


/*
 * Directives of a place
 */

const char *gsgi_set_pass(cmd_parms *cmd, void *dv, const char *arg)
{
    gsgi_dir_conf *conf = dv;

    if (conf->target) {
        return refuse_twice(cmd);
    }

    conf->place = cmd->path;

    if (!strcmp(arg, "off")) {
        conf->target = &gsgi_target_off;
        return NULL;
    }

    return set_target(cmd, arg, &conf->target);
}

/* A path without a slash at its end, empty for /, or NULL. */
static const char *mount_point(const char *arg)
{
    if (arg[0] != '/' || ap_strstr_c(arg, "//") || ap_strstr_c(arg, "/../")
        || ap_strstr_c(arg, "/./") || strpbrk(arg, "?#")
        || (arg[1] && arg[strlen(arg) - 1] == '/')) {
        return NULL;
    }

    return arg[1] ? arg : "";
}

const char *gsgi_set_alias(cmd_parms *cmd, void *dv, const char *url,
                           const char *arg)
{
    gsgi_server_conf *conf = ap_get_module_config(cmd->server->module_config,
                                                  &gsgi_module);
    gsgi_alias_t *all = (gsgi_alias_t *) conf->aliases->elts;
    gsgi_alias_t *alias;
    gsgi_target_t *target;
    const char *mount = mount_point(url);
    const char *err;
    int i;

    if (!mount) {
        return refuse(cmd, "\"%s\" is not a URL path without a slash at its "
                      "end, as in /blog", url);
    }

    for (i = 0; i < conf->aliases->nelts; i++) {
        if (!strcmp(all[i].url, mount)) {
            return refuse(cmd, "\"%s\" has an application already", url);
        }
    }

    if ((err = set_target(cmd, arg, &target))) {
        return err;
    }

    alias = apr_array_push(conf->aliases);
    alias->url = mount;
    alias->len = strlen(mount);
    alias->target = target;

    return NULL;
}

const char *gsgi_set_script_name(cmd_parms *cmd, void *dv, const char *arg)
{
    gsgi_dir_conf *conf = dv;

    if (conf->script_name) {
        return refuse_twice(cmd);
    }

    conf->script_name = mount_point(arg);

    if (!conf->script_name) {
        return refuse(cmd, "\"%s\" is not a URL path without a slash at its "
                      "end, as in /blog", arg);
    }

    return NULL;
}

/*
 * Takes its line as it is: TAKE23 takes an empty value for a missing one.  A
 * key may be repeated, the last one counts.
 */
const char *gsgi_set_param(cmd_parms *cmd, void *dv, const char *args)
{
    gsgi_dir_conf *conf = dv;
    gsgi_param_t *param;
    const char *key, *value, *flag;
    const char *err = NULL;

    key = ap_getword_conf(cmd->pool, &args);

    if (!*args) {
        return refuse(cmd, "takes a key of the environ and its value");
    }

    value = ap_getword_conf(cmd->pool, &args);
    flag = ap_getword_conf(cmd->pool, &args);

    if (*args) {
        return refuse(cmd, "takes two or three arguments");
    }

    if (*flag && strcmp(flag, "if_not_empty")) {
        return refuse(cmd, "\"%s\" is not if_not_empty", flag);
    }

    if (!*key || strlen(key) > 1024) {
        return refuse(cmd, "\"%.40s\" is not a key", key);
    }

    param = apr_array_push(conf->params);
    param->key = key;
    param->if_not_empty = *flag != '\0';
    param->text = NULL;
    param->expr = NULL;

    if (!ap_strchr_c(value, '%') && !ap_strchr_c(value, '\\')) {
        param->text = value;
        return NULL;
    }

    param->expr = ap_expr_parse_cmd(cmd, value, AP_EXPR_FLAG_STRING_RESULT,
                                    &err, NULL);

    return err ? refuse(cmd, "\"%s\" is not an expression: %s", value, err)
               : NULL;
}

const char *gsgi_set_time(cmd_parms *cmd, void *dv, const char *arg)
{
    apr_interval_time_t *time = (apr_interval_time_t *)
        ((char *) dv + (apr_size_t) cmd->info);
    int off = cmd->info == (void *) APR_OFFSETOF(gsgi_dir_conf,
                                                 request_timeout);

    return *time != -1 ? refuse_twice(cmd) : set_time(cmd, arg, off, time);
}

const char *gsgi_set_flag(cmd_parms *cmd, void *dv, const char *arg)
{
    return set_switch(cmd, arg, (int *) ((char *) dv
                                         + (apr_size_t) cmd->info));
}

const char *gsgi_set_buffer(cmd_parms *cmd, void *dv, const char *arg)
{
    gsgi_dir_conf *conf = dv;
    apr_int64_t n = parse_number(arg, gsgi_sizes);

    if (conf->buffer != -1) {
        return refuse_twice(cmd);
    }

    if (n < GSGI_BUFFER_MIN || n > GSGI_BUFFER_MAX) {
        return refuse(cmd, "\"%s\" is not a size between 4k and 1g", arg);
    }

    conf->buffer = n;

    if (n > gsgi_conf->buffer_max) {
        gsgi_conf->buffer_max = n;
    }

    return NULL;
}
