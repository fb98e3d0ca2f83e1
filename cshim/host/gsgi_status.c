/*
 * Copyright (C) The GSGI Authors
 *
 * The status page: one table of figures, printed as text or as JSON.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dirent.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "gsgi_board.h"
#include "gsgi_bridge.h"

#define GSGI_STATUS_WORKERS  64
#define GSGI_STATUS_ENTRY    1024   /* room for one of them */

typedef struct {
    char  *pos;
    char  *end;
    int    first;                   /* no comma before the next */
} gsgi_status_t;

typedef struct {
    const char  *name;
    size_t       offset;
} gsgi_status_field_t;

typedef struct {
    gsgi_board_worker_t  worker;
    gsgi_board_worker_t  total;
    gsgi_stats_t         stats;
    uint32_t             state;
    uint32_t             workers;
    uint64_t             slots_used;
    uint64_t             chunks_used;
    uint64_t             descriptors;
} gsgi_status_figures_t;

#define gsgi_status_worker(field)                                             \
    { #field, offsetof(gsgi_board_worker_t, field) }
#define gsgi_status_stats(name, field)                                        \
    { name, offsetof(gsgi_stats_t, field) }


/* These are summed over the workers. */
static const gsgi_status_field_t  gsgi_status_sums[] = {
    gsgi_status_worker(requests),
    gsgi_status_worker(answered),
    gsgi_status_worker(cut),
    gsgi_status_worker(aborted),
    gsgi_status_worker(timeouts),
    gsgi_status_worker(rejected),
    gsgi_status_worker(failed),
    gsgi_status_worker(bytes_sent),
    gsgi_status_worker(bytes_received),
    gsgi_status_worker(queued),
    gsgi_status_worker(in_flight),
    gsgi_status_worker(active),
    gsgi_status_worker(abandoned),
    { NULL, 0 }
};

/* The library's own count of requests would take the name of the module's. */
static const gsgi_status_field_t  gsgi_status_library[] = {
    gsgi_status_stats("taken", requests),
    gsgi_status_stats("released", released),
    gsgi_status_stats("panics", panics),
    gsgi_status_stats("wakes", wakes),
    gsgi_status_stats("dispatchers", dispatchers),
    gsgi_status_stats("idle", idle),
    gsgi_status_stats("handles", handles),
    gsgi_status_stats("goroutines", goroutines),
    gsgi_status_stats("threads", threads),
    gsgi_status_stats("heap_bytes", heap_bytes),
    gsgi_status_stats("gc_cycles", gc_cycles),
    gsgi_status_stats("gc_pause_ns", gc_pause_ns),
    gsgi_status_stats("log_dropped", log_dropped),
    { NULL, 0 }
};

static const gsgi_status_field_t  gsgi_status_region[] = {
    { "slots_used", offsetof(gsgi_status_figures_t, slots_used) },
    { "chunks_used", offsetof(gsgi_status_figures_t, chunks_used) },
    { "descriptors", offsetof(gsgi_status_figures_t, descriptors) },
    { NULL, 0 }
};

static const char *const  gsgi_status_states[] = {
    "starting", "ready", "failed", "draining", "stopped"
};


static void gsgi_status_put(gsgi_status_t *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));


/* What does not fit is cut; pos never passes end. */

static void
gsgi_status_put(gsgi_status_t *s, const char *fmt, ...)
{
    int      n;
    size_t   room;
    va_list  args;

    room = s->end - s->pos;

    va_start(args, fmt);
    n = vsnprintf(s->pos, room, fmt, args);
    va_end(args);

    if (n > 0 && room > 0) {
        s->pos += (size_t) n < room ? (size_t) n : room - 1;
    }
}


static const char *
gsgi_status_state(uint32_t state)
{
    return state <= GSGI_APP_STOPPED ? gsgi_status_states[state] : "unknown";
}


static uint64_t
gsgi_status_load(const void *base, size_t offset)
{
    return __atomic_load_n((const uint64_t *) ((const char *) base + offset),
                           __ATOMIC_RELAXED);
}


static void
gsgi_status_add(gsgi_board_worker_t *total, const gsgi_board_worker_t *w)
{
    uint64_t                   *sum;
    const gsgi_status_field_t  *f;

    for (f = gsgi_status_sums; f->name != NULL; f++) {
        sum = (uint64_t *) ((char *) total + f->offset);
        *sum += gsgi_status_load(w, f->offset);
    }
}


static uint64_t
gsgi_status_descriptors(void)
{
    DIR            *dir;
    uint64_t        n;
    struct dirent  *entry;

    dir = opendir("/proc/self/fd");

    if (dir == NULL) {
        return 0;
    }

    for (n = 0; (entry = readdir(dir)) != NULL; n++) {
        if (entry->d_name[0] == '.') {
            n--;
        }
    }

    closedir(dir);

    return n > 0 ? n - 1 : 0;       /* the directory's own */
}


static void
gsgi_status_gather_region(gsgi_status_figures_t *g, gsgi_region_t *region)
{
    uint32_t                    fresh, idle;
    const gsgi_status_field_t  *f;

    g->state = __atomic_load_n(&region->app_state, __ATOMIC_SEQ_CST);
    g->slots_used = __atomic_load_n(&region->slots_used, __ATOMIC_SEQ_CST);

    fresh = __atomic_load_n(&region->chunk_fresh, __ATOMIC_SEQ_CST);
    idle = __atomic_load_n(&region->chunks_idle, __ATOMIC_SEQ_CST);
    fresh = fresh < region->nchunks ? fresh : region->nchunks;
    g->chunks_used = fresh > idle ? fresh - idle : 0;

    for (f = gsgi_status_library; f->name != NULL; f++) {
        *(uint64_t *) ((char *) &g->stats + f->offset) =
            gsgi_status_load(&region->stats, f->offset);
    }

    /* the library refreshes the rest, for the next look */

    __atomic_store_n(&region->stats_wanted, 1, __ATOMIC_SEQ_CST);
    gsgi_wake_library(region);
}


static void
gsgi_status_gather_board(gsgi_status_figures_t *g, gsgi_board_t *board)
{
    uint32_t                    i;
    const gsgi_board_worker_t  *other;

    gsgi_status_add(&g->total, &board->past);

    for (i = 0; i < board->nrecords; i++) {
        other = &board->records[i].worker;

        if (gsgi_board_alive(__atomic_load_n(&other->pid, __ATOMIC_SEQ_CST)))
        {
            gsgi_status_add(&g->total, other);
            g->workers++;
        }
    }
}


static void
gsgi_status_gather(gsgi_status_figures_t *g, gsgi_bridge_t *b,
    gsgi_board_t *board, const gsgi_board_worker_t *w)
{
    memset(g, 0, sizeof(gsgi_status_figures_t));

    g->state = GSGI_APP_FAILED;
    g->descriptors = gsgi_status_descriptors();
    g->worker = *w;

    if (b != NULL) {
        gsgi_status_gather_region(g, gsgi_region(b));
    }

    if (board != NULL) {
        gsgi_status_gather_board(g, board);
    }
}


static void
gsgi_status_json_string(gsgi_status_t *s, const char *p)
{
    gsgi_status_put(s, "\"");

    for ( /* void */ ; *p != '\0'; p++) {

        if (*p == '"' || *p == '\\') {
            gsgi_status_put(s, "\\%c", *p);

        } else if ((unsigned char) *p < ' ') {
            gsgi_status_put(s, "\\u%04x", (unsigned char) *p);

        } else {
            gsgi_status_put(s, "%c", *p);
        }
    }

    gsgi_status_put(s, "\"");
}


static void
gsgi_status_json_number(gsgi_status_t *s, const char *name, uint64_t value)
{
    gsgi_status_put(s, "%s\"%s\":%" PRIu64, s->first ? "" : ",", name, value);
    s->first = 0;
}


static void
gsgi_status_json_fields(gsgi_status_t *s, const gsgi_status_field_t *f,
    const void *base)
{
    for ( /* void */ ; f->name != NULL; f++) {
        gsgi_status_json_number(s, f->name, gsgi_status_load(base, f->offset));
    }
}


static void
gsgi_status_json_worker(gsgi_status_t *s, const gsgi_board_worker_t *w,
    uint32_t state)
{
    s->first = 1;
    gsgi_status_json_number(s, "pid", w->pid);
    gsgi_status_put(s, ",\"state\":\"%s\"", gsgi_status_state(state));
    gsgi_status_json_number(s, "started", w->started);
    gsgi_status_json_fields(s, gsgi_status_sums, w);
    gsgi_status_json_number(s, "last_request", w->last_request);
}


static void
gsgi_status_json_workers(gsgi_status_t *s, gsgi_board_t *board)
{
    uint32_t              i, listed;
    gsgi_board_worker_t  *w;

    for (i = 0, listed = 0;
         board && i < board->nrecords && listed < GSGI_STATUS_WORKERS
         && s->end - s->pos > GSGI_STATUS_ENTRY;
         i++)
    {
        w = &board->records[i].worker;

        if (gsgi_board_alive(__atomic_load_n(&w->pid, __ATOMIC_SEQ_CST))) {
            gsgi_status_put(s, "%s{", listed++ ? "," : "");
            gsgi_status_json_worker(s, w, w->state);
            gsgi_status_put(s, "}");
        }
    }
}


static void
gsgi_status_json(gsgi_status_t *s, const gsgi_status_figures_t *g,
    gsgi_board_t *board, const char *name)
{
    gsgi_status_put(s, "{\"version\":\"%d.%d\",\"application\":",
                    GSGI_ABI_MAJOR, GSGI_ABI_MINOR);
    gsgi_status_json_string(s, name);
    gsgi_status_put(s, ",\"state\":\"%s\",\"worker\":{",
                    gsgi_status_state(g->state));

    gsgi_status_json_worker(s, &g->worker, g->state);
    gsgi_status_json_fields(s, gsgi_status_region, g);
    gsgi_status_json_fields(s, gsgi_status_library, &g->stats);

    gsgi_status_put(s, "},\"total\":{");

    s->first = 1;
    gsgi_status_json_number(s, "workers", g->workers);
    gsgi_status_json_fields(s, gsgi_status_sums, &g->total);

    gsgi_status_put(s, "},\"workers\":[");
    gsgi_status_json_workers(s, board);
    gsgi_status_put(s, "]}\n");
}


static void
gsgi_status_text_fields(gsgi_status_t *s, const gsgi_status_field_t *f,
    const void *base)
{
    for ( /* void */ ; f->name != NULL; f++) {
        gsgi_status_put(s, "%-16s %20" PRIu64 "\n", f->name,
                        gsgi_status_load(base, f->offset));
    }
}


static void
gsgi_status_text_workers(gsgi_status_t *s, gsgi_board_t *board)
{
    time_t                now;
    uint32_t              i, listed;
    gsgi_board_worker_t  *w;

    now = time(NULL);

    gsgi_status_put(s, "\n%10s %-9s %10s %12s %10s %10s %10s\n", "pid",
                    "state", "seconds", "requests", "in_flight", "queued",
                    "abandoned");

    for (i = 0, listed = 0;
         board && i < board->nrecords && listed < GSGI_STATUS_WORKERS;
         i++)
    {
        w = &board->records[i].worker;

        if (gsgi_board_alive(__atomic_load_n(&w->pid, __ATOMIC_SEQ_CST))) {
            gsgi_status_put(s, "%10u %-9s %10" PRIu64 " %12" PRIu64
                            " %10" PRIu64 " %10" PRIu64 " %10" PRIu64 "\n",
                            w->pid, gsgi_status_state(w->state),
                            (uint64_t) now > w->started ? now - w->started : 0,
                            w->requests, w->in_flight, w->queued,
                            w->abandoned);
            listed++;
        }
    }
}


static void
gsgi_status_text(gsgi_status_t *s, const gsgi_status_figures_t *g,
    gsgi_board_t *board, const char *name)
{
    const gsgi_status_field_t  *f;

    gsgi_status_put(s, "%-16s %18d.%d\n", "version", GSGI_ABI_MAJOR,
                    GSGI_ABI_MINOR);
    gsgi_status_put(s, "%-16s %20s\n", "application", name);
    gsgi_status_put(s, "%-16s %20s\n", "state", gsgi_status_state(g->state));
    gsgi_status_put(s, "%-16s %20u\n", "pid", g->worker.pid);
    gsgi_status_put(s, "%-16s %20u\n", "workers", g->workers);
    gsgi_status_put(s, "%-16s %20" PRIu64 "\n", "last_request",
                    g->worker.last_request);

    gsgi_status_put(s, "\n%-16s %20s %20s\n", "", "this worker",
                    "all workers");

    for (f = gsgi_status_sums; f->name != NULL; f++) {
        gsgi_status_put(s, "%-16s %20" PRIu64 " %20" PRIu64 "\n", f->name,
                        gsgi_status_load(&g->worker, f->offset),
                        gsgi_status_load(&g->total, f->offset));
    }

    gsgi_status_put(s, "\n");
    gsgi_status_text_fields(s, gsgi_status_region, g);
    gsgi_status_text_fields(s, gsgi_status_library, &g->stats);

    gsgi_status_text_workers(s, board);
}


size_t
gsgi_status_print(gsgi_bridge_t *b, gsgi_board_t *board,
    gsgi_board_worker_t *w, const char *name, int json, char *buf, size_t size)
{
    gsgi_status_t          s;
    gsgi_status_figures_t  g;

    s.pos = buf;
    s.end = buf + size;
    s.first = 1;

    gsgi_status_gather(&g, b, board, w);

    if (json) {
        gsgi_status_json(&s, &g, board, name);

    } else {
        gsgi_status_text(&s, &g, board, name);
    }

    return s.pos - buf;
}
