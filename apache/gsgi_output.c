/*
 * Copyright (C) The GSGI Authors
 *
 * The body of the response: from the slot and its chunks into httpd's output
 * filters.
 *
 * Bytes go out as transient buckets, which httpd copies only when it cannot
 * send them now; so a chunk is the application's again as soon as the
 * brigade has been passed on.
 */

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mod_gsgi.h"
#include "apr_portable.h"
#include "http_connection.h"

APLOG_USE_MODULE(gsgi);

#define GSGI_PASS_BYTES   (128 * 1024)      /* in one brigade */
#define GSGI_SMALL_BYTES  8192              /* copied, to free the slot */
#define GSGI_COPY_BYTES   (32 * 1024)
#define GSGI_STREAM_BYTES (32 * 1024)       /* of an HTTP/2 stream */
#define GSGI_FILE_BYTES   (4 * 1024 * 1024) /* of a file between two acks */


static ap_filter_rec_t *trailers_handle;


/* In HTTP/2 one cannot know; so much is kept by mod_http2 without waiting. */
static int client_is_slow(gsgi_exchange_t *x)
{
    struct pollfd pfd;

    if (x->fd == -1) {
        return x->out.sent > GSGI_STREAM_BYTES;
    }

    pfd.fd = x->fd;
    pfd.events = POLLOUT;

    return poll(&pfd, 1, 0) <= 0;
}

/* Whether filters that drop the length may let the connection end the
 * response, though they are given all of it at once. */
static int may_close(request_rec *r)
{
    return r->proto_num < HTTP_VERSION(1, 1)
           || r->connection->keepalive == AP_CONN_CLOSE;
}

/* Passes on what is in the brigade, which is empty then. */
static int pass(gsgi_exchange_t *x)
{
    request_rec *r = x->r;
    apr_status_t rv;
    int whole;

    if (APR_BRIGADE_EMPTY(x->out.bb)) {
        return GSGI_GOES_ON;
    }

    whole = APR_BUCKET_IS_EOS(APR_BRIGADE_LAST(x->out.bb));

    if (!x->out.head_out) {
        gsgi_response_guard(x, !whole || may_close(r));
    }

    x->out.head_out = 1;
    rv = ap_pass_brigade(r->output_filters, x->out.bb);
    apr_brigade_cleanup(x->out.bb);

    if (!whole) {
        gsgi_response_guard(x, !gsgi_response_is_framed(x));
    }
    else if (x->out.guarded) {
        if (rv == APR_SUCCESS && !r->main && !gsgi_response_is_framed(x)) {
            ap_flush_conn(r->connection);
        }

        gsgi_response_guard(x, 0);
    }

    /* 100 Continue makes no sense any more */
    r->expecting_100 = 0;

    /* mod_http2 ends the connection of a stream that has been sent */
    if (rv == APR_SUCCESS && (whole || !r->connection->aborted)) {
        return GSGI_GOES_ON;
    }

    if (rv == AP_FILTER_ERROR) {
        /* httpd has refused the head, or a filter the body, and answered */
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, GSGI_LOGNO(0405)
                      "an output filter has refused the response");
        gsgi_outcome(x, failed);
        return AP_FILTER_ERROR;
    }

    if (x->conf->ignore_client_abort == 1) {
        x->out.discard = 1;
        return GSGI_GOES_ON;
    }

    return gsgi_exchange_aborted(x);
}

static void add_flush(gsgi_exchange_t *x)
{
    apr_bucket_alloc_t *alloc = x->r->connection->bucket_alloc;

    APR_BRIGADE_INSERT_TAIL(x->out.bb, apr_bucket_flush_create(alloc));
    x->out.dirty = 0;
}

/*
 * The same by copying.  mod_http2 sets file buckets aside, and APR does not
 * close a descriptor that was set aside and had been given to it.
 */
static int copy_file(gsgi_exchange_t *x, int fd, apr_off_t off,
                     apr_size_t len, int flush)
{
    apr_bucket_alloc_t *alloc = x->r->connection->bucket_alloc;
    int rc = GSGI_GOES_ON;
    char *data;
    ssize_t n;

    while (len && rc == GSGI_GOES_ON) {
        data = apr_bucket_alloc(GSGI_COPY_BYTES, alloc);
        n = pread(fd, data, len < GSGI_COPY_BYTES ? len : GSGI_COPY_BYTES,
                  off);

        if (n <= 0) {
            apr_bucket_free(data);
            return HTTP_INTERNAL_SERVER_ERROR;
        }

        APR_BRIGADE_INSERT_TAIL(x->out.bb,
                                apr_bucket_heap_create(data, n,
                                                       apr_bucket_free,
                                                       alloc));
        off += n;
        len -= n;

        if (flush && !len) {
            add_flush(x);
        }

        rc = pass(x);
    }

    return rc;
}

/* A piece of a file, flushed: it has left when this returns. */
static int pass_file(gsgi_exchange_t *x, int fd, apr_off_t off,
                     apr_size_t len, int flush)
{
    apr_bucket_alloc_t *alloc = x->r->connection->bucket_alloc;
    core_dir_config *core = ap_get_core_module_config(x->r->per_dir_config);
    apr_int32_t flags = APR_FOPEN_READ | APR_FOPEN_BINARY;
    apr_file_t *file;
    apr_bucket *e;
    struct stat st;
    int rc;

    if (fstat(fd, &st) == -1 || off + (apr_off_t) len > st.st_size) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }

    if (x->r->connection->master) {
        return copy_file(x, fd, off, len, flush);
    }

    if (core->enable_sendfile == ENABLE_SENDFILE_ON) {
        flags |= APR_FOPEN_SENDFILE_ENABLED;
    }

    /* a filter that keeps the bucket takes the descriptor with it */
    fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);

    if (fd == -1) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }

    if (!x->out.scratch) {
        apr_pool_create(&x->out.scratch, x->r->pool);
    }

    apr_os_file_put(&file, &fd, flags, x->out.scratch);
    e = apr_bucket_file_create(file, off, len, x->out.scratch, alloc);
    apr_bucket_file_enable_mmap(e, 0);
    APR_BRIGADE_INSERT_TAIL(x->out.bb, e);

    if (flush) {
        add_flush(x);
    }

    rc = pass(x);
    apr_file_close(file);
    apr_pool_clear(x->out.scratch);

    return rc;
}

/* Sends what GSGIBuffering has put aside, all of it or what the client takes
 * now. */
static int unspool(gsgi_exchange_t *x, int all)
{
    gsgi_output_t *out = &x->out;
    apr_os_file_t fd;
    apr_off_t left;
    int rc;

    while (out->unspooled < out->spooled && !out->discard
           && (all || !client_is_slow(x))) {
        apr_os_file_get(&fd, out->spool);
        left = out->spooled - out->unspooled;

        if (left > (all ? GSGI_FILE_BYTES : GSGI_PASS_BYTES)) {
            left = all ? GSGI_FILE_BYTES : GSGI_PASS_BYTES;
        }

        rc = pass_file(x, fd, out->unspooled, (apr_size_t) left, all);

        if (rc != GSGI_GOES_ON) {
            return rc;
        }

        out->unspooled += left;
    }

    return GSGI_GOES_ON;
}

int gsgi_response_pending(gsgi_exchange_t *x)
{
    return x->out.unspooled < x->out.spooled && !x->out.discard;
}

/* On HTTP/2 the request's pool may live as long as the connection. */
void gsgi_output_close(gsgi_exchange_t *x)
{
    if (x->out.spool) {
        apr_file_close(x->out.spool);
        x->out.spool = NULL;
    }
}

static int spool(gsgi_exchange_t *x, const char *data, apr_size_t len)
{
    gsgi_output_t *out = &x->out;
    apr_off_t end = out->spooled;
    apr_status_t rv = APR_SUCCESS;

    if (!out->spool) {
        rv = gsgi_temp_file(x->r, &out->spool);
    }

    if (rv == APR_SUCCESS) {
        rv = apr_file_seek(out->spool, APR_SET, &end);
    }

    if (rv == APR_SUCCESS) {
        rv = apr_file_write_full(out->spool, data, len, NULL);
    }

    if (rv != APR_SUCCESS) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, rv, x->r, GSGI_LOGNO(0403)
                      "the response cannot be put aside");
        return HTTP_INTERNAL_SERVER_ERROR;
    }

    out->spooled += len;

    return GSGI_GOES_ON;
}

/* Adds bytes that stay where they are until the next pass(). */
static int add(gsgi_exchange_t *x, const char *data, apr_size_t len,
               int copy)
{
    apr_bucket_alloc_t *alloc = x->r->connection->bucket_alloc;
    apr_bucket *e;

    if (len == 0 || x->out.discard || x->r->header_only) {
        return GSGI_GOES_ON;
    }

    x->out.sent += len;
    gsgi_count(bytes_sent, len);

    if (x->out.buffering && !copy
        && (gsgi_response_pending(x) || client_is_slow(x))) {
        return spool(x, data, len);
    }

    e = copy ? apr_bucket_heap_create(data, len, NULL, alloc)
             : apr_bucket_transient_create(data, len, alloc);
    APR_BRIGADE_INSERT_TAIL(x->out.bb, e);
    x->out.dirty = 1;

    return GSGI_GOES_ON;
}

static int send_file(gsgi_exchange_t *x, gsgi_chunk_head_t *head)
{
    apr_off_t off = head->file_off;
    apr_off_t left = head->file_len;
    apr_off_t n;
    int rc = unspool(x, 1);

    while (rc == GSGI_GOES_ON && left > 0) {
        n = left < GSGI_FILE_BYTES ? left : GSGI_FILE_BYTES;

        if (!x->out.discard && !x->r->header_only) {
            rc = pass_file(x, head->fd, off, (apr_size_t) n, 1);

            if (rc == GSGI_GOES_ON) {
                x->out.sent += n;
                gsgi_count(bytes_sent, (uint64_t) n);
            }
        }

        off += n;
        left -= n;

        if (rc == GSGI_GOES_ON && x->slot) {
            gsgi_out_ack(gsgi_child.bridge, x->slot, (uint64_t) n,
                         (uint64_t) x->out.taken);
        }
    }

    if (rc == HTTP_INTERNAL_SERVER_ERROR) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, x->r, GSGI_LOGNO(0404)
                      "the file that the application sends has become "
                      "shorter, or cannot be read");
    }

    return rc;
}

static void give_back(apr_uint32_t chunk)
{
    gsgi_chunk_head_t *head = gsgi_chunk_head(gsgi_child.bridge, chunk - 1);

    if (head->kind == GSGI_CHUNK_FILE) {
        close(head->fd);
    }

    gsgi_chunk_put(gsgi_child.bridge, chunk - 1);
}

/* Gives back the chunks from list up to end. */
static void give_back_list(apr_uint32_t list, apr_uint32_t end)
{
    apr_uint32_t next;

    for (; list && list != end; list = next) {
        next = gsgi_chunk_head(gsgi_child.bridge, list - 1)->next;
        give_back(list);
    }
}

static int add_inline(gsgi_exchange_t *x, int copy)
{
    gsgi_slot_t *slot = x->slot;

    if (x->out.inlined) {
        return GSGI_GOES_ON;
    }

    x->out.inlined = 1;

    if (slot->body_off > GSGI_SLOT_DATA
        || slot->body_len > GSGI_SLOT_DATA - slot->body_off) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }

    return add(x, (char *) gsgi_slot_data(slot) + slot->body_off,
               slot->body_len, copy);
}

static int add_chunk(gsgi_exchange_t *x, gsgi_chunk_head_t *head,
                     apr_uint32_t chunk, int copy)
{
    if (head->off > GSGI_CHUNK_BYTES
        || head->len > GSGI_CHUNK_BYTES - head->off) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }

    return add(x, (char *) gsgi_chunk_data(gsgi_child.bridge, chunk - 1)
                  + head->off, head->len, copy);
}

/*
 * Trailers.  mod_http2 sends what is in r->trailers_out; in HTTP/1.1 httpd
 * has no place for them, so they are put into its last chunk.
 */

static apr_bucket *last_chunk(apr_bucket_brigade *bb)
{
    apr_bucket *e = APR_BRIGADE_LAST(bb);
    const char *data;
    apr_size_t len;

    if (e == APR_BRIGADE_SENTINEL(bb) || !APR_BUCKET_IS_EOS(e)) {
        return NULL;
    }

    e = APR_BUCKET_PREV(e);

    return e != APR_BRIGADE_SENTINEL(bb) && !APR_BUCKET_IS_METADATA(e)
           && apr_bucket_read(e, &data, &len, APR_BLOCK_READ) == APR_SUCCESS
           && len == 5 && !memcmp(data, "0\r\n\r\n", 5)
           ? e : NULL;
}

static apr_status_t put_trailers(ap_filter_t *f, apr_bucket_brigade *bb)
{
    request_rec *r = f->r;
    const apr_array_header_t *fields = apr_table_elts(r->trailers_out);
    const apr_table_entry_t *t = (const apr_table_entry_t *) fields->elts;
    apr_bucket *e = last_chunk(bb);
    int i;

    if (e) {
        apr_bucket_split(e, 3);
        e = APR_BUCKET_NEXT(e);

        for (i = 0; i < fields->nelts; i++) {
            const char *line = apr_pstrcat(r->pool, t[i].key, ": ", t[i].val,
                                           "\r\n", NULL);

            APR_BUCKET_INSERT_BEFORE(e,
                apr_bucket_pool_create(line, strlen(line), r->pool,
                                       r->connection->bucket_alloc));
        }

        ap_remove_output_filter(f);
    }

    return ap_pass_brigade(f->next, bb);
}

void gsgi_output_filters(void)
{
    trailers_handle = ap_register_output_filter("GSGI_TRAILERS", put_trailers,
                                                NULL, AP_FTYPE_TRANSCODE + 1);
}

static int add_trailers(gsgi_exchange_t *x, apr_uint32_t chunk)
{
    request_rec *r = x->r;
    gsgi_head_iter_t it;
    gsgi_str_t name, value;
    int rc = GSGI_GOES_ON;

    if (r->header_only || x->out.discard
        || gsgi_head_chunk(&it, gsgi_child.bridge, chunk) != GSGI_OK) {
        return rc;
    }

    if (!x->out.head_out) {
        /* or httpd would see that all is there, and give its length */
        add_flush(x);
        rc = pass(x);
    }

    while (gsgi_head_next(&it, &name, &value) == GSGI_OK) {
        apr_table_addn(r->trailers_out,
                       apr_pstrmemdup(r->pool, name.data, name.len),
                       apr_pstrmemdup(r->pool, value.data, value.len));
    }

    if (!r->connection->master) {
        ap_add_output_filter_handle(trailers_handle, NULL, r, r->connection);
    }

    return rc;
}

/*
 * Sends the chunks of a list in order, and gives them back as they are done
 * with: when this returns all of them are, but those that are still in the
 * brigade, whose first is in *kept.
 */
static int add_list(gsgi_exchange_t *x, apr_uint32_t list, int copy,
                    apr_uint32_t *kept, apr_uint64_t *bytes)
{
    gsgi_chunk_head_t *head;
    apr_uint32_t chunk = list;
    apr_uint32_t next;
    int rc = GSGI_GOES_ON;

    for (; chunk && rc == GSGI_GOES_ON; chunk = next) {
        head = gsgi_chunk_head(gsgi_child.bridge, chunk - 1);
        next = head->next;

        if (head->kind == GSGI_CHUNK_DATA) {
            rc = add_chunk(x, head, chunk, copy);
            x->out.taken += head->len;
            *bytes += head->len;
        }
        else if (head->kind == GSGI_CHUNK_TRAILERS) {
            rc = add_trailers(x, chunk - 1);
        }
        else if (head->kind == GSGI_CHUNK_FILE) {
            rc = pass(x);
            x->out.taken += head->file_len;

            if (rc == GSGI_GOES_ON) {
                rc = send_file(x, head);
            }
        }

        if (rc == GSGI_GOES_ON
            && (head->kind == GSGI_CHUNK_FILE || *bytes > GSGI_PASS_BYTES)) {
            rc = pass(x);
            give_back_list(list, next);
            list = next;

            if (*bytes && x->slot) {
                gsgi_out_ack(gsgi_child.bridge, x->slot, *bytes,
                             (uint64_t) x->out.taken);
            }

            *bytes = 0;
        }
    }

    *kept = list;

    return rc;
}

void gsgi_output_drop(apr_uint32_t list)
{
    give_back_list(list, 0);
}

/* Whether the whole response is so short that it is copied. */
static int is_small(gsgi_exchange_t *x, apr_uint32_t list, int ended)
{
    gsgi_chunk_head_t *head;
    apr_size_t len = x->out.inlined ? 0 : x->slot->body_len;

    for (; list && len <= GSGI_SMALL_BYTES; list = head->next) {
        head = gsgi_chunk_head(gsgi_child.bridge, list - 1);
        len += head->kind == GSGI_CHUNK_FILE ? GSGI_SMALL_BYTES + 1
                                             : head->len;
    }

    return ended && len <= GSGI_SMALL_BYTES;
}

/* What ends or flushes, behind what was added. */
static int add_events(gsgi_exchange_t *x, apr_uint32_t events)
{
    apr_bucket_alloc_t *alloc = x->r->connection->bucket_alloc;

    if (x->out.discard) {
        return GSGI_GOES_ON;
    }

    if (events & GSGI_CQ_END) {
        APR_BRIGADE_INSERT_TAIL(x->out.bb, apr_bucket_eos_create(alloc));
    }
    else if ((events & GSGI_CQ_CUT)
             || ((events & GSGI_CQ_FLUSH) && !gsgi_response_pending(x)
                 && !(x->out.buffering && client_is_slow(x)))) {
        add_flush(x);
    }

    return GSGI_GOES_ON;
}

/* Sends what has been added, then lets its chunks go. */
static int finish(gsgi_exchange_t *x, apr_uint32_t kept, apr_uint64_t bytes,
                  apr_uint32_t events)
{
    int last = (events & (GSGI_CQ_END | GSGI_CQ_CUT)) != 0;
    int rc = GSGI_GOES_ON;

    if ((last || (events & GSGI_CQ_FLUSH)) && gsgi_response_pending(x)) {
        rc = unspool(x, last || x->fd == -1);
    }

    if (rc == GSGI_GOES_ON) {
        rc = add_events(x, events);
    }

    if (rc == GSGI_GOES_ON) {
        rc = pass(x);
    }

    apr_brigade_cleanup(x->out.bb);
    gsgi_output_drop(kept);

    if (rc != GSGI_GOES_ON) {
        return rc;
    }

    if (bytes && x->slot) {
        gsgi_out_ack(gsgi_child.bridge, x->slot, bytes,
                     (uint64_t) x->out.taken);
    }

    if (events & GSGI_CQ_END) {
        x->out.ended = 1;
        gsgi_outcome(x, answered);
        return OK;
    }

    return GSGI_GOES_ON;
}

int gsgi_output_send(gsgi_exchange_t *x, apr_uint32_t list,
                     apr_uint32_t events)
{
    apr_uint64_t bytes = 0;
    apr_uint32_t kept = list;
    int small = !gsgi_response_pending(x)
                && is_small(x, list, (events & GSGI_CQ_END) != 0);
    int rc;

    rc = add_inline(x, small);

    if (rc == GSGI_GOES_ON) {
        rc = add_list(x, list, small, &kept, &bytes);
    }

    if (rc != GSGI_GOES_ON) {
        apr_brigade_cleanup(x->out.bb);
        gsgi_output_drop(kept);
        return rc;
    }

    if (small
        || ((events & GSGI_CQ_END) && gsgi_response_pending(x)
            && APR_BRIGADE_EMPTY(x->out.bb))) {
        /* the client may take its time, the slot is for others */
        gsgi_output_drop(kept);
        kept = 0;
        gsgi_exchange_release(x, 0);
    }

    return finish(x, kept, bytes, events);
}

/* Nothing has come for a while: what httpd holds back goes out. */
int gsgi_response_idle(gsgi_exchange_t *x)
{
    int rc = GSGI_GOES_ON;

    if (x->out.discard) {
        return rc;
    }

    if (gsgi_response_pending(x)) {
        rc = unspool(x, x->fd == -1);
    }

    if (rc == GSGI_GOES_ON && x->out.dirty && !gsgi_response_pending(x)
        && !(x->out.buffering && client_is_slow(x))) {
        add_flush(x);
        rc = pass(x);
    }

    return rc;
}
