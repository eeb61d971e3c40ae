/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that the requests of a queue share: enough for some large requests or many small ones, in
 * one piece each. Callers wait when none is free; memory is granted in FIFO order, so that large
 * requests get their turn. One thread only.
 */
#ifndef UBD_BOUNCE_H
#define UBD_BOUNCE_H

#include <glib.h>
#include <stddef.h>
#include <stdint.h>

struct bounce_waiter;

struct bounce {
	uint8_t *mem;
	unsigned pages;
	uint64_t *taken; /* one bit per page */
	struct bounce_waiter *first, **end;
};

/* Manages the @bytes at @mem, which still belong to the caller. */
void bounce_init(struct bounce *bounce, void *mem, size_t bytes);
void bounce_destroy(struct bounce *bounce);

/* Gets @bytes, at most the total. Return them with bounce_put() and the same number. */
void *bounce_co_get(struct bounce *bounce, size_t bytes);
void bounce_put(struct bounce *bounce, void *buf, size_t bytes);

#endif
