/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that the requests of a queue share: enough for some large requests or many small ones, in
 * one piece each. Callers wait when none is free; memory is granted in FIFO order, so that large
 * requests get their turn. One thread only.
 */
#ifndef UBD_BOUNCE_POOL_H
#define UBD_BOUNCE_POOL_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bounce_waiter;

struct bounce_pool {
	uint8_t *mem;
	unsigned pages;	 /* that may be given out */
	unsigned total;	 /* all of them */
	uint64_t *taken; /* one bit per page */
	struct bounce_waiter *first, **end;
};

/* Manages the @bytes at @mem, which still belong to the caller. */
void bounce_pool_init(struct bounce_pool *pool, void *mem, size_t bytes);
void bounce_pool_destroy(struct bounce_pool *pool);

/*
 * Only gives out what is below @bytes, no more than it was made with, from now on. Nothing behind
 * that is in use. A waiter that needs more waits until the limit is raised.
 */
void bounce_pool_set_limit(struct bounce_pool *pool, size_t bytes);
/* The end of the last buffer in use; 0: there is none. */
size_t bounce_pool_top(const struct bounce_pool *pool);

/* Whether bounce_pool_co_get() would not wait. */
bool bounce_pool_has(const struct bounce_pool *pool, size_t bytes);
/* Whether somebody waits for memory. */
bool bounce_pool_is_short(const struct bounce_pool *pool);
/* Gets @bytes, at most the total. Return them with bounce_pool_put() and the same number. */
void *bounce_pool_co_get(struct bounce_pool *pool, size_t bytes);
void bounce_pool_put(struct bounce_pool *pool, void *buf, size_t bytes);

#endif
