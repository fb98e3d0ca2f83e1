/*
 * Copyright (C) The GSGI Authors
 *
 * Runs the application in a throw-away child, up to where it would serve, so
 * that a library that cannot start is found when the configuration is read.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "gsgi_board.h"
#include "gsgi_probe.h"

#define GSGI_PROBE_TICK  20     /* ms between looks at the child */

typedef enum {
    GSGI_PROBE_RUNNING = 0,
    GSGI_PROBE_OK,
    GSGI_PROBE_ERROR,               /* the library has said why */
    GSGI_PROBE_ENDED,
    GSGI_PROBE_LATE
} gsgi_probe_end_t;

typedef struct {
    const gsgi_launch_t  *launch;
    gsgi_probe_t         *out;
    gsgi_probe_end_t      end;
    pid_t                 pid;
    int                   status;
    int                   reaped;       /* status is known */
    int                   report;
    int                   output;

    char                  line[GSGI_ERR_MAX];
    size_t                line_len;

    gsgi_probe_text_t     text;
} gsgi_probe_run_t;


static int gsgi_probe_start(gsgi_probe_run_t *run, gsgi_probe_child_t *child,
    char *err, size_t errlen);
static void gsgi_probe_watch(gsgi_probe_run_t *run, uint32_t timeout);
static void gsgi_probe_reap(gsgi_probe_run_t *run);
static int gsgi_probe_result(gsgi_probe_run_t *run, uint32_t timeout,
    char *err, size_t errlen);


int
gsgi_parent_probe(const gsgi_launch_t *launch, const char *user, uid_t uid,
    gid_t gid, uint32_t timeout, gsgi_probe_t *probe_out, char *err,
    size_t errlen)
{
    int                 rc;
    sigset_t            chld, saved;
    struct sigaction    sa, handler;
    gsgi_probe_run_t   *run;
    gsgi_probe_child_t  child = { launch, user, uid, gid, getpid(), -1, -1 };

    memset(probe_out, 0, sizeof(gsgi_probe_t));

    run = calloc(1, sizeof(gsgi_probe_run_t));
    if (run == NULL) {
        snprintf(err, errlen, "no memory to probe \"%s\"",
                 launch->image->path);
        return GSGI_NOMEM;
    }

    run->launch = launch;
    run->out = probe_out;

    /* a handler of the server might reap every child that it does not know */

    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, &saved);

    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = SIG_DFL;
    sigemptyset(&sa.sa_mask);
    sigaction(SIGCHLD, &sa, &handler);

    rc = gsgi_probe_start(run, &child, err, errlen);

    if (rc == GSGI_OK) {
        gsgi_probe_watch(run, timeout);
        gsgi_probe_reap(run);
        rc = gsgi_probe_result(run, timeout, err, errlen);

        close(run->report);
        close(run->output);
    }

    sigaction(SIGCHLD, &handler, NULL);
    sigprocmask(SIG_SETMASK, &saved, NULL);
    free(run);

    return rc;
}


int
gsgi_child_check(const gsgi_launch_t *launch, gsgi_board_t *board, char *err,
    size_t errlen)
{
    int            rc;
    gsgi_probe_t   probe;
    gsgi_launch_t  whole = *launch;

    gsgi_board_bury(board);

    if (!launch->conf.starting
        || !__atomic_load_n(&board->died, __ATOMIC_SEQ_CST))
    {
        return GSGI_OK;
    }

    whole.conf.starting = 0;

    rc = gsgi_parent_probe(&whole, NULL, (uid_t) -1, (gid_t) -1,
                           whole.conf.start_timeout, &probe, err, errlen);

    if (rc == GSGI_OK) {
        __atomic_store_n(&board->died, 0, __ATOMIC_SEQ_CST);
    }

    /* what could not be tried is loaded, with a delay */

    return rc == GSGI_NOMEM ? GSGI_OK : rc;
}


/* All signals wait until the child has shed the server's handlers. */

static int
gsgi_probe_start(gsgi_probe_run_t *run, gsgi_probe_child_t *child, char *err,
    size_t errlen)
{
    int       report[2], output[2], failed;
    sigset_t  all, saved;

    if (pipe2(report, O_CLOEXEC) == -1) {
        snprintf(err, errlen, "no pipe to probe \"%s\": %s",
                 run->launch->image->path, strerror(errno));
        return GSGI_NOMEM;
    }

    if (pipe2(output, O_CLOEXEC) == -1) {
        snprintf(err, errlen, "no pipe to probe \"%s\": %s",
                 run->launch->image->path, strerror(errno));
        close(report[0]);
        close(report[1]);
        return GSGI_NOMEM;
    }

    child->report = report[1];
    child->output = output[1];

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &saved);

    run->pid = fork();

    if (run->pid == 0) {
        gsgi_probe_guard(child);
    }

    failed = errno;
    sigprocmask(SIG_SETMASK, &saved, NULL);

    close(report[1]);
    close(output[1]);

    run->report = report[0];
    run->output = output[0];

    if (run->pid == -1) {
        snprintf(err, errlen, "no process to probe \"%s\": %s",
                 run->launch->image->path, strerror(failed));
        close(report[0]);
        close(output[0]);
        return GSGI_NOMEM;
    }

    fcntl(run->report, F_SETFL, O_NONBLOCK);
    fcntl(run->output, F_SETFL, O_NONBLOCK);

    return GSGI_OK;
}


/* A line of the report ends the run or adds an entry. */

static void
gsgi_probe_line(gsgi_probe_run_t *run)
{
    gsgi_probe_t  *out = run->out;

    run->line[run->line_len] = '\0';

    if (strcmp(run->line, "ok") == 0) {
        run->end = GSGI_PROBE_OK;

    } else if (strncmp(run->line, "error ", 6) == 0) {
        run->end = GSGI_PROBE_ERROR;

    } else if (strncmp(run->line, "entry ", 6) == 0) {

        if (run->line_len - 6 >= sizeof(out->entries[0])) {
            strcpy(run->line, "error the name of an entry is longer than 63 "
                   "bytes");
            run->end = GSGI_PROBE_ERROR;

        } else if (out->nentries == 64) {
            strcpy(run->line, "error more than 64 entries are served");
            run->end = GSGI_PROBE_ERROR;

        } else {
            strcpy(out->entries[out->nentries++], run->line + 6);
        }
    }
}


/* Returns 0 at the end of the pipe. */

static int
gsgi_probe_read_report(gsgi_probe_run_t *run)
{
    char     c;
    ssize_t  n;

    while (run->end == GSGI_PROBE_RUNNING) {
        n = read(run->report, &c, 1);

        if (n == 0) {
            return 0;
        }

        if (n == -1) {
            return errno == EAGAIN || errno == EINTR;
        }

        if (c == '\n') {
            gsgi_probe_line(run);
            run->line_len = run->end == GSGI_PROBE_RUNNING ? 0
                                                           : run->line_len;

        } else if (run->line_len < sizeof(run->line) - 1) {
            run->line[run->line_len++] = c;
        }
    }

    return 1;
}


static int64_t
gsgi_probe_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


/* Leaves a child that has ended as it is, for its status to be taken once. */

static int
gsgi_probe_has_ended(gsgi_probe_run_t *run)
{
    siginfo_t  info;

    info.si_pid = 0;

    if (waitid(P_PID, run->pid, &info, WEXITED|WNOHANG|WNOWAIT) == -1) {
        return errno == ECHILD;
    }

    return info.si_pid == run->pid;
}


static void
gsgi_probe_watch(gsgi_probe_run_t *run, uint32_t timeout)
{
    int64_t        end, left;
    struct pollfd  fds[2];

    end = gsgi_probe_now() + timeout;

    fds[0].fd = run->report;
    fds[1].fd = run->output;
    fds[0].events = fds[1].events = POLLIN;

    for ( ;; ) {
        left = end - gsgi_probe_now();

        poll(fds, 2, left < 0 ? 0
                     : left > GSGI_PROBE_TICK ? GSGI_PROBE_TICK : (int) left);

        if (fds[1].fd != -1 && !gsgi_probe_text_read(&run->text, run->output)) {
            fds[1].fd = -1;
        }

        if (fds[0].fd != -1 && !gsgi_probe_read_report(run)) {
            fds[0].fd = -1;
        }

        if (run->end != GSGI_PROBE_RUNNING) {
            return;
        }

        if (gsgi_probe_has_ended(run)) {
            gsgi_probe_read_report(run);

            if (run->end == GSGI_PROBE_RUNNING) {
                run->end = GSGI_PROBE_ENDED;
            }

            return;
        }

        if (left <= 0) {
            run->end = GSGI_PROBE_LATE;
            return;
        }
    }
}


static void
gsgi_probe_reap(gsgi_probe_run_t *run)
{
    pid_t  pid;

    kill(run->pid, SIGTERM);

    do {
        pid = waitpid(run->pid, &run->status, 0);
    } while (pid == -1 && errno == EINTR);

    run->reaped = pid == run->pid;

    gsgi_probe_text_read(&run->text, run->output);
}


static int
gsgi_probe_result(gsgi_probe_run_t *run, uint32_t timeout, char *err,
    size_t errlen)
{
    int          crash, signo;
    const char  *path = run->launch->image->path;

    crash = 0;

    switch (run->end) {

    case GSGI_PROBE_OK:
        return GSGI_OK;

    case GSGI_PROBE_ERROR:
        snprintf(err, errlen, "%s%s%s%s",
                 run->line[6] == '"' ? "" : "\"",
                 run->line[6] == '"' ? "" : path,
                 run->line[6] == '"' ? "" : "\": ", run->line + 6);
        break;

    case GSGI_PROBE_LATE:
        snprintf(err, errlen, "\"%s\" did not reach ListenAndServe within "
                 "%u ms", path, timeout);
        break;

    default:
        if (!run->reaped) {
            snprintf(err, errlen, "\"%s\" ended before it served", path);

        } else if (WIFSIGNALED(run->status)) {
            signo = WTERMSIG(run->status);
            crash = 1;
            snprintf(err, errlen, "\"%s\" ended by signal %d (%s) before it "
                     "served", path, signo, strsignal(signo));

        } else {
            crash = WEXITSTATUS(run->status) == 2;
            snprintf(err, errlen, "\"%s\" ended with exit code %d before it "
                     "served", path, WEXITSTATUS(run->status));
        }
    }

    gsgi_probe_text_quote(&run->text, crash, err, errlen);

    return GSGI_ERROR;
}
