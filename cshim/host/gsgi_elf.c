/*
 * Copyright (C) The GSGI Authors
 *
 * Reads a library's file without loading it.  The dynamic linker trusts what
 * it maps; this file trusts no field: every offset, address and count is held
 * against the bytes that are there.  Sections are not needed.
 */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gsgi_elf.h"

#define GSGI_ELF_PHDRS  256     /* more than any linker writes */

typedef struct {
    uint16_t     number;
    const char  *name;
} gsgi_elf_machine_t;


static int gsgi_elf_header(gsgi_elf_t *e);
static int gsgi_elf_machine(gsgi_elf_t *e, const u_char *ident);
static int gsgi_elf_segments(gsgi_elf_t *e);
static int gsgi_elf_dynamic(gsgi_elf_t *e);
static int gsgi_elf_tables(gsgi_elf_t *e);


static const gsgi_elf_machine_t  gsgi_elf_machines[] = {
    { EM_386,     "i386" },
    { EM_MIPS,    "mips" },
    { EM_PPC64,   "ppc64" },
    { EM_S390,    "s390x" },
    { EM_ARM,     "arm" },
    { EM_X86_64,  "x86-64" },
    { EM_AARCH64, "aarch64" },
    { EM_RISCV,   "riscv64" },
    { 258,        "loongarch64" }
};

#if defined(__x86_64__)
#define GSGI_ELF_MACHINE  EM_X86_64
#elif defined(__aarch64__)
#define GSGI_ELF_MACHINE  EM_AARCH64
#elif defined(__riscv)
#define GSGI_ELF_MACHINE  EM_RISCV
#elif defined(__loongarch__)
#define GSGI_ELF_MACHINE  258
#elif defined(__powerpc64__)
#define GSGI_ELF_MACHINE  EM_PPC64
#else
#error "GSGI needs a 64-bit little-endian machine that Go builds libraries for"
#endif


int
gsgi_elf_open(gsgi_elf_t *e, const void *data, size_t size, char *err,
    size_t errlen)
{
    memset(e, 0, sizeof(gsgi_elf_t));
    e->file.data = data;
    e->file.len = size;
    e->err = err;
    e->errlen = errlen;

    if (gsgi_elf_header(e) != GSGI_OK
        || gsgi_elf_segments(e) != GSGI_OK
        || gsgi_elf_dynamic(e) != GSGI_OK
        || gsgi_elf_tables(e) != GSGI_OK)
    {
        return GSGI_ERROR;
    }

    return GSGI_OK;
}


int
gsgi_elf_fail(gsgi_elf_t *e, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    vsnprintf(e->err, e->errlen, fmt, args);
    va_end(args);

    return GSGI_ERROR;
}


int
gsgi_elf_read(const gsgi_elf_span_t *span, uint64_t off, void *to, size_t len)
{
    if (off > span->len || len > span->len - off) {
        return GSGI_ERROR;
    }

    memcpy(to, span->data + off, len);

    return GSGI_OK;
}


int
gsgi_elf_phdr(const gsgi_elf_t *e, unsigned i, Elf64_Phdr *ph)
{
    return gsgi_elf_read(&e->file, e->head.e_phoff + i * sizeof(Elf64_Phdr),
                         ph, sizeof(Elf64_Phdr));
}


gsgi_elf_span_t
gsgi_elf_mapped(const gsgi_elf_t *e, uint64_t addr)
{
    unsigned         i;
    uint64_t         skip;
    Elf64_Phdr       ph;
    gsgi_elf_span_t  span = { NULL, 0 };

    for (i = 0; i < e->head.e_phnum; i++) {
        if (gsgi_elf_phdr(e, i, &ph) != GSGI_OK || ph.p_type != PT_LOAD
            || addr < ph.p_vaddr || addr - ph.p_vaddr >= ph.p_filesz
            || ph.p_offset > e->file.len
            || ph.p_filesz > e->file.len - ph.p_offset)
        {
            continue;
        }

        skip = addr - ph.p_vaddr;
        span.data = e->file.data + ph.p_offset + skip;
        span.len = ph.p_filesz - skip;
        break;
    }

    return span;
}


static int
gsgi_elf_header(gsgi_elf_t *e)
{
    u_char  ident[EI_NIDENT + 4];

    if (gsgi_elf_read(&e->file, 0, ident, sizeof(ident)) != GSGI_OK
        || memcmp(ident, ELFMAG, SELFMAG) != 0)
    {
        return gsgi_elf_fail(e, "is not a shared library (no ELF header): "
                             gsgi_elf_build);
    }

    if (gsgi_elf_machine(e, ident) != GSGI_OK) {
        return GSGI_ERROR;
    }

    if (gsgi_elf_read(&e->file, 0, &e->head, sizeof(Elf64_Ehdr)) != GSGI_OK) {
        return gsgi_elf_fail(e, "is truncated: it ends in its ELF header");
    }

    if (e->head.e_type != ET_DYN) {
        return gsgi_elf_fail(e, "is %s, not a shared library: "
                             gsgi_elf_build,
                             e->head.e_type == ET_EXEC ? "a program"
                                                       : "an object file");
    }

    if (e->head.e_phentsize != sizeof(Elf64_Phdr) || e->head.e_phnum == 0
        || e->head.e_phnum > GSGI_ELF_PHDRS
        || e->head.e_phoff > UINT32_MAX)
    {
        return gsgi_elf_fail(e, "is broken: bad program headers");
    }

    return GSGI_OK;
}


static const char *
gsgi_elf_machine_name(uint16_t number, char *buf, size_t len)
{
    size_t  i;

    for (i = 0; i < sizeof(gsgi_elf_machines) / sizeof(gsgi_elf_machine_t);
         i++)
    {
        if (gsgi_elf_machines[i].number == number) {
            return gsgi_elf_machines[i].name;
        }
    }

    snprintf(buf, len, "machine %u", number);

    return buf;
}


/* e_type and e_machine lie at the same place in all classes. */

static int
gsgi_elf_machine(gsgi_elf_t *e, const u_char *ident)
{
    char            theirs[32], ours[32];
    uint16_t        number;
    const u_char   *p;

    p = ident + EI_NIDENT + 2;

    if (ident[EI_DATA] == ELFDATA2MSB) {
        number = (uint16_t) (p[0] << 8 | p[1]);

    } else {
        number = (uint16_t) (p[1] << 8 | p[0]);
    }

    if (number != GSGI_ELF_MACHINE) {
        return gsgi_elf_fail(e, "is for %s, this server is %s",
                   gsgi_elf_machine_name(number, theirs, sizeof(theirs)),
                   gsgi_elf_machine_name(GSGI_ELF_MACHINE, ours,
                                         sizeof(ours)));
    }

    if (ident[EI_CLASS] != ELFCLASS64 || ident[EI_DATA] != ELFDATA2LSB) {
        return gsgi_elf_fail(e, "is not a 64-bit little-endian library");
    }

    return GSGI_OK;
}


/* A segment beyond the end of the file would be a SIGBUS in the worker. */

static int
gsgi_elf_segments(gsgi_elf_t *e)
{
    unsigned    i;
    uint64_t    need;
    Elf64_Phdr  ph;

    for (i = 0; i < e->head.e_phnum; i++) {
        if (gsgi_elf_phdr(e, i, &ph) != GSGI_OK) {
            return gsgi_elf_fail(e, "is truncated: it ends in its program "
                                 "headers");
        }

        if (ph.p_type == PT_LOAD
            && (ph.p_filesz > ph.p_memsz
                || ph.p_offset > e->file.len
                || ph.p_filesz > e->file.len - ph.p_offset))
        {
            return gsgi_elf_fail(e, "is truncated: segment %u lies behind "
                                 "its end", i);
        }
    }

    need = (uint64_t) e->head.e_shnum * e->head.e_shentsize;

    if (e->head.e_shoff != 0
        && (e->head.e_shoff > e->file.len
            || need > e->file.len - e->head.e_shoff))
    {
        return gsgi_elf_fail(e, "is truncated: its section headers lie "
                             "behind its end");
    }

    return GSGI_OK;
}


/* As in the dynamic linker, the last of several equal tags counts. */

static int
gsgi_elf_dynamic(gsgi_elf_t *e)
{
    unsigned    i;
    uint64_t    off;
    Elf64_Dyn   dyn;
    Elf64_Phdr  ph;

    for (i = 0; i < e->head.e_phnum; i++) {
        if (gsgi_elf_phdr(e, i, &ph) == GSGI_OK && ph.p_type == PT_DYNAMIC) {
            e->dynamic = gsgi_elf_mapped(e, ph.p_vaddr);
        }
    }

    for (off = 0; /* void */ ; off += sizeof(Elf64_Dyn)) {
        if (gsgi_elf_read(&e->dynamic, off, &dyn, sizeof(dyn)) != GSGI_OK) {
            return gsgi_elf_fail(e, "is broken: no dynamic section");
        }

        if (dyn.d_tag == DT_NULL) {
            break;
        }

        if (dyn.d_tag > 0 && dyn.d_tag < DT_NUM) {
            e->tags[dyn.d_tag] = dyn.d_un.d_val;
        }

        if (dyn.d_tag == DT_INIT_ARRAYSZ) {
            e->init_size_off = e->dynamic.data - e->file.data + off
                               + offsetof(Elf64_Dyn, d_un);

        } else if (dyn.d_tag == DT_GNU_HASH) {
            e->gnu_hash = dyn.d_un.d_ptr;

        } else if (dyn.d_tag == DT_FLAGS_1) {
            e->flags_1 = dyn.d_un.d_val;
        }
    }

    return GSGI_OK;
}


/* The count of symbols is only in the hash tables. */

static uint64_t
gsgi_elf_gnu_count(const gsgi_elf_t *e)
{
    uint32_t         head[4], bucket, i, last, entry;
    uint64_t         off;
    gsgi_elf_span_t  hash;

    hash = gsgi_elf_mapped(e, e->gnu_hash);

    if (gsgi_elf_read(&hash, 0, head, sizeof(head)) != GSGI_OK) {
        return 0;
    }

    off = sizeof(head) + (uint64_t) head[2] * sizeof(uint64_t);
    last = 0;

    for (i = 0; i < head[0]; i++, off += sizeof(bucket)) {
        if (gsgi_elf_read(&hash, off, &bucket, sizeof(bucket)) != GSGI_OK) {
            return 0;
        }

        last = bucket > last ? bucket : last;
    }

    if (last < head[1]) {
        return head[1];
    }

    for (off += (uint64_t) (last - head[1]) * sizeof(entry);
         gsgi_elf_read(&hash, off, &entry, sizeof(entry)) == GSGI_OK;
         off += sizeof(entry), last++)
    {
        if (entry & 1) {
            return (uint64_t) last + 1;
        }
    }

    return 0;
}


static int
gsgi_elf_tables(gsgi_elf_t *e)
{
    uint32_t         head[2];
    gsgi_elf_span_t  hash;

    e->symtab = gsgi_elf_mapped(e, e->tags[DT_SYMTAB]);
    e->strtab = gsgi_elf_mapped(e, e->tags[DT_STRTAB]);

    if (e->symtab.data == NULL || e->strtab.data == NULL
        || e->tags[DT_STRSZ] > e->strtab.len)
    {
        return gsgi_elf_fail(e, "is broken: no symbol table");
    }

    e->strtab.len = e->tags[DT_STRSZ];

    if (e->gnu_hash != 0) {
        e->symbols = gsgi_elf_gnu_count(e);

    } else if (e->tags[DT_HASH] != 0) {
        hash = gsgi_elf_mapped(e, e->tags[DT_HASH]);

        if (gsgi_elf_read(&hash, 0, head, sizeof(head)) == GSGI_OK) {
            e->symbols = head[1];
        }
    }

    if (e->symbols == 0 || e->symbols > e->symtab.len / sizeof(Elf64_Sym)) {
        return gsgi_elf_fail(e, "is broken: bad symbol hash table");
    }

    return GSGI_OK;
}


int
gsgi_elf_string(const gsgi_elf_t *e, uint64_t off, const char *text, int whole)
{
    size_t  len;

    len = strlen(text) + (whole ? 1 : 0);

    return off <= e->strtab.len && len <= e->strtab.len - off
           && memcmp(e->strtab.data + off, text, len) == 0;
}


int
gsgi_elf_symbol(const gsgi_elf_t *e, const char *name, Elf64_Sym *sym)
{
    uint64_t  i;
    unsigned  bind, visibility;

    for (i = 0; i < e->symbols; i++) {
        if (gsgi_elf_read(&e->symtab, i * sizeof(*sym), sym, sizeof(*sym))
            != GSGI_OK)
        {
            break;
        }

        bind = ELF64_ST_BIND(sym->st_info);
        visibility = ELF64_ST_VISIBILITY(sym->st_other);

        if (sym->st_shndx != SHN_UNDEF
            && (bind == STB_GLOBAL || bind == STB_WEAK)
            && (visibility == STV_DEFAULT || visibility == STV_PROTECTED)
            && gsgi_elf_string(e, sym->st_name, name, 1))
        {
            return GSGI_OK;
        }
    }

    return GSGI_ERROR;
}
