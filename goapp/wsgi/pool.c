/*
 * The threads that run Python, and the queue before them.  Each is one thread
 * of the system with one thread state for ever: threading.local and what
 * belongs to a thread stay with it.
 *
 * A thread that has finished a request takes the next one without letting go
 * of the interpreter lock.  While it holds that lock, to wake another thread
 * would only make the two fight for it; so the one that is idle and next in
 * turn is the standby: every few milliseconds it looks whether the queue moves
 * and the lock is held, and comes to help when that is not so.
 */

#include "python.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#define STANDBY_NS  1000000         /* doubled while somebody computes */
#define LOCKED_MAX  2               /* so many times */
#define STILL_MAX   2

__thread gsgi_thread_t *gsgi_self;

static struct {
    pthread_mutex_t  lock;
    gsgi_job_t      *head;
    gsgi_job_t      *tail;
    unsigned         idle;          /* a stack: index + 1 of the last */
    unsigned         nidle;
    unsigned         coming;        /* woken, and have not looked yet */
    unsigned         standby;       /* the last one looks at the queue */
    unsigned         locked;        /* looks in a row: somebody computes, */
    unsigned         still;         /* and the queue does not move */
    uint64_t         taken;         /* jobs, ever */
} pool = { PTHREAD_MUTEX_INITIALIZER, NULL, NULL, 0, 0, 0, 0, 0, 0, 0 };

static gsgi_inbox_t inbox;

gsgi_inbox_t *
gsgi_job_inbox(void)
{
    return &inbox;
}

gsgi_job_t *
gsgi_job_new(uint64_t id)
{
    gsgi_job_t *job = calloc(1, sizeof(gsgi_job_t));

    if (job) {
        job->id = id;
    }

    return job;
}

void
gsgi_job_free(gsgi_job_t *job)
{
    free(job->data);
    free(job->head);
    free(job);
}

/* Room for size bytes in data; what was there is lost. */
int
gsgi_job_reserve(gsgi_job_t *job, size_t size)
{
    size_t room = job->room ? job->room : 2048;
    char *p;

    while (room < size) {
        room *= 2;
    }

    if (room != job->room) {
        p = malloc(room);
        if (!p) {
            return -1;
        }
        free(job->data);
        job->data = p;
        job->room = room;
    }

    return 0;
}

/* Takes the thread off the stack that it is the last of, to run. */
static gsgi_thread_t *
pop_idle(int doubtful)
{
    gsgi_thread_t *t = &gsgi_python.threads[pool.idle - 1];

    pool.idle = t->next;
    pool.nidle--;
    pool.standby = 0;
    pool.coming++;
    t->woken = 1;
    t->doubtful = (unsigned) doubtful;

    return t;
}

/* Who is to be told that there is a job, NULL for nobody. */
static gsgi_thread_t *
choose(void)
{
    if (!pool.idle) {
        return NULL;
    }

    if (!pool.coming && pool.nidle == gsgi_python.conf.threads) {
        return pop_idle(0);
    }

    if (!pool.coming && !gsgi_gil_locked()) {
        return pop_idle(1);
    }

    if (pool.standby) {
        return NULL;
    }

    pool.standby = 1;

    return &gsgi_python.threads[pool.idle - 1];
}

/* Moves what Go has put into the inbox, last in, first out, to the queue. */
static void
drain(void)
{
    gsgi_job_t *job, *last, *next, *first = NULL;

    if (!__atomic_load_n(&inbox.jobs, __ATOMIC_SEQ_CST)) {
        return;
    }

    job = __atomic_exchange_n(&inbox.jobs, NULL, __ATOMIC_SEQ_CST);

    for (last = job; job; job = next) {
        next = job->next;
        job->next = first;
        first = job;
    }

    if (pool.tail) {
        pool.tail->next = first;
    } else {
        pool.head = first;
    }
    pool.tail = last;
}

/* Before the lock is let go: Go need not tell of a job while the standby looks
 * and has found somebody computing.  Whoever takes that back looks for what
 * has come without a word; returns who is to be told of it. */
static gsgi_thread_t *
set_watched(void)
{
    uint32_t watched = pool.standby && pool.locked;

    if (watched == inbox.watched) {
        return NULL;
    }

    __atomic_store_n(&inbox.watched, watched, __ATOMIC_SEQ_CST);

    if (watched) {
        return NULL;
    }

    drain();

    return pool.head ? choose() : NULL;
}

static void
tell(gsgi_thread_t *t)
{
    if (t) {
        pthread_cond_signal(&t->cond);
    }
}

void
gsgi_job_queued(void)
{
    gsgi_thread_t *t, *other;

    pthread_mutex_lock(&pool.lock);

    drain();
    t = pool.head ? choose() : NULL;
    other = set_watched();

    pthread_mutex_unlock(&pool.lock);

    tell(t);
    tell(other);
}

static gsgi_job_t *
next_job(gsgi_thread_t *self)
{
    gsgi_thread_t *other, *t = NULL;
    gsgi_job_t *job;

    pthread_mutex_lock(&pool.lock);

    if (self->woken) {
        self->woken = 0;
        pool.coming--;
    }

    drain();
    job = pool.head;
    if (job) {
        pool.taken++;
        pool.head = job->next;
        if (!pool.head) {
            pool.tail = NULL;
        } else if (!pool.standby) {
            t = choose();
        }
    }
    other = set_watched();

    pthread_mutex_unlock(&pool.lock);

    tell(t);
    tell(other);

    return job;
}

/* The standby's turn: 1 when a job has waited without any being taken, and
 * nobody computes, or somebody does for long. */
static int
stand_by(gsgi_thread_t *t)
{
    struct timespec ts;
    uint64_t taken = pool.taken;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_nsec += STANDBY_NS << pool.locked;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_nsec -= 1000000000;
        ts.tv_sec++;
    }

    if (pthread_cond_timedwait(&t->cond, &pool.lock, &ts) != ETIMEDOUT) {
        return 0;
    }

    drain();

    if (!gsgi_gil_locked()) {
        pool.locked = 0;
    } else if (pool.locked < LOCKED_MAX) {
        pool.locked++;
    }

    if (pool.taken != taken) {
        pool.still = 0;
        return 0;
    }

    if (!pool.head) {
        pool.standby = 0;           /* nothing happens */
        return 0;
    }

    return !pool.locked || ++pool.still > STILL_MAX;
}

/* Waits for a job, without the interpreter lock; also while there are some
 * for others. */
static void
wait_job(gsgi_thread_t *t, int others)
{
    unsigned self = (unsigned) (t - gsgi_python.threads) + 1;

    pthread_mutex_lock(&pool.lock);

    drain();

    if (!pool.head || others) {
        t->woken = 0;
        t->next = pool.idle;
        pool.idle = self;
        pool.nidle++;
        pool.standby = pool.head != NULL;

        while (!t->woken) {
            tell(set_watched());
            if (t->woken) {
                break;
            }
            if (!pool.standby || pool.idle != self) {
                pthread_cond_wait(&t->cond, &pool.lock);
            } else if (stand_by(t) && !t->woken
                       && pool.idle == self)
            {
                (void) pop_idle(!pool.locked);
            }
        }
    }

    pthread_mutex_unlock(&pool.lock);
}

static void
run(gsgi_thread_t *t, gsgi_job_t *job)
{
    __atomic_store_n(&t->running, job->id + 1, __ATOMIC_SEQ_CST);
    t->job = job;
    gsgi_request_run(job);
    t->job = NULL;
    __atomic_store_n(&t->running, 0, __ATOMIC_SEQ_CST);

    if (t->interrupted) {
        t->interrupted = 0;
        PyThreadState_SetAsyncExc(t->ident, NULL);
    }

    if (PyErr_Occurred()) {
        gsgi_log_exception(NULL);
    }
}

/* Code lets go of the interpreter lock for moments, a hundred times for a form
 * of Django.  Whoever has been woken in one of these waits on. */
static int
was_a_moment(gsgi_thread_t *t)
{
    if (!t->doubtful) {
        return 0;
    }

    (void) sched_yield();

    if (!gsgi_gil_locked()) {
        return 0;
    }

    pthread_mutex_lock(&pool.lock);
    t->woken = 0;
    pool.coming--;
    pthread_mutex_unlock(&pool.lock);

    return 1;
}

/* Without the interpreter lock. */
static void
wait_turn(gsgi_thread_t *t, int others)
{
    t->doubtful = 0;
    wait_job(t, others);

    while (was_a_moment(t)) {
        wait_job(t, 1);
    }
}

/* After a request: lets go of the interpreter lock where others are in theirs.
 * When one of them has been waiting for it, this thread steps back, or the two
 * would hand the lock to and fro in all that follows. */
static void
step_back(gsgi_thread_t *t)
{
    unsigned idle = __atomic_load_n(&pool.nidle, __ATOMIC_RELAXED);

    if (idle + 1 >= gsgi_python.conf.threads) {
        return;
    }

    PyEval_SaveThread();
    (void) sched_yield();

    if (gsgi_gil_locked()) {
        wait_turn(t, 1);
    }

    PyEval_RestoreThread(t->state);
}

static void *
thread_main(void *arg)
{
    gsgi_thread_t *t = arg;
    gsgi_job_t *job;

    gsgi_self = t;
    (void) PyGILState_Ensure();
    t->state = PyThreadState_Get();
    t->ident = PyThread_get_thread_ident();

    for ( ;; ) {
        job = next_job(t);

        if (job) {
            run(t, job);
            step_back(t);
            continue;
        }

        PyEval_SaveThread();
        wait_turn(t, 0);
        PyEval_RestoreThread(t->state);
    }

    return NULL;
}

int
gsgi_pool_start(void)
{
    unsigned i, n = gsgi_python.conf.threads;
    pthread_condattr_t attr;

    gsgi_python.threads = calloc(n, sizeof(gsgi_thread_t));

    if (!gsgi_python.threads) {
        return -1;
    }

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);

    for (i = 0; i < n; i++) {
        pthread_cond_init(&gsgi_python.threads[i].cond, &attr);
        if (pthread_create(&gsgi_python.threads[i].thread, NULL, thread_main,
                           &gsgi_python.threads[i]))
        {
            return -1;
        }
        pthread_detach(gsgi_python.threads[i].thread);
    }

    return 0;
}

uint64_t
gsgi_thread_job(unsigned i)
{
    return __atomic_load_n(&gsgi_python.threads[i].running,
                           __ATOMIC_SEQ_CST);
}
