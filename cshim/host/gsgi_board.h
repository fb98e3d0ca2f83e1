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
} __attribute__((aligned(64))) gsgi_board_record_t;

struct gsgi_board_s {
    size_t               size;      /* of the mapping */
    uint32_t             nrecords;
    uint32_t             early;     /* deaths in a row, atomic */
    gsgi_board_worker_t  past;      /* sums of the workers that are gone */
    gsgi_board_record_t  records[];
};

int gsgi_board_alive(uint32_t pid);

#endif /* GSGI_BOARD_H */
