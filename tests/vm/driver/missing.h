/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory that is missing until the test brings it. A thread that touches it sleeps meanwhile. */
#ifndef UBD_TESTS_VM_DRIVER_MISSING_H
#define UBD_TESTS_VM_DRIVER_MISSING_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "lib.h"

struct missing {
	int fd;		   /* a userfaultfd */
	uint8_t *contents; /* missing_bring_all(): for each page that is brought; NULL: zeroes */
	pthread_t bringer;
};

void missing_init(struct missing *missing);

/* Removes whole pages of private memory, with their contents. */
void missing_take(struct missing *missing, void *pages, size_t size);

/* Waits until a thread has touched one of its pages, and returns that page. */
uint8_t *missing_wait(struct missing *missing);

/* Brings a page of zeroes, and wakes everyone waiting for it. */
void missing_bring(struct missing *missing, uint8_t *page);

/* From here on, pages are brought as they are touched, until the process ends. */
void missing_bring_all(struct missing *missing);

#endif
