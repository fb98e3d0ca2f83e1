/*
 * Copyright (C) The GSGI Authors
 */

void app_fault(void);
