// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a server that uses batches may use of io_uring: rings, flags of SQEs, and ways to provide
 * buffers.
 */
#include "manual.h"

#include <sys/mman.h>
#include <unistd.h>

#define DEFERS (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)

static void serve_some(struct manual *m)
{
	struct client client;

	client_submit(&client, 8, 0);
	manual_wait_for_tags(m, 8);
	manual_answer_all(m);
	CHECK_EQ(client_wait(&client), 0);
	check_written(&client, 0);
}

/* ---- rings ---- */

static void check_ring_serves(unsigned int flags)
{
	struct manual m;

	manual_add(&m, 0, 8);
	CHECK_EQ(io_uring_queue_init(32, &m.ring, flags), 0);
	manual_serve(&m, 8, 8);
	serve_some(&m);
	serve_some(&m);
	manual_end(&m);
}

static void any_ring_serves(void)
{
	check_ring_serves(IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
	check_ring_serves(IORING_SETUP_SINGLE_ISSUER);
	check_ring_serves(DEFERS);
	check_ring_serves(IORING_SETUP_SQPOLL);
	check_ring_serves(IORING_SETUP_SQE128 | IORING_SETUP_CQE32);
}

static void a_ring_that_polls_for_completions_does_no_harm(void)
{
	check_ring_serves(IORING_SETUP_IOPOLL);
}

/* Of the same server; nothing is left of the first. */
static void the_next_fetch_may_be_of_another_ring(void)
{
	struct client client;
	struct manual m;

	manual_run(&m);
	CHECK_EQ(io_uring_unregister_buf_ring(&m.ring, 0), 0);
	client_submit(&client, 8, 0);
	CHECK_EQ(manual_wait_for_end(&m), -ENOBUFS);
	io_uring_queue_exit(&m.ring);

	CHECK_EQ(io_uring_queue_init(32, &m.ring, DEFERS), 0);
	batch_init(&m.batch, &m.ring, m.server.cdev, 0, 8, 8);
	manual_fetch(&m);
	manual_wait_for_tags(&m, 8);
	manual_answer_all(&m);
	CHECK_EQ(client_wait(&client), 0);
	manual_end(&m);
}

static void *serve_on_a_ring_of_ones_own(void *arg)
{
	struct manual *m = arg;

	CHECK_EQ(io_uring_queue_init(32, &m->ring, DEFERS), 0);
	batch_init(&m->batch, &m->ring, m->server.cdev, 0, 8, 8);
	manual_fetch(m);
	manual_wait_for_tags(m, 8);
	manual_answer_all(m);
	/* Without buffers the FETCH ends with the next request. */
	CHECK_EQ(io_uring_unregister_buf_ring(&m->ring, 0), 0);
	set(&shared->step, get(&shared->step) + 1);
	CHECK_EQ(manual_wait_for_end(m), -ENOBUFS);
	io_uring_queue_exit(&m->ring);
	return NULL;
}

/* Each thread has ended, with its ring, before the next one fetches. */
static void each_fetch_may_be_of_another_thread(void)
{
	struct client clients[4];
	pthread_t thread;
	struct manual m;

	manual_run(&m);
	CHECK_EQ(io_uring_unregister_buf_ring(&m.ring, 0), 0);
	client_submit(&clients[0], 8, 0);
	CHECK_EQ(manual_wait_for_end(&m), -ENOBUFS);
	io_uring_queue_exit(&m.ring);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(pthread_create(&thread, NULL, serve_on_a_ring_of_ones_own, &m), 0);
		WAIT_UNTIL(get(&shared->step) == i + 1, AGE);
		CHECK_EQ(client_wait(&clients[i]), 0);
		client_submit(&clients[i + 1], 8, 0);
		CHECK_EQ(pthread_join(thread, NULL), 0);
	}
	CHECK_EQ(io_uring_queue_init(32, &m.ring, 0), 0);
	batch_init(&m.batch, &m.ring, m.server.cdev, 0, 8, 8);
	manual_fetch(&m);
	manual_wait_for_tags(&m, 8);
	manual_answer_all(&m);
	CHECK_EQ(client_wait(&clients[3]), 0);
	manual_end(&m);
}

static void a_ring_whose_fetch_was_refused_may_close(void)
{
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	struct batch batch;
	struct manual m;

	manual_run(&m);
	CHECK_EQ(io_uring_queue_init(4, &ring, 0), 0);
	batch_init(&batch, &ring, m.server.cdev, 0, 1, 8);
	batch_fetch(&batch);
	CHECK_EQ(io_uring_submit(&ring), 1);
	CHECK_EQ(io_uring_wait_cqe(&ring, &cqe), 0);
	CHECK_EQ(cqe->res, -EBUSY);
	io_uring_queue_exit(&ring);
	serve_some(&m);
	manual_end(&m);
}

/* ---- SQEs ---- */

static void commands_that_go_to_a_worker_serve(void)
{
	struct manual m;

	manual_add(&m, 0, 8);
	CHECK_EQ(io_uring_queue_init(32, &m.ring, 0), 0);
	m.sqe_flags = IOSQE_ASYNC;
	manual_serve(&m, 8, 8);
	serve_some(&m);
	serve_some(&m);
	manual_end(&m);
}

/* Of a FETCH_BATCH it skips nothing: what tells of requests is no CQE of success. */
static void a_fetch_that_skips_its_cqe_tells_all_the_same(void)
{
	struct client client;
	struct manual m;

	manual_add(&m, 0, 8);
	CHECK_EQ(io_uring_queue_init(32, &m.ring, 0), 0);
	batch_init(&m.batch, &m.ring, m.server.cdev, 0, 8, 8);
	manual_arm_all(&m);
	m.sqe_flags = IOSQE_CQE_SKIP_SUCCESS;
	manual_fetch(&m);
	m.sqe_flags = 0;
	manual_go_live(&m, manual_start);
	serve_some(&m);
	CHECK_EQ(io_uring_unregister_buf_ring(&m.ring, 0), 0);
	client_submit(&client, 8, 0);
	CHECK_EQ(manual_wait_for_end(&m), -ENOBUFS);
	batch_init(&m.batch, &m.ring, m.server.cdev, 0, 8, 8);
	manual_fetch(&m);
	manual_wait_for_tags(&m, 8);
	manual_answer_all(&m);
	CHECK_EQ(client_wait(&client), 0);
	manual_end(&m);
}

static void what_is_linked_to_a_fetch_waits_for_its_end(void)
{
	struct io_uring_sqe *sqe;
	struct manual m;
	int res;

	manual_add(&m, 0, 8);
	CHECK_EQ(io_uring_queue_init(32, &m.ring, 0), 0);
	batch_init(&m.batch, &m.ring, m.server.cdev, 0, 8, 8);
	manual_arm_all(&m);
	batch_fetch(&m.batch)->flags |= IOSQE_IO_HARDLINK;
	sqe = io_uring_get_sqe(&m.ring);
	io_uring_prep_nop(sqe);
	sqe->user_data = 0;
	CHECK_EQ(io_uring_submit(&m.ring), 2);
	manual_go_live(&m, manual_start);
	/* Which would fail if the other one ended now. */
	serve_some(&m);
	CHECK(!manual_handle(&m, 50, &res));
	CHECK_EQ(control(m.server.control, UBD_CMD_STOP_DEV, NULL, 0), 0);
	CHECK_EQ(manual_wait_for_end(&m), UBD_IO_RES_ABORT);
	CHECK_EQ(manual_wait_for_commit(&m), 0);
	manual_end(&m);
}

/* ---- provided buffers ---- */

/* The old way: each is given by a command, and not in memory that is shared. */
static void provide(struct manual *m, void *memory, unsigned int bytes, unsigned int nr)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&m->ring);

	io_uring_prep_provide_buffers(sqe, memory, bytes, nr, 0, 0);
	sqe->user_data = 0;
	CHECK_EQ(io_uring_submit(&m->ring), 1);
	CHECK_EQ(manual_wait_for_commit(m), 0);
}

/* The next CQE of the FETCH_BATCH; returns false if it is the last one, there being no buffer. */
static bool take_tags(struct manual *m, const uint16_t *memory, unsigned int per_buffer)
{
	struct io_uring_cqe *cqe;
	bool more;

	CHECK_EQ(io_uring_wait_cqe(&m->ring, &cqe), 0);
	CHECK_EQ(cqe->user_data, FETCH_DATA);
	more = cqe->flags & IORING_CQE_F_MORE;
	if (more) {
		unsigned int index = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

		CHECK(cqe->res > 0 && cqe->res <= (int)(per_buffer * sizeof(*memory)));
		for (int i = 0; i < cqe->res / 2; i++)
			m->tags[m->nr_tags++] = memory[index * per_buffer + i];
	} else {
		CHECK_EQ(cqe->res, -ENOBUFS);
	}
	io_uring_cqe_seen(&m->ring, cqe);
	return more;
}

static void buffers_may_be_provided_by_commands(void)
{
	uint16_t *memory = aligned(4096);
	struct client client;
	struct manual m;

	manual_run(&m);
	CHECK_EQ(io_uring_unregister_buf_ring(&m.ring, 0), 0);
	client_submit(&client, 8, 0);
	CHECK_EQ(manual_wait_for_end(&m), -ENOBUFS);

	/* What cannot be written to is there again afterwards. */
	CHECK_EQ(mprotect(memory, 4096, PROT_NONE), 0);
	provide(&m, memory, 3 * sizeof(*memory), 2);
	for (int i = 0; i < 2; i++) {
		manual_fetch(&m);
		CHECK_EQ(manual_wait_for_end(&m), -EFAULT);
	}
	CHECK_EQ(mprotect(memory, 4096, PROT_READ | PROT_WRITE), 0);
	manual_fetch(&m);
	while (m.nr_tags < 8) {
		if (take_tags(&m, memory, 3))
			continue;
		provide(&m, memory, 3 * sizeof(*memory), 1);
		manual_fetch(&m);
	}
	manual_answer_all(&m);
	CHECK_EQ(client_wait(&client), 0);
	check_written(&client, 0);
	manual_end(&m);
}

static void provide_any(struct manual *m, void *memory, unsigned int bytes)
{
	io_uring_buf_ring_add(m->batch.provided, memory, bytes, 0,
			      io_uring_buf_ring_mask(m->batch.nr_buffers), 0);
	io_uring_buf_ring_advance(m->batch.provided, 1);
}

/* Takes the first buffer away again: the ring is made anew. */
static void forget_buffers(struct manual *m)
{
	CHECK_EQ(io_uring_unregister_buf_ring(&m->ring, 0), 0);
	batch_init_empty(&m->batch, &m->ring, m->server.cdev, 0, 8, 8);
}

/* io_uring may see for itself that the buffer is none, and choose no other one. */
static void check_not_written(struct manual *m)
{
	manual_wait_for_end(m);
	CHECK(m->fetch_end == -EFAULT || m->fetch_end == -ENOBUFS);
}

static void buffers_that_cannot_be_are_refused(void)
{
	struct client client;
	struct manual m;

	manual_run(&m);
	forget_buffers(&m);
	client_submit(&client, 8, 0);
	CHECK_EQ(manual_wait_for_end(&m), -ENOBUFS);

	provide_any(&m, m.batch.tags, 0);
	manual_fetch(&m);
	CHECK_EQ(manual_wait_for_end(&m), -ENOBUFS);
	forget_buffers(&m);
	provide_any(&m, m.batch.tags, 1);
	manual_fetch(&m);
	CHECK_EQ(manual_wait_for_end(&m), -ENOBUFS);
	forget_buffers(&m);
	provide_any(&m, NULL, 16);
	manual_fetch(&m);
	check_not_written(&m);
	forget_buffers(&m);
	provide_any(&m, (void *)(-1ull << 20), 16); /* the kernel's */
	manual_fetch(&m);
	check_not_written(&m);

	forget_buffers(&m);
	for (unsigned int i = 0; i < 8; i++)
		batch_provide(&m.batch, i);
	manual_fetch(&m);
	manual_wait_for_tags(&m, 8);
	manual_answer_all(&m);
	CHECK_EQ(client_wait(&client), 0);
	manual_end(&m);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "any ring serves", any_ring_serves },
		{ "a ring that polls for completions does no harm",
		  a_ring_that_polls_for_completions_does_no_harm },
		{ "the next FETCH may be of another ring", the_next_fetch_may_be_of_another_ring },
		{ "each FETCH may be of another thread", each_fetch_may_be_of_another_thread },
		{ "a ring whose FETCH was refused may close",
		  a_ring_whose_fetch_was_refused_may_close },
		{ "commands that go to a worker serve", commands_that_go_to_a_worker_serve },
		{ "a FETCH that skips its CQE tells all the same",
		  a_fetch_that_skips_its_cqe_tells_all_the_same },
		{ "what is linked to a FETCH waits for its end",
		  what_is_linked_to_a_fetch_waits_for_its_end },
		{ "buffers may be provided by commands", buffers_may_be_provided_by_commands },
		{ "buffers that cannot be are refused", buffers_that_cannot_be_are_refused },
	};

	return RUN_TESTS_BY_BATCHES(tests, argc, argv);
}
