/*
 * Copyright (C) The GSGI Authors
 *
 * How long the packer takes for a request of a browser, 20 headers.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

#define ROUNDS  2000000


static const struct {
    const char  *name;
    const char  *value;
} headers[] = {
    { "Host", "www.example.com" },
    { "User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)" },
    { "Accept", "text/html,application/xhtml+xml,*/*;q=0.8" },
    { "Accept-Language", "en-US,en;q=0.5" },
    { "Accept-Encoding", "gzip, deflate, br" },
    { "Referer", "https://www.example.com/articles" },
    { "Cookie", "session=0123456789abcdef0123456789abcdef" },
    { "Upgrade-Insecure-Requests", "1" },
    { "Sec-Fetch-Dest", "document" },
    { "Sec-Fetch-Mode", "navigate" },
    { "Sec-Fetch-Site", "same-origin" },
    { "x-lower-case", "a value" },
    { "x-real-ip", "192.0.2.1" },
    { "x-forwarded-proto", "https" },
    { "X-A", "1" }, { "X-B", "2" }, { "X-C", "3" }, { "X-D", "4" },
    { "If-None-Match", "\"0123456789abcdef\"" },
    { "DNT", "1" }
};


void
test_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
    abort();
}


static void
pack_once(gsgi_bridge_t *b, gsgi_slot_t *slot)
{
    size_t       i;
    gsgi_pack_t  p;

    gsgi_pack_init(&p, b, slot);
    gsgi_pack_meta(&p, GSGI_META_METHOD, "GET", 3);
    gsgi_pack_meta(&p, GSGI_META_URI, "/articles?page=2", 16);
    gsgi_pack_meta(&p, GSGI_META_PATH, "/articles", 9);

    for (i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        gsgi_pack_header(&p, headers[i].name, strlen(headers[i].name),
                         headers[i].value, strlen(headers[i].value));
    }

    CHECK(gsgi_pack_done(&p) == GSGI_OK);
}


int
main(void)
{
    int                 i;
    char                err[GSGI_ERR_MAX];
    double              ns;
    uint64_t            begin;
    gsgi_slot_t        *slot;
    gsgi_bridge_t      *b;
    gsgi_bridge_conf_t  conf;

    memset(&conf, 0, sizeof(conf));
    conf.nslots = 1;
    conf.nchunks = 1;

    CHECK(gsgi_child_bridge_create(&b, &conf, err, sizeof(err)) == GSGI_OK);

    slot = gsgi_slot_get(b);
    begin = gsgi_now();

    for (i = 0; i < ROUNDS; i++) {
        pack_once(b, slot);
    }

    ns = (double) (gsgi_now() - begin) / ROUNDS;
    printf("%-40s %10.1f ns/op\n", "pack, 20 headers", ns);

    return 0;
}
