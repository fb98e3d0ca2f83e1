/*
 * The memory that Python's own allocator takes: arenas from huge pages, of
 * which an import would fault in thousands of small ones, and pieces of the
 * stack of frames, one of which is kept, as calls cross its end to and fro.
 */

#include "python.h"

#include <sys/mman.h>

#define HUGE_PAGE   ((size_t) 2 << 20)
#define ARENA       ((size_t) 256 << 10)    /* the least: Python 3.9's */
#define PIECE       ((size_t) 16 << 10)

static char *unused;                /* of a huge page, unused_size bytes */
static size_t unused_size;          /* both under the interpreter lock */
static void *kept;                  /* atomic: threads end without the lock */

static void *
map(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

static void
take_huge_page(void)
{
    char *p = map(2 * HUGE_PAGE);
    size_t before = -(uintptr_t) p & (HUGE_PAGE - 1);

    if (!p) {
        return;
    }

    if (before) {
        munmap(p, before);
    }

    munmap(p + before + HUGE_PAGE, HUGE_PAGE - before);
    madvise(p + before, HUGE_PAGE, MADV_HUGEPAGE);

    unused = p + before;
    unused_size = HUGE_PAGE;
}

static void *
alloc_arena(size_t size)
{
    void *p;

    if (unused_size < size) {
        take_huge_page();
    }

    if (unused_size < size) {
        return map(size);
    }

    p = unused;
    unused += size;
    unused_size -= size;

    return p;
}

static void *
arena_alloc(void *ctx, size_t size)
{
    void *p;

    if (size >= ARENA) {
        return alloc_arena(size);
    }

    p = size == PIECE ? __atomic_exchange_n(&kept, NULL, __ATOMIC_ACQ_REL)
                      : NULL;

    return p ? p : map(size);
}

static void
arena_free(void *ctx, void *p, size_t size)
{
    if (size == PIECE) {
        p = __atomic_exchange_n(&kept, p, __ATOMIC_ACQ_REL);
    }

    if (p) {
        munmap(p, size);
    }
}

void
gsgi_arena_init(void)
{
    static PyObjectArenaAllocator allocator = {
        NULL, arena_alloc, arena_free
    };

    PyObject_SetArenaAllocator(&allocator);
}
