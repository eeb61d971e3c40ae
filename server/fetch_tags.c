// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Fetching by a command for each tag. A tag is always in one of three states: the driver has it
 * (its command waits in the ring), its request is ours, or it has ended; when all have, it is over.
 */
#include "fetch_way.h"

struct tag {
	struct aio_op op; /* the FETCH, alone or with a COMMIT */
	struct tags *tags;
	uint16_t nr;
};

struct tags {
	struct fetch fetch;
	struct tag *all;
};

static void submit(struct tags *tags, uint16_t tag, uint32_t op, int32_t result)
{
	const struct ubdsrv_io_cmd cmd = {
		.q_id = tags->fetch.config.q_id,
		.tag = tag,
		.result = result,
		.addr = data_fetch_addr(tags->fetch.config.data, tag),
	};

	aio_sqe_set_op(fetch_command(&tags->fetch, op, &cmd), &tags->all[tag].op);
}

static void tag_fetched(struct aio_op *op, int32_t res, uint32_t flags)
{
	struct tag *tag = (struct tag *)op;
	struct fetch *fetch = &tag->tags->fetch;
	const struct fetch_events *events = fetch->config.events;

	if (res == UBD_IO_RES_OK) {
		events->request(fetch->config.arg, tag->nr);
		return;
	}
	if (res != UBD_IO_RES_ABORT)
		events->refused(fetch->config.arg, res);
	fetch_end_one(fetch);
}

static void tags_begin(struct fetch *fetch)
{
	for (unsigned tag = 0; tag < fetch->config.depth; tag++)
		submit((struct tags *)fetch, tag, UBD_IO_FETCH_REQ, 0);
}

static void tags_answer(struct fetch *fetch, uint16_t tag, int32_t result)
{
	submit((struct tags *)fetch, tag, UBD_IO_COMMIT_AND_FETCH_REQ, result);
}

static void tags_leave(struct fetch *fetch, uint16_t tag)
{
	fetch_end_one(fetch);
}

static struct fetch *tags_new(const struct fetch_config *config, GError **err)
{
	struct tags *tags = g_new0(struct tags, 1);

	tags->fetch.config = *config;
	tags->fetch.live = config->depth;
	tags->all = g_new(struct tag, config->depth);
	for (unsigned tag = 0; tag < config->depth; tag++)
		tags->all[tag] = (struct tag){ { .done = tag_fetched }, tags, tag };
	return &tags->fetch;
}

static void tags_free(struct fetch *fetch)
{
	struct tags *tags = (struct tags *)fetch;

	g_free(tags->all);
	g_free(tags);
}

const struct fetch_way fetch_by_tags = {
	.new = tags_new,
	.free = tags_free,
	.begin = tags_begin,
	.answer = tags_answer,
	.leave = tags_leave,
};
