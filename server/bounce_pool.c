// SPDX-License-Identifier: GPL-2.0-or-later
/* Memory that the requests of a queue share; see bounce_pool.h. */
#include "bounce_pool.h"

#include <assert.h>

#include "aio.h"
#include "align.h"

#define PAGE	  4096u
#define WORD_BITS 64u

struct bounce_waiter {
	struct coroutine *co;
	size_t bytes;
	void *buf;
	struct bounce_waiter *next;
};

static unsigned pages_of(size_t bytes)
{
	return div_round_up(bytes, PAGE);
}

void bounce_pool_init(struct bounce_pool *pool, void *mem, size_t bytes)
{
	unsigned pages = bytes / PAGE;

	*pool = (struct bounce_pool){
		.mem = mem,
		.pages = pages,
		.total = pages,
		.taken = g_new0(uint64_t, pages / WORD_BITS + 1),
		.end = &pool->first,
	};
}

void bounce_pool_destroy(struct bounce_pool *pool)
{
	assert(!pool->first);
	g_free(pool->taken);
}

static bool is_taken(const struct bounce_pool *pool, unsigned page)
{
	return pool->taken[page / WORD_BITS] >> (page % WORD_BITS) & 1;
}

static void flip(struct bounce_pool *pool, unsigned first, unsigned nr)
{
	for (unsigned page = first; page < first + nr; page++)
		pool->taken[page / WORD_BITS] ^= 1ull << (page % WORD_BITS);
}

/* The first page of the first run of free pages that is long enough; pool->pages: there is none. */
static unsigned find_run(const struct bounce_pool *pool, unsigned nr)
{
	unsigned run = 0;

	for (unsigned page = 0; page < pool->pages; page++) {
		if (page % WORD_BITS == 0 && pool->taken[page / WORD_BITS] == UINT64_MAX)
			page += WORD_BITS - 1;
		run = page < pool->pages && !is_taken(pool, page) ? run + 1 : 0;
		if (run == nr)
			return page + 1 - nr;
	}
	return pool->pages;
}

static void *try_take(struct bounce_pool *pool, size_t bytes)
{
	unsigned nr = pages_of(bytes), first = find_run(pool, nr);

	if (first == pool->pages)
		return NULL;
	flip(pool, first, nr);
	return pool->mem + (size_t)first * PAGE;
}

bool bounce_pool_has(const struct bounce_pool *pool, size_t bytes)
{
	return !pool->first && find_run(pool, pages_of(bytes)) < pool->pages;
}

bool bounce_pool_is_short(const struct bounce_pool *pool)
{
	return pool->first;
}

void *bounce_pool_co_get(struct bounce_pool *pool, size_t bytes)
{
	struct bounce_waiter waiter = { .co = co_self(), .bytes = bytes };

	assert(bytes && pages_of(bytes) <= pool->total);
	if (!pool->first)
		waiter.buf = try_take(pool, bytes);
	if (!waiter.buf) {
		*pool->end = &waiter;
		pool->end = &waiter.next;
		co_yield();
	}
	return waiter.buf;
}

static void serve_waiters(struct bounce_pool *pool)
{
	struct bounce_waiter *waiter;

	while ((waiter = pool->first) && (waiter->buf = try_take(pool, waiter->bytes))) {
		pool->first = waiter->next;
		if (!pool->first)
			pool->end = &pool->first;
		co_wake(waiter->co);
	}
}

void bounce_pool_put(struct bounce_pool *pool, void *buf, size_t bytes)
{
	flip(pool, ((uint8_t *)buf - pool->mem) / PAGE, pages_of(bytes));
	serve_waiters(pool);
}

size_t bounce_pool_top(const struct bounce_pool *pool)
{
	unsigned page = pool->pages;

	while (page && !is_taken(pool, page - 1))
		page--;
	return (size_t)page * PAGE;
}

void bounce_pool_set_limit(struct bounce_pool *pool, size_t bytes)
{
	assert(bounce_pool_top(pool) <= bytes && bytes / PAGE <= pool->total);
	pool->pages = bytes / PAGE;
	serve_waiters(pool);
}
