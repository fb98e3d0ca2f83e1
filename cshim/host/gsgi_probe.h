/*
 * Copyright (C) The GSGI Authors
 *
 * The parts of a probe: gsgi_probe.c is the parent's end.
 */

#ifndef GSGI_PROBE_H
#define GSGI_PROBE_H

#include "gsgi_host.h"

#define GSGI_PROBE_TEXT  65536

typedef struct {
    char    data[GSGI_PROBE_TEXT];
    size_t  len;
    size_t  scanned;            /* start of the last line seen */
    size_t  crash;              /* start of a crash's text + 1 */
} gsgi_probe_text_t;

/* Reads what is there, from a non-blocking descriptor.  Returns 0 at its
 * end. */
int gsgi_probe_text_read(gsgi_probe_text_t *t, int fd);

/*
 * Appends ": " and a few lines to the text in err: with crash, from where Go
 * has begun its last words, else the last.  Empty lines are left out.
 */
void gsgi_probe_text_quote(gsgi_probe_text_t *t, int crash, char *err,
    size_t errlen);

typedef struct {
    const gsgi_launch_t  *launch;
    const char           *user;
    uid_t                 uid;
    gid_t                 gid;
    pid_t                 parent;
    int                   report;
    int                   output;
} gsgi_probe_child_t;

/*
 * Runs in the process that the server forks, with all signals blocked: forks
 * the child, and ends as the child does, once all that the child has started
 * has ended.  SIGTERM ends it early.
 */
void gsgi_probe_guard(gsgi_probe_child_t *child) __attribute__((noreturn));

/* Closes these descriptors, both ends included. */
void gsgi_probe_close(unsigned first, unsigned last);

/* Runs in the child, after the fork, with all signals blocked. */
void gsgi_probe_child(gsgi_probe_child_t *child) __attribute__((noreturn));

#endif /* GSGI_PROBE_H */
