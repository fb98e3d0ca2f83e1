#include "gsgi.h"

/* Read from the library's file by the host, before anything is loaded. */

extern const gsgi_abi_t gsgi_abi;

__attribute__((visibility("default"), used))
const gsgi_abi_t gsgi_abi = {
    GSGI_MAGIC,
    sizeof(gsgi_abi_t),
    GSGI_ABI_MAJOR,
    GSGI_ABI_MINOR,
    sizeof(gsgi_region_t),
    sizeof(gsgi_slot_t),
    sizeof(gsgi_chunk_head_t)
};
