/*
 * Copyright (C) The GSGI Authors
 *
 * The handler.  A request's thread is the pump between its client and its
 * slot: it hands the request over, then waits for news of the application
 * and of the client, until one of the two is done.
 */

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "mod_gsgi.h"
#include "apr_atomic.h"
#include "apr_poll.h"
#include "apr_portable.h"

APLOG_USE_MODULE(gsgi);

#define GSGI_TIMEOUT    apr_time_from_sec(60)

#define GSGI_FUTEX_MS   3       /* before the socket is looked at, too */
#define GSGI_FUTEX_VAIN 8       /* waits in a row that were longer */
#define GSGI_FUTEX_TRY  16      /* then one of so many waits tries */
#define GSGI_SLICE_MS   1000    /* between looks at the rest of the world */
#define GSGI_BLIND_MS   50      /* the same, where there is no socket to poll */
#define GSGI_IDLE_MS    10      /* then what httpd holds back is flushed */
#define GSGI_RETRY_MS   5

/* Bytes of four numbers in the notes; two of them have a dot. */
#define GSGI_NOTES  (4 * (GSGI_DIGITS + 1) + 2)

#define GSGI_STOP_LOOKS  50
#define GSGI_STOP_LOOK   apr_time_from_msec(2)


/*
 * The end of an exchange
 */

void gsgi_exchange_release(gsgi_exchange_t *x, apr_uint32_t why)
{
    gsgi_slot_t *slot = x->slot;

    if (!slot) {
        return;
    }

    if (why && !x->released) {
        gsgi_slot_tell(gsgi_child.bridge, slot, why);
    }

    x->slot = NULL;
    gsgi_slot_release(gsgi_child.bridge, slot, x->released);

    gsgi_queue_leave(x);
    __atomic_fetch_sub(&gsgi_child.trail->running, 1, __ATOMIC_RELAXED);
}

/* The MPM closes the sockets before it says that it stops at once. */
static int is_stopped(void)
{
    int state;
    int i;

    if (ap_mpm_query(AP_MPMQ_MPM_STATE, &state) != APR_SUCCESS
        || state != AP_MPMQ_STOPPING) {
        return 0;
    }

    for (i = 0; i < GSGI_STOP_LOOKS; i++) {
        if (__atomic_load_n(&gsgi_child.stopping, __ATOMIC_SEQ_CST)) {
            break;
        }

        apr_sleep(GSGI_STOP_LOOK);
    }

    return __atomic_load_n(&gsgi_child.stopping, __ATOMIC_SEQ_CST)
           == GSGI_STOPPING_AT_ONCE;
}

int gsgi_exchange_aborted(gsgi_exchange_t *x)
{
    if (is_stopped()) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, x->r, GSGI_LOGNO(0303)
                      "the child process ends before the response");
        __atomic_fetch_add(&gsgi_child.cut, 1, __ATOMIC_SEQ_CST);
        gsgi_outcome(x, cut);
        gsgi_exchange_release(x, GSGI_HOST_STOP);
        x->r->connection->aborted = 1;

        return OK;
    }

    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, x->r, GSGI_LOGNO(0301)
                  "the client has left");
    gsgi_outcome(x, aborted);
    gsgi_exchange_release(x, GSGI_HOST_ABORT);
    x->r->connection->aborted = 1;

    return OK;
}

static int give_up(gsgi_exchange_t *x, apr_uint32_t why, int status)
{
    gsgi_exchange_release(x, why);

    return status;
}

static int timed_out(gsgi_exchange_t *x, const char *directive,
                     apr_interval_time_t limit)
{
    ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, x->r, GSGI_LOGNO(0302)
                  "%s: the application has not %s its response in %"
                  APR_TIME_T_FMT " ms", directive,
                  x->out.head_in ? "ended" : "begun", apr_time_as_msec(limit));
    gsgi_outcome(x, timeouts);

    return give_up(x, GSGI_HOST_TIMEOUT, HTTP_GATEWAY_TIME_OUT);
}


/*
 * The pump
 */

static int max_slice(gsgi_exchange_t *x)
{
    if (x->in.more) {
        return 0;
    }

    if (x->in.again) {
        return GSGI_RETRY_MS;
    }

    if (x->out.dirty || gsgi_response_pending(x)) {
        return GSGI_IDLE_MS;
    }

    if (x->out.discard) {
        return GSGI_SLICE_MS;
    }

    if (x->in.begun && !x->in.done && !x->in.full && x->in.fd == -1) {
        return GSGI_RETRY_MS;
    }

    return x->fd == -1 || x->noisy ? GSGI_BLIND_MS : GSGI_SLICE_MS;
}

static int wait_ms(gsgi_exchange_t *x, apr_uint64_t now)
{
    apr_uint64_t left = max_slice(x) * GSGI_MILLISECOND;
    apr_uint64_t head_by = x->out.head_in ? 0 : x->head_by;

    if (head_by && head_by < now + left) {
        left = head_by > now ? head_by - now : 0;
    }

    if (x->end_by && x->end_by < now + left) {
        left = x->end_by > now ? x->end_by - now : 0;
    }

    return (int) ((left + GSGI_MILLISECOND - 1) / GSGI_MILLISECOND);
}

/* What to poll beside the slot. */
static int wait_fd(gsgi_exchange_t *x)
{
    if (x->in.again || x->out.discard) {
        return -1;
    }

    if (x->in.begun && !x->in.done && !x->in.full) {
        return x->in.fd;
    }

    return x->noisy ? -1 : x->fd;
}

/* A futex costs less than a poll, unless the wait outlasts it: after some in
 * vain only now and then one is tried. */
static apr_uint32_t futex_ms(gsgi_exchange_t *x)
{
    if (x->in.begun && !x->in.done && !x->in.full) {
        return 0;
    }

    if (apr_atomic_read32(&gsgi_child.vain) >= GSGI_FUTEX_VAIN
        && apr_atomic_inc32(&gsgi_child.waits) % GSGI_FUTEX_TRY != 0)
    {
        return 0;
    }

    return GSGI_FUTEX_MS;
}

static void learn_futex(apr_uint64_t took)
{
    if (took >= GSGI_FUTEX_MS * 1000000) {
        apr_atomic_inc32(&gsgi_child.vain);
    } else if (apr_atomic_read32(&gsgi_child.vain)) {
        apr_atomic_set32(&gsgi_child.vain, 0);
    }
}

/* Returns whether there is something of the client. */
static int wait_for_news(gsgi_exchange_t *x, apr_uint32_t *events)
{
    apr_uint64_t from = gsgi_clock();
    apr_uint32_t futex = futex_ms(x);
    int starved = gsgi_input_starved(x);
    int ready = 0;

    gsgi_slot_wait(gsgi_child.bridge, x->slot, gsgi_child.spin, futex,
                   wait_fd(x), wait_ms(x, from), events, &ready);

    if (futex) {
        learn_futex(gsgi_clock() - from);
    }

    if (x->head_by && (starved || gsgi_input_starved(x))) {
        /* the handler waits for the client, not the client for it */
        x->head_by += gsgi_clock() - from;
    }

    return ready;
}

/* Whether the client has closed its side for good, as far as one can know
 * while it may be sending still. */
static int has_hung_up(gsgi_exchange_t *x)
{
    struct pollfd pfd;
    int unread = 0;

    if (x->fd == -1) {
        return x->r->connection->aborted;
    }

    pfd.fd = x->fd;
    pfd.events = x->in.begun && !x->in.done ? 0 : POLLRDHUP;
    pfd.revents = 0;

    if (poll(&pfd, 1, 0) <= 0) {
        return 0;
    }

    if ((pfd.revents & POLLRDHUP) && !x->in.done
        && ioctl(x->fd, FIONREAD, &unread) == 0 && unread > 0) {
        return (pfd.revents & (POLLHUP | POLLERR)) != 0;
    }

    return pfd.revents != 0;
}

static int look_at_client(gsgi_exchange_t *x, int ready)
{
    int reading = x->in.begun && !x->in.done;

    if (reading) {
        gsgi_input_pump(x);

        if (x->in.error == HTTP_REQUEST_ENTITY_TOO_LARGE) {
            return give_up(x, GSGI_HOST_ABORT,
                           HTTP_REQUEST_ENTITY_TOO_LARGE);
        }
    }

    if (x->out.discard) {
        return GSGI_GOES_ON;
    }

    if ((ready || x->fd == -1 || x->noisy) && has_hung_up(x)) {
        if (x->conf->ignore_client_abort != 1) {
            return gsgi_exchange_aborted(x);
        }

        x->out.discard = 1;
        return GSGI_GOES_ON;
    }

    /* the next request, or a body that nobody reads yet */
    x->noisy = ready && !(reading && !x->in.full) ? 1
               : x->noisy && !reading;

    return GSGI_GOES_ON;
}

int gsgi_exchange_limits(gsgi_exchange_t *x)
{
    apr_uint64_t now = gsgi_clock();
    apr_uint32_t state;

    if (x->head_by && !x->out.head_in && now >= x->head_by) {
        return timed_out(x, "GSGITimeout", x->conf->timeout != -1
                                           ? x->conf->timeout : GSGI_TIMEOUT);
    }

    if (x->end_by && now >= x->end_by) {
        return timed_out(x, "GSGIRequestTimeout", x->conf->request_timeout);
    }

    state = __atomic_load_n(&gsgi_child.region->app_state, __ATOMIC_SEQ_CST);

    if (__atomic_load_n(&gsgi_child.stopping, __ATOMIC_SEQ_CST)
        == GSGI_STOPPING_AT_ONCE || state == GSGI_APP_STOPPED) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, x->r, GSGI_LOGNO(0303)
                      "the child process ends before the response");
        __atomic_fetch_add(&gsgi_child.cut, 1, __ATOMIC_SEQ_CST);
        return give_up(x, GSGI_HOST_STOP, HTTP_SERVICE_UNAVAILABLE);
    }

    return GSGI_GOES_ON;
}

static int take_news(gsgi_exchange_t *x, apr_uint32_t events)
{
    int rc;

    if (events & GSGI_CQ_RELEASE) {
        x->released = 1;
    }

    if (events & GSGI_CQ_UPGRADE) {
        return gsgi_upgrade(x, events);
    }

    if (events & GSGI_CQ_READ) {
        x->in.begun = x->in.kind == GSGI_BODY_STREAM;
    }

    rc = gsgi_response_take(x, events);

    if (rc == GSGI_GOES_ON && (events & GSGI_CQ_CUT)) {
        if (!x->out.head_out) {
            gsgi_outcome(x, failed);
        }

        rc = give_up(x, 0, HTTP_INTERNAL_SERVER_ERROR);
    }

    return rc;
}

static int pump(gsgi_exchange_t *x)
{
    apr_uint32_t events;
    int ready;
    int rc;

    do {
        events = 0;
        ready = wait_for_news(x, &events);

        if (events) {
            rc = take_news(x, events);
        }
        else {
            rc = ready ? GSGI_GOES_ON : gsgi_response_idle(x);
        }

        if (rc == GSGI_GOES_ON) {
            rc = look_at_client(x, ready);
        }

        if (rc == GSGI_GOES_ON) {
            rc = gsgi_exchange_limits(x);
        }
    } while (rc == GSGI_GOES_ON);

    return rc;
}


/*
 * The beginning of an exchange
 */

static int client_socket(conn_rec *c)
{
    apr_socket_t *socket = c->master ? NULL : ap_get_conn_socket(c);
    apr_os_sock_t fd = -1;

    if (socket) {
        apr_os_sock_get(&fd, socket);
    }

    return fd;
}

/* Where more of the body shows: in HTTP/2 it comes from another thread. */
static int body_fd(gsgi_exchange_t *x)
{
    apr_os_file_t fd = -1;
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 129)
    apr_pollfd_t pfd;

    if (x->r->connection->master) {
        memset(&pfd, 0, sizeof(pfd));

        if (ap_get_pollfd_from_conn(x->r->connection, &pfd, NULL)
            == APR_SUCCESS && pfd.desc_type == APR_POLL_FILE) {
            apr_os_file_get(&fd, pfd.desc.f);
        }

        return fd;
    }
#endif

    return x->fd != -1 ? x->fd : fd;
}

/* What the logs need of a request whose thread they do not run on. */
static void note_owner(gsgi_exchange_t *x)
{
    request_rec *r = x->r;
    gsgi_owner_t *owner;
    gsgi_trail_t *trail = gsgi_child.trail;
    const char *id = gsgi_environ_id(r);

    owner = &gsgi_child.owners[gsgi_slot_index(gsgi_child.bridge, x->slot)];
    owner->server = r->server;
    apr_cpystrn(owner->client, r->useragent_ip, sizeof(owner->client));
    owner->port = r->useragent_addr->port;
    apr_cpystrn(owner->id, id ? id : "-", sizeof(owner->id));
    __atomic_store_n(&owner->gen, x->slot->gen, __ATOMIC_RELEASE);

    apr_cpystrn(trail->youngest, r->the_request ? r->the_request : "",
                sizeof(trail->youngest));
    __atomic_fetch_add(&trail->running, 1, __ATOMIC_RELAXED);
}

static int submit(gsgi_exchange_t *x)
{
    gsgi_dir_conf *conf = x->conf;
    int rc;

    x->slot = gsgi_slot_get(gsgi_child.bridge);

    if (!x->slot) {
        return gsgi_queue_refuse(x, GSGI_LIMITED_QUEUE,
                                 "too many of its requests are abandoned", 0);
    }

    rc = gsgi_environ_pack(x);

    if (rc != OK) {
        if (x->slot->body_fd != -1) {
            close(x->slot->body_fd);
            x->slot->body_fd = -1;
        }

        gsgi_slot_put(gsgi_child.bridge, x->slot);
        x->slot = NULL;
        return rc;
    }

    note_owner(x);

    x->submitted = gsgi_clock();
    x->head_by = x->submitted + 1000 * (conf->timeout != -1 ? conf->timeout
                                                            : GSGI_TIMEOUT);

    gsgi_slot_submit(gsgi_child.bridge, x->slot);

    return OK;
}

static int serve(gsgi_exchange_t *x)
{
    int rc;

    if ((rc = gsgi_queue_ready(x)) != OK
        || x->r->connection->aborted
        || (rc = gsgi_queue_enter(x)) != OK
        || x->r->connection->aborted
        || (rc = submit(x)) != OK) {
        gsgi_queue_leave(x);
        return rc;
    }

    rc = pump(x);

    gsgi_exchange_release(x, GSGI_HOST_ABORT);

    if (rc != OK && rc != AP_FILTER_ERROR && x->out.head_out) {
        gsgi_response_cut(x);
        rc = OK;
    }

    gsgi_input_close(x);
    gsgi_output_close(x);

    return rc;
}

/* A note with a number; *room is where it ends, and moves down. */
static void note_number(apr_table_t *notes, const char *key, apr_uint64_t n,
                        char **room)
{
    char *end = *room - 1;

    *end = '\0';
    *room = gsgi_digits(n, end);
    apr_table_setn(notes, key, *room);
}

/* The same with seconds, as in "1.002". */
static void note_seconds(apr_table_t *notes, const char *key,
                         apr_uint64_t ns, char **room)
{
    apr_uint64_t ms = ns / GSGI_MILLISECOND;
    char *end = *room - 1;
    char *dot = end - 4;

    *end = '\0';
    gsgi_digits(1000 + ms % 1000, end);
    *dot = '.';
    *room = gsgi_digits(ms / 1000, dot);
    apr_table_setn(notes, key, *room);
}

/* For %{gsgi_time}n and its like. */
static void take_notes(gsgi_exchange_t *x, int rc)
{
    request_rec *r = x->r;
    apr_table_t *notes = r->notes;
    apr_uint64_t now = gsgi_clock();
    apr_uint64_t waited = x->submitted ? x->submitted - x->begun
                                       : now - x->begun;
    int status = x->out.status ? x->out.status
                 : ap_is_HTTP_VALID_RESPONSE(rc) ? rc : r->status;
    char *room = (char *) apr_palloc(r->pool, GSGI_NOTES) + GSGI_NOTES;

    apr_table_setn(notes, "gsgi_app", x->target->name);
    note_number(notes, "gsgi_status", (apr_uint64_t) status, &room);
    note_seconds(notes, "gsgi_time", now - x->begun, &room);
    note_seconds(notes, "gsgi_queue_time",
                 waited + x->queue_us * APR_UINT64_C(1000), &room);
    note_number(notes, "gsgi_bytes_sent", (apr_uint64_t) x->out.sent, &room);
}

/* What has not come to the application, or has come to nothing there. */
static void count_rest(gsgi_exchange_t *x, int rc)
{
    if (x->r->connection->aborted) {
        gsgi_outcome(x, aborted);
    }
    else if (ap_is_HTTP_SERVER_ERROR(rc)) {
        gsgi_outcome(x, failed);
    }
    else {
        gsgi_outcome(x, answered);
    }
}

/* Why this process cannot serve the target at all, NULL when it can. */
static const char *missing(request_rec *r, gsgi_target_t *target)
{
    if (!gsgi_child.bridge) {
        return gsgi_conf->failure ? "it has not passed its check, see "
                                    "GSGI0603 in the log of the start"
                                  : "it was not started";
    }

    return target->index >= 0
           ? NULL : apr_psprintf(r->pool, "it has no entry \"%s\"",
                                 target->entry);
}

int gsgi_handler(request_rec *r)
{
    gsgi_exchange_t x;
    gsgi_target_t *target;
    const char *script_name;
    const char *why;
    int rc;

    if (!r->handler || strcmp(r->handler, GSGI_HANDLER)) {
        return DECLINED;
    }

    target = gsgi_map_target(r, &script_name);

    if (!target) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, GSGI_LOGNO(0304)
                      "SetHandler " GSGI_HANDLER " needs a GSGIPass that says "
                      "which application serves %s", r->uri);
        return HTTP_INTERNAL_SERVER_ERROR;
    }

    memset(&x, 0, sizeof(x));
    x.r = r;
    gsgi_count(requests, 1);

    if ((why = missing(r, target))) {
        return gsgi_queue_refuse(&x, GSGI_LIMITED_FAILED, why, 0);
    }

    x.conf = ap_get_module_config(r->per_dir_config, &gsgi_module);
    x.target = target;
    x.script_name = script_name;
    x.fd = client_socket(r->connection);
    x.in.fd = body_fd(&x);
    x.original = r->status;
    x.begun = gsgi_clock();

    if (x.conf->request_timeout > 0) {
        x.end_by = x.begun + 1000 * x.conf->request_timeout;
    }

    __atomic_fetch_add(&gsgi_child.active, 1, __ATOMIC_SEQ_CST);

    rc = gsgi_input_open(&x);

    if (rc == OK) {
        rc = serve(&x);
    }

    take_notes(&x, rc);
    count_rest(&x, rc);
    __atomic_fetch_sub(&gsgi_child.active, 1, __ATOMIC_SEQ_CST);

    return rc;
}
