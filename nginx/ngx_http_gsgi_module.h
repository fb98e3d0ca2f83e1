
/*
 * Copyright (C) The GSGI Authors
 */


#ifndef _NGX_HTTP_GSGI_MODULE_H_INCLUDED_
#define _NGX_HTTP_GSGI_MODULE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include <gsgi_host.h>


#define NGX_HTTP_GSGI_ENTRIES      64

#define NGX_HTTP_GSGI_BUFFER_MIN   16384
#define NGX_HTTP_GSGI_BUFFER_MAX   (1024 * 1024 * 1024)

/* gsgi_buffering is not set: the application says what it prefers */
#define NGX_HTTP_GSGI_BUFFERING_AUTO  2

/* a request that nothing else limits keeps its worker from exiting */
#define NGX_HTTP_GSGI_HOLD         3600000

/* between two looks at what is active */
#define NGX_HTTP_GSGI_WATCH        1000

#define NGX_HTTP_GSGI_DRAIN_LIMIT  30000
#define NGX_HTTP_GSGI_STOP_LIMIT   500


#define ngx_http_gsgi_load(p)                                                 \
    __atomic_load_n(p, __ATOMIC_SEQ_CST)

#define ngx_http_gsgi_count(w, name, n)                                       \
    (void) __atomic_add_fetch(&(w)->figures->name, n, __ATOMIC_RELAXED)

/* each request has one outcome */

#define ngx_http_gsgi_outcome(ctx, name)                                      \
    if (!(ctx)->counted) {                                                    \
        (ctx)->counted = 1;                                                   \
        ngx_http_gsgi_count((ctx)->worker, name, 1);                          \
    }

#define ngx_http_gsgi_figure(w, name, n)                                      \
    __atomic_store_n(&(w)->figures->name, n, __ATOMIC_RELAXED)


typedef struct ngx_http_gsgi_running_s  ngx_http_gsgi_running_t;


/* where a gsgi_pass was written, and what it names */

typedef struct {
    ngx_str_t                   value;
    ngx_str_t                   name;
    ngx_str_t                   entry;
    ngx_uint_t                  index;
    u_char                     *file;
    ngx_uint_t                  line;
    unsigned                    missing:1;     /* there is no such entry */
} ngx_http_gsgi_pass_t;


/* a variable in the value of a gsgi_param */

typedef struct {
    ngx_str_t                   name;
    u_char                     *file;
    ngx_uint_t                  line;
} ngx_http_gsgi_used_t;


typedef struct {
    ngx_str_t                   key;
    ngx_http_complex_value_t    value;
    ngx_uint_t                  skip_empty;
} ngx_http_gsgi_param_t;


typedef struct {
    ngx_str_t                   name;
    ngx_str_t                   library;
    ngx_array_t                 args;          /* ngx_str_t */
    u_char                     *file;
    ngx_uint_t                  line;

    ngx_array_t                 env;           /* ngx_str_t, "NAME=VALUE" */
    ngx_str_t                   directory;
    ngx_msec_t                  start_timeout;
    ngx_flag_t                  probe;
    ngx_int_t                   procs;
    off_t                       memory_limit;

    ngx_uint_t                  concurrency;
    ngx_uint_t                  queue;
    ngx_msec_t                  queue_timeout;

    ngx_array_t                 passes;        /* ngx_http_gsgi_pass_t * */
    ngx_array_t                 entries;       /* gsgi_str_t */
    ngx_array_t                 variables;     /* ngx_http_gsgi_used_t */
    ngx_uint_t                  status_page;

    ngx_int_t                   request_id;    /* index of $request_id */
    ngx_module_t               *auth_basic;
    ngx_uint_t                  auth_basic_realm;

    gsgi_image_t                image;
    gsgi_board_t               *board;
    ngx_http_gsgi_running_t    *running;
    ngx_uint_t                  records;       /* of board and running */
    gsgi_launch_t               launch;
    ngx_str_t                   error;         /* why it can't be loaded */
} ngx_http_gsgi_main_conf_t;


typedef struct {
    ngx_http_gsgi_pass_t       *pass;
    ngx_str_t                   script_name;
    ngx_array_t                *params;        /* ngx_http_gsgi_param_t */

    ngx_msec_t                  timeout;
    ngx_msec_t                  request_timeout;
    size_t                      buffer;

    ngx_flag_t                  request_buffering;
    ngx_flag_t                  buffering;
    ngx_flag_t                  ignore_client_abort;
    ngx_flag_t                  intercept_errors;
    ngx_flag_t                  accel_redirect;
} ngx_http_gsgi_loc_conf_t;


/* the application in this worker: one for the life of the process */

typedef struct {
    ngx_str_t                   name;
    ngx_pool_t                 *pool;
    ngx_log_t                  *log;

    gsgi_bridge_t              *bridge;
    gsgi_region_t              *region;
    const gsgi_launch_t        *launch;
    uint32_t                    delay;     /* ms, before it is loaded */
    gsgi_app_t                 *app;
    gsgi_board_t               *board;
    gsgi_board_worker_t        *figures;
    gsgi_board_worker_t         no_figures;
    ngx_http_gsgi_running_t    *running_requests;

    ngx_array_t                *entries;
    ngx_connection_t           *connection;
    ngx_listening_t            *listening;
    ngx_connection_handler_pt  *handlers;      /* of these, as they were */

    uint32_t                    state;
    uint32_t                    armed;         /* a wake-up that is owed */
    uint32_t                    submitted;     /* in this turn */
    ngx_uint_t                  nactive;       /* requests with a slot */
    uint64_t                    turn_ns;       /* its first submission */
    ngx_queue_t                 young;         /* requests without a timer */
    ngx_queue_t                 waiting;       /* requests without a slot */
    ngx_uint_t                  nwaiting;
    ngx_queue_t                 starved;       /* bodies without a chunk */
    ngx_event_t                 starved_event;

    ngx_uint_t                  concurrency;
    ngx_uint_t                  queue;
    ngx_msec_t                  queue_timeout;
    ngx_msec_t                  start_timeout;
    ngx_msec_t                  load_time;

    ngx_event_t                 abandoned_event;
    ngx_event_t                 trim_event;
    ngx_event_t                 watch_event;   /* while requests are active */
    ngx_event_t                 drain_event;
    ngx_msec_t                  drain_start;
    ngx_msec_t                  drain_idle;
    ngx_uint_t                  cut;           /* by the end of the worker */

    time_t                      signals_checked;
    time_t                      rejected_time;
    ngx_uint_t                  rejected;

    unsigned                    ready:1;
    unsigned                    failed:1;
    unsigned                    running:1;
    unsigned                    draining:1;
    unsigned                    told:1;
    unsigned                    forced:1;
    unsigned                    replaced:1;
    unsigned                    one_cpu:1;
} ngx_http_gsgi_worker_t;


typedef struct {
    ngx_http_request_t         *request;
    ngx_http_gsgi_worker_t     *worker;
    ngx_http_gsgi_loc_conf_t   *conf;
    gsgi_slot_t                *slot;

    ngx_event_t                 timer;
    ngx_queue_t                 queue;         /* waiting, or young */
    ngx_queue_t                 starved;

    ngx_msec_t                  start;
    ngx_msec_t                  submitted;
    ngx_msec_t                  finished;
    ngx_msec_t                  body_time;     /* the last body data */
    ngx_msec_t                  body_waited;

    uint64_t                    in_published;
    off_t                       in_drained;
    uint64_t                    out_published;
    uint64_t                    out_acked;

    ngx_chain_t                *out;           /* not given to the filters */
    ngx_chain_t               **last_out;
    ngx_chain_t                *busy;
    ngx_chain_t                *free;
    ngx_temp_file_t            *spool;

    ngx_buf_t                  *kept;          /* upgraded: read, not put */
    ngx_buf_t                  *spare;

    ngx_uint_t                  status;
    off_t                       bytes_sent;
    uint32_t                    queue_us;

    unsigned                    counted:1;
    unsigned                    queued:1;
    unsigned                    young:1;
    unsigned                    starving:1;
    unsigned                    body_begun:1;
    unsigned                    body_entered:1;
    unsigned                    body_started:1;
    unsigned                    body_done:1;
    unsigned                    draining_body:1;
    unsigned                    expect:1;
    unsigned                    header_sent:1;
    unsigned                    upgraded:1;
    unsigned                    buffering:1;
    unsigned                    discard:1;
    unsigned                    flush:1;
    unsigned                    whole:1;       /* END was taken */
    unsigned                    ended:1;       /* END or CUT was taken */
    unsigned                    last_sent:1;
    unsigned                    guarded:1;     /* a close would reset */
    unsigned                    released:1;    /* RELEASE was taken */
    unsigned                    done:1;
} ngx_http_gsgi_ctx_t;


extern ngx_module_t  ngx_http_gsgi_module;
extern ngx_module_t  ngx_gsgi_core_module;


/* request */

ngx_int_t ngx_http_gsgi_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_gsgi_submit(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);
ngx_int_t ngx_http_gsgi_has_body(ngx_http_request_t *r);
void ngx_http_gsgi_set_timer(ngx_http_gsgi_ctx_t *ctx);
void ngx_http_gsgi_set_timers(ngx_http_gsgi_worker_t *w);
void ngx_http_gsgi_end(ngx_http_gsgi_ctx_t *ctx, uint32_t host_flags);
void ngx_http_gsgi_release(void *data);
ngx_http_gsgi_ctx_t *ngx_http_gsgi_find_ctx(ngx_http_request_t *r);

/* body */

ngx_int_t ngx_http_gsgi_body_begin(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);
ngx_int_t ngx_http_gsgi_body_pump(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);
ngx_int_t ngx_http_gsgi_body_waits(ngx_http_gsgi_ctx_t *ctx);
ngx_int_t ngx_http_gsgi_body_end(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);
void ngx_http_gsgi_body_starve(ngx_http_gsgi_ctx_t *ctx);
void ngx_http_gsgi_body_starved(ngx_event_t *ev);

/* queue */

ngx_int_t ngx_http_gsgi_admit(ngx_http_gsgi_worker_t *w);
void ngx_http_gsgi_enter(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx);
void ngx_http_gsgi_leave_queue(ngx_http_gsgi_ctx_t *ctx);
void ngx_http_gsgi_run_queue(ngx_http_gsgi_worker_t *w);
void ngx_http_gsgi_reset_queue(ngx_http_gsgi_worker_t *w);
ngx_int_t ngx_http_gsgi_reject(ngx_http_request_t *r,
    ngx_http_gsgi_worker_t *w, const char *reason);

/* response */

void ngx_http_gsgi_completion(ngx_http_gsgi_ctx_t *ctx, uint32_t events);
void ngx_http_gsgi_finalize(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    ngx_int_t rc);
void ngx_http_gsgi_finish(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx,
    ngx_int_t rc);
void ngx_http_gsgi_send(ngx_http_request_t *r, ngx_http_gsgi_ctx_t *ctx);
void ngx_http_gsgi_show_cut(ngx_http_request_t *r);
ngx_int_t ngx_http_gsgi_framed(ngx_http_request_t *r);
void ngx_http_gsgi_guard(ngx_http_request_t *r, ngx_uint_t on);
ngx_int_t ngx_http_gsgi_take_chunks(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);
void ngx_http_gsgi_put_buf(ngx_http_gsgi_ctx_t *ctx, ngx_chain_t *cl);
void ngx_http_gsgi_free_output(ngx_http_gsgi_ctx_t *ctx);

/* header */

ngx_int_t ngx_http_gsgi_process_head(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);
ngx_int_t ngx_http_gsgi_add_trailers(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, uint32_t chunk);

/* interim */

void ngx_http_gsgi_send_interims(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);

/* upgrade */

void ngx_http_gsgi_upgrade_events(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx, uint32_t events);
void ngx_http_gsgi_upgrade_read(ngx_http_request_t *r,
    ngx_http_gsgi_ctx_t *ctx);

/* variables */

ngx_int_t ngx_http_gsgi_add_variables(ngx_conf_t *cf);
ngx_int_t ngx_http_gsgi_status_handler(ngx_http_request_t *r);

/* process */

ngx_http_gsgi_worker_t *ngx_http_gsgi_get_worker(void);
ngx_uint_t ngx_http_gsgi_shutdown_passed(ngx_http_gsgi_worker_t *w);
ngx_int_t ngx_http_gsgi_init_process(ngx_cycle_t *cycle);
void ngx_http_gsgi_exit_process(ngx_cycle_t *cycle);
void ngx_http_gsgi_post(ngx_http_gsgi_worker_t *w);
void ngx_http_gsgi_update_figures(ngx_http_gsgi_worker_t *w);
void ngx_http_gsgi_log_text(ngx_uint_t level, ngx_log_t *log,
    ngx_str_t *name, const char *text, size_t len);

/* pace */

void ngx_http_gsgi_pace_start(gsgi_region_t *region, ngx_log_t *log);
void ngx_http_gsgi_pace_resume(void);
void ngx_http_gsgi_pace_stop(void);

/* running */

ngx_http_gsgi_running_t *ngx_http_gsgi_running_create(ngx_uint_t workers);
void ngx_http_gsgi_running_destroy(ngx_http_gsgi_running_t *running,
    ngx_uint_t workers);
ngx_http_gsgi_running_t *ngx_http_gsgi_running_enter(
    ngx_http_gsgi_running_t *running, ngx_uint_t workers, ngx_str_t *name,
    ngx_log_t *log);
void ngx_http_gsgi_running_leave(ngx_http_gsgi_running_t *running);
void ngx_http_gsgi_running_begin(ngx_http_gsgi_running_t *running,
    ngx_http_request_t *r, uint32_t slot);
void ngx_http_gsgi_running_end(ngx_http_gsgi_running_t *running,
    uint32_t slot);

/* check */

ngx_int_t ngx_http_gsgi_check_abi(ngx_conf_t *cf);


#endif /* _NGX_HTTP_GSGI_MODULE_H_INCLUDED_ */
