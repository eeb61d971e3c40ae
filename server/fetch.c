// SPDX-License-Identifier: GPL-2.0-or-later
/* What both ways of fetching share; see fetch.h. */
#include "fetch.h"

#include <string.h>

#include "fetch_way.h"

struct fetch *fetch_new(const struct fetch_config *config, GError **err)
{
	const struct fetch_way *way =
		config->features & UBD_F_BATCH ? &fetch_by_batches : &fetch_by_tags;
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

struct io_uring_sqe *fetch_command(const struct fetch *fetch, uint32_t op,
				   const struct ubdsrv_io_cmd *cmd)
{
	struct io_uring_sqe *sqe = aio_get_sqe(fetch->config.loop);

	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fetch->config.char_fd, NULL, 0, 0);
	sqe->cmd_op = op;
	memcpy(sqe->cmd, cmd, sizeof(*cmd));
	return sqe;
}

void fetch_end_one(struct fetch *fetch)
{
	if (!--fetch->live)
		fetch->config.events->over(fetch->config.arg);
}
