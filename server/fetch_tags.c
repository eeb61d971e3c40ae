// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Fetching with one command per tag. A tag is always in one of three states: the driver has it (its
 * command waits in the ring), its request is ours, or it has ended. The queue is over when all tags
 * have ended.
 */
#include "fetch_wire.h"

struct tag {
	struct aio_op op; /* the command that asks for a request, and may answer the last one */
	struct tags *tags;
	uint16_t nr;
};

struct tags {
	struct wire_fetch wf;
	struct tag *all;
};

static void tag_fetched(struct aio_op *op, int32_t res, uint32_t flags)
{
	struct tag *tag = (struct tag *)op;
	struct wire_fetch *wf = &tag->tags->wf;
	const struct fetch_config *config = &wf->fetch.config;

	if (wf->fetch.abandoned) {
		if (res == 0)
			fetch_refuse(&wf->fetch, tag->nr);
		return;
	}
	if (res == 0) {
		/* It came before the end, and counts again. */
		wf->fetch.live += wf->fetch.ending;
		wire_fetch_request(wf, tag->nr);
		fetch_begin_requests(&wf->fetch);
		return;
	}
	if (wf->fetch.ending)
		return;
	if (res != wf->wire->res_ended)
		config->events->refused(config->arg, res);
	else if (config->driver->keeps_commands && !config->shares_loop)
		return fetch_end_commands(&wf->fetch);
	else if (config->driver->keeps_commands)
		config->events->ending(config->arg);
	fetch_end_one(&wf->fetch);
}

static int tags_begin(struct fetch *fetch)
{
	struct tags *tags = (struct tags *)fetch;
	const struct wire_fetch *wf = &tags->wf;

	for (unsigned tag = 0; tag < fetch->config.depth; tag++) {
		struct io_uring_sqe *sqe = wire_fetch_command(wf);

		wf->wire->prep_first(sqe, fetch->config.q_id, tag,
				     data_fetch_addr(fetch->config.data, tag));
		aio_sqe_set_op(sqe, &tags->all[tag].op);
	}
	return 0;
}

static void tags_answer(struct fetch *fetch, uint16_t tag, int32_t result)
{
	struct tags *tags = (struct tags *)fetch;
	const struct wire_fetch *wf = &tags->wf;
	struct io_uring_sqe *sqe = wire_fetch_command(wf);

	wf->wire->prep_answer(sqe, fetch->config.q_id, tag, result,
			      data_fetch_addr(fetch->config.data, tag));
	aio_sqe_set_op(sqe, &tags->all[tag].op);
	if (fetch->ending)
		fetch_end_one(fetch);
}

static void tags_leave(struct fetch *fetch, uint16_t tag)
{
	fetch_end_one(fetch);
}

static void tags_free(struct fetch *fetch)
{
	struct tags *tags = (struct tags *)fetch;

	wire_fetch_end(&tags->wf);
	g_free(tags->all);
	g_free(tags);
}

static struct fetch *tags_new(const struct fetch_config *config, GError **err)
{
	struct tags *tags = g_new0(struct tags, 1);

	if (wire_fetch_begin(&tags->wf, config, err) < 0) {
		tags_free(&tags->wf.fetch);
		return NULL;
	}
	tags->wf.fetch.live = config->depth;
	tags->all = g_new(struct tag, config->depth);
	for (unsigned tag = 0; tag < config->depth; tag++)
		tags->all[tag] = (struct tag){ { .done = tag_fetched }, tags, tag };
	return &tags->wf.fetch;
}

const struct fetch_way fetch_by_tags = {
	.new = tags_new,
	.free = tags_free,
	.begin = tags_begin,
	.answer = tags_answer,
	.leave = tags_leave,
};
