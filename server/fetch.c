// SPDX-License-Identifier: GPL-2.0-or-later
/* Which way requests are fetched; see fetch.h. */
#include "fetch.h"

#include <errno.h>

#include "fetch_way.h"

struct fetch *fetch_new(const struct fetch_config *config, GError **err)
{
	const struct fetch_way *way =
		config->batches ? config->driver->fetch_batches : config->driver->fetch;
	struct fetch *fetch = way->new (config, err);

	if (!fetch)
		return NULL;
	fetch->way = way;
	return fetch;
}

void fetch_free(struct fetch *fetch)
{
	if (fetch)
		fetch->way->free(fetch);
}

unsigned fetch_requests(const struct fetch *fetch)
{
	return atomic_load_explicit(&fetch->ours, memory_order_relaxed);
}

int fetch_begin(struct fetch *fetch)
{
	return fetch->way->begin(fetch);
}

void fetch_end(struct fetch *fetch)
{
	if (fetch->way->end && !fetch->abandoned)
		fetch->way->end(fetch);
}

void fetch_answer(struct fetch *fetch, uint16_t tag, int32_t result)
{
	fetch_count(fetch, -1);
	if (!fetch->abandoned || fetch->config.shares_loop)
		fetch->way->answer(fetch, tag, result);
	if (fetch->abandoned)
		fetch_end_one(fetch);
}

void fetch_refuse(struct fetch *fetch, uint16_t tag)
{
	if (fetch->config.shares_loop)
		fetch->way->answer(fetch, tag, -EIO);
}

void fetch_leave(struct fetch *fetch, uint16_t tag)
{
	fetch_count(fetch, -1);
	if (fetch->abandoned)
		fetch_end_one(fetch);
	else
		fetch->way->leave(fetch, tag);
}

/* Commands do not count any more. */
static void count_requests_only(struct fetch *fetch)
{
	aio_loop_abandon(fetch->config.loop);
	fetch->live = fetch_requests(fetch);
	if (!fetch->live)
		fetch->config.events->over(fetch->config.arg);
}

void fetch_abandon(struct fetch *fetch)
{
	if (fetch->abandoned || !fetch->live)
		return;
	fetch->abandoned = true;
	count_requests_only(fetch);
}

bool fetch_is_abandoned(const struct fetch *fetch)
{
	return fetch->abandoned;
}

void fetch_end_commands(struct fetch *fetch)
{
	fetch->config.events->ending(fetch->config.arg);
	fetch->ending = true;
	count_requests_only(fetch);
}

void fetch_end_one(struct fetch *fetch)
{
	if (!--fetch->live)
		fetch->config.events->over(fetch->config.arg);
}
