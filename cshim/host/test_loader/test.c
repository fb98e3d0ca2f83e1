/*
 * Copyright (C) The GSGI Authors
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test.h"
void gsgi_wake_library(gsgi_region_t *r);

const char  *test_dir;
int          test_failures;

static const test_t *const  test_groups[] = {
    test_elf, test_image, test_board, test_status, test_probe, test_load,
    test_signal, test_runtime
};


int
main(int argc, char **argv)
{
    int            passed, failed;
    size_t         i;
    uint64_t       start;
    const test_t  *t;

    if (argc < 2) {
        fprintf(stderr, "usage: test_loader DIR [PART-OF-NAME]\n");
        return 2;
    }

    setvbuf(stdout, NULL, _IOLBF, 0);
    test_dir = realpath(argv[1], NULL);

    if (test_dir == NULL) {
        perror(argv[1]);
        return 2;
    }

    passed = failed = 0;

    for (i = 0; i < sizeof(test_groups) / sizeof(test_groups[0]); i++) {
        for (t = test_groups[i]; t->name != NULL; t++) {

            if (argc > 2 && strstr(t->name, argv[2]) == NULL) {
                continue;
            }

            test_failures = 0;
            start = test_now();
            t->run();

            if (test_failures == 0) {
                passed++;
                printf("ok %s\n", t->name);

            } else {
                failed++;
                printf("FAILED %s (%d ms)\n", t->name,
                       (int) (test_now() - start));
            }
        }
    }

    printf("%d passed, %d failed\n", passed, failed);

    return failed != 0;
}


void
test_check(int ok, const char *text, const char *file, int line)
{
    if (!ok) {
        test_failures++;
        printf("%s:%d: not so: %s\n", file, line, text);
    }
}


void
test_check_int(int64_t a, int64_t b, const char *text, const char *file,
    int line)
{
    if (a != b) {
        test_failures++;
        printf("%s:%d: %s is %lld, not %lld\n", file, line, text,
               (long long) a, (long long) b);
    }
}


void
test_check_has(const char *text, const char *part, const char *file, int line)
{
    if (strstr(text, part) == NULL) {
        test_failures++;
        printf("%s:%d: no \"%s\" in \"%s\"\n", file, line, part, text);
    }
}


const char *
test_path(const char *name)
{
    static char      paths[8][4096];
    static unsigned  n;

    n = (n + 1) % 8;
    snprintf(paths[n], sizeof(paths[n]), "%s/%s", test_dir, name);

    return paths[n];
}


char *
test_read(const char *path, size_t *len)
{
    char   *data;
    FILE   *f;
    long    size;

    f = fopen(path, "r");

    if (f == NULL) {
        *len = 0;
        return calloc(1, 1);
    }

    fseek(f, 0, SEEK_END);
    size = ftell(f);
    rewind(f);

    data = calloc(1, size + 1);
    *len = fread(data, 1, size, f);
    fclose(f);

    return data;
}


void
test_write(const char *path, const void *data, size_t len)
{
    FILE  *f;

    f = fopen(path, "w");
    check(f != NULL && fwrite(data, 1, len, f) == len);
    check(f != NULL && fclose(f) == 0);
}


const char *
test_fact(const char *report, const char *name)
{
    size_t       len;
    const char  *p, *end;

    static char  value[8][4096];
    static int   n;

    n = (n + 1) % 8;
    value[n][0] = '\0';
    len = strlen(name);

    for (p = report; p != NULL && *p != '\0'; p = end ? end + 1 : NULL) {
        end = strchr(p, '\n');

        if (strncmp(p, name, len) == 0 && p[len] == ' ') {
            p += len + 1;
            snprintf(value[n], sizeof(value[n]), "%.*s",
                     end ? (int) (end - p) : (int) strlen(p), p);
            break;
        }
    }

    return value[n];
}


int
test_fork(void (*fn)(void))
{
    int    status;
    pid_t  pid;

    fflush(stdout);
    pid = fork();

    if (pid == 0) {
        test_failures = 0;
        fn();
        fflush(stdout);
        _exit(test_failures ? 99 : 0);
    }

    while (waitpid(pid, &status, 0) == -1 && errno == EINTR) {
        /* void */
    }

    if (WIFEXITED(status) && WEXITSTATUS(status) == 99) {
        test_failures++;
    }

    return status;
}


void
test_reap(pid_t pid)
{
    while (waitpid(pid, NULL, 0) == -1 && errno == EINTR) {
        /* void */
    }
}


uint64_t
test_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


void
test_sleep(unsigned ms)
{
    struct timespec  ts;

    ts.tv_sec = ms / 1000;
    ts.tv_nsec = ms % 1000 * 1000000L;

    while (nanosleep(&ts, &ts) == -1 && errno == EINTR) {
        /* void */
    }
}


unsigned
test_descriptors(void)
{
    DIR       *dir;
    unsigned   n;

    dir = opendir("/proc/self/fd");

    for (n = 0; readdir(dir) != NULL; n++) {
        /* void */
    }

    closedir(dir);

    return n;
}


/* Stands in for the bridge, which these files need the region of only. */

void
gsgi_wake_library(gsgi_region_t *r)
{
    (void) r;
}


gsgi_region_t *
gsgi_region(gsgi_bridge_t *b)
{
    return b->region;
}


gsgi_bridge_t *
test_bridge(void)
{
    int       efd;
    uint64_t  n;

    static gsgi_bridge_t  bridge;

    if (bridge.region == NULL) {
        bridge.region = mmap(NULL, sizeof(gsgi_region_t),
                             PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS,
                             -1, 0);
        bridge.region->host_efd = eventfd(0, EFD_NONBLOCK|EFD_CLOEXEC);

    } else {
        efd = bridge.region->host_efd;

        if (read(efd, &n, sizeof(n)) == -1) {
            check_int(errno, EAGAIN);
        }

        memset(bridge.region, 0, sizeof(gsgi_region_t));
        bridge.region->host_efd = efd;
    }

    bridge.region->magic = GSGI_MAGIC;
    bridge.region->size = sizeof(gsgi_region_t);

    return &bridge;
}


int
test_wait_state(gsgi_bridge_t *b, uint32_t state, unsigned ms)
{
    uint64_t  end;

    for (end = test_now() + ms; test_now() < end; test_sleep(2)) {
        if (__atomic_load_n(&b->region->app_state, __ATOMIC_SEQ_CST) == state)
        {
            return 1;
        }
    }

    return 0;
}


gsgi_launch_t *
test_launch(const char *library, const char *mode, char *const *extra)
{
    int     i;
    char    err[GSGI_ERR_MAX];

    static int            opened;
    static char           text[4][4200], *argv[3], *envp[16];
    static gsgi_image_t   img;
    static gsgi_launch_t  launch;

    if (opened) {
        gsgi_parent_image_close(&img);
    }

    opened = gsgi_parent_image_open(&img, test_path(library), NULL, err,
                                    sizeof(err)) == GSGI_OK;
    check(opened);

    snprintf(text[0], sizeof(text[0]), "%s", img.path);
    snprintf(text[1], sizeof(text[1]), "APP_MODE=%s", mode);
    snprintf(text[2], sizeof(text[2]), "APP_REPORT=%s/report", test_dir);

    argv[0] = text[0];
    argv[1] = (char *) "one";

    envp[0] = (char *) "PATH=/usr/bin:/bin";
    envp[1] = text[1];
    envp[2] = text[2];

    for (i = 3; extra != NULL && *extra != NULL; i++) {
        envp[i] = *extra++;
    }

    envp[i] = NULL;

    memset(&launch, 0, sizeof(launch));
    launch.image = &img;
    launch.argv = argv;
    launch.envp = envp;

    unlink(test_path("report"));

    return &launch;
}


char *
test_report(void)
{
    size_t  len;

    return test_read(test_path("report"), &len);
}
