/*
 * Copyright (C) The GSGI Authors
 *
 * The response: its head, who answers it in the end, and its end.
 */

#include <stdlib.h>
#include <sys/socket.h>

#include "mod_gsgi.h"

APLOG_USE_MODULE(gsgi);

/* What goes with an error page, although the rest of the head does not. */
static const char *const gsgi_error_headers[] = {
    "WWW-Authenticate", "Retry-After", "Set-Cookie", NULL
};


static const char *sendfile_path(gsgi_exchange_t *x, const char *name,
                                 apr_size_t len, const char *value)
{
    if (x->conf->sendfile == 1 && len == sizeof("X-Sendfile") - 1
        && !ap_cstr_casecmp(name, "X-Sendfile")) {
        return apr_pstrdup(x->r->pool, value);
    }

    return NULL;
}

static void set_header(request_rec *r, const gsgi_str_t *name,
                       const gsgi_str_t *value)
{
    if (!ap_cstr_casecmp(name->data, "Content-Type")) {
        ap_set_content_type(r, apr_pstrmemdup(r->pool, value->data,
                                              value->len));
        return;
    }

    apr_table_addn(r->headers_out,
                   apr_pstrmemdup(r->pool, name->data, name->len),
                   apr_pstrmemdup(r->pool, value->data, value->len));
}

/* httpd takes a status that it has no line for as 500. */
static void set_status(gsgi_exchange_t *x, int status)
{
    request_rec *r = x->r;

    r->status = status;
    r->status_line = NULL;
    x->out.status = status;

    if (atoi(ap_get_status_line(status)) != status) {
        r->status_line = apr_psprintf(r->pool, "%d status code %d", status,
                                      status);
    }
}

/* Returns the path of X-Sendfile, if there is one, in *path. */
static int read_head(gsgi_exchange_t *x, const char **path)
{
    request_rec *r = x->r;
    gsgi_head_iter_t it;
    gsgi_str_t name, value;
    const char *file;
    int rc;

    rc = gsgi_head_first(&it, gsgi_child.bridge, x->slot);

    if (rc != GSGI_OK || it.head->status < 200) {
        return GSGI_INVALID;
    }

    /* mod_mime has guessed by the URL; the application knows */
    r->content_type = NULL;
    r->content_encoding = NULL;
    r->content_languages = NULL;

    set_status(x, it.head->status);
    x->queue_us = x->slot->queue_us;

    while ((rc = gsgi_head_next(&it, &name, &value)) == GSGI_OK) {
        file = sendfile_path(x, name.data, name.len, value.data);

        if (file) {
            *path = file;
        }
        else {
            set_header(r, &name, &value);
        }
    }

    if (it.head->flags & GSGI_HEAD_LENGTH) {
        ap_set_content_length(r, it.head->content_length);
    }

    x->out.buffering = x->conf->buffering == -1
                       ? (it.head->flags & GSGI_HEAD_SPOOL) != 0
                       : x->conf->buffering;

    if ((it.head->flags & GSGI_HEAD_CLOSE) && !r->connection->master) {
        r->connection->keepalive = AP_CONN_CLOSE;
    }

    gsgi_head_free(gsgi_child.bridge, x->slot);

    return rc == GSGI_AGAIN ? GSGI_OK : rc;
}

static void forget_head(gsgi_exchange_t *x)
{
    request_rec *r = x->r;

    apr_table_clear(r->headers_out);
    r->content_type = NULL;
    r->status = x->original;
    r->status_line = NULL;
}

/* The server's own page takes the place of the application's. */
static int override(gsgi_exchange_t *x)
{
    request_rec *r = x->r;
    const char *const *name;
    const char *value;
    int status = r->status;

    for (name = gsgi_error_headers; *name; name++) {
        value = apr_table_get(r->headers_out, *name);

        if (value) {
            apr_table_set(r->err_headers_out, *name, value);
        }
    }

    forget_head(x);
    gsgi_exchange_release(x, GSGI_HOST_ABORT);
    gsgi_outcome(x, answered);

    return status;
}

static int open_sendfile(gsgi_exchange_t *x, const char *path,
                         apr_file_t **file, apr_finfo_t *info)
{
    core_dir_config *core = ap_get_core_module_config(x->r->per_dir_config);
    apr_int32_t flags = APR_FOPEN_READ | APR_FOPEN_BINARY;
    apr_status_t rv = APR_EINVAL;

    if (core->enable_sendfile == ENABLE_SENDFILE_ON) {
        flags |= APR_FOPEN_SENDFILE_ENABLED;
    }

    if (path[0] == '/') {
        rv = apr_file_open(file, path, flags, APR_OS_DEFAULT, x->r->pool);
    }

    if (rv == APR_SUCCESS) {
        rv = apr_file_info_get(info, APR_FINFO_NORM, *file);
    }

    if (rv == APR_SUCCESS && info->filetype != APR_REG) {
        rv = APR_EINVAL;
    }

    if (rv != APR_SUCCESS) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, rv, x->r, GSGI_LOGNO(0401)
                      "X-Sendfile: \"%s\" is not a file that can be sent; "
                      "it takes the absolute path of a regular file", path);
        return HTTP_NOT_FOUND;
    }

    return OK;
}

/* The application's part is over; the file is the server's to send. */
static int answer_by_file(gsgi_exchange_t *x, const char *path)
{
    request_rec *r = x->r;
    apr_bucket_brigade *bb = x->out.bb;
    apr_file_t *file;
    apr_finfo_t info;
    apr_status_t rv;
    int rc;

    gsgi_exchange_release(x, GSGI_HOST_ABORT);

    rc = open_sendfile(x, path, &file, &info);

    if (rc != OK) {
        forget_head(x);
        return rc;
    }

    ap_set_content_length(r, info.size);

    if (!apr_table_get(r->headers_out, "Last-Modified")) {
        ap_update_mtime(r, info.mtime);
        ap_set_last_modified(r);
    }

    apr_brigade_insert_file(bb, file, 0, info.size, r->pool);
    APR_BRIGADE_INSERT_TAIL(bb,
                            apr_bucket_eos_create(r->connection
                                                  ->bucket_alloc));
    rv = ap_pass_brigade(r->output_filters, bb);

    if (rv != APR_SUCCESS || r->connection->aborted) {
        return gsgi_exchange_aborted(x);
    }

    x->out.sent = info.size;
    gsgi_outcome(x, answered);

    return OK;
}

static int begin(gsgi_exchange_t *x)
{
    request_rec *r = x->r;
    const char *path = NULL;

    x->out.bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);

    if (read_head(x, &path) != GSGI_OK) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, GSGI_LOGNO(0402)
                      "the head of the response cannot be read: the "
                      "application and this module do not agree");
        forget_head(x);
        gsgi_outcome(x, failed);
        gsgi_exchange_release(x, GSGI_HOST_ABORT);
        return HTTP_INTERNAL_SERVER_ERROR;
    }

    x->out.head_in = 1;
    x->out.dirty = 1;
    gsgi_slot_answered(gsgi_child.bridge, x->slot);
    gsgi_queue_leave(x);

    if (x->conf->error_override == 1 && ap_is_HTTP_ERROR(r->status)) {
        return override(x);
    }

    if (path) {
        return answer_by_file(x, path);
    }

    /* the document about an error keeps the error's status */
    if (r->status == HTTP_OK && ap_is_HTTP_ERROR(x->original)) {
        r->status = x->original;
    }

    return GSGI_GOES_ON;
}

/* 103 Early Hints and its like. */
static void interim(gsgi_exchange_t *x, apr_uint32_t chunk)
{
    request_rec *r = x->r;
    apr_table_t *headers = r->headers_out;
    int status = r->status;
    const char *line = r->status_line;
    gsgi_head_iter_t it;
    gsgi_str_t name, value;

    if (x->out.head_in || r->main
        || gsgi_head_chunk(&it, gsgi_child.bridge, chunk) != GSGI_OK
        || it.head->status < 102 || it.head->status > 199) {
        return;
    }

    r->headers_out = apr_table_make(r->pool, 4);
    r->status = it.head->status;
    r->status_line = NULL;

    while (gsgi_head_next(&it, &name, &value) == GSGI_OK) {
        apr_table_addn(r->headers_out,
                       apr_pstrmemdup(r->pool, name.data, name.len),
                       apr_pstrmemdup(r->pool, value.data, value.len));
    }

    ap_send_interim_response(r, 1);

    r->headers_out = headers;
    r->status = status;
    r->status_line = line;
}


int gsgi_response_take(gsgi_exchange_t *x, apr_uint32_t events)
{
    apr_uint32_t list = 0;
    apr_uint32_t chunk;
    gsgi_chunk_head_t *head;
    int rc = GSGI_GOES_ON;

    if (!(events & (GSGI_CQ_HEAD | GSGI_CQ_DATA | GSGI_CQ_FLUSH
                    | GSGI_CQ_END | GSGI_CQ_CUT))) {
        return GSGI_GOES_ON;
    }

    list = gsgi_out_take(gsgi_child.bridge, x->slot);

    for (chunk = list; chunk; chunk = head->next) {
        head = gsgi_chunk_head(gsgi_child.bridge, chunk - 1);

        if (head->kind == GSGI_CHUNK_INTERIM) {
            interim(x, chunk - 1);
        }
    }

    if ((events & GSGI_CQ_HEAD) && !x->out.head_in) {
        rc = begin(x);
    }

    if (rc == GSGI_GOES_ON && x->out.head_in) {
        return gsgi_output_send(x, list, events);
    }

    gsgi_output_drop(list);

    return rc;
}

/*
 * The response cannot be completed.  The error bucket keeps the last chunk
 * from being sent in HTTP/1.1 and resets the stream in HTTP/2.  A response
 * that ends with the connection has no such mark: its connection is reset.
 */
void gsgi_response_cut(gsgi_exchange_t *x)
{
    request_rec *r = x->r;
    conn_rec *c = r->connection;
    apr_bucket_brigade *bb;

    gsgi_outcome(x, cut);

    bb = apr_brigade_create(r->pool, c->bucket_alloc);
    APR_BRIGADE_INSERT_TAIL(bb, ap_bucket_error_create(HTTP_BAD_GATEWAY, NULL,
                                                       r->pool,
                                                       c->bucket_alloc));
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(c->bucket_alloc));
    ap_pass_brigade(r->output_filters, bb);
    apr_brigade_cleanup(bb);

    c->keepalive = AP_CONN_CLOSE;

    if (r->main) {
        r->main->no_cache = 1;
    }

    gsgi_response_guard(x, !gsgi_response_is_framed(x));

    if (x->out.guarded) {
        c->aborted = 1;
    }
}

/* Whether the client can tell a whole response from a part of it; known when
 * the head has passed httpd's filters. */
int gsgi_response_is_framed(gsgi_exchange_t *x)
{
    request_rec *r = x->r;

    return r->chunked || r->connection->master
           || apr_table_get(r->headers_out, "Content-Length");
}

/*
 * Where the end of the connection is the end of the response, an end that is
 * not ours must not look like it: an MPM that stops at once closes sockets,
 * and so does the system behind a crash.  It is on before the client can have
 * the first byte, and goes off when the system has the last.
 */
void gsgi_response_guard(gsgi_exchange_t *x, int on)
{
    struct linger reset = { 0, 0 };

    if (on == x->out.guarded || x->fd == -1) {
        return;
    }

    reset.l_onoff = on;

    if (setsockopt(x->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset))
        == 0) {
        x->out.guarded = on;
    }
}
