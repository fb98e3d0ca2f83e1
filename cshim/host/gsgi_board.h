/*
 * Copyright (C) The GSGI Authors
 *
 * The inside of a board, for gsgi_board.c and gsgi_status.c.
 */

#ifndef GSGI_BOARD_H
#define GSGI_BOARD_H

#include "gsgi_host.h"

#define GSGI_BOARD_CLAIMED  UINT32_MAX  /* as pid: being taken or cleared */

typedef struct {
    gsgi_board_worker_t  worker;
    uint64_t             load;      /* when it loads its library, monotonic
                                       milliseconds */
    uint32_t             words;     /* pid of the worker whose log is in the
                                       record's part of board->words */
} __attribute__((aligned(64))) gsgi_board_record_t;

struct gsgi_board_s {
    size_t               size;      /* of the mapping */
    uint32_t             nrecords;
    uint32_t             early;     /* deaths in a row, atomic */
    uint32_t             died;      /* one was early, and no check has shown
                                       since that it need not be; atomic */
    u_char              *words;     /* log rings of the records, or NULL */
    gsgi_board_worker_t  past;      /* sums of the workers that are gone */
    gsgi_board_record_t  records[];
};

int gsgi_board_alive(uint32_t pid);

/* Counts the workers that have died, each once. */
void gsgi_board_bury(gsgi_board_t *board);

u_char *gsgi_words_create(uint32_t records);
void gsgi_words_destroy(u_char *words, uint32_t records);

#endif /* GSGI_BOARD_H */
