/*
 * Copyright (C) The GSGI Authors
 *
 * The throw-away child of a probe: sheds what it has of the server, becomes
 * the worker's user, and runs the application.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gsgi_load.h"
#include "gsgi_probe.h"


static void gsgi_probe_refuse(gsgi_probe_child_t *child, const char *fmt, ...)
    __attribute__((noreturn, format(printf, 2, 3)));


/* Ends the child, with the text on the report pipe. */

static void
gsgi_probe_refuse(gsgi_probe_child_t *child, const char *fmt, ...)
{
    char     text[GSGI_ERR_MAX], *p;
    va_list  args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    for (p = text; *p != '\0'; p++) {
        if (*p == '\n') {
            *p = ' ';
        }
    }

    dprintf(child->report, "error %s\n", text);
    _exit(1);
}


static void
gsgi_probe_signals(void)
{
    int               signo;
    sigset_t          none;
    struct sigaction  sa;

    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = SIG_DFL;
    sigemptyset(&sa.sa_mask);

    for (signo = 1; signo < _NSIG; signo++) {
        sigaction(signo, &sa, NULL);
    }

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}


static void
gsgi_probe_become(gsgi_probe_child_t *child)
{
    int  rc;

    if (geteuid() != 0 || child->uid == (uid_t) -1) {
        return;
    }

    if (child->gid != (gid_t) -1) {
        if (setgid(child->gid) == -1) {
            gsgi_probe_refuse(child, "the probe cannot become group %u: %s",
                              (unsigned) child->gid, strerror(errno));
        }

        rc = child->user ? initgroups(child->user, child->gid)
                         : setgroups(1, &child->gid);
        if (rc == -1) {
            gsgi_probe_refuse(child, "the probe cannot take the groups of "
                              "user %u: %s", (unsigned) child->uid,
                              strerror(errno));
        }
    }

    if (setuid(child->uid) == -1) {
        gsgi_probe_refuse(child, "the probe cannot become user %u: %s",
                          (unsigned) child->uid, strerror(errno));
    }
}


static int
gsgi_probe_above_stdio(int fd)
{
    return fd > 2 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 3);
}


static void
gsgi_probe_stdio(gsgi_probe_child_t *child)
{
    int  null;

    child->report = gsgi_probe_above_stdio(child->report);
    child->output = gsgi_probe_above_stdio(child->output);

    null = open("/dev/null", O_RDONLY|O_CLOEXEC);

    if (null == -1) {
        close(0);

    } else if (null == 0) {
        fcntl(0, F_SETFD, 0);

    } else {
        dup2(null, 0);
    }

    dup2(child->output, 1);
    dup2(child->output, 2);
}


/* By hand where the kernel or a filter refuses. */

void
gsgi_probe_close(unsigned first, unsigned last)
{
    struct rlimit  limit;

    if (first > last) {
        return;
    }

#ifdef SYS_close_range
    if (syscall(SYS_close_range, first, last, 0) == 0) {
        return;
    }
#endif

    if (getrlimit(RLIMIT_NOFILE, &limit) == -1 || limit.rlim_cur > 65536) {
        limit.rlim_cur = 65536;
    }

    for ( /* void */ ; first <= last && first < limit.rlim_cur; first++) {
        close((int) first);
    }
}


static void
gsgi_probe_descriptors(gsgi_probe_child_t *child)
{
    unsigned  low, high;

    low = (unsigned) child->report;
    high = (unsigned) child->launch->image->fd;

    if (low > high) {
        low = high;
        high = (unsigned) child->report;
    }

    gsgi_probe_close(3, low - 1);
    gsgi_probe_close(low + 1, high - 1);
    gsgi_probe_close(high + 1, ~0U);
}


/* A change of user clears the wish to die with the parent: it comes after. */

void
gsgi_probe_child(gsgi_probe_child_t *child)
{
    char               text[GSGI_ERR_MAX];
    gsgi_library_t     library;
    gsgi_start_conf_t  conf;

    setpgid(0, 0);
    gsgi_probe_signals();
    gsgi_probe_become(child);

    prctl(PR_SET_PDEATHSIG, SIGKILL);

    if (getppid() != child->parent) {
        _exit(1);
    }

    gsgi_probe_stdio(child);
    gsgi_probe_descriptors(child);

    text[0] = '\0';

    conf = child->launch->conf;
    conf.size = sizeof(conf);
    conf.abi_major = GSGI_ABI_MAJOR;
    conf.abi_minor = GSGI_ABI_MINOR;
    conf.report_fd = child->report;
    conf.region = NULL;
    conf.err = text;
    conf.errlen = sizeof(text);

    if (gsgi_library_load(&library, child->launch, text, sizeof(text))
        != GSGI_OK)
    {
        gsgi_probe_refuse(child, "%s", text);
    }

    if (library.probe(&conf) != GSGI_OK) {
        gsgi_probe_refuse(child, "\"%.1000s\" cannot be probed: %.1000s",
                          child->launch->image->path,
                          text[0] ? text : "the library does not say why");
    }

    for ( ;; ) {
        pause();
    }
}
