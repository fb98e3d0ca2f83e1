/*
 * Where all Python threads are, told without the interpreter lock, for when
 * somebody keeps it.  faulthandler has a function for that, which libpython
 * hides from 3.13 on; then a signal that faulthandler listens to calls it.
 */

#include "python.h"

#include <dlfcn.h>
#include <signal.h>

#define STDERR  2

static void (*handler)(int);
static int signo;

static void *
hidden(void)
{
    return dlsym(RTLD_DEFAULT, "_Py_DumpTracebackThreads");
}

static void (*handler_of(int n))(int)
{
    struct sigaction sa;

    return sigaction(n, NULL, &sa) ? SIG_ERR : sa.sa_handler;
}

/* A signal that nobody uses. */
static int
unused(void)
{
    int n;

    for (n = SIGRTMAX; n > SIGRTMIN; n--) {
        if (handler_of(n) == SIG_DFL) {
            return n;
        }
    }

    return 0;
}

/* Takes a signal, where one is needed.  The caller holds the interpreter
 * lock. */
int
gsgi_dump_init(void)
{
    PyObject *module, *result;
    int n = hidden() ? 0 : unused();

    if (n == 0) {
        return 0;
    }

    module = PyImport_ImportModule("faulthandler");
    result = module ? PyObject_CallMethod(module, "register", "ii", n, STDERR)
                    : NULL;
    Py_XDECREF(module);
    Py_XDECREF(result);

    if (!result) {
        return -1;
    }

    handler = handler_of(n);
    signo = n;

    return 0;
}

static int
dump_by_signal(void)
{
    sigset_t set, old;

    /* the application may have taken it since */
    if (signo == 0 || handler_of(signo) != handler) {
        return 0;
    }

    sigemptyset(&set);
    sigaddset(&set, signo);
    pthread_sigmask(SIG_UNBLOCK, &set, &old);
    raise(signo);
    pthread_sigmask(SIG_SETMASK, &old, NULL);

    return 1;
}

int
gsgi_python_dump(void)
{
    const char *(*dump)(int, PyInterpreterState *, PyThreadState *);

    *(void **) &dump = hidden();

    if (!dump) {
        return dump_by_signal();
    }

    dump(STDERR, NULL, NULL);

    return 1;
}
