/*
 * Copyright (C) The GSGI Authors
 *
 * Any bytes are either refused with a text, or a library whose constructors
 * lie inside the file.
 */

#include <stdlib.h>
#include <string.h>

#include "../gsgi_elf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char          err[GSGI_ERR_MAX];
    uint64_t      off;
    gsgi_image_t  img;

    memset(&img, 0, sizeof(img));
    err[0] = '\0';

    if (gsgi_elf_check(&img, data, size, err, sizeof(err)) != GSGI_OK) {
        if (err[0] == '\0') {
            abort();
        }

        return 0;
    }

    off = gsgi_elf_init_size(data, size);

    if (off > size - sizeof(uint64_t)
        || (img.init_count > 0 && (off == 0 || img.init_array == 0))
        || strlen(img.build_id) >= sizeof(img.build_id))
    {
        abort();
    }

    return 0;
}
