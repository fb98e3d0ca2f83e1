/*
 * Copyright (C) The GSGI Authors
 */

#include <gsgi.h>

#include <string.h>
#include <unistd.h>

#include "abi.h"

const gsgi_abi_t  gsgi_abi = {
    GSGI_MAGIC, sizeof(gsgi_abi_t), GSGI_ABI_MAJOR, GSGI_ABI_MINOR,
    sizeof(gsgi_region_t), sizeof(gsgi_slot_t), sizeof(gsgi_chunk_head_t)
};


/* A library in C++ may have much to construct, behind the Go runtime. */

__attribute__((constructor)) static void
app_construct(int argc, char **argv, char **envp)
{
    for ( /* void */ ; *envp != NULL; envp++) {
        if (strcmp(*envp, "APP_CONSTRUCT=slow") == 0) {
            usleep(300 * 1000);
        }
    }
}


void
app_fault(void)
{
    *(volatile int *) 0 = 1;
}
