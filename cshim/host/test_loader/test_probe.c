/*
 * Copyright (C) The GSGI Authors
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

#define TEST_TIMEOUT  20000

static char          test_err[GSGI_ERR_MAX];
static gsgi_probe_t  test_found;


static int
test_probe_mode(const char *mode, uint32_t timeout)
{
    test_err[0] = '\0';

    return gsgi_parent_probe(test_launch("app.so", mode, NULL), NULL,
                             (uid_t) -1, (gid_t) -1, timeout, &test_found,
                             test_err, sizeof(test_err));
}


static void
test_probe_ok(void)
{
    check_int(test_probe_mode("", TEST_TIMEOUT), GSGI_OK);
    check_int(test_found.nentries, 2);
    check(strcmp(test_found.entries[0], "") == 0);
    check(strcmp(test_found.entries[1], "9090") == 0);

    check_int(test_probe_mode("entries", TEST_TIMEOUT), GSGI_OK);
    check_int(test_found.nentries, 64);
    check(strcmp(test_found.entries[63], "port63") == 0);

    check_int(test_probe_mode("noise", TEST_TIMEOUT), GSGI_OK);
}


/* What the application sees of its process. */

static void
test_probe_process(void)
{
    char            *report, dir[64], path[4096];
    sigset_t         set, saved;
    const char      *ignored;
    gsgi_launch_t   *launch;

    char *const  extra[] = { (char *) "APP_EARLY=set", (char *) "X=a=b",
                             NULL };

    snprintf(dir, sizeof(dir), "/tmp/gsgi-probe-XXXXXX");
    check(mkdtemp(dir) != NULL);
    check(realpath(dir, path) != NULL);

    /* what a server might have, and an application must not inherit */

    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    sigfillset(&set);
    sigprocmask(SIG_BLOCK, &set, &saved);

    launch = test_launch("app.so", "", extra);
    launch->directory = dir;
    check_int(gsgi_parent_probe(launch, NULL, -1, -1, TEST_TIMEOUT,
                                &test_found, test_err, sizeof(test_err)),
              GSGI_OK);

    sigprocmask(SIG_SETMASK, &saved, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGTERM, SIG_DFL);

    report = test_report();
    check_has(test_fact(report, "args"), "/app.so\" \"one\"]");
    check_has(test_fact(report, "environ"),
              "[\"PATH=/usr/bin:/bin\" \"APP_MODE=\" \"APP_REPORT=");
    check_has(test_fact(report, "environ"), "\"APP_EARLY=set\" \"X=a=b\"]");
    check_has(test_fact(report, "early"), "set");
    check(strcmp(test_fact(report, "wd"), path) == 0);
    check(strcmp(test_fact(report, "group"), "true") == 0);
    check_has(test_fact(report, "child"), "SigBlk: 0000000000000000");

    /* but for the C library's own two, which it sets for nobody */

    ignored = strstr(test_fact(report, "child"), "SigIgn: ");
    check(ignored != NULL);
    check_int(strtoull(ignored ? ignored + 8 : "", NULL, 16)
              & ~(UINT64_C(3) << 31), 0);

    check_has(test_fact(report, "child"), " 0 1 2");
    free(report);
    rmdir(dir);
}


/* Nothing of the server's: 0, 1, 2, the report, the image, and Go's own. */

static void
test_probe_descriptors(void)
{
    int      i, fds[40];
    char    *report, list[4096], *entry, *link;
    size_t   own;

    static const char *const  expected[] = {
        "/dev/null", "pipe:", "/memfd:gsgi:app.so (deleted)", "/sys/fs/cgroup",
        "/proc/"
    };

    for (i = 0; i < 40; i++) {
        fds[i] = open("/dev/zero", O_RDONLY);       /* not close-on-exec */
    }

    check_int(test_probe_mode("", TEST_TIMEOUT), GSGI_OK);

    for (i = 0; i < 40; i++) {
        close(fds[i]);
    }

    report = test_report();
    check(strlen(test_fact(report, "guard")) > 0);
    check(strstr(test_fact(report, "guard"), "/dev/zero") == NULL);
    snprintf(list, sizeof(list), "%s", test_fact(report, "fds"));
    free(report);
    check_has(list, "0=/dev/null 1=pipe:");
    check_has(list, expected[2]);

    for (entry = strtok(list, " "); entry != NULL; entry = strtok(NULL, " ")) {
        link = strchr(entry, '=');

        for (own = 0; link != NULL && own < 5; own++) {
            if (strncmp(link + 1, expected[own], strlen(link + 1)) == 0
                || strncmp(link + 1, expected[own], strlen(expected[own]))
                   == 0)
            {
                break;
            }
        }

        check(own < 5);
    }
}


/* As the user of the worker, who owns nothing here. */

static void
test_probe_user(void)
{
    char            *report, dir[64], variable[128];
    size_t           len;
    gsgi_launch_t   *launch;

    char *const  envp[] = { variable, NULL };

    if (geteuid() != 0) {
        check_int(gsgi_parent_probe(test_launch("app.so", "", NULL), "nobody",
                                    65534, 65534, TEST_TIMEOUT, &test_found,
                                    test_err, sizeof(test_err)), GSGI_OK);
        return;
    }

    snprintf(dir, sizeof(dir), "/tmp/gsgi-probe-XXXXXX");
    check(mkdtemp(dir) != NULL);
    check_int(chown(dir, 65534, 65534), 0);
    snprintf(variable, sizeof(variable), "APP_REPORT=%s/report", dir);

    launch = test_launch("app.so", "", NULL);
    launch->directory = "/";
    launch->envp = envp;
    check_int(gsgi_parent_probe(launch, "nobody", 65534, 65534, TEST_TIMEOUT,
                                &test_found, test_err, sizeof(test_err)),
              GSGI_OK);

    report = test_read(variable + 11, &len);
    check(strcmp(test_fact(report, "ids"), "65534 65534 [65534]") == 0);
    free(report);

    unlink(variable + 11);
    rmdir(dir);

    /* a directory that only root may enter is named */

    snprintf(dir, sizeof(dir), "/tmp/gsgi-probe-XXXXXX");
    check(mkdtemp(dir) != NULL);
    launch->directory = dir;
    check_int(gsgi_parent_probe(launch, "nobody", 65534, 65534, TEST_TIMEOUT,
                                &test_found, test_err, sizeof(test_err)),
              GSGI_ERROR);
    check_has(test_err, "app.so\" cannot run in its directory \"/tmp/gsgi-");
    check_has(test_err, "Permission denied");
    rmdir(dir);
}


static void
test_probe_init(void)
{
    check_int(test_probe_mode("init-panic", TEST_TIMEOUT), GSGI_ERROR);
    check_has(test_err, "app.so\" ended by signal 6 (Aborted) before it "
              "served: panic: no configuration\n\tand no second line\n"
              "goroutine 1");
    check_has(test_err, "main.misbehave");

    check_int(test_probe_mode("init-exit", TEST_TIMEOUT), GSGI_ERROR);
    check_has(test_err, "ended with exit code 3 before it served: "
              "cannot go on");
}


static void
test_probe_main(void)
{
    check_int(test_probe_mode("exit", TEST_TIMEOUT), GSGI_ERROR);
    check_has(test_err, "ended with exit code 2 before it served: "
              "flag provided but not defined: -x");

    check_int(test_probe_mode("return", TEST_TIMEOUT), GSGI_ERROR);
    check_has(test_err, "ended with exit code 0 before it served");

    check_int(test_probe_mode("panic", TEST_TIMEOUT), GSGI_ERROR);
    check_has(test_err, "panic: out of order");

    check_int(test_probe_mode("crowd", TEST_TIMEOUT), GSGI_ERROR);
    check_has(test_err, "panic: too many");

    check_int(test_probe_mode("fault", TEST_TIMEOUT), GSGI_ERROR);
    check_has(test_err, "before it served: SIGSEGV: segmentation violation");

    check_int(test_probe_mode("noise-exit", TEST_TIMEOUT), GSGI_ERROR);
    check_has(test_err, "exit code 4 before it served: line 19976\n");
    check_has(test_err, "\nline 19999");
}


static void
test_probe_report(void)
{
    check_int(test_probe_mode("error", TEST_TIMEOUT), GSGI_ERROR);
    check_has(test_err, "app.so\": nothing is served");

    check_int(test_probe_mode("start-error", TEST_TIMEOUT), GSGI_ERROR);
    check_has(test_err, "app.so\" cannot be probed: nothing to serve");

    check_int(test_probe_mode("too-many", TEST_TIMEOUT), GSGI_ERROR);
    check_has(test_err, "more than 64 entries");

    check_int(test_probe_mode("long-name", TEST_TIMEOUT), GSGI_ERROR);
    check_has(test_err, "longer than 63 bytes");
}


/* A zombie does not count. */

static int
test_probe_alive(pid_t pid)
{
    int      fd, runs;
    char     path[64], text[1024], *p;
    ssize_t  n;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
    fd = open(path, O_RDONLY|O_CLOEXEC);
    n = fd == -1 ? 0 : read(fd, text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = '\0';
    p = strrchr(text, ')');
    runs = p != NULL && p[2] != 'Z' && p[2] != 'X';

    if (fd != -1) {
        close(fd);
    }

    return runs;
}


static void
test_probe_late(void)
{
    char      *report;
    pid_t      pid;
    uint64_t   start;

    start = test_now();
    check_int(test_probe_mode("hang", 3000), GSGI_ERROR);
    check(test_now() - start >= 3000 && test_now() - start < 6000);
    check_has(test_err, "did not reach ListenAndServe within 3000 ms: "
              "waiting for a database");

    report = test_report();
    pid = atoi(test_fact(report, "pid"));
    check(pid > 1);

    /* nor is its group, once init has reaped */

    for (start = test_now(); test_now() - start < 5000; test_sleep(10)) {
        if (kill(-pid, 0) == -1) {
            break;
        }
    }

    check_int(kill(-pid, 0), -1);
    free(report);

    check_int(test_probe_mode("init-hang", 300), GSGI_ERROR);
    check_has(test_err, "within 300 ms");

    check_int(test_probe_mode("dumb", 1500), GSGI_ERROR);
    check_has(test_err, "within 1500 ms");
}


static void
test_probe_orphan(void)
{
    int        i;
    char      *report;
    pid_t      parent, child;
    uint64_t   end;

    unlink(test_path("report"));
    parent = fork();

    if (parent == 0) {
        test_probe_mode("hang", 60000);
        _exit(0);
    }

    report = NULL;
    child = 0;

    for (end = test_now() + 10000; test_now() < end && child == 0; ) {
        test_sleep(20);
        free(report);
        report = test_report();
        child = atoi(test_fact(report, "pid"));
    }

    free(report);
    check(child > 1 && test_probe_alive(child));
    kill(parent, SIGKILL);
    test_reap(parent);

    for (i = 0; i < 200 && test_probe_alive(child); i++) {
        test_sleep(10);
    }

    check(!test_probe_alive(child));
}


/* The server's own handling of children is left as it was. */

static volatile sig_atomic_t  test_chld;

static void
test_probe_chld(int signo)
{
    while (waitpid(-1, NULL, WNOHANG) > 0) {
        test_chld++;
    }
}


static void
test_probe_server(void)
{
    sigset_t          mask;
    unsigned          before;
    struct sigaction  sa;

    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = test_probe_chld;
    sigaction(SIGCHLD, &sa, NULL);
    test_launch("app.so", "", NULL);
    before = test_descriptors();

    check_int(test_probe_mode("", TEST_TIMEOUT), GSGI_OK);
    check_int(test_probe_mode("exit", TEST_TIMEOUT), GSGI_ERROR);
    check_has(test_err, "exit code 2");

    check_int(test_descriptors(), before);
    check_int(test_chld, 0);
    check_int(waitpid(-1, NULL, WNOHANG), -1);
    check_int(errno, ECHILD);

    sigaction(SIGCHLD, NULL, &sa);
    check(sa.sa_handler == test_probe_chld);
    sigprocmask(SIG_SETMASK, NULL, &mask);
    check_int(sigismember(&mask, SIGCHLD), 0);

    signal(SIGCHLD, SIG_IGN);
    check_int(test_probe_mode("exit", TEST_TIMEOUT), GSGI_ERROR);
    check_has(test_err, "exit code 2");
    signal(SIGCHLD, SIG_DFL);
}


static void
test_probe_low_child(void)
{
    close(0);
    close(2);
    check_int(test_probe_mode("noise-exit", TEST_TIMEOUT), GSGI_ERROR);
    check_has(test_err, "\nline 19999");
}


static void
test_probe_low(void)
{
    check_int(test_fork(test_probe_low_child), 0);
}


static void
test_probe_small_err(void)
{
    char  err[40];

    check_int(gsgi_parent_probe(test_launch("app.so", "panic", NULL), NULL, -1,
                                -1, TEST_TIMEOUT, &test_found, err,
                                sizeof(err)), GSGI_ERROR);
    check_int(strlen(err), sizeof(err) - 1);
}


static gsgi_board_t  *test_probe_board;


static void
test_probe_die(void)
{
    uint32_t  worker, delay;

    gsgi_child_board_enter(test_probe_board, &worker, &delay);
}


static gsgi_launch_t *
test_probe_put_off_launch(const char *mode, uint64_t starting)
{
    gsgi_launch_t  *launch;

    launch = test_launch("app.so", mode, NULL);
    launch->conf.start_timeout = TEST_TIMEOUT;
    launch->conf.starting = starting;

    return launch;
}


static int
test_probe_put_off_mode(const char *mode, uint64_t starting)
{
    test_err[0] = '\0';

    return gsgi_child_check(test_probe_put_off_launch(mode, starting),
                            test_probe_board, test_err, sizeof(test_err));
}


static void
test_probe_without_room(void)
{
    struct rlimit   none = { 0, 0 };
    gsgi_launch_t  *launch;

    launch = test_probe_put_off_launch("init-exit", 1);
    setrlimit(RLIMIT_NOFILE, &none);

    check_int(gsgi_child_check(launch, test_probe_board, test_err,
                               sizeof(test_err)), GSGI_OK);
}


/* A worker makes up for it when another one has died. */

static void
test_probe_put_off(void)
{
    test_probe_board = gsgi_parent_board_create(4);

    check_int(test_probe_put_off_mode("init-exit", 1), GSGI_OK);

    test_fork(test_probe_die);
    check_int(test_probe_put_off_mode("init-exit", 0), GSGI_OK);
    check_int(test_probe_put_off_mode("init-exit", 1), GSGI_ERROR);
    check_has(test_err, "ended with exit code 3 before it served");

    check_int(test_fork(test_probe_without_room), 0);

    /* as long as it is so, also when a worker has left in order */

    gsgi_child_board_leave(test_probe_board,
                           gsgi_child_board_enter(test_probe_board,
                                                  &(uint32_t) { 0 },
                                                  &(uint32_t) { 0 }));
    check_int(test_probe_put_off_mode("init-exit", 1), GSGI_ERROR);

    check_int(test_probe_put_off_mode("", 1), GSGI_OK);
    check_int(test_probe_put_off_mode("init-exit", 1), GSGI_OK);

    gsgi_parent_board_destroy(test_probe_board);
}


const test_t  test_probe[] = {
    { "probe: entries are reported", test_probe_ok },
    { "probe: arguments, environment, directory, signals",
      test_probe_process },
    { "probe: the server's descriptors are closed",
      test_probe_descriptors },
    { "probe: as another user", test_probe_user },
    { "probe: an init that panics or exits", test_probe_init },
    { "probe: a main that ends", test_probe_main },
    { "probe: an error of the library", test_probe_report },
    { "probe: too late, killed with its group", test_probe_late },
    { "probe: dies with its parent", test_probe_orphan },
    { "probe: the server's children and descriptors",
      test_probe_server },
    { "probe: put off by a start, made up for by a worker",
      test_probe_put_off },
    { "probe: without descriptors 0 and 2", test_probe_low },
    { "probe: a small room for the text", test_probe_small_err },
    { NULL, NULL }
};
