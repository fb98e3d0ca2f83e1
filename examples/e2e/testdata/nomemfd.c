/*
 * Copyright (C) The GSGI Authors
 *
 * Loaded first: a kernel or a filter that has no memfd.
 */

#include <errno.h>

int memfd_create(const char *name, unsigned int flags);

int
memfd_create(const char *name, unsigned int flags)
{
    errno = ENOSYS;

    return -1;
}
