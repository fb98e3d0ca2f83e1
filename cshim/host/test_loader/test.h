/*
 * Copyright (C) The GSGI Authors
 *
 * Tests of the host's files that check, copy, probe and load a library.
 * usage: test_loader DIR, where DIR holds the libraries that the Makefile
 * has built: app.so (Go), and small C ones.
 */

#ifndef TEST_H
#define TEST_H

#include "../gsgi_host.h"

#define check(expr)  test_check((expr) != 0, #expr, __FILE__, __LINE__)
#define check_int(a, b)                                                       \
    test_check_int((int64_t) (a), (int64_t) (b), #a, __FILE__, __LINE__)
#define check_has(text, part)                                                 \
    test_check_has((text), (part), __FILE__, __LINE__)

typedef struct {
    const char  *name;
    void       (*run)(void);
} test_t;

struct gsgi_bridge_s {
    gsgi_region_t  *region;     /* shared with children */
};

extern const char  *test_dir;
extern int          test_failures;      /* of the running test */

void test_check(int ok, const char *text, const char *file, int line);
void test_check_int(int64_t a, int64_t b, const char *text, const char *file,
    int line);
void test_check_has(const char *text, const char *part, const char *file,
    int line);

/* A path below test_dir, in memory that lives until the next eighth call. */
const char *test_path(const char *name);

/* A whole file, NUL-terminated, and its length; freed by the caller. */
char *test_read(const char *path, size_t *len);
void test_write(const char *path, const void *data, size_t len);

/* A line "name value" of a report of app.so: the value, or "". */
const char *test_fact(const char *report, const char *name);

/* Runs fn in a child; its failed checks count here.  Returns its status. */
int test_fork(void (*fn)(void));
void test_reap(pid_t pid);

uint64_t test_now(void);        /* ms */
void test_sleep(unsigned ms);
unsigned test_descriptors(void);
gsgi_bridge_t *test_bridge(void);
int test_wait_state(gsgi_bridge_t *b, uint32_t state, unsigned ms);

/*
 * How to start a library of test_dir: its image is open, argv is its path and
 * "one", the environment has PATH, APP_MODE, APP_REPORT and what extra adds.
 * The file APP_REPORT is removed.  The last one's image is closed.
 */
gsgi_launch_t *test_launch(const char *library, const char *mode,
    char *const *extra);
char *test_report(void);        /* what is in APP_REPORT; freed by the caller */

extern const test_t  test_elf[], test_image[], test_probe[], test_load[],
                     test_signal[], test_runtime[], test_board[], test_status[];

#endif /* TEST_H */
