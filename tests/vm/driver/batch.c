// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * UBD_F_BATCH: one FETCH_BATCH tells of many requests, one COMMIT_BATCH answers many. Here a server
 * by hand; what does not depend on how requests come is in the other programs, by batches too.
 */
#include "actors.h"
#include "batches.h"
#include "missing.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#define MAX_DEPTH 256

/* A server of one queue, with one ring. */
struct manual {
	struct server server;
	struct io_uring ring;
	struct batch batch;
	struct ubd_batch_entry entries[MAX_DEPTH]; /* the next COMMIT_BATCH */
	unsigned int nr_entries;
	uint16_t tags[MAX_DEPTH]; /* told of, and not answered yet */
	unsigned int nr_tags;
	unsigned int nr_cqes; /* that have told of tags */
	int fetch_end;	      /* res of the last CQE of the FETCH_BATCH; 1 before that */
};

/* ---- the server ---- */

static void fetch(struct manual *m)
{
	m->fetch_end = 1;
	batch_fetch(&m->batch);
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

/* Handles a CQE, if there is one within so many milliseconds. Returns true if it is no FETCH's. */
static bool handle_cqe(struct manual *m, unsigned int milliseconds, int *ret_res)
{
	struct __kernel_timespec limit = { milliseconds / 1000, milliseconds % 1000 * 1000000 };
	struct io_uring_cqe *cqe;
	bool other;

	if (io_uring_wait_cqe_timeout(&m->ring, &cqe, &limit))
		return false;
	other = cqe->user_data != FETCH_DATA;
	*ret_res = cqe->res;
	if (!other)
		handle_fetch(m, cqe);
	io_uring_cqe_seen(&m->ring, cqe);
	return other;
}

/*
 * Until the server has been told of so many requests. On a busy machine some come later than
 * others, when the only buffer has been used and not been provided again.
 */
static void wait_for_tags(struct manual *m, unsigned int nr)
{
	int res;

	for (int left = AGE * 100; m->nr_tags < nr; left--) {
		CHECK(left);
		CHECK(!handle_cqe(m, 10, &res));
		if (m->fetch_end == -ENOBUFS)
			fetch(m);
	}
	CHECK_EQ(m->nr_tags, nr);
}

/* How the FETCH_BATCH ends. */
static int wait_for_end(struct manual *m)
{
	int res;

	for (int left = AGE * 100; m->fetch_end == 1; left--) {
		CHECK(left);
		CHECK(!handle_cqe(m, 10, &res));
	}
	return m->fetch_end;
}

/* The next CQE that is no FETCH's. */
static int wait_for_commit(struct manual *m)
{
	int res;

	for (int left = AGE * 100; !handle_cqe(m, 10, &res); left--)
		CHECK(left);
	return res;
}

static void add_entry(struct manual *m, unsigned int flags, unsigned int tag, int result)
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

static struct io_uring_sqe *prepare_commit(struct manual *m)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&m->ring);

	CHECK(sqe);
	prep_commit_batch(sqe, m->server.cdev, 0, m->entries, m->nr_entries);
	m->nr_entries = 0;
	return sqe;
}

static int commit(struct manual *m)
{
	prepare_commit(m);
	CHECK_EQ(io_uring_submit(&m->ring), 1);
	return wait_for_commit(m);
}

/* A single entry, made anew. */
static int commit_one(struct manual *m, unsigned int flags, unsigned int tag, int result)
{
	CHECK_EQ(m->nr_entries, 0);
	add_entry(m, flags, tag, result);
	return commit(m);
}

static const struct ubdsrv_io_desc *desc_of(const struct manual *m, unsigned int tag)
{
	return &m->server.queues[0].descs[tag];
}

static int copy_by_server(struct manual *m, unsigned int tag)
{
	const struct ubdsrv_io_desc *desc = desc_of(m, tag);
	uint8_t *place = m->server.memory + desc->start_sector * 512;
	size_t bytes = desc->nr_sectors * 512;
	off_t off = ubd_data_offset(0, tag);

	if (ubd_desc_op(desc) == UBD_IO_OP_WRITE)
		CHECK_EQ(pread(m->server.cdev, place, bytes, off), bytes);
	else
		CHECK_EQ(pwrite(m->server.cdev, place, bytes, off), bytes);
	return bytes;
}

/* Entries for all requests that the server has. */
static void answer(struct manual *m, unsigned int flags)
{
	struct server *server = &m->server;

	for (unsigned int i = 0; i < m->nr_tags; i++) {
		unsigned int tag = m->tags[i];

		if (server->info.flags & UBD_F_USER_COPY)
			add_entry(m, flags, tag, copy_by_server(m, tag));
		else
			add_entry(m, flags, tag,
				  server_handle(server, desc_of(m, tag),
						server_buffer(&server->queues[0], tag)));
	}
	m->nr_tags = 0;
}

static void answer_all(struct manual *m)
{
	unsigned int nr = m->nr_tags;

	answer(m, UBD_BATCH_COMMIT | UBD_BATCH_FETCH);
	CHECK_EQ(commit(m), nr);
}

/* ---- its life ---- */

static void add(struct manual *m, uint64_t flags, unsigned int depth)
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

static void arm_all(struct manual *m)
{
	for (unsigned int tag = 0; tag < m->server.info.queue_depth; tag++)
		add_entry(m, UBD_BATCH_FETCH, tag, 0);
	CHECK_EQ(commit(m), m->server.info.queue_depth);
}

static void *start_thread(void *arg)
{
	server_start(arg);
	return NULL;
}

static void *recover_thread(void *arg)
{
	struct server *server = arg;

	CHECK_EQ(control(server->control, UBD_CMD_END_RECOVERY, NULL, 0), 0);
	return NULL;
}

/* Serves until the device is live, which @how sees to. */
static void go_live(struct manual *m, void *(*how)(void *))
{
	pthread_t thread;
	int res;

	CHECK_EQ(pthread_create(&thread, NULL, how, &m->server), 0);
	while (get_state(m->server.control) != UBD_S_DEV_LIVE) {
		CHECK(!handle_cqe(m, 1, &res));
		if (m->nr_tags)
			answer_all(m);
	}
	CHECK_EQ(pthread_join(thread, NULL), 0);
	m->nr_cqes = 0;
	set(&shared->id, m->server.info.dev_id);
}

static void run_with(struct manual *m, uint64_t flags, unsigned int depth, unsigned int nr_buffers,
		     unsigned int tags_per_buffer)
{
	add(m, flags, depth);
	CHECK_EQ(io_uring_queue_init(32, &m->ring, 0), 0);
	batch_init(&m->batch, &m->ring, m->server.cdev, 0, nr_buffers, tags_per_buffer);
	arm_all(m);
	fetch(m);
	go_live(m, start_thread);
}

static void run(struct manual *m)
{
	run_with(m, 0, 8, 8, 8);
}

static void end(struct manual *m)
{
	CHECK_EQ(control(m->server.control, UBD_CMD_STOP_DEV, NULL, 0), 0);
	if (m->fetch_end == 1)
		CHECK_EQ(wait_for_end(m), UBD_IO_RES_ABORT);
	CHECK_EQ(control(m->server.control, UBD_CMD_DEL_DEV, NULL, 0), 0);
	io_uring_queue_exit(&m->ring);
	close(m->server.cdev);
	close(m->server.control);
}

/* ---- both ways ---- */

static void many_requests_take_one_cqe_and_one_command(void)
{
	struct client client;
	struct manual m;

	run(&m);
	client_submit(&client, 8, 0);
	wait_for_tags(&m, 8);
	CHECK(m.nr_cqes < 8);
	answer_all(&m);
	CHECK_EQ(client_wait(&client), 0);
	check_written(&client, 0);
	end(&m);
}

/* More than a CQE tells of, and more than the driver reads at once. */
static void a_deep_queue_is_served(void)
{
	struct client clients[4];
	struct manual m;

	run_with(&m, 0, MAX_DEPTH, 8, MAX_DEPTH);
	for (int i = 0; i < 4; i++)
		client_submit(&clients[i], 50, i * 1024);
	wait_for_tags(&m, 200);
	answer_all(&m);
	for (int i = 0; i < 4; i++) {
		CHECK_EQ(client_wait(&clients[i]), 0);
		check_written(&clients[i], i * 1024);
	}
	end(&m);
}

static void small_buffers_take_a_cqe_each(void)
{
	struct client client;
	struct manual m;

	run_with(&m, 0, 8, 8, 1);
	client_submit(&client, 8, 0);
	wait_for_tags(&m, 8);
	CHECK_EQ(m.nr_cqes, 8);
	answer_all(&m);
	CHECK_EQ(client_wait(&client), 0);
	end(&m);
}

static void a_tag_without_fetch_gets_no_request(void)
{
	struct client client;
	struct manual m;
	int res;

	run_with(&m, 0, 1, 2, 1);
	client_submit(&client, 2, 0);
	wait_for_tags(&m, 1);
	answer(&m, UBD_BATCH_COMMIT);
	CHECK_EQ(commit(&m), 1);
	/* The second request is on the tag by now, or will be. */
	CHECK(!handle_cqe(&m, 200, &res));
	CHECK_EQ(m.nr_tags, 0);
	CHECK_EQ(commit_one(&m, UBD_BATCH_FETCH, 0, 0), 1);
	wait_for_tags(&m, 1);
	answer_all(&m);
	CHECK_EQ(client_wait(&client), 0);
	end(&m);
}

struct committer {
	struct manual *m;
	int res;
};

/* On a ring of the thread's own. */
static void *commit_elsewhere(void *arg)
{
	struct committer *committer = arg;
	struct manual *m = committer->m;
	struct ubdsrv_io_cmd cmd = {
		.tag = m->nr_entries,
		.addr = (uintptr_t)m->entries,
	};

	committer->res = command(m->server.cdev, UBD_IO_COMMIT_BATCH, &cmd);
	return NULL;
}

static pthread_t spawn_committer(struct committer *committer)
{
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, commit_elsewhere, committer), 0);
	return thread;
}

static void another_thread_commits(void)
{
	struct client client;
	struct manual m;
	struct committer committer = { .m = &m };
	pthread_t thread;

	run(&m);
	client_submit(&client, 8, 0);
	wait_for_tags(&m, 8);
	answer(&m, UBD_BATCH_COMMIT | UBD_BATCH_FETCH);
	thread = spawn_committer(&committer);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(committer.res, 8);
	CHECK_EQ(client_wait(&client), 0);
	end(&m);
}

/* ---- what is refused ---- */

static void the_commands_for_one_tag_are_refused(void)
{
	struct ubd_batch_entry entry = { .flags = UBD_BATCH_FETCH, .addr = (uintptr_t)&entry };
	struct ubdsrv_io_cmd cmd = { .tag = 1, .addr = (uintptr_t)&entry };
	struct server server;
	struct manual m;

	run(&m);
	CHECK_EQ(io_command(m.server.cdev, UBD_IO_FETCH_REQ, 0, 0, 0, &m), -EINVAL);
	CHECK_EQ(io_command(m.server.cdev, UBD_IO_COMMIT_AND_FETCH_REQ, 0, 0, 0, &m), -EINVAL);
	CHECK_EQ(io_command(m.server.cdev, UBD_IO_COMMIT_REQ, 0, 0, 0, NULL), -EINVAL);
	end(&m);

	/* And by the commands for one tag a device does not know the others. */
	server_init(&server);
	server_run(&server);
	CHECK_EQ(command(server.cdev, UBD_IO_COMMIT_BATCH, &cmd), -EINVAL);
	CHECK_EQ(command(server.cdev, UBD_IO_FETCH_BATCH, &cmd), -EINVAL);
	server_delete(&server);
}

/* A COMMIT_BATCH of @nr entries of @addr. */
static int commit_any(struct manual *m, struct ubdsrv_io_cmd cmd)
{
	return command(m->server.cdev, UBD_IO_COMMIT_BATCH, &cmd);
}

static int commit_entry(struct manual *m, struct ubd_batch_entry entry)
{
	return commit_any(m, (struct ubdsrv_io_cmd){ .tag = 1, .addr = (uintptr_t)&entry });
}

static void wrong_commits_are_refused(void)
{
	struct ubd_batch_entry good = { .flags = UBD_BATCH_COMMIT }, entry = good;
	uint64_t addr = (uintptr_t)&good;
	struct manual m;

	run(&m);
	CHECK_EQ(commit_any(&m, (struct ubdsrv_io_cmd){ .tag = 0, .addr = addr }), -EINVAL);
	CHECK_EQ(commit_any(&m, (struct ubdsrv_io_cmd){ .tag = 9, .addr = addr }), -EINVAL);
	CHECK_EQ(commit_any(&m, (struct ubdsrv_io_cmd){ .tag = 1, .q_id = 1, .addr = addr }),
		 -EINVAL);
	CHECK_EQ(commit_any(&m, (struct ubdsrv_io_cmd){ .tag = 1, .result = 1, .addr = addr }),
		 -EINVAL);
	CHECK_EQ(commit_any(&m, (struct ubdsrv_io_cmd){ .tag = 1, .addr = 8 }), -EFAULT);

	/* The server has no request, and all tags wait for one. */
	CHECK_EQ(commit_entry(&m, good), -EINVAL);
	entry.flags = UBD_BATCH_FETCH;
	entry.addr = addr;
	CHECK_EQ(commit_entry(&m, entry), -EBUSY);
	entry.tag = 8;
	CHECK_EQ(commit_entry(&m, entry), -EINVAL);
	entry = (struct ubd_batch_entry){ .flags = UBD_BATCH_FETCH };
	CHECK_EQ(commit_entry(&m, entry), -EINVAL);
	entry.addr = addr;
	entry.result = 1;
	CHECK_EQ(commit_entry(&m, entry), -EINVAL);
	entry = good;
	entry.addr = addr;
	CHECK_EQ(commit_entry(&m, entry), -EINVAL);
	entry = good;
	entry.flags = 0;
	CHECK_EQ(commit_entry(&m, entry), -EINVAL);
	entry.flags = UBD_BATCH_COMMIT | 4;
	CHECK_EQ(commit_entry(&m, entry), -EINVAL);
	end(&m);
}

/* What a command on the server's ring answers. */
static int send_fetch(struct manual *m, const struct ubdsrv_io_cmd *cmd, unsigned int flags)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&m->ring);

	prep_fetch_batch(sqe, m->server.cdev, 0, 0);
	memcpy(sqe->cmd, cmd, sizeof(*cmd));
	sqe->flags = flags;
	if (!(flags & IOSQE_BUFFER_SELECT))
		sqe->uring_cmd_flags = 0;
	sqe->user_data = 0;
	CHECK_EQ(io_uring_submit(&m->ring), 1);
	return wait_for_commit(m);
}

static void wrong_fetches_are_refused(void)
{
	const unsigned int flags = IOSQE_BUFFER_SELECT;
	struct manual m;

	run(&m);
	CHECK_EQ(send_fetch(&m, &(struct ubdsrv_io_cmd){}, flags), -EBUSY);
	CHECK_EQ(send_fetch(&m, &(struct ubdsrv_io_cmd){}, flags | IOSQE_ASYNC), -EBUSY);
	CHECK_EQ(send_fetch(&m, &(struct ubdsrv_io_cmd){ .q_id = 1 }, flags), -EINVAL);
	CHECK_EQ(send_fetch(&m, &(struct ubdsrv_io_cmd){ .tag = 1 }, flags), -EINVAL);
	CHECK_EQ(send_fetch(&m, &(struct ubdsrv_io_cmd){ .result = 1 }, flags), -EINVAL);
	CHECK_EQ(send_fetch(&m, &(struct ubdsrv_io_cmd){ .addr = 1 }, flags), -EINVAL);
	CHECK_EQ(send_fetch(&m, &(struct ubdsrv_io_cmd){}, 0), -EINVAL);
	end(&m);
}

/* Three requests, and an entry that is wrong in between. */
static void a_wrong_entry_ends_the_batch(void)
{
	struct client client;
	struct manual m;

	run(&m);
	client_submit(&client, 3, 0);
	wait_for_tags(&m, 3);
	answer(&m, UBD_BATCH_COMMIT | UBD_BATCH_FETCH);
	m.entries[3] = m.entries[2];
	m.entries[2].flags = 0;
	m.nr_entries = 4;
	CHECK_EQ(commit(&m), 2);
	/* Those before it are done, and that after it is not. */
	m.nr_entries = 1;
	CHECK_EQ(commit(&m), -EINVAL);
	m.entries[0] = m.entries[3];
	m.nr_entries = 1;
	CHECK_EQ(commit(&m), 1);
	CHECK_EQ(client_wait(&client), 0);
	end(&m);
}

static void only_what_is_not_done_has_a_cqe(void)
{
	struct client client;
	struct manual m;
	int res;

	run(&m);
	client_submit(&client, 2, 0);
	wait_for_tags(&m, 2);
	answer(&m, UBD_BATCH_COMMIT | UBD_BATCH_FETCH);
	prepare_commit(&m)->flags |= IOSQE_CQE_SKIP_SUCCESS;
	CHECK_EQ(io_uring_submit(&m.ring), 1);
	CHECK_EQ(client_wait(&client), 0);
	CHECK(!handle_cqe(&m, 50, &res));

	client_submit(&client, 2, 0);
	wait_for_tags(&m, 2);
	answer(&m, UBD_BATCH_COMMIT | UBD_BATCH_FETCH);
	m.entries[2] = m.entries[0];
	m.nr_entries = 3;
	prepare_commit(&m)->flags |= IOSQE_CQE_SKIP_SUCCESS;
	CHECK_EQ(io_uring_submit(&m.ring), 1);
	CHECK_EQ(wait_for_commit(&m), 2);
	CHECK_EQ(client_wait(&client), 0);

	m.nr_entries = 1;
	prepare_commit(&m)->flags |= IOSQE_CQE_SKIP_SUCCESS;
	CHECK_EQ(io_uring_submit(&m.ring), 1);
	CHECK_EQ(wait_for_commit(&m), -EINVAL);
	end(&m);
}

/* ---- when the server cannot be told ---- */

/* They are not the server's yet. */
static void check_not_told(struct manual *m, unsigned int nr)
{
	CHECK_EQ(m->nr_tags, 0);
	for (unsigned int tag = 0; tag < nr; tag++)
		CHECK_EQ(commit_one(m, UBD_BATCH_COMMIT, tag, 4096), -EINVAL);
}

static void without_a_buffer_requests_wait(void)
{
	struct client client;
	struct manual m;

	run_with(&m, 0, 8, 1, 8);
	/* First the ring has no such buffers, then it has used them up. */
	CHECK_EQ(io_uring_unregister_buf_ring(&m.ring, 0), 0);
	client_submit(&client, 8, 0);
	CHECK_EQ(wait_for_end(&m), -ENOBUFS);
	check_not_told(&m, 8);
	batch_init_empty(&m.batch, &m.ring, m.server.cdev, 0, 1, 8);
	fetch(&m);
	CHECK_EQ(wait_for_end(&m), -ENOBUFS);
	check_not_told(&m, 8);
	batch_provide(&m.batch, 0);
	fetch(&m);
	wait_for_tags(&m, 8);
	answer_all(&m);
	CHECK_EQ(client_wait(&client), 0);
	end(&m);
}

static void set_timeout(const char *seconds)
{
	int fd = open("/sys/module/ubd/parameters/request_timeout", O_WRONLY);

	CHECK_EQ(write(fd, seconds, strlen(seconds)), strlen(seconds));
	close(fd);
}

/* The server does not provide one, and not even ask again. */
static void time_without_a_buffer_counts(void)
{
	struct client client;
	struct manual m;

	run_with(&m, 0, 8, 1, 8);
	CHECK_EQ(io_uring_unregister_buf_ring(&m.ring, 0), 0);
	client_submit(&client, 8, 0);
	CHECK_EQ(wait_for_end(&m), -ENOBUFS);
	set_timeout("2");
	CHECK_EQ(client_wait(&client), 8);
	set_timeout("0");
	WAIT_UNTIL(get_state(m.server.control) == UBD_S_DEV_STOPPED, AGE);
}

static void a_buffer_that_faults_ends_the_fetch(void)
{
	struct client client;
	struct manual m;

	run_with(&m, 0, 8, 1, 8);
	CHECK_EQ(mprotect(m.batch.tags, 4096, PROT_NONE), 0);
	client_submit(&client, 8, 0);
	CHECK_EQ(wait_for_end(&m), -EFAULT);
	check_not_told(&m, 8);
	CHECK_EQ(mprotect(m.batch.tags, 4096, PROT_READ | PROT_WRITE), 0);
	/* The buffer is still there. */
	fetch(&m);
	wait_for_tags(&m, 8);
	answer_all(&m);
	CHECK_EQ(client_wait(&client), 0);
	check_written(&client, 0);
	end(&m);
}

static void a_full_ring_ends_the_fetch(void)
{
	struct io_uring_params params = { .flags = IORING_SETUP_CQSIZE, .cq_entries = 4 };
	struct io_uring_cqe *cqe;
	struct client client;
	struct manual m;

	add(&m, 0, 8);
	CHECK_EQ(io_uring_queue_init_params(4, &m.ring, &params), 0);
	CHECK_EQ(params.cq_entries, 4);
	batch_init(&m.batch, &m.ring, m.server.cdev, 0, 2, 8);
	arm_all(&m);
	fetch(&m);
	go_live(&m, start_thread);

	for (int i = 0; i < 4; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&m.ring);

		io_uring_prep_nop(sqe);
		sqe->user_data = 0;
	}
	CHECK_EQ(io_uring_submit(&m.ring), 4);
	client_submit(&client, 8, 0);
	/* The task work has run when a system call of the thread has returned. */
	WAIT_UNTIL(io_uring_cq_has_overflow(&m.ring), AGE);
	for (int i = 0; i < 4; i++) {
		CHECK_EQ(io_uring_wait_cqe(&m.ring, &cqe), 0);
		CHECK_EQ(cqe->user_data, 0);
		io_uring_cqe_seen(&m.ring, cqe);
	}
	CHECK_EQ(wait_for_end(&m), -ENOBUFS);
	check_not_told(&m, 8);
	fetch(&m);
	wait_for_tags(&m, 8);
	answer_all(&m);
	CHECK_EQ(client_wait(&client), 0);
	end(&m);
}

/* ---- data ---- */

static void a_buffer_that_faults_fails_its_request_only(void)
{
	struct client client;
	struct manual m;
	uint8_t *buffer = NULL;

	run(&m);
	client_submit(&client, 8, 0);
	wait_for_tags(&m, 8);
	for (int i = 0; i < 8; i++)
		if (ubd_desc_op(desc_of(&m, m.tags[i])) == UBD_IO_OP_READ)
			buffer = server_buffer(&m.server.queues[0], m.tags[i]);
	answer(&m, UBD_BATCH_COMMIT | UBD_BATCH_FETCH);
	CHECK_EQ(mprotect(buffer, 4096, PROT_NONE), 0);
	CHECK_EQ(commit(&m), 8);
	CHECK_EQ(client_wait(&client), 1);
	end(&m);
}

/* For spawn(): reads a block. */
static void read_block(void *arg)
{
	int disk = open_disk(get(&shared->id), O_RDONLY);

	CHECK_EQ(pread(disk, aligned(4096), 4096, *(int *)arg * 4096), 4096);
}

/* The first entry is of one request, the last of another, whose data is not there yet. */
static void no_request_waits_for_the_memory_of_another(void)
{
	struct missing missing;
	int blocks[2] = { 1, 2 }, pids[2];
	struct manual m;
	struct committer committer = { .m = &m };
	pthread_t thread;
	uint8_t *page;

	run(&m);
	missing_init(&missing);
	for (int i = 0; i < 2; i++) {
		pids[i] = spawn(read_block, &blocks[i]);
		wait_for_tags(&m, i + 1);
	}
	answer(&m, UBD_BATCH_COMMIT | UBD_BATCH_FETCH);
	missing_take(&missing, server_buffer(&m.server.queues[0], m.entries[1].tag), 4096);
	thread = spawn_committer(&committer);
	page = missing_wait(&missing);
	check_exit(pids[0], 0);
	CHECK_EQ(waitpid(pids[1], NULL, WNOHANG), 0);
	missing_bring(&missing, page);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(committer.res, 2);
	check_exit(pids[1], 0);
	end(&m);
}

static void the_server_can_copy(void)
{
	struct client client;
	struct manual m;

	run_with(&m, UBD_F_USER_COPY, 8, 8, 8);
	client_submit(&client, 8, 0);
	wait_for_tags(&m, 8);
	answer_all(&m);
	CHECK_EQ(client_wait(&client), 0);
	check_written(&client, 0);
	end(&m);
}

static void check_registered(struct manual *m)
{
	for (unsigned int i = 0; i < m->nr_tags; i++)
		CHECK(desc_of(m, m->tags[i])->op_flags & UBD_IO_F_REGISTERED);
}

/* The pages of a request are in the table of the ring that fetches, until the COMMIT on that ring.
 */
static void data_can_be_fixed_buffers(void)
{
	struct client client;
	struct manual m;
	struct committer committer = { .m = &m };
	pthread_t thread;

	add(&m, UBD_F_USER_COPY | UBD_F_ZERO_COPY, 8);
	CHECK_EQ(io_uring_queue_init(32, &m.ring, 0), 0);
	CHECK_EQ(io_uring_register_buffers_sparse(&m.ring, 8), 0);
	batch_init(&m.batch, &m.ring, m.server.cdev, 0, 1, 8);
	arm_all(&m);
	fetch(&m);
	go_live(&m, start_thread);

	/* What the server cannot be told of leaves the table again. */
	CHECK_EQ(mprotect(m.batch.tags, 4096, PROT_NONE), 0);
	client_submit(&client, 8, 0);
	CHECK_EQ(wait_for_end(&m), -EFAULT);
	CHECK_EQ(mprotect(m.batch.tags, 4096, PROT_READ | PROT_WRITE), 0);
	fetch(&m);
	wait_for_tags(&m, 8);
	check_registered(&m);
	answer(&m, UBD_BATCH_COMMIT | UBD_BATCH_FETCH);
	thread = spawn_committer(&committer);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(committer.res, -EINVAL);
	CHECK_EQ(commit(&m), 8);
	CHECK_EQ(client_wait(&client), 0);
	check_written(&client, 0);

	/* Each place is free again. */
	client_submit(&client, 8, 0);
	wait_for_tags(&m, 8);
	check_registered(&m);
	answer_all(&m);
	CHECK_EQ(client_wait(&client), 0);
	end(&m);
}

/* ---- ends ---- */

/* The process lives on. */
static void a_ring_that_closes_ends_the_device(void)
{
	struct manual m;

	run(&m);
	io_uring_queue_exit(&m.ring);
	WAIT_UNTIL(get_state(m.server.control) == UBD_S_DEV_STOPPED, SOON);
}

static void a_commit_after_the_end_says_so(void)
{
	struct client client;
	struct manual m;

	run(&m);
	client_submit(&client, 4, 0);
	wait_for_tags(&m, 4);
	answer(&m, UBD_BATCH_COMMIT | UBD_BATCH_FETCH);
	close(m.server.control);
	CHECK_EQ(wait_for_end(&m), UBD_IO_RES_ABORT);
	CHECK_EQ(client_wait(&client), 4);
	CHECK_EQ(commit(&m), UBD_IO_RES_ABORT);
	fetch(&m);
	CHECK_EQ(wait_for_end(&m), UBD_IO_RES_ABORT);
}

static void *quiesce_thread(void *arg)
{
	CHECK_EQ(control(*(int *)arg, UBD_CMD_QUIESCE, NULL, 0), 0);
	return NULL;
}

/* A server that is to leave has no FETCH_BATCH any more, and may answer what it has. */
static void quiesce_ends_the_fetch_only(void)
{
	struct client client, late;
	struct manual m, next;
	pthread_t thread;
	int res;

	run_with(&m, UBD_F_USER_RECOVERY, 8, 8, 8);
	client_submit(&client, 4, 0);
	wait_for_tags(&m, 4);
	CHECK_EQ(pthread_create(&thread, NULL, quiesce_thread, &m.server.control), 0);
	CHECK_EQ(wait_for_end(&m), UBD_IO_RES_ABORT);
	fetch(&m);
	CHECK_EQ(wait_for_end(&m), UBD_IO_RES_ABORT);
	client_submit(&late, 4, 1024);
	answer(&m, UBD_BATCH_COMMIT | UBD_BATCH_FETCH);
	CHECK_EQ(commit(&m), 4);
	CHECK_EQ(client_wait(&client), 0);
	CHECK_EQ(commit_one(&m, UBD_BATCH_FETCH, 0, 0), UBD_IO_RES_ABORT);
	CHECK_EQ(m.nr_tags, 0);
	io_uring_queue_exit(&m.ring);
	CHECK_EQ(munmap(m.server.queues[0].descs, 4096), 0);
	close(m.server.cdev);
	CHECK_EQ(pthread_join(thread, NULL), 0);

	next = (struct manual){ .server = m.server, .fetch_end = 1 };
	CHECK_EQ(control(m.server.control, UBD_CMD_START_RECOVERY, NULL, 0), 0);
	server_open(&next.server);
	CHECK_EQ(io_uring_queue_init(32, &next.ring, 0), 0);
	batch_init(&next.batch, &next.ring, next.server.cdev, 0, 8, 8);
	arm_all(&next);
	fetch(&next);
	go_live(&next, recover_thread);
	while (io_uring_cq_ready(&late.ring) < 4) {
		CHECK(!handle_cqe(&next, 10, &res));
		if (next.nr_tags)
			answer_all(&next);
	}
	CHECK_EQ(client_wait(&late), 0);
	check_written(&late, 1024);
	end(&next);
}

/* Tells its parent when it has been told of two requests, and cannot be of more. */
static void serve_two(void *arg)
{
	struct manual m;

	run_with(&m, UBD_F_USER_RECOVERY, 8, 1, 2);
	set(&shared->step, 1);
	WAIT_UNTIL(get(&shared->step) == 2, AGE);
	for (;;) {
		struct io_uring_cqe *cqe;

		CHECK_EQ(io_uring_wait_cqe(&m.ring, &cqe), 0);
		if (!(cqe->flags & IORING_CQE_F_MORE)) {
			CHECK_EQ(cqe->res, -ENOBUFS);
			break;
		}
		/* The buffer is not provided again. */
		CHECK_EQ(cqe->res, 4);
		io_uring_cqe_seen(&m.ring, cqe);
	}
	set(&shared->step, 3);
	for (;;)
		pause();
}

/* Without reissue what the dead server had fails; the rest is the next one's. */
static void what_the_server_was_not_told_of_is_the_next_ones(void)
{
	struct client client;
	int pid;

	share();
	pid = spawn(serve_two, NULL);
	WAIT_UNTIL(get(&shared->step) == 1, AGE);
	client_submit(&client, 8, 0);
	set(&shared->step, 2);
	WAIT_UNTIL(get(&shared->step) == 3, AGE);
	kill_server(pid);
	pid = spawn_next();
	CHECK_EQ(client_wait(&client), 2);
	delete_device();
	kill_server(pid);
}

/* ---- where there are none ---- */

static void a_device_with_batches_is_refused(void)
{
	struct ubdsrv_ctrl_dev_info info = usual_info();

	info.flags = UBD_F_BATCH;
	CHECK_EQ(add_dev(&info), -EINVAL);
}

static bool has_batches(void)
{
	struct utsname name;
	int major, minor;
	bool has = get_features() & UBD_F_BATCH;

	CHECK_EQ(uname(&name), 0);
	CHECK_EQ(sscanf(name.release, "%d.%d", &major, &minor), 2);
	CHECK_EQ(has, major > 6 || (major == 6 && minor >= 18));
	return has;
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "many requests take one CQE and one command",
		  many_requests_take_one_cqe_and_one_command },
		{ "a deep queue is served", a_deep_queue_is_served },
		{ "small buffers take a CQE each", small_buffers_take_a_cqe_each },
		{ "a tag without FETCH gets no request", a_tag_without_fetch_gets_no_request },
		{ "another thread commits", another_thread_commits },
		{ "the commands for one tag are refused", the_commands_for_one_tag_are_refused },
		{ "wrong COMMITs are refused", wrong_commits_are_refused },
		{ "wrong FETCHes are refused", wrong_fetches_are_refused },
		{ "a wrong entry ends the batch", a_wrong_entry_ends_the_batch },
		{ "only what is not done has a CQE", only_what_is_not_done_has_a_cqe },
		{ "without a buffer requests wait", without_a_buffer_requests_wait },
		{ "time without a buffer counts", time_without_a_buffer_counts },
		{ "a buffer that faults ends the FETCH", a_buffer_that_faults_ends_the_fetch },
		{ "a full ring ends the FETCH", a_full_ring_ends_the_fetch },
		{ "a buffer that faults fails its request only",
		  a_buffer_that_faults_fails_its_request_only },
		{ "no request waits for the memory of another",
		  no_request_waits_for_the_memory_of_another },
		{ "the server can copy", the_server_can_copy },
		{ "data can be fixed buffers", data_can_be_fixed_buffers },
		{ "a ring that closes ends the device", a_ring_that_closes_ends_the_device },
		{ "a COMMIT after the end says so", a_commit_after_the_end_says_so },
		{ "QUIESCE ends the FETCH only", quiesce_ends_the_fetch_only },
		{ "what the server was not told of is the next one's",
		  what_the_server_was_not_told_of_is_the_next_ones },
	};
	static const struct test without[] = {
		{ "a device with batches is refused", a_device_with_batches_is_refused },
	};

	if (!has_batches())
		return RUN_TESTS(without, argc, argv);
	return RUN_TESTS(tests, argc, argv);
}
