/*
 * Copyright (C) The GSGI Authors
 *
 * A server's thread that waits for news of its own slot.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "gsgi_bridge.h"


#define GSGI_NEVER         UINT64_MAX
#define GSGI_MS            UINT64_C(1000000)
#define GSGI_POLL_MAX      (60 * 1000)      /* ms in one call */
#define GSGI_POLL_NO_EFD   5                /* ms, where eventfd is refused */

#if defined(__x86_64__) || defined(__i386__)
#define gsgi_cpu_pause()  __builtin_ia32_pause()
#elif defined(__aarch64__)
#define gsgi_cpu_pause()  __asm__ __volatile__ ("yield" ::: "memory")
#else
#define gsgi_cpu_pause()  (void) 0
#endif


static uint64_t
gsgi_earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}


static uint32_t
gsgi_wait_spin(gsgi_slot_t *slot, uint64_t until)
{
    int       i;
    uint32_t  events;

    do {
        for (i = 0; i < 32; i++) {
            events = gsgi_slot_take(slot);
            if (events) {
                return events;
            }

            gsgi_cpu_pause();
        }

    } while (gsgi_now() < until);

    return 0;
}


/*
 * The futex is on cq_wait and not on cq_events: the library clears cq_wait
 * before it wakes, so that a wake-up for news that were taken already is seen
 * here as a changed value and not slept through.
 */
static int
gsgi_futex_wait(uint32_t *word, uint32_t value, uint64_t until)
{
    struct timespec  ts;

    ts.tv_sec = until / 1000000000;
    ts.tv_nsec = until % 1000000000;

    if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value,
                until == GSGI_NEVER ? NULL : &ts, NULL,
                FUTEX_BITSET_MATCH_ANY)
        == 0)
    {
        return GSGI_OK;
    }

    return errno == EAGAIN || errno == EINTR ? GSGI_OK : GSGI_AGAIN;
}


static uint32_t
gsgi_wait_futex(gsgi_slot_t *slot, uint64_t until)
{
    int       rc;
    uint32_t  events;

    rc = GSGI_OK;

    for ( ;; ) {
        gsgi_store(&slot->cq_wait, GSGI_WAIT_FUTEX);

        events = gsgi_slot_take(slot);

        if (events || rc != GSGI_OK) {
            break;
        }

        rc = gsgi_futex_wait(&slot->cq_wait, GSGI_WAIT_FUTEX, until);
    }

    gsgi_store(&slot->cq_wait, GSGI_WAIT_NONE);

    return events;
}


/* Made once in the life of the slot's memory, and never closed. */
static int
gsgi_wait_efd(gsgi_slot_t *slot)
{
    if (slot->cq_efd == -1) {
        slot->cq_efd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    }

    return slot->cq_efd;
}


static int
gsgi_poll_ms(uint64_t until, int efd)
{
    uint64_t  now, ms, max;

    max = efd == -1 ? GSGI_POLL_NO_EFD : GSGI_POLL_MAX;

    if (until == GSGI_NEVER) {
        return (int) max;
    }

    now = gsgi_now();
    ms = now < until ? (until - now + GSGI_MS - 1) / GSGI_MS : 0;

    return (int) gsgi_earlier(ms, max);
}


/* One poll.  Returns what has come to pass at fd. */
static int
gsgi_poll_once(int fd, int wanted, int efd, uint64_t until)
{
    uint64_t       count;
    struct pollfd  pfd[2];

    pfd[0].fd = fd;
    pfd[0].events = (short) wanted;
    pfd[0].revents = 0;

    pfd[1].fd = efd;
    pfd[1].events = POLLIN;
    pfd[1].revents = 0;

    if (poll(pfd, 2, gsgi_poll_ms(until, efd)) <= 0) {
        return 0;
    }

    if (pfd[1].revents && read(efd, &count, sizeof(count)) == -1) {
        /* another wake-up was drained meanwhile */
    }

    return pfd[0].revents;
}


static uint32_t
gsgi_wait_poll(gsgi_slot_t *slot, int fd, int wanted, uint64_t until,
    int *fd_ready)
{
    int       efd;
    uint32_t  events;

    efd = gsgi_wait_efd(slot);

    for ( ;; ) {
        gsgi_store(&slot->cq_wait,
                   efd == -1 ? GSGI_WAIT_NONE : GSGI_WAIT_POLL);

        events = gsgi_slot_take(slot);
        if (events) {
            break;
        }

        *fd_ready = gsgi_poll_once(fd, wanted, efd, until);
        events = gsgi_slot_take(slot);

        if (events || *fd_ready
            || (until != GSGI_NEVER && gsgi_now() >= until))
        {
            break;
        }
    }

    gsgi_store(&slot->cq_wait, GSGI_WAIT_NONE);

    return events;
}


int
gsgi_slot_wait(gsgi_bridge_t *b, gsgi_slot_t *slot, uint32_t spin_ns,
    uint32_t futex_ms, int fd, int32_t timeout_ms, uint32_t *events_out,
    int *fd_ready_out)
{
    int       fd_ready;
    uint32_t  events;
    uint64_t  now, end, until;

    fd_ready = 0;
    events = gsgi_slot_take(slot);

    if (events == 0) {
        now = gsgi_now();
        end = timeout_ms < 0 ? GSGI_NEVER
                             : now + (uint64_t) timeout_ms * GSGI_MS;
        until = gsgi_earlier(now + spin_ns, end);

        if (spin_ns) {
            events = gsgi_wait_spin(slot, until);

        } else {
            sched_yield();
            events = gsgi_slot_take(slot);
        }

        until = gsgi_earlier(until + futex_ms * GSGI_MS, end);

        if (events == 0 && (fd == -1 || futex_ms)) {
            events = gsgi_wait_futex(slot, fd == -1 ? end : until);
        }

        if (events == 0 && fd != -1) {
            events = gsgi_wait_poll(slot, fd, POLLIN | POLLRDHUP, end,
                                    &fd_ready);
        }
    }

    *events_out = events;

    if (fd_ready_out) {
        *fd_ready_out = fd_ready != 0;
    }

    return events || fd_ready ? GSGI_OK : GSGI_AGAIN;
}


uint32_t
gsgi_slot_poll(gsgi_slot_t *slot, int fd, int wanted, uint32_t timeout_ms,
    int *revents_out)
{
    *revents_out = 0;

    return gsgi_wait_poll(slot, fd, wanted,
                          gsgi_now() + (uint64_t) timeout_ms * GSGI_MS,
                          revents_out);
}
