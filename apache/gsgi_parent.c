/*
 * Copyright (C) The GSGI Authors
 *
 * The parent: looks at the application library when the configuration has
 * been read, keeps its image, and tries it out in a throw-away child.
 *
 * httpd reads its configuration twice at the start, unloads this module in
 * between, and never comes to post_config with -t.  So all of this happens
 * in check_config, and what is to be kept lies in the process's pool: data
 * only, no pointers into the module.
 */

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mod_gsgi.h"
#include "mpm_common.h"
#include "unixd.h"

APLOG_USE_MODULE(gsgi);

#define GSGI_START_TIMEOUT  apr_time_from_sec(30)

/* The application as it was when it was found good. */
typedef struct {
    apr_pool_t   *pool;         /* of all of it */
    const char   *name;
    const char   *facts;        /* what the check was made of */
    gsgi_image_t  image;
    char *const  *argv;
    char *const  *envp;
    const char   *directory;
    gsgi_probe_t  probe;
    int           probed;
    int           starting;     /* was the server, then */
} good_t;

typedef struct {
    good_t       *good;         /* NULL: there has been none yet */
    apr_pool_t   *bad_pool;
    const char   *bad_facts;    /* of the last one that was not good */
    const char   *bad_text;
    int           bad_generation;
} keep_t;

static const char *const default_env[] = { "PATH", "TZ", "LANG", NULL };


/* The size is in the key: a module that was exchanged begins anew. */
static keep_t *get_keep(server_rec *s)
{
    apr_pool_t *pool = s->process->pool;
    const char *key = apr_psprintf(pool, "gsgi-%" APR_SIZE_T_FMT "-%"
                                   APR_SIZE_T_FMT, sizeof(keep_t),
                                   sizeof(good_t));
    void *data = NULL;

    apr_pool_userdata_get(&data, key, pool);

    if (!data) {
        data = apr_pcalloc(pool, sizeof(keep_t));
        apr_pool_userdata_setn(data, key, NULL, pool);
    }

    return data;
}

static char *const *list(apr_pool_t *p, const apr_array_header_t *items)
{
    char **v = apr_pcalloc(p, (items->nelts + 1) * sizeof(char *));
    int i;

    for (i = 0; i < items->nelts; i++) {
        v[i] = apr_pstrdup(p, ((const char **) items->elts)[i]);
    }

    return v;
}

static int is_set(const apr_array_header_t *env, const char *name)
{
    const char **all = (const char **) env->elts;
    apr_size_t len = strlen(name);
    int i;

    for (i = 0; i < env->nelts; i++) {
        if (!strncmp(all[i], name, len)
            && (all[i][len] == '=' || all[i][len] == '\0')) {
            return 1;
        }
    }

    return 0;
}

/* The environment of the application: that of GSGIEnv, and a few that a
 * program can hardly do without. */
static apr_array_header_t *environment(apr_pool_t *p)
{
    apr_array_header_t *env = apr_array_make(p, 16, sizeof(char *));
    const char **given = (const char **) gsgi_conf->env->elts;
    const char *const *name;
    const char *value;
    struct passwd *user;
    int i;

    for (i = 0; i < gsgi_conf->env->nelts; i++) {
        if (ap_strchr_c(given[i], '=')) {
            APR_ARRAY_PUSH(env, const char *) = given[i];
        }
    }

    for (name = default_env; *name; name++) {
        value = getenv(*name);

        if (value && !is_set(gsgi_conf->env, *name)) {
            APR_ARRAY_PUSH(env, const char *) =
                apr_pstrcat(p, *name, "=", value, NULL);
        }
    }

    if (!is_set(gsgi_conf->env, "HOME")) {
        /* that of the user whom the children run as */
        user = getpwuid(geteuid() == 0 ? ap_unixd_config.user_id : getuid());
        value = user ? user->pw_dir : "/";
        APR_ARRAY_PUSH(env, const char *) =
            apr_pstrcat(p, "HOME=", value, NULL);
    }

    return env;
}

static apr_interval_time_t start_timeout(void)
{
    return gsgi_conf->start_timeout != -1 ? gsgi_conf->start_timeout
                                          : GSGI_START_TIMEOUT;
}

/* The entries that places of the configuration name. */
static apr_array_header_t *wanted_entries(apr_pool_t *p)
{
    gsgi_target_t **all = (gsgi_target_t **) gsgi_conf->targets->elts;
    apr_array_header_t *entries = apr_array_make(p, 4, sizeof(char *));
    int i;

    for (i = 0; i < gsgi_conf->targets->nelts; i++) {
        APR_ARRAY_PUSH(entries, const char *) = all[i]->entry;
    }

    return entries;
}

/* All that a check depends on, as text. */
static const char *get_facts(apr_pool_t *p, const apr_array_header_t *env)
{
    struct stat st;

    memset(&st, 0, sizeof(st));

    if (stat(gsgi_conf->library, &st) == -1) {
        st.st_ino = 0;
    }

    return apr_psprintf(p, "%s\n%s\n%s\n%s\n%s\n"
                        "%d %ld %ld %ld %ld %ld %ld %ld %" APR_TIME_T_FMT,
                        gsgi_conf->name,
                        apr_array_pstrcat(p, gsgi_conf->args, '\n'),
                        apr_array_pstrcat(p, env, '\n'),
                        apr_array_pstrcat(p, wanted_entries(p), '\n'),
                        gsgi_conf->directory ? gsgi_conf->directory : "",
                        gsgi_conf->probe, (long) st.st_dev, (long) st.st_ino,
                        (long) st.st_size, (long) st.st_mtim.tv_sec,
                        (long) st.st_mtim.tv_nsec,
                        (long) ap_unixd_config.user_id,
                        (long) ap_unixd_config.group_id, start_timeout());
}


/*
 * The check
 */

static gsgi_str_t to_str(const char *text)
{
    gsgi_str_t str;

    str.data = text;
    str.len = strlen(text);

    return str;
}

/* Where the children of all generations may keep locks. */
static const char *state_dir(apr_pool_t *p)
{
    return ap_runtime_dir_relative(p, apr_pstrcat(p, "gsgi-",
                                                  gsgi_conf->name, NULL));
}

static gsgi_launch_t *make_launch(apr_pool_t *p, const good_t *good)
{
    gsgi_launch_t *launch = apr_pcalloc(p, sizeof(*launch));
    const char *dir = state_dir(p);

    launch->image = &good->image;
    launch->argv = good->argv;
    launch->envp = good->envp;
    launch->directory = good->directory;

    launch->conf.size = sizeof(launch->conf);
    launch->conf.abi_major = GSGI_ABI_MAJOR;
    launch->conf.abi_minor = GSGI_ABI_MINOR;
    launch->conf.report_fd = -1;
    launch->conf.start_timeout =
        (uint32_t) apr_time_as_msec(start_timeout());
    launch->conf.stop_timeout = (uint32_t) ap_graceful_shutdown_timeout
                                * 1000;
    launch->conf.memory_limit = gsgi_conf->memory_limit;
    launch->conf.software = to_str(ap_get_server_description());
    launch->conf.name = to_str(gsgi_conf->name);
    launch->conf.state_dir = to_str(dir ? dir : "");
    launch->conf.starting = good->starting;

    return launch;
}

static int probe(apr_pool_t *p, good_t *good, char *err, apr_size_t errlen)
{
    gsgi_launch_t *launch = make_launch(p, good);
    apr_array_header_t *wanted = wanted_entries(p);
    gsgi_str_t *entries = apr_pcalloc(p, (wanted->nelts + 1)
                                         * sizeof(gsgi_str_t));
    const char *user = ap_unixd_config.user_name;
    uid_t uid = (uid_t) -1;
    gid_t gid = (gid_t) -1;
    int i;

    for (i = 0; i < wanted->nelts; i++) {
        entries[i] = to_str(APR_ARRAY_IDX(wanted, i, const char *));
    }

    if (geteuid() == 0) {
        uid = ap_unixd_config.user_id;
        gid = ap_unixd_config.group_id;
    }

    if (!user || user[0] == '#') {
        user = NULL;
    }

    launch->conf.workers = 1;
    launch->conf.entries = entries;
    launch->conf.nentries = (uint32_t) wanted->nelts;

    return gsgi_parent_probe(launch, user, uid, gid,
                             (uint32_t) apr_time_as_msec(start_timeout()),
                             &good->probe, err, errlen);
}

/* The configuration is read for generations 0 and 1 then; httpd -k restart
 * reads it, too, beside the server that it is for. */
static int is_starting(apr_pool_t *p)
{
    pid_t pid;

    return ap_state_query(AP_SQ_RUN_MODE) == AP_SQ_RM_NORMAL
        && ap_state_query(AP_SQ_CONFIG_GEN) <= 1
        && (ap_read_pid(p, ap_pid_fname, &pid) != APR_SUCCESS
            || pid == getpid() || kill(pid, 0) == -1);
}

/* Makes an image of the library and tries it.  NULL: see *text. */
static good_t *examine(server_rec *s, const apr_array_header_t *env,
                       const char *facts, const char **text)
{
    apr_pool_t *pool;
    good_t *good;
    char err[GSGI_ERR_MAX] = "";
    const char *tmp = NULL;

    apr_pool_create(&pool, s->process->pool);
    apr_pool_tag(pool, "gsgi_image");

    good = apr_pcalloc(pool, sizeof(*good));
    good->pool = pool;
    good->name = apr_pstrdup(pool, gsgi_conf->name);
    good->facts = apr_pstrdup(pool, facts);
    good->argv = list(pool, gsgi_conf->args);
    good->envp = list(pool, env);
    good->directory = apr_pstrdup(pool, gsgi_conf->directory);
    good->starting = gsgi_conf->probe != 0 && is_starting(pool);

    apr_temp_dir_get(&tmp, pool);

    if (gsgi_parent_image_open(&good->image, gsgi_conf->library, tmp, err,
                               sizeof(err)) == GSGI_OK) {
        if (gsgi_conf->probe == 0) {
            return good;
        }

        if (probe(pool, good, err, sizeof(err)) == GSGI_OK) {
            good->probed = 1;
            return good;
        }

        gsgi_parent_image_close(&good->image);
    }

    *text = apr_pstrdup(s->process->pconf, err);
    apr_pool_destroy(pool);

    return NULL;
}

static void keep_bad(server_rec *s, keep_t *keep, const char *facts,
                     const char *text)
{
    if (keep->bad_pool) {
        apr_pool_destroy(keep->bad_pool);
    }

    apr_pool_create(&keep->bad_pool, s->process->pool);
    keep->bad_facts = apr_pstrdup(keep->bad_pool, facts);
    keep->bad_text = apr_pstrdup(keep->bad_pool, text);
    keep->bad_generation = ap_state_query(AP_SQ_CONFIG_GEN);
}

/* Children that were forked before have the old image open themselves. */
static void keep_good(keep_t *keep, good_t *good)
{
    if (keep->good) {
        gsgi_parent_image_close(&keep->good->image);
        apr_pool_destroy(keep->good->pool);
    }

    keep->good = good;
}

/* A good application is not tried again as long as all is the same; a bad one
 * is, but for the second reading at the start. */
static void check_library(apr_pool_t *ptemp, server_rec *s, keep_t *keep)
{
    apr_array_header_t *env = environment(ptemp);
    const char *facts = get_facts(ptemp, env);
    const char *text = NULL;
    good_t *good = NULL;
    int generation = ap_state_query(AP_SQ_CONFIG_GEN);

    if (keep->good && !strcmp(keep->good->facts, facts)) {
        return;
    }

    if (keep->bad_facts && !strcmp(keep->bad_facts, facts)
        && generation == 1 && keep->bad_generation == 0) {
        gsgi_conf->failure = keep->bad_text;
        return;
    }

    good = examine(s, env, facts, &text);

    if (good) {
        keep_good(keep, good);
        return;
    }

    gsgi_conf->failure = text;
    keep_bad(s, keep, facts, text);
}


/*
 * Entries
 */

static int has_entry(const good_t *good, const char *entry)
{
    uint32_t i;

    if (!good->probed) {
        return 1;
    }

    if (!*entry) {
        return good->probe.nentries == 1;
    }

    for (i = 0; i < good->probe.nentries; i++) {
        if (!strcmp(good->probe.entries[i], entry)) {
            return 1;
        }
    }

    return 0;
}

static const char *entry_names(apr_pool_t *p, const good_t *good)
{
    const char *names = "";
    uint32_t i;

    for (i = 0; i < good->probe.nentries; i++) {
        names = apr_pstrcat(p, names, i ? ", " : "", gsgi_conf->name, ":",
                            good->probe.entries[i], NULL);
    }

    return names;
}

static const char *missing_entry(apr_pool_t *p, const good_t *good,
                                 const gsgi_target_t *target)
{
    if (*target->entry) {
        return apr_psprintf(p, "on %s: the application has no entry \"%s\"; it "
                            "has %s", target->where, target->entry,
                            entry_names(p, good));
    }

    return apr_psprintf(p, "on %s: \"%s\" has several entries; "
                        "write which one: "
                        "%s", target->where, target->app,
                        entry_names(p, good));
}

/* Numbers the entries that are in use.  Returns what is wrong with one. */
static const char *number_entries(apr_pool_t *p, const good_t *good,
                                  gsgi_launch_t *launch)
{
    gsgi_target_t **all = (gsgi_target_t **) gsgi_conf->targets->elts;
    gsgi_str_t *entries = apr_pcalloc(p, (gsgi_conf->targets->nelts + 1)
                                         * sizeof(gsgi_str_t));
    const char *problem = NULL;
    int n = 0;
    int i;

    for (i = 0; i < gsgi_conf->targets->nelts; i++) {
        all[i]->index = -1;

        if (has_entry(good, all[i]->entry)) {
            all[i]->index = n;
            entries[n++] = to_str(all[i]->entry);
        }
        else if (!problem) {
            problem = missing_entry(p, good, all[i]);
        }
    }

    launch->conf.entries = entries;
    launch->conf.nentries = (uint32_t) n;

    return problem;
}

/* A mistake of the configuration, which httpd refuses at any time. */
static int check_names(server_rec *s)
{
    gsgi_target_t **all = (gsgi_target_t **) gsgi_conf->targets->elts;
    int i;

    for (i = 0; i < gsgi_conf->targets->nelts; i++) {
        if (!gsgi_conf->name) {
            ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_ERR, 0, s,
                         GSGI_LOGNO(0601) "on %s: there is no application "
                         "\"%s\": declare it with GSGIApp %s LIBRARY",
                         all[i]->where, all[i]->app, all[i]->app);
            return HTTP_INTERNAL_SERVER_ERROR;
        }

        if (strcmp(all[i]->app, gsgi_conf->name)) {
            ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_ERR, 0, s,
                         GSGI_LOGNO(0602) "on %s: there is no application "
                         "\"%s\": GSGIApp (%s) declares \"%s\"",
                         all[i]->where, all[i]->app, gsgi_conf->where,
                         gsgi_conf->name);
            return HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    return OK;
}

/* Logs are open only when the configuration is read for the second time,
 * from post_config on. */
static void report(server_rec *s, int level, int test)
{
    if (gsgi_conf->failure) {
        ap_log_error(APLOG_MARK, level, 0, s, GSGI_LOGNO(0603)
                     "%s: application \"%s\": %s%s", gsgi_conf->where,
                     gsgi_conf->name, gsgi_conf->failure,
                     test ? "" : gsgi_conf->launch
                     ? "; it is run as it was before"
                     : "; its locations answer 503");
    }

    if (gsgi_conf->problem) {
        ap_log_error(APLOG_MARK, level, 0, s, GSGI_LOGNO(0604) "%s%s",
                     gsgi_conf->problem,
                     test ? "" : "; this place answers 503");
    }
}

int gsgi_parent_check(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp,
                      server_rec *s)
{
    keep_t *keep;
    int mode = ap_state_query(AP_SQ_RUN_MODE);
    int test = mode == AP_SQ_RM_CONFIG_TEST;

    if (mode == AP_SQ_RM_CONFIG_DUMP) {
        return OK;
    }

    if (check_names(s) != OK) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }

    if (!gsgi_conf->name) {
        return OK;
    }

    gsgi_conf->start_timeout = start_timeout();
    keep = get_keep(s);
    check_library(ptemp, s, keep);

    if (keep->good && !strcmp(keep->good->name, gsgi_conf->name)) {
        gsgi_conf->launch = make_launch(pconf, keep->good);
        gsgi_conf->problem = number_entries(pconf, keep->good,
                                            gsgi_conf->launch);
    }

    if (ap_state_query(AP_SQ_CONFIG_GEN) == 0) {
        report(s, APLOG_STARTUP | (test ? APLOG_ERR : APLOG_EMERG), test);
    }

    return test && (gsgi_conf->failure || gsgi_conf->problem)
           ? HTTP_INTERNAL_SERVER_ERROR : OK;
}


/*
 * What the children share
 */

static apr_status_t drop_shared(void *data)
{
    gsgi_conf_t *conf = data;

    gsgi_parent_board_destroy(conf->board);
    conf->board = NULL;

    if (conf->trails) {
        munmap(conf->trails, conf->ntrails * sizeof(gsgi_trail_t));
        conf->trails = NULL;
        conf->ntrails = 0;
    }

    return APR_SUCCESS;
}

static void make_trails(int children)
{
    void *p = mmap(NULL, children * sizeof(gsgi_trail_t),
                   PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (p != MAP_FAILED) {
        gsgi_conf->trails = p;
        gsgi_conf->ntrails = children;
    }
}

static void make_state_dir(apr_pool_t *p, server_rec *s)
{
    const char *dir = state_dir(p);
    struct stat st;

    if (!dir) {
        return;
    }

    if (apr_dir_make(dir, APR_FPROT_UREAD | APR_FPROT_UWRITE
                          | APR_FPROT_UEXECUTE, p) == APR_SUCCESS
        && geteuid() == 0
        && chown(dir, ap_unixd_config.user_id, ap_unixd_config.group_id)) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, APR_FROM_OS_ERROR(errno), s,
                     GSGI_LOGNO(0605) "%s cannot be given to the user of the "
                     "children", dir);
    }

    if (lstat(dir, &st) == -1 || !S_ISDIR(st.st_mode)) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s, GSGI_LOGNO(0606)
                     "%s cannot be made: goapp.Exclusive does not work", dir);
        gsgi_conf->launch->conf.state_dir = to_str("");
    }
}

int gsgi_parent_prepare(apr_pool_t *pconf, apr_pool_t *plog,
                        apr_pool_t *ptemp, server_rec *s)
{
    int children = 0;

    ap_add_version_component(pconf, "mod_gsgi/" GSGI_VERSION);

    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG) {
        return OK;
    }

    report(s, APLOG_EMERG, 0);

    if (!gsgi_conf->launch) {
        return OK;
    }

    ap_mpm_query(AP_MPMQ_HARD_LIMIT_DAEMONS, &children);
    children = children > 0 ? children : 1;

    gsgi_conf->board = gsgi_parent_board_create((uint32_t) children);
    make_trails(children);
    apr_pool_cleanup_register(pconf, gsgi_conf, drop_shared,
                              apr_pool_cleanup_null);

    make_state_dir(ptemp, s);

    return OK;
}

/* What the application had said when it ended its child. */
static void last_words(void *data, uint32_t pid, const gsgi_log_t *rec,
                       const char *text)
{
    server_rec *s = data;

    ap_log_error(APLOG_MARK, rec->level <= GSGI_LOG_DEBUG
                 ? gsgi_levels[rec->level] : APLOG_DEBUG, 0, s,
                 "gsgi \"%s\": %s (from child %u, which has ended)",
                 gsgi_conf->name, text, pid);
}

/* A child that has left its trail has not come to its end in order. */
void gsgi_parent_child_status(server_rec *s, pid_t pid, ap_generation_t gen,
                              int slot, mpm_child_status state)
{
    gsgi_trail_t *trail;
    int i;

    if (state != MPM_CHILD_EXITED || !gsgi_conf) {
        return;
    }

    if (gsgi_conf->board) {
        gsgi_board_last_words(gsgi_conf->board, (uint32_t) pid, last_words,
                              s);
    }

    for (i = 0; i < gsgi_conf->ntrails; i++) {
        trail = &gsgi_conf->trails[i];

        if (__atomic_load_n(&trail->pid, __ATOMIC_SEQ_CST)
            != (apr_uint32_t) pid) {
            continue;
        }

        trail->youngest[sizeof(trail->youngest) - 1] = '\0';
        __atomic_store_n(&trail->pid, 0, __ATOMIC_SEQ_CST);

        ap_log_error(APLOG_MARK, APLOG_ERR, 0, s, GSGI_LOGNO(0607)
                     "child %" APR_PID_T_FMT " has ended without warning, "
                     "with %u requests in application \"%s\"; the youngest "
                     "was \"%s\"", pid, trail->running, gsgi_conf->name,
                     trail->youngest);
    }
}
