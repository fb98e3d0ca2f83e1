/*
 * Copyright (C) The GSGI Authors
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../gsgi_board.h"
#include "test.h"


typedef struct {
    uint32_t  pid;
    uint32_t  lines;
    char      text[GSGI_LOG_MAX + 1];   /* of the last one */
} heard_t;


static void
hear(void *data, uint32_t pid, const gsgi_log_t *rec, const char *text)
{
    heard_t  *heard = data;

    heard->pid = pid;
    heard->lines++;
    memcpy(heard->text, text, rec->len + 1);
}


/* A worker that ends while its host writes the second of so many lines. */
static gsgi_bridge_t *
live(gsgi_board_t *board, int lines, int leave)
{
    int                   i, n;
    char                  text[GSGI_LOG_MAX + 1];
    uint32_t              worker, delay;
    gsgi_log_t            rec;
    gsgi_bridge_t        *b;
    gsgi_board_worker_t  *w;

    b = test_bridge(GSGI_REGION_RING, 1, 0);
    w = gsgi_child_board_enter(board, &worker, &delay);

    CHECK(gsgi_child_board_log(board, w, b) == GSGI_OK);
    CHECK(b->region->magic == GSGI_MAGIC);

    for (i = 1; i <= lines; i++) {
        n = snprintf(text, sizeof(text), "line %d", i);
        fake_log(b, GSGI_LOG_ERROR, text, n);
    }

    CHECK(gsgi_log_next(b, &rec, text) == GSGI_OK);
    CHECK(strcmp(text, "line 1") == 0);
    CHECK(gsgi_log_next(b, &rec, text) == GSGI_OK);
    CHECK(strcmp(text, "line 2") == 0);

    if (leave) {
        gsgi_child_board_leave(board, w);
    }

    return b;
}


static pid_t
in_child(gsgi_board_t *board, int lines, int leave)
{
    int    status;
    pid_t  pid;

    pid = fork();

    if (pid == 0) {
        live(board, lines, leave);
        _exit(0);
    }

    CHECK(waitpid(pid, &status, 0) == pid && status == 0);

    return pid;
}


static void
words_outlive_the_worker(void)
{
    pid_t          pid;
    heard_t        heard;
    gsgi_board_t  *board;

    memset(&heard, 0, sizeof(heard));
    board = gsgi_parent_board_create(2);

    pid = in_child(board, 3, 0);

    gsgi_board_last_words(board, pid + 1, hear, &heard);
    CHECK(heard.lines == 0);

    gsgi_board_last_words(board, pid, hear, &heard);
    CHECK(heard.lines == 2 && heard.pid == (uint32_t) pid);
    CHECK(strcmp(heard.text, "line 3") == 0);

    gsgi_board_last_words(board, pid, hear, &heard);
    CHECK(heard.lines == 2);

    /* the record's next worker begins anew */

    in_child(board, 2, 0);
    gsgi_board_last_words(board, 0, hear, &heard);
    CHECK(heard.lines == 3 && strcmp(heard.text, "line 2") == 0);

    in_child(board, 2, 1);
    gsgi_board_last_words(board, 0, hear, &heard);
    CHECK(heard.lines == 3);

    gsgi_parent_board_destroy(board);
}


static void
words_of_the_living_are_theirs(void)
{
    heard_t         heard;
    gsgi_board_t   *board;
    gsgi_bridge_t  *b;

    memset(&heard, 0, sizeof(heard));
    board = gsgi_parent_board_create(1);

    b = live(board, 2, 0);
    gsgi_board_last_words(board, 0, hear, &heard);
    CHECK(heard.lines == 0);

    /* none is left: the ring stays private */

    in_child(board, 2, 0);
    gsgi_board_last_words(board, 0, hear, &heard);
    CHECK(heard.lines == 0);

    test_done(b);
    gsgi_parent_board_destroy(board);
}


/* A worker that has overwritten its own region. */
static void
words_survive_nonsense(void)
{
    int            i;
    pid_t          pid;
    heard_t        heard;
    gsgi_board_t  *board;

    memset(&heard, 0, sizeof(heard));

    for (i = 1; i < 256; i++) {
        board = gsgi_parent_board_create(1);
        pid = in_child(board, 2, 0);
        memset(board->words, i, GSGI_SLOT_BYTES + 64);

        gsgi_board_last_words(board, pid, hear, &heard);
        gsgi_parent_board_destroy(board);
    }

    CHECK(heard.lines == 0);
}


const test_t  words_tests[] = {
    { "words_outlive_the_worker", words_outlive_the_worker },
    { "words_of_the_living_are_theirs", words_of_the_living_are_theirs },
    { "words_survive_nonsense", words_survive_nonsense },
    { NULL, NULL }
};
