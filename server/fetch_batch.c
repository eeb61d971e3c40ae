// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Fetching in batches. One command stays in the ring and announces requests: the driver writes tags
 * to buffers that we provide, and each buffer is provided again as soon as its tags are read.
 * Answers are gathered in an array, which goes out as one command at the end of the turn. The
 * kernel reads the array at once, so one array is enough. It always has room, because a tag is not
 * ours again before its answer has gone.
 *
 * The queue is over when the announcing command has ended for good and no request is ours. Answers
 * that are still in the array then go out nevertheless, because a loop submits what was prepared
 * before it ends; and if their results count, they were waited for.
 */
#include <assert.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "container_of.h"
#include "error.h"
#include "fetch_wire.h"

/* IORING_URING_CMD_MULTISHOT, which the headers that we build with do not have yet. */
#define CMD_MULTISHOT	(1u << 1)

/*
 * Usually one buffer holds all requests that have come since the last turn. If no buffer is left,
 * the announcing command ends, and the next one gets the requests that have waited.
 */
#define NR_BUFFERS	16
#define TAGS_PER_BUFFER 64

/* The buffers that we provide to the ring. The page of the buffer ring comes first. */
struct buffers {
	struct io_uring_buf_ring *ring;
	uint16_t head; /* of the ring: the next buffer that the kernel takes */
	uint16_t (*tags)[TAGS_PER_BUFFER];
	void *map;
	size_t map_bytes;
};

struct batch {
	struct wire_fetch wf;
	struct aio_op fetch_op;
	struct aio_op first_op;
	struct aio_op commit_op;
	struct aio_hook end_of_turn; /* added when the first answer is gathered */
	/* Of answers on their way: commands, and what their results must add up to. */
	unsigned commits;
	int64_t owed_bytes;
	struct buffers buffers;
	struct fetch_entry *entries;
	unsigned nr_entries;
};

/* ---- answers ---- */

static void add_entry(struct batch *batch, uint16_t tag, int32_t result)
{
	const struct fetch_config *config = &batch->wf.fetch.config;

	assert(batch->nr_entries < config->depth);
	batch->entries[batch->nr_entries++] = (struct fetch_entry){
		.tag = tag,
		.result = result,
		.addr = data_fetch_addr(config->data, tag),
	};
}

static void send_first(struct batch *batch)
{
	struct io_uring_sqe *sqe = wire_fetch_command(&batch->wf);

	batch->wf.wire->prep_first_batch(sqe, batch->wf.fetch.config.q_id, batch->entries,
					 batch->nr_entries);
	aio_sqe_set_op(sqe, &batch->first_op);
	batch->nr_entries = 0;
}

static void gather(struct batch *batch, uint16_t tag, int32_t result)
{
	if (!batch->nr_entries)
		aio_at_end_of_turn(&batch->end_of_turn);
	add_entry(batch, tag, result);
}

static void send_answers(struct aio_hook *hook)
{
	struct batch *batch = container_of(hook, struct batch, end_of_turn);
	struct io_uring_sqe *sqe = wire_fetch_command(&batch->wf);

	batch->wf.wire->prep_answers(sqe, batch->wf.fetch.config.q_id, batch->entries,
				     batch->nr_entries);
	aio_sqe_set_op(sqe, &batch->commit_op);
	batch->commits++;
	batch->owed_bytes += batch->nr_entries * batch->wf.wire->answer_bytes;
	batch->nr_entries = 0;
}

/*
 * The driver has processed none of the entries, or only some. It never has reason to refuse one
 * unless it is done with us, and then the announcing command ends, too.
 */
static void refused(struct batch *batch, int32_t res)
{
	const struct fetch_config *config = &batch->wf.fetch.config;

	if (res != batch->wf.wire->res_ended && !batch->wf.fetch.abandoned)
		config->events->refused(config->arg, res < 0 ? res : -EIO);
}

static void first_failed(struct aio_op *op, int32_t res, uint32_t flags)
{
	refused(container_of(op, struct batch, first_op), res);
}

/* If the operation is quiet, it is never called for a batch that was taken. */
static void committed(struct aio_op *op, int32_t res, uint32_t flags)
{
	struct batch *batch = container_of(op, struct batch, commit_op);

	batch->commits--;
	batch->owed_bytes -= MAX(res, 0);
	if (res < 0 || op->quiet || (!batch->commits && batch->owed_bytes))
		refused(batch, res);
	if (!op->quiet && !batch->wf.fetch.abandoned)
		fetch_end_one(&batch->wf.fetch);
}

static void batch_answer(struct fetch *fetch, uint16_t tag, int32_t result)
{
	struct batch *batch = (struct batch *)fetch;

	if (fetch->abandoned) {
		gather(batch, tag, result);
		return;
	}
	/* A command whose result counts keeps the queue alive. */
	if (!batch->commit_op.quiet && !batch->nr_entries)
		fetch->live++;
	gather(batch, tag, result);
	fetch_end_one(fetch);
}

static void batch_leave(struct fetch *fetch, uint16_t tag)
{
	fetch_end_one(fetch);
}

/* ---- requests ---- */

static void provide(struct buffers *buffers, unsigned index)
{
	io_uring_buf_ring_add(buffers->ring, buffers->tags[index], sizeof(buffers->tags[index]),
			      index, io_uring_buf_ring_mask(NR_BUFFERS), 0);
	io_uring_buf_ring_advance(buffers->ring, 1);
}

static void send_fetch(struct batch *batch)
{
	struct io_uring_sqe *sqe = wire_fetch_command(&batch->wf);

	batch->wf.wire->prep_announce(sqe, batch->wf.fetch.config.q_id);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = batch->wf.fetch.config.buffer_group;
	sqe->uring_cmd_flags = CMD_MULTISHOT;
	aio_sqe_set_op(sqe, &batch->fetch_op);
}

/*
 * The kernel has taken buffer @index. It takes buffers in order, so those before it are lost: there
 * was no room for the CQE that would have named them.
 */
static void note_taken(struct buffers *buffers, unsigned index)
{
	unsigned mask = io_uring_buf_ring_mask(NR_BUFFERS), first;

	while ((first = buffers->ring->bufs[buffers->head++ & mask].bid) != index)
		provide(buffers, first);
}

static void take_tag(struct batch *batch, uint16_t tag)
{
	if (batch->wf.fetch.abandoned) {
		fetch_refuse(&batch->wf.fetch, tag);
		return;
	}
	batch->wf.fetch.live++;
	wire_fetch_request(&batch->wf, tag);
}

static void take_tags(struct batch *batch, unsigned index, size_t bytes)
{
	const uint16_t *tags = batch->buffers.tags[index];

	note_taken(&batch->buffers, index);
	for (size_t i = 0; i < bytes / sizeof(*tags); i++)
		take_tag(batch, tags[i]);
	provide(&batch->buffers, index);
	fetch_begin_requests(&batch->wf.fetch);
}

static void batch_fetched(struct aio_op *op, int32_t res, uint32_t flags)
{
	struct batch *batch = container_of(op, struct batch, fetch_op);
	const struct fetch_config *config = &batch->wf.fetch.config;

	if (batch->wf.fetch.abandoned && !config->shares_loop)
		return;
	if (flags & IORING_CQE_F_BUFFER)
		take_tags(batch, flags >> IORING_CQE_BUFFER_SHIFT, MAX(res, 0));
	if (flags & IORING_CQE_F_MORE)
		return;
	if (res >= 0 || res == -ENOBUFS) {
		send_fetch(batch);
		return;
	}
	if (batch->wf.fetch.abandoned)
		return;
	if (res != batch->wf.wire->res_ended)
		config->events->refused(config->arg, res);
	else if (config->driver->keeps_commands)
		config->events->ending(config->arg);
	fetch_end_one(&batch->wf.fetch);
}

static int batch_begin(struct fetch *fetch)
{
	struct batch *batch = (struct batch *)fetch;
	int res = aio_loop_make_buffer_group(fetch->config.loop, batch->buffers.ring, NR_BUFFERS,
					     fetch->config.buffer_group);

	if (res < 0)
		return res;
	for (unsigned tag = 0; tag < fetch->config.depth; tag++)
		add_entry(batch, tag, 0);
	send_first(batch);
	send_fetch(batch);
	return 0;
}

static void batch_end(struct fetch *fetch)
{
	aio_loop_drop_buffer_group(fetch->config.loop, fetch->config.buffer_group);
}

/* ---- memory ---- */

static int make_buffers(struct buffers *buffers)
{
	size_t page = sysconf(_SC_PAGESIZE);

	buffers->map_bytes = page + NR_BUFFERS * sizeof(*buffers->tags);
	buffers->map = mmap(NULL, buffers->map_bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (buffers->map == MAP_FAILED) {
		buffers->map = NULL;
		return -errno;
	}
	buffers->ring = buffers->map;
	buffers->tags = (void *)((char *)buffers->map + page);
	io_uring_buf_ring_init(buffers->ring);
	for (unsigned i = 0; i < NR_BUFFERS; i++)
		provide(buffers, i);
	return 0;
}

static void batch_free(struct fetch *fetch)
{
	struct batch *batch = (struct batch *)fetch;

	wire_fetch_end(&batch->wf);
	if (batch->buffers.map)
		munmap(batch->buffers.map, batch->buffers.map_bytes);
	g_free(batch->entries);
	g_free(batch);
}

static struct fetch *batch_new(const struct fetch_config *config, GError **err)
{
	struct batch *batch = g_new0(struct batch, 1);
	int res;

	batch->fetch_op.done = batch_fetched;
	batch->end_of_turn.fn = send_answers;
	batch->entries = g_new0(struct fetch_entry, config->depth);
	if (wire_fetch_begin(&batch->wf, config, err) < 0)
		goto fail;
	batch->first_op = (struct aio_op){ first_failed, .quiet = true };
	batch->commit_op = (struct aio_op){ committed, .quiet = !batch->wf.wire->answer_bytes };
	res = make_buffers(&batch->buffers);
	if (res < 0) {
		error_set(err, res, "queue %u: no memory for its buffers", config->q_id);
		goto fail;
	}
	batch->wf.fetch.live = 1; /* the command that announces requests */
	return &batch->wf.fetch;
fail:
	batch_free(&batch->wf.fetch);
	return NULL;
}

const struct fetch_way fetch_by_batches = {
	.new = batch_new,
	.free = batch_free,
	.begin = batch_begin,
	.end = batch_end,
	.answer = batch_answer,
	.leave = batch_leave,
};
