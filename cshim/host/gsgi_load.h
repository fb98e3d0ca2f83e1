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

/* Where it lies in memory; 0 when it is not loaded. */
uintptr_t gsgi_library_base(void);

/*
 * Go runtimes of other modules.  Join calls start, which starts ours, while
 * dlopen starts no other; then, as Share, it gives SIGURG to all that have had
 * it.  Share is called as often as wished, from any thread.
 * New returns 1 with the path of one that it has not told of before; called
 * by one thread.
 */
typedef void (*gsgi_runtime_start_pt)(void *data);

void gsgi_runtimes_join(gsgi_runtime_start_pt start, void *data);
void gsgi_runtimes_share(void);
int gsgi_runtimes_new(char *path, size_t len);

/* Whether code at this address came with the library or after it. */
int gsgi_library_owns(const void *address);

#endif /* GSGI_LOAD_H */
