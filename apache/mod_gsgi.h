/*
 * Copyright (C) The GSGI Authors
 *
 * mod_gsgi: what its files share.
 *
 * Names say where a function may run: gsgi_parent_* in the parent, while the
 * configuration is read; gsgi_child_* in a child process, at its start and
 * end; all others in a child, on the thread of the request that they take.
 */

#ifndef MOD_GSGI_H
#define MOD_GSGI_H

#include "httpd.h"
#include "http_config.h"
#include "http_core.h"
#include "http_log.h"
#include "http_protocol.h"
#include "http_request.h"
#include "ap_expr.h"
#include "ap_mpm.h"
#include "apr_strings.h"
#include "apr_tables.h"

#include "../cshim/host/gsgi_host.h"

#if !AP_MODULE_MAGIC_AT_LEAST(20120211, 110)
#error "mod_gsgi needs httpd 2.4.49 or a later 2.4"
#endif

#define GSGI_VERSION  "1.0"

/* Tags of log messages; mod_gsgi.md lists them, and none is used again. */
#define GSGI_LOGNO(n)  "GSGI" #n ": "

#define GSGI_HANDLER         "gsgi-handler"
#define GSGI_STATUS_HANDLER  "gsgi-status"

/* Times are of the monotonic clock, in nanoseconds. */
#define GSGI_SECOND       APR_UINT64_C(1000000000)
#define GSGI_MILLISECOND  APR_UINT64_C(1000000)

extern module gsgi_module;


/*
 * Configuration
 */

/* An entry of the application that the configuration uses. */
typedef struct {
    const char *name;           /* NAME[:ENTRY] */
    const char *app;            /* NAME of GSGIApp */
    const char *entry;          /* "": its only one */
    const char *where;          /* file and line of the first use */
    int         index;          /* among those handed to the application,
                                   -1: it has no such entry */
} gsgi_target_t;

/* GSGIPass off */
extern gsgi_target_t gsgi_target_off;

typedef struct {
    const char     *key;
    const char     *text;       /* NULL: the expression */
    ap_expr_info_t *expr;
    int             if_not_empty;
} gsgi_param_t;

/* Of a directory; -1, in pointers NULL, is "not set here". */
typedef struct {
    gsgi_target_t      *target;
    const char         *place;              /* where that is set, NULL: for
                                               the whole server */
    const char         *script_name;
    apr_array_header_t *params;             /* gsgi_param_t */
    apr_interval_time_t timeout;
    apr_interval_time_t request_timeout;    /* 0: off */
    apr_int64_t         buffer;
    int                 request_buffering;
    int                 buffering;
    int                 ignore_client_abort;
    int                 error_override;
    int                 sendfile;
} gsgi_dir_conf;

typedef struct {
    const char    *url;         /* without the slash at its end */
    apr_size_t     len;
    gsgi_target_t *target;
} gsgi_alias_t;

typedef struct {
    apr_array_header_t *aliases;            /* gsgi_alias_t */
} gsgi_server_conf;

/* Of the server instance; one for each reading of the configuration. */
typedef struct {
    const char         *name;               /* NULL: no GSGIApp */
    const char         *library;
    const char         *where;
    apr_array_header_t *args;               /* const char *, argv[0] first */
    apr_array_header_t *env;                /* const char *, "NAME=VALUE" */
    const char         *directory;
    apr_interval_time_t start_timeout;
    apr_interval_time_t queue_timeout;
    apr_uint64_t        memory_limit;
    int                 probe;
    int                 procs;
    int                 concurrency;
    int                 queue;
    apr_array_header_t *targets;            /* gsgi_target_t * */
    apr_int64_t         buffer_max;

    /* what gsgi_parent_check and gsgi_parent_prepare have made of it */
    gsgi_launch_t      *launch;             /* NULL: nothing can be run */
    const char         *failure;            /* of the library, or NULL */
    const char         *problem;            /* with an entry, or NULL */
    gsgi_board_t       *board;
    struct gsgi_trail  *trails;             /* one for each child */
    int                 ntrails;
} gsgi_conf_t;

extern gsgi_conf_t *gsgi_conf;

void *gsgi_create_dir_conf(apr_pool_t *p, char *dir);
void *gsgi_merge_dir_conf(apr_pool_t *p, void *basev, void *addv);
void *gsgi_create_server_conf(apr_pool_t *p, server_rec *s);
void *gsgi_merge_server_conf(apr_pool_t *p, void *basev, void *addv);
int gsgi_parent_begin(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp);

const char *gsgi_set_app(cmd_parms *cmd, void *dv, int argc,
                         char *const argv[]);
const char *gsgi_set_env(cmd_parms *cmd, void *dv, const char *arg);
const char *gsgi_set_directory(cmd_parms *cmd, void *dv, const char *arg);
const char *gsgi_set_start_timeout(cmd_parms *cmd, void *dv, const char *arg);
const char *gsgi_set_probe(cmd_parms *cmd, void *dv, const char *arg);
const char *gsgi_set_procs(cmd_parms *cmd, void *dv, const char *arg);
const char *gsgi_set_memory_limit(cmd_parms *cmd, void *dv, const char *arg);
const char *gsgi_set_concurrency(cmd_parms *cmd, void *dv, int argc,
                                 char *const argv[]);
const char *gsgi_set_pass(cmd_parms *cmd, void *dv, const char *arg);
const char *gsgi_set_alias(cmd_parms *cmd, void *dv, const char *url,
                           const char *arg);
const char *gsgi_set_script_name(cmd_parms *cmd, void *dv, const char *arg);
const char *gsgi_set_param(cmd_parms *cmd, void *dv, const char *args);
const char *gsgi_set_time(cmd_parms *cmd, void *dv, const char *arg);
const char *gsgi_set_flag(cmd_parms *cmd, void *dv, const char *arg);
const char *gsgi_set_buffer(cmd_parms *cmd, void *dv, const char *arg);


/*
 * The parent
 */

/* What a child was doing, for the log when it has crashed. */
typedef struct gsgi_trail {
    apr_uint32_t pid;           /* 0: free */
    apr_uint32_t running;       /* requests with the application */
    char         youngest[240];
} gsgi_trail_t;

int gsgi_parent_check(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp,
                      server_rec *s);
int gsgi_parent_prepare(apr_pool_t *pconf, apr_pool_t *plog,
                        apr_pool_t *ptemp, server_rec *s);
void gsgi_parent_child_status(server_rec *s, pid_t pid, ap_generation_t gen,
                              int slot, mpm_child_status state);


/*
 * The child
 */

/* Who had a slot last, for the log. */
typedef struct {
    apr_uint32_t gen;
    server_rec  *server;
    char         client[48];        /* address */
    apr_port_t   port;
    char         id[40];
} gsgi_owner_t;

typedef struct {
    server_rec          *server;
    gsgi_bridge_t       *bridge;        /* NULL: no application */
    gsgi_region_t       *region;
    gsgi_app_t          *app;
    gsgi_board_worker_t *worker;
    gsgi_trail_t        *trail;
    gsgi_owner_t        *owners;        /* by slot */
    const char          *temp_dir;
    apr_uint64_t         started;
    apr_uint32_t         delay;         /* ms, before the library is loaded */
    apr_uint32_t         spin;          /* ns */
    apr_uint32_t         waits;         /* atomic, see futex_ms() */
    apr_uint32_t         vain;          /* atomic, see futex_ms() */
    int                  threaded;
    int                  stopping;      /* GSGI_STOPPING_*, atomic */
    int                  active;        /* requests in the handler, atomic */
    int                  cut;           /* of these, by a stop, atomic */
} gsgi_child_t;

#define GSGI_STOPPING_GRACEFUL  1
#define GSGI_STOPPING_AT_ONCE   2

extern gsgi_child_t gsgi_child;

/* Levels of httpd for GSGI_LOG_*. */
extern const int gsgi_levels[];

void gsgi_child_first(apr_pool_t *pchild, server_rec *s);
void gsgi_child_init(apr_pool_t *pchild, server_rec *s);
void gsgi_child_stopping(apr_pool_t *pchild, int graceful);
apr_uint64_t gsgi_clock(void);

/* At most one message of a kind in a second; says how many were left out. */
typedef enum {
    GSGI_LIMITED_FAILED,
    GSGI_LIMITED_STARTING,
    GSGI_LIMITED_QUEUE,
    GSGI_LIMITED_KINDS
} gsgi_limited_e;

void gsgi_log_limited(request_rec *r, gsgi_limited_e kind, const char *text);


/*
 * Requests
 */

typedef struct {
    int                 kind;           /* GSGI_BODY_* */
    int                 chunked;
    apr_off_t           length;         /* as announced, -1: not known */
    char               *data;           /* buffered in memory */
    apr_size_t          len;
    apr_file_t         *file;           /* buffered on disk */
    apr_off_t           total;          /* read from the client */
    apr_bucket_brigade *bb;             /* streamed: read, not handed over */
    int                 fd;             /* to poll for more, or -1 */
    int                 begun;
    int                 done;           /* all read, or given up */
    int                 full;           /* the credit is used up */
    int                 again;          /* no chunk was free */
    int                 more;           /* stopped in the middle */
    int                 reading;
    int                 error;          /* an HTTP status */
    ap_filter_t        *guard;
    apr_uint64_t        since;          /* of the last byte */
} gsgi_input_t;

typedef struct {
    apr_bucket_brigade *bb;
    apr_pool_t         *scratch;
    apr_off_t           taken;          /* in chunks, from the application */
    apr_off_t           sent;           /* bytes of the body */
    apr_file_t         *spool;          /* GSGIBuffering */
    apr_off_t           spooled;
    apr_off_t           unspooled;
    int                 buffering;      /* what the client leaves is spooled */
    int                 head_in;        /* the application has answered */
    int                 head_out;       /* the client has something of it */
    int                 guarded;        /* see gsgi_response_guard */
    int                 inlined;        /* the slot's own body is dealt with */
    int                 dirty;          /* something may be held back */
    int                 discard;        /* nobody listens any more */
    int                 ended;
    int                 status;
} gsgi_output_t;

typedef struct {
    request_rec   *r;
    gsgi_dir_conf *conf;
    gsgi_target_t *target;
    const char    *script_name;
    gsgi_slot_t   *slot;                /* NULL: let go */
    int            fd;                  /* the client's, -1: not to be had */
    int            noisy;               /* fd is readable all the time */
    int            original;            /* r->status before */
    int            released;            /* by the application */
    int            queued;              /* holds a place of the queue */
    int            counted;             /* its outcome is */
    apr_uint64_t   begun;
    apr_uint64_t   submitted;
    apr_uint64_t   queue_us;
    apr_uint64_t   head_by;             /* 0: no limit */
    apr_uint64_t   end_by;
    gsgi_input_t   in;
    gsgi_output_t  out;
} gsgi_exchange_t;

/* Beside OK and the HTTP status codes: the request goes on. */
#define GSGI_GOES_ON  (-1000)

/* Mapping: which requests are the application's. */
int gsgi_map_translate(request_rec *r);
int gsgi_map_storage(request_rec *r);
int gsgi_map_fixups(request_rec *r);
gsgi_target_t *gsgi_map_target(request_rec *r, const char **script_name);

int gsgi_handler(request_rec *r);
int gsgi_status_handler(request_rec *r);
void gsgi_status_hooks(void);

/* Waits until the application can be given a request.  Returns OK or an HTTP
 * status. */
int gsgi_queue_ready(gsgi_exchange_t *x);

/* A place among the GSGIConcurrency requests that wait for their head. */
int gsgi_queue_enter(gsgi_exchange_t *x);
void gsgi_queue_leave(gsgi_exchange_t *x);
void gsgi_queue_wake(void);
int gsgi_queue_refuse(gsgi_exchange_t *x, gsgi_limited_e kind, const char *text,
                      apr_uint64_t retry);
apr_uint32_t gsgi_queue_length(void);

/* Packs the request into x->slot.  Returns OK or an HTTP status. */
int gsgi_environ_pack(gsgi_exchange_t *x);
void gsgi_environ_functions(void);
const char *gsgi_environ_id(request_rec *r);

/* The request body: looks what there is and, unless it is to be streamed,
 * reads it.  Returns OK, or what the handler returns. */
int gsgi_input_open(gsgi_exchange_t *x);
int gsgi_input_pack(gsgi_exchange_t *x, gsgi_pack_t *p);

/* Moves what has come from the client to the application; never blocks. */
void gsgi_input_pump(gsgi_exchange_t *x);
int gsgi_input_starved(gsgi_exchange_t *x);
void gsgi_input_close(gsgi_exchange_t *x);
void gsgi_input_filters(void);
apr_status_t gsgi_temp_file(request_rec *r, apr_file_t **file_out);

/* The response: takes what the application has published. */
int gsgi_response_take(gsgi_exchange_t *x, apr_uint32_t events);
int gsgi_response_idle(gsgi_exchange_t *x);
int gsgi_response_pending(gsgi_exchange_t *x);
void gsgi_response_cut(gsgi_exchange_t *x);
int gsgi_response_is_framed(gsgi_exchange_t *x);
void gsgi_response_guard(gsgi_exchange_t *x, int on);

/* Its body: sends a list of chunks and gives them back. */
int gsgi_output_send(gsgi_exchange_t *x, apr_uint32_t list,
                     apr_uint32_t events);
void gsgi_output_drop(apr_uint32_t list);
void gsgi_output_close(gsgi_exchange_t *x);
void gsgi_output_filters(void);

/* Lets the slot go; why is GSGI_HOST_* for an application that is not done,
 * else 0. */
void gsgi_exchange_release(gsgi_exchange_t *x, apr_uint32_t why);

/* A connection that the application takes over. */
int gsgi_upgrade(gsgi_exchange_t *x, apr_uint32_t events);

/* Whether a time limit, or the life of the process, is over. */
int gsgi_exchange_limits(gsgi_exchange_t *x);

/* The client has left. */
int gsgi_exchange_aborted(gsgi_exchange_t *x);

#define gsgi_count(field, n)                                           \
    __atomic_fetch_add(&gsgi_child.worker->field, (n), __ATOMIC_RELAXED)

/* Each request has one outcome, the first that is known. */
#define gsgi_outcome(x, field)                                         \
    ((void) ((x)->counted++ || gsgi_count(field, 1)))

#endif /* MOD_GSGI_H */
