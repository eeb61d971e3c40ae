/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory that is not there until the test brings it. Whoever touches it meanwhile sleeps. */
#ifndef UBD_TESTS_VM_DRIVER_MISSING_H
#define UBD_TESTS_VM_DRIVER_MISSING_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "lib.h"

struct missing {
	int fd;		   /* a userfaultfd */
	uint8_t *contents; /* missing_bring_all(): of each page that is brought; NULL: zeroes */
	pthread_t bringer;
};

void missing_init(struct missing *missing);

/* Takes away whole pages of private memory, with what they contain. */
void missing_take(struct missing *missing, void *pages, size_t size);

/* Waits until somebody has touched a page of it, and returns that page. */
uint8_t *missing_wait(struct missing *missing);

/* Brings a page of zeroes, and wakes all who wait for it. */
void missing_bring(struct missing *missing, uint8_t *page);

/* From here on all pages come when they are touched, until the process ends. */
void missing_bring_all(struct missing *missing);

#endif
