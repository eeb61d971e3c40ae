// SPDX-License-Identifier: GPL-2.0-or-later
/* Memory that the requests of a thread share; see data_pool.h. */
#include "data_pool.h"

#include "pages.h"

int data_pool_init(struct data_pool *pool, const struct data_pool_config *config)
{
	int res;

	*pool = (struct data_pool){ .config = *config };
	res = data_memory_map(&pool->memory, config->bytes);
	if (res < 0)
		return res;
	bounce_pool_init(&pool->bounce, pool->memory.bufs, config->bytes);
	if (!config->ask_more) {
		pool->has_asked = pool->has_grown = true;
		data_pool_grow(pool);
		return 0;
	}
	data_memory_forbid_huge_pages(&pool->memory);
	pages_touch(pool->memory.bufs, config->touched);
	bounce_pool_set_limit(&pool->bounce, config->touched);
	return 0;
}

void data_pool_destroy(struct data_pool *pool)
{
	if (pool->memory.map)
		bounce_pool_destroy(&pool->bounce);
	data_memory_unmap(&pool->memory);
}

void *data_pool_co_get(struct data_pool *pool, size_t bytes)
{
	if (!pool->has_asked && !bounce_pool_has(&pool->bounce, bytes)) {
		pool->has_asked = true;
		pool->config.ask_more(pool->config.arg);
	}
	return bounce_pool_co_get(&pool->bounce, bytes);
}

void data_pool_put(struct data_pool *pool, void *buf, size_t bytes)
{
	bounce_pool_put(&pool->bounce, buf, bytes);
}

void data_pool_grow(struct data_pool *pool)
{
	data_memory_grow(&pool->memory);
}

void data_pool_grown(struct data_pool *pool)
{
	pool->has_grown = true;
	bounce_pool_set_limit(&pool->bounce, pool->memory.bytes);
}

void data_pool_give_back(struct data_pool *pool)
{
	size_t touched = pool->config.touched;

	if (!pool->has_grown || !pool->config.ask_more ||
	    bounce_pool_top(&pool->bounce) > touched || bounce_pool_is_short(&pool->bounce))
		return;
	bounce_pool_set_limit(&pool->bounce, touched);
	data_memory_forbid_huge_pages(&pool->memory);
	pages_give_back(pool->memory.bufs + touched, pool->memory.bytes - touched);
	pool->has_asked = pool->has_grown = false;
}
