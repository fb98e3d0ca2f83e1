/*
 * Copyright (C) The GSGI Authors
 *
 * A library of C with the entry points of GSGI.  What is defined when it is
 * compiled makes it a wrong one, or one with constructors that count.
 */

#include <gsgi.h>

#ifndef PLAIN_MAJOR
#define PLAIN_MAJOR  GSGI_ABI_MAJOR
#endif

#ifndef PLAIN_MINOR
#define PLAIN_MINOR  GSGI_ABI_MINOR
#endif

#ifndef PLAIN_REGION
#define PLAIN_REGION  sizeof(gsgi_region_t)
#endif

#ifndef PLAIN_SLOT
#define PLAIN_SLOT  sizeof(gsgi_slot_t)
#endif

#ifndef PLAIN_MAGIC
#define PLAIN_MAGIC  GSGI_MAGIC
#endif

int gsgi_start(const gsgi_start_conf_t *conf, gsgi_gateway_t **gw_out);
int gsgi_drain(gsgi_gateway_t *gw);
int gsgi_stop(gsgi_gateway_t *gw, uint32_t timeout);
int gsgi_probe(const gsgi_start_conf_t *conf);

extern const gsgi_abi_t  gsgi_abi;

#ifdef PLAIN_BSS
gsgi_abi_t  gsgi_abi_zero __asm__("gsgi_abi");
#elif !defined(PLAIN_NO_ABI)
const gsgi_abi_t  gsgi_abi = {
    PLAIN_MAGIC, sizeof(gsgi_abi_t), PLAIN_MAJOR, PLAIN_MINOR,
    PLAIN_REGION, PLAIN_SLOT, sizeof(gsgi_chunk_head_t)
};
#endif

/* What the constructors have seen, for gsgi_start to tell. */
static uint32_t  plain_constructed;


#ifdef PLAIN_CONSTRUCTORS

typedef struct {
    uintptr_t  type;
    uintptr_t  value;
} plain_aux_t;

static int
plain_same(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }

    return *a == *b;
}


/* Walks from argv to envp to the auxiliary vector, as the Go runtime does. */

__attribute__((constructor)) static void
plain_first(int argc, char **argv, char **envp)
{
    char        **p;
    plain_aux_t  *aux;

    if (plain_constructed != 0 || argc != 2 || !plain_same(argv[1], "one")
        || argv[2] != NULL || envp != argv + 3)
    {
        return;
    }

    for (p = envp; *p != NULL; p++) {
        /* void */
    }

    for (aux = (plain_aux_t *) (p + 1); aux->type != 0; aux++) {
        if (aux->type == 6 && aux->value == 4096) {     /* AT_PAGESZ */
            plain_constructed |= 1;
        }
    }

    if (p - envp == 2 && plain_same(envp[0], "A=1")
        && plain_same(envp[1], "B=2"))
    {
        plain_constructed |= 2;
    }
}


__attribute__((constructor)) static void
plain_second(int argc, char **argv, char **envp)
{
    plain_constructed |= plain_constructed & 1 ? 4 : 0;
}

#endif


#ifndef PLAIN_NO_PROBE

int
gsgi_probe(const gsgi_start_conf_t *conf)
{
    return GSGI_OK;
}

#endif


int
gsgi_start(const gsgi_start_conf_t *conf, gsgi_gateway_t **gw_out)
{
    gsgi_region_t  *region = conf->region;

    region->stats.handles = plain_constructed;
    *gw_out = (gsgi_gateway_t *) region;
    __atomic_store_n(&region->app_state, GSGI_APP_READY, __ATOMIC_SEQ_CST);

    return GSGI_OK;
}


int
gsgi_drain(gsgi_gateway_t *gw)
{
    return GSGI_OK;
}


int
gsgi_stop(gsgi_gateway_t *gw, uint32_t timeout)
{
    return GSGI_OK;
}
