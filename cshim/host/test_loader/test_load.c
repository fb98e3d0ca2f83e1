/*
 * Copyright (C) The GSGI Authors
 *
 * Each test loads in a child: a library is loaded once in a process.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

#define TEST_READY  20000

static gsgi_app_t     *test_app;
static gsgi_bridge_t  *test_b;
static gsgi_launch_t  *test_how;


/* Starts what test_how says, in this process. */

static void
test_load_start(uint32_t delay)
{
    char  err[GSGI_ERR_MAX];

    test_b = test_bridge();
    check_int(gsgi_child_app_start(&test_app, test_b, test_how, delay, err,
                                   sizeof(err)), GSGI_OK);
}


static void
test_load_ready(uint32_t delay)
{
    test_load_start(delay);

    if (!test_wait_state(test_b, GSGI_APP_READY, TEST_READY)) {
        check_has(gsgi_app_error(test_app), "(ready)");
    }
}


static void
test_load_plain_child(void)
{
    test_load_ready(0);
    check_int(test_b->region->stats.handles, 1 | 2 | 4);
}


static void
test_load_constructors(void)
{
    char *const  envp[] = { (char *) "A=1", (char *) "B=2", NULL };

    test_how = test_launch("constructors.so", "", NULL);
    test_how->envp = envp;
    check_int(test_fork(test_load_plain_child), 0);
}


static void
test_load_no_constructors_child(void)
{
    test_load_ready(0);
    check_int(test_b->region->stats.handles, 0);
}


static void
test_load_no_constructors(void)
{
    test_how = test_launch("plain.so", "", NULL);
    check_int(test_how->image->init_count, 0);
    check_int(test_fork(test_load_no_constructors_child), 0);
}


/* A server leaves descriptors open, and signals blocked, as httpd does. */

static void
test_load_go_child(void)
{
    int       fd;
    sigset_t  all, mask;

    setenv("SECRET", "of the server", 1);
    fd = open("/dev/zero", O_RDONLY);
    check(fd != -1);
    gsgi_child_cloexec();
    check_int(fcntl(fd, F_GETFD), FD_CLOEXEC);

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);

    test_load_ready(0);

    sigprocmask(SIG_SETMASK, NULL, &mask);
    check_int(sigismember(&mask, SIGTERM), 1);
}


static void
test_load_go(void)
{
    char         *report, wd[4096];
    const char   *envp;

    char *const  extra[] = {
        (char *) "APP_EARLY=set", (char *) "GOGC=333",
        (char *) "GOMEMLIMIT=123MiB", (char *) "GODEBUG=panicnil=1", NULL
    };

    test_how = test_launch("app.so", "", extra);
    check_int(test_fork(test_load_go_child), 0);

    report = test_report();
    check_has(test_fact(report, "args"), "/app.so\" \"one\"]");

    envp = test_fact(report, "environ");
    check_has(envp, "[\"PATH=/usr/bin:/bin\" \"APP_MODE=\" \"APP_REPORT=");
    check(strstr(envp, "SECRET") == NULL);
    check(strstr(envp, "HOME") == NULL);

    check(strcmp(test_fact(report, "early"), "set") == 0);
    check(strcmp(test_fact(report, "gogc"), "333") == 0);
    check(strcmp(test_fact(report, "memlimit"), "128974848") == 0);
    check(strcmp(test_fact(report, "panicnil"), "true") == 0);
    check_int(atoi(test_fact(report, "pagesize")), sysconf(_SC_PAGESIZE));

    check(realpath(test_dir, wd) != NULL);
    check(strcmp(test_fact(report, "wd"), wd) == 0);

    /* a program that the application starts */

    check_has(test_fact(report, "child"), "SigBlk: 0000000000000000");
    check_has(test_fact(report, "child"), " 0 1 2");
    check(strstr(test_fact(report, "child"), " 0 1 2 3") == NULL);
    free(report);
}


static void
test_load_failing_child(void)
{
    test_load_start(0);
    __atomic_store_n(&test_b->region->host_sleeping, 1, __ATOMIC_SEQ_CST);
    check(test_wait_state(test_b, GSGI_APP_FAILED, TEST_READY));
    check_int(gsgi_app_wait(test_app, 0), GSGI_OK);

    gsgi_app_drain(test_app);
    gsgi_app_stop(test_app, 100);
    gsgi_app_stop(test_app, 100);
}


static void
test_load_directory_child(void)
{
    test_load_failing_child();
    check_has(gsgi_app_error(test_app), "plain.so\" cannot run in its "
              "directory \"/nonexistent\": No such file");
}


static void
test_load_directory(void)
{
    test_how = test_launch("plain.so", "", NULL);
    test_how->directory = "/nonexistent";
    check_int(test_fork(test_load_directory_child), 0);
}


static void
test_load_refusing_child(void)
{
    test_load_failing_child();
    check_has(gsgi_app_error(test_app), "app.so\" did not start: nothing to "
              "serve");
}


static void
test_load_refusing(void)
{
    test_how = test_launch("app.so", "start-error", NULL);
    check_int(test_fork(test_load_refusing_child), 0);
}


/* The host sleeps, and is woken by the failure. */

static void
test_load_wake_child(void)
{
    uint64_t  n;

    test_b = test_bridge();
    check_int(read(test_b->region->host_efd, &n, sizeof(n)), -1);
    __atomic_store_n(&test_b->region->host_sleeping, 1, __ATOMIC_SEQ_CST);

    check_int(gsgi_child_app_start(&test_app, test_b, test_how, 0,
                                   (char[1]) { 0 }, 1), GSGI_OK);
    check(test_wait_state(test_b, GSGI_APP_FAILED, TEST_READY));
    test_sleep(20);
    check_int(read(test_b->region->host_efd, &n, sizeof(n)), sizeof(n));
    check_int(test_b->region->host_sleeping, 0);
}


static void
test_load_wake(void)
{
    test_how = test_launch("plain.so", "", NULL);
    test_how->directory = "/nonexistent";
    check_int(test_fork(test_load_wake_child), 0);
}


static char  test_root[] = "/tmp/gsgi-root-XXXXXX";

static void
test_load_chroot_child(void)
{
    check_int(chroot(test_root), 0);
    check_int(chdir("/"), 0);

    test_load_failing_child();
    check_has(gsgi_app_error(test_app), "is in neither /proc/self/fd nor "
              "/dev/fd (a chroot needs /proc mounted in it)");
}


static void
test_load_chroot(void)
{
    test_how = test_launch("plain.so", "", NULL);
    test_how->directory = "/";

    if (geteuid() == 0) {
        check(mkdtemp(test_root) != NULL);
        check_int(test_fork(test_load_chroot_child), 0);
        check_int(rmdir(test_root), 0);
    }
}


/* After setuid the process owns nothing of its own in /proc. */

static void
test_load_user_child(void)
{
    if (geteuid() == 0) {
        check_int(setgid(65534), 0);
        check_int(setuid(65534), 0);
    }

    test_load_ready(0);
}


static void
test_load_user(void)
{
    test_how = test_launch("app.so", "", NULL);
    test_how->directory = "/";
    check_int(test_fork(test_load_user_child), 0);
}


/* The system's own loader says what the matter is; the path is the file's. */

static void
test_load_missing_child(void)
{
    test_load_failing_child();
    check_has(gsgi_app_error(test_app), "musl.so\" cannot be loaded: libc.");
    check(strstr(gsgi_app_error(test_app), "/proc/") == NULL);
}


static void
test_load_missing(void)
{
    gsgi_image_t  img;

    test_how = test_launch("plain.so", "", NULL);
    img = *test_how->image;
    test_how->image = &img;
    snprintf(img.path, sizeof(img.path), "%s", test_path("musl.so"));
    img.fd = open(img.path, O_RDONLY|O_CLOEXEC);
    check_int(test_fork(test_load_missing_child), 0);
    close(img.fd);
}


static void
test_load_twice_child(void)
{
    gsgi_app_t  *second;

    test_load_ready(0);
    test_sleep(100);

    __atomic_store_n(&test_b->region->app_state, GSGI_APP_STARTING,
                     __ATOMIC_SEQ_CST);
    check_int(gsgi_child_app_start(&second, test_b, test_how, 0,
                                   (char[1]) { 0 }, 1), GSGI_OK);
    check(test_wait_state(test_b, GSGI_APP_FAILED, TEST_READY));
    check_has(gsgi_app_error(second), "this process has its "
              "application library already");
}


static void
test_load_twice(void)
{
    test_how = test_launch("app.so", "", NULL);
    check_int(test_fork(test_load_twice_child), 0);
}


static void
test_load_drain_child(void)
{
    test_load_ready(0);
    check_int(gsgi_app_wait(test_app, 20), GSGI_AGAIN);

    gsgi_app_drain(test_app);
    check_int(gsgi_app_wait(test_app, 5000), GSGI_OK);
    check_int(test_b->region->app_state, GSGI_APP_STOPPED);

    test_sleep(50);
    check_int(test_b->region->stats.requests, 1);
    gsgi_app_drain(test_app);
    test_sleep(50);
    check_int(test_b->region->stats.requests, 2);

    gsgi_app_stop(test_app, 777);
    gsgi_app_stop(test_app, 777);
    test_sleep(50);
    check_int(test_b->region->stats.released, 1);
    check_int(test_b->region->stats.panics, 777);

    gsgi_app_drain(test_app);
    gsgi_app_stop(test_app, 1);
    test_sleep(50);
    check_int(test_b->region->stats.requests, 2);
    check_int(test_b->region->stats.released, 1);
}


static void
test_load_drain(void)
{
    test_how = test_launch("app.so", "", NULL);
    check_int(test_fork(test_load_drain_child), 0);
}


/* What is wished while the library starts is done when it has. */

static void
test_load_wish_child(void)
{
    uint64_t  start, asked;

    start = test_now();
    test_load_start(0);
    test_sleep(100);

    asked = test_now();
    gsgi_app_drain(test_app);
    gsgi_app_drain(test_app);
    check(test_now() - asked < 300);

    check_int(gsgi_app_wait(test_app, 10000), GSGI_OK);
    check(test_now() - start >= 500);
    check_int(test_b->region->stats.requests, 1);
}


static void
test_load_wish_stop_child(void)
{
    test_load_start(0);
    test_sleep(100);
    gsgi_app_drain(test_app);
    gsgi_app_stop(test_app, 9);
    check_int(gsgi_app_wait(test_app, 10000), GSGI_OK);
    test_sleep(50);
    check_int(test_b->region->stats.requests, 0);
    check_int(test_b->region->stats.released, 1);
}


static void
test_load_wish(void)
{
    test_how = test_launch("app.so", "init-slow", NULL);
    check_int(test_fork(test_load_wish_child), 0);
    check_int(test_fork(test_load_wish_stop_child), 0);
}


static void
test_load_delay_child(void)
{
    uint64_t  start;

    start = test_now();
    test_load_ready(400);
    check(test_now() - start >= 400);
}


/* A worker that is to end does not wait for its turn to load. */

static void
test_load_delay_drain_child(void)
{
    uint64_t  start;

    start = test_now();
    test_load_start(60000);
    test_sleep(50);
    check_int(test_b->region->app_state, GSGI_APP_STARTING);
    gsgi_app_drain(test_app);
    check_int(gsgi_app_wait(test_app, 10000), GSGI_OK);
    check_int(test_b->region->app_state, GSGI_APP_STOPPED);
    check(test_now() - start < 5000);
}


static void
test_load_delay(void)
{
    test_how = test_launch("plain.so", "", NULL);
    check_int(test_fork(test_load_delay_child), 0);
    check_int(test_fork(test_load_delay_drain_child), 0);
}


/* A child of the worker has no threads of Go, and must not wait for them. */

static void
test_load_forked_child(void)
{
    int       status;
    pid_t     pid;
    uint64_t  start;

    test_load_ready(0);

    pid = fork();

    if (pid == 0) {
        start = test_now();
        gsgi_app_drain(test_app);
        gsgi_app_stop(test_app, 5000);
        check_int(gsgi_app_wait(test_app, 5000), GSGI_AGAIN);
        check(test_now() - start < 1000);
        _exit(test_failures ? 1 : 0);
    }

    check_int(waitpid(pid, &status, 0), pid);
    check_int(status, 0);
    check_int(test_b->region->stats.requests, 0);
    check_int(test_b->region->app_state, GSGI_APP_READY);
}


static void
test_load_forked(void)
{
    test_how = test_launch("app.so", "", NULL);
    check_int(test_fork(test_load_forked_child), 0);
}


static int
test_load_comm(const char *tid)
{
    int    same;
    char   text[512];
    FILE  *f;

    snprintf(text, sizeof(text), "/proc/self/task/%s/comm", tid);
    f = fopen(text, "r");
    same = f != NULL && fgets(text, sizeof(text), f) != NULL
           && strcmp(text, "gsgi-load\n") == 0;

    if (f != NULL) {
        fclose(f);
    }

    return same;
}


/* The name of the thread, and of the mapping that tools show. */

static void
test_load_names_child(void)
{
    int             threads, mappings;
    char            line[512];
    DIR            *dir;
    FILE           *maps;
    struct dirent  *entry;

    test_load_ready(0);

    threads = mappings = 0;
    dir = opendir("/proc/self/task");

    while ((entry = readdir(dir)) != NULL) {
        threads += test_load_comm(entry->d_name);
    }

    closedir(dir);
    check(threads >= 1);

    maps = fopen("/proc/self/maps", "r");

    while (fgets(line, sizeof(line), maps) != NULL) {
        mappings += strstr(line, "memfd:gsgi:app.so") != NULL;
    }

    fclose(maps);
    check(mappings >= 3);
}


static void
test_load_names(void)
{
    test_how = test_launch("app.so", "", NULL);
    check_int(test_fork(test_load_names_child), 0);
}


static void
test_load_none(void)
{
    gsgi_app_drain(NULL);
    gsgi_app_stop(NULL, 5);
    check_int(gsgi_app_wait(NULL, 5), GSGI_OK);
    check(gsgi_app_error(NULL)[0] == '\0');
}


const test_t  test_load[] = {
    { "load: constructors with argv, envp, auxv", test_load_constructors },
    { "load: a library without constructors", test_load_no_constructors },
    { "load: what a Go application sees", test_load_go },
    { "load: as another user", test_load_user },
    { "load: names of thread and mapping", test_load_names },
    { "load: a missing directory", test_load_directory },
    { "load: a library that refuses", test_load_refusing },
    { "load: a library that cannot be linked", test_load_missing },
    { "load: in a chroot without /proc", test_load_chroot },
    { "load: a failure wakes the host", test_load_wake },
    { "load: one application in a process", test_load_twice },
    { "load: drain and stop", test_load_drain },
    { "load: drain and stop while it starts", test_load_wish },
    { "load: after a delay", test_load_delay },
    { "load: nothing in a forked child", test_load_forked },
    { "load: without an application", test_load_none },
    { NULL, NULL }
};
