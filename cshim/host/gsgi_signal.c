/*
 * Copyright (C) The GSGI Authors
 *
 * Keeps the server's signals the server's.  Threads of the Go runtime have an
 * empty signal mask, because programs that they start inherit it; so a signal
 * of the server may be delivered to one of them, where the server's handler
 * would set a flag and wake nobody.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gsgi_load.h"

typedef struct {
    struct sigaction  old;      /* the server's */
    int               wrapped;
    uint32_t          count;    /* how often it came from outside, atomic */
} gsgi_signal_t;


static void gsgi_signal_pass(int signo, siginfo_t *info, void *context);
static void gsgi_signal_fault(int signo, siginfo_t *info, void *context);


static const int  gsgi_signal_passed[] = {
    SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGALRM,
    SIGIO, SIGCHLD
};

static const int  gsgi_signal_faults[] = {
    SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT
};

#define GSGI_SIGNALS  (sizeof(gsgi_signal_passed) / sizeof(int))

static gsgi_signal_t  gsgi_signals[_NSIG];
static pid_t          gsgi_signal_pid;
static pid_t          gsgi_signal_tid;


/*
 * SA_RESTART is left as it is: the main thread of a server may count on
 * EINTR.  SA_ONSTACK is a must on threads of Go.
 */

static void
gsgi_signal_wrap(int signo, const struct sigaction *old)
{
    struct sigaction  sa;

    gsgi_signals[signo].old = *old;
    gsgi_signals[signo].wrapped = 1;

    sa = *old;
    sa.sa_sigaction = gsgi_signal_pass;
    sa.sa_flags |= SA_SIGINFO|SA_ONSTACK;

    sigaction(signo, &sa, NULL);
}


/* sa_handler and sa_sigaction share their place. */

static int
gsgi_signal_handled(const struct sigaction *sa)
{
    return sa->sa_handler != SIG_DFL && sa->sa_handler != SIG_IGN;
}


static int
gsgi_signal_ours(const struct sigaction *sa)
{
    return (sa->sa_flags & SA_SIGINFO)
           && sa->sa_sigaction == gsgi_signal_pass;
}


void
gsgi_child_signals(int default_chld)
{
    int               signo;
    size_t            i;
    struct sigaction  sa;

    gsgi_signal_pid = getpid();
    gsgi_signal_tid = (pid_t) syscall(SYS_gettid);

    memset(&sa, 0, sizeof(sa));
    sigemptyset(&sa.sa_mask);

    if (default_chld) {
        sa.sa_handler = SIG_DFL;
        gsgi_signals[SIGCHLD].wrapped = 0;
        sigaction(SIGCHLD, &sa, NULL);
    }

    for (i = 0; i < GSGI_SIGNALS; i++) {
        signo = gsgi_signal_passed[i];

        /* a handler for one signal would be gone before it is passed on */

        if (sigaction(signo, NULL, &sa) == 0 && gsgi_signal_handled(&sa)
            && !gsgi_signal_ours(&sa) && !(sa.sa_flags & SA_RESETHAND))
        {
            gsgi_signal_wrap(signo, &sa);
        }
    }

    for (i = 0; i < sizeof(gsgi_signal_faults) / sizeof(int); i++) {
        signo = gsgi_signal_faults[i];

        if (sigaction(signo, NULL, &sa) == 0 && sa.sa_handler == SIG_DFL) {
            sa.sa_sigaction = gsgi_signal_fault;
            sa.sa_flags = SA_SIGINFO|SA_ONSTACK;
            sigaction(signo, &sa, NULL);
        }
    }
}


/* In a forked child the handler is called where it is, as ever. */

static void
gsgi_signal_pass(int signo, siginfo_t *info, void *context)
{
    int                err;
    struct sigaction  *old;

    err = errno;
    old = &gsgi_signals[signo].old;

    /* threads of the server signal each other, too */

    if (info->si_pid != gsgi_signal_pid) {
        __atomic_fetch_add(&gsgi_signals[signo].count, 1, __ATOMIC_SEQ_CST);
    }

    if (getpid() == gsgi_signal_pid
        && (pid_t) syscall(SYS_gettid) != gsgi_signal_tid)
    {
        syscall(SYS_tgkill, gsgi_signal_pid, gsgi_signal_tid, signo);

    } else if (old->sa_flags & SA_SIGINFO) {
        old->sa_sigaction(signo, info, context);

    } else {
        old->sa_handler(signo);
    }

    errno = err;
}


/* A fault happens again on return; one that was sent must be sent again. */

static void
gsgi_signal_fault(int signo, siginfo_t *info, void *context)
{
    struct sigaction  sa;

    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = SIG_DFL;
    sigemptyset(&sa.sa_mask);
    sigaction(signo, &sa, NULL);

    if (info->si_code <= 0) {
        syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), signo);
    }
}


uint32_t
gsgi_signals_count(int signo)
{
    return __atomic_load_n(&gsgi_signals[signo].count, __ATOMIC_SEQ_CST);
}


/* A handler that is not code of the library was set by the server, after the
 * others: it is wrapped in its turn. */

static int
gsgi_signal_adopt(int signo, const struct sigaction *sa)
{
    if (!gsgi_signal_handled(sa)
        || gsgi_library_owns((void *) sa->sa_sigaction))
    {
        return 0;
    }

    gsgi_signal_wrap(signo, sa);

    return 1;
}


void
gsgi_signals_adopt(void)
{
    int               signo;
    size_t            i;
    struct sigaction  sa;

    for (i = 0; i < GSGI_SIGNALS; i++) {
        signo = gsgi_signal_passed[i];

        if (gsgi_signals[signo].wrapped
            && sigaction(signo, NULL, &sa) == 0 && !gsgi_signal_ours(&sa))
        {
            (void) gsgi_signal_adopt(signo, &sa);
        }
    }
}


int
gsgi_signals_check(int *signo_out)
{
    int               signo, count;
    size_t            i;
    struct sigaction  sa;

    count = 0;

    for (i = 0; i < GSGI_SIGNALS; i++) {
        signo = gsgi_signal_passed[i];

        if (!gsgi_signals[signo].wrapped
            || sigaction(signo, NULL, &sa) == -1 || gsgi_signal_ours(&sa))
        {
            continue;
        }

        if (gsgi_signal_adopt(signo, &sa)) {
            continue;
        }

        sa = gsgi_signals[signo].old;
        gsgi_signal_wrap(signo, &sa);

        *signo_out = signo;
        count++;
    }

    return count;
}
