/*
 * Copyright (C) The GSGI Authors
 *
 * Runs the tests, or those whose names contain the argument.
 */

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "test.h"


static int
run(const test_t *test, const char *pattern)
{
    int  n;

    for (n = 0; test->name; test++) {
        if (pattern && strstr(test->name, pattern) == NULL) {
            continue;
        }

        alarm(120);
        test->run();
        printf("ok %s\n", test->name);
        fflush(stdout);
        n++;
    }

    return n;
}


int
main(int argc, char **argv)
{
    int          i, n;
    const char  *pattern;

    static const test_t *const  all[] = {
        ring_tests, slot_tests, chunk_tests, body_tests, log_tests,
        words_tests, pack_tests, head_tests, wait_tests
    };

    pattern = argc > 1 ? argv[1] : NULL;
    n = 0;

    for (i = 0; i < (int) (sizeof(all) / sizeof(all[0])); i++) {
        n += run(all[i], pattern);
    }

    printf("%d passed, 0 failed\n", n);

    return n == 0;
}
