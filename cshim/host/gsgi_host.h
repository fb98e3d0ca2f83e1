/*
 * The host's half of GSGI: what a server module links to carry requests to an
 * application library.  Server-neutral C; no Go, no nginx, no httpd.
 *
 *   gsgi_elf.c, gsgi_elf_check.c      checks a library's file unloaded
 *   gsgi_image.c                      a sealed private copy of it
 *   gsgi_probe.c, _guard.c, _child.c, _text.c   runs it in a throw-away child
 *   gsgi_library.c                    dlopen, constructors, symbols
 *   gsgi_loader.c                     starts, drains and stops it in a worker
 *   gsgi_signal.c                     keeps the server's signals the server's
 *   gsgi_bridge.c, _ring.c, _slot.c, _chunk.c, _wait.c, _log.c
 *                                     the region: see gsgi.h, section 2
 *   gsgi_pack.c                       writes the request block
 *   gsgi_head.c                       reads the response head
 *   gsgi_board.c                      figures of all workers, in shared memory
 *   gsgi_words.c                      what a dead worker had logged
 *   gsgi_status.c                     the status page
 *
 * Names say where a function may run: gsgi_parent_* in the master or parent,
 * before any fork of a worker, gsgi_child_* in the worker at its start (one of
 * them calls gsgi_parent_probe), the rest in the worker.  "Loop thread" is
 * NGINX's only thread; with a bridge of GSGI_REGION_RING all but the
 * gsgi_child_* functions belong to it.  Without, every request thread may call
 * everything, for its own slot.
 *
 * Errors come as a gsgi_rc and a NUL-terminated text in err (lower case, no
 * full stop, names the file and the cause).
 */

#ifndef GSGI_HOST_H
#define GSGI_HOST_H

#include <sys/types.h>
#include "../gsgi.h"

#define GSGI_ERR_MAX  2048


/*
 * Image: the application library as it was when the configuration was read.
 */

typedef struct {
    int        fd;              /* sealed memfd, or an unlinked file where
                                   memfd_create is refused; close-on-exec */
    char       path[4096];      /* where it was read from */
    char       build_id[96];    /* Go build id's hash or GNU build id, hex or
                                   text; "" when there is none */
    uint64_t   init_array;      /* virtual address of DT_INIT_ARRAY, 0: none */
    uint64_t   init_count;      /* its entries; zeroed in the copy */
    uint32_t   abi_major;
    uint32_t   abi_minor;
    dev_t      dev;             /* of the file, to see that it is the same */
    ino_t      ino;
    off_t      size;
    struct timespec  mtime;
} gsgi_image_t;

/*
 * Opens, checks (regular file, ELF of this machine, shared object, exports
 * the five symbols, ABI fits, not built with musl) and copies the library at
 * path.  Nothing of it is loaded or run.
 *
 * tmpdir: where the unlinked copy goes when a memfd is refused, may be NULL.
 * Ownership: img->fd is the caller's, gsgi_parent_image_close gives it back.
 * Returns: GSGI_OK; GSGI_MISMATCH (both versions in err); GSGI_ERROR.
 */
int gsgi_parent_image_open(gsgi_image_t *img, const char *path,
    const char *tmpdir, char *err, size_t errlen);
void gsgi_parent_image_close(gsgi_image_t *img);

/* Checks size bytes at data as gsgi_parent_image_open does and fills the
 * fields of img that come from the file's content.  Never reads outside. */
int gsgi_elf_check(gsgi_image_t *img, const void *data, size_t size,
    char *err, size_t errlen);


/*
 * What the application is started with.  All NULL-terminated arrays of
 * NUL-terminated strings; argv[0] is the library's path.
 */

typedef struct {
    const gsgi_image_t  *image;
    char *const         *argv;
    char *const         *envp;
    const char          *directory;     /* working directory, NULL: that of
                                           the library */
    gsgi_start_conf_t    conf;          /* region, err: set by the callee */
} gsgi_launch_t;

typedef struct {
    char      entries[64][64];  /* what the application serves */
    uint32_t  nentries;
} gsgi_probe_t;

/*
 * Runs the application in a child process up to ListenAndServe.  The child
 * becomes uid and gid (when this process is root and uid is not (uid_t) -1;
 * supplementary groups are those of user and gid, or gid where it is NULL),
 * changes to the directory, closes every descriptor that is not its own, has
 * default signal dispositions and an empty mask, leads a process group of its
 * own, dies with its parent, and is killed with its group after timeout
 * milliseconds.  Its standard error is a pipe to this process: its last lines
 * are in err when it fails.  It is reaped by its pid.
 *
 * Returns: GSGI_OK with probe_out filled; GSGI_ERROR: the application is not
 * good; GSGI_NOMEM: there was no process, pipe or memory to try it in.
 */
int gsgi_parent_probe(const gsgi_launch_t *launch, const char *user,
    uid_t uid, gid_t gid, uint32_t timeout, gsgi_probe_t *probe_out,
    char *err, size_t errlen);


/*
 * Bridge: one per worker.
 */

typedef struct gsgi_bridge_s  gsgi_bridge_t;

typedef struct {
    uint32_t  flags;            /* GSGI_REGION_* */
    uint32_t  nslots;
    uint32_t  nchunks;
    uint32_t  chunks_keep;
    uint32_t  log_size;         /* 0: 256 KiB */
} gsgi_bridge_conf_t;

/* Maps the region and makes the eventfds (non-blocking, close-on-exec).
 * Lives as long as the process. */
int gsgi_child_bridge_create(gsgi_bridge_t **b_out,
    const gsgi_bridge_conf_t *conf, char *err, size_t errlen);

gsgi_region_t *gsgi_region(gsgi_bridge_t *b);

/* A slot with everything reset but gen (advanced), cq_efd and sq_events;
 * body_fd is -1 and content_length 0.  NULL when all are in use. */
gsgi_slot_t *gsgi_slot_get(gsgi_bridge_t *b);
uint32_t gsgi_slot_index(gsgi_bridge_t *b, const gsgi_slot_t *slot);
gsgi_slot_t *gsgi_slot_at(gsgi_bridge_t *b, uint32_t index);
u_char *gsgi_slot_data(gsgi_slot_t *slot);

/* Gives back a slot that was never submitted. */
void gsgi_slot_put(gsgi_bridge_t *b, gsgi_slot_t *slot);

/* Submits: sets submitted_ns if it is 0, counts the slot in in_flight and
 * wakes the library. */
void gsgi_slot_submit(gsgi_bridge_t *b, gsgi_slot_t *slot);

/* Rings GSGI_SQ_POKE. */
void gsgi_slot_poke(gsgi_bridge_t *b, gsgi_slot_t *slot);

/* Adds GSGI_HOST_* to host_flags and pokes. */
void gsgi_slot_tell(gsgi_bridge_t *b, gsgi_slot_t *slot, uint32_t host_flags);

/* Subtracts the slot from in_flight, once; called at the head. */
void gsgi_slot_answered(gsgi_bridge_t *b, gsgi_slot_t *slot);

/* GSGI_CQ_UPGRADE was taken: gsgi_slot_answered.  Returns from where the bytes
 * that gsgi_in_put publishes are counted on. */
uint64_t gsgi_slot_upgraded(gsgi_bridge_t *b, gsgi_slot_t *slot);

/*
 * Lets go.  released: GSGI_CQ_RELEASE has been taken from this slot.  When it
 * has not, the slot counts as abandoned until the library lets go; with
 * GSGI_REGION_RING gsgi_completion_next then frees it.
 */
void gsgi_slot_release(gsgi_bridge_t *b, gsgi_slot_t *slot, int released);

/* GSGI_REGION_RING: the next slot that has news, and the news (not 0).
 * A slot that the host has let go is handled inside and not returned.
 * Returns GSGI_OK or GSGI_AGAIN. */
int gsgi_completion_next(gsgi_bridge_t *b, gsgi_slot_t **slot_out,
    uint32_t *events_out);

/* Declares that the host is about to sleep.  Returns GSGI_OK when it may,
 * GSGI_AGAIN when something has come meanwhile (ring, log, app_state). */
int gsgi_completion_sleep(gsgi_bridge_t *b);

/*
 * Without GSGI_REGION_RING: waits for news of the thread's own slot.  Spins
 * for spin_ns, or gives its processor away once when that is 0, then waits in
 * a futex for futex_ms, then (fd != -1) polls fd for POLLIN | POLLRDHUP
 * together with the slot's eventfd, until timeout_ms (-1: none) have passed in
 * all.
 * Returns GSGI_OK with the news taken (*events_out not 0); GSGI_AGAIN when
 * the time has passed; with *fd_ready_out set when fd became readable or hung
 * up (events may be 0 then, result GSGI_OK).
 */
int gsgi_slot_wait(gsgi_bridge_t *b, gsgi_slot_t *slot, uint32_t spin_ns,
    uint32_t futex_ms, int fd, int32_t timeout_ms, uint32_t *events_out,
    int *fd_ready_out);

/* The same in poll only: waits for news or for the events wanted at fd, which
 * come in *revents_out.  Returns the news, or 0. */
uint32_t gsgi_slot_poll(gsgi_slot_t *slot, int fd, int wanted,
    uint32_t timeout_ms, int *revents_out);

/* Takes what is there now (may be 0), without waiting. */
uint32_t gsgi_slot_take(gsgi_slot_t *slot);

/* Chunks.  get returns an index or -1. */
int32_t gsgi_chunk_get(gsgi_bridge_t *b);
void gsgi_chunk_put(gsgi_bridge_t *b, uint32_t index);

/* Gives memory of idle chunks beyond chunks_keep back to the system.  Called
 * once a second while it returns 1: there is more. */
int gsgi_chunk_trim(gsgi_bridge_t *b);
gsgi_chunk_head_t *gsgi_chunk_head(gsgi_bridge_t *b, uint32_t index);
u_char *gsgi_chunk_data(gsgi_bridge_t *b, uint32_t index);

/* Takes the response's published chunks, oldest first, linked by next
 * (index + 1).  Returns the first's index + 1, or 0. */
uint32_t gsgi_out_take(gsgi_bridge_t *b, gsgi_slot_t *slot);

/* Takes only the informational responses in front of all else. */
uint32_t gsgi_out_interim(gsgi_bridge_t *b, gsgi_slot_t *slot);

/* Acknowledges n bytes of the response and pokes a waiting writer when that
 * is due.  published: bytes of the response taken so far. */
void gsgi_out_ack(gsgi_bridge_t *b, gsgi_slot_t *slot, uint64_t n,
    uint64_t published);

/*
 * The request body.  gsgi_in_room says how many more bytes the credit allows,
 * given the bytes published so far; when it is 0 it has set in_waiting, and
 * GSGI_CQ_CREDIT will come.  gsgi_in_put copies n bytes (n <= the room) into
 * chunks, filling the last unpublished one, and publishes them; GSGI_NOMEM
 * when there is no chunk: nothing of it was published then, try again later.
 * gsgi_in_state stores in_state (GSGI_IN_*).  gsgi_in_notify pokes: call it
 * after a round of puts and state.
 */
size_t gsgi_in_room(gsgi_bridge_t *b, gsgi_slot_t *slot, uint64_t published);
int gsgi_in_put(gsgi_bridge_t *b, gsgi_slot_t *slot, const void *data,
    size_t n);
void gsgi_in_state(gsgi_slot_t *slot, uint32_t state);

/* The request's trailers, n pairs of name and value, before gsgi_in_state or
 * gsgi_slot_submit; what does not fit in a chunk is left out.  Returns GSGI_OK
 * or GSGI_NOMEM. */
int gsgi_in_trailers(gsgi_bridge_t *b, gsgi_slot_t *slot,
    const gsgi_str_t *fields, size_t n);
void gsgi_in_notify(gsgi_bridge_t *b, gsgi_slot_t *slot);

/* The next log record, copied; text is NUL-terminated (GSGI_LOG_MAX + 1).
 * The record leaves the ring at the next call: one that the worker's end keeps
 * from being written is among the last words (gsgi_board_last_words).
 * Safe to call from several threads when there is no ring.
 * Returns GSGI_OK or GSGI_AGAIN. */
int gsgi_log_next(gsgi_bridge_t *b, gsgi_log_t *rec, char *text);


#define GSGI_DIGITS  20     /* of the largest number */

/* Writes n in decimal so that it ends before end.  Returns where it begins.
 * The servers' own printf take longer than all the rest of the packing. */
char *gsgi_digits(uint64_t n, char *end);


/*
 * Pack.  Usage: gsgi_pack_init, then entries in any order, optionally
 * gsgi_pack_body, then gsgi_pack_done.  An error sticks: only the result of
 * gsgi_pack_done needs to be checked.
 */

typedef struct {
    gsgi_bridge_t  *bridge;
    gsgi_slot_t    *slot;
    u_char         *pos;
    u_char         *end;
    uint32_t        len;
    uint32_t        chunk;      /* current one, index + 1 */
    int             rc;
} gsgi_pack_t;

void gsgi_pack_init(gsgi_pack_t *p, gsgi_bridge_t *b, gsgi_slot_t *slot);
void gsgi_pack_meta(gsgi_pack_t *p, uint8_t id, const void *data, size_t len);
void gsgi_pack_number(gsgi_pack_t *p, uint8_t id, uint64_t n);

/* The name is written in canonical form (http.CanonicalHeaderKey), the value
 * without blanks around it (RFC 9110, section 5.5). */
void gsgi_pack_header(gsgi_pack_t *p, const void *name, size_t nlen,
    const void *value, size_t vlen);
void gsgi_pack_param(gsgi_pack_t *p, const void *name, size_t nlen,
    const void *value, size_t vlen);

/*
 * Hands over a whole request body that lies in memory: inline when it fits,
 * else in chunks on in_list.  Called last, with each piece in order; total is
 * the whole length.  Sets body_kind, inline_len, in_state.
 */
void gsgi_pack_body(gsgi_pack_t *p, const void *data, size_t len,
    size_t total);

/* Returns GSGI_OK, GSGI_NOMEM (no chunk), GSGI_INVALID (a name over 65,535
 * bytes).  On error the slot may be given back with gsgi_slot_put. */
int gsgi_pack_done(gsgi_pack_t *p);


/*
 * Head: reads gsgi_head_t and its entries.  Pointers stay valid until the
 * slot is released; HEAD chunks until gsgi_head_free.
 */

typedef struct {
    const gsgi_head_t  *head;
    gsgi_bridge_t      *bridge;
    const u_char       *pos;
    const u_char       *end;
    uint32_t            chunk;
    uint32_t            left;   /* entries */
} gsgi_head_iter_t;

/* GSGI_OK or GSGI_INVALID. */
int gsgi_head_first(gsgi_head_iter_t *it, gsgi_bridge_t *b,
    gsgi_slot_t *slot);

/* GSGI_OK; GSGI_AGAIN at the end; GSGI_INVALID.  The strings are also
 * NUL-terminated. */
int gsgi_head_next(gsgi_head_iter_t *it, gsgi_str_t *name_out,
    gsgi_str_t *value_out);

/* The same for the entries of a TRAILERS or INTERIM chunk. */
int gsgi_head_chunk(gsgi_head_iter_t *it, gsgi_bridge_t *b, uint32_t index);

/* Before GSGI_CQ_HEAD has been taken they are the library's, which may be
 * writing them, and nothing is freed: the slot's end does that. */
void gsgi_head_free(gsgi_bridge_t *b, gsgi_slot_t *slot);

/* The status in the first bytes of a connection that was taken over, 0 when
 * they do not begin as a response does. */
uint32_t gsgi_head_status(const void *data, size_t n);


/*
 * Loader: the application in this worker.
 */

typedef struct gsgi_app_s  gsgi_app_t;

/*
 * Starts loading in a thread of its own and returns at once: dlopen of
 * /proc/<pid>/fd/<image fd>, the library's constructors with argv and envp,
 * gsgi_start.  launch and what it points to must stay.  Before, it wraps the
 * server's signal handlers (gsgi_child_signals).  A failure moves the
 * region's app_state to GSGI_APP_FAILED, and wakes the host;
 * gsgi_app_error has the text.  delay: milliseconds to wait before loading,
 * for a library that has just killed its worker.
 */
int gsgi_child_app_start(gsgi_app_t **app_out, gsgi_bridge_t *b,
    const gsgi_launch_t *launch, uint32_t delay, char *err, size_t errlen);
const char *gsgi_app_error(gsgi_app_t *app);

/* Calls gsgi_drain, respectively gsgi_stop, of the library in a thread of its
 * own; app_state tells the end.  Safe in every state. */
void gsgi_app_drain(gsgi_app_t *app);
void gsgi_app_stop(gsgi_app_t *app, uint32_t timeout);

/* Blocks up to timeout milliseconds for GSGI_APP_STOPPED or FAILED.
 * GSGI_OK or GSGI_AGAIN. */
int gsgi_app_wait(gsgi_app_t *app, uint32_t timeout);

/*
 * On every thread but the caller's, the server's handlers of HUP, INT, TERM,
 * QUIT, USR1, USR2, WINCH, ALRM, IO and CHLD pass the signal on to the
 * caller's thread and return.  SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT
 * without a handler get one that restores the default, so that a fault in C
 * dumps core at once.  default_chld: set SIGCHLD to SIG_DFL (NGINX workers).
 * Called by the main thread, before a library is loaded.
 */
void gsgi_child_signals(int default_chld);

/* Restores the handlers if the application has replaced them.  Returns how
 * many were; the number of the last is in *signo_out. */
int gsgi_signals_check(int *signo_out);

/* Wraps what the server has set since, so that it is that which is restored.
 * Any thread. */
void gsgi_signals_adopt(void);

/* How often a wrapped signal came from another process. */
uint32_t gsgi_signals_count(int signo);

/*
 * Another module of the server may bring a Go runtime of its own.  Keeps
 * SIGURG, which they stop their goroutines with, going to all of them.
 * Returns 1 with a warning in text that names one that has not been reported
 * yet; 0.  Called by one thread, like gsgi_signals_check.
 */
int gsgi_app_runtimes(gsgi_app_t *app, char *text, size_t len);

/* close_range(3, ~0, CLOSE_RANGE_CLOEXEC), by hand where it is missing. */
void gsgi_child_cloexec(void);


/*
 * Board: one per configuration, made in the parent, shared by its workers.
 * All fields are atomic; a worker writes its own record only.
 */

typedef struct {
    uint32_t  pid;              /* 0: free */
    uint32_t  state;            /* GSGI_APP_* */
    uint64_t  started;          /* seconds since the epoch */
    uint64_t  requests;         /* taken on by the module */
    uint64_t  answered;         /* ended whole */
    uint64_t  cut;              /* ended by a visible cut after the head */
    uint64_t  aborted;          /* the client left */
    uint64_t  timeouts;         /* 504, or cut by a time limit */
    uint64_t  rejected;         /* 503: queue full or not ready */
    uint64_t  failed;           /* 500 from the gateway */
    uint64_t  bytes_sent;       /* of bodies */
    uint64_t  bytes_received;
    uint64_t  queued;           /* now */
    uint64_t  in_flight;        /* now: wait for their head */
    uint64_t  active;           /* now: all that hold a slot */
    uint64_t  abandoned;        /* now */
    uint64_t  last_request;     /* id of the youngest request handed to the
                                   application, for the log after a crash */
    uint64_t  reserved[8];
} gsgi_board_worker_t;

typedef struct gsgi_board_s  gsgi_board_t;

/* Maps a board for the given number of records (Apache: ServerLimit; NGINX:
 * worker_processes, twice, because generations overlap).  NULL: no memory. */
gsgi_board_t *gsgi_parent_board_create(uint32_t records);
void gsgi_parent_board_destroy(gsgi_board_t *board);

/*
 * Takes a free record (or one whose process is gone).  *delay_out: how many
 * milliseconds this worker must wait before it loads the library: 0, or 1, 2,
 * 4 ... 60 s after as many workers in a row ended without
 * gsgi_child_board_leave within a minute of their start.
 * *worker_out: the record's index.  Never fails: without a free record the
 * figures go to a private one.
 */
gsgi_board_worker_t *gsgi_child_board_enter(gsgi_board_t *board,
    uint32_t *worker_out, uint32_t *delay_out);

/*
 * What a worker does before gsgi_child_board_enter, while it has neither
 * threads nor connections: where the check was that of a server that starts
 * (launch->conf.starting), and a worker has ended early since, it runs the
 * whole check, as gsgi_parent_probe and in as many milliseconds as the library
 * may take to start.
 *
 * Returns: GSGI_OK, also when there was no process to try it in: the delay is
 * what is left then; GSGI_ERROR: this worker must not load it, err says why.
 */
int gsgi_child_check(const gsgi_launch_t *launch, gsgi_board_t *board,
    char *err, size_t errlen);
void gsgi_child_board_leave(gsgi_board_t *board, gsgi_board_worker_t *w);

/*
 * Moves the log ring of this worker's bridge into the board, so that what the
 * application says right before os.Exit can be read by others.  Between
 * gsgi_child_board_enter and gsgi_child_app_start.  GSGI_OK, also where the
 * board has no room and the ring stays private; GSGI_NOMEM: the bridge is
 * unusable.
 */
int gsgi_child_board_log(gsgi_board_t *board, gsgi_board_worker_t *w,
    gsgi_bridge_t *b);

/*
 * Calls say for every line that nobody has read from the ring of the worker
 * pid, which has ended, or with pid 0 of all workers that have ended without
 * gsgi_child_board_leave; once, whoever calls.  A new worker calls it before
 * gsgi_child_board_enter.  rec and text as from gsgi_log_next.
 */
typedef void (*gsgi_words_pt)(void *data, uint32_t pid,
    const gsgi_log_t *rec, const char *text);
void gsgi_board_last_words(gsgi_board_t *board, uint32_t pid,
    gsgi_words_pt say, void *data);

/*
 * Prints this worker's figures (w and the region's) and the sum over all, as
 * text or JSON, into buf, at most size bytes, not NUL-terminated.  Returns
 * the length.  GSGI_STATUS_MAX is always enough for 64 workers; more are
 * summed but not listed.  b and board may be NULL: the application has failed
 * before they were made.
 * JSON: {"version":..,"application":..,"state":..,"worker":{..},
 * "total":{..},"workers":[{..}]}; the names are those of the fields above and
 * of gsgi_stats_t, and slots_used, chunks_used, descriptors (of the process).
 */
#define GSGI_STATUS_MAX  65536
size_t gsgi_status_print(gsgi_bridge_t *b, gsgi_board_t *board,
    gsgi_board_worker_t *w, const char *name, int json, char *buf,
    size_t size);

#endif /* GSGI_HOST_H */
