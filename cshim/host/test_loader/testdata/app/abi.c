/*
 * Copyright (C) The GSGI Authors
 */

#include <gsgi.h>

#include "abi.h"

const gsgi_abi_t  gsgi_abi = {
    GSGI_MAGIC, sizeof(gsgi_abi_t), GSGI_ABI_MAJOR, GSGI_ABI_MINOR,
    sizeof(gsgi_region_t), sizeof(gsgi_slot_t), sizeof(gsgi_chunk_head_t)
};


void
app_fault(void)
{
    *(volatile int *) 0 = 1;
}
