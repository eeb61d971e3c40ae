// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * UBD_F_BATCH: one FETCH_BATCH lists many requests, one COMMIT_BATCH answers many. This is a server
 * by hand; the other programs, run with batches, test what does not depend on how requests arrive.
 */
#include "manual.h"
#include "missing.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <sys/wait.h>

/* ---- both ways ---- */

static void many_requests_take_one_cqe_and_one_command(void)
{
	struct client client;
	struct manual m;

	manual_run(&m);
	client_submit(&client, 8, 0);
	manual_wait_for_tags(&m, 8);
	CHECK(m.nr_cqes < 8);
	manual_answer_all(&m);
	CHECK_EQ(client_wait(&client), 0);
	check_written(&client, 0);
	manual_end(&m);
}

/* More than a CQE tells of, and more than the driver reads at once. */
static void a_deep_queue_is_served(void)
{
	struct client clients[4];
	struct manual m;

	manual_run_with(&m, 0, MANUAL_DEPTH, 8, MANUAL_DEPTH);
	for (int i = 0; i < 4; i++)
		client_submit(&clients[i], 50, i * 1024);
	manual_wait_for_tags(&m, 200);
	manual_answer_all(&m);
	for (int i = 0; i < 4; i++) {
		CHECK_EQ(client_wait(&clients[i]), 0);
		check_written(&clients[i], i * 1024);
	}
	manual_end(&m);
}

static void small_buffers_take_a_cqe_each(void)
{
	struct client client;
	struct manual m;

	manual_run_with(&m, 0, 8, 8, 1);
	client_submit(&client, 8, 0);
	manual_wait_for_tags(&m, 8);
	CHECK_EQ(m.nr_cqes, 8);
	manual_answer_all(&m);
	CHECK_EQ(client_wait(&client), 0);
	manual_end(&m);
}

static void a_tag_without_fetch_gets_no_request(void)
{
	struct client client;
	struct manual m;
	int res;

	manual_run_with(&m, 0, 1, 2, 1);
	client_submit(&client, 2, 0);
	manual_wait_for_tags(&m, 1);
	manual_answer(&m, UBD_BATCH_COMMIT);
	CHECK_EQ(manual_commit(&m), 1);
	/* The second request is on the tag by now, or will be. */
	CHECK(!manual_handle(&m, 200, &res));
	CHECK_EQ(m.nr_tags, 0);
	CHECK_EQ(manual_commit_one(&m, UBD_BATCH_FETCH, 0, 0), 1);
	manual_wait_for_tags(&m, 1);
	manual_answer_all(&m);
	CHECK_EQ(client_wait(&client), 0);
	manual_end(&m);
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

	manual_run(&m);
	client_submit(&client, 8, 0);
	manual_wait_for_tags(&m, 8);
	manual_answer(&m, UBD_BATCH_COMMIT | UBD_BATCH_FETCH);
	thread = spawn_committer(&committer);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(committer.res, 8);
	CHECK_EQ(client_wait(&client), 0);
	manual_end(&m);
}

/* ---- what is refused ---- */

static void the_commands_for_one_tag_are_refused(void)
{
	struct ubd_batch_entry entry = { .flags = UBD_BATCH_FETCH, .addr = (uintptr_t)&entry };
	struct ubdsrv_io_cmd cmd = { .tag = 1, .addr = (uintptr_t)&entry };
	struct server server;
	struct manual m;

	manual_run(&m);
	CHECK_EQ(io_command(m.server.cdev, UBD_IO_FETCH_REQ, 0, 0, 0, &m), -EINVAL);
	CHECK_EQ(io_command(m.server.cdev, UBD_IO_COMMIT_AND_FETCH_REQ, 0, 0, 0, &m), -EINVAL);
	CHECK_EQ(io_command(m.server.cdev, UBD_IO_COMMIT_REQ, 0, 0, 0, NULL), -EINVAL);
	manual_end(&m);

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

	manual_run(&m);
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
	manual_end(&m);
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
	return manual_wait_for_commit(m);
}

static void wrong_fetches_are_refused(void)
{
	const unsigned int flags = IOSQE_BUFFER_SELECT;
	struct manual m;

	manual_run(&m);
	CHECK_EQ(send_fetch(&m, &(struct ubdsrv_io_cmd){}, flags), -EBUSY);
	CHECK_EQ(send_fetch(&m, &(struct ubdsrv_io_cmd){}, flags | IOSQE_ASYNC), -EBUSY);
	CHECK_EQ(send_fetch(&m, &(struct ubdsrv_io_cmd){ .q_id = 1 }, flags), -EINVAL);
	CHECK_EQ(send_fetch(&m, &(struct ubdsrv_io_cmd){ .tag = 1 }, flags), -EINVAL);
	CHECK_EQ(send_fetch(&m, &(struct ubdsrv_io_cmd){ .result = 1 }, flags), -EINVAL);
	CHECK_EQ(send_fetch(&m, &(struct ubdsrv_io_cmd){ .addr = 1 }, flags), -EINVAL);
	CHECK_EQ(send_fetch(&m, &(struct ubdsrv_io_cmd){}, 0), -EINVAL);
	manual_end(&m);
}

/* Three requests, and an entry that is wrong in between. */
static void a_wrong_entry_ends_the_batch(void)
{
	struct client client;
	struct manual m;

	manual_run(&m);
	client_submit(&client, 3, 0);
	manual_wait_for_tags(&m, 3);
	manual_answer(&m, UBD_BATCH_COMMIT | UBD_BATCH_FETCH);
	m.entries[3] = m.entries[2];
	m.entries[2].flags = 0;
	m.nr_entries = 4;
	CHECK_EQ(manual_commit(&m), 2);
	/* Those before it are done, and that after it is not. */
	m.nr_entries = 1;
	CHECK_EQ(manual_commit(&m), -EINVAL);
	m.entries[0] = m.entries[3];
	m.nr_entries = 1;
	CHECK_EQ(manual_commit(&m), 1);
	CHECK_EQ(client_wait(&client), 0);
	manual_end(&m);
}

static void only_what_is_not_done_has_a_cqe(void)
{
	struct client client;
	struct manual m;
	int res;

	manual_run(&m);
	client_submit(&client, 2, 0);
	manual_wait_for_tags(&m, 2);
	manual_answer(&m, UBD_BATCH_COMMIT | UBD_BATCH_FETCH);
	manual_prepare_commit(&m)->flags |= IOSQE_CQE_SKIP_SUCCESS;
	CHECK_EQ(io_uring_submit(&m.ring), 1);
	CHECK_EQ(client_wait(&client), 0);
	CHECK(!manual_handle(&m, 50, &res));

	client_submit(&client, 2, 0);
	manual_wait_for_tags(&m, 2);
	manual_answer(&m, UBD_BATCH_COMMIT | UBD_BATCH_FETCH);
	m.entries[2] = m.entries[0];
	m.nr_entries = 3;
	manual_prepare_commit(&m)->flags |= IOSQE_CQE_SKIP_SUCCESS;
	CHECK_EQ(io_uring_submit(&m.ring), 1);
	CHECK_EQ(manual_wait_for_commit(&m), 2);
	CHECK_EQ(client_wait(&client), 0);

	m.nr_entries = 1;
	manual_prepare_commit(&m)->flags |= IOSQE_CQE_SKIP_SUCCESS;
	CHECK_EQ(io_uring_submit(&m.ring), 1);
	CHECK_EQ(manual_wait_for_commit(&m), -EINVAL);
	manual_end(&m);
}

/* ---- when the server cannot be told ---- */

/* They are not the server's yet. */
static void check_not_told(struct manual *m, unsigned int nr)
{
	CHECK_EQ(m->nr_tags, 0);
	for (unsigned int tag = 0; tag < nr; tag++)
		CHECK_EQ(manual_commit_one(m, UBD_BATCH_COMMIT, tag, 4096), -EINVAL);
}

static void without_a_buffer_requests_wait(void)
{
	struct client client;
	struct manual m;

	manual_run_with(&m, 0, 8, 1, 8);
	/* First the ring has no such buffers, then it has used them up. */
	CHECK_EQ(io_uring_unregister_buf_ring(&m.ring, 0), 0);
	client_submit(&client, 8, 0);
	CHECK_EQ(manual_wait_for_end(&m), -ENOBUFS);
	check_not_told(&m, 8);
	batch_init_empty(&m.batch, &m.ring, m.server.cdev, 0, 1, 8);
	manual_fetch(&m);
	CHECK_EQ(manual_wait_for_end(&m), -ENOBUFS);
	check_not_told(&m, 8);
	batch_provide(&m.batch, 0);
	manual_fetch(&m);
	manual_wait_for_tags(&m, 8);
	manual_answer_all(&m);
	CHECK_EQ(client_wait(&client), 0);
	manual_end(&m);
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

	manual_run_with(&m, 0, 8, 1, 8);
	CHECK_EQ(io_uring_unregister_buf_ring(&m.ring, 0), 0);
	client_submit(&client, 8, 0);
	CHECK_EQ(manual_wait_for_end(&m), -ENOBUFS);
	set_timeout("2");
	CHECK_EQ(client_wait(&client), 8);
	set_timeout("0");
	WAIT_UNTIL(get_state(m.server.control) == UBD_S_DEV_STOPPED, AGE);
}

static void a_buffer_that_faults_ends_the_fetch(void)
{
	struct client client;
	struct manual m;

	manual_run_with(&m, 0, 8, 1, 8);
	CHECK_EQ(mprotect(m.batch.tags, 4096, PROT_NONE), 0);
	client_submit(&client, 8, 0);
	CHECK_EQ(manual_wait_for_end(&m), -EFAULT);
	check_not_told(&m, 8);
	CHECK_EQ(mprotect(m.batch.tags, 4096, PROT_READ | PROT_WRITE), 0);
	/* The buffer is still there. */
	manual_fetch(&m);
	manual_wait_for_tags(&m, 8);
	manual_answer_all(&m);
	CHECK_EQ(client_wait(&client), 0);
	check_written(&client, 0);
	manual_end(&m);
}

static void a_full_ring_ends_the_fetch(void)
{
	struct io_uring_params params = { .flags = IORING_SETUP_CQSIZE, .cq_entries = 4 };
	struct io_uring_cqe *cqe;
	struct client client;
	struct manual m;

	manual_add(&m, 0, 8);
	CHECK_EQ(io_uring_queue_init_params(4, &m.ring, &params), 0);
	CHECK_EQ(params.cq_entries, 4);
	batch_init(&m.batch, &m.ring, m.server.cdev, 0, 2, 8);
	manual_arm_all(&m);
	manual_fetch(&m);
	manual_go_live(&m, manual_start);

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
	CHECK_EQ(manual_wait_for_end(&m), -ENOBUFS);
	check_not_told(&m, 8);
	manual_fetch(&m);
	manual_wait_for_tags(&m, 8);
	manual_answer_all(&m);
	CHECK_EQ(client_wait(&client), 0);
	manual_end(&m);
}

/* ---- data ---- */

static void a_buffer_that_faults_fails_its_request_only(void)
{
	struct client client;
	struct manual m;
	uint8_t *buffer = NULL;

	manual_run(&m);
	client_submit(&client, 8, 0);
	manual_wait_for_tags(&m, 8);
	for (int i = 0; i < 8; i++)
		if (ubd_desc_op(manual_desc(&m, m.tags[i])) == UBD_IO_OP_READ)
			buffer = server_buffer(&m.server.queues[0], m.tags[i]);
	manual_answer(&m, UBD_BATCH_COMMIT | UBD_BATCH_FETCH);
	CHECK_EQ(mprotect(buffer, 4096, PROT_NONE), 0);
	CHECK_EQ(manual_commit(&m), 8);
	CHECK_EQ(client_wait(&client), 1);
	manual_end(&m);
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

	manual_run(&m);
	missing_init(&missing);
	for (int i = 0; i < 2; i++) {
		pids[i] = spawn(read_block, &blocks[i]);
		manual_wait_for_tags(&m, i + 1);
	}
	manual_answer(&m, UBD_BATCH_COMMIT | UBD_BATCH_FETCH);
	missing_take(&missing, server_buffer(&m.server.queues[0], m.entries[1].tag), 4096);
	thread = spawn_committer(&committer);
	page = missing_wait(&missing);
	check_exit(pids[0], 0);
	CHECK_EQ(waitpid(pids[1], NULL, WNOHANG), 0);
	missing_bring(&missing, page);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(committer.res, 2);
	check_exit(pids[1], 0);
	manual_end(&m);
}

static void the_server_can_copy(void)
{
	struct client client;
	struct manual m;

	manual_run_with(&m, UBD_F_USER_COPY, 8, 8, 8);
	client_submit(&client, 8, 0);
	manual_wait_for_tags(&m, 8);
	manual_answer_all(&m);
	CHECK_EQ(client_wait(&client), 0);
	check_written(&client, 0);
	manual_end(&m);
}

static void check_registered(struct manual *m)
{
	for (unsigned int i = 0; i < m->nr_tags; i++)
		CHECK(manual_desc(m, m->tags[i])->op_flags & UBD_IO_F_REGISTERED);
}

/* The pages of a request are in the table of the ring that fetches, until the COMMIT on that ring.
 */
static void data_can_be_fixed_buffers(void)
{
	struct client client;
	struct manual m;
	struct committer committer = { .m = &m };
	pthread_t thread;

	manual_add(&m, UBD_F_USER_COPY | UBD_F_ZERO_COPY, 8);
	CHECK_EQ(io_uring_queue_init(32, &m.ring, 0), 0);
	CHECK_EQ(io_uring_register_buffers_sparse(&m.ring, 8), 0);
	batch_init(&m.batch, &m.ring, m.server.cdev, 0, 1, 8);
	manual_arm_all(&m);
	manual_fetch(&m);
	manual_go_live(&m, manual_start);

	/* What the server cannot be told of leaves the table again. */
	CHECK_EQ(mprotect(m.batch.tags, 4096, PROT_NONE), 0);
	client_submit(&client, 8, 0);
	CHECK_EQ(manual_wait_for_end(&m), -EFAULT);
	CHECK_EQ(mprotect(m.batch.tags, 4096, PROT_READ | PROT_WRITE), 0);
	manual_fetch(&m);
	manual_wait_for_tags(&m, 8);
	check_registered(&m);
	manual_answer(&m, UBD_BATCH_COMMIT | UBD_BATCH_FETCH);
	thread = spawn_committer(&committer);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(committer.res, -EINVAL);
	CHECK_EQ(manual_commit(&m), 8);
	CHECK_EQ(client_wait(&client), 0);
	check_written(&client, 0);

	/* Each place is free again. */
	client_submit(&client, 8, 0);
	manual_wait_for_tags(&m, 8);
	check_registered(&m);
	manual_answer_all(&m);
	CHECK_EQ(client_wait(&client), 0);
	manual_end(&m);
}

/* ---- ends ---- */

/* The process lives on. */
static void a_ring_that_closes_ends_the_device(void)
{
	struct manual m;

	manual_run(&m);
	io_uring_queue_exit(&m.ring);
	WAIT_UNTIL(get_state(m.server.control) == UBD_S_DEV_STOPPED, SOON);
}

static void a_commit_after_the_end_says_so(void)
{
	struct client client;
	struct manual m;

	manual_run(&m);
	client_submit(&client, 4, 0);
	manual_wait_for_tags(&m, 4);
	manual_answer(&m, UBD_BATCH_COMMIT | UBD_BATCH_FETCH);
	close(m.server.control);
	CHECK_EQ(manual_wait_for_end(&m), UBD_IO_RES_ABORT);
	CHECK_EQ(client_wait(&client), 4);
	CHECK_EQ(manual_commit(&m), UBD_IO_RES_ABORT);
	manual_fetch(&m);
	CHECK_EQ(manual_wait_for_end(&m), UBD_IO_RES_ABORT);
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

	manual_run_with(&m, UBD_F_USER_RECOVERY, 8, 8, 8);
	client_submit(&client, 4, 0);
	manual_wait_for_tags(&m, 4);
	CHECK_EQ(pthread_create(&thread, NULL, quiesce_thread, &m.server.control), 0);
	CHECK_EQ(manual_wait_for_end(&m), UBD_IO_RES_ABORT);
	manual_fetch(&m);
	CHECK_EQ(manual_wait_for_end(&m), UBD_IO_RES_ABORT);
	client_submit(&late, 4, 1024);
	manual_answer(&m, UBD_BATCH_COMMIT | UBD_BATCH_FETCH);
	CHECK_EQ(manual_commit(&m), 4);
	CHECK_EQ(client_wait(&client), 0);
	CHECK_EQ(manual_commit_one(&m, UBD_BATCH_FETCH, 0, 0), UBD_IO_RES_ABORT);
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
	manual_arm_all(&next);
	manual_fetch(&next);
	manual_go_live(&next, manual_recover);
	while (io_uring_cq_ready(&late.ring) < 4) {
		CHECK(!manual_handle(&next, 10, &res));
		if (next.nr_tags)
			manual_answer_all(&next);
	}
	CHECK_EQ(client_wait(&late), 0);
	check_written(&late, 1024);
	manual_end(&next);
}

/* Tells its parent when it has been told of two requests, and cannot be of more. */
static void serve_two(void *arg)
{
	struct manual m;

	manual_run_with(&m, UBD_F_USER_RECOVERY, 8, 1, 2);
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
