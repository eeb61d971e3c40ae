// SPDX-License-Identifier: GPL-2.0-or-later
/* Which way requests are fetched; see fetch.h. */
#include "fetch.h"

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

void fetch_begin(struct fetch *fetch)
{
	fetch->way->begin(fetch);
}

void fetch_answer(struct fetch *fetch, uint16_t tag, int32_t result)
{
	fetch->way->answer(fetch, tag, result);
}

void fetch_leave(struct fetch *fetch, uint16_t tag)
{
	fetch->way->leave(fetch, tag);
}

void fetch_end_one(struct fetch *fetch)
{
	if (!--fetch->live)
		fetch->config.events->over(fetch->config.arg);
}
