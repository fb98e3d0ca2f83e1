/*
 * Copyright (C) The GSGI Authors
 *
 * What a child of the probe writes to its standard error: bounded, and when
 * it does not fit, the text of a crash is kept rather than what came before.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gsgi_probe.h"

#define GSGI_PROBE_LINES  8     /* shown of a crash */
#define GSGI_PROBE_TAIL   24    /* shown of other texts */


/* "panic: ", "fatal error: ", "SIGSEGV: " begin the last words of Go. */

static int
gsgi_probe_is_crash(const char *line, size_t len)
{
    size_t  i;

    if ((len >= 7 && memcmp(line, "panic: ", 7) == 0)
        || (len >= 13 && memcmp(line, "fatal error: ", 13) == 0))
    {
        return 1;
    }

    for (i = 0; i < len && line[i] >= 'A' && line[i] <= 'Z'; i++) {
        /* void */
    }

    return i > 3 && i + 1 < len && memcmp(line, "SIG", 3) == 0
           && line[i] == ':' && line[i + 1] == ' ';
}


static void
gsgi_probe_scan(gsgi_probe_text_t *t)
{
    char    *end;
    size_t   len;

    for ( ;; ) {
        end = memchr(t->data + t->scanned, '\n', t->len - t->scanned);

        if (end == NULL) {
            return;
        }

        len = end - t->data - t->scanned;

        if (gsgi_probe_is_crash(t->data + t->scanned, len)) {
            t->crash = t->scanned + 1;
        }

        t->scanned += len + 1;
    }
}


/*
 * Makes room: drops what came before a crash, else the older half; when the
 * text of a crash fills it all, the rest of that is dropped.
 */

static void
gsgi_probe_room(gsgi_probe_text_t *t)
{
    size_t  drop;

    if (t->crash > 1) {
        drop = t->crash - 1;
        t->crash = 1;

    } else if (t->crash == 1) {
        t->len = t->len / 2;
        t->scanned = t->len;
        return;

    } else {
        drop = t->len / 2;
    }

    t->len -= drop;
    t->scanned = t->scanned > drop ? t->scanned - drop : 0;
    memmove(t->data, t->data + drop, t->len);
}


int
gsgi_probe_text_read(gsgi_probe_text_t *t, int fd)
{
    int      rounds;
    ssize_t  n;

    for (rounds = 0; rounds < 64; rounds++) {

        if (t->len == sizeof(t->data)) {
            gsgi_probe_room(t);
        }

        n = read(fd, t->data + t->len, sizeof(t->data) - t->len);

        if (n == 0) {
            return 0;
        }

        if (n == -1) {
            return errno == EAGAIN || errno == EINTR;
        }

        t->len += n;
        gsgi_probe_scan(t);
    }

    return 1;
}


/* Leaves nothing that a terminal would obey. */

static void
gsgi_probe_clean(gsgi_probe_text_t *t)
{
    size_t  i;

    for (i = 0; i < t->len; i++) {
        if (((unsigned char) t->data[i] < ' ' && t->data[i] != '\n'
             && t->data[i] != '\t')
            || t->data[i] == 0x7f)
        {
            t->data[i] = '?';
        }
    }
}


/* The last lines that fit: the reason is at the end of what was said. */

static char *
gsgi_probe_tail(char *p, char *end, size_t room)
{
    char      *stop, *start;
    unsigned   lines;

    start = end;

    for (lines = 0, stop = end; stop > p && lines < GSGI_PROBE_TAIL; stop--) {

        if (stop[-1] == '\n') {
            lines++;

            if ((size_t) (end - stop) + lines + 2 > room && start != end) {
                return start;
            }

            start = stop;
        }
    }

    if (lines == GSGI_PROBE_TAIL || (size_t) (end - p) + lines + 2 > room) {
        return start == end ? p : start;
    }

    return p;
}


void
gsgi_probe_text_quote(gsgi_probe_text_t *t, int crash, char *err,
    size_t errlen)
{
    char      *p, *end, *stop;
    size_t     used;
    unsigned   lines, limit;

    gsgi_probe_clean(t);

    p = t->data;
    end = t->data + t->len;

    while (end > p && (end[-1] == '\n' || end[-1] == ' ')) {
        end--;
    }

    if (crash && t->crash != 0) {
        p += t->crash - 1;

    } else {
        p = gsgi_probe_tail(p, end, errlen - strlen(err));
    }

    limit = crash ? GSGI_PROBE_LINES : GSGI_PROBE_TAIL;

    for (lines = 0; p < end && lines < limit; p = stop + 1) {
        stop = memchr(p, '\n', end - p);
        stop = stop ? stop : end;

        if (stop == p) {
            continue;
        }

        used = strlen(err);
        snprintf(err + used, errlen - used, "%s%.*s", lines++ ? "\n" : ": ",
                 (int) (stop - p), p);
    }
}
