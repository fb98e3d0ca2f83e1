/*
 * Copyright (C) The GSGI Authors
 *
 * What the loader, the probe and the signals need of gsgi_library.c.
 */

#ifndef GSGI_LOAD_H
#define GSGI_LOAD_H

#include "gsgi_host.h"

typedef struct {
    gsgi_start_pt  start;
    gsgi_drain_pt  drain;
    gsgi_stop_pt   stop;
    gsgi_probe_pt  probe;
} gsgi_library_t;

/*
 * Loads launch->image into this process: working directory, dlopen,
 * constructors.  Once in a process, and never undone.
 *
 * Thread:     any; blocks.
 * Ownership:  argv and envp are copied for the life of the process.
 * Returns:    GSGI_OK; GSGI_ERROR with a text in err.
 */
int gsgi_library_load(gsgi_library_t *lib, const gsgi_launch_t *launch,
    char *err, size_t errlen);

/* Whether code at this address came with the library or after it. */
int gsgi_library_owns(const void *address);

#endif /* GSGI_LOAD_H */
