/*
 * Copyright (C) The GSGI Authors
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parse.h"


static gsgi_bridge_t  *bridge;
static gsgi_slot_t    *slot;
static gsgi_pack_t     pack;


static void
begin(uint32_t nchunks)
{
    bridge = test_bridge(0, 1, nchunks);
    slot = gsgi_slot_get(bridge);
    gsgi_pack_init(&pack, bridge, slot);
}


static void
end(void)
{
    gsgi_slot_put(bridge, slot);
    test_done(bridge);
}


static void
header(const char *name, const char *value)
{
    gsgi_pack_header(&pack, name, strlen(name), value, strlen(value));
}


static void
block_has_the_documented_bytes(void)
{
    static const u_char  expected[] =
        "\1\1\0\0\3\0\0\0GET"
        "\2\0\4\0\1\0\0\0Hosth"
        "\3\0\5\0\2\0\0\0https"
        "on";

    begin(0);
    gsgi_pack_meta(&pack, GSGI_META_METHOD, "GET", 3);
    header("host", "h");
    gsgi_pack_param(&pack, "https", 5, "on", 2);
    CHECK(gsgi_pack_done(&pack) == GSGI_OK);

    CHECK(slot->block_len == sizeof(expected) - 1);
    CHECK(memcmp(gsgi_slot_data(slot), expected, slot->block_len) == 0);
    CHECK(slot->body_kind == GSGI_BODY_NONE && slot->block_chunk == 0);
    end();
}


static void
names_are_canonical_as_in_go(void)
{
    size_t  i;

    static const char *const  names[][2] = {
        { "host", "Host" },
        { "HOST", "Host" },
        { "user-agent", "User-Agent" },
        { "USER-AGENT", "User-Agent" },
        { "If-Modified-Since", "If-Modified-Since" },
        { "x-FORWARDED-for", "X-Forwarded-For" },
        { "www-authenticate", "Www-Authenticate" },
        { "etag", "Etag" },
        { "DNT", "Dnt" },
        { "x--y-", "X--Y-" },
        { "-a", "-A" },
        { "a_b", "A_b" },
        { "x.y", "X.y" },
        { "1abC-2D", "1abc-2d" },
        { "!#$%&'*+-.^_`|~aB", "!#$%&'*+-.^_`|~ab" },
        { "with space", "with space" },
        { "trailing ", "trailing " },
        { "co:lon", "co:lon" },
        { "sl/ash", "sl/ash" },
        { "umlaut-\xc3\xa4", "umlaut-\xc3\xa4" },
        { "at@X-y", "at@X-y" },
        { "[x]", "[x]" },
        { "", "" }
    };

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        begin(0);
        header(names[i][0], "");
        CHECK(gsgi_pack_done(&pack) == GSGI_OK);
        CHECK(slot->block_len == 8 + strlen(names[i][1]));
        CHECK(memcmp(gsgi_slot_data(slot) + 8, names[i][1],
                     slot->block_len - 8) == 0);
        end();
    }
}


static void
values_lose_the_blanks_around_them(void)
{
    size_t  i;

    static const char *const  values[][2] = {
        { " a\t", "a" }, { "a b", "a b" }, { " \t ", "" }, { "", "" }
    };

    for (i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        begin(0);
        header("a", values[i][0]);
        gsgi_pack_param(&pack, "p", 1, " v ", 3);
        CHECK(gsgi_pack_done(&pack) == GSGI_OK);
        CHECK(slot->block_len == 9 + strlen(values[i][1]) + 12);
        CHECK(memcmp(gsgi_slot_data(slot) + 9, values[i][1],
                     slot->block_len - 21) == 0);
        CHECK(memcmp(gsgi_slot_data(slot) + slot->block_len - 4, "p v ", 4)
              == 0);
        end();
    }
}


/* The n-th byte of a long name or value. */
static void
long_text(char *p, size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        p[i] = "abcDEF-x"[(i + i / 997) % 8];
    }
}


static void
long_blocks_go_on_in_chunks(void)
{
    int            i, k;
    size_t         len;
    u_char        *block;
    parsed_t       e;
    const u_char  *p;

    static char    text[70000], canon[70000];

    long_text(text, sizeof(text));

    for (i = 0; i < (int) sizeof(canon); i++) {
        canon[i] = (i == 0 || text[i - 1] == '-')
                   ? text[i] & ~(text[i] == '-' ? 0 : 0x20)
                   : text[i] | (text[i] == '-' ? 0 : 0x20);
    }

    for (i = 0; i < 40; i++) {
        begin(16);
        gsgi_pack_meta(&pack, GSGI_META_URI, text, GSGI_SLOT_DATA - 40 + i);
        gsgi_pack_header(&pack, text, 65535, text, 300);
        gsgi_pack_param(&pack, text, 200, text, sizeof(text));
        CHECK(gsgi_pack_done(&pack) == GSGI_OK);

        block = parse_block(bridge, slot, &len);
        p = parse_entry(block, block + len, &e);
        CHECK(e.entry.kind == GSGI_ENTRY_META);
        CHECK(memcmp(e.value, text, e.entry.value_len) == 0);

        p = parse_entry(p, block + len, &e);
        CHECK(e.entry.kind == GSGI_ENTRY_HEADER && e.entry.name_len == 65535);
        CHECK(memcmp(e.name, canon, 65535) == 0);
        CHECK(memcmp(e.value, text, 300) == 0);

        p = parse_entry(p, block + len, &e);
        CHECK(e.entry.kind == GSGI_ENTRY_PARAM && e.entry.name_len == 200);
        CHECK(memcmp(e.name, text, 200) == 0);
        CHECK(memcmp(e.value, text, sizeof(text)) == 0);
        CHECK(p == block + len);

        k = (int) ((len - GSGI_SLOT_DATA + GSGI_CHUNK_BYTES - 1)
                   / GSGI_CHUNK_BYTES);
        CHECK(test_chunks_used(bridge) == (uint32_t) k);

        free(block);
        end();
    }
}


static void
block_that_fits_exactly_needs_no_chunk(void)
{
    static char  text[GSGI_SLOT_DATA];

    long_text(text, sizeof(text));

    begin(2);
    gsgi_pack_meta(&pack, GSGI_META_URI, text, GSGI_SLOT_DATA - 8);
    CHECK(gsgi_pack_done(&pack) == GSGI_OK);
    CHECK(slot->block_len == GSGI_SLOT_DATA && slot->block_chunk == 0);
    end();

    begin(2);
    gsgi_pack_meta(&pack, GSGI_META_URI, text, GSGI_SLOT_DATA - 7);
    CHECK(gsgi_pack_done(&pack) == GSGI_OK);
    CHECK(slot->block_len == GSGI_SLOT_DATA + 1 && slot->block_chunk != 0);
    CHECK(gsgi_chunk_head(bridge, slot->block_chunk - 1)->len == 1);
    end();
}


static void
errors_of_packing_stick(void)
{
    static char  text[70000];

    begin(16);
    gsgi_pack_header(&pack, text, 65536, "v", 1);
    header("host", "h");
    gsgi_pack_body(&pack, "x", 1, 1);
    CHECK(gsgi_pack_done(&pack) == GSGI_INVALID);
    end();

    begin(2);
    gsgi_pack_meta(&pack, GSGI_META_URI, text, sizeof(text));
    header("host", "h");
    CHECK(gsgi_pack_done(&pack) == GSGI_NOMEM);
    CHECK(test_chunks_used(bridge) == 2);
    end();

    begin(2);
    gsgi_pack_body(&pack, text, sizeof(text), sizeof(text));
    CHECK(gsgi_pack_done(&pack) == GSGI_NOMEM);
    end();

    begin(2);                           /* an entry behind the body */
    gsgi_pack_body(&pack, "x", 1, 1);
    header("host", "h");
    CHECK(gsgi_pack_done(&pack) == GSGI_INVALID);
    end();
}


static void
bodies_of_another_length_are_refused(void)
{
    begin(2);
    gsgi_pack_body(&pack, "abc", 3, 4);
    CHECK(gsgi_pack_done(&pack) == GSGI_INVALID);
    end();

    begin(2);
    gsgi_pack_body(&pack, "abc", 3, 4);
    gsgi_pack_body(&pack, "de", 2, 4);
    CHECK(gsgi_pack_done(&pack) == GSGI_INVALID);
    end();
}


/* A body of total bytes, handed over in pieces, behind a block. */
static void
body_arrives(size_t block, size_t total, size_t piece, uint32_t kind)
{
    size_t   n, len;
    u_char  *body;

    static char  text[100000];

    long_text(text, sizeof(text));

    begin(16);
    gsgi_pack_meta(&pack, GSGI_META_URI, text, block - 8);

    if (total == 0) {
        gsgi_pack_body(&pack, NULL, 0, 0);
    }

    for (n = 0; n < total; n += piece) {
        gsgi_pack_body(&pack, text + n, piece < total - n ? piece : total - n,
                       total);
    }

    CHECK(gsgi_pack_done(&pack) == GSGI_OK);
    CHECK(slot->body_kind == kind);
    CHECK(slot->in_state == GSGI_IN_END);
    CHECK(slot->block_len == block);

    free(parse_block(bridge, slot, &len));
    body = parse_body(bridge, slot, &len);
    CHECK(len == total);
    CHECK(total == 0 || memcmp(body, text, total) == 0);

    free(body);
    end();
}


static void
bodies_lie_inline_or_on_the_list(void)
{
    body_arrives(100, 0, 1, GSGI_BODY_NONE);
    body_arrives(6000, 0, 1, GSGI_BODY_NONE);
    body_arrives(100, 10, 1, GSGI_BODY_INLINE);
    body_arrives(100, GSGI_SLOT_DATA - 100, 1000, GSGI_BODY_INLINE);
    body_arrives(100, GSGI_SLOT_DATA - 99, 1000, GSGI_BODY_LIST);
    body_arrives(GSGI_SLOT_DATA, 1, 1, GSGI_BODY_LIST);
    body_arrives(6000, 1, 1, GSGI_BODY_LIST);
    body_arrives(6000, GSGI_CHUNK_BYTES, GSGI_CHUNK_BYTES, GSGI_BODY_LIST);
    body_arrives(6000, GSGI_CHUNK_BYTES + 1, 77, GSGI_BODY_LIST);
    body_arrives(6000, 100000, 100000, GSGI_BODY_LIST);
    body_arrives(6000, 100000, 8192, GSGI_BODY_LIST);
}


static void
numbers_are_written_as_printf_does(void)
{
    size_t                  i;
    char                    text[GSGI_DIGITS + 1], *first;
    char                    expected[GSGI_DIGITS + 1];
    static const uint64_t   numbers[] = { 0, 9, 10, 443, 65535, UINT64_MAX };

    text[GSGI_DIGITS] = '\0';

    for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        snprintf(expected, sizeof(expected), "%llu",
                 (unsigned long long) numbers[i]);
        first = gsgi_digits(numbers[i], text + GSGI_DIGITS);
        CHECK(first >= text && strcmp(first, expected) == 0);
    }

    begin(0);
    gsgi_pack_number(&pack, GSGI_META_SERVER_PORT, 443);
    CHECK(gsgi_pack_done(&pack) == GSGI_OK);
    CHECK(slot->block_len == 8 + 3);
    CHECK(memcmp(gsgi_slot_data(slot) + 8, "443", 3) == 0);
    end();
}


const test_t  pack_tests[] = {
    { "block_has_the_documented_bytes", block_has_the_documented_bytes },
    { "names_are_canonical_as_in_go", names_are_canonical_as_in_go },
    { "values_lose_the_blanks_around_them",
      values_lose_the_blanks_around_them },
    { "long_blocks_go_on_in_chunks", long_blocks_go_on_in_chunks },
    { "block_that_fits_exactly_needs_no_chunk",
      block_that_fits_exactly_needs_no_chunk },
    { "errors_of_packing_stick", errors_of_packing_stick },
    { "bodies_of_another_length_are_refused",
      bodies_of_another_length_are_refused },
    { "bodies_lie_inline_or_on_the_list", bodies_lie_inline_or_on_the_list },
    { "numbers_are_written_as_printf_does",
      numbers_are_written_as_printf_does },
    { NULL, NULL }
};
