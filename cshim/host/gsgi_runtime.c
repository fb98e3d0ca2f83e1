/*
 * Copyright (C) The GSGI Authors
 *
 * Go runtimes that other modules of the server have brought into this
 * process.  A runtime stops a goroutine that does not stop by itself with
 * SIGURG, and takes that signal for itself when it starts.  One that was there
 * before never hears of its own signals again, and when it is to collect
 * garbage it waits for a tight loop to end.  Here all of them are called; each
 * leaves threads alone that are not its own.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gsgi_load.h"

#define GSGI_RUNTIMES  8

typedef void (*gsgi_runtime_nothing_pt)(void);
typedef void (*gsgi_runtime_handler_pt)(int signo, siginfo_t *info,
    void *context);

typedef struct {
    unsigned long long   adds;  /* objects loaded so far */
    char                *path;
    size_t               len;
} gsgi_runtime_news_t;


static void gsgi_runtime_signal(int signo, siginfo_t *info, void *context);

#ifdef __GLIBC__
void gsgi_runtime_locked(void)
    __attribute__((ifunc("gsgi_runtime_resolve"), visibility("default")));
#endif


static pthread_mutex_t          gsgi_runtime_lock = PTHREAD_MUTEX_INITIALIZER;

/* Those that have had SIGURG; they come and never go. */
static gsgi_runtime_handler_pt  gsgi_runtime_handlers[GSGI_RUNTIMES];
static uint32_t                 gsgi_runtime_nhandlers;

/* What gsgi_runtime_resolve is to call. */
static gsgi_runtime_start_pt    gsgi_runtime_start;
static void                    *gsgi_runtime_data;

/* What has been reported, to the thread that asks. */
static ElfW(Addr)               gsgi_runtime_known[GSGI_RUNTIMES];
static size_t                   gsgi_runtime_nknown;
static unsigned long long       gsgi_runtime_adds;


/* Notes need not be loaded; those of Go are. */

static int
gsgi_runtime_note_loaded(const struct dl_phdr_info *info,
    const ElfW(Phdr) *note)
{
    size_t             i;
    const ElfW(Phdr)  *ph;

    for (i = 0; i < info->dlpi_phnum; i++) {
        ph = &info->dlpi_phdr[i];

        if (ph->p_type == PT_LOAD && note->p_vaddr >= ph->p_vaddr
            && note->p_memsz <= ph->p_filesz
            && note->p_vaddr - ph->p_vaddr <= ph->p_filesz - note->p_memsz)
        {
            return 1;
        }
    }

    return 0;
}


/* An object with the note that Go's linker writes has a Go runtime. */

static int
gsgi_runtime_is_go(const struct dl_phdr_info *info)
{
    size_t             i, off;
    const char        *p;
    const ElfW(Phdr)  *ph;
    const ElfW(Nhdr)  *note;

    for (i = 0; i < info->dlpi_phnum; i++) {
        ph = &info->dlpi_phdr[i];

        if (ph->p_type != PT_NOTE || !gsgi_runtime_note_loaded(info, ph)) {
            continue;
        }

        p = (const char *) info->dlpi_addr + ph->p_vaddr;

        for (off = 0; off + sizeof(*note) + 4 <= ph->p_memsz; /* void */ ) {
            note = (const ElfW(Nhdr) *) (p + off);

            if (note->n_type == 4 && note->n_namesz == 4
                && memcmp(note + 1, "Go\0", 4) == 0)
            {
                return 1;
            }

            off += sizeof(*note) + ((note->n_namesz + 3) & ~3U)
                   + ((note->n_descsz + 3) & ~3U);
        }
    }

    return 0;
}


static int
gsgi_runtime_has(struct dl_phdr_info *info, size_t size, void *data)
{
    size_t             i;
    const ElfW(Phdr)  *ph;
    const ElfW(Addr)  *address = data;      /* of code, to find whose it is */

    for (i = 0; i < info->dlpi_phnum; i++) {
        ph = &info->dlpi_phdr[i];

        if (ph->p_type == PT_LOAD
            && *address - info->dlpi_addr - ph->p_vaddr < ph->p_memsz)
        {
            return gsgi_runtime_is_go(info) ? 1 : -1;
        }
    }

    return 0;
}


/*
 * Takes a handler of SIGURG into the list when it is of a Go runtime.
 * Returns whether it is in the list now.
 */

static int
gsgi_runtime_note(const struct sigaction *sa)
{
    uint32_t    i;
    ElfW(Addr)  address;

    if (!(sa->sa_flags & SA_SIGINFO)
        || sa->sa_sigaction == gsgi_runtime_signal)
    {
        return 0;
    }

    for (i = 0; i < gsgi_runtime_nhandlers; i++) {
        if (gsgi_runtime_handlers[i] == sa->sa_sigaction) {
            return 1;
        }
    }

    address = (ElfW(Addr)) sa->sa_sigaction;

    if (i == GSGI_RUNTIMES
        || dl_iterate_phdr(gsgi_runtime_has, &address) != 1)
    {
        return 0;
    }

    gsgi_runtime_handlers[i] = sa->sa_sigaction;
    __atomic_store_n(&gsgi_runtime_nhandlers, i + 1, __ATOMIC_SEQ_CST);

    return 1;
}


/*
 * A signal that was lost meanwhile is never sent again: its runtime waits for
 * it.  Any signal does instead.
 */

static void
gsgi_runtime_nudge(void)
{
    DIR            *dir;
    struct dirent  *entry;

    dir = opendir("/proc/self/task");

    if (dir == NULL) {
        return;
    }

    while ((entry = readdir(dir)) != NULL) {
        if (atoi(entry->d_name) > 0) {
            syscall(SYS_tgkill, getpid(), atoi(entry->d_name), SIGURG);
        }
    }

    closedir(dir);
}


void
gsgi_runtimes_share(void)
{
    struct sigaction  sa, old;

    pthread_mutex_lock(&gsgi_runtime_lock);

    if (sigaction(SIGURG, NULL, &old) == 0 && gsgi_runtime_note(&old)
        && gsgi_runtime_nhandlers > 1)
    {
        sa.sa_sigaction = gsgi_runtime_signal;
        sa.sa_flags = SA_SIGINFO|SA_ONSTACK|SA_RESTART;
        sigfillset(&sa.sa_mask);

        sigaction(SIGURG, &sa, &old);
        (void) gsgi_runtime_note(&old);
        gsgi_runtime_nudge();
    }

    pthread_mutex_unlock(&gsgi_runtime_lock);
}


static void
gsgi_runtime_signal(int signo, siginfo_t *info, void *context)
{
    int       err;
    uint32_t  i, n;

    err = errno;
    n = __atomic_load_n(&gsgi_runtime_nhandlers, __ATOMIC_SEQ_CST);

    for (i = 0; i < n; i++) {
        gsgi_runtime_handlers[i](signo, info, context);
    }

    errno = err;
}


/* Who has had SIGURG shows only as long as nobody else has taken it. */

static void
gsgi_runtime_look(void)
{
    struct sigaction  sa;

    pthread_mutex_lock(&gsgi_runtime_lock);

    if (sigaction(SIGURG, NULL, &sa) == 0) {
        (void) gsgi_runtime_note(&sa);
    }

    pthread_mutex_unlock(&gsgi_runtime_lock);
}


static void
gsgi_runtime_nothing(void)
{
    /* void */
}


static gsgi_runtime_nothing_pt
gsgi_runtime_resolve(void)
{
    gsgi_runtime_start_pt  start;

    start = __atomic_exchange_n(&gsgi_runtime_start, NULL, __ATOMIC_SEQ_CST);

    if (start) {
        gsgi_runtime_look();
        start(gsgi_runtime_data);
        gsgi_runtime_look();
    }

    return gsgi_runtime_nothing;
}


/*
 * A runtime takes SIGURG in a constructor.  dlopen calls these with the lock
 * of the dynamic linker held, so that two libraries never do it at once; but
 * ours are called by hand.  dlsym holds that lock, too, while it calls the
 * resolver of an indirect function: this one calls our constructors.
 */

void
gsgi_runtimes_join(gsgi_runtime_start_pt start, void *data)
{
    Dl_info           info;
    struct link_map  *map;

    gsgi_runtime_data = data;
    __atomic_store_n(&gsgi_runtime_start, start, __ATOMIC_SEQ_CST);

    if (dladdr1(&gsgi_runtime_start, &info, (void **) &map, RTLD_DL_LINKMAP)
        != 0)
    {
        (void) dlsym(map, "gsgi_runtime_locked");
    }

    /* where there are no such functions, or ours was not exported */

    (void) gsgi_runtime_resolve();

    gsgi_runtimes_share();
}


static int
gsgi_runtime_new(struct dl_phdr_info *info, size_t size, void *data)
{
    size_t                i;
    gsgi_runtime_news_t  *news = data;

    news->adds = info->dlpi_adds;

    if (news->adds == gsgi_runtime_adds
        || gsgi_runtime_nknown == GSGI_RUNTIMES)
    {
        return -1;
    }

    for (i = 0; i < gsgi_runtime_nknown; i++) {
        if (gsgi_runtime_known[i] == info->dlpi_addr) {
            return 0;
        }
    }

    if (info->dlpi_addr == gsgi_library_base() || !gsgi_runtime_is_go(info)) {
        return 0;
    }

    gsgi_runtime_known[gsgi_runtime_nknown++] = info->dlpi_addr;
    snprintf(news->path, news->len, "%s",
             info->dlpi_name[0] ? info->dlpi_name : "the program itself");

    return 1;
}


int
gsgi_runtimes_new(char *path, size_t len)
{
    gsgi_runtime_news_t  news = { 0, path, len };

    if (dl_iterate_phdr(gsgi_runtime_new, &news) == 1) {
        return 1;
    }

    gsgi_runtime_adds = news.adds;

    return 0;
}
