/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that the requests of a thread share for data that must be copied: enough to keep a disk
 * busy. A part is allocated from the start, so that requests can proceed without more. When
 * requests need the rest, the pool asks its owner, which allocates it with data_pool_grow() on
 * another thread, and then calls data_pool_grown().
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
	size_t touched; /* allocated from the start */
	/* Called when more is needed, once until data_pool_grown(). NULL: allocate all at once. */
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

/* Touches the initial memory. 0 or -errno; a zeroed struct is a pool without memory. */
int data_pool_init(struct data_pool *pool, const struct data_pool_config *config);
/* No request may use it any more. */
void data_pool_destroy(struct data_pool *pool);

/* Waits while there is not enough; @bytes: at most the pool's size. */
void *data_pool_co_get(struct data_pool *pool, size_t bytes);
void data_pool_put(struct data_pool *pool, void *buf, size_t bytes);

/* Touches all memory, after a call of ask_more(). Any thread. */
void data_pool_grow(struct data_pool *pool);
/* Call it when data_pool_grow() has returned. */
void data_pool_grown(struct data_pool *pool);
/* Frees the memory that data_pool_grow() has touched, unless it is in use or waited for. */
void data_pool_give_back(struct data_pool *pool);

#endif
