/*
 * Copyright (C) The GSGI Authors
 *
 * The last words of an application that has ended its worker: os.Exit and
 * log.Fatal leave what was logged right before in the log ring.  Therefore
 * the ring lies in memory of the board, which outlives the worker.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gsgi_board.h"
#include "gsgi_bridge.h"


/* The region's header is as large as the alignment of what follows it. */
#define GSGI_WORDS_HEADER  GSGI_SLOT_BYTES
#define GSGI_WORDS_SIZE    (GSGI_WORDS_HEADER + GSGI_LOG_SIZE)


u_char *
gsgi_words_create(uint32_t records)
{
    void  *p;

    if (sysconf(_SC_PAGESIZE) > GSGI_WORDS_HEADER) {
        return NULL;
    }

    p = mmap(NULL, (size_t) records * GSGI_WORDS_SIZE, PROT_READ|PROT_WRITE,
             MAP_SHARED|MAP_ANONYMOUS|MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}


void
gsgi_words_destroy(u_char *words, uint32_t records)
{
    if (words != NULL) {
        munmap(words, (size_t) records * GSGI_WORDS_SIZE);
    }
}


/* Maps pages of the board a second time, in place of private ones. */

static int
gsgi_words_map(void *to, void *pages, size_t size)
{
    return mremap(pages, 0, size, MREMAP_MAYMOVE|MREMAP_FIXED, to) == to;
}


int
gsgi_child_board_log(gsgi_board_t *board, gsgi_board_worker_t *w,
    gsgi_bridge_t *b)
{
    u_char               *area;
    gsgi_region_t        *r;
    gsgi_board_record_t  *record;

    r = b->region;
    record = (gsgi_board_record_t *) w;

    if (board->words == NULL || record < board->records
        || record >= board->records + board->nrecords
        || r->log_size != GSGI_LOG_SIZE)
    {
        return GSGI_OK;
    }

    area = board->words + (record - board->records) * GSGI_WORDS_SIZE;

    memcpy(area, r, GSGI_WORDS_HEADER);

    if (!gsgi_words_map(b->log, area + GSGI_WORDS_HEADER, GSGI_LOG_SIZE)
        || !gsgi_words_map(r, area, GSGI_WORDS_HEADER))
    {
        return GSGI_NOMEM;
    }

    gsgi_store(&record->words, w->pid);

    return GSGI_OK;
}


/* The header is a copy: nothing that the dead one left in it is believed. */

static void
gsgi_words_say(u_char *area, uint32_t pid, gsgi_words_pt say, void *data)
{
    char           text[GSGI_LOG_MAX + 1];
    gsgi_log_t     rec;
    gsgi_region_t  region;
    gsgi_bridge_t  bridge;

    memcpy(&region, area, sizeof(gsgi_region_t));
    memset(&bridge, 0, sizeof(gsgi_bridge_t));

    region.flags = GSGI_REGION_RING;
    region.log_size = GSGI_LOG_SIZE;
    bridge.region = &region;
    bridge.log = area + GSGI_WORDS_HEADER;

    if (region.log_head - region.log_tail > GSGI_LOG_SIZE) {
        return;
    }

    while (gsgi_log_next(&bridge, &rec, text) == GSGI_OK) {
        say(data, pid, &rec, text);
    }
}


void
gsgi_board_last_words(gsgi_board_t *board, uint32_t pid, gsgi_words_pt say,
    void *data)
{
    uint32_t              i, dead;
    gsgi_board_record_t  *record;

    for (i = 0; i < board->nrecords; i++) {
        record = &board->records[i];
        dead = gsgi_load(&record->words);

        if (dead == 0 || (pid != 0 && dead != pid)
            || (pid == 0 && gsgi_board_alive(dead)))
        {
            continue;
        }

        if (gsgi_cas(&record->words, &dead, 0)) {
            gsgi_words_say(board->words + i * GSGI_WORDS_SIZE, dead, say,
                           data);
        }
    }
}
