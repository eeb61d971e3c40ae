// SPDX-License-Identifier: GPL-2.0-or-later
/* Memory that the requests of a queue share; see bounce.h. */
#include "bounce.h"

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

void bounce_init(struct bounce *bounce, void *mem, size_t bytes)
{
	unsigned pages = bytes / PAGE;

	*bounce = (struct bounce){
		.mem = mem,
		.pages = pages,
		.taken = g_new0(uint64_t, pages / WORD_BITS + 1),
		.end = &bounce->first,
	};
}

void bounce_destroy(struct bounce *bounce)
{
	assert(!bounce->first);
	g_free(bounce->taken);
}

static bool is_taken(const struct bounce *bounce, unsigned page)
{
	return bounce->taken[page / WORD_BITS] >> (page % WORD_BITS) & 1;
}

static void flip(struct bounce *bounce, unsigned first, unsigned nr)
{
	for (unsigned page = first; page < first + nr; page++)
		bounce->taken[page / WORD_BITS] ^= 1ull << (page % WORD_BITS);
}

/* The first run of free pages that is long enough; NULL if there is none. */
static void *try_take(struct bounce *bounce, size_t bytes)
{
	unsigned nr = pages_of(bytes), run = 0;

	for (unsigned page = 0; page < bounce->pages; page++) {
		if (page % WORD_BITS == 0 && bounce->taken[page / WORD_BITS] == UINT64_MAX)
			page += WORD_BITS - 1;
		run = page < bounce->pages && !is_taken(bounce, page) ? run + 1 : 0;
		if (run == nr) {
			flip(bounce, page + 1 - nr, nr);
			return bounce->mem + (size_t)(page + 1 - nr) * PAGE;
		}
	}
	return NULL;
}

void *bounce_co_get(struct bounce *bounce, size_t bytes)
{
	struct bounce_waiter waiter = { .co = co_self(), .bytes = bytes };

	assert(bytes && pages_of(bytes) <= bounce->pages);
	if (!bounce->first)
		waiter.buf = try_take(bounce, bytes);
	if (!waiter.buf) {
		*bounce->end = &waiter;
		bounce->end = &waiter.next;
		co_yield();
	}
	return waiter.buf;
}

void bounce_put(struct bounce *bounce, void *buf, size_t bytes)
{
	struct bounce_waiter *waiter;

	flip(bounce, ((uint8_t *)buf - bounce->mem) / PAGE, pages_of(bytes));
	while ((waiter = bounce->first) && (waiter->buf = try_take(bounce, waiter->bytes))) {
		bounce->first = waiter->next;
		if (!bounce->first)
			bounce->end = &bounce->first;
		co_wake(waiter->co);
	}
}
