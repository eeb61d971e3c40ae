// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Both ways of fetching, with a simulated ring and driver (ubd): the test looks at the commands
 * that would be submitted, and answers them. A file stands in for the driver's.
 */
#include <errno.h>
#include <glib.h>
#include <linux/ubd_cmd.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fetch.h"
#include "fetch_wire.h"

#define DEPTH	 8
#define Q_ID	 3
#define GROUP	 5
#define MAX_SENT 64

/* ---- the ring and the driver ---- */

/* A command, with a copy of its entries. */
struct sent {
	struct io_uring_sqe sqe;
	struct ubdsrv_io_cmd cmd;
	struct aio_op *op;
	struct ubd_batch_entry entries[DEPTH];
};

static int char_fd;
static struct sent sent[MAX_SENT];
static unsigned nr_sent;
static struct io_uring_buf_ring *buf_ring;
static unsigned buf_entries, buf_taken;
static struct aio_hook *end_of_turn; /* NULL: none was added */

struct io_uring_sqe *__wrap_aio_get_sqe(struct aio_loop *loop);
void __wrap_aio_sqe_set_op(struct io_uring_sqe *sqe, struct aio_op *op);
void __wrap_aio_at_end_of_turn(struct aio_hook *hook);
void __wrap_aio_loop_drop_buffer_group(struct aio_loop *loop, uint16_t group);
int __wrap_aio_loop_make_buffer_group(struct aio_loop *loop, struct io_uring_buf_ring *ring,
				      unsigned entries, uint16_t group);
uint64_t __wrap_data_fetch_addr(const struct data_path *data, uint16_t tag);
void __wrap_aio_loop_abandon(struct aio_loop *loop);

struct io_uring_sqe *__wrap_aio_get_sqe(struct aio_loop *loop)
{
	g_assert_cmpuint(nr_sent, <, MAX_SENT);
	memset(&sent[nr_sent], 0, sizeof(sent[nr_sent]));
	return &sent[nr_sent].sqe;
}

void __wrap_aio_sqe_set_op(struct io_uring_sqe *sqe, struct aio_op *op)
{
	struct sent *last = &sent[nr_sent++];

	g_assert_true(sqe == &last->sqe);
	g_assert_cmpuint(sqe->opcode, ==, IORING_OP_URING_CMD);
	g_assert_cmpint(sqe->fd, ==, char_fd);
	last->op = op;
	memcpy(&last->cmd, sqe->cmd, sizeof(last->cmd));
	g_assert_cmpuint(last->cmd.q_id, ==, Q_ID);
	if (sqe->cmd_op != UBD_IO_COMMIT_BATCH)
		return;
	g_assert_cmpuint(last->cmd.tag, >=, 1);
	g_assert_cmpuint(last->cmd.tag, <=, DEPTH);
	memcpy(last->entries, (void *)(uintptr_t)last->cmd.addr,
	       last->cmd.tag * sizeof(last->entries[0]));
}

void __wrap_aio_at_end_of_turn(struct aio_hook *hook)
{
	g_assert_null(end_of_turn);
	end_of_turn = hook;
}

void __wrap_aio_loop_abandon(struct aio_loop *loop)
{
}

int __wrap_aio_loop_make_buffer_group(struct aio_loop *loop, struct io_uring_buf_ring *ring,
				      unsigned entries, uint16_t group)
{
	g_assert_cmpuint(group, ==, GROUP);
	buf_ring = ring;
	buf_entries = entries;
	buf_taken = 0;
	return 0;
}

void __wrap_aio_loop_drop_buffer_group(struct aio_loop *loop, uint16_t group)
{
	g_assert_cmpuint(group, ==, GROUP);
	buf_ring = NULL;
}

uint64_t __wrap_data_fetch_addr(const struct data_path *data, uint16_t tag)
{
	return 0x100000 + tag * 0x1000;
}

/* The loop is about to enter the kernel. Returns the one command that was prepared for it. */
static struct sent *turn_ends(void)
{
	unsigned before = nr_sent;
	struct aio_hook *hook = g_steal_pointer(&end_of_turn);

	if (hook)
		hook->fn(hook);
	g_assert_cmpuint(nr_sent, <=, before + 1);
	return nr_sent > before ? &sent[before] : NULL;
}

static unsigned free_buffers(void)
{
	return (uint16_t)(buf_ring->tail - buf_taken);
}

/* Completes the FETCH_BATCH @fetch with these tags, in a buffer that was provided. */
static void tell_of(const struct sent *fetch, const uint16_t *tags, unsigned count)
{
	struct io_uring_buf *buf = &buf_ring->bufs[buf_taken % buf_entries];
	unsigned bid = buf->bid;

	g_assert_cmpuint(free_buffers(), >=, 1);
	g_assert_cmpuint(buf->len, >=, count * sizeof(*tags));
	memcpy((void *)(uintptr_t)buf->addr, tags, count * sizeof(*tags));
	buf_taken++;
	fetch->op->done(fetch->op, count * sizeof(*tags),
			IORING_CQE_F_BUFFER | IORING_CQE_F_MORE | bid << IORING_CQE_BUFFER_SHIFT);
}

/* ---- the queue ---- */

static struct {
	struct fetch *fetch;
	bool at_once; /* answers immediately */
	uint16_t ours[MAX_SENT];
	struct request_desc last; /* of the last one */
	unsigned nr_ours;
	unsigned nr_begun; /* calls of begin() */
	int refused;
	bool is_ending;
	unsigned nr_over;
} queue;

static void on_request(void *arg, uint16_t tag, const struct request_desc *desc)
{
	g_assert_cmpuint(queue.nr_over, ==, 0);
	g_assert_cmpuint(queue.nr_ours, <, MAX_SENT);
	queue.ours[queue.nr_ours++] = tag;
	queue.last = *desc;
	if (queue.at_once)
		fetch_answer(queue.fetch, tag, 1000 + tag);
}

static void on_begin(void *arg)
{
	queue.nr_begun++;
}

static void on_refused(void *arg, int error)
{
	queue.refused = error;
}

static void on_ending(void *arg)
{
	queue.is_ending = true;
}

static void on_over(void *arg)
{
	queue.nr_over++;
}

/* What the driver is; ubd, if not said otherwise. */
static struct fetch_wire wire;
static struct transport_queues driver;
static bool shares_loop;

static const struct fetch_events events = {
	.request = on_request,
	.begin = on_begin,
	.refused = on_refused,
	.ending = on_ending,
	.over = on_over,
};

static void begin(bool batches)
{
	const struct fetch_config config = {
		.driver = driver.fetch ? &driver : &transport_queues_ubd,
		.way = DATA_COPY,
		.batches = batches,
		.char_fd = char_fd,
		.q_id = Q_ID,
		.buffer_group = GROUP,
		.depth = DEPTH,
		.shares_loop = shares_loop,
		.events = &events,
	};

	memset(&queue, 0, sizeof(queue));
	nr_sent = 0;
	queue.fetch = fetch_new(&config, NULL);
	g_assert_nonnull(queue.fetch);
	g_assert_cmpint(fetch_begin(queue.fetch), ==, 0);
}

/* Fetches in batches; returns the FETCH_BATCH. */
static struct sent *begin_batches(void)
{
	begin(true);
	g_assert_null(turn_ends());
	g_assert_cmpuint(nr_sent, ==, 2);
	return &sent[1];
}

static void end(unsigned nr_over)
{
	g_assert_cmpuint(queue.nr_over, ==, nr_over);
	fetch_end(queue.fetch);
	fetch_free(queue.fetch);
	driver = (struct transport_queues){ 0 };
	shares_loop = false;
}

/* A driver whose commands stay when its file is closed, and that reports answers in bytes. */
static void be_like_ublk(void)
{
	wire = *transport_queues_ubd.wires[DATA_COPY];
	wire.answer_bytes = 16;
	driver = transport_queues_ubd;
	driver.wires[DATA_COPY] = &wire;
	driver.keeps_commands = true;
}

/* ---- commands that the driver keeps ---- */

static void test_abandoned_answers_go_nowhere(void)
{
	be_like_ublk();
	begin(false);
	sent[2].op->done(sent[2].op, 0, 0);
	fetch_abandon(queue.fetch);
	fetch_abandon(queue.fetch);
	g_assert_cmpuint(queue.nr_over, ==, 0);
	/* It comes too late. */
	sent[3].op->done(sent[3].op, 0, 0);
	g_assert_cmpuint(queue.nr_ours, ==, 1);
	fetch_answer(queue.fetch, 2, 512);
	g_assert_cmpuint(nr_sent, ==, DEPTH);
	end(1);
}

static void test_nothing_ours_is_over_at_once(void)
{
	be_like_ublk();
	begin(false);
	fetch_abandon(queue.fetch);
	end(1);
}

/* The commands that carry the last answers may never complete. */
static void test_the_last_answers_are_sent_but_not_waited_for(void)
{
	be_like_ublk();
	begin(false);
	sent[0].op->done(sent[0].op, 0, 0);
	g_assert_false(queue.is_ending);
	sent[1].op->done(sent[1].op, UBD_IO_RES_ABORT, 0);
	/* What is held can be let go. */
	g_assert_true(queue.is_ending);
	g_assert_cmpuint(queue.nr_over, ==, 0);
	/* A request that came before the end is served. */
	sent[2].op->done(sent[2].op, 0, 0);
	sent[3].op->done(sent[3].op, UBD_IO_RES_ABORT, 0);
	fetch_answer(queue.fetch, 0, 512);
	g_assert_cmpuint(queue.nr_over, ==, 0);
	fetch_answer(queue.fetch, 2, 512);
	g_assert_cmpuint(nr_sent, ==, DEPTH + 2);
	g_assert_cmpint(queue.refused, ==, 0);
	end(1);
}

static void test_answers_that_were_not_all_taken_are_noticed(void)
{
	static const uint16_t tags[] = { 1, 2 };
	struct sent *fetch, *commit;

	be_like_ublk();
	fetch = begin_batches();
	for (int32_t taken = 32; taken >= 16; taken -= 16) {
		tell_of(fetch, tags, 2);
		fetch_answer(queue.fetch, 1, 512);
		fetch_answer(queue.fetch, 2, 512);
		commit = turn_ends();
		g_assert_false(commit->op->quiet);
		commit->op->done(commit->op, taken, 0);
		g_assert_cmpint(queue.refused, ==, taken == 32 ? 0 : -EIO);
	}
	end(0);
}

static void test_answers_whose_result_counts_are_waited_for(void)
{
	static const uint16_t tag = 1;
	struct sent *fetch, *commit;

	be_like_ublk();
	fetch = begin_batches();
	tell_of(fetch, &tag, 1);
	g_assert_false(queue.is_ending);
	fetch->op->done(fetch->op, UBD_IO_RES_ABORT, 0);
	g_assert_true(queue.is_ending);
	fetch_answer(queue.fetch, tag, 512);
	commit = turn_ends();
	g_assert_cmpuint(queue.nr_over, ==, 0);
	commit->op->done(commit->op, 16, 0);
	end(1);
}

/* ---- the same on a loop that goes on ---- */

/* A command that came later would name what is freed. */
static void test_all_commands_are_waited_for(void)
{
	be_like_ublk();
	shares_loop = true;
	begin(false);
	sent[0].op->done(sent[0].op, 0, 0);
	for (unsigned tag = 1; tag < DEPTH; tag++)
		sent[tag].op->done(sent[tag].op, UBD_IO_RES_ABORT, 0);
	g_assert_true(queue.is_ending);
	fetch_answer(queue.fetch, 0, 512);
	g_assert_cmpuint(queue.nr_over, ==, 0);
	sent[DEPTH].op->done(sent[DEPTH].op, UBD_IO_RES_ABORT, 0);
	g_assert_cmpint(queue.refused, ==, 0);
	g_assert_false(fetch_is_abandoned(queue.fetch));
	end(1);
}

static void test_what_comes_after_the_end_fails(void)
{
	be_like_ublk();
	shares_loop = true;
	begin(false);
	sent[2].op->done(sent[2].op, 0, 0);
	fetch_abandon(queue.fetch);
	g_assert_cmpuint(queue.nr_over, ==, 0);
	fetch_answer(queue.fetch, 2, 512);
	g_assert_cmpuint(queue.nr_over, ==, 1);
	g_assert_cmpint(sent[DEPTH].cmd.result, ==, 512);
	sent[3].op->done(sent[3].op, 0, 0);
	g_assert_cmpuint(nr_sent, ==, DEPTH + 2);
	g_assert_cmpuint(sent[DEPTH + 1].cmd.tag, ==, 3);
	g_assert_cmpint(sent[DEPTH + 1].cmd.result, ==, -EIO);
	sent[4].op->done(sent[4].op, UBD_IO_RES_ABORT, 0);
	g_assert_cmpuint(queue.nr_ours, ==, 1);
	g_assert_true(fetch_is_abandoned(queue.fetch));
	end(1);
}

static void test_what_comes_in_batches_after_the_end_fails(void)
{
	static const uint16_t tags[] = { 1, 2 };
	struct sent *fetch, *commit;

	be_like_ublk();
	shares_loop = true;
	fetch = begin_batches();
	tell_of(fetch, tags, 1);
	fetch_abandon(queue.fetch);
	g_assert_cmpuint(queue.nr_over, ==, 0);
	fetch_answer(queue.fetch, 1, 512);
	commit = turn_ends();
	g_assert_cmpuint(commit->cmd.tag, ==, 1);
	g_assert_cmpint(commit->entries[0].result, ==, 512);
	commit->op->done(commit->op, 16, 0);
	g_assert_cmpuint(queue.nr_over, ==, 1);
	tell_of(fetch, tags, 2);
	commit = turn_ends();
	g_assert_cmpuint(commit->cmd.tag, ==, 2);
	for (unsigned i = 0; i < 2; i++) {
		g_assert_cmpuint(commit->entries[i].tag, ==, tags[i]);
		g_assert_cmpint(commit->entries[i].result, ==, -EIO);
	}
	commit->op->done(commit->op, 32, 0);
	fetch->op->done(fetch->op, UBD_IO_RES_ABORT, 0);
	g_assert_cmpuint(queue.nr_ours, ==, 1);
	end(1);
}

/* ---- batches ---- */

static void test_batches_begin_with_all_tags(void)
{
	begin(true);
	g_assert_cmpuint(nr_sent, ==, 2);
	g_assert_cmphex(sent[0].sqe.cmd_op, ==, UBD_IO_COMMIT_BATCH);
	g_assert_cmpuint(sent[0].cmd.tag, ==, DEPTH);
	g_assert_true(sent[0].op->quiet);
	for (unsigned tag = 0; tag < DEPTH; tag++) {
		const struct ubd_batch_entry *entry = &sent[0].entries[tag];

		g_assert_cmpuint(entry->tag, ==, tag);
		g_assert_cmphex(entry->flags, ==, UBD_BATCH_FETCH);
		g_assert_cmpint(entry->result, ==, 0);
		g_assert_cmphex(entry->addr, ==, __wrap_data_fetch_addr(NULL, tag));
	}
	g_assert_cmphex(sent[1].sqe.cmd_op, ==, UBD_IO_FETCH_BATCH);
	g_assert_cmphex(sent[1].sqe.flags, ==, IOSQE_BUFFER_SELECT);
	g_assert_cmphex(sent[1].sqe.uring_cmd_flags, ==, 2);
	g_assert_cmpuint(sent[1].cmd.tag, ==, 0);
	g_assert_cmpuint(sent[1].cmd.addr, ==, 0);
	g_assert_false(sent[1].op->quiet);
	g_assert_null(turn_ends());
	end(0);
}

static void test_one_command_has_the_answers_of_a_turn(void)
{
	static const uint16_t tags[] = { 5, 0, 7 };
	struct sent *fetch = begin_batches(), *commit;

	tell_of(fetch, tags, 3);
	g_assert_cmpuint(queue.nr_ours, ==, 3);
	g_assert_cmpuint(queue.nr_begun, ==, 1);
	g_assert_cmpmem(queue.ours, sizeof(tags), tags, sizeof(tags));
	g_assert_null(turn_ends());
	fetch_answer(queue.fetch, 7, 4096);
	fetch_answer(queue.fetch, 5, -EIO);
	commit = turn_ends();
	g_assert_nonnull(commit);
	g_assert_cmphex(commit->sqe.cmd_op, ==, UBD_IO_COMMIT_BATCH);
	g_assert_true(commit->op->quiet);
	g_assert_cmpuint(commit->cmd.tag, ==, 2);
	g_assert_cmpuint(commit->entries[0].tag, ==, 7);
	g_assert_cmpint(commit->entries[0].result, ==, 4096);
	g_assert_cmphex(commit->entries[0].flags, ==, UBD_BATCH_COMMIT | UBD_BATCH_FETCH);
	g_assert_cmphex(commit->entries[0].addr, ==, __wrap_data_fetch_addr(NULL, 7));
	g_assert_cmpuint(commit->entries[1].tag, ==, 5);
	g_assert_cmpint(commit->entries[1].result, ==, -EIO);
	g_assert_null(turn_ends());
	fetch_answer(queue.fetch, 0, 1);
	commit = turn_ends();
	g_assert_cmpuint(commit->cmd.tag, ==, 1);
	g_assert_cmpuint(commit->entries[0].tag, ==, 0);
	g_assert_cmpint(queue.refused, ==, 0);
	end(0);
}

static void test_buffers_come_back(void)
{
	struct sent *fetch = begin_batches();
	unsigned all = free_buffers();

	queue.at_once = true;
	for (unsigned i = 0; i < 10 * all; i++) {
		const uint16_t tag = i % DEPTH;

		tell_of(fetch, &tag, 1);
		g_assert_cmpuint(free_buffers(), ==, all);
		g_assert_cmpuint(turn_ends()->entries[0].tag, ==, tag);
		queue.nr_ours = 0;
		nr_sent = 2;
	}
	/* Also one without tags. */
	tell_of(fetch, NULL, 0);
	g_assert_cmpuint(free_buffers(), ==, all);
	g_assert_cmpuint(queue.nr_ours, ==, 0);
	end(0);
}

/* The kernel took some buffers, but had no room for a CQE that names them. */
static void test_lost_buffers_come_back(void)
{
	static const uint16_t tags[] = { 4, 6 };
	struct sent *fetch = begin_batches();
	unsigned all = free_buffers();

	queue.at_once = true;
	for (unsigned lost = 0; lost < 2 * all; lost++) {
		/* Out of order, except the first time. */
		buf_taken += lost % all;
		fetch->op->done(fetch->op, -ENOBUFS, 0);
		fetch = &sent[nr_sent - 1];
		tell_of(fetch, tags, 2);
		g_assert_cmpuint(free_buffers(), ==, all);
		g_assert_cmpuint(turn_ends()->cmd.tag, ==, 2);
		queue.nr_ours = 0;
		sent[1] = *fetch;
		fetch = &sent[1];
		nr_sent = 2;
	}
	end(0);
}

/* More CQEs than buffers: the command ends and is sent again, nothing else happens. */
static void test_a_lack_of_buffers_passes(void)
{
	struct sent *fetch = begin_batches();

	fetch->op->done(fetch->op, -ENOBUFS, 0);
	g_assert_cmpuint(nr_sent, ==, 3);
	g_assert_cmphex(sent[2].sqe.cmd_op, ==, UBD_IO_FETCH_BATCH);
	g_assert_cmphex(sent[2].sqe.flags, ==, IOSQE_BUFFER_SELECT);
	g_assert_cmpint(queue.refused, ==, 0);
	end(0);
}

static void test_the_end_waits_for_requests_that_are_ours(void)
{
	static const uint16_t tags[] = { 1, 2, 3 };
	struct sent *fetch = begin_batches(), *commit;

	tell_of(fetch, tags, 3);
	fetch_answer(queue.fetch, 2, 0);
	fetch->op->done(fetch->op, UBD_IO_RES_ABORT, 0);
	g_assert_cmpuint(queue.nr_over, ==, 0);
	fetch_leave(queue.fetch, 1);
	g_assert_cmpuint(queue.nr_over, ==, 0);
	fetch_answer(queue.fetch, 3, 0);
	g_assert_cmpuint(queue.nr_over, ==, 1);
	/* The answers are sent nevertheless. */
	commit = turn_ends();
	g_assert_cmpuint(commit->cmd.tag, ==, 2);
	g_assert_cmpuint(commit->entries[0].tag, ==, 2);
	g_assert_cmpuint(commit->entries[1].tag, ==, 3);
	g_assert_cmpuint(nr_sent, ==, 3);
	g_assert_cmpint(queue.refused, ==, 0);
	end(1);
}

static void test_an_idle_queue_ends_at_once(void)
{
	struct sent *fetch = begin_batches();

	fetch->op->done(fetch->op, UBD_IO_RES_ABORT, 0);
	g_assert_null(turn_ends());
	end(1);
}

static void test_a_refused_fetch_is_told_and_ends(void)
{
	struct sent *fetch = begin_batches();

	fetch->op->done(fetch->op, -EBUSY, 0);
	g_assert_cmpint(queue.refused, ==, -EBUSY);
	end(1);
}

static void test_refused_answers_are_told(void)
{
	static const struct {
		int32_t res;
		int told;
	} all[] = { { -EINVAL, -EINVAL }, { 2, -EIO }, { UBD_IO_RES_ABORT, 0 } };

	for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
		static const uint16_t tags[] = { 1, 2, 3 };
		struct sent *fetch = begin_batches(), *commit;

		queue.at_once = true;
		tell_of(fetch, tags, 3);
		commit = turn_ends();
		commit->op->done(commit->op, all[i].res, 0);
		g_assert_cmpint(queue.refused, ==, all[i].told);
		end(0);
	}
}

/* A driver that hands out any free tag, and a queue that answers in any order. */
static void test_each_request_is_answered_once(void)
{
	struct sent *fetch = begin_batches();
	bool is_ours[DEPTH] = {};
	unsigned answered = 0;

	for (unsigned turn = 0; turn < 20000; turn++) {
		uint16_t tags[DEPTH];
		unsigned count = 0, kept = 0, before = answered;
		struct sent *commit;

		for (uint16_t tag = 0; tag < DEPTH; tag++)
			if (!is_ours[tag] && g_test_rand_int_range(0, 3))
				tags[count++] = tag;
		for (unsigned i = 0; i < count; i++)
			is_ours[tags[i]] = true;
		if (count)
			tell_of(fetch, tags, count);
		for (unsigned i = 0; i < queue.nr_ours; i++) {
			if (!g_test_rand_bit()) {
				queue.ours[kept++] = queue.ours[i];
				continue;
			}
			fetch_answer(queue.fetch, queue.ours[i], turn);
			answered++;
		}
		queue.nr_ours = kept;
		commit = turn_ends();
		g_assert_cmpuint(commit ? commit->cmd.tag : 0, ==, answered - before);
		for (unsigned i = 0; commit && i < commit->cmd.tag; i++) {
			g_assert_true(is_ours[commit->entries[i].tag]);
			g_assert_cmpint(commit->entries[i].result, ==, turn);
			is_ours[commit->entries[i].tag] = false;
		}
		nr_sent = 2;
	}
	g_assert_cmpuint(answered, >, 20000);
	end(0);
}

/* ---- tags ---- */

static void test_tags_have_a_command_each(void)
{
	begin(false);
	g_assert_cmpuint(nr_sent, ==, DEPTH);
	for (unsigned tag = 0; tag < DEPTH; tag++) {
		g_assert_cmphex(sent[tag].sqe.cmd_op, ==, UBD_IO_FETCH_REQ);
		g_assert_cmpuint(sent[tag].cmd.tag, ==, tag);
		g_assert_cmphex(sent[tag].cmd.addr, ==, __wrap_data_fetch_addr(NULL, tag));
	}
	sent[4].op->done(sent[4].op, UBD_IO_RES_OK, 0);
	g_assert_cmpuint(queue.nr_ours, ==, 1);
	g_assert_cmpuint(queue.ours[0], ==, 4);
	fetch_answer(queue.fetch, 4, 512);
	g_assert_cmpuint(nr_sent, ==, DEPTH + 1);
	g_assert_cmphex(sent[DEPTH].sqe.cmd_op, ==, UBD_IO_COMMIT_AND_FETCH_REQ);
	g_assert_cmpuint(sent[DEPTH].cmd.tag, ==, 4);
	g_assert_cmpint(sent[DEPTH].cmd.result, ==, 512);
	g_assert_true(sent[DEPTH].op == sent[4].op);
	end(0);
}

static void test_tags_end_one_by_one(void)
{
	begin(false);
	sent[0].op->done(sent[0].op, UBD_IO_RES_OK, 0);
	for (unsigned tag = 1; tag < DEPTH; tag++)
		sent[tag].op->done(sent[tag].op, tag == 1 ? -EBUSY : UBD_IO_RES_ABORT, 0);
	g_assert_cmpint(queue.refused, ==, -EBUSY);
	g_assert_cmpuint(queue.nr_over, ==, 0);
	fetch_leave(queue.fetch, 0);
	end(1);
}

/* ---- descriptors ---- */

static void fill(uint16_t tag, uint32_t op_flags, uint32_t nr_sectors, uint64_t start_sector)
{
	const struct ubdsrv_io_desc desc = { op_flags, nr_sectors, start_sector, 0 };

	g_assert_cmpint(pwrite(char_fd, &desc, sizeof(desc),
			       ubd_desc_mmap_offset(Q_ID) + tag * sizeof(desc)),
			==, sizeof(desc));
}

static void test_requests_come_with_what_is_wanted(void)
{
	static const struct {
		uint32_t op_flags;
		struct request_desc desc;
	} all[] = {
		{ UBD_IO_OP_READ, { .op = REQUEST_READ, .may_unmap = true } },
		{ UBD_IO_OP_READ | UBD_IO_F_REGISTERED,
		  { .op = REQUEST_READ, .may_unmap = true, .registered = true } },
		{ UBD_IO_OP_WRITE | UBD_IO_F_FUA,
		  { .op = REQUEST_WRITE, .fua = true, .may_unmap = true } },
		{ UBD_IO_OP_FLUSH, { .op = REQUEST_FLUSH, .may_unmap = true } },
		{ UBD_IO_OP_DISCARD, { .op = REQUEST_DISCARD, .may_unmap = true } },
		{ UBD_IO_OP_WRITE_ZEROES, { .op = REQUEST_WRITE_ZEROES, .may_unmap = true } },
		{ UBD_IO_OP_WRITE_ZEROES | UBD_IO_F_NOUNMAP, { .op = REQUEST_WRITE_ZEROES } },
		{ 4, { .op = REQUEST_UNKNOWN, .may_unmap = true } },
		{ 255, { .op = REQUEST_UNKNOWN, .may_unmap = true } },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
		const uint16_t tag = i % DEPTH;
		struct sent *fetch = begin_batches();

		/* Beyond 4 GiB, and beyond 2 TiB. */
		fill(tag, all[i].op_flags, 1u << 24, 1ull << 33);
		tell_of(fetch, &tag, 1);
		g_assert_cmpint(queue.last.op, ==, all[i].desc.op);
		g_assert_cmpint(queue.last.fua, ==, all[i].desc.fua);
		g_assert_cmpint(queue.last.may_unmap, ==, all[i].desc.may_unmap);
		g_assert_cmpint(queue.last.registered, ==, all[i].desc.registered);
		g_assert_cmpuint(queue.last.bytes, ==, 1ull << 33);
		g_assert_cmpuint(queue.last.guest_off, ==, 1ull << 42);
		end(0);
	}
}

int main(int argc, char **argv)
{
	char_fd = memfd_create("char", MFD_CLOEXEC);
	g_assert_cmpint(ftruncate(char_fd, 2 * ubd_desc_mmap_offset(Q_ID)), ==, 0);
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/fetch/batches/begin-with-all-tags", test_batches_begin_with_all_tags);
	g_test_add_func("/fetch/batches/one-command-has-the-answers-of-a-turn",
			test_one_command_has_the_answers_of_a_turn);
	g_test_add_func("/fetch/batches/buffers-come-back", test_buffers_come_back);
	g_test_add_func("/fetch/batches/lost-buffers-come-back", test_lost_buffers_come_back);
	g_test_add_func("/fetch/batches/a-lack-of-buffers-passes", test_a_lack_of_buffers_passes);
	g_test_add_func("/fetch/batches/the-end-waits-for-requests-that-are-ours",
			test_the_end_waits_for_requests_that_are_ours);
	g_test_add_func("/fetch/batches/an-idle-queue-ends-at-once",
			test_an_idle_queue_ends_at_once);
	g_test_add_func("/fetch/batches/a-refused-fetch-is-told-and-ends",
			test_a_refused_fetch_is_told_and_ends);
	g_test_add_func("/fetch/batches/refused-answers-are-told", test_refused_answers_are_told);
	g_test_add_func("/fetch/batches/each-request-is-answered-once",
			test_each_request_is_answered_once);
	g_test_add_func("/fetch/tags/have-a-command-each", test_tags_have_a_command_each);
	g_test_add_func("/fetch/tags/end-one-by-one", test_tags_end_one_by_one);
	g_test_add_func("/fetch/requests-come-with-what-is-wanted",
			test_requests_come_with_what_is_wanted);
	g_test_add_func("/fetch/kept/abandoned-answers-go-nowhere",
			test_abandoned_answers_go_nowhere);
	g_test_add_func("/fetch/kept/nothing-ours-is-over-at-once",
			test_nothing_ours_is_over_at_once);
	g_test_add_func("/fetch/kept/the-last-answers-are-sent-but-not-waited-for",
			test_the_last_answers_are_sent_but_not_waited_for);
	g_test_add_func("/fetch/kept/answers-that-were-not-all-taken-are-noticed",
			test_answers_that_were_not_all_taken_are_noticed);
	g_test_add_func("/fetch/kept/answers-whose-result-counts-are-waited-for",
			test_answers_whose_result_counts_are_waited_for);
	g_test_add_func("/fetch/shared/all-commands-are-waited-for",
			test_all_commands_are_waited_for);
	g_test_add_func("/fetch/shared/what-comes-after-the-end-fails",
			test_what_comes_after_the_end_fails);
	g_test_add_func("/fetch/shared/what-comes-in-batches-after-the-end-fails",
			test_what_comes_in_batches_after_the_end_fails);
	return g_test_run();
}
