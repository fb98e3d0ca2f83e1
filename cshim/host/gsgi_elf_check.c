/*
 * Copyright (C) The GSGI Authors
 *
 * Decides whether a file is an application library that fits this server.
 */

#include <stdio.h>
#include <string.h>

#include "gsgi_elf.h"


static int gsgi_elf_needed(gsgi_elf_t *e);
static int gsgi_elf_abi(gsgi_elf_t *e, gsgi_image_t *img);
static int gsgi_elf_init_array(gsgi_elf_t *e, gsgi_image_t *img);
static void gsgi_elf_build_id(gsgi_elf_t *e, gsgi_image_t *img);


static const gsgi_abi_t  gsgi_elf_host = {
    GSGI_MAGIC, sizeof(gsgi_abi_t), GSGI_ABI_MAJOR, GSGI_ABI_MINOR,
    sizeof(gsgi_region_t), sizeof(gsgi_slot_t), sizeof(gsgi_chunk_head_t)
};

static const char *const  gsgi_elf_functions[] = {
    GSGI_SYM_START, GSGI_SYM_DRAIN, GSGI_SYM_STOP, GSGI_SYM_PROBE
};


int
gsgi_elf_check(gsgi_image_t *img, const void *data, size_t size, char *err,
    size_t errlen)
{
    int         rc;
    gsgi_elf_t  e;

    if (gsgi_elf_open(&e, data, size, err, errlen) != GSGI_OK
        || gsgi_elf_needed(&e) != GSGI_OK)
    {
        return GSGI_ERROR;
    }

    rc = gsgi_elf_abi(&e, img);
    if (rc != GSGI_OK) {
        return rc;
    }

    if (gsgi_elf_init_array(&e, img) != GSGI_OK) {
        return GSGI_ERROR;
    }

    gsgi_elf_build_id(&e, img);

    return GSGI_OK;
}


uint64_t
gsgi_elf_init_size(const void *data, size_t size)
{
    char        err[1];
    gsgi_elf_t  e;

    if (gsgi_elf_open(&e, data, size, err, sizeof(err)) != GSGI_OK) {
        return 0;
    }

    return e.init_size_off;
}


static int
gsgi_elf_needed(gsgi_elf_t *e)
{
    uint64_t   off;
    Elf64_Dyn  dyn;

    if (e->flags_1 & DF_1_PIE) {
        return gsgi_elf_fail(e, "is a program, not a shared library: "
                             gsgi_elf_build);
    }

    for (off = 0;
         gsgi_elf_read(&e->dynamic, off, &dyn, sizeof(dyn)) == GSGI_OK
         && dyn.d_tag != DT_NULL;
         off += sizeof(dyn))
    {
        if (dyn.d_tag == DT_NEEDED
            && (gsgi_elf_string(e, dyn.d_un.d_val, "libc.musl", 0)
                || gsgi_elf_string(e, dyn.d_un.d_val, "ld-musl", 0)))
        {
            return gsgi_elf_fail(e, "was built with musl, this server needs "
                                 "glibc: build it where the server runs");
        }
    }

    return GSGI_OK;
}


static int
gsgi_elf_fits(gsgi_elf_t *e, const gsgi_abi_t *abi)
{
    const gsgi_abi_t  *host = &gsgi_elf_host;

    if (abi->major != host->major || abi->minor < host->minor) {
        gsgi_elf_fail(e, "was built for GSGI ABI %u.%u, this server has "
                      "%u.%u: build it with a version of github.com/gsgi/gsgi "
                      "that fits", abi->major, abi->minor, host->major,
                      host->minor);
        return GSGI_MISMATCH;
    }

    /* a later minor may add to the end of the region, and nowhere else */

    if (abi->slot_size != host->slot_size
        || abi->chunk_head_size != host->chunk_head_size
        || abi->region_size < host->region_size
        || (abi->minor == host->minor
            && abi->region_size != host->region_size))
    {
        gsgi_elf_fail(e, "was built for another layout of GSGI ABI %u.%u "
                      "(region %u, slot %u, chunk %u; this server has %u, "
                      "%u, %u)", abi->major, abi->minor, abi->region_size,
                      abi->slot_size, abi->chunk_head_size,
                      host->region_size, host->slot_size,
                      host->chunk_head_size);
        return GSGI_MISMATCH;
    }

    return GSGI_OK;
}


static int
gsgi_elf_abi(gsgi_elf_t *e, gsgi_image_t *img)
{
    int              rc;
    size_t           i;
    Elf64_Sym        sym;
    gsgi_abi_t       abi;
    gsgi_elf_span_t  span;

    if (gsgi_elf_symbol(e, GSGI_SYM_ABI, &sym) != GSGI_OK) {
        return gsgi_elf_fail(e, "is not a GSGI library (no symbol "
                             GSGI_SYM_ABI "): " gsgi_elf_build);
    }

    span = gsgi_elf_mapped(e, sym.st_value);

    if (gsgi_elf_read(&span, 0, &abi, sizeof(abi)) != GSGI_OK
        || abi.magic != GSGI_MAGIC || abi.size < sizeof(abi))
    {
        return gsgi_elf_fail(e, "is not a GSGI library (bad " GSGI_SYM_ABI
                             "): " gsgi_elf_build);
    }

    rc = gsgi_elf_fits(e, &abi);
    if (rc != GSGI_OK) {
        return rc;
    }

    for (i = 0; i < sizeof(gsgi_elf_functions) / sizeof(char *); i++) {
        if (gsgi_elf_symbol(e, gsgi_elf_functions[i], &sym) != GSGI_OK) {
            return gsgi_elf_fail(e, "is not a whole GSGI library (no symbol "
                                 "%s): " gsgi_elf_build,
                                 gsgi_elf_functions[i]);
        }
    }

    img->abi_major = abi.major;
    img->abi_minor = abi.minor;

    return GSGI_OK;
}


static int
gsgi_elf_init_array(gsgi_elf_t *e, gsgi_image_t *img)
{
    gsgi_elf_span_t  span;

    img->init_array = 0;
    img->init_count = e->tags[DT_INIT_ARRAYSZ] / sizeof(uint64_t);

    if (img->init_count == 0) {
        return GSGI_OK;
    }

    span = gsgi_elf_mapped(e, e->tags[DT_INIT_ARRAY]);

    if (e->tags[DT_INIT_ARRAY] == 0
        || span.len < e->tags[DT_INIT_ARRAYSZ])
    {
        return gsgi_elf_fail(e, "is broken: bad table of constructors");
    }

    img->init_array = e->tags[DT_INIT_ARRAY];

    return GSGI_OK;
}


/* Of Go's id "action/.../content" the last part names the content. */

static void
gsgi_elf_go_id(gsgi_image_t *img, const u_char *id, size_t len)
{
    size_t  i, start;

    for (start = 0, i = 0; i < len; i++) {
        if (id[i] <= ' ' || id[i] > '~') {
            return;
        }

        if (id[i] == '/') {
            start = i + 1;
        }
    }

    if (start < len && len - start < sizeof(img->build_id)) {
        memcpy(img->build_id, id + start, len - start);
        img->build_id[len - start] = '\0';
    }
}


static void
gsgi_elf_gnu_id(gsgi_image_t *img, const u_char *id, size_t len)
{
    size_t  i;

    if (img->build_id[0] != '\0' || len * 2 >= sizeof(img->build_id)) {
        return;
    }

    for (i = 0; i < len; i++) {
        snprintf(img->build_id + i * 2, 3, "%02x", id[i]);
    }
}


static void
gsgi_elf_notes(gsgi_image_t *img, gsgi_elf_span_t notes, uint64_t align)
{
    uint64_t       off, desc;
    Elf64_Nhdr     note;
    const u_char  *name;

    for (off = 0; gsgi_elf_read(&notes, off, &note, sizeof(note)) == GSGI_OK;
         off = (desc + note.n_descsz + align - 1) & ~(align - 1))
    {
        desc = off + sizeof(note) + (((uint64_t) note.n_namesz + 3) & ~3);

        if (desc > notes.len || note.n_descsz > notes.len - desc) {
            return;
        }

        name = notes.data + off + sizeof(note);

        if (note.n_namesz != 4) {
            continue;
        }

        if (note.n_type == 4 && memcmp(name, "Go\0", 4) == 0) {
            img->build_id[0] = '\0';
            gsgi_elf_go_id(img, notes.data + desc, note.n_descsz);

        } else if (note.n_type == NT_GNU_BUILD_ID
                   && memcmp(name, "GNU", 4) == 0)
        {
            gsgi_elf_gnu_id(img, notes.data + desc, note.n_descsz);
        }
    }
}


static void
gsgi_elf_build_id(gsgi_elf_t *e, gsgi_image_t *img)
{
    unsigned         i;
    Elf64_Phdr       ph;
    gsgi_elf_span_t  span;

    img->build_id[0] = '\0';

    for (i = 0; i < e->head.e_phnum; i++) {
        if (gsgi_elf_phdr(e, i, &ph) != GSGI_OK || ph.p_type != PT_NOTE) {
            continue;
        }

        span = gsgi_elf_mapped(e, ph.p_vaddr);

        if (ph.p_filesz <= span.len) {
            span.len = ph.p_filesz;
            gsgi_elf_notes(img, span, ph.p_align == 8 ? 8 : 4);
        }
    }
}
