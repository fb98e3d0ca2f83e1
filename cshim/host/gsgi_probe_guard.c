/*
 * Copyright (C) The GSGI Authors
 *
 * The guard of a probe stands between the server and the child that runs the
 * application.  Whatever that child has started and leaves behind becomes the
 * guard's, in any session and group, and ends with it.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gsgi_probe.h"

static void gsgi_probe_end_as(int status) __attribute__((noreturn));


/* Takes the status of the child, and those of orphans.  Returns 1 once the
 * child has ended. */

static int
gsgi_probe_reaped(pid_t child, int *status)
{
    int    rc;
    pid_t  pid;

    while ((pid = waitpid(-1, &rc, WNOHANG)) > 0) {
        if (pid == child) {
            *status = rc;
            return 1;
        }
    }

    return 0;
}


/* SIGTERM is the server's, or comes with its death. */

static int
gsgi_probe_await(pid_t child)
{
    int       status, signo;
    sigset_t  set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);

    while (!gsgi_probe_reaped(child, &status)) {
        signo = sigwaitinfo(&set, NULL);

        if (signo == SIGTERM) {
            kill(child, SIGKILL);
        }
    }

    return status;
}


static int
gsgi_probe_kill_children(void)
{
    int    pid, n = 0;
    FILE  *f;

    f = fopen("/proc/thread-self/children", "re");
    if (f == NULL) {
        return 0;
    }

    while (fscanf(f, "%d", &pid) == 1) {
        if (kill(pid, SIGKILL) == 0) {
            n++;
        }
    }

    fclose(f);

    return n;
}


/* The children of one that is killed are the next to be seen. */

static void
gsgi_probe_sweep(void)
{
    while (gsgi_probe_kill_children() > 0) {
        (void) waitpid(-1, NULL, 0);
    }
}


static void
gsgi_probe_end_as(int status)
{
    sigset_t          none;
    struct sigaction  sa;

    if (WIFSIGNALED(status)) {
        memset(&sa, 0, sizeof(sa));
        sa.sa_handler = SIG_DFL;
        sigemptyset(&sa.sa_mask);
        sigaction(WTERMSIG(status), &sa, NULL);

        raise(WTERMSIG(status));
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
    }

    _exit(WEXITSTATUS(status));
}


void
gsgi_probe_guard(gsgi_probe_child_t *child)
{
    int            status;
    pid_t          pid;
    struct rlimit  core;

    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);

    if (getppid() != child->parent) {
        _exit(1);
    }

    if (getrlimit(RLIMIT_CORE, &core) == 0) {
        core.rlim_cur = 0;
        setrlimit(RLIMIT_CORE, &core);
    }

    prctl(PR_SET_CHILD_SUBREAPER, 1);
    child->parent = getpid();

    pid = fork();

    if (pid == 0) {
        gsgi_probe_child(child);
    }

    if (pid == -1) {
        dprintf(child->report, "error no process to probe \"%.1000s\": %s\n",
                child->launch->image->path, strerror(errno));
        _exit(1);
    }

    /* a connection of the server is closed only when nobody has it open */

    close(child->report);
    close(child->output);
    gsgi_probe_close(3, ~0U);

    status = gsgi_probe_await(pid);
    gsgi_probe_sweep();
    gsgi_probe_end_as(status);
}
