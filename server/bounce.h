/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that the requests of a queue share: as much as some large ones need, or
 * many small ones, in one piece each. Who finds none waits; it is given out in the order in
 * which it was asked for, so that large requests get their turn. One thread only.
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
	uint64_t *taken; /* a bit for each page */
	struct bounce_waiter *first, **end;
};

/* Gives out the @bytes at @mem, which stay the caller's. */
void bounce_init(struct bounce *bounce, void *mem, size_t bytes);
void bounce_destroy(struct bounce *bounce);

/* @bytes, not more than there are at all. To be given back by bounce_put() with the same number. */
void *bounce_co_get(struct bounce *bounce, size_t bytes);
void bounce_put(struct bounce *bounce, void *buf, size_t bytes);

#endif
