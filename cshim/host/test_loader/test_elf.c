/*
 * Copyright (C) The GSGI Authors
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <elf.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../gsgi_elf.h"
#include "test.h"

static char          test_err[GSGI_ERR_MAX];
static gsgi_image_t  test_img;


/* The bytes lie at the end of their memory, for a sanitizer to watch. */

static int
test_elf_data(const void *data, size_t len)
{
    int    rc;
    char  *copy;

    copy = malloc(len ? len : 1);
    memcpy(copy, data, len);

    memset(&test_img, 0, sizeof(test_img));
    test_err[0] = '\0';
    rc = gsgi_elf_check(&test_img, copy, len, test_err, sizeof(test_err));

    free(copy);

    return rc;
}


static int
test_elf_file(const char *name)
{
    int     rc;
    char   *data;
    size_t  len;

    data = test_read(test_path(name), &len);
    rc = test_elf_data(data, len);
    free(data);

    return rc;
}


static void
test_elf_go(void)
{
    check_int(test_elf_file("app.so"), GSGI_OK);
    check_int(test_img.abi_major, GSGI_ABI_MAJOR);
    check_int(test_img.abi_minor, GSGI_ABI_MINOR);
    check(test_img.init_count >= 1 && test_img.init_count < 16);
    check(test_img.init_array != 0);
    check_int(strlen(test_img.build_id), 20);
}


static void
test_elf_plain(void)
{
    check_int(test_elf_file("plain.so"), GSGI_OK);
    check_int(test_img.init_count, 0);
    check_int(strlen(test_img.build_id), 40);

    check_int(test_elf_file("sysv.so"), GSGI_OK);
    check_int(test_elf_file("constructors.so"), GSGI_OK);
    check_int(test_img.init_count, 2);
}


/* A newer minor version fits; its build has the same layout here. */

static void
test_elf_abi(void)
{
    check_int(test_elf_file("minor.so"), GSGI_OK);
    check_int(test_img.abi_minor, 7);

    check_int(test_elf_file("major.so"), GSGI_MISMATCH);
    check_has(test_err, "GSGI ABI 2.1, this server has 1.1");

    check_int(test_elf_file("region.so"), GSGI_MISMATCH);
    check_has(test_err, "another layout");

    check_int(test_elf_file("slot.so"), GSGI_MISMATCH);
    check_has(test_err, "slot 512");
}


static void
test_elf_symbols(void)
{
    check_int(test_elf_file("no-abi.so"), GSGI_ERROR);
    check_has(test_err, "is not a GSGI library (no symbol gsgi_abi): build "
              "it with -buildmode=c-shared and import "
              "github.com/gsgi/gsgi/goapp");

    check_int(test_elf_file("magic.so"), GSGI_ERROR);
    check_has(test_err, "bad gsgi_abi");

    check_int(test_elf_file("bss.so"), GSGI_ERROR);
    check_has(test_err, "bad gsgi_abi");

    check_int(test_elf_file("no-probe.so"), GSGI_ERROR);
    check_has(test_err, "no symbol gsgi_probe");
}


static void
test_elf_machine(void)
{
    char    *data;
    size_t   len;

    data = test_read(test_path("plain.so"), &len);

    data[offsetof(Elf64_Ehdr, e_machine)] = (char) EM_AARCH64;
    check_int(test_elf_data(data, len), GSGI_ERROR);
    check_has(test_err, "is for aarch64, this server is x86-64");

    data[offsetof(Elf64_Ehdr, e_machine)] = EM_386;
    data[EI_CLASS] = ELFCLASS32;
    check_int(test_elf_data(data, len), GSGI_ERROR);
    check_has(test_err, "is for i386");

    data[offsetof(Elf64_Ehdr, e_machine)] = EM_X86_64;
    check_int(test_elf_data(data, len), GSGI_ERROR);
    check_has(test_err, "is not a 64-bit");

    data[EI_CLASS] = ELFCLASS64;
    data[EI_DATA] = ELFDATA2MSB;
    data[offsetof(Elf64_Ehdr, e_machine)] = 0;
    data[offsetof(Elf64_Ehdr, e_machine) + 1] = EM_S390;
    check_int(test_elf_data(data, len), GSGI_ERROR);
    check_has(test_err, "is for s390x");

    data[offsetof(Elf64_Ehdr, e_machine)] = 0x12;
    data[offsetof(Elf64_Ehdr, e_machine) + 1] = 0x34;
    check_int(test_elf_data(data, len), GSGI_ERROR);
    check_has(test_err, "is for machine 4660");

    free(data);
}


static void
test_elf_kind(void)
{
    char    *data;
    size_t   len;

    check_int(test_elf_data("", 0), GSGI_ERROR);
    check_has(test_err, "no ELF header");

    check_int(test_elf_data("!<arch>\nand some more of it, as c-archive", 40),
              GSGI_ERROR);
    check_has(test_err, "build it with -buildmode=c-shared");

    check_int(test_elf_file("object.o"), GSGI_ERROR);
    check_has(test_err, "is an object file, not a shared library");

    data = test_read("/proc/self/exe", &len);
    check_int(test_elf_data(data, len), GSGI_ERROR);
    check_has(test_err, "is a program, not a shared library");
    free(data);

    check_int(test_elf_file("musl.so"), GSGI_ERROR);
    check_has(test_err, "was built with musl, this server needs glibc");
}


/* With its section headers gone as well, a whole library is still fine. */

static void
test_elf_sectionless(void)
{
    char        *data;
    size_t       len;
    Elf64_Ehdr   head;

    data = test_read(test_path("plain.so"), &len);
    memcpy(&head, data, sizeof(head));

    head.e_shoff = 0;
    head.e_shnum = 0;
    head.e_shstrndx = 0;
    memcpy(data, &head, sizeof(head));

    check_int(test_elf_data(data, len), GSGI_OK);

    head.e_phnum = 0;
    memcpy(data, &head, sizeof(head));
    check_int(test_elf_data(data, len), GSGI_ERROR);

    head.e_phnum = 60000;
    memcpy(data, &head, sizeof(head));
    check_int(test_elf_data(data, len), GSGI_ERROR);

    free(data);
}


static void
test_elf_truncated(void)
{
    char    *data;
    size_t   len, n;

    data = test_read(test_path("app.so"), &len);

    for (n = 0; n < len; n += n < 2048 ? 1 : len / 61) {
        check_int(test_elf_data(data, n), GSGI_ERROR);
        check(test_err[0] != '\0');

        if (n >= sizeof(Elf64_Ehdr)) {
            check_has(test_err, "is truncated");
        }
    }

    check_int(test_elf_data(data, len - 1), GSGI_ERROR);
    free(data);

    data = test_read(test_path("constructors.so"), &len);

    for (n = 0; n < len; n++) {
        check_int(test_elf_data(data, n), GSGI_ERROR);
    }

    free(data);
}


/* Whatever bytes are wrong, it ends, and says something. */

static void
test_elf_mutated(void)
{
    char      *data, *copy;
    size_t     len, i, round;
    uint64_t   seed;

    data = test_read(test_path("constructors.so"), &len);
    copy = malloc(len);
    seed = 20240607;

    for (round = 0; round < 20000; round++) {
        memcpy(copy, data, len);

        for (i = 0; i < 1 + round % 4; i++) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
            copy[(seed >> 33) % (round % 2 ? len : 1024)] = (char) (seed >> 24);
        }

        if (test_elf_data(copy, len) != GSGI_OK) {
            check(test_err[0] != '\0');
        }
    }

    free(copy);
    free(data);
}


static void
test_elf_small_err(void)
{
    char    *data, err[8];
    size_t   len;

    data = test_read(test_path("no-abi.so"), &len);
    check_int(gsgi_elf_check(&test_img, data, len, err, sizeof(err)),
              GSGI_ERROR);
    check_int(strlen(err), sizeof(err) - 1);
    free(data);
}


const test_t  test_elf[] = {
    { "elf: a Go library is accepted", test_elf_go },
    { "elf: a C library is accepted, with either hash table",
      test_elf_plain },
    { "elf: ABI versions are compared", test_elf_abi },
    { "elf: a missing symbol is named", test_elf_symbols },
    { "elf: another machine is named", test_elf_machine },
    { "elf: programs, objects, archives and musl are refused",
      test_elf_kind },
    { "elf: sections are not needed", test_elf_sectionless },
    { "elf: truncated at any size", test_elf_truncated },
    { "elf: 20,000 damaged files", test_elf_mutated },
    { "elf: a small room for the text", test_elf_small_err },
    { NULL, NULL }
};
