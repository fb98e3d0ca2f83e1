/*
 * Copyright (C) The GSGI Authors
 *
 * The server's signals in a process with threads of Go.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../gsgi_load.h"
#include "test.h"

#define TEST_READY    20000
#define TEST_SIGNALS  200

/* What the worker's handlers have seen, for the test. */
static struct {
    uint32_t  ready;
    uint32_t  done;
    uint32_t  main;         /* runs on the main thread */
    uint32_t  other;
    uint32_t  chld;
} *test_seen;

static gsgi_app_t  *test_app;


static void
test_signal_count(int signo)
{
    __atomic_fetch_add(syscall(SYS_gettid) == getpid() ? &test_seen->main
                                                       : &test_seen->other,
                       1, __ATOMIC_SEQ_CST);
}


static void
test_signal_count_chld(int signo)
{
    __atomic_fetch_add(&test_seen->chld, 1, __ATOMIC_SEQ_CST);
}


static void
test_signal_count_info(int signo, siginfo_t *info, void *context)
{
    if (info != NULL && context != NULL && info->si_signo == signo) {
        test_signal_count(signo);
    }
}


/* A server's: one handler of each form. */

static void
test_signal_install(void)
{
    struct sigaction  sa;

    memset(&sa, 0, sizeof(sa));
    sigemptyset(&sa.sa_mask);
    sigaddset(&sa.sa_mask, SIGUSR1);

    sa.sa_handler = test_signal_count;
    sigaction(SIGTERM, &sa, NULL);

    sa.sa_handler = test_signal_count_chld;
    sigaction(SIGCHLD, &sa, NULL);

    sa.sa_sigaction = test_signal_count_info;
    sa.sa_flags = SA_SIGINFO|SA_RESTART;
    sigaction(SIGQUIT, &sa, NULL);

    signal(SIGUSR2, SIG_IGN);
}


static void
test_signal_prepare(void)
{
    if (test_seen == NULL) {
        test_seen = mmap(NULL, sizeof(*test_seen), PROT_READ|PROT_WRITE,
                         MAP_SHARED|MAP_ANONYMOUS, -1, 0);
    }

    memset(test_seen, 0, sizeof(*test_seen));
}


static void
test_signal_load(gsgi_launch_t *launch)
{
    char            err[GSGI_ERR_MAX];
    gsgi_bridge_t  *b;

    b = test_bridge();
    check_int(gsgi_child_app_start(&test_app, b, launch, 0, err,
                                   sizeof(err)), GSGI_OK);
    check(test_wait_state(b, GSGI_APP_READY, TEST_READY));
}


static void
test_signal_none(int signo)
{
    /* void */
}


static void
test_signal_wrapped(void)
{
    struct sigaction  sa;

    signal(SIGHUP, SIG_DFL);        /* nohup ignores it */
    test_signal_install();
    gsgi_child_signals(0);
    gsgi_child_signals(0);          /* does no harm */

    sigaction(SIGTERM, NULL, &sa);
    check(sa.sa_handler != test_signal_count);
    check_int(sa.sa_flags & (SA_ONSTACK|SA_SIGINFO|SA_RESTART),
              SA_ONSTACK|SA_SIGINFO);
    check_int(sigismember(&sa.sa_mask, SIGUSR1), 1);

    sigaction(SIGQUIT, NULL, &sa);
    check_int(sa.sa_flags & (SA_ONSTACK|SA_SIGINFO|SA_RESTART),
              SA_ONSTACK|SA_SIGINFO|SA_RESTART);

    sigaction(SIGUSR2, NULL, &sa);
    check(sa.sa_handler == SIG_IGN);
    sigaction(SIGHUP, NULL, &sa);
    check(sa.sa_handler == SIG_DFL);

    errno = 7;
    raise(SIGTERM);
    raise(SIGQUIT);
    check_int(errno, 7);
    check_int(test_seen->main, 2);

    gsgi_child_signals(1);
    sigaction(SIGCHLD, NULL, &sa);
    check(sa.sa_handler == SIG_DFL);

    signal(SIGHUP, test_signal_none);
    gsgi_child_signals(0);
    sigaction(SIGHUP, NULL, &sa);
    check(sa.sa_handler != test_signal_none);
}


static void
test_signal_wrap(void)
{
    test_signal_prepare();
    check_int(test_fork(test_signal_wrapped), 0);
}


static gsgi_launch_t  *test_how;

static void
test_signal_worker(void)
{
    test_signal_install();
    test_signal_load(test_how);
    __atomic_store_n(&test_seen->ready, 1, __ATOMIC_SEQ_CST);

    while (!__atomic_load_n(&test_seen->done, __ATOMIC_SEQ_CST)) {
        test_sleep(1);
    }
}


static int
test_signal_until(uint32_t *field, uint32_t value, unsigned ms)
{
    uint64_t  end;

    for (end = test_now() + ms; test_now() < end; usleep(200)) {
        if (__atomic_load_n(field, __ATOMIC_SEQ_CST) >= value) {
            return 1;
        }
    }

    return 0;
}


static unsigned
test_signal_threads(pid_t pid, pid_t *tids, unsigned max)
{
    DIR            *dir;
    char            path[64];
    unsigned        n;
    struct dirent  *entry;

    snprintf(path, sizeof(path), "/proc/%d/task", (int) pid);
    dir = opendir(path);

    for (n = 0; n < max && dir != NULL && (entry = readdir(dir)) != NULL; ) {
        tids[n] = atoi(entry->d_name);
        n += tids[n] > 0 && tids[n] != pid;
    }

    if (dir != NULL) {
        closedir(dir);
    }

    return n;
}


/*
 * Each signal is aimed at a thread of Go, where the kernel might put it, and
 * every fourth at the process.
 */

static void
test_signal_passed(void)
{
    int       i, signo;
    pid_t     pid, tids[64];
    unsigned  n;

    test_signal_prepare();
    test_how = test_launch("app.so", "", NULL);
    pid = fork();

    if (pid == 0) {
        test_signal_worker();
        _exit(0);
    }

    check(test_signal_until(&test_seen->ready, 1, TEST_READY));

    n = test_signal_threads(pid, tids, 64);
    check(n >= 4);

    for (i = 0; i < TEST_SIGNALS && n > 0; i++) {
        signo = i & 1 ? SIGTERM : SIGQUIT;

        if (i % 4 == 3
            || syscall(SYS_tgkill, pid, tids[i % n], signo) != 0)
        {
            kill(pid, signo);
        }

        if (!test_signal_until(&test_seen->main, i + 1, 2000)) {
            break;
        }
    }

    check_int(test_seen->main, TEST_SIGNALS);
    check_int(test_seen->other, 0);

    __atomic_store_n(&test_seen->done, 1, __ATOMIC_SEQ_CST);
    test_reap(pid);
}


static void
test_signal_notify_child(void)
{
    int               signo;
    struct sigaction  sa;

    test_signal_install();
    test_signal_load(test_how);

    signo = 0;
    check_int(gsgi_signals_check(&signo), 2);
    check(signo == SIGTERM || signo == SIGQUIT);
    check_int(gsgi_signals_check(&signo), 0);

    raise(SIGTERM);
    raise(SIGQUIT);
    check_int(test_seen->main, 2);

    sigaction(SIGQUIT, NULL, &sa);
    check_int(sa.sa_flags & SA_RESTART, SA_RESTART);
}


static void
test_signal_ignore_child(void)
{
    int  signo;

    test_signal_install();
    test_signal_load(test_how);

    signo = 0;
    check_int(gsgi_signals_check(&signo), 1);
    check_int(signo, SIGTERM);
    raise(SIGTERM);
    check_int(test_seen->main, 1);
}


static void
test_signal_application(void)
{
    test_signal_prepare();
    test_how = test_launch("app.so", "notify", NULL);
    check_int(test_fork(test_signal_notify_child), 0);

    test_signal_prepare();
    test_how = test_launch("app.so", "ignore", NULL);
    check_int(test_fork(test_signal_ignore_child), 0);
}


/* httpd sets SIGTERM once more after its child_init hooks. */

static volatile sig_atomic_t  test_later;

static void
test_signal_server_handler(int signo)
{
    test_later += syscall(SYS_gettid) == getpid();
}


static void
test_signal_server_child(void)
{
    int               signo;
    struct sigaction  sa;

    test_signal_install();
    test_signal_load(test_how);

    signal(SIGTERM, test_signal_server_handler);
    check_int(gsgi_signals_check(&signo), 0);

    sigaction(SIGTERM, NULL, &sa);
    check(sa.sa_handler != test_signal_server_handler);
    raise(SIGTERM);
    check_int(test_later, 1);
    check_int(test_seen->main, 0);
}


static void
test_signal_server(void)
{
    test_signal_prepare();
    test_how = test_launch("app.so", "", NULL);
    check_int(test_fork(test_signal_server_child), 0);
}


/* Faults: the worker ends by the signal itself, and does so at once. */

static void
test_signal_no_core(void)
{
    int            fd;
    struct rlimit  none = { 0, 0 };

    signal(SIGSEGV, SIG_DFL);       /* a sanitizer has one */
    signal(SIGBUS, SIG_DFL);

    setrlimit(RLIMIT_CORE, &none);
    fd = open("/dev/null", O_WRONLY|O_CLOEXEC);
    dup2(fd, 2);
}


static void
test_signal_fault_c(void)
{
    volatile uintptr_t  address = 16;

    test_signal_no_core();
    test_signal_install();
    test_signal_load(test_how);
    *(volatile int *) address = 1;
}


static void
test_signal_fault_sent(void)
{
    test_signal_no_core();
    gsgi_child_signals(0);
    kill(getpid(), SIGBUS);
    test_sleep(2000);
}


static void
test_signal_fault_abort(void)
{
    test_signal_no_core();
    gsgi_child_signals(0);
    abort();
}


static void
test_signal_fault_cgo(void)
{
    test_signal_no_core();
    test_signal_install();
    test_signal_load(test_how);
    test_sleep(8000);
}


static void
test_signal_faults(void)
{
    int       status;
    uint64_t  start;

    test_signal_prepare();
    test_how = test_launch("app.so", "", NULL);
    start = test_now();

    status = test_fork(test_signal_fault_c);
    check(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    status = test_fork(test_signal_fault_sent);
    check(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    status = test_fork(test_signal_fault_abort);
    check(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);

    /* C that Go has called */

    test_how = test_launch("app.so", "fault", NULL);
    status = test_fork(test_signal_fault_cgo);
    check(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);

    /* a panic */

    test_how = test_launch("app.so", "panic", NULL);
    status = test_fork(test_signal_fault_cgo);
    check(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);

    check_int(test_seen->main, 0);      /* no SIGQUIT to all, as Go would */
    check(test_now() - start < 8000);
}


static void
test_signal_forked_child(void)
{
    int    status;
    pid_t  pid;

    test_signal_install();
    gsgi_child_signals(0);

    pid = fork();

    if (pid == 0) {
        raise(SIGTERM);
        _exit(0);
    }

    waitpid(pid, &status, 0);
    check_int(status, 0);
    check_int(test_seen->main, 1);
    check_int(test_seen->chld, 1);
}


static void
test_signal_forked(void)
{
    test_signal_prepare();
    check_int(test_fork(test_signal_forked_child), 0);
}


const test_t  test_signal[] = {
    { "signal: handlers are wrapped with their mask and flags",
      test_signal_wrap },
    { "signal: 200 of 200 reach the main thread", test_signal_passed },
    { "signal: the application's handlers are taken back",
      test_signal_application },
    { "signal: a new handler of the server is wrapped",
      test_signal_server },
    { "signal: faults end the worker at once", test_signal_faults },
    { "signal: a forked child has the handlers", test_signal_forked },
    { NULL, NULL }
};
