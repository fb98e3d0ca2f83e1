/*
 * Copyright (C) The GSGI Authors
 *
 * A connection that the application has taken over: its thread carries bytes
 * both ways, through the filters of the connection, until one side closes.
 */

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "mod_gsgi.h"

APLOG_USE_MODULE(gsgi);

/* What a socket that poll calls writable takes without waiting. */
#define GSGI_UPGRADE_SEND   GSGI_CHUNK_BYTES
#define GSGI_UPGRADE_READ   (16 * 1024)
#define GSGI_UPGRADE_ROUND  (256 * 1024)

#define GSGI_UPGRADE_SLICE  1000        /* ms between looks at the limits */
#define GSGI_UPGRADE_RETRY  5

typedef struct {
    gsgi_exchange_t    *x;
    conn_rec           *c;
    apr_bucket_brigade *in;         /* read, not handed over */
    apr_bucket_brigade *out;
    apr_uint32_t        list;       /* chunks to send */
    apr_uint64_t        published;  /* of the client's bytes */
    apr_uint64_t        taken;      /* of the application's */
    apr_uint64_t        since;      /* the client has taken none of u->list */
    int                 eof;        /* the client sends no more */
    int                 full;       /* the credit is used up */
    int                 again;      /* no chunk was free */
    int                 more;       /* stopped in the middle */
    int                 whole;      /* the application writes no more */
    int                 shut;       /* and the client has been told */
} gsgi_upgrade_t;


static int poll_client(gsgi_upgrade_t *u, short events)
{
    struct pollfd pfd;

    pfd.fd = u->x->fd;
    pfd.events = events;
    pfd.revents = 0;

    return poll(&pfd, 1, 0) > 0 ? pfd.revents : 0;
}

/* The end of both directions, when we have ended neither. */
static int is_broken(gsgi_upgrade_t *u)
{
    return !u->shut && poll_client(u, 0) != 0;
}

/* Leaves nothing between the application and the connection. */
static void take_over(gsgi_upgrade_t *u)
{
    gsgi_exchange_t *x = u->x;
    request_rec *r = x->r;
    conn_rec *c = r->connection;

    if (x->in.guard) {
        ap_remove_output_filter(x->in.guard);
        x->in.guard = NULL;
    }

    ap_remove_input_filter_byhandle(c->input_filters, "reqtimeout");

    r->output_filters = c->output_filters;
    r->proto_output_filters = c->output_filters;
    r->input_filters = c->input_filters;
    r->proto_input_filters = c->input_filters;

    r->status = HTTP_SWITCHING_PROTOCOLS;
    r->status_line = NULL;
    r->sent_bodyct = 1;
    r->expecting_100 = 0;
    c->keepalive = AP_CONN_CLOSE;

    x->in.done = 1;
    x->out.head_in = 1;
    x->out.head_out = 1;
    x->out.status = 0;
    x->queue_us = x->slot->queue_us;

    u->c = c;
    u->in = apr_brigade_create(r->pool, c->bucket_alloc);
    u->out = apr_brigade_create(r->pool, c->bucket_alloc);
    u->published = gsgi_slot_upgraded(gsgi_child.bridge, x->slot);
    gsgi_queue_leave(x);
}


/*
 * To the client
 */

/* For the log, as far as the first bytes tell. */
static void note_status(gsgi_upgrade_t *u, const char *data, apr_size_t len)
{
    apr_uint32_t status = gsgi_head_status(data, len);

    u->x->out.status = status ? (int) status : HTTP_SWITCHING_PROTOCOLS;
    u->x->r->status = u->x->out.status;
}

/* Adds a chunk to the brigade.  Returns its length, or -1. */
static apr_ssize_t add_chunk(gsgi_upgrade_t *u, gsgi_chunk_head_t *head,
                             apr_uint32_t chunk)
{
    const char *data = (char *) gsgi_chunk_data(gsgi_child.bridge, chunk - 1)
                       + head->off;

    if (head->kind != GSGI_CHUNK_DATA || head->off > GSGI_CHUNK_BYTES
        || head->len > GSGI_CHUNK_BYTES - head->off) {
        return -1;
    }

    if (!u->x->out.status) {
        note_status(u, data, head->len);
    }

    APR_BRIGADE_INSERT_TAIL(u->out,
                            apr_bucket_transient_create(data, head->len,
                                                        u->c->bucket_alloc));

    return head->len;
}

/* Passes on as many chunks as the client takes at once, and gives them back.
 * Returns how many bytes these were, or -1. */
static apr_ssize_t send_some(gsgi_upgrade_t *u)
{
    gsgi_chunk_head_t *head;
    apr_uint32_t first = u->list;
    apr_uint32_t next;
    apr_ssize_t bytes = 0;
    apr_ssize_t n = 0;
    apr_status_t rv;

    while (u->list && n >= 0) {
        head = gsgi_chunk_head(gsgi_child.bridge, u->list - 1);

        if (bytes && bytes + head->len > GSGI_UPGRADE_SEND) {
            break;
        }

        n = add_chunk(u, head, u->list);
        bytes += n;
        u->list = head->next;
    }

    APR_BRIGADE_INSERT_TAIL(u->out,
                            apr_bucket_flush_create(u->c->bucket_alloc));
    rv = ap_pass_brigade(u->c->output_filters, u->out);
    apr_brigade_cleanup(u->out);

    for (; first != u->list; first = next) {
        next = gsgi_chunk_head(gsgi_child.bridge, first - 1)->next;
        gsgi_chunk_put(gsgi_child.bridge, first - 1);
    }

    return n < 0 || rv != APR_SUCCESS || u->c->aborted ? -1 : bytes;
}

static void append_news(gsgi_upgrade_t *u)
{
    apr_uint32_t list = gsgi_out_take(gsgi_child.bridge, u->x->slot);
    apr_uint32_t chunk;
    gsgi_chunk_head_t *last = NULL;

    for (chunk = list; chunk; chunk = last->next) {
        last = gsgi_chunk_head(gsgi_child.bridge, chunk - 1);
        u->taken += last->len;
    }

    if (!u->list) {
        u->list = list;
        u->since = gsgi_clock();
        return;
    }

    for (chunk = u->list; chunk; chunk = last->next) {
        last = gsgi_chunk_head(gsgi_child.bridge, chunk - 1);
    }

    last->next = list;
}

static int send_all(gsgi_upgrade_t *u)
{
    gsgi_exchange_t *x = u->x;
    apr_ssize_t n;

    while (u->list && (poll_client(u, POLLOUT) & POLLOUT)) {
        n = send_some(u);

        if (n < 0) {
            return gsgi_exchange_aborted(x);
        }

        u->since = gsgi_clock();
        x->out.sent += n;
        x->r->bytes_sent += n;
        gsgi_count(bytes_sent, (uint64_t) n);

        if (!x->released) {
            gsgi_out_ack(gsgi_child.bridge, x->slot, (uint64_t) n, u->taken);
        }
    }

    if (u->list && gsgi_clock() - u->since
                   > (apr_uint64_t) x->r->server->timeout * 1000) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, x->r, GSGI_LOGNO(0305)
                      "the client has stalled on an upgraded connection");
        return gsgi_exchange_aborted(x);
    }

    if (u->list || !u->whole) {
        return GSGI_GOES_ON;
    }

    if (x->released) {
        gsgi_outcome(x, answered);
        return OK;
    }

    /* mod_ssl has no half of a connection */
    if (!u->shut && !(x->slot->flags & GSGI_REQ_TLS)) {
        shutdown(x->fd, SHUT_WR);
        u->shut = 1;
    }

    return GSGI_GOES_ON;
}


/*
 * From the client
 */

/* Hands over what is in u->in, at most room bytes. */
static int hand_over(gsgi_upgrade_t *u, apr_size_t room)
{
    apr_bucket *e;
    const char *data;
    apr_size_t len;

    while (room && !APR_BRIGADE_EMPTY(u->in)) {
        e = APR_BRIGADE_FIRST(u->in);

        if (APR_BUCKET_IS_METADATA(e)) {
            u->eof = u->eof || APR_BUCKET_IS_EOS(e);
            apr_bucket_delete(e);
            continue;
        }

        if (apr_bucket_read(e, &data, &len, APR_BLOCK_READ) != APR_SUCCESS) {
            return 0;
        }

        if (len > room) {
            apr_bucket_split(e, room);
            len = room;
        }

        if (gsgi_in_put(gsgi_child.bridge, u->x->slot, data, len)
            != GSGI_OK) {
            u->again = 1;
            return 1;
        }

        apr_bucket_delete(e);
        u->published += len;
        room -= len;
        gsgi_count(bytes_received, len);
    }

    return 1;
}

/* Nothing was read, and no error told why. */
static int at_end(gsgi_upgrade_t *u)
{
    int unread = 0;

    return (poll_client(u, POLLRDHUP) & POLLRDHUP)
           && ioctl(u->x->fd, FIONREAD, &unread) == 0 && unread == 0;
}

/* Returns whether the connection is still there. */
static int read_once(gsgi_upgrade_t *u, apr_size_t room, int *done)
{
    apr_status_t rv;

    rv = ap_get_brigade(u->c->input_filters, u->in, AP_MODE_READBYTES,
                        APR_NONBLOCK_READ,
                        room < GSGI_UPGRADE_READ ? room : GSGI_UPGRADE_READ);

    if (rv == APR_SUCCESS && !APR_BRIGADE_EMPTY(u->in)) {
        return 1;
    }

    *done = 1;

    if (rv == APR_SUCCESS || APR_STATUS_IS_EAGAIN(rv)) {
        u->eof = at_end(u);
        return 1;
    }

    u->eof = APR_STATUS_IS_EOF(rv);

    return u->eof && !is_broken(u);
}

static int receive(gsgi_upgrade_t *u)
{
    gsgi_slot_t *slot = u->x->slot;
    apr_uint64_t before = u->published;
    apr_size_t room;
    int done = 0;

    u->again = u->more = u->full = 0;

    while (!done && !u->eof && !u->again && !u->more && !u->full) {
        room = gsgi_in_room(gsgi_child.bridge, slot, u->published);
        u->full = room == 0;
        u->more = u->published - before > GSGI_UPGRADE_ROUND;

        if (u->full || u->more) {
            break;
        }

        if ((APR_BRIGADE_EMPTY(u->in) && !read_once(u, room, &done))
            || !hand_over(u, room)) {
            return gsgi_exchange_aborted(u->x);
        }
    }

    if (u->eof) {
        gsgi_in_state(slot, GSGI_IN_END);
    }

    if (u->eof || u->published != before) {
        gsgi_in_notify(gsgi_child.bridge, slot);
    }

    return GSGI_GOES_ON;
}


/*
 * Both ways
 */

static void take_news(gsgi_upgrade_t *u, apr_uint32_t events)
{
    if (events & GSGI_CQ_RELEASE) {
        u->x->released = 1;
    }

    if (events & (GSGI_CQ_END | GSGI_CQ_RELEASE)) {
        u->whole = 1;
    }

    append_news(u);
}

static int wanted(gsgi_upgrade_t *u)
{
    return (u->list ? POLLOUT : 0)
           | (u->eof || u->full || u->again ? 0 : POLLIN | POLLRDHUP);
}

static int carry(gsgi_upgrade_t *u, apr_uint32_t events)
{
    int revents = POLLIN;       /* there may be something in the filters */
    int rc;

    for (;;) {
        take_news(u, events);

        if ((revents & (POLLERR | POLLHUP)) && !u->shut) {
            return gsgi_exchange_aborted(u->x);
        }

        rc = send_all(u);

        if (rc == GSGI_GOES_ON && !u->eof && !u->x->released
            && ((revents & (POLLIN | POLLRDHUP)) || u->again || u->more
                || (events & GSGI_CQ_CREDIT))) {
            rc = receive(u);
        }

        if (rc == GSGI_GOES_ON) {
            rc = gsgi_exchange_limits(u->x);
        }

        if (rc != GSGI_GOES_ON) {
            return rc;
        }

        events = gsgi_slot_poll(u->x->slot, u->x->fd, wanted(u),
                                u->more ? 0 : u->again ? GSGI_UPGRADE_RETRY
                                                       : GSGI_UPGRADE_SLICE,
                                &revents);
    }
}

int gsgi_upgrade(gsgi_exchange_t *x, apr_uint32_t events)
{
    gsgi_upgrade_t u;

    memset(&u, 0, sizeof(u));
    u.x = x;

    take_over(&u);
    carry(&u, events);
    gsgi_output_drop(u.list);

    if (!x->out.status) {
        x->out.status = HTTP_SWITCHING_PROTOCOLS;
    }

    return OK;
}
