/*
 * Copyright (C) The GSGI Authors
 *
 * The request body: read first, into memory or a file, or streamed while the
 * application reads it.
 */

#include <fcntl.h>
#include <unistd.h>

#include "mod_gsgi.h"

APLOG_USE_MODULE(gsgi);

#define GSGI_IN_MEMORY  (64 * 1024)
#define GSGI_IN_READ    (64 * 1024)

/* What is read and thrown away of a body that the application left, so that
 * the connection can go on. */
#define GSGI_IN_DISCARD  (256 * 1024)
#define GSGI_IN_LINGER   apr_time_from_sec(5)

/* How long the end of an HTTP/2 body may turn out to be none. */
#define GSGI_IN_LOOKS  10
#define GSGI_IN_LOOK   1000     /* us */

static ap_filter_rec_t *guard_handle;

static void hand_over_trailers(gsgi_exchange_t *x);


/* A filter's own status, which is negative, has no text. */
static apr_status_t to_log(apr_status_t rv)
{
    return rv < 0 ? APR_SUCCESS : rv;
}

/* An unlinked file where the server keeps temporary files. */
apr_status_t gsgi_temp_file(request_rec *r, apr_file_t **file_out)
{
    char *name;
    apr_status_t rv;

    name = apr_pstrcat(r->pool, gsgi_child.temp_dir, "/gsgi.XXXXXX", NULL);
    rv = apr_file_mktemp(file_out, name,
                         APR_FOPEN_CREATE | APR_FOPEN_READ | APR_FOPEN_WRITE
                         | APR_FOPEN_EXCL, r->pool);

    if (rv == APR_SUCCESS) {
        apr_file_remove(name, r->pool);
    }
    else {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, rv, r, GSGI_LOGNO(0201)
                      "no temporary file for a body");
    }

    return rv;
}

static apr_status_t keep_in_file(gsgi_exchange_t *x, const char *data,
                                 apr_size_t len)
{
    gsgi_input_t *in = &x->in;
    apr_status_t rv = APR_SUCCESS;

    if (!in->file) {
        rv = gsgi_temp_file(x->r, &in->file);

        if (rv == APR_SUCCESS) {
            rv = apr_file_write_full(in->file, in->data, in->len, NULL);
        }
    }

    if (rv == APR_SUCCESS) {
        rv = apr_file_write_full(in->file, data, len, NULL);
    }

    if (rv != APR_SUCCESS) {
        /* not for the client to mend, as httpd would have it */
        in->error = HTTP_INTERNAL_SERVER_ERROR;
        ap_log_rerror(APLOG_MARK, APLOG_ERR, rv, x->r, GSGI_LOGNO(0206)
                      "the request body could not be kept in a temporary "
                      "file");
    }

    return rv;
}

static apr_status_t keep(gsgi_exchange_t *x, const char *data,
                         apr_size_t len)
{
    gsgi_input_t *in = &x->in;
    apr_off_t expected;

    if (in->file || in->total + (apr_off_t) len > GSGI_IN_MEMORY
        || in->length > GSGI_IN_MEMORY) {
        return keep_in_file(x, data, len);
    }

    if (!in->data) {
        expected = in->length == -1 ? GSGI_IN_MEMORY : in->length;
        in->data = apr_palloc(x->r->pool, (apr_size_t) expected);
    }

    memcpy(in->data + in->len, data, len);
    in->len += len;

    return APR_SUCCESS;
}

/*
 * mod_http2 ends the body of a stream that is reset as if it were whole, and
 * aborts the stream a moment later, on another thread.  A length gives it
 * away; without one there is only time, in which that thread gets to run.
 */
static int is_whole(gsgi_exchange_t *x)
{
    conn_rec *c = x->r->connection;
    int i;

    if (!c->master) {
        return 1;
    }

    /* a filter that changes the length takes the field away */
    if (x->in.length != -1
        && apr_table_get(x->r->headers_in, "Content-Length")) {
        return x->in.total >= x->in.length;
    }

    for (i = 0; i < GSGI_IN_LOOKS && !c->aborted; i++) {
        apr_sleep(GSGI_IN_LOOK);
    }

    return !c->aborted;
}

/* Keeps what is in bb.  *done: it was the last. */
static apr_status_t keep_brigade(gsgi_exchange_t *x, apr_bucket_brigade *bb,
                                 int *done)
{
    apr_bucket *e;
    const char *data;
    apr_size_t len;
    apr_status_t rv = APR_SUCCESS;

    while (rv == APR_SUCCESS && !APR_BRIGADE_EMPTY(bb)) {
        e = APR_BRIGADE_FIRST(bb);

        if (APR_BUCKET_IS_EOS(e)) {
            *done = 1;
        }
        else if (!APR_BUCKET_IS_METADATA(e)) {
            rv = apr_bucket_read(e, &data, &len, APR_BLOCK_READ);

            if (rv == APR_SUCCESS) {
                rv = keep(x, data, len);
                x->in.total += len;
            }
        }

        apr_bucket_delete(e);
    }

    return rv;
}

static int buffer(gsgi_exchange_t *x)
{
    request_rec *r = x->r;
    apr_bucket_brigade *bb;
    apr_status_t rv;
    int done = 0;

    bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);

    while (!done) {
        rv = ap_get_brigade(r->input_filters, bb, AP_MODE_READBYTES,
                            APR_BLOCK_READ, GSGI_IN_READ);

        if (rv == APR_SUCCESS) {
            rv = keep_brigade(x, bb, &done);
        }

        if (done && !is_whole(x)) {
            rv = APR_ECONNABORTED;
        }

        apr_brigade_cleanup(bb);

        if (rv != APR_SUCCESS && x->in.error) {
            r->connection->keepalive = AP_CONN_CLOSE;
            return x->in.error;
        }

        if (rv != APR_SUCCESS) {
            ap_log_rerror(APLOG_MARK, APLOG_INFO, to_log(rv), r,
                          GSGI_LOGNO(0202)
                          "the request body could not be read");
            r->connection->keepalive = AP_CONN_CLOSE;

            if (APR_STATUS_IS_ECONNABORTED(rv) || APR_STATUS_IS_ECONNRESET(rv)
                || APR_STATUS_IS_EOF(rv)) {
                gsgi_outcome(x, aborted);
            }

            return ap_map_http_request_error(rv, HTTP_BAD_REQUEST);
        }
    }

    gsgi_count(bytes_received, (uint64_t) x->in.total);

    x->in.length = x->in.total;
    x->in.done = 1;
    x->in.kind = x->in.file ? GSGI_BODY_FILE
                 : x->in.len ? GSGI_BODY_INLINE : GSGI_BODY_NONE;

    return OK;
}

/* The body belongs to the request that was in error, not to the document
 * about it. */
static int is_error_document(request_rec *r)
{
    return r->prev && ap_is_HTTP_ERROR(r->prev->status);
}

int gsgi_input_open(gsgi_exchange_t *x)
{
    request_rec *r = x->r;
    gsgi_input_t *in = &x->in;
    const char *length = apr_table_get(r->headers_in, "Content-Length");
    const char *coding = apr_table_get(r->headers_in, "Transfer-Encoding");

    in->kind = GSGI_BODY_NONE;
    in->done = 1;

    if (is_error_document(r)) {
        return OK;
    }

    if (coding) {
        in->chunked = 1;
        in->length = -1;
    }
    else if (!length || apr_strtoff(&in->length, length, NULL, 10)
                        != APR_SUCCESS || in->length <= 0) {
        in->length = 0;
        return OK;
    }

    in->kind = GSGI_BODY_STREAM;
    in->done = 0;

    return x->conf->request_buffering == 0 ? OK : buffer(x);
}

int gsgi_input_pack(gsgi_exchange_t *x, gsgi_pack_t *p)
{
    gsgi_input_t *in = &x->in;
    gsgi_slot_t *slot = x->slot;
    apr_os_file_t fd;

    slot->content_length = in->length;

    switch (in->kind) {
    case GSGI_BODY_INLINE:
        gsgi_pack_body(p, in->data, in->len, in->len);
        hand_over_trailers(x);
        break;

    case GSGI_BODY_FILE:
        apr_os_file_get(&fd, in->file);
        slot->body_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);

        if (slot->body_fd == -1) {
            ap_log_rerror(APLOG_MARK, APLOG_ERR, APR_FROM_OS_ERROR(errno),
                          x->r, GSGI_LOGNO(0203)
                          "no descriptor for a request body");
            return HTTP_SERVICE_UNAVAILABLE;
        }

        slot->body_kind = GSGI_BODY_FILE;
        hand_over_trailers(x);
        gsgi_in_state(slot, GSGI_IN_END);
        break;

    case GSGI_BODY_STREAM:
        slot->body_kind = GSGI_BODY_STREAM;
        in->bb = apr_brigade_create(x->r->pool,
                                    x->r->connection->bucket_alloc);
        in->guard = ap_add_output_filter_handle(guard_handle, in, x->r,
                                                x->r->connection);
        break;
    }

    return OK;
}


/*
 * Streaming
 */

/*
 * Sees what the input filters of httpd answer themselves when a body is too
 * large or malformed, as an error bucket down the output filters.  It is
 * kept from there: the response is the application's, and may have begun.
 */
static apr_status_t guard(ap_filter_t *f, apr_bucket_brigade *bb)
{
    gsgi_input_t *in = f->ctx;
    apr_bucket *e;

    if (!in->reading) {
        return ap_pass_brigade(f->next, bb);
    }

    for (e = APR_BRIGADE_FIRST(bb); e != APR_BRIGADE_SENTINEL(bb);
         e = APR_BUCKET_NEXT(e)) {
        if (AP_BUCKET_IS_ERROR(e)) {
            in->error = ((ap_bucket_error *) e->data)->status;
        }
    }

    apr_brigade_cleanup(bb);

    return AP_FILTER_ERROR;
}

void gsgi_input_filters(void)
{
    guard_handle = ap_register_output_filter("GSGI_GUARD", guard, NULL,
                                             AP_FTYPE_RESOURCE);
}

/* What came behind the body, as far as MergeTrailers has left it apart. */
static void hand_over_trailers(gsgi_exchange_t *x)
{
    request_rec *r = x->r;
    const apr_array_header_t *fields = apr_table_elts(r->trailers_in);
    const apr_table_entry_t *t = (const apr_table_entry_t *) fields->elts;
    gsgi_str_t *pairs;
    int i;

    if (fields->nelts == 0) {
        return;
    }

    pairs = apr_palloc(r->pool, 2 * fields->nelts * sizeof(gsgi_str_t));

    for (i = 0; i < fields->nelts; i++) {
        pairs[2 * i].data = t[i].key;
        pairs[2 * i].len = strlen(t[i].key);
        pairs[2 * i + 1].data = t[i].val;
        pairs[2 * i + 1].len = strlen(t[i].val);
    }

    gsgi_in_trailers(gsgi_child.bridge, x->slot, pairs,
                     (apr_size_t) fields->nelts);
}

static apr_status_t read_some(gsgi_exchange_t *x, apr_size_t room)
{
    apr_status_t rv;

    x->in.reading = 1;
    rv = ap_get_brigade(x->r->input_filters, x->in.bb, AP_MODE_READBYTES,
                        APR_NONBLOCK_READ,
                        room < GSGI_IN_READ ? room : GSGI_IN_READ);
    x->in.reading = 0;

    return rv == APR_SUCCESS && APR_BRIGADE_EMPTY(x->in.bb) ? APR_EAGAIN : rv;
}

/* httpd does it by itself only where it may wait for what comes then. */
static void send_continue(request_rec *r)
{
    int status = r->status;
    const char *line = r->status_line;

    r->status = HTTP_CONTINUE;
    r->status_line = NULL;
    ap_send_interim_response(r, 0);
    r->status = status;
    r->status_line = line;
}

static void give_up(gsgi_exchange_t *x, apr_uint32_t state)
{
    x->in.done = 1;
    x->r->connection->keepalive = AP_CONN_CLOSE;
    apr_brigade_cleanup(x->in.bb);
    gsgi_in_state(x->slot, state);
}

static void broken(gsgi_exchange_t *x, apr_status_t rv)
{
    int status = x->in.error ? x->in.error
                 : ap_map_http_request_error(rv, HTTP_BAD_REQUEST);

    ap_log_rerror(APLOG_MARK, APLOG_INFO, to_log(rv), x->r, GSGI_LOGNO(0204)
                  "the request body broke off after %" APR_OFF_T_FMT " bytes",
                  x->in.total);

    x->in.error = status;
    give_up(x, status == HTTP_REQUEST_ENTITY_TOO_LARGE ? GSGI_IN_TOO_LARGE
               : status == HTTP_REQUEST_TIME_OUT ? GSGI_IN_TIMEOUT
                                                 : GSGI_IN_BROKEN);
}

/* Hands over what is in in->bb.  Returns whether all of it has gone. */
static int hand_over(gsgi_exchange_t *x, apr_size_t room)
{
    gsgi_input_t *in = &x->in;
    apr_bucket *e;
    const char *data;
    apr_size_t len;

    while (!APR_BRIGADE_EMPTY(in->bb)) {
        e = APR_BRIGADE_FIRST(in->bb);

        if (APR_BUCKET_IS_EOS(e)) {
            if (!is_whole(x)) {
                broken(x, APR_ECONNABORTED);
                return 0;
            }

            in->done = 1;
            hand_over_trailers(x);
            gsgi_in_state(x->slot, GSGI_IN_END);
            apr_brigade_cleanup(in->bb);
            return 0;
        }

        if (APR_BUCKET_IS_METADATA(e)) {
            apr_bucket_delete(e);
            continue;
        }

        if (room == 0) {
            return 0;
        }

        if (apr_bucket_read(e, &data, &len, APR_BLOCK_READ) != APR_SUCCESS) {
            give_up(x, GSGI_IN_BROKEN);
            return 0;
        }

        if (len > room) {
            apr_bucket_split(e, room);
            len = room;
        }

        if (gsgi_in_put(gsgi_child.bridge, x->slot, data, len) != GSGI_OK) {
            in->again = 1;
            return 0;
        }

        apr_bucket_delete(e);

        in->total += len;
        room -= len;
        gsgi_count(bytes_received, len);
    }

    return 1;
}

/* One round.  Returns whether there may be more at once. */
static int pump_once(gsgi_exchange_t *x)
{
    gsgi_input_t *in = &x->in;
    apr_size_t room;
    apr_status_t rv;

    room = gsgi_in_room(gsgi_child.bridge, x->slot, (uint64_t) in->total);
    in->full = room == 0;

    if (in->full) {
        return 0;
    }

    if (APR_BRIGADE_EMPTY(in->bb)) {
        rv = read_some(x, room);

        if (APR_STATUS_IS_EAGAIN(rv)) {
            if (x->r->expecting_100 && !x->out.head_out) {
                send_continue(x->r);
            }

            return 0;
        }

        if (rv != APR_SUCCESS) {
            broken(x, rv);
            return 0;
        }

        in->since = gsgi_clock();
    }

    return hand_over(x, room);
}

void gsgi_input_pump(gsgi_exchange_t *x)
{
    gsgi_input_t *in = &x->in;
    apr_off_t before = in->total;

    in->again = 0;
    in->more = 0;

    if (!in->since) {
        in->since = gsgi_clock();
    }

    while (pump_once(x)) {
        if (in->total - before >= GSGI_IN_DISCARD) {
            /* the response has its turn */
            in->more = 1;
            break;
        }
    }

    if (!in->done && gsgi_input_starved(x)
        && gsgi_clock() - in->since
           > (apr_uint64_t) x->r->server->timeout * 1000) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, x->r, GSGI_LOGNO(0205)
                      "the client has stalled after %" APR_OFF_T_FMT
                      " bytes of the request body", in->total);
        give_up(x, GSGI_IN_TIMEOUT);
    }

    gsgi_in_notify(gsgi_child.bridge, x->slot);
}

/* Whether the application, as far as can be seen, waits for the client. */
int gsgi_input_starved(gsgi_exchange_t *x)
{
    return x->in.begun && !x->in.done && x->slot
           && __atomic_load_n(&x->slot->in_acked, __ATOMIC_SEQ_CST)
              == (uint64_t) x->in.total;
}

/* The client is not kept waiting for the response by what it has yet to send,
 * nor the thread by the client.  Returns the time limit of the socket. */
static apr_interval_time_t begin_discard(gsgi_exchange_t *x)
{
    conn_rec *c = x->r->connection;
    apr_socket_t *socket = ap_get_conn_socket(c);
    apr_interval_time_t old = -1;

    APR_BRIGADE_INSERT_TAIL(x->in.bb, apr_bucket_flush_create(c->bucket_alloc));
    ap_pass_brigade(c->output_filters, x->in.bb);
    apr_brigade_cleanup(x->in.bb);

    if (socket && apr_socket_timeout_get(socket, &old) == APR_SUCCESS
        && (old < 0 || old > GSGI_IN_LINGER)) {
        apr_socket_timeout_set(socket, GSGI_IN_LINGER);
    }

    return old;
}

static void end_discard(gsgi_exchange_t *x, apr_interval_time_t old)
{
    apr_socket_t *socket = ap_get_conn_socket(x->r->connection);

    if (socket && old != -1) {
        apr_socket_timeout_set(socket, old);
    }
}

/*
 * A body of which much is left ends the connection, so that the response
 * leaves without it.  Of little, what was not read at all is left to httpd.
 */
void gsgi_input_close(gsgi_exchange_t *x)
{
    request_rec *r = x->r;
    apr_off_t rest = GSGI_IN_DISCARD;
    apr_off_t length = -1;
    apr_interval_time_t old;
    apr_bucket *last;
    int eos = 0;

    if (x->in.guard) {
        ap_remove_output_filter(x->in.guard);
    }

    if (x->in.done || r->connection->aborted || r->connection->master) {
        return;
    }

    if ((x->in.begun && !x->out.head_out)
        || (x->in.length != -1 && x->in.length - x->in.total > rest)) {
        r->connection->keepalive = AP_CONN_CLOSE;
        return;
    }

    if (!x->in.begun) {
        return;
    }

    apr_brigade_cleanup(x->in.bb);
    old = begin_discard(x);

    while (!eos && rest > 0 && r->connection->keepalive != AP_CONN_CLOSE) {
        if (ap_get_brigade(r->input_filters, x->in.bb, AP_MODE_READBYTES,
                           APR_BLOCK_READ, GSGI_IN_READ) != APR_SUCCESS) {
            break;
        }

        last = APR_BRIGADE_LAST(x->in.bb);
        eos = last != APR_BRIGADE_SENTINEL(x->in.bb)
              && APR_BUCKET_IS_EOS(last);
        apr_brigade_length(x->in.bb, 1, &length);
        rest -= length > 0 ? length : 1;
        apr_brigade_cleanup(x->in.bb);
    }

    end_discard(x, old);

    if (!eos) {
        r->connection->keepalive = AP_CONN_CLOSE;
    }
}
