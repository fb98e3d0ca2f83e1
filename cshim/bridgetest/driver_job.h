/*
 * Copyright (C) The GSGI Authors
 */

#ifndef GSGI_DRIVER_JOB_H
#define GSGI_DRIVER_JOB_H

#include "driver.h"

uint64_t drv_now(void);

/* GSGI_OK, or GSGI_NOMEM: try again. */
int drv_job_begin(gsgi_bridge_t *b, drv_job_t *job);
void drv_job_news(gsgi_bridge_t *b, drv_job_t *job, uint32_t events);
void drv_job_tick(gsgi_bridge_t *b, drv_job_t *job);
int drv_job_over(drv_job_t *job);

/* Whether drv_job_tick has something to do without news. */
int drv_job_ticks(drv_job_t *job);

#endif /* GSGI_DRIVER_JOB_H */
