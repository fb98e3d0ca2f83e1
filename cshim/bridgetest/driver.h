/*
 * Copyright (C) The GSGI Authors
 *
 * A web server without a network: threads that submit requests and take the
 * responses, for the tests of both halves of the bridge together.
 */

#ifndef GSGI_DRIVER_H
#define GSGI_DRIVER_H

#include "gsgi_host.h"

/* drv_job_t.body_how */
#define DRV_BODY_PACKED  0
#define DRV_BODY_STREAM  1
#define DRV_BODY_FILE    2

/* drv_job_t.abort_at: when the client leaves */
#define DRV_ABORT_NEVER   0
#define DRV_ABORT_SUBMIT  1     /* at once */
#define DRV_ABORT_HEAD    2     /* at the head of the response, or upgrade */
#define DRV_ABORT_READ    3     /* when the handler begins to read */
#define DRV_ABORT_BYTES   4     /* after abort_after bytes of the response */
#define DRV_ABORT_TIME    5     /* after abort_after microseconds */
#define DRV_ABORT_TAKEN   6     /* ... from the upgrade on */

/* drv_job_t.close_at: when the client of an upgraded connection ends what it
 * sends */
#define DRV_CLOSE_SENT    0     /* when all is sent */
#define DRV_CLOSE_END     1     /* and the application has ended its side */
#define DRV_CLOSE_NEVER   2

typedef struct drv_s      drv_t;
typedef struct drv_job_s  drv_job_t;

struct drv_job_s {
    /* the request */
    char         *target;           /* NUL-terminated, as are headers */
    uint32_t      nfill;            /* headers of fill_len bytes each */
    uint32_t      fill_len;
    void         *body;
    size_t        body_len;
    uint32_t      body_how;
    uint32_t      piece;            /* bytes that "arrive" at once */
    int           body_fd;
    uint32_t      credit;
    uint32_t      flags;            /* GSGI_REQ_* */
    uint32_t      abort_at;
    uint64_t      abort_after;
    void         *conn;             /* what the client sends on the connection
                                       once it has been taken over */
    size_t        conn_len;
    uint32_t      close_at;
    uint32_t      pace;             /* bytes of the response that the client
                                       takes in a millisecond, 0: all */

    /* the response */
    int           aborted;
    int           broken;           /* the library broke the contract */
    int           status;
    int           head_flags;
    int64_t       length;
    uint32_t      events;           /* all that were seen */
    uint32_t      interim;          /* informational responses */
    uint32_t      files;            /* FILE chunks */
    uint64_t      held;             /* most bytes that were not acknowledged */
    char         *head;             /* "Name: value\n" */
    size_t        head_len;
    char         *trailers;
    size_t        trailers_len;
    char         *out;
    size_t        out_len;

    /* the driver's own */
    gsgi_slot_t  *slot;
    size_t        head_cap;
    size_t        trailers_cap;
    size_t        out_cap;
    size_t        in_off;
    uint64_t      in_base;          /* published before the upgrade */
    uint64_t      taken;            /* of the response's chunks */
    uint64_t      owed;             /* ... and not acknowledged */
    uint64_t      deadline;
    int           reading;
    int           upgraded;
    int           in_ended;
    int           stalled;          /* for want of a chunk */
    int           done;
    drv_job_t    *next;
};

typedef struct {
    const char   *name;
    long long     value;
} drv_fact_t;

/* Returns NULL, with a text in err. */
drv_t *drv_new(uint32_t flags, uint32_t nslots, uint32_t nchunks,
    char *err, size_t errlen);
gsgi_region_t *drv_region(drv_t *d);

/* Sends the request and waits for the end of the response, or of the slot:
 * in the calling thread, or with GSGI_REGION_RING in the loop's. */
void drv_do(drv_t *d, drv_job_t *job);
void drv_job_free(drv_job_t *job);

/* Takes log lines; returns how many bytes of text are in buf. */
size_t drv_logs(drv_t *d, char *buf, size_t size);

/* Ends the loop's thread.  The region stays. */
void drv_stop(drv_t *d);

/* Sizes, offsets and constants. */
const drv_fact_t *drv_facts(size_t *n_out);

#endif /* GSGI_DRIVER_H */
