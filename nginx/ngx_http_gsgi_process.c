
/*
 * Copyright (C) The GSGI Authors
 */


#include <ngx_http_gsgi_module.h>

#include <sched.h>


#define NGX_HTTP_GSGI_BATCH         1024
#define NGX_HTTP_GSGI_SLOTS_MIN     1024
#define NGX_HTTP_GSGI_SLOTS_MAX     1048576
#define NGX_HTTP_GSGI_CHUNKS        65536       /* 1 GiB of address space */
#define NGX_HTTP_GSGI_CHUNKS_KEEP   128
#define NGX_HTTP_GSGI_DRAIN_TICK    50
#define NGX_HTTP_GSGI_ABANDONED     10000
#define NGX_HTTP_GSGI_TRIM          1000
#define NGX_HTTP_GSGI_LOG_PIECE     1400


static ngx_int_t ngx_http_gsgi_create_worker(ngx_cycle_t *cycle,
    ngx_http_gsgi_main_conf_t *gmcf);
static ngx_int_t ngx_http_gsgi_start(ngx_cycle_t *cycle,
    ngx_http_gsgi_worker_t *w, ngx_http_gsgi_main_conf_t *gmcf, char *err,
    size_t errlen);
static ngx_int_t ngx_http_gsgi_create_bridge(ngx_cycle_t *cycle,
    ngx_http_gsgi_worker_t *w, char *err, size_t errlen);
static ngx_int_t ngx_http_gsgi_add_connection(ngx_cycle_t *cycle,
    ngx_http_gsgi_worker_t *w);
static ngx_int_t ngx_http_gsgi_wrap_listening(ngx_cycle_t *cycle,
    ngx_http_gsgi_worker_t *w);
static void ngx_http_gsgi_accept(ngx_connection_t *c);
static uint32_t ngx_http_gsgi_procs(ngx_cycle_t *cycle,
    ngx_http_gsgi_main_conf_t *gmcf);
static ngx_int_t ngx_http_gsgi_cpus(void);
static void ngx_http_gsgi_yield(ngx_http_gsgi_worker_t *w);

static void ngx_http_gsgi_load_app(ngx_http_gsgi_worker_t *w);
static void ngx_http_gsgi_wake(ngx_http_gsgi_worker_t *w);
static void ngx_http_gsgi_event_handler(ngx_event_t *ev);
static ngx_int_t ngx_http_gsgi_completions(ngx_http_gsgi_worker_t *w);
static ngx_int_t ngx_http_gsgi_read_log(ngx_http_gsgi_worker_t *w);
static void ngx_http_gsgi_last_words(void *data, uint32_t pid,
    const gsgi_log_t *rec, const char *text);
static ngx_http_gsgi_ctx_t *ngx_http_gsgi_log_ctx(ngx_http_gsgi_worker_t *w,
    gsgi_log_t *rec);
static void ngx_http_gsgi_check_state(ngx_http_gsgi_worker_t *w);
static void ngx_http_gsgi_trim_handler(ngx_event_t *ev);
static void ngx_http_gsgi_watch_handler(ngx_event_t *ev);
static void ngx_http_gsgi_check_signals(ngx_http_gsgi_worker_t *w);
static ngx_uint_t ngx_http_gsgi_half_abandoned(ngx_http_gsgi_worker_t *w);
static void ngx_http_gsgi_abandoned_handler(ngx_event_t *ev);
static void ngx_http_gsgi_check_retire(ngx_http_gsgi_worker_t *w);
static void ngx_http_gsgi_fail(ngx_http_gsgi_worker_t *w, const char *text);

static void ngx_http_gsgi_drain(ngx_http_gsgi_worker_t *w);
static void ngx_http_gsgi_drain_handler(ngx_event_t *ev);
static ngx_uint_t ngx_http_gsgi_has_clients(ngx_http_gsgi_worker_t *w);
static void ngx_http_gsgi_cut_rest(ngx_http_gsgi_worker_t *w);


/*
 * One for a process, as the Go runtime is: a reload of a single process must
 * find it again.
 */

static ngx_http_gsgi_worker_t  *ngx_http_gsgi_worker;


ngx_http_gsgi_worker_t *
ngx_http_gsgi_get_worker(void)
{
    return ngx_http_gsgi_worker;
}


/* a failure here would be the end of the server, and never is returned */

ngx_int_t
ngx_http_gsgi_init_process(ngx_cycle_t *cycle)
{
    char                        err[GSGI_ERR_MAX];
    ngx_http_gsgi_worker_t     *w;
    ngx_http_gsgi_main_conf_t  *gmcf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    gmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_gsgi_module);

    if (gmcf == NULL || gmcf->name.len == 0) {
        return NGX_OK;
    }

    if (ngx_http_gsgi_create_worker(cycle, gmcf) != NGX_OK) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, ngx_errno,
                      "gsgi \"%V\": no memory for the application",
                      &gmcf->name);
        return NGX_OK;
    }

    w = ngx_http_gsgi_worker;

    if (gmcf->error.len) {
        ngx_http_gsgi_fail(w, (char *) gmcf->error.data);
        return NGX_OK;
    }

    err[0] = '\0';

    if (ngx_http_gsgi_start(cycle, w, gmcf, err, sizeof(err)) != NGX_OK) {
        ngx_http_gsgi_fail(w, err);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_create_worker(ngx_cycle_t *cycle,
    ngx_http_gsgi_main_conf_t *gmcf)
{
    ngx_uint_t               i;
    ngx_pool_t              *pool;
    gsgi_str_t              *entry, *from;
    ngx_http_gsgi_worker_t  *w;

    /* not of the cycle's pool: a single process lives longer */

    pool = ngx_create_pool(4096, ngx_cycle->log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    w = ngx_pcalloc(pool, sizeof(ngx_http_gsgi_worker_t));
    if (w == NULL) {
        return NGX_ERROR;
    }

    w->pool = pool;
    w->log = cycle->log;
    w->figures = &w->no_figures;
    w->concurrency = gmcf->concurrency;
    w->queue = gmcf->queue;
    w->queue_timeout = gmcf->queue_timeout;
    w->start_timeout = gmcf->start_timeout;
    w->load_time = ngx_current_msec;

    ngx_queue_init(&w->young);
    ngx_queue_init(&w->waiting);
    ngx_queue_init(&w->starved);

    w->starved_event.handler = ngx_http_gsgi_body_starved;
    w->starved_event.data = w;
    w->starved_event.log = cycle->log;

    w->abandoned_event.handler = ngx_http_gsgi_abandoned_handler;
    w->abandoned_event.data = w;
    w->abandoned_event.log = cycle->log;
    w->abandoned_event.cancelable = 1;

    w->trim_event.handler = ngx_http_gsgi_trim_handler;
    w->trim_event.data = w;
    w->trim_event.log = cycle->log;
    w->trim_event.cancelable = 1;

    w->watch_event.handler = ngx_http_gsgi_watch_handler;
    w->watch_event.data = w;
    w->watch_event.log = cycle->log;
    w->watch_event.cancelable = 1;

    w->drain_event.handler = ngx_http_gsgi_drain_handler;
    w->drain_event.data = w;
    w->drain_event.log = cycle->log;

    w->name.len = gmcf->name.len;
    w->name.data = ngx_pnalloc(pool, gmcf->name.len + 1);
    if (w->name.data == NULL) {
        return NGX_ERROR;
    }

    (void) ngx_cpystrn(w->name.data, gmcf->name.data, gmcf->name.len + 1);

    w->entries = ngx_array_create(pool, 4, sizeof(gsgi_str_t));
    if (w->entries == NULL) {
        return NGX_ERROR;
    }

    from = gmcf->entries.elts;

    for (i = 0; i < gmcf->entries.nelts; i++) {

        entry = ngx_array_push(w->entries);
        if (entry == NULL) {
            return NGX_ERROR;
        }

        entry->len = from[i].len;
        entry->data = ngx_pnalloc(pool, from[i].len + 1);
        if (entry->data == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy((void *) entry->data, from[i].data, from[i].len);
    }

    ngx_http_gsgi_worker = w;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_start(ngx_cycle_t *cycle, ngx_http_gsgi_worker_t *w,
    ngx_http_gsgi_main_conf_t *gmcf, char *err, size_t errlen)
{
    uint32_t  record, delay;

    gsgi_child_signals(1);
    gsgi_child_cloexec();

    if (ngx_http_gsgi_wrap_listening(cycle, w) != NGX_OK) {
        (void) ngx_cpystrn((u_char *) err, (u_char *) "no memory", errlen);
        return NGX_ERROR;
    }

    if (ngx_http_gsgi_create_bridge(cycle, w, err, errlen) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_gsgi_add_connection(cycle, w) != NGX_OK) {
        (void) ngx_cpystrn((u_char *) err,
                           (u_char *) "no connection for the application, "
                           "see worker_connections", errlen);
        return NGX_ERROR;
    }

    w->board = gmcf->board;

    if (ngx_process == NGX_PROCESS_SINGLE) {
        w->board = gsgi_parent_board_create(2);
    }

    if (w->board == NULL) {
        (void) ngx_cpystrn((u_char *) err, (u_char *) "no memory", errlen);
        return NGX_ERROR;
    }

    if (ngx_process == NGX_PROCESS_WORKER) {
        w->running_requests = ngx_http_gsgi_running_enter(gmcf->running,
                                                          gmcf->records,
                                                          &w->name, w->log);
    }

    gsgi_board_last_words(w->board, 0, ngx_http_gsgi_last_words, w);

    if (gsgi_child_check(&gmcf->launch, w->board, err, errlen) != GSGI_OK) {
        return NGX_ERROR;
    }

    ngx_time_update();

    w->figures = gsgi_child_board_enter(w->board, &record, &delay);

    if (gsgi_child_board_log(w->board, w->figures, w->bridge) != GSGI_OK) {
        (void) ngx_cpystrn((u_char *) err, (u_char *) "no memory", errlen);
        return NGX_ERROR;
    }

    w->load_time = ngx_current_msec + delay;

    gmcf->launch.conf.worker = (ngx_process == NGX_PROCESS_WORKER)
                               ? (uint32_t) ngx_worker : 0;
    gmcf->launch.conf.procs = ngx_http_gsgi_procs(cycle, gmcf);

    w->one_cpu = (ngx_http_gsgi_cpus() == 1);

    if (w->one_cpu) {
        ngx_http_gsgi_pace_start(w->region, cycle->log);
    }

    ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0,
                  "gsgi \"%V\": loading \"%s\", build id \"%s\"",
                  &gmcf->name, gmcf->image.path, gmcf->image.build_id);

    if (delay) {
        ngx_log_error(NGX_LOG_ERR, cycle->log, 0,
                      "gsgi \"%V\": it ended the worker before this one, "
                      "loading it in %uD ms", &gmcf->name, delay);
    }

    w->launch = &gmcf->launch;
    w->delay = delay;

    /*
     * It is loaded in the first turn of the event loop, when all modules have
     * initialized the process: some bring a Go runtime, too
     */

    ngx_post_event(w->connection->read, &ngx_posted_next_events);

    return NGX_OK;
}


static void
ngx_http_gsgi_load_app(ngx_http_gsgi_worker_t *w)
{
    char  err[GSGI_ERR_MAX];

    if (gsgi_child_app_start(&w->app, w->bridge, w->launch, w->delay, err,
                             sizeof(err))
        != GSGI_OK)
    {
        ngx_http_gsgi_fail(w, err);
    }
}


static ngx_int_t
ngx_http_gsgi_create_bridge(ngx_cycle_t *cycle, ngx_http_gsgi_worker_t *w,
    char *err, size_t errlen)
{
    ngx_uint_t          n, slots;
    gsgi_bridge_conf_t  conf;

    slots = NGX_HTTP_GSGI_SLOTS_MIN;
    n = cycle->connection_n + w->concurrency;

    while (slots < n && slots < NGX_HTTP_GSGI_SLOTS_MAX) {
        slots *= 2;
    }

    ngx_memzero(&conf, sizeof(gsgi_bridge_conf_t));

    conf.flags = GSGI_REGION_RING;
    conf.nslots = (uint32_t) slots;
    conf.nchunks = NGX_HTTP_GSGI_CHUNKS;
    conf.chunks_keep = NGX_HTTP_GSGI_CHUNKS_KEEP;

    if (gsgi_child_bridge_create(&w->bridge, &conf, err, errlen) != GSGI_OK) {
        w->bridge = NULL;
        return NGX_ERROR;
    }

    w->region = gsgi_region(w->bridge);
    w->region->host_open = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_add_connection(ngx_cycle_t *cycle, ngx_http_gsgi_worker_t *w)
{
    ngx_int_t          flags;
    ngx_event_t       *rev;
    ngx_connection_t  *c;

    c = ngx_get_connection(w->region->host_efd, cycle->log);
    if (c == NULL) {
        return NGX_ERROR;
    }

    c->data = w;
    c->number = ngx_atomic_fetch_add(ngx_connection_counter, 1);

    /* idle connections are told when the worker is going to exit */

    c->idle = 1;

    rev = c->read;
    rev->handler = ngx_http_gsgi_event_handler;
    rev->log = cycle->log;

    flags = (ngx_event_flags & NGX_USE_CLEAR_EVENT) ? NGX_CLEAR_EVENT
                                                    : NGX_LEVEL_EVENT;

    if (ngx_add_event(rev, NGX_READ_EVENT, flags) != NGX_OK) {
        ngx_free_connection(c);
        c->fd = (ngx_socket_t) -1;
        return NGX_ERROR;
    }

    w->connection = c;

    return NGX_OK;
}


/*
 * Programs that the application starts must not inherit clients: accepted
 * sockets are not close-on-exec.
 */

static ngx_int_t
ngx_http_gsgi_wrap_listening(ngx_cycle_t *cycle, ngx_http_gsgi_worker_t *w)
{
    ngx_uint_t        i;
    ngx_listening_t  *ls;

    w->listening = cycle->listening.elts;

    w->handlers = ngx_pcalloc(w->pool, cycle->listening.nelts
                                       * sizeof(ngx_connection_handler_pt));
    if (w->handlers == NULL) {
        return NGX_ERROR;
    }

    ls = cycle->listening.elts;

    for (i = 0; i < cycle->listening.nelts; i++) {

        if (ls[i].type != SOCK_STREAM || ls[i].handler == NULL) {
            continue;
        }

        w->handlers[i] = ls[i].handler;
        ls[i].handler = ngx_http_gsgi_accept;
    }

    return NGX_OK;
}


static void
ngx_http_gsgi_accept(ngx_connection_t *c)
{
    ngx_http_gsgi_worker_t  *w;

    w = ngx_http_gsgi_worker;

    if (fcntl(c->fd, F_SETFD, FD_CLOEXEC) == -1) {
        ngx_log_error(NGX_LOG_ALERT, c->log, ngx_errno,
                      "fcntl(FD_CLOEXEC) failed");
    }

    w->handlers[c->listening - w->listening](c);
}


static uint32_t
ngx_http_gsgi_procs(ngx_cycle_t *cycle, ngx_http_gsgi_main_conf_t *gmcf)
{
    ngx_int_t         procs;
    ngx_str_t        *env;
    ngx_uint_t        i;
    ngx_core_conf_t  *ccf;

    if (gmcf->procs) {
        return (uint32_t) gmcf->procs;
    }

    env = gmcf->env.elts;

    for (i = 0; i < gmcf->env.nelts; i++) {
        if (ngx_strncmp(env[i].data, "GOMAXPROCS=", 11) == 0) {
            return 0;
        }
    }

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    procs = ngx_ncpu / ngx_max(ccf->worker_processes, 1);
    procs = ngx_max(procs, 2);

    return (uint32_t) ngx_min(procs, ngx_http_gsgi_cpus());
}


static ngx_int_t
ngx_http_gsgi_cpus(void)
{
    cpu_set_t  set;

    CPU_ZERO(&set);

    if (sched_getaffinity(0, sizeof(cpu_set_t), &set) == -1) {
        return ngx_ncpu;
    }

    return CPU_COUNT(&set);
}


/*
 * Before a request is submitted: the library is woken once for all requests
 * of this turn of the event loop, and their completions are looked at then
 * without being told of them.  Who has taken go_armed owes the wake-up.
 */

void
ngx_http_gsgi_post(ngx_http_gsgi_worker_t *w)
{
    uint32_t  armed;

    if (w->armed == 0 && ngx_http_gsgi_load(&w->region->go_armed)) {

        armed = __atomic_exchange_n(&w->region->go_armed, 0, __ATOMIC_SEQ_CST);

        w->armed = (armed <= 2) ? armed : 0;
    }

    if (w->running || w->connection->read->posted) {
        return;
    }

    __atomic_store_n(&w->region->host_sleeping, 0, __ATOMIC_SEQ_CST);

    ngx_post_event(w->connection->read, &ngx_posted_events);
}


static void
ngx_http_gsgi_wake(ngx_http_gsgi_worker_t *w)
{
    uint64_t  one;

    if (w->armed == 0) {
        return;
    }

    one = 1;

    while (write(w->region->go_efd[w->armed - 1], &one, sizeof(uint64_t)) == -1
           && ngx_errno == NGX_EINTR)
    {
        /* void */
    }

    w->armed = 0;
}


/*
 * On the only processor the library runs when this thread does not.  Now it
 * need not tell of each answer, and all are sent in one turn.  But a handler
 * that does not end keeps the processor for its time slice, so it is not done
 * while there are requests of earlier turns.
 */

static void
ngx_http_gsgi_yield(ngx_http_gsgi_worker_t *w)
{
    if (w->one_cpu && w->submitted) {

        ngx_http_gsgi_pace_resume();

        if (w->submitted > 1 && w->nactive <= w->submitted) {
            sched_yield();
        }
    }

    w->submitted = 0;
}


static void
ngx_http_gsgi_event_handler(ngx_event_t *ev)
{
    uint64_t                 n;
    ngx_connection_t        *c;
    ngx_http_gsgi_worker_t  *w;

    c = ev->data;
    w = c->data;

    if (w->app == NULL && !w->failed) {
        ngx_http_gsgi_load_app(w);
    }

    if (c->close) {
        c->close = 0;
        w->forced |= c->error;
        c->error = 0;

        ngx_http_gsgi_drain(w);
    }

    if (!(ngx_event_flags & NGX_USE_CLEAR_EVENT)
        && read(c->fd, &n, sizeof(uint64_t)) == -1
        && ngx_errno != NGX_EAGAIN)
    {
        ngx_log_error(NGX_LOG_ALERT, ev->log, ngx_errno,
                      "read() of eventfd failed");
    }

    w->running = 1;

    do {
        ngx_http_gsgi_wake(w);
        ngx_http_gsgi_yield(w);

        if (ngx_http_gsgi_completions(w) == NGX_AGAIN) {
            ngx_post_event(ev, &ngx_posted_next_events);
            break;
        }

        ngx_http_gsgi_wake(w);

    } while (gsgi_completion_sleep(w->bridge) != GSGI_OK);

    w->running = 0;

    ngx_http_gsgi_update_figures(w);
    ngx_http_gsgi_check_signals(w);
    ngx_http_gsgi_check_retire(w);
}


void
ngx_http_gsgi_update_figures(ngx_http_gsgi_worker_t *w)
{
    ngx_http_gsgi_figure(w, queued, w->nwaiting);
    ngx_http_gsgi_figure(w, in_flight,
                         ngx_http_gsgi_load(&w->region->in_flight));
    ngx_http_gsgi_figure(w, active,
                         ngx_http_gsgi_load(&w->region->slots_used));
    ngx_http_gsgi_figure(w, abandoned,
                         ngx_http_gsgi_load(&w->region->abandoned));

    if (ngx_http_gsgi_half_abandoned(w) && !w->abandoned_event.timer_set
        && !w->replaced && ngx_process == NGX_PROCESS_WORKER)
    {
        ngx_add_timer(&w->abandoned_event, NGX_HTTP_GSGI_ABANDONED);
    }

    if (ngx_http_gsgi_load(&w->region->chunks_warm) > w->region->chunks_keep
        && !w->trim_event.timer_set)
    {
        ngx_add_timer(&w->trim_event, NGX_HTTP_GSGI_TRIM);
    }

    if (w->nactive && !w->watch_event.timer_set) {
        ngx_add_timer(&w->watch_event, NGX_HTTP_GSGI_WATCH);
    }
}


/*
 * An application that waits for a signal of its own says nothing, and requests
 * that stay need their timers.
 */

static void
ngx_http_gsgi_watch_handler(ngx_event_t *ev)
{
    ngx_http_gsgi_worker_t  *w;

    w = ev->data;

    ngx_http_gsgi_check_signals(w);
    ngx_http_gsgi_set_timers(w);

    if (w->nactive) {
        ngx_add_timer(ev, NGX_HTTP_GSGI_WATCH);
    }
}


static void
ngx_http_gsgi_trim_handler(ngx_event_t *ev)
{
    ngx_http_gsgi_worker_t  *w;

    w = ev->data;

    if (gsgi_chunk_trim(w->bridge)) {
        ngx_add_timer(ev, NGX_HTTP_GSGI_TRIM);
    }
}


/* NGX_AGAIN: there is more than one turn of the event loop should do */

static ngx_int_t
ngx_http_gsgi_completions(ngx_http_gsgi_worker_t *w)
{
    uint32_t              events;
    ngx_uint_t            n;
    gsgi_slot_t          *slot;
    ngx_http_gsgi_ctx_t  *ctx;

    for (n = 0; n < NGX_HTTP_GSGI_BATCH; n++) {

        if (gsgi_completion_next(w->bridge, &slot, &events) != GSGI_OK) {
            break;
        }

        /* what a handler has logged is logged before its request is gone */

        (void) ngx_http_gsgi_read_log(w);

        ctx = (ngx_http_gsgi_ctx_t *) (uintptr_t) slot->host_data;

        if (ctx) {
            ngx_http_gsgi_completion(ctx, events);
        }
    }

    if (ngx_http_gsgi_read_log(w) == NGX_AGAIN) {
        n = NGX_HTTP_GSGI_BATCH;
    }

    ngx_http_gsgi_check_state(w);
    ngx_http_gsgi_run_queue(w);

    return (n == NGX_HTTP_GSGI_BATCH) ? NGX_AGAIN : NGX_OK;
}


static ngx_int_t
ngx_http_gsgi_read_log(ngx_http_gsgi_worker_t *w)
{
    ngx_log_t            *log;
    ngx_uint_t            n, level;
    gsgi_log_t            rec;
    ngx_http_gsgi_ctx_t  *ctx;
    char                  text[GSGI_LOG_MAX + 1];

    for (n = 0; n < NGX_HTTP_GSGI_BATCH; n++) {

        if (gsgi_log_next(w->bridge, &rec, text) != GSGI_OK) {
            return NGX_OK;
        }

        level = ngx_min(rec.level, NGX_LOG_DEBUG);
        level = ngx_max(level, NGX_LOG_EMERG);

        ctx = ngx_http_gsgi_log_ctx(w, &rec);
        log = w->log;

        if (ctx) {
            log = ctx->request->connection->log;
            ngx_http_set_log_request(log, ctx->request);
        }

        ngx_http_gsgi_log_text(level, log, &w->name, text, rec.len);
    }

    return NGX_AGAIN;
}


/* what the application had said when it ended its worker */

static void
ngx_http_gsgi_last_words(void *data, uint32_t pid, const gsgi_log_t *rec,
    const char *text)
{
    ngx_http_gsgi_worker_t  *w = data;

    ngx_log_error(ngx_min(rec->level, NGX_LOG_DEBUG), w->log, 0,
                  "gsgi \"%V\": %s (from worker process %P, which has ended)",
                  &w->name, text, (ngx_pid_t) pid);
}


static ngx_http_gsgi_ctx_t *
ngx_http_gsgi_log_ctx(ngx_http_gsgi_worker_t *w, gsgi_log_t *rec)
{
    gsgi_slot_t  *slot;

    if (rec->slot == 0 || rec->slot > w->region->nslots) {
        return NULL;
    }

    slot = gsgi_slot_at(w->bridge, rec->slot - 1);

    if (slot->gen != rec->gen) {
        return NULL;
    }

    return (ngx_http_gsgi_ctx_t *) (uintptr_t) slot->host_data;
}


/*
 * A line of nginx's log has less room than a line of an application's, and
 * nothing in it may look like the begin of another.
 */

void
ngx_http_gsgi_log_text(ngx_uint_t level, ngx_log_t *log, ngx_str_t *name,
    const char *text, size_t len)
{
    u_char      *p, *end;
    const char  *last;
    u_char       line[NGX_HTTP_GSGI_LOG_PIECE + 4];

    last = text + len;
    end = line + NGX_HTTP_GSGI_LOG_PIECE;

    while (text < last) {

        for (p = line; text < last && *text != '\n' && p < end; text++) {

            if (((u_char) *text < 0x20 && *text != '\t') || *text == 0x7f) {
                p = ngx_sprintf(p, "\\x%02xd", (u_int) (u_char) *text);

            } else {
                *p++ = (u_char) *text;
            }
        }

        if (text < last && *text == '\n') {
            text++;
        }

        if (p > line) {
            ngx_log_error(level, log, 0, "gsgi \"%V\": %*s", name,
                          (size_t) (p - line), line);
        }
    }
}


static void
ngx_http_gsgi_check_state(ngx_http_gsgi_worker_t *w)
{
    uint32_t  state;

    state = ngx_http_gsgi_load(&w->region->app_state);

    if (state == w->state) {
        return;
    }

    w->state = state;
    ngx_http_gsgi_figure(w, state, state);

    switch (state) {

    case GSGI_APP_READY:
    case GSGI_APP_DRAINING:

        if (!w->ready && !w->failed) {
            w->ready = 1;

            ngx_log_error(NGX_LOG_INFO, w->log, 0, "gsgi \"%V\": ready",
                          &w->name);

            ngx_http_gsgi_reset_queue(w);
        }

        break;

    case GSGI_APP_FAILED:

        /* no text: the library has logged it */

        ngx_http_gsgi_fail(w, gsgi_app_error(w->app));
        break;

    case GSGI_APP_STOPPED:
        ngx_http_gsgi_fail(w, "application has ended");
        break;
    }
}


static void
ngx_http_gsgi_check_signals(ngx_http_gsgi_worker_t *w)
{
    int   signo;
    char  text[GSGI_ERR_MAX];

    if (w->signals_checked == ngx_time()) {
        return;
    }

    w->signals_checked = ngx_time();

    if (gsgi_signals_check(&signo)) {
        ngx_log_error(NGX_LOG_WARN, w->log, 0,
                      "gsgi \"%V\": application took the server's handler of "
                      "signal %d, it has been given back",
                      &w->name, signo);
    }

    while (gsgi_app_runtimes(w->app, text, sizeof(text))) {
        ngx_log_error(NGX_LOG_WARN, w->log, 0, "gsgi \"%V\": %s",
                      &w->name, text);
    }
}


static ngx_uint_t
ngx_http_gsgi_half_abandoned(ngx_http_gsgi_worker_t *w)
{
    uint32_t  abandoned;

    abandoned = ngx_http_gsgi_load(&w->region->abandoned);

    return abandoned && abandoned * 2 >= w->concurrency;
}


/* the library asks for it, and has logged why */

static void
ngx_http_gsgi_check_retire(ngx_http_gsgi_worker_t *w)
{
    if (!ngx_http_gsgi_load(&w->region->retire) || w->draining || w->replaced
        || ngx_process != NGX_PROCESS_WORKER)
    {
        return;
    }

    w->replaced = 1;

    ngx_log_error(NGX_LOG_NOTICE, w->log, 0,
                  "gsgi \"%V\": this worker is replaced, as the application "
                  "asks", &w->name);

    ngx_quit = 1;
}


/* handlers that never end: a new worker is the only cure */

static void
ngx_http_gsgi_abandoned_handler(ngx_event_t *ev)
{
    ngx_http_gsgi_worker_t  *w;

    w = ev->data;

    if (w->draining || !ngx_http_gsgi_half_abandoned(w)) {
        return;
    }

    w->replaced = 1;

    ngx_log_error(NGX_LOG_ERR, w->log, 0,
                  "gsgi \"%V\": %uD handlers have not ended after their "
                  "requests did, and gsgi_concurrency is %ui: "
                  "this worker is replaced", &w->name,
                  ngx_http_gsgi_load(&w->region->abandoned), w->concurrency);

    ngx_quit = 1;
}


static void
ngx_http_gsgi_fail(ngx_http_gsgi_worker_t *w, const char *text)
{
    ngx_uint_t  expected;

    expected = w->draining && w->state == GSGI_APP_STOPPED;

    w->ready = 0;

    if (w->failed) {
        return;
    }

    w->failed = 1;

    if (*text == '\0') {
        text = "application has failed, its requests are answered with 503"
               " by this process: see its messages above";
    }

    if (!expected) {
        ngx_http_gsgi_log_text(NGX_LOG_EMERG, w->log, &w->name, text,
                               ngx_strlen(text));
    }

    if (w->region) {
        ngx_http_gsgi_run_queue(w);
    }
}


/*
 * The worker is going to exit.  It does so when no timer is left, and ours
 * stays until the application has stopped.
 */

static void
ngx_http_gsgi_drain(ngx_http_gsgi_worker_t *w)
{
    if (!w->draining) {
        w->draining = 1;
        w->drain_start = ngx_current_msec;
        w->drain_idle = ngx_current_msec;

        ngx_log_debug0(NGX_LOG_DEBUG_HTTP, w->log, 0, "http gsgi drain");
    }

    if (w->forced) {
        gsgi_app_stop(w->app, NGX_HTTP_GSGI_STOP_LIMIT);
    }

    ngx_http_gsgi_drain_handler(&w->drain_event);
}


static void
ngx_http_gsgi_drain_handler(ngx_event_t *ev)
{
    ngx_msec_t               now, limit;
    ngx_uint_t               open;
    ngx_core_conf_t         *ccf;
    ngx_http_gsgi_worker_t  *w;

    w = ev->data;
    now = ngx_current_msec;

    ngx_http_gsgi_check_state(w);

    if (w->app == NULL || w->failed) {
        return;
    }

    open = w->nactive || w->nwaiting || ngx_http_gsgi_has_clients(w);

    if (open) {
        w->drain_idle = now;

    } else {
        __atomic_store_n(&w->region->host_open, 0, __ATOMIC_SEQ_CST);
    }

    /* those who wait for the start are still to be served */

    if (!w->told && (w->state != GSGI_APP_STARTING || !open)) {
        w->told = 1;
        gsgi_app_drain(w->app);
    }

    ccf = (ngx_core_conf_t *) ngx_get_conf(ngx_cycle->conf_ctx,
                                           ngx_core_module);

    limit = ccf->shutdown_timeout ? ccf->shutdown_timeout
                                  : NGX_HTTP_GSGI_DRAIN_LIMIT;

    if (w->replaced || w->forced) {
        limit = ngx_min(limit, NGX_HTTP_GSGI_STOP_LIMIT);
    }

    if (now - w->drain_idle >= limit) {
        ngx_log_error(NGX_LOG_WARN, w->log, 0,
                      "gsgi \"%V\": application has not stopped in %M ms",
                      &w->name, limit);
        return;
    }

    ngx_add_timer(ev, NGX_HTTP_GSGI_DRAIN_TICK);
}


/*
 * A client that is connected may bring a request, even if it is served a file
 * now: by an internal redirect, a subrequest, or another stream of HTTP/2.
 */

static ngx_uint_t
ngx_http_gsgi_has_clients(ngx_http_gsgi_worker_t *w)
{
    ngx_uint_t         i, n;
    ngx_listening_t   *ls;
    ngx_connection_t  *c;

    c = ngx_cycle->connections;

    for (i = 0; i < ngx_cycle->connection_n; i++) {

        ls = c[i].listening;

        if (c[i].fd == (ngx_socket_t) -1
            || c[i].read == NULL
            || c[i].read->accept
            || ls == NULL)
        {
            continue;
        }

        n = ls - w->listening;

        if (w->handlers[n] == ngx_http_init_connection) {
            return 1;
        }
    }

    return 0;
}


ngx_uint_t
ngx_http_gsgi_shutdown_passed(ngx_http_gsgi_worker_t *w)
{
    ngx_core_conf_t  *ccf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(ngx_cycle->conf_ctx,
                                           ngx_core_module);

    return w->draining && ccf->shutdown_timeout
           && ngx_current_msec - w->drain_start >= ccf->shutdown_timeout;
}


/* nobody ends requests when the worker is terminated */

static void
ngx_http_gsgi_cut_rest(ngx_http_gsgi_worker_t *w)
{
    uint32_t              i;
    gsgi_slot_t          *slot;
    ngx_http_gsgi_ctx_t  *ctx;

    w->cut += w->nactive + w->nwaiting;

    for (i = 0; i < w->region->slot_fresh; i++) {

        slot = gsgi_slot_at(w->bridge, i);
        ctx = (ngx_http_gsgi_ctx_t *) (uintptr_t) slot->host_data;

        if (ctx && ctx->request->main->header_sent) {
            ngx_http_gsgi_show_cut(ctx->request);
        }
    }

    if (w->cut) {
        ngx_log_error(NGX_LOG_WARN, w->log, 0,
                      "gsgi \"%V\": %ui requests are cut by the end of this "
                      "worker", &w->name, w->cut);
    }
}


void
ngx_http_gsgi_exit_process(ngx_cycle_t *cycle)
{
    uint32_t                 state;
    ngx_connection_t        *c;
    ngx_http_gsgi_worker_t  *w;

    w = ngx_http_gsgi_worker;

    if (w == NULL || w->bridge == NULL) {
        return;
    }

    ngx_http_gsgi_cut_rest(w);

    if (w->app) {
        state = ngx_http_gsgi_load(&w->region->app_state);

        if (state != GSGI_APP_STOPPED && state != GSGI_APP_FAILED) {
            gsgi_app_stop(w->app, NGX_HTTP_GSGI_STOP_LIMIT);
            (void) gsgi_app_wait(w->app, NGX_HTTP_GSGI_STOP_LIMIT);
        }
    }

    ngx_http_gsgi_pace_stop();

    while (ngx_http_gsgi_read_log(w) == NGX_AGAIN) { /* void */ }

    if (w->board && w->figures != &w->no_figures) {
        gsgi_child_board_leave(w->board, w->figures);
        w->figures = &w->no_figures;
    }

    if (w->running_requests) {
        ngx_http_gsgi_running_leave(w->running_requests);
        w->running_requests = NULL;
    }

    /* the eventfd itself stays open for the library */

    c = w->connection;

    if (c) {
        w->connection = NULL;

        if (c->read->posted) {
            ngx_delete_posted_event(c->read);
        }

        ngx_free_connection(c);
        c->fd = (ngx_socket_t) -1;
    }
}
