/*
 * Copyright (C) The GSGI Authors
 *
 * Packs what the server knows of a request into a slot.
 */

#include "mod_gsgi.h"
#include "http_connection.h"
#include "http_ssl.h"
#include "mod_ssl.h"

APLOG_USE_MODULE(gsgi);

#define GSGI_BUFFER  (256 * 1024)

typedef struct {
    const char *name;
    int         number;
} gsgi_number_t;

static const gsgi_number_t gsgi_tls_versions[] = {
    { "TLSv1.3", 772 },
    { "TLSv1.2", 771 },
    { "TLSv1.1", 770 },
    { "TLSv1", 769 },
    { "SSLv3", 768 },
    { NULL, 0 }
};

/* OpenSSL's names, IANA's numbers.  mod_ssl gives the name only. */
static const gsgi_number_t gsgi_tls_ciphers[] = {
    { "TLS_AES_128_GCM_SHA256", 0x1301 },
    { "TLS_AES_256_GCM_SHA384", 0x1302 },
    { "TLS_CHACHA20_POLY1305_SHA256", 0x1303 },
    { "ECDHE-ECDSA-AES128-GCM-SHA256", 0xc02b },
    { "ECDHE-ECDSA-AES256-GCM-SHA384", 0xc02c },
    { "ECDHE-RSA-AES128-GCM-SHA256", 0xc02f },
    { "ECDHE-RSA-AES256-GCM-SHA384", 0xc030 },
    { "ECDHE-RSA-CHACHA20-POLY1305", 0xcca8 },
    { "ECDHE-ECDSA-CHACHA20-POLY1305", 0xcca9 },
    { "DHE-RSA-CHACHA20-POLY1305", 0xccaa },
    { "DHE-RSA-AES128-GCM-SHA256", 0x009e },
    { "DHE-RSA-AES256-GCM-SHA384", 0x009f },
    { "AES128-GCM-SHA256", 0x009c },
    { "AES256-GCM-SHA384", 0x009d },
    { "ECDHE-ECDSA-AES128-SHA", 0xc009 },
    { "ECDHE-ECDSA-AES256-SHA", 0xc00a },
    { "ECDHE-RSA-AES128-SHA", 0xc013 },
    { "ECDHE-RSA-AES256-SHA", 0xc014 },
    { "ECDHE-ECDSA-AES128-SHA256", 0xc023 },
    { "ECDHE-ECDSA-AES256-SHA384", 0xc024 },
    { "ECDHE-RSA-AES128-SHA256", 0xc027 },
    { "ECDHE-RSA-AES256-SHA384", 0xc028 },
    { "AES128-SHA", 0x002f },
    { "AES256-SHA", 0x0035 },
    { "AES128-SHA256", 0x003c },
    { "AES256-SHA256", 0x003d },
    { NULL, 0 }
};


static void meta(gsgi_pack_t *p, int id, const char *value)
{
    if (value) {
        gsgi_pack_meta(p, (uint8_t) id, value, strlen(value));
    }
}

static void param(gsgi_pack_t *p, const char *key, const char *value)
{
    gsgi_pack_param(p, key, strlen(key), value, strlen(value));
}

/* The request target as it came: r->unparsed_uri is that of the redirect
 * where there was one. */
static void meta_target(gsgi_pack_t *p, request_rec *r)
{
    const char *from = r->the_request;
    const char *to;

    from = from ? ap_strchr_c(from, ' ') : NULL;

    if (!from) {
        meta(p, GSGI_META_URI, r->unparsed_uri);
        return;
    }

    from++;
    to = ap_strchr_c(from, ' ');

    gsgi_pack_meta(p, GSGI_META_URI, from,
                   to ? (apr_size_t) (to - from) : strlen(from));
}

/* The id that %L has in the logs. */
const char *gsgi_environ_id(request_rec *r)
{
    if (!r->log_id) {
        ap_run_generate_log_id(r->connection, r, &r->log_id);
    }

    return r->log_id;
}

static void pack_request(gsgi_pack_t *p, gsgi_exchange_t *x)
{
    request_rec *r = x->r;
    conn_rec *c = r->connection;

    meta(p, GSGI_META_METHOD, r->method);
    meta_target(p, r);
    meta(p, GSGI_META_PATH, r->uri);
    meta(p, GSGI_META_SCRIPT_NAME, x->script_name);
    meta(p, GSGI_META_QUERY, r->args);
    meta(p, GSGI_META_PROTOCOL, r->protocol);
    meta(p, GSGI_META_SCHEME, ap_http_scheme(r));
    meta(p, GSGI_META_SERVER_NAME, ap_get_server_name(r));
    gsgi_pack_number(p, GSGI_META_SERVER_PORT, c->local_addr->port);
    meta(p, GSGI_META_SERVER_ADDR, c->local_ip);
    meta(p, GSGI_META_REMOTE_ADDR, r->useragent_ip);

    if (r->useragent_addr && r->useragent_addr->port) {
        gsgi_pack_number(p, GSGI_META_REMOTE_PORT, r->useragent_addr->port);
    }

    meta(p, GSGI_META_REMOTE_USER, r->user);
    meta(p, GSGI_META_AUTH_TYPE, r->ap_auth_type);
    meta(p, GSGI_META_DOCUMENT_ROOT, ap_document_root(r));
    meta(p, GSGI_META_REQUEST_ID, gsgi_environ_id(r));
}


/*
 * TLS
 */

static APR_OPTIONAL_FN_TYPE(ssl_var_lookup) *ssl_lookup;

void gsgi_environ_functions(void)
{
    ssl_lookup = APR_RETRIEVE_OPTIONAL_FN(ssl_var_lookup);
}

static const char *ssl_value(request_rec *r, const char *name)
{
    const char *value = ssl_lookup(r->pool, r->server, r->connection, r,
                                   (char *) name);

    return value && *value ? value : NULL;
}

static void meta_ssl_number(gsgi_pack_t *p, int id, const char *name,
                            const gsgi_number_t *known)
{
    for (; name && known->name; known++) {
        if (!strcmp(known->name, name)) {
            gsgi_pack_number(p, (uint8_t) id, (uint64_t) known->number);
            return;
        }
    }
}

/* The chain is asked for certificate by certificate. */
static const char *client_chain(request_rec *r)
{
    const char *chain = ssl_value(r, "SSL_CLIENT_CERT");
    const char *cert;
    int i;

    for (i = 0; chain && i < 10; i++) {
        cert = ssl_value(r, apr_psprintf(r->pool, "SSL_CLIENT_CERT_CHAIN_%d",
                                         i));
        if (!cert) {
            break;
        }

        /* mod_ssl counts the leaf in or not, depending on its version */
        if (!ap_strstr_c(chain, cert)) {
            chain = apr_pstrcat(r->pool, chain, cert, NULL);
        }
    }

    return chain;
}

static int pack_ssl(gsgi_pack_t *p, request_rec *r)
{
    const char *value;

    if (!ap_ssl_conn_is_ssl(r->connection)) {
        return 0;
    }

    if (!ssl_lookup) {
        return 1;
    }

    meta_ssl_number(p, GSGI_META_TLS_VERSION, ssl_value(r, "SSL_PROTOCOL"),
                    gsgi_tls_versions);
    meta_ssl_number(p, GSGI_META_TLS_CIPHER, ssl_value(r, "SSL_CIPHER"),
                    gsgi_tls_ciphers);
    meta(p, GSGI_META_TLS_SNI, ssl_value(r, "SSL_TLS_SNI"));

    if (r->proto_num >= HTTP_VERSION(2, 0)) {
        meta(p, GSGI_META_TLS_ALPN, "h2");
    }

    value = ssl_value(r, "SSL_SESSION_RESUMED");

    if (value && !strcmp(value, "Resumed")) {
        meta(p, GSGI_META_TLS_RESUMED, "1");
    }

    value = ssl_value(r, "SSL_CLIENT_VERIFY");

    if (value && !strcmp(value, "SUCCESS")) {
        meta(p, GSGI_META_TLS_CLIENT_CERT, client_chain(r));
    }

    return 1;
}


/*
 * Tables
 */

/* Credentials that the server has checked are not the application's. */
static void pack_headers(gsgi_pack_t *p, request_rec *r)
{
    const apr_array_header_t *headers = apr_table_elts(r->headers_in);
    const apr_table_entry_t *e = (const apr_table_entry_t *) headers->elts;
    int authenticated = r->user || r->ap_auth_type;
    int i;

    for (i = 0; i < headers->nelts; i++) {
        if (!e[i].key
            || (authenticated
                && !ap_cstr_casecmp(e[i].key, "Authorization"))) {
            continue;
        }

        gsgi_pack_header(p, e[i].key, strlen(e[i].key), e[i].val,
                         strlen(e[i].val));
    }
}

/* SetEnv, SetEnvIf, RewriteRule [E=], the variables of mod_ssl. */
static void pack_variables(gsgi_pack_t *p, request_rec *r)
{
    const apr_array_header_t *env = apr_table_elts(r->subprocess_env);
    const apr_table_entry_t *e = (const apr_table_entry_t *) env->elts;
    int i;

    for (i = 0; i < env->nelts; i++) {
        if (e[i].key && e[i].val) {
            param(p, e[i].key, e[i].val);
        }
    }
}

static int pack_params(gsgi_pack_t *p, gsgi_exchange_t *x)
{
    gsgi_param_t *params = (gsgi_param_t *) x->conf->params->elts;
    const char *value;
    const char *err = NULL;
    int i;

    for (i = 0; i < x->conf->params->nelts; i++) {
        value = params[i].text ? params[i].text
                               : ap_expr_str_exec(x->r, params[i].expr, &err);

        if (err) {
            ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, x->r, GSGI_LOGNO(0101)
                          "GSGIParam %s cannot be evaluated: %s",
                          params[i].key, err);
            return HTTP_INTERNAL_SERVER_ERROR;
        }

        if (*value || !params[i].if_not_empty) {
            param(p, params[i].key, value);
        }
    }

    return OK;
}


/* A descriptor pays off where sendfile takes it from here to the socket. */
static int sends_files(request_rec *r, int tls)
{
    core_dir_config *core = ap_get_core_module_config(r->per_dir_config);

    return !tls && !r->connection->master && !r->main
           && core->enable_sendfile == ENABLE_SENDFILE_ON;
}

static void describe(gsgi_exchange_t *x, int tls)
{
    request_rec *r = x->r;
    gsgi_slot_t *slot = x->slot;

    slot->entry = (uint32_t) x->target->index;
    slot->protocol = (uint32_t) r->proto_num;
    slot->id = (uint64_t) r->connection->id;
    slot->credit = (uint32_t) (x->conf->buffer != -1 ? x->conf->buffer
                                                     : GSGI_BUFFER);
    slot->flags = (r->header_only ? GSGI_REQ_HEAD : 0)
                  | (tls ? GSGI_REQ_TLS : 0)
                  | (x->in.chunked ? GSGI_REQ_CHUNKED : 0)
                  | (r->expecting_100 ? GSGI_REQ_EXPECT : 0)
                  | (sends_files(r, tls) ? GSGI_REQ_SENDFILE : 0)
                  | (r->connection->keepalive != AP_CONN_CLOSE
                     ? GSGI_REQ_KEEPALIVE : 0)
                  | (!r->connection->master && !r->main && x->fd != -1
                     && r->proto_num >= 1000 && r->proto_num < 2000
                     ? GSGI_REQ_UPGRADE : 0)
                  | (!r->main && r->proto_num >= 1001
                     ? GSGI_REQ_TRAILERS : 0);
}

int gsgi_environ_pack(gsgi_exchange_t *x)
{
    gsgi_pack_t p;
    int tls;
    int rc;

    gsgi_pack_init(&p, gsgi_child.bridge, x->slot);

    pack_request(&p, x);
    tls = pack_ssl(&p, x->r);
    describe(x, tls);
    pack_headers(&p, x->r);
    pack_variables(&p, x->r);

    if ((rc = pack_params(&p, x)) != OK
        || (rc = gsgi_input_pack(x, &p)) != OK) {
        return rc;
    }

    rc = gsgi_pack_done(&p);

    if (rc != GSGI_OK) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, x->r, GSGI_LOGNO(0102)
                      "the request cannot be handed to the application: %s",
                      rc == GSGI_NOMEM ? "no memory left for it"
                                       : "a name in it is too long");
        return rc == GSGI_NOMEM ? HTTP_SERVICE_UNAVAILABLE
                                : HTTP_INTERNAL_SERVER_ERROR;
    }

    return OK;
}
