/*
 * GSGI, the Go Server Gateway Interface: the C ABI between a web server's
 * worker (the host) and an application library (a Go c-shared object).
 *
 * This file is the contract.  It is written by hand, depends on nothing but
 * <stddef.h> and <stdint.h>, and is all that the two sides share.  It has
 * three parts:
 *
 *   1. the entry points that a library exports and a host finds with dlsym;
 *   2. the region: memory that the host maps and both sides use - slots,
 *      chunks, two rings, a log ring - by offset and index, never by pointer;
 *   3. the two packed formats: the request block and the response head.
 *
 * Conventions
 *
 *   - Strings are {pointer, length} and not NUL-terminated unless said so.
 *   - "atomic" fields are accessed with sequentially consistent atomics of
 *     their own width only (__atomic_* in C, sync/atomic in Go).  All other
 *     fields are plain and are handed over by the next atomic operation that
 *     the text names.
 *   - An index "+ 1" field holds 0 for none.
 *   - Integers are in host byte order: both sides run on one machine.
 *   - Functions return GSGI_OK (0) or a negative gsgi_rc; outputs end in _out.
 *
 * Versions.  A host and a library fit when their major numbers are equal and
 * the library's minor is not below the host's.  A minor version only adds; a
 * struct that may grow starts with its own size.
 */

#ifndef GSGI_H
#define GSGI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GSGI_ABI_MAJOR  1
#define GSGI_ABI_MINOR  1

#define GSGI_MAGIC  UINT64_C(0x3149424149475347)    /* "GSGIABI1" */

typedef enum {
    GSGI_OK = 0,
    GSGI_ERROR = -1,            /* see the text in err */
    GSGI_AGAIN = -2,            /* nothing there now */
    GSGI_NOMEM = -3,            /* no slot, chunk or memory left */
    GSGI_INVALID = -4,          /* the other side broke the contract */
    GSGI_MISMATCH = -5          /* ABI versions do not fit */
} gsgi_rc;

typedef struct {
    const char  *data;
    size_t       len;
} gsgi_str_t;


/*
 * 1. Entry points
 */

/*
 * gsgi_abi describes the library and is read from the file, before anything
 * of it is loaded: a data symbol in its dynamic symbol table.
 */
typedef struct {
    uint64_t  magic;            /* GSGI_MAGIC */
    uint32_t  size;             /* of this struct */
    uint32_t  major;            /* GSGI_ABI_MAJOR */
    uint32_t  minor;            /* GSGI_ABI_MINOR */
    uint32_t  region_size;      /* sizeof(gsgi_region_t) */
    uint32_t  slot_size;        /* sizeof(gsgi_slot_t) */
    uint32_t  chunk_head_size;  /* sizeof(gsgi_chunk_head_t) */
} gsgi_abi_t;

/* An opaque handle of a started gateway.  Owned by the library. */
typedef struct gsgi_gateway_s  gsgi_gateway_t;

typedef struct {
    uint32_t           size;            /* of this struct */
    uint32_t           abi_major;       /* of the host */
    uint32_t           abi_minor;

    uint32_t           nentries;
    const gsgi_str_t  *entries;         /* the entries that the configuration
                                           uses; "" is the only one.  A slot
                                           names its entry by its index here */

    uint32_t           worker;          /* 0 .. workers - 1 */
    uint32_t           workers;
    uint32_t           procs;           /* GOMAXPROCS, 0: leave it */
    uint32_t           start_timeout;   /* ms, until it is ready, or is not */
    uint32_t           stop_timeout;    /* ms, 0: no limit */
    int32_t            report_fd;       /* gsgi_probe only, else -1 */
    uint64_t           memory_limit;    /* bytes of Go heap, 0: leave it */

    gsgi_str_t         software;        /* "nginx/1.22.1" */
    gsgi_str_t         name;            /* NAME of gsgi_app */
    gsgi_str_t         state_dir;       /* for locks across workers
                                           (goapp.Exclusive); may be empty */

    void              *region;          /* gsgi_region_t, mapped by the host
                                           for the life of the process; NULL
                                           for gsgi_probe */
    char              *err;             /* room for a NUL-terminated text */
    size_t             errlen;

    /* what follows is there as far as size says */

    uint64_t           starting;        /* gsgi_probe only.  Not 0: the server
                                           starts, its workers come next, and
                                           none before them serve; the check
                                           can leave to them what they survive
                                           */
} gsgi_start_conf_t;

/*
 * gsgi_start runs the application: main starts in a goroutine, and requests
 * are taken from the region from now on.  Returns at once; the library then
 * moves region->app_state to READY, FAILED or STOPPED and notifies the host.
 *
 * Thread:     any, once in a process, after the fork; not the event loop's.
 * Ownership:  conf and what it points to stay the host's and are copied,
 *             except the region, which the host must never unmap.
 * Returns:    GSGI_OK with *gw_out set; GSGI_MISMATCH or GSGI_ERROR with a
 *             text in err.
 */
typedef int (*gsgi_start_pt)(const gsgi_start_conf_t *conf,
    gsgi_gateway_t **gw_out);

/*
 * gsgi_drain tells the application that the worker is on its way out:
 * goapp.Context is done, requests in flight go on, and while host_open is set
 * more are taken.  When it is not and the last request has been released,
 * ListenAndServe ends its goroutine; when main's deferred calls have run,
 * app_state becomes STOPPED.  May be called more than once.
 *
 * Thread:     any but the event loop's.
 * Returns:    GSGI_OK; GSGI_INVALID for a handle that is not one.
 */
typedef int (*gsgi_drain_pt)(gsgi_gateway_t *gw);

/*
 * gsgi_stop ends what gsgi_drain left: the contexts of all requests are
 * cancelled, host_open counts no more, and it waits up to timeout
 * milliseconds for app_state STOPPED.
 * The handle is void afterwards.  The library stays loaded: a Go runtime
 * cannot be unloaded.
 *
 * Thread:     any but the event loop's; blocks.
 * Returns:    GSGI_OK when all has ended, GSGI_AGAIN when not,
 *             GSGI_INVALID for a handle that is not one.
 */
typedef int (*gsgi_stop_pt)(gsgi_gateway_t *gw, uint32_t timeout);

/*
 * gsgi_probe runs the application in a throw-away process, up to the point
 * where it would serve.  It then writes one line for each entry,
 * "entry NAME\n", then "ok\n", to conf->report_fd and ends the process with
 * status 0.  A mistake that the library itself finds is reported as
 * "error TEXT\n" and status 1; whatever else ends the process is the
 * application's own doing and its text is on descriptor 2.
 *
 * Thread:     the only one of the process; returns at once, the caller then
 *             waits (pause) to be ended.
 * Returns:    GSGI_OK; else as gsgi_start.
 */
typedef int (*gsgi_probe_pt)(const gsgi_start_conf_t *conf);

#define GSGI_SYM_ABI    "gsgi_abi"
#define GSGI_SYM_START  "gsgi_start"
#define GSGI_SYM_DRAIN  "gsgi_drain"
#define GSGI_SYM_STOP   "gsgi_stop"
#define GSGI_SYM_PROBE  "gsgi_probe"


/*
 * 2. The region
 *
 * One per worker, mapped by the host, zero-filled at first.  Who may write a
 * field is said beside it: [host], [go], [both].
 *
 * 2.1 The way of a request
 *
 *   host: takes a slot, packs the request into it, rings it in the submission
 *         ring with GSGI_SQ_NEW.
 *   go:   a dispatcher takes it from the ring, copies the block once, and
 *         runs the handler.  The slot's data area is now free for the answer.
 *   go:   publishes a head, then body: inline in the slot, and in chunks on
 *         out_list.  Rings the completion ring with GSGI_CQ_*.
 *   host: sends, frees the chunks, advances out_acked.
 *   go:   sets GSGI_CQ_RELEASE last of all and never touches the slot again.
 *   host: lets go when it has sent or given up.
 *
 * 2.2 Release.  A slot is reused only after both sides have let go.
 *   GSGI_REGION_RING: only the host's event loop frees slots.  It frees one
 *         when it has let go itself and has taken GSGI_CQ_RELEASE, after
 *         which the library puts no doorbell for that slot in the ring.
 *   otherwise: the side that lets go second frees.  Both let go with one
 *         atomic fetch-or on cq_events, the host of GSGI_CQ_HOST_GONE, the
 *         library of GSGI_CQ_RELEASE, and see the other's bit in the old
 *         value.  (A host that took RELEASE earlier by exchange frees.)
 *   Who frees a slot first frees what is left on in_list and out_list (and
 *   closes the descriptors of GSGI_CHUNK_FILE there).
 *
 * 2.3 Doorbells.  A ring entry is a slot index and says "look at the slot".
 *   To ring: old = fetch_or(events, bits); only if old was 0, push the index.
 *   To take: pop an index, then bits = exchange(events, 0).
 *   So a slot is in a ring at most once, a ring of at least nslots entries
 *   never overflows, and no bit is lost.  A stale doorbell shows 0, or the
 *   bits of the slot's next life: both are harmless, because on submission
 *   the host stores with exchange(sq_events, GSGI_SQ_NEW), pushing if the old
 *   value was 0, and because POKE carries no fact: what happened is read from
 *   host_flags, in_state, in_list and out_acked, which stay.
 *
 * 2.4 Wake-ups.  After a push:
 *   to Go:    a = exchange(go_armed, 0); if a != 0, write 8 bytes (1) to
 *             go_efd[a - 1].  Go arms, then checks the ring again, then waits.
 *   to host:  if exchange(host_sleeping, 0) != 0, write to host_efd.  The
 *             host sets host_sleeping, then checks ring, log and app_state
 *             again, then waits.  Nobody needs to read the eventfds: their
 *             edge is the message.
 *   Without GSGI_REGION_RING there is no completion ring; a host thread waits
 *   on its own slot.  It sets cq_wait, checks cq_events again, and waits: in
 *   a futex on cq_wait (GSGI_WAIT_FUTEX, FUTEX_PRIVATE_FLAG not used) or in
 *   poll on cq_efd (GSGI_WAIT_POLL).  Go, after its fetch_or, wakes as
 *   exchange(cq_wait, 0) says.  All eventfds live as long as the process, so
 *   that a late write never meets another file.
 *
 * 2.5 Chunks.  Free chunks are two stacks with a tag against ABA:
 *   chunk_free = tag << 32 | (index + 1), linked by gsgi_chunk_head_t.next,
 *   whose chunks keep their memory, and chunk_cold, whose have given it back.
 *   To take: from chunk_free, else from chunk_cold, else a fresh index from
 *   chunk_fresh (below nchunks).  To free: to chunk_free.  The host moves what
 *   is there beyond chunks_keep to chunk_cold by and by, after MADV_DONTNEED.
 *   chunks_warm counts chunk_free, chunks_idle both.  Slots: likewise with
 *   slot_free, slot_fresh, and the slot's next, but they keep their memory.
 *
 * 2.6 Lists.  in_list and out_list are stacks of published chunks: the
 *   producer links and pushes by compare-and-swap (index + 1), the consumer
 *   exchanges the list with 0 and reverses it.  One producer and one consumer
 *   at a time for each list.  A consumed chunk is freed by the consumer.
 *
 * 2.7 Credit.  Bytes are counted, not messages.  The library may have at most
 *   `credit` bytes published and not yet acknowledged: it compares its own
 *   count with out_acked.  To wait it sets out_waiting, looks at out_acked
 *   again, then parks; the host, after it advanced out_acked by at least half
 *   the credit since, or to all that is published, exchanges out_waiting with
 *   0 and pokes if it was set.  For the request body the same with in_acked,
 *   in_waiting and GSGI_CQ_CREDIT, the sides exchanged.  A FILE chunk counts
 *   with its file_len and may exceed the credit.  What lies in the slot takes
 *   no credit and is not acknowledged.
 *
 * 2.8 Upgrades (since 1.1).  Where the request has GSGI_REQ_UPGRADE, the
 *   library may ring GSGI_CQ_UPGRADE in place of GSGI_CQ_HEAD, and the
 *   connection is bytes both ways from then on:
 *   - to the client: DATA chunks as they are, in order, each at once, beginning
 *     with the response's own head.  The host adds nothing;
 *   - from the client: what follows the request, on in_list.  in_state END is
 *     the end of what the client sends, BROKEN the loss of the connection;
 *   - the credit holds in both directions;
 *   - GSGI_CQ_END: nothing more to the client, whose reader sees that where
 *     the host can close one side; GSGI_CQ_RELEASE: close the connection; both
 *     once all is sent.
 *   Before it rings, the library has done with the body: it frees what is on
 *   in_list, sets in_acked to what it has consumed, whence both sides go on
 *   counting, and sets in_state to OPEN.  It does not upgrade while a body
 *   comes that it has asked for (GSGI_CQ_READ) and whose end is not there.
 *
 * 2.9 Trailers of the request (since 1.1): one TRAILERS chunk, the last on
 *   in_list, there before in_state is END.  It takes no credit, and comes with
 *   every kind of body.
 */

#define GSGI_SLOT_BYTES   4096
#define GSGI_CHUNK_BYTES  16384
#define GSGI_SLOT_DATA    3840      /* GSGI_SLOT_BYTES - sizeof(gsgi_slot_t) */

/* gsgi_region_t.flags */
#define GSGI_REGION_RING  0x1       /* completions come through the ring; one
                                       thread of the host takes them */

/* gsgi_region_t.app_state [go] */
#define GSGI_APP_STARTING  0
#define GSGI_APP_READY     1        /* entries are served; the log names the
                                       one that is in use and is not */
#define GSGI_APP_FAILED    2        /* will not serve; the log says why */
#define GSGI_APP_DRAINING  3
#define GSGI_APP_STOPPED   4        /* main has returned, nothing in flight */

typedef struct {                    /* figures of the library [go] */
    uint64_t  requests;             /* taken from the ring, atomic */
    uint64_t  released;             /* slots let go, atomic */
    uint64_t  panics;               /* atomic */
    uint64_t  wakes;                /* eventfd writes to the host, atomic */
    uint64_t  dispatchers;          /* goroutines that take requests, atomic */
    uint64_t  idle;                 /* ... and wait, atomic */
    uint64_t  handles;              /* live handles held by C, atomic */
    /* refreshed within 100 ms after stats_wanted was set */
    uint64_t  goroutines;
    uint64_t  threads;
    uint64_t  heap_bytes;
    uint64_t  gc_cycles;
    uint64_t  gc_pause_ns;
    uint64_t  log_dropped;          /* lines that did not fit, atomic */
    uint64_t  reserved[3];
} gsgi_stats_t;

typedef struct {
    /* set by the host before gsgi_start, constant then */
    uint64_t  magic;                /* GSGI_MAGIC */
    uint32_t  size;                 /* sizeof(gsgi_region_t) */
    uint32_t  flags;                /* GSGI_REGION_* */
    uint64_t  length;               /* bytes mapped */
    uint64_t  slots_off;            /* of slot 0, GSGI_SLOT_BYTES each */
    uint64_t  chunks_off;           /* of chunk 0, GSGI_CHUNK_BYTES each */
    uint64_t  chunk_heads_off;      /* of gsgi_chunk_head_t 0 */
    uint64_t  sq_off;               /* of gsgi_cell_t 0, submission */
    uint64_t  cq_off;               /* of gsgi_cell_t 0, completion */
    uint64_t  log_off;              /* of the log ring's first byte */
    uint32_t  nslots;
    uint32_t  nchunks;
    uint32_t  ring_size;            /* cells, a power of two >= 2 * nslots */
    uint32_t  log_size;             /* bytes, a power of two */
    uint32_t  chunks_keep;          /* idle chunks that keep their memory */
    int32_t   host_efd;             /* wakes the host */
    int32_t   go_efd[2];            /* wake the library */
    uint32_t  reserved0[2];

    /* each on a cache line of its own; all atomic */
    uint32_t  go_armed __attribute__((aligned(64)));        /* [both] 0,1,2 */
    uint32_t  host_sleeping __attribute__((aligned(64)));   /* [both] */
    uint32_t  sq_tail __attribute__((aligned(64)));         /* [host] */
    uint32_t  sq_head __attribute__((aligned(64)));         /* [go] */
    uint32_t  cq_tail __attribute__((aligned(64)));         /* [go] */
    uint32_t  cq_head __attribute__((aligned(64)));         /* [host] */
    uint64_t  chunk_free __attribute__((aligned(64)));      /* [both] */
    uint32_t  chunk_fresh;                                  /* [both] */
    uint32_t  chunks_idle;                                  /* [both] */
    uint64_t  chunk_cold;                                   /* [both] */
    uint32_t  chunks_warm;                                  /* [both] */
    uint64_t  slot_free __attribute__((aligned(64)));       /* [both] */
    uint32_t  slot_fresh;                                   /* [host] */
    uint32_t  slots_used;                                   /* [both] */
    uint32_t  in_flight;            /* [both] requests that wait for their
                                       head: see gsgi_slot_t.counted */
    uint32_t  abandoned;            /* [both] of these, those that the host
                                       has let go */
    uint64_t  log_head __attribute__((aligned(64)));        /* [go] bytes */
    uint64_t  log_tail __attribute__((aligned(64)));        /* [host] bytes */
    uint32_t  app_state __attribute__((aligned(64)));       /* [go] */
    uint32_t  stats_wanted;                                 /* [both] */
    uint32_t  host_open;            /* [host] 1: requests may still come, also
                                       after gsgi_drain; set before gsgi_start
                                       and cleared once */
    uint32_t  retire;               /* [go] 1: the library asks to be replaced,
                                       with its worker, as after a reload; the
                                       log says why (since 1.1) */
    gsgi_stats_t  stats __attribute__((aligned(64)));
} gsgi_region_t;

/*
 * A ring is a bounded queue with a sequence number per cell (D. Vyukov).
 * Cell i starts with seq = i.  Push at tail t: seq == t, claim t by
 * compare-and-swap, store slot, then seq = t + 1.  Pop at head h:
 * seq == h + 1, claim h, read slot, then seq = h + ring_size.
 */
typedef struct {
    uint32_t  seq;                  /* atomic */
    uint32_t  slot;
} gsgi_cell_t;

/*
 * The log ring: the library appends, the host reads.  log_head and log_tail
 * count bytes for ever; a record lies at (position mod log_size), starts at a
 * multiple of 8 and does not wrap: a record of level GSGI_LOG_PAD fills the
 * end.  Text that does not fit is dropped and counted.
 */
typedef struct {
    uint32_t  len;                  /* of the text behind, no line end */
    uint16_t  level;                /* GSGI_LOG_* */
    uint16_t  reserved;
    uint32_t  slot;                 /* index + 1 of the request, or 0 */
    uint32_t  gen;                  /* its generation */
} gsgi_log_t;

#define GSGI_LOG_PAD     0
#define GSGI_LOG_EMERG   1          /* the numbers of syslog + 1 */
#define GSGI_LOG_ALERT   2
#define GSGI_LOG_CRIT    3
#define GSGI_LOG_ERROR   4
#define GSGI_LOG_WARN    5
#define GSGI_LOG_NOTICE  6
#define GSGI_LOG_INFO    7
#define GSGI_LOG_DEBUG   8

#define GSGI_LOG_MAX     4096       /* longest text of one record */

/* gsgi_chunk_head_t.kind */
#define GSGI_CHUNK_DATA      1      /* len bytes at off in the chunk */
#define GSGI_CHUNK_FILE      2      /* file_len bytes of fd from file_off; the
                                       consumer closes fd */
#define GSGI_CHUNK_TRAILERS  3      /* header entries, section 3.2, no head */
#define GSGI_CHUNK_INTERIM   4      /* a response head with a 1xx status */
#define GSGI_CHUNK_BLOCK     5      /* more of the request block */
#define GSGI_CHUNK_HEAD      6      /* more of the response head */

typedef struct {
    uint32_t  next;                 /* index + 1 */
    uint16_t  kind;                 /* GSGI_CHUNK_* */
    uint16_t  flags;                /* 0 */
    uint32_t  off;
    uint32_t  len;
    int32_t   fd;
    uint32_t  reserved;
    int64_t   file_off;
    int64_t   file_len;
} gsgi_chunk_head_t;

/* gsgi_slot_t.sq_events */
#define GSGI_SQ_NEW   0x1           /* a request to take */
#define GSGI_SQ_POKE  0x2           /* look at the fields of [host] */

/* gsgi_slot_t.cq_events */
#define GSGI_CQ_HEAD       0x001    /* head_* are set */
#define GSGI_CQ_DATA       0x002    /* out_list has grown */
#define GSGI_CQ_FLUSH      0x004    /* send what you have at once */
#define GSGI_CQ_END        0x008    /* the response is complete */
#define GSGI_CQ_CUT        0x010    /* the response cannot be completed: with
                                       the head out, cut the connection, else
                                       answer 500 */
#define GSGI_CQ_READ       0x020    /* the handler reads the body: begin, and
                                       send 100 Continue where expected */
#define GSGI_CQ_CREDIT     0x040    /* in_acked has advanced */
#define GSGI_CQ_UPGRADE    0x080    /* section 2.8 */
#define GSGI_CQ_RELEASE    0x100    /* the library has let go */
#define GSGI_CQ_HOST_GONE  0x200    /* the host has let go (section 2.2) */

/* gsgi_slot_t.flags */
#define GSGI_REQ_HEAD       0x01    /* HEAD: a body is not sent */
#define GSGI_REQ_TLS        0x02
#define GSGI_REQ_CHUNKED    0x04    /* the client sent Transfer-Encoding */
#define GSGI_REQ_EXPECT     0x08    /* the client waits for 100 Continue */
#define GSGI_REQ_SENDFILE   0x10    /* FILE chunks pay off on this connection */
#define GSGI_REQ_KEEPALIVE  0x20    /* the connection may be kept */
#define GSGI_REQ_UPGRADE    0x40    /* GSGI_CQ_UPGRADE is possible */
#define GSGI_REQ_TRAILERS   0x80    /* TRAILERS chunks can be sent */

/* gsgi_slot_t.body_kind */
#define GSGI_BODY_NONE    0
#define GSGI_BODY_INLINE  1         /* inline_len bytes behind the block */
#define GSGI_BODY_LIST    2         /* whole, on in_list, in_state is END */
#define GSGI_BODY_FILE    3         /* content_length bytes of body_fd from 0;
                                       the library closes body_fd */
#define GSGI_BODY_STREAM  4         /* comes on in_list after GSGI_CQ_READ */

/* gsgi_slot_t.in_state */
#define GSGI_IN_OPEN       0
#define GSGI_IN_END        1        /* what is on in_list is all */
#define GSGI_IN_BROKEN     2        /* client gone or malformed */
#define GSGI_IN_TOO_LARGE  3        /* 413 */
#define GSGI_IN_TIMEOUT    4        /* the client stalled, 408 */

/* gsgi_slot_t.host_flags: why the host does not want more */
#define GSGI_HOST_ABORT    0x1      /* the client has left */
#define GSGI_HOST_TIMEOUT  0x2      /* gsgi_timeout, gsgi_request_timeout */
#define GSGI_HOST_STOP     0x4      /* the worker ends */
#define GSGI_HOST_SPOOLED  0x8      /* not an end: the answer is safe here, the
                                       client may take its time */

#define GSGI_WAIT_NONE   0
#define GSGI_WAIT_FUTEX  1
#define GSGI_WAIT_POLL   2

typedef struct {
    /* set before submission, constant until release [host] */
    uint32_t  next;                 /* free list, index + 1 */
    uint32_t  gen;                  /* counts the lives of this slot */
    uint32_t  flags;                /* GSGI_REQ_* */
    uint32_t  entry;                /* index into gsgi_start_conf_t.entries */
    uint32_t  block_len;            /* bytes of the request block */
    uint32_t  block_chunk;          /* index + 1 of a list of BLOCK chunks with
                                       what did not fit in the data area; the
                                       library frees them */
    uint32_t  body_kind;            /* GSGI_BODY_* */
    uint32_t  inline_len;
    int64_t   content_length;       /* of the request, -1 when not known */
    uint64_t  id;                   /* the request's number in the host's log */
    uint32_t  credit;               /* bytes, each direction */
    int32_t   body_fd;              /* GSGI_BODY_FILE, else -1 */
    int32_t   cq_efd;               /* of this slot for ever, or -1 */
    uint32_t  protocol;             /* major * 1000 + minor: 1001, 2000 */

    /* [host], atomic, except counted */
    uint32_t  sq_events __attribute__((aligned(64)));   /* [both] */
    uint32_t  host_flags;           /* GSGI_HOST_* */
    uint32_t  in_list;              /* [both] request body */
    uint32_t  in_state;             /* GSGI_IN_*; [go] at an upgrade */
    uint64_t  out_acked;            /* bytes of the response that have left */
    uint32_t  in_waiting;           /* [both] the host waits for CREDIT */
    uint32_t  cq_wait;              /* [both] GSGI_WAIT_* */
    uint32_t  counted;              /* [both] 1 while in region->in_flight: who
                                       exchanges it with 0 subtracts one; the
                                       host at the head, else who frees */

    /* [go] */
    uint32_t  cq_events __attribute__((aligned(64)));   /* [both] atomic */
    uint32_t  out_list;             /* [both] atomic, response */
    uint64_t  in_acked;             /* atomic, bytes of the body consumed */
    uint32_t  out_waiting;          /* [both] atomic, library waits for POKE */
    uint32_t  head_chunk;           /* index + 1 of a list of HEAD chunks, or 0:
                                       the head is in the data area; the host
                                       frees them */
    uint32_t  head_off;             /* in the data area */
    uint32_t  head_len;             /* in the data area */
    uint32_t  body_off;             /* inline body in the data area: it comes */
    uint32_t  body_len;             /* before anything on out_list */
    uint32_t  queue_us;             /* from submission to the handler */
    uint32_t  reserved[3];

    uint64_t  host_data __attribute__((aligned(64)));   /* the host's own */
    uint64_t  submitted_ns;         /* CLOCK_MONOTONIC [host] */
    uint64_t  reserved1[6];
    /* GSGI_SLOT_DATA bytes of data area follow */
} gsgi_slot_t;


/*
 * 3. Packed formats
 *
 * 3.1 The request block: entries one behind the other, gsgi_entry_t, then
 * name_len bytes of name, then value_len bytes of value; nothing is aligned.
 *
 *   GSGI_ENTRY_META    id is GSGI_META_*, no name.  Each at most once; one
 *                      that does not apply is left out.
 *   GSGI_ENTRY_HEADER  a request header as received, in order; the name in
 *                      the form of http.CanonicalHeaderKey.  Host,
 *                      Content-Length, Transfer-Encoding, Connection included.
 *   GSGI_ENTRY_PARAM   a key of the environ that the configuration adds or
 *                      replaces; a later one wins.
 *
 * 3.2 The response head: gsgi_head_t, then nheaders times gsgi_entry_t with
 * kind GSGI_ENTRY_HEADER, name, NUL, value, NUL (the NULs are not counted in
 * the lengths).  In chunks, no entry is split.  The library has checked names
 * (RFC 9110 section 5.6.2 token) and values (no CR, LF, NUL); the host checks
 * the bounds again.  Content-Length is in content_length, and Transfer-Encoding
 * and Connection never are among the entries.
 */

#define GSGI_ENTRY_META    1
#define GSGI_ENTRY_HEADER  2
#define GSGI_ENTRY_PARAM   3

typedef struct {
    uint8_t   kind;
    uint8_t   id;
    uint16_t  name_len;
    uint32_t  value_len;
} gsgi_entry_t;

/* gsgi_entry_t.id of GSGI_ENTRY_META */
#define GSGI_META_METHOD           1
#define GSGI_META_URI              2    /* raw request target */
#define GSGI_META_PATH             3    /* the path that the server decided on:
                                           decoded, normalised, rewritten; with
                                           the mount point still in it */
#define GSGI_META_SCRIPT_NAME      4    /* the mount point, a prefix of PATH on
                                           a segment boundary */
#define GSGI_META_QUERY            5    /* without the question mark */
#define GSGI_META_PROTOCOL         6    /* "HTTP/1.1" */
#define GSGI_META_SCHEME           7    /* "http", "https" */
#define GSGI_META_SERVER_NAME      8
#define GSGI_META_SERVER_PORT      9    /* where the connection arrived (RFC
                                           3875, section 4.1.15) */
#define GSGI_META_SERVER_ADDR     10
#define GSGI_META_REMOTE_ADDR     11    /* no brackets for IPv6 */
#define GSGI_META_REMOTE_PORT     12
#define GSGI_META_REMOTE_USER     13
#define GSGI_META_AUTH_TYPE       14
#define GSGI_META_DOCUMENT_ROOT   15
#define GSGI_META_REQUEST_ID      16    /* the server's own id of the request */
#define GSGI_META_TLS_VERSION     17    /* decimal: 771 is TLS 1.2 */
#define GSGI_META_TLS_CIPHER      18    /* decimal, the IANA number */
#define GSGI_META_TLS_SNI         19
#define GSGI_META_TLS_ALPN        20
#define GSGI_META_TLS_CLIENT_CERT 21    /* PEM chain, leaf first, verified */
#define GSGI_META_TLS_RESUMED     22    /* "1" */
#define GSGI_META_MAX             23

/* gsgi_head_t.flags */
#define GSGI_HEAD_LENGTH  0x1           /* content_length is valid */
#define GSGI_HEAD_CLOSE   0x2           /* the application wants Connection:
                                           close */
#define GSGI_HEAD_SPOOL   0x4           /* where the configuration says nothing,
                                           the host keeps what a slow client
                                           has not taken (since 1.1) */

typedef struct {
    uint32_t  len;                      /* of all pieces, with this struct */
    uint16_t  status;                   /* 100 .. 999 */
    uint16_t  flags;                    /* GSGI_HEAD_* */
    int64_t   content_length;
    uint32_t  nheaders;
    uint32_t  reserved;
} gsgi_head_t;

#ifdef __cplusplus
}
#endif

#endif /* GSGI_H */
