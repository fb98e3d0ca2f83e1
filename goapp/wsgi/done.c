/*
 * Answers on their way to a goroutine.  A thread that calls into Go keeps one
 * of Go's processors for up to 10 ms after its return, and so long the
 * runtime's monitor is awake 10 times a millisecond: beside a page that takes
 * 2 ms that was 7 % of the CPU time.  Therefore a request that has taken long
 * enough that a switch of threads does not matter leaves its answer here, and
 * nobody waits for the interpreter lock on the way.
 */

#include "python.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define LONG_NS  200000

/* a longer block is not copied */
#define COPIED   65536

static gsgi_job_t *done;            /* a stack; atomic */
static int done_fd = -1;

int
gsgi_done_open(void)
{
    done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    return done_fd;
}

uint64_t
gsgi_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000000u + (uint64_t) ts.tv_nsec;
}

/* What was empty has somebody asleep. */
static void
push(gsgi_job_t *job)
{
    static const uint64_t one = 1;
    gsgi_job_t *top = __atomic_load_n(&done, __ATOMIC_RELAXED);
    ssize_t n;

    do {
        job->next = top;
    } while (!__atomic_compare_exchange_n(&done, &top, job, 0,
                                          __ATOMIC_SEQ_CST,
                                          __ATOMIC_RELAXED));

    if (top) {
        return;
    }

    do {
        n = write(done_fd, &one, sizeof(one));
    } while (n == -1 && errno == EINTR);
}

/* 1: the answer is on its way, and the job is Go's. */
int
gsgi_done_put(gsgi_job_t *job, int how)
{
    if (job->block_len > COPIED || gsgi_now() - job->begun < LONG_NS
        || gsgi_job_reserve(job, job->block_len))
    {
        return 0;
    }

    if (job->block_len) {
        memcpy(job->data, job->block, job->block_len);
        job->block = job->data;
    }

    job->how = how;
    push(job);

    return 1;
}

gsgi_job_t **
gsgi_done_list(void)
{
    return &done;
}
