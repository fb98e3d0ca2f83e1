/*
 * Copyright (C) The GSGI Authors
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../gsgi_board.h"
#include "test.h"

static char  test_page[GSGI_STATUS_MAX + 1];


/* A JSON value: the byte behind it, or NULL. */

static const char *
test_json(const char *p)
{
    char  close;

    if (*p == '"') {
        for (p++; *p != '"'; p++) {
            if ((unsigned char) *p < ' ') {
                return NULL;
            }

            if (*p == '\\' && *++p == '\0') {
                return NULL;
            }
        }

        return p + 1;
    }

    if (*p != '{' && *p != '[') {
        return isdigit((unsigned char) *p) ? p + strspn(p, "0123456789")
                                           : NULL;
    }

    close = *p == '{' ? '}' : ']';

    if (*++p == close) {
        return p + 1;
    }

    for ( ;; ) {
        if (close == '}') {
            if (*p != '"' || (p = test_json(p)) == NULL || *p++ != ':') {
                return NULL;
            }
        }

        p = test_json(p);

        if (p == NULL) {
            return NULL;
        }

        if (*p != ',') {
            return *p == close ? p + 1 : NULL;
        }

        p++;
    }
}


static int
test_status_valid(void)
{
    const char  *end;

    end = test_json(test_page);

    return end != NULL && strcmp(end, "\n") == 0;
}


static void
test_status_print(gsgi_board_t *board, gsgi_board_worker_t *w,
    const char *name, int json)
{
    size_t  n;

    n = gsgi_status_print(test_bridge(), board, w, name, json, test_page,
                          GSGI_STATUS_MAX);
    check(n < GSGI_STATUS_MAX);
    test_page[n] = '\0';
}


static void
test_status_json(void)
{
    size_t                n;
    uint32_t              worker, delay;
    gsgi_board_t         *board;
    gsgi_bridge_t        *b;
    gsgi_board_worker_t  *w;

    board = gsgi_parent_board_create(4);
    w = gsgi_child_board_enter(board, &worker, &delay);
    w->requests = 12;
    w->queued = 3;
    board->past.requests = 100;

    b = test_bridge();
    b->region->app_state = GSGI_APP_READY;
    b->region->nchunks = 64;
    b->region->chunk_fresh = 70;
    b->region->chunks_idle = 14;
    b->region->slots_used = 9;
    b->region->stats.requests = 11;
    b->region->stats.goroutines = 21;

    n = gsgi_status_print(b, board, w, "site \"a\\b\"\n", 1, test_page,
                          GSGI_STATUS_MAX);
    test_page[n] = '\0';

    check(test_status_valid());
    check_has(test_page, "{\"version\":\"1.1\",\"application\":\"site "
              "\\\"a\\\\b\\\"\\u000a\",\"state\":\"ready\",\"worker\":{");
    check_has(test_page, "\"requests\":12,");
    check_has(test_page, "\"taken\":11,");
    check_has(test_page, "\"goroutines\":21,");
    check_has(test_page, "\"slots_used\":9,\"chunks_used\":50,"
              "\"descriptors\":");
    check_has(test_page, "\"total\":{\"workers\":1,\"requests\":112,");
    check_has(test_page, "\"workers\":[{\"pid\":");
    check_int(b->region->stats_wanted, 1);

    gsgi_parent_board_destroy(board);
}


static void
test_status_text(void)
{
    uint32_t              worker, delay;
    const char           *line;
    gsgi_board_t         *board;
    gsgi_board_worker_t  *w;

    board = gsgi_parent_board_create(4);
    w = gsgi_child_board_enter(board, &worker, &delay);
    w->bytes_sent = UINT64_MAX;

    test_status_print(board, w, "site", 0);

    check_has(test_page, "application                      site\n");
    check_has(test_page, "state                        starting\n");
    check_has(test_page, "bytes_sent       18446744073709551615 "
              "18446744073709551615\n");
    check_has(test_page, "goroutines                          0\n");

    for (line = test_page; line != NULL && *line != '\0';
         line = strchr(line, '\n'), line = line ? line + 1 : NULL)
    {
        check(strcspn(line, "\n") <= 79);
    }

    gsgi_parent_board_destroy(board);
}


/* 70 workers with the largest figures: 64 are listed, all fits. */

static void
test_status_largest(void)
{
    size_t                i, n;
    uint32_t              worker, delay;
    const char           *p;
    gsgi_board_t         *board;
    gsgi_board_worker_t  *w;

    board = gsgi_parent_board_create(70);
    w = NULL;

    for (i = 0; i < 70; i++) {
        w = gsgi_child_board_enter(board, &worker, &delay);
        memset((char *) w + 8, 0xff, sizeof(*w) - 8);
        w->state = GSGI_APP_STARTING;
    }

    test_status_print(board, w, "site", 1);
    check(test_status_valid());

    for (n = 0, p = test_page; (p = strstr(p, "\"pid\":")) != NULL; p++) {
        n++;
    }

    check_int(n, 1 + 64);
    check_has(test_page, "\"total\":{\"workers\":70,");

    test_status_print(board, w, "site", 0);
    check(strlen(test_page) < GSGI_STATUS_MAX / 2);

    gsgi_parent_board_destroy(board);
}


/* Never writes behind the room that it is given. */

static void
test_status_small(void)
{
    char                 *room;
    size_t                size, n;
    uint32_t              worker, delay;
    gsgi_board_t         *board;
    gsgi_board_worker_t  *w;

    board = gsgi_parent_board_create(2);
    w = gsgi_child_board_enter(board, &worker, &delay);

    for (size = 0; size < 1200; size++) {
        room = malloc(size + 1);
        room[size] = '#';
        n = gsgi_status_print(test_bridge(), board, w, "site", size & 1, room,
                              size);
        check(n <= size);
        check_int(room[size], '#');
        free(room);
    }

    gsgi_parent_board_destroy(board);
}


static void
test_status_descriptors(void)
{
    int                   fd;
    long                  before, after;
    uint32_t              worker, delay;
    gsgi_board_t         *board;
    gsgi_board_worker_t  *w;

    board = gsgi_parent_board_create(1);
    w = gsgi_child_board_enter(board, &worker, &delay);

    test_status_print(board, w, "site", 1);
    before = atol(strstr(test_page, "\"descriptors\":") + 14);

    fd = open("/dev/null", O_RDONLY|O_CLOEXEC);
    test_status_print(board, w, "site", 1);
    after = atol(strstr(test_page, "\"descriptors\":") + 14);
    close(fd);

    check_int(after, before + 1);
    check_int(before, (long) test_descriptors() - 3);

    gsgi_parent_board_destroy(board);
}


const test_t  test_status[] = {
    { "status: JSON with all figures", test_status_json },
    { "status: text in columns", test_status_text },
    { "status: the largest page fits", test_status_largest },
    { "status: a small room is kept", test_status_small },
    { "status: descriptors are counted", test_status_descriptors },
    { NULL, NULL }
};
