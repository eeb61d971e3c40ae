/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that the requests of a thread share for data that must be copied: as much as keeps a disk
 * busy, of which a part is there from the start, so that requests go on without more. The owner is
 * asked for the rest when requests need it, gets it with data_pool_grow() on another thread, and
 * says so with data_pool_grown().
 *
 * One thread only, except for data_pool_grow().
 */
#ifndef UBD_DATA_POOL_H
#define UBD_DATA_POOL_H

#include <stdbool.h>
#include <stddef.h>

#include "bounce_pool.h"
#include "data_memory.h"

struct data_pool_config {
	size_t bytes;
	size_t touched; /* what is there from the start */
	/* Called when more is needed, once until data_pool_grown(). NULL: all is there at once. */
	void (*ask_more)(void *arg);
	void *arg;
};

/* Private to data_pool.c. */
struct data_pool {
	struct data_pool_config config;
	struct data_memory memory;
	struct bounce_pool bounce;
	bool has_asked, has_grown;
};

/* Enough for as many requests as keep a disk busy. */
#define DATA_POOL_BYTES (4u << 20)

/* Touches what must be there. 0 or -errno; a zeroed struct is a pool without memory. */
int data_pool_init(struct data_pool *pool, const struct data_pool_config *config);
/* No request uses it. */
void data_pool_destroy(struct data_pool *pool);

/* Waits if there is none; @bytes: no more than the pool has. */
void *data_pool_co_get(struct data_pool *pool, size_t bytes);
void data_pool_put(struct data_pool *pool, void *buf, size_t bytes);

/* Touches all of it, after a call of ask_more(). Any thread. */
void data_pool_grow(struct data_pool *pool);
/* data_pool_grow() has returned. */
void data_pool_grown(struct data_pool *pool);
/* Gives back what data_pool_grow() has touched, unless it is in use or waited for. */
void data_pool_give_back(struct data_pool *pool);

#endif
