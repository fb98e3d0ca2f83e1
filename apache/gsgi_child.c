/*
 * Copyright (C) The GSGI Authors
 *
 * A child process: starts the application, watches it from a thread of its
 * own, and ends it.
 */

#include <dlfcn.h>
#include <poll.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "mod_gsgi.h"
#include "ap_listen.h"
#include "apr_thread_proc.h"
#include "apr_signal.h"
#include "mpm_common.h"

APLOG_USE_MODULE(gsgi);

#define GSGI_CREDIT        (256 * 1024)
#define GSGI_CONCURRENCY   1024
#define GSGI_SLOTS_MAX     16384
#define GSGI_CHUNKS_MAX    (256 * 1024)
#define GSGI_CHUNKS_KEEP   64

#define GSGI_SPIN          5000                 /* ns, with CPUs to spare */
#define GSGI_TICK          GSGI_SECOND
#define GSGI_STOP_WAIT     2000                 /* ms */
#define GSGI_STOP_MAX      30000
#define GSGI_HANDLERS_WAIT 5

gsgi_child_t gsgi_child;

static gsgi_board_worker_t  no_worker;
static gsgi_trail_t         no_trail;

static apr_thread_t        *monitor;
static int                  monitor_ends;       /* atomic */
static int                  drained;
static int                  retired;
static uint32_t             seen_state;
static char                 check_error[GSGI_ERR_MAX];

const int gsgi_levels[] = {
    APLOG_DEBUG, APLOG_EMERG, APLOG_ALERT, APLOG_CRIT, APLOG_ERR,
    APLOG_WARNING, APLOG_NOTICE, APLOG_INFO, APLOG_DEBUG
};


apr_uint64_t gsgi_clock(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (apr_uint64_t) ts.tv_sec * GSGI_SECOND + (apr_uint64_t) ts.tv_nsec;
}


/*
 * Log
 */

void gsgi_log_limited(request_rec *r, gsgi_limited_e kind, const char *text)
{
    static apr_uint64_t last[GSGI_LIMITED_KINDS];       /* atomic */
    static apr_uint32_t left_out[GSGI_LIMITED_KINDS];
    apr_uint64_t now = gsgi_clock();
    apr_uint64_t before = __atomic_load_n(&last[kind], __ATOMIC_SEQ_CST);
    apr_uint32_t n;

    if ((before && now - before < GSGI_SECOND)
        || !__atomic_compare_exchange_n(&last[kind], &before, now, 0,
                                        __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST)) {
        __atomic_fetch_add(&left_out[kind], 1, __ATOMIC_SEQ_CST);
        return;
    }

    n = __atomic_exchange_n(&left_out[kind], 0, __ATOMIC_SEQ_CST);

    if (n) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, GSGI_LOGNO(0501)
                      "503 from application \"%s\": %s (and %u more since "
                      "the last such message)", gsgi_conf->name, text, n);
    }
    else {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, GSGI_LOGNO(0501)
                      "503 from application \"%s\": %s", gsgi_conf->name,
                      text);
    }
}

/* The request may be over: what is said of it here is a copy. */
static void log_record(const gsgi_log_t *rec, const char *text)
{
    int level = rec->level <= GSGI_LOG_DEBUG ? gsgi_levels[rec->level]
                                             : APLOG_DEBUG;
    gsgi_owner_t *owner;

    if (rec->slot && rec->slot <= gsgi_child.region->nslots) {
        owner = &gsgi_child.owners[rec->slot - 1];

        if (__atomic_load_n(&owner->gen, __ATOMIC_ACQUIRE) == rec->gen) {
            ap_log_error(APLOG_MARK, level, 0, owner->server,
                         "gsgi \"%s\" [client %s:%d] [%s]: %s",
                         gsgi_conf->name, owner->client, (int) owner->port,
                         owner->id, text);
            return;
        }
    }

    ap_log_error(APLOG_MARK, level, 0, gsgi_child.server, "gsgi \"%s\": %s",
                 gsgi_conf->name, text);
}

static void drain_log(void)
{
    char text[GSGI_LOG_MAX + 1];
    gsgi_log_t rec;

    while (gsgi_log_next(gsgi_child.bridge, &rec, text) == GSGI_OK) {
        log_record(&rec, text);
    }
}


/*
 * The monitor's thread
 */

static void note_state(void)
{
    uint32_t state = __atomic_load_n(&gsgi_child.region->app_state,
                                     __ATOMIC_SEQ_CST);
    const char *why;

    if (state == seen_state) {
        return;
    }

    seen_state = state;
    __atomic_store_n(&gsgi_child.worker->state, state, __ATOMIC_RELAXED);
    gsgi_queue_wake();

    if (state == GSGI_APP_READY) {
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, gsgi_child.server,
                     GSGI_LOGNO(0502) "application \"%s\" is ready, from %s "
                     "(build %s)", gsgi_conf->name,
                     gsgi_conf->launch->image->path,
                     *gsgi_conf->launch->image->build_id
                     ? gsgi_conf->launch->image->build_id : "unknown");
    }
    else if (state == GSGI_APP_FAILED) {
        /* an application that was loaded has said why itself */
        why = gsgi_app_error(gsgi_child.app);
        ap_log_error(APLOG_MARK, APLOG_EMERG, 0, gsgi_child.server,
                     GSGI_LOGNO(0503) "application \"%s\" has failed, its "
                     "requests are answered with 503 by this process: %s",
                     gsgi_conf->name,
                     *why ? why : "see its messages above");
    }
}

static int is_stopping(void)
{
    int state;

    if (__atomic_load_n(&gsgi_child.stopping, __ATOMIC_SEQ_CST)) {
        return 1;
    }

    /* prefork calls child_stopping when it has stopped already */
    return ap_mpm_query(AP_MPMQ_MPM_STATE, &state) == APR_SUCCESS
           && state == AP_MPMQ_STOPPING;
}

/*
 * The application learns of the end at once, and goes on serving: connections
 * that were accepted may have their requests on the way.  One that starts is
 * not disturbed, as requests wait for it.
 */
static void drain(void)
{
    int signo;

    if (drained || seen_state == GSGI_APP_STARTING || !is_stopping()) {
        return;
    }

    drained = 1;

    /* the MPM's handler of SIGTERM may not be wrapped yet, see hurry() */
    (void) gsgi_signals_check(&signo);

    gsgi_app_drain(gsgi_child.app);
}

/* A child that ends gracefully is told by SIGTERM that its time is over.  The
 * MPM's threads do not hear of it. */
static void hurry(void)
{
    int graceful = GSGI_STOPPING_GRACEFUL;

    if (gsgi_child.threaded && gsgi_signals_count(SIGTERM)) {
        __atomic_compare_exchange_n(&gsgi_child.stopping, &graceful,
                                    GSGI_STOPPING_AT_ONCE, 0,
                                    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
}

/* The MPM takes this for a lack of resources: the child accepts no more,
 * serves what it has, ends and is replaced. */
static apr_status_t accept_no_more(void **accepted, ap_listen_rec *lr,
                                   apr_pool_t *ptrans)
{
    *accepted = NULL;

    return APR_EGENERAL;
}

/* Handlers that do not end after their time-out are got rid of with their
 * process. */
static void retire(void)
{
    uint32_t abandoned = __atomic_load_n(&gsgi_child.region->abandoned,
                                         __ATOMIC_SEQ_CST);
    uint32_t limit = gsgi_conf->concurrency ? gsgi_conf->concurrency
                                            : GSGI_CONCURRENCY;
    ap_listen_rec *lr;

    int asked = __atomic_load_n(&gsgi_child.region->retire, __ATOMIC_SEQ_CST);

    if (retired || (!asked && (abandoned == 0 || abandoned * 2 < limit))) {
        return;
    }

    retired = 1;

    if (asked) {
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, gsgi_child.server,
                     GSGI_LOGNO(0513) "this process drains and is replaced, "
                     "as application \"%s\" asks", gsgi_conf->name);
    }
    else {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, gsgi_child.server,
                     GSGI_LOGNO(0504) "%u requests were abandoned by "
                     "time-outs and their handlers of application \"%s\" "
                     "have not ended; this process drains and is replaced",
                     abandoned, gsgi_conf->name);
    }

    if (!ap_exists_config_define("ONE_PROCESS")) {
        for (lr = ap_listeners; lr; lr = lr->next) {
            lr->accept_func = accept_no_more;
        }
    }
}

static void check_signals(void)
{
    int signo = 0;

    /* at the end the MPM itself lets go of them */
    if (!is_stopping() && gsgi_signals_check(&signo) > 0) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, gsgi_child.server,
                     GSGI_LOGNO(0505) "application \"%s\" has taken signal "
                     "%d from the server, which has it again; use "
                     "goapp.Context to learn of the end", gsgi_conf->name,
                     signo);
    }
}

static void check_runtimes(void)
{
    char text[GSGI_ERR_MAX];

    while (gsgi_app_runtimes(gsgi_child.app, text, sizeof(text))) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, gsgi_child.server,
                     GSGI_LOGNO(0512) "application \"%s\": %s",
                     gsgi_conf->name, text);
    }
}

static void tick(void)
{
    gsgi_board_worker_t *w = gsgi_child.worker;
    gsgi_region_t *region = gsgi_child.region;

    check_signals();
    check_runtimes();
    gsgi_chunk_trim(gsgi_child.bridge);
    retire();

    w->queued = gsgi_queue_length();
    w->in_flight = region->in_flight;
    w->abandoned = region->abandoned;
    w->active = region->slots_used;
}

static void *APR_THREAD_FUNC watch(apr_thread_t *thread, void *data)
{
    apr_uint64_t next = 0;
    apr_uint64_t now;
    uint64_t count;
    struct pollfd pfd;
    int ms;

    apr_setup_signal_thread();

    pfd.fd = gsgi_child.region->host_efd;
    pfd.events = POLLIN;

    while (!__atomic_load_n(&monitor_ends, __ATOMIC_SEQ_CST)) {
        drain_log();
        note_state();

        now = gsgi_clock();

        if (now >= next) {
            next = now + GSGI_TICK;
            tick();
        }

        drain();
        hurry();

        if (gsgi_completion_sleep(gsgi_child.bridge) != GSGI_OK) {
            continue;
        }

        ms = (int) ((next - now) / GSGI_MILLISECOND) + 1;

        /* the MPM sets its last handlers after child_init, and the
         * application may take them from it at once */
        if (now - gsgi_child.started < GSGI_SECOND) {
            gsgi_signals_adopt();
            ms = ms < GSGI_HANDLERS_WAIT ? ms : GSGI_HANDLERS_WAIT;
        }

        if (poll(&pfd, 1, ms) > 0
            && read(pfd.fd, &count, sizeof(count)) == -1) {
            continue;
        }
    }

    drain_log();

    return NULL;
}

static void wake_monitor(void)
{
    uint64_t one = 1;

    if (write(gsgi_child.region->host_efd, &one, sizeof(one)) == -1) {
        return;     /* it is full: it wakes all the same */
    }
}


/*
 * Start and end
 */

static int count_cpus(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

/* 0: the runtime takes it from the environment of the application. */
static uint32_t default_procs(const gsgi_launch_t *launch, int threaded)
{
    int cpus = count_cpus();
    int wanted = threaded ? 2 : 1;
    char *const *env;

    for (env = launch->envp; *env; env++) {
        if (!strncmp(*env, "GOMAXPROCS=", 11)) {
            return 0;
        }
    }

    return (uint32_t) (cpus < wanted ? cpus : wanted);
}

/*
 * Besides the MPM's threads, mod_http2 has its own for requests; and slots of
 * abandoned requests stay in use.  Memory is touched only when it is used.
 */
static int create_bridge(int threads, char *err, apr_size_t errlen)
{
    gsgi_bridge_conf_t conf;
    apr_size_t credit = gsgi_conf->buffer_max > GSGI_CREDIT
                        ? gsgi_conf->buffer_max : GSGI_CREDIT;
    apr_size_t limit = gsgi_conf->concurrency ? gsgi_conf->concurrency
                                              : GSGI_CONCURRENCY;
    apr_size_t slots = 4 * threads + limit + 64;
    apr_size_t chunks;

    slots = slots < GSGI_SLOTS_MAX ? slots : GSGI_SLOTS_MAX;
    chunks = 4 * threads * (2 * credit / GSGI_CHUNK_BYTES + 8) + slots;

    memset(&conf, 0, sizeof(conf));
    conf.nslots = (uint32_t) slots;
    conf.nchunks = (uint32_t) (chunks < GSGI_CHUNKS_MAX ? chunks
                                                        : GSGI_CHUNKS_MAX);
    conf.chunks_keep = GSGI_CHUNKS_KEEP;

    return gsgi_child_bridge_create(&gsgi_child.bridge, &conf, err, errlen);
}

/* Runs when the MPM's threads have ended, in prefork also inside a handler
 * for SIGTERM. */
static apr_status_t leave(void *data)
{
    int interrupted = !gsgi_child.threaded
                      && __atomic_load_n(&gsgi_child.active,
                                         __ATOMIC_SEQ_CST) != 0;
    int cut;
    uint32_t wait = GSGI_STOP_WAIT;
    apr_status_t rv;

    /* one that retires has handlers that do not end */
    if (gsgi_child.stopping == GSGI_STOPPING_GRACEFUL && !retired) {
        wait = ap_graceful_shutdown_timeout > 0
               && ap_graceful_shutdown_timeout < GSGI_STOP_MAX / 1000
               ? ap_graceful_shutdown_timeout * 1000 : GSGI_STOP_MAX;
    }

    if (!interrupted) {
        __atomic_store_n(&gsgi_child.region->host_open, 0, __ATOMIC_SEQ_CST);

        gsgi_app_drain(gsgi_child.app);
        gsgi_app_stop(gsgi_child.app, wait);

        if (gsgi_app_wait(gsgi_child.app, wait + 100) != GSGI_OK) {
            ap_log_error(APLOG_MARK, APLOG_WARNING, 0, gsgi_child.server,
                         GSGI_LOGNO(0506) "application \"%s\" has not ended "
                         "within %u ms", gsgi_conf->name, wait);
        }

        __atomic_store_n(&monitor_ends, 1, __ATOMIC_SEQ_CST);
        wake_monitor();

        apr_thread_join(&rv, monitor);
    }

    cut = __atomic_load_n(&gsgi_child.cut, __ATOMIC_SEQ_CST) + interrupted;

    if (cut) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, gsgi_child.server,
                     GSGI_LOGNO(0510) "application \"%s\": %d requests were "
                     "cut by the end of this process", gsgi_conf->name, cut);
    }

    __atomic_store_n(&gsgi_child.trail->pid, 0, __ATOMIC_SEQ_CST);

    if (gsgi_conf->board && gsgi_child.worker != &no_worker) {
        gsgi_child_board_leave(gsgi_conf->board, gsgi_child.worker);
    }

    return APR_SUCCESS;
}

static int enter_board(gsgi_launch_t *launch)
{
    uint32_t index = 0;
    int rc = GSGI_OK;
    int children = 1;

    if (gsgi_conf->board) {
        gsgi_child.worker = gsgi_child_board_enter(gsgi_conf->board, &index,
                                                   &gsgi_child.delay);
        rc = gsgi_child_board_log(gsgi_conf->board, gsgi_child.worker,
                                  gsgi_child.bridge);
    }

    if ((int) index < gsgi_conf->ntrails) {
        gsgi_child.trail = &gsgi_conf->trails[index];
        memset(gsgi_child.trail, 0, sizeof(*gsgi_child.trail));
        __atomic_store_n(&gsgi_child.trail->pid, (apr_uint32_t) getpid(),
                         __ATOMIC_SEQ_CST);
    }

    ap_mpm_query(AP_MPMQ_MAX_DAEMONS, &children);

    launch->conf.worker = index;
    launch->conf.workers = (uint32_t) children;
    launch->conf.procs = gsgi_conf->procs
                         ? (uint32_t) gsgi_conf->procs
                         : default_procs(launch, gsgi_child.threaded);

    return rc;
}

/* With -X this process comes to the end of the configuration, too, and would
 * unload what threads of the application and handlers of signals are in. */
static void stay_loaded(void)
{
    Dl_info info;

    if (dladdr((void *) &gsgi_child, &info)) {
        (void) dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
    }
}

static void failed(const char *text)
{
    ap_log_error(APLOG_MARK, APLOG_EMERG, 0, gsgi_child.server,
                 GSGI_LOGNO(0507) "application \"%s\" cannot be started in "
                 "this process: %s", gsgi_conf->name, text);
    gsgi_child.bridge = NULL;
}

/* Before other modules start threads, as mod_http2 does. */
void gsgi_child_first(apr_pool_t *pchild, server_rec *s)
{
    if (!gsgi_conf->launch || !gsgi_conf->board) {
        return;
    }

    gsgi_conf->launch->conf.workers = 1;

    if (gsgi_child_check(gsgi_conf->launch, gsgi_conf->board, check_error,
                         sizeof(check_error)) == GSGI_OK) {
        check_error[0] = '\0';     /* what could not be tried has said why */
    }
}

void gsgi_child_init(apr_pool_t *pchild, server_rec *s)
{
    char err[GSGI_ERR_MAX] = "";
    int threads = 1;
    int threaded = 0;

    gsgi_child.server = s;
    gsgi_child.worker = &no_worker;
    gsgi_child.trail = &no_trail;
    gsgi_child.started = gsgi_clock();

    if (!gsgi_conf->launch) {
        return;
    }

    if (check_error[0]) {
        failed(check_error);
        return;
    }

    ap_mpm_query(AP_MPMQ_IS_THREADED, &threaded);
    ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);

    gsgi_child.threaded = threaded != AP_MPMQ_NOT_SUPPORTED;
    gsgi_child.spin = count_cpus() > 1 ? GSGI_SPIN : 0;

    stay_loaded();
    gsgi_child_cloexec();

    /* it is tried out with a file: under pressure one could not say why not */
    if (apr_temp_dir_get(&gsgi_child.temp_dir, pchild) != APR_SUCCESS) {
        gsgi_child.temp_dir = "/tmp";
    }

    if (create_bridge(threads > 1 ? threads : 1, err, sizeof(err))
        != GSGI_OK) {
        failed(err);
        return;
    }

    gsgi_child.region = gsgi_region(gsgi_child.bridge);
    gsgi_child.region->host_open = 1;
    gsgi_child.owners = apr_pcalloc(pchild, gsgi_child.region->nslots
                                            * sizeof(gsgi_owner_t));

    if (enter_board(gsgi_conf->launch) != GSGI_OK) {
        failed("no memory for its log");
        return;
    }

    if (gsgi_child_app_start(&gsgi_child.app, gsgi_child.bridge,
                             gsgi_conf->launch, gsgi_child.delay, err,
                             sizeof(err)) != GSGI_OK) {
        failed(err);
        return;
    }

    if (gsgi_child.delay) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, s, GSGI_LOGNO(0508)
                     "application \"%s\" has ended the last processes, this "
                     "one waits %u ms before it loads it", gsgi_conf->name,
                     gsgi_child.delay);
    }

    /* the MPM has blocked the signals for threads that start here */
    if (apr_thread_create(&monitor, NULL, watch, NULL, pchild)
        != APR_SUCCESS) {
        failed("no thread to watch it");
        return;
    }

    apr_pool_cleanup_register(pchild, NULL, leave, apr_pool_cleanup_null);
}

void gsgi_child_stopping(apr_pool_t *pchild, int graceful)
{
    __atomic_store_n(&gsgi_child.stopping,
                     graceful ? GSGI_STOPPING_GRACEFUL
                              : GSGI_STOPPING_AT_ONCE, __ATOMIC_SEQ_CST);

    if (gsgi_child.bridge) {
        wake_monitor();
    }
}
