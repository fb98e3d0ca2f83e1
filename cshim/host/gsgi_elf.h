/*
 * Copyright (C) The GSGI Authors
 *
 * Reading a library's file: gsgi_elf.c, for gsgi_elf_check.c.
 */

#ifndef GSGI_ELF_H
#define GSGI_ELF_H

#include <elf.h>

#include "gsgi_host.h"

#define gsgi_elf_build                                                        \
    "build it with -buildmode=c-shared and import github.com/gsgi/gsgi/goapp"

typedef struct {
    const u_char  *data;
    size_t         len;
} gsgi_elf_span_t;

typedef struct {
    gsgi_elf_span_t   file;
    Elf64_Ehdr        head;
    gsgi_elf_span_t   symtab;
    gsgi_elf_span_t   strtab;
    uint64_t          symbols;
    uint64_t          tags[DT_NUM];         /* values of the dynamic section */
    uint64_t          gnu_hash;
    uint64_t          flags_1;
    uint64_t          init_size_off;
    gsgi_elf_span_t   dynamic;
    char             *err;
    size_t            errlen;
} gsgi_elf_t;

/* Reads the headers and the dynamic section, and finds the symbols.  Returns
 * GSGI_OK, or GSGI_ERROR with a text in err. */
int gsgi_elf_open(gsgi_elf_t *e, const void *data, size_t size, char *err,
    size_t errlen);

/* Writes a text to e->err.  Returns GSGI_ERROR. */
int gsgi_elf_fail(gsgi_elf_t *e, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Copies len bytes at off, because nothing in a file need be aligned. */
int gsgi_elf_read(const gsgi_elf_span_t *span, uint64_t off, void *to,
    size_t len);

int gsgi_elf_phdr(const gsgi_elf_t *e, unsigned i, Elf64_Phdr *ph);

/* The bytes of the file from an address on, to the end of its segment. */
gsgi_elf_span_t gsgi_elf_mapped(const gsgi_elf_t *e, uint64_t addr);

/* Whether the string at off begins with text, or is text. */
int gsgi_elf_string(const gsgi_elf_t *e, uint64_t off, const char *text,
    int whole);

/* A symbol as dlsym finds it: defined, global or weak, visible. */
int gsgi_elf_symbol(const gsgi_elf_t *e, const char *name, Elf64_Sym *sym);

/*
 * Finds where in the file the value of DT_INIT_ARRAYSZ lies, for a file that
 * gsgi_elf_check has accepted.  The returned offset is 0 when the library has
 * no constructors.
 */
uint64_t gsgi_elf_init_size(const void *data, size_t size);

#endif /* GSGI_ELF_H */
