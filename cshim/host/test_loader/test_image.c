/*
 * Copyright (C) The GSGI Authors
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../gsgi_elf.h"
#include "test.h"

static char          test_err[GSGI_ERR_MAX];
static gsgi_image_t  test_img;


static int
test_image_open(const char *path, const char *tmpdir)
{
    test_err[0] = '\0';

    return gsgi_parent_image_open(&test_img, path, tmpdir, test_err,
                                  sizeof(test_err));
}


static void
test_image_sealed(void)
{
    int           seals;
    char          c;
    struct stat   st;
    const char   *path;

    path = test_path("app.so");
    check_int(test_image_open(path, NULL), GSGI_OK);
    check(test_img.fd > 2);
    check(strcmp(test_img.path, path) == 0);

    check_int(stat(path, &st), 0);
    check_int(test_img.dev, st.st_dev);
    check_int(test_img.ino, st.st_ino);
    check_int(test_img.size, st.st_size);
    check_int(test_img.mtime.tv_nsec, st.st_mtim.tv_nsec);

    check_int(fcntl(test_img.fd, F_GETFD), FD_CLOEXEC);
    seals = F_SEAL_SEAL|F_SEAL_SHRINK|F_SEAL_GROW|F_SEAL_WRITE;
    check_int(fcntl(test_img.fd, F_GET_SEALS) & seals, seals);

    check_int(pwrite(test_img.fd, "x", 1, 0), -1);
    check_int(ftruncate(test_img.fd, 0), -1);
    check(mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, test_img.fd, 0)
          == MAP_FAILED);
    check_int(pread(test_img.fd, &c, 1, 1), 1);
    check_int(c, 'E');

    gsgi_parent_image_close(&test_img);
    check_int(test_img.fd, -1);
    gsgi_parent_image_close(&test_img);
}


/* The copy differs from the file in the eight bytes of DT_INIT_ARRAYSZ. */

static void
test_image_constructors(void)
{
    char        *file, *copy;
    size_t       len, i, differ;
    uint64_t     off;
    gsgi_image_t again;

    check_int(test_image_open(test_path("constructors.so"), NULL), GSGI_OK);
    check_int(test_img.init_count, 2);

    file = test_read(test_path("constructors.so"), &len);
    off = gsgi_elf_init_size(file, len);
    copy = malloc(len);
    check_int(pread(test_img.fd, copy, len, 0), len);

    for (i = 0, differ = 0; i < len; i++) {
        if (file[i] != copy[i]) {
            differ++;
            check(i >= off && i < off + 8);
        }
    }

    check_int(differ, 1);
    check_int(gsgi_elf_check(&again, copy, len, test_err, sizeof(test_err)),
              GSGI_OK);
    check_int(again.init_count, 0);

    free(file);
    free(copy);
    gsgi_parent_image_close(&test_img);
}


static void
test_image_refused(void)
{
    char    *data, path[8192];
    size_t   len;

    check_int(test_image_open(test_path("absent.so"), NULL), GSGI_ERROR);
    check_has(test_err, "absent.so\" cannot be opened: No such file");

    check_int(test_image_open(test_path("."), NULL), GSGI_ERROR);
    check_has(test_err, "is not a regular file");

    unlink(test_path("fifo.so"));
    check_int(mkfifo(test_path("fifo.so"), 0600), 0);
    check_int(test_image_open(test_path("fifo.so"), NULL), GSGI_ERROR);
    check_has(test_err, "is not a regular file");
    unlink(test_path("fifo.so"));

    test_write(test_path("wrong.so"), "", 0);
    check_int(test_image_open(test_path("wrong.so"), NULL), GSGI_ERROR);
    check_has(test_err, "no ELF header");

    test_write(test_path("wrong.so"), "package main\n", 13);
    check_int(test_image_open(test_path("wrong.so"), NULL), GSGI_ERROR);
    check_has(test_err, "wrong.so\" is not a shared library");

    data = test_read(test_path("app.so"), &len);
    test_write(test_path("wrong.so"), data, len - 4096);
    check_int(test_image_open(test_path("wrong.so"), NULL), GSGI_ERROR);
    check_has(test_err, "wrong.so\" is truncated");

    check_int(truncate(test_path("wrong.so"), INT64_C(3) << 30), 0);
    check_int(test_image_open(test_path("wrong.so"), NULL), GSGI_ERROR);
    check_has(test_err, "is larger than 2 GiB");
    unlink(test_path("wrong.so"));
    free(data);

    check_int(test_image_open(test_path("major.so"), NULL), GSGI_MISMATCH);
    check_has(test_err, "major.so\" was built for GSGI ABI 2.1");

    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    check_int(test_image_open(path, NULL), GSGI_ERROR);
    check_has(test_err, "has a path that is too long");

    check_int(test_img.fd, -1);
}


/* What is read is not what the file becomes afterwards. */

static void
test_image_independent(void)
{
    char    *data, c;
    size_t   len;

    data = test_read(test_path("plain.so"), &len);
    test_write(test_path("moving.so"), data, len);
    check_int(test_image_open(test_path("moving.so"), NULL), GSGI_OK);

    test_write(test_path("moving.so"), "gone", 4);
    check_int(pread(test_img.fd, &c, 1, len - 1), 1);
    check_int(lseek(test_img.fd, 0, SEEK_END), len);

    unlink(test_path("moving.so"));
    gsgi_parent_image_close(&test_img);
    free(data);
}


/* The system call fails with error in this process from now on. */

static void
test_image_refuse(unsigned call, unsigned error)
{
    struct sock_filter  filter[] = {
        BPF_STMT(BPF_LD|BPF_W|BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP|BPF_JEQ|BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET|BPF_K, SECCOMP_RET_ERRNO|error),
        BPF_STMT(BPF_RET|BPF_K, SECCOMP_RET_ALLOW)
    };
    struct sock_fprog  prog = { 4, filter };

    check_int(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    check_int(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog), 0);
}


static void
test_image_unlinked_child(void)
{
    char         dir[64];
    struct stat  st;

    test_image_refuse(SYS_memfd_create, EPERM);

    check_int(test_image_open(test_path("app.so"), NULL), GSGI_ERROR);
    check_has(test_err, "cannot be copied into a memfd");

    check_int(test_image_open(test_path("app.so"), "/nonexistent"),
              GSGI_ERROR);
    check_has(test_err, "cannot be copied to \"/nonexistent\"");

    snprintf(dir, sizeof(dir), "/tmp/gsgi-image-XXXXXX");
    check(mkdtemp(dir) != NULL);

    check_int(test_image_open(test_path("app.so"), dir), GSGI_OK);
    check_int(rmdir(dir), 0);           /* nothing is left in it */

    check_int(fstat(test_img.fd, &st), 0);
    check_int(st.st_nlink, 0);
    check_int(st.st_mode & 0777, 0555);
    check_int(st.st_size, test_img.size);
    check_int(fcntl(test_img.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    check_int(fcntl(test_img.fd, F_GETFD), FD_CLOEXEC);
    check_int(pwrite(test_img.fd, "x", 1, 0), -1);

    gsgi_parent_image_close(&test_img);
}


static void
test_image_unlinked(void)
{
    check_int(test_fork(test_image_unlinked_child), 0);
}


static void
test_image_by_hand_child(void)
{
    test_image_refuse(SYS_sendfile, EINVAL);
    test_image_constructors();
}


static void
test_image_by_hand(void)
{
    check_int(test_fork(test_image_by_hand_child), 0);
}


static void
test_image_low_child(void)
{
    close(0);
    close(2);
    check_int(test_image_open(test_path("plain.so"), NULL), GSGI_OK);
    check(test_img.fd > 2);
    check_int(fcntl(0, F_GETFD), -1);
    check_int(fcntl(2, F_GETFD), -1);
}


static void
test_image_low(void)
{
    check_int(test_fork(test_image_low_child), 0);
}


static void
test_image_leaks(void)
{
    int       i;
    unsigned  before;

    before = test_descriptors();

    for (i = 0; i < 20; i++) {
        test_image_open(test_path("plain.so"), NULL);
        gsgi_parent_image_close(&test_img);
        test_image_open(test_path("no-abi.so"), NULL);
        test_image_open(test_path("absent.so"), NULL);
    }

    check_int(test_descriptors(), before);
}


const test_t  test_image[] = {
    { "image: a sealed copy", test_image_sealed },
    { "image: constructors are hidden, nothing else is changed",
      test_image_constructors },
    { "image: what is not a library is refused by name",
      test_image_refused },
    { "image: the file may change afterwards", test_image_independent },
    { "image: an unlinked file where a memfd is refused",
      test_image_unlinked },
    { "image: copied where sendfile cannot", test_image_by_hand },
    { "image: descriptors 0 to 2 are left alone", test_image_low },
    { "image: no descriptor is lost", test_image_leaks },
    { NULL, NULL }
};
