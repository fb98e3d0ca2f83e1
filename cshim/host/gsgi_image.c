/*
 * Copyright (C) The GSGI Authors
 *
 * The sealed private copy of a library that all workers of a configuration
 * load.  The copy is checked, not the file: a file that is overwritten in
 * place after the check cannot reach a worker.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "gsgi_elf.h"

#ifndef MFD_EXEC
#define MFD_EXEC  0x0010U
#endif

#define GSGI_IMAGE_MAX    (INT64_C(2) << 30)
#define GSGI_IMAGE_PIECE  (1024 * 1024)

#define GSGI_IMAGE_SEALS                                                      \
    (F_SEAL_SEAL|F_SEAL_SHRINK|F_SEAL_GROW|F_SEAL_WRITE)

typedef struct {
    gsgi_image_t  *img;
    int            source;
    int            copy;        /* writable */
    int            sealed;      /* copy is a memfd */
    char          *err;
    size_t         errlen;
} gsgi_image_open_t;


static int gsgi_image_fail(gsgi_image_open_t *o, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static int gsgi_image_source(gsgi_image_open_t *o, struct stat *st);
static int gsgi_image_target(gsgi_image_open_t *o, const char *tmpdir);
static int gsgi_image_file(gsgi_image_open_t *o, const char *tmpdir);
static int gsgi_image_copy(gsgi_image_open_t *o, const struct stat *st);
static int gsgi_image_check(gsgi_image_open_t *o);
static int gsgi_image_finish(gsgi_image_open_t *o);


int
gsgi_parent_image_open(gsgi_image_t *img, const char *path, const char *tmpdir,
    char *err, size_t errlen)
{
    int                rc;
    struct stat        st;
    gsgi_image_open_t  o = { img, -1, -1, 0, err, errlen };

    memset(img, 0, sizeof(gsgi_image_t));
    img->fd = -1;

    if (snprintf(img->path, sizeof(img->path), "%s", path)
        >= (int) sizeof(img->path))
    {
        return gsgi_image_fail(&o, "has a path that is too long");
    }

    rc = gsgi_image_source(&o, &st);

    if (rc == GSGI_OK) {
        rc = gsgi_image_target(&o, tmpdir);
    }

    if (rc == GSGI_OK) {
        rc = gsgi_image_copy(&o, &st);
    }

    if (rc == GSGI_OK) {
        rc = gsgi_image_check(&o);
    }

    if (rc == GSGI_OK) {
        rc = gsgi_image_finish(&o);
    }

    if (o.source != -1) {
        close(o.source);
    }

    if (o.copy != -1 && o.copy != img->fd) {
        close(o.copy);
    }

    if (rc != GSGI_OK) {
        gsgi_parent_image_close(img);
    }

    return rc;
}


void
gsgi_parent_image_close(gsgi_image_t *img)
{
    if (img->fd != -1) {
        close(img->fd);
        img->fd = -1;
    }
}


static int
gsgi_image_fail(gsgi_image_open_t *o, const char *fmt, ...)
{
    int      n;
    va_list  args;

    n = snprintf(o->err, o->errlen, "\"%.1024s\" ", o->img->path);

    if (n > 0 && (size_t) n < o->errlen) {
        va_start(args, fmt);
        vsnprintf(o->err + n, o->errlen - n, fmt, args);
        va_end(args);
    }

    return GSGI_ERROR;
}


/* Keeps clear of 0, 1 and 2, which the probe's child sets anew. */

static int
gsgi_image_above_stdio(int fd)
{
    int  up;

    if (fd == -1 || fd > 2) {
        return fd;
    }

    up = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    close(fd);

    return up;
}


static int
gsgi_image_source(gsgi_image_open_t *o, struct stat *st)
{
    u_char  magic[4];

    o->source = open(o->img->path, O_RDONLY|O_CLOEXEC|O_NONBLOCK|O_NOCTTY);

    if (o->source == -1 || fstat(o->source, st) == -1) {
        return gsgi_image_fail(o, "cannot be opened: %s", strerror(errno));
    }

    if (!S_ISREG(st->st_mode)) {
        return gsgi_image_fail(o, "is not a regular file");
    }

    if (st->st_size > GSGI_IMAGE_MAX) {
        return gsgi_image_fail(o, "is larger than 2 GiB");
    }

    /* spares the copy of what is something else altogether */

    if (pread(o->source, magic, sizeof(magic), 0) != sizeof(magic)
        || memcmp(magic, "\177ELF", sizeof(magic)) != 0)
    {
        return gsgi_image_fail(o, "is not a shared library (no ELF header): "
                               gsgi_elf_build);
    }

    o->img->dev = st->st_dev;
    o->img->ino = st->st_ino;
    o->img->size = st->st_size;
    o->img->mtime = st->st_mtim;

    return GSGI_OK;
}


static int
gsgi_image_target(gsgi_image_open_t *o, const char *tmpdir)
{
    char         name[128];
    const char  *base;

    base = strrchr(o->img->path, '/');
    base = base ? base + 1 : o->img->path;
    snprintf(name, sizeof(name), "gsgi:%.100s", base);

    o->copy = memfd_create(name, MFD_CLOEXEC|MFD_ALLOW_SEALING|MFD_EXEC);

    if (o->copy == -1 && errno == EINVAL) {
        o->copy = memfd_create(name, MFD_CLOEXEC|MFD_ALLOW_SEALING);
    }

    if (o->copy != -1) {
        o->sealed = 1;
        o->copy = gsgi_image_above_stdio(o->copy);
        o->img->fd = o->copy;
        return GSGI_OK;
    }

    if (tmpdir == NULL) {
        return gsgi_image_fail(o, "cannot be copied into a memfd: %s",
                               strerror(errno));
    }

    return gsgi_image_file(o, tmpdir);
}


/*
 * The file has no name any more when it is filled.  Its mode lets the worker,
 * who is another user, open it through /proc.
 */

static int
gsgi_image_file(gsgi_image_open_t *o, const char *tmpdir)
{
    char            name[PATH_MAX];
    struct statvfs  fs;

    if (snprintf(name, sizeof(name), "%s/gsgi.XXXXXX", tmpdir)
        >= (int) sizeof(name))
    {
        return gsgi_image_fail(o, "cannot be copied: the name of the "
                               "temporary directory is too long");
    }

    o->copy = mkostemp(name, O_CLOEXEC);

    if (o->copy == -1) {
        return gsgi_image_fail(o, "cannot be copied to \"%s\": %s", tmpdir,
                               strerror(errno));
    }

    o->img->fd = gsgi_image_above_stdio(open(name, O_RDONLY|O_CLOEXEC));
    unlink(name);

    if (o->img->fd == -1 || fchmod(o->copy, 0555) == -1
        || fstatvfs(o->copy, &fs) == -1)
    {
        return gsgi_image_fail(o, "cannot be copied to \"%s\": %s", tmpdir,
                               strerror(errno));
    }

    if (fs.f_flag & ST_NOEXEC) {
        return gsgi_image_fail(o, "cannot be copied to \"%s\": that file "
                               "system is mounted with noexec", tmpdir);
    }

    return GSGI_OK;
}


static int
gsgi_image_write(int fd, const char *data, size_t len)
{
    ssize_t  n;

    while (len > 0) {
        n = write(fd, data, len);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n <= 0) {
            return GSGI_ERROR;
        }

        data += n;
        len -= n;
    }

    return GSGI_OK;
}


/* Not every file system can be the source of sendfile, nor is it always
 * allowed. */

static ssize_t
gsgi_image_piece(gsgi_image_open_t *o)
{
    char     buf[65536];
    ssize_t  n;

    n = sendfile(o->copy, o->source, NULL, GSGI_IMAGE_PIECE);

    if (n != -1 || errno == EINTR) {
        return n;
    }

    n = read(o->source, buf, sizeof(buf));

    if (n > 0 && gsgi_image_write(o->copy, buf, n) != GSGI_OK) {
        return -1;
    }

    return n;
}


static int
gsgi_image_copy(gsgi_image_open_t *o, const struct stat *st)
{
    off_t        total;
    ssize_t      n;
    struct stat  now;

    for (total = 0; total <= st->st_size; total += n) {
        n = gsgi_image_piece(o);

        if (n == -1 && errno == EINTR) {
            n = 0;
            continue;
        }

        if (n == -1) {
            return gsgi_image_fail(o, "cannot be copied: %s",
                                   strerror(errno));
        }

        if (n == 0) {
            break;
        }
    }

    if (total != st->st_size || fstat(o->source, &now) == -1
        || now.st_size != st->st_size
        || now.st_mtim.tv_sec != st->st_mtim.tv_sec
        || now.st_mtim.tv_nsec != st->st_mtim.tv_nsec)
    {
        return gsgi_image_fail(o, "changed while it was read: put a new "
                               "version in place with mv, not with cp");
    }

    return GSGI_OK;
}


static int
gsgi_image_check(gsgi_image_open_t *o)
{
    int     rc;
    char    text[GSGI_ERR_MAX];
    void   *data;
    off_t   off;

    static const uint64_t  none;

    data = mmap(NULL, o->img->size, PROT_READ, MAP_PRIVATE, o->img->fd, 0);

    if (data == MAP_FAILED) {
        return gsgi_image_fail(o, "cannot be mapped: %s", strerror(errno));
    }

    off = 0;
    rc = gsgi_elf_check(o->img, data, o->img->size, text, sizeof(text));

    if (rc == GSGI_OK && o->img->init_count > 0) {
        off = gsgi_elf_init_size(data, o->img->size);
    }

    munmap(data, o->img->size);

    if (rc != GSGI_OK) {
        gsgi_image_fail(o, "%s", text);
        return rc;
    }

    /* the loader calls the constructors, with arguments of their own */

    if (off != 0
        && pwrite(o->copy, &none, sizeof(none), off) != sizeof(none))
    {
        return gsgi_image_fail(o, "cannot be changed: %s", strerror(errno));
    }

    return GSGI_OK;
}


static int
gsgi_image_finish(gsgi_image_open_t *o)
{
    if (o->sealed && fcntl(o->copy, F_ADD_SEALS, GSGI_IMAGE_SEALS) == -1) {
        return gsgi_image_fail(o, "cannot be sealed: %s", strerror(errno));
    }

    return GSGI_OK;
}
