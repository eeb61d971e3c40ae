// SPDX-License-Identifier: GPL-2.0-or-later
/* See manual.h. */
#include "manual.h"

/* ---- the server ---- */

void manual_fetch(struct manual *m)
{
	m->fetch_end = 1;
	batch_fetch(&m->batch)->flags |= m->sqe_flags;
	CHECK_EQ(io_uring_submit(&m->ring), 1);
}

static void handle_fetch(struct manual *m, const struct io_uring_cqe *cqe)
{
	if (!(cqe->flags & IORING_CQE_F_MORE)) {
		CHECK(!(cqe->flags & IORING_CQE_F_BUFFER));
		m->fetch_end = cqe->res;
		return;
	}
	m->nr_tags += batch_take(&m->batch, cqe, m->tags + m->nr_tags);
	m->nr_cqes++;
}

bool manual_handle(struct manual *m, unsigned int milliseconds, int *ret_res)
{
	struct __kernel_timespec limit = { milliseconds / 1000, milliseconds % 1000 * 1000000 };
	struct io_uring_cqe *cqe;
	bool other;

	if (m->ring.flags & IORING_SETUP_IOPOLL) {
		/* A thread that waits there spins. */
		usleep(milliseconds * 1000);
		if (io_uring_peek_cqe(&m->ring, &cqe))
			return false;
	} else if (io_uring_wait_cqe_timeout(&m->ring, &cqe, &limit)) {
		return false;
	}
	other = cqe->user_data != FETCH_DATA;
	*ret_res = cqe->res;
	if (!other)
		handle_fetch(m, cqe);
	io_uring_cqe_seen(&m->ring, cqe);
	return other;
}

void manual_wait_for_tags(struct manual *m, unsigned int nr)
{
	int res;

	for (int left = AGE * 100; m->nr_tags < nr; left--) {
		CHECK(left);
		CHECK(!manual_handle(m, 10, &res));
		if (m->fetch_end == -ENOBUFS)
			manual_fetch(m);
	}
	CHECK_EQ(m->nr_tags, nr);
}

int manual_wait_for_end(struct manual *m)
{
	int res;

	for (int left = AGE * 100; m->fetch_end == 1; left--) {
		CHECK(left);
		CHECK(!manual_handle(m, 10, &res));
	}
	return m->fetch_end;
}

int manual_wait_for_commit(struct manual *m)
{
	int res;

	for (int left = AGE * 100; !manual_handle(m, 10, &res); left--)
		CHECK(left);
	return res;
}

void manual_add_entry(struct manual *m, unsigned int flags, unsigned int tag, int result)
{
	bool copies = m->server.info.flags & UBD_F_USER_COPY;
	uint64_t addr = copies ? tag : (uintptr_t)server_buffer(&m->server.queues[0], tag);

	if ((m->server.info.flags & (UBD_F_USER_COPY | UBD_F_ZERO_COPY)) == UBD_F_USER_COPY)
		addr = 0;
	m->entries[m->nr_entries++] = (struct ubd_batch_entry){
		.tag = tag,
		.flags = flags,
		.result = result,
		.addr = flags & UBD_BATCH_FETCH ? addr : 0,
	};
}

struct io_uring_sqe *manual_prepare_commit(struct manual *m)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&m->ring);

	CHECK(sqe);
	prep_commit_batch(sqe, m->server.cdev, 0, m->entries, m->nr_entries);
	sqe->flags |= m->sqe_flags;
	m->nr_entries = 0;
	return sqe;
}

int manual_commit(struct manual *m)
{
	manual_prepare_commit(m);
	CHECK_EQ(io_uring_submit(&m->ring), 1);
	return manual_wait_for_commit(m);
}

int manual_commit_one(struct manual *m, unsigned int flags, unsigned int tag, int result)
{
	CHECK_EQ(m->nr_entries, 0);
	manual_add_entry(m, flags, tag, result);
	return manual_commit(m);
}

const struct ubdsrv_io_desc *manual_desc(const struct manual *m, unsigned int tag)
{
	return &m->server.queues[0].descs[tag];
}

static int copy_by_server(struct manual *m, unsigned int tag)
{
	const struct ubdsrv_io_desc *desc = manual_desc(m, tag);
	uint8_t *place = m->server.memory + desc->start_sector * 512;
	size_t bytes = desc->nr_sectors * 512;
	off_t off = ubd_data_offset(0, tag);

	if (ubd_desc_op(desc) == UBD_IO_OP_WRITE)
		CHECK_EQ(pread(m->server.cdev, place, bytes, off), bytes);
	else
		CHECK_EQ(pwrite(m->server.cdev, place, bytes, off), bytes);
	return bytes;
}

void manual_answer(struct manual *m, unsigned int flags)
{
	struct server *server = &m->server;

	for (unsigned int i = 0; i < m->nr_tags; i++) {
		unsigned int tag = m->tags[i];

		if (server->info.flags & UBD_F_USER_COPY)
			manual_add_entry(m, flags, tag, copy_by_server(m, tag));
		else
			manual_add_entry(m, flags, tag,
					 server_handle(server, manual_desc(m, tag),
						       server_buffer(&server->queues[0], tag)));
	}
	m->nr_tags = 0;
}

void manual_answer_all(struct manual *m)
{
	unsigned int nr = m->nr_tags;

	manual_answer(m, UBD_BATCH_COMMIT | UBD_BATCH_FETCH);
	CHECK_EQ(manual_commit(m), nr);
}

/* ---- its life ---- */

void manual_add(struct manual *m, uint64_t flags, unsigned int depth)
{
	*m = (struct manual){ .fetch_end = 1 };
	if (!shared)
		share();
	server_init(&m->server);
	m->server.info.nr_hw_queues = 1;
	m->server.info.queue_depth = depth;
	m->server.info.flags = flags | UBD_F_BATCH;
	m->server.memory = shared->disk;
	server_add(&m->server);
	server_open(&m->server);
}

void manual_arm_all(struct manual *m)
{
	for (unsigned int tag = 0; tag < m->server.info.queue_depth; tag++)
		manual_add_entry(m, UBD_BATCH_FETCH, tag, 0);
	CHECK_EQ(manual_commit(m), m->server.info.queue_depth);
}

void *manual_start(void *arg)
{
	server_start(arg);
	return NULL;
}

void *manual_recover(void *arg)
{
	struct server *server = arg;

	CHECK_EQ(control(server->control, UBD_CMD_END_RECOVERY, NULL, 0), 0);
	return NULL;
}

void manual_go_live(struct manual *m, void *(*how)(void *))
{
	pthread_t thread;
	int res;

	CHECK_EQ(pthread_create(&thread, NULL, how, &m->server), 0);
	while (get_state(m->server.control) != UBD_S_DEV_LIVE) {
		CHECK(!manual_handle(m, 1, &res));
		if (m->nr_tags)
			manual_answer_all(m);
	}
	CHECK_EQ(pthread_join(thread, NULL), 0);
	m->nr_cqes = 0;
	set(&shared->id, m->server.info.dev_id);
}

void manual_serve(struct manual *m, unsigned int nr_buffers, unsigned int tags_per_buffer)
{
	batch_init(&m->batch, &m->ring, m->server.cdev, 0, nr_buffers, tags_per_buffer);
	manual_arm_all(m);
	manual_fetch(m);
	manual_go_live(m, manual_start);
}

void manual_run_with(struct manual *m, uint64_t flags, unsigned int depth, unsigned int nr_buffers,
		     unsigned int tags_per_buffer)
{
	manual_add(m, flags, depth);
	CHECK_EQ(io_uring_queue_init(32, &m->ring, 0), 0);
	manual_serve(m, nr_buffers, tags_per_buffer);
}

void manual_run(struct manual *m)
{
	manual_run_with(m, 0, 8, 8, 8);
}

void manual_end(struct manual *m)
{
	CHECK_EQ(control(m->server.control, UBD_CMD_STOP_DEV, NULL, 0), 0);
	if (m->fetch_end == 1)
		CHECK_EQ(manual_wait_for_end(m), UBD_IO_RES_ABORT);
	CHECK_EQ(control(m->server.control, UBD_CMD_DEL_DEV, NULL, 0), 0);
	io_uring_queue_exit(&m->ring);
	close(m->server.cdev);
	close(m->server.control);
}
