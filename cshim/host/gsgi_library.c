/*
 * Copyright (C) The GSGI Authors
 *
 * Loads the application library into a process, with arguments and an
 * environment of its own.  It is never closed, because a Go runtime cannot be
 * unloaded.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gsgi_load.h"

#define GSGI_AUXV_TYPES  64     /* of getauxval */

typedef void (*gsgi_constructor_pt)(int argc, char **argv, char **envp);

typedef struct {
    const gsgi_image_t   *image;
    char                **argv;
    size_t                argc;
    size_t                envc;
} gsgi_library_call_t;


static int gsgi_library_directory(const gsgi_launch_t *launch, char *err,
    size_t errlen);
static int gsgi_library_alone(const gsgi_image_t *img, char *err,
    size_t errlen);
static void *gsgi_library_open(const gsgi_image_t *img, char *err,
    size_t errlen);
static int gsgi_library_symbols(gsgi_library_t *lib, void *handle, char *err,
    size_t errlen);
static int gsgi_library_construct(const gsgi_launch_t *launch, char *err,
    size_t errlen);
static void gsgi_library_constructors(void *data);


static struct link_map  *gsgi_library_map;

/* The constructors' argument block, which the Go runtime reads for ever. */
static char            **gsgi_library_args;


int
gsgi_library_load(gsgi_library_t *lib, const gsgi_launch_t *launch, char *err,
    size_t errlen)
{
    void             *handle;
    struct link_map  *map;

    if (gsgi_library_directory(launch, err, errlen) != GSGI_OK
        || gsgi_library_alone(launch->image, err, errlen) != GSGI_OK)
    {
        return GSGI_ERROR;
    }

    handle = gsgi_library_open(launch->image, err, errlen);

    if (handle == NULL) {
        return GSGI_ERROR;
    }

    if (dlinfo(handle, RTLD_DI_LINKMAP, &map) == -1) {
        snprintf(err, errlen, "\"%s\" cannot be found in memory: %s",
                 launch->image->path, dlerror());
        return GSGI_ERROR;
    }

    __atomic_store_n(&gsgi_library_map, map, __ATOMIC_SEQ_CST);

    if (gsgi_library_symbols(lib, handle, err, errlen) != GSGI_OK) {
        return GSGI_ERROR;
    }

    return gsgi_library_construct(launch, err, errlen);
}


static int
gsgi_library_directory(const gsgi_launch_t *launch, char *err, size_t errlen)
{
    char         buf[sizeof(launch->image->path)], *slash;
    const char  *directory;

    directory = launch->directory;

    if (directory == NULL) {
        memcpy(buf, launch->image->path, sizeof(buf));
        slash = strrchr(buf, '/');

        if (slash == NULL) {
            return GSGI_OK;
        }

        slash[slash == buf ? 1 : 0] = '\0';
        directory = buf;
    }

    if (chdir(directory) == -1) {
        snprintf(err, errlen, "\"%s\" cannot run in its directory \"%.1024s\""
                 ": %s", launch->image->path, directory, strerror(errno));
        return GSGI_ERROR;
    }

    return GSGI_OK;
}


/* Applications cannot share a worker: they are entries of one library. */

static int
gsgi_library_alone(const gsgi_image_t *img, char *err, size_t errlen)
{
    if (gsgi_library_base() != 0) {
        snprintf(err, errlen, "\"%s\" cannot be loaded: this process has its "
                 "application library already", img->path);
        return GSGI_ERROR;
    }

    return GSGI_OK;
}


/* gdb hangs on a library that was loaded from /proc/self. */

static int
gsgi_library_path(const gsgi_image_t *img, char *path, size_t len)
{
    int          i;
    struct stat  ours, st;

    if (fstat(img->fd, &ours) == -1) {
        return GSGI_ERROR;
    }

    for (i = 0; i < 3; i++) {
        switch (i) {

        case 0:
            snprintf(path, len, "/proc/%d/fd/%d", (int) getpid(), img->fd);
            break;

        case 1:
            snprintf(path, len, "/proc/self/fd/%d", img->fd);
            break;

        default:
            snprintf(path, len, "/dev/fd/%d", img->fd);
        }

        if (stat(path, &st) == 0 && st.st_dev == ours.st_dev
            && st.st_ino == ours.st_ino)
        {
            return GSGI_OK;
        }
    }

    return GSGI_ERROR;
}


static void *
gsgi_library_open(const gsgi_image_t *img, char *err, size_t errlen)
{
    char         path[64];
    void        *handle;
    size_t       len;
    const char  *text;

    if (gsgi_library_path(img, path, sizeof(path)) != GSGI_OK) {
        snprintf(err, errlen, "\"%s\" cannot be loaded: its copy, descriptor "
                 "%d, is in neither /proc/self/fd nor /dev/fd (a chroot "
                 "needs /proc mounted in it)", img->path, img->fd);
        return NULL;
    }

    handle = dlopen(path, RTLD_NOW|RTLD_LOCAL);

    if (handle == NULL) {
        text = dlerror();
        len = strlen(path);

        if (strncmp(text, path, len) == 0 && text[len] == ':') {
            text += len + 1;
            text += *text == ' ';
        }

        snprintf(err, errlen, "\"%s\" cannot be loaded: %s", img->path, text);
    }

    return handle;
}


static int
gsgi_library_symbols(gsgi_library_t *lib, void *handle, char *err,
    size_t errlen)
{
    size_t  i;

    const struct {
        const char  *name;
        void        *function;
    } symbols[] = {
        { GSGI_SYM_START, &lib->start },
        { GSGI_SYM_DRAIN, &lib->drain },
        { GSGI_SYM_STOP, &lib->stop },
        { GSGI_SYM_PROBE, &lib->probe }
    };

    for (i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
        *(void **) symbols[i].function = dlsym(handle, symbols[i].name);

        if (*(void **) symbols[i].function == NULL) {
            snprintf(err, errlen, "the library has no symbol %s",
                     symbols[i].name);
            return GSGI_ERROR;
        }
    }

    return GSGI_OK;
}


static size_t
gsgi_library_measure(char *const *list, size_t *bytes)
{
    size_t  n;

    for (n = 0; list[n] != NULL; n++) {
        *bytes += strlen(list[n]) + 1;
    }

    return n;
}


static char *
gsgi_library_strings(char **to, char *const *list, char *text)
{
    for ( /* void */ ; *list != NULL; list++) {
        *to++ = text;
        text = stpcpy(text, *list) + 1;
    }

    return text;
}


/*
 * Lays out argv, envp and the auxiliary vector one behind the other, as the
 * kernel does: the Go runtime walks from the first to the last.
 */

static char **
gsgi_library_block(const gsgi_launch_t *launch, size_t *argc, size_t *envc)
{
    char           *text;
    void          **p;
    size_t          bytes;
    unsigned long   type, value;

    bytes = 0;
    *argc = gsgi_library_measure(launch->argv, &bytes);
    *envc = gsgi_library_measure(launch->envp, &bytes);

    p = calloc(1, (*argc + 1 + *envc + 1 + 2 * GSGI_AUXV_TYPES)
                  * sizeof(void *) + bytes);
    if (p == NULL) {
        return NULL;
    }

    gsgi_library_args = (char **) p;

    text = (char *) (p + *argc + 1 + *envc + 1 + 2 * GSGI_AUXV_TYPES);
    text = gsgi_library_strings((char **) p, launch->argv, text);
    p += *argc + 1;
    gsgi_library_strings((char **) p, launch->envp, text);
    p += *envc + 1;

    for (type = AT_IGNORE + 1; type < GSGI_AUXV_TYPES; type++) {
        errno = 0;
        value = getauxval(type);

        if (errno == 0) {
            *p++ = (void *) type;
            *p++ = (void *) value;
        }
    }

    return gsgi_library_args;
}


static int
gsgi_library_construct(const gsgi_launch_t *launch, char *err, size_t errlen)
{
    gsgi_library_call_t  call;

    call.image = launch->image;
    call.argv = gsgi_library_block(launch, &call.argc, &call.envc);

    if (call.argv == NULL) {
        snprintf(err, errlen, "no memory for the arguments of \"%s\"",
                 launch->image->path);
        return GSGI_ERROR;
    }

    gsgi_runtimes_join(gsgi_library_constructors, &call);

    return GSGI_OK;
}


static void
gsgi_library_constructors(void *data)
{
    size_t                i;
    gsgi_constructor_pt  *constructors;
    gsgi_library_call_t  *call = data;

    constructors = (gsgi_constructor_pt *)
                   (gsgi_library_map->l_addr + call->image->init_array);

    for (i = 0; i < call->image->init_count; i++) {
        constructors[i]((int) call->argc, call->argv,
                        call->argv + call->argc + 1);
    }
}


uintptr_t
gsgi_library_base(void)
{
    struct link_map  *map;

    map = __atomic_load_n(&gsgi_library_map, __ATOMIC_SEQ_CST);

    return map ? map->l_addr : 0;
}


int
gsgi_library_owns(const void *address)
{
    Dl_info           info;
    struct link_map  *map, *found;

    map = __atomic_load_n(&gsgi_library_map, __ATOMIC_SEQ_CST);

    if (map == NULL) {
        return 0;
    }

    if (dladdr1(address, &info, (void **) &found, RTLD_DL_LINKMAP) == 0) {
        return 1;
    }

    for ( /* void */ ; map != NULL; map = map->l_next) {
        if (map == found) {
            return 1;
        }
    }

    return 0;
}
