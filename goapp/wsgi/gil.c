/*
 * Whether some thread holds the interpreter lock, asked by threads that do
 * not.  Up to 3.11 Python has a word for that.  From 3.12 on a thread knows of
 * itself alone; not to know of the others made hello half as fast.  The lock
 * is a word in Python's own state then, behind two others whose values are
 * known while a single thread runs (_gil_runtime_state: the interval, the last
 * holder, the lock), and it proves itself by what it does when that thread
 * lets the lock go.
 */

#include "python.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#if PY_VERSION_HEX < 0x030c0000

int
gsgi_gil_init(void)
{
    return 1;
}

int
gsgi_gil_locked(void)
{
    return _PyThreadState_UncheckedGet() != NULL;
}

#else

typedef struct {
    unsigned long   interval;       /* us */
    PyThreadState  *last_holder;
    int             locked;
} gil_t;

static const int *gil;              /* NULL: it is not known */

/* Python's state, which holds that of its main interpreter. */
static const char *
runtime(size_t *size)
{
    const ElfW(Sym) *symbol = NULL;
    void *start = dlsym(RTLD_DEFAULT, "_PyRuntime");
    Dl_info info;

    if (!start
        || !dladdr1(start, &info, (void **) &symbol, RTLD_DL_SYMENT)
        || !symbol || info.dli_saddr != start)
    {
        return NULL;
    }

    *size = symbol->st_size;

    return start;
}

/* NULL also when it is not the only one. */
static const int *
find(unsigned long interval, const PyThreadState *holder)
{
    size_t size = 0, at;
    const char *start = runtime(&size);
    const int *found = NULL;
    const gil_t *p;

    for (at = 0; start && at + sizeof(*p) <= size; at += sizeof(void *)) {
        p = (const gil_t *) (const void *) (start + at);
        if (p->interval == interval && p->last_holder == holder
            && p->locked == 1)
        {
            if (found) {
                return NULL;
            }
            found = &p->locked;
        }
    }

    return found;
}

static unsigned long
switch_interval(void)
{
    PyObject *get = PySys_GetObject("getswitchinterval");
    PyObject *seconds = get ? PyObject_CallNoArgs(get) : NULL;
    double us = seconds ? PyFloat_AsDouble(seconds) * 1e6 : -1;

    Py_XDECREF(seconds);
    PyErr_Clear();

    return us > 0 ? (unsigned long) (us + 0.5) : 0;
}

int
gsgi_gil_init(void)
{
    PyThreadState *self = PyThreadState_Get();
    const int *word = find(switch_interval(), self);
    int let_go;

    if (!word) {
        return 0;
    }

    PyEval_SaveThread();
    let_go = __atomic_load_n(word, __ATOMIC_SEQ_CST) == 0;
    PyEval_RestoreThread(self);

    if (let_go && __atomic_load_n(word, __ATOMIC_SEQ_CST) == 1) {
        gil = word;
    }

    return gil != NULL;
}

int
gsgi_gil_locked(void)
{
    return gil && __atomic_load_n(gil, __ATOMIC_RELAXED) == 1;
}

#endif
