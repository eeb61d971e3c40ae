// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * UBD_F_ZERO_COPY: the pages of a request are a fixed buffer in the server's ring, until the COMMIT
 * and until nothing uses them any more.
 */
#include "fixed.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#define REISSUE (ZERO_COPY | UBD_F_USER_RECOVERY | UBD_F_USER_RECOVERY_REISSUE)

/* In a process of its own. */
static void write_and_read(void *arg)
{
	const size_t sizes[] = { 512, 4096, 4608, 65536, 131072, 1 << 20 };
	uint8_t *out = aligned(1 << 20), *in = aligned(1 << 20);
	int disk = open_disk(get(&shared->id), O_RDWR);

	for (size_t i = 0; i < 6; i++) {
		off_t off = *(int *)arg + 512 * (1 + 7 * i);

		fill_kept(out, sizes[i]);
		CHECK_EQ(pwrite(disk, out, sizes[i], off), sizes[i]);
		memset(in, 0, sizes[i]);
		CHECK_EQ(pread(disk, in, sizes[i], off), sizes[i]);
		CHECK(!memcmp(in, out, sizes[i]));
		CHECK_EQ(fsync(disk), 0);
	}
}

/* ---- tests ---- */

static void data_is_not_copied(void)
{
	struct fixed_server s;
	int pid, place = 0;

	share();
	fixed_run(&s, ZERO_COPY, FIXED_DEPTH);
	s.nr_fixed = 0;
	pid = spawn(write_and_read, &place);
	fixed_serve_while(&s, fixed_client_runs, pid);
	check_exit(pid, 0);
	CHECK(s.nr_fixed >= 12);
	fixed_delete(&s);
}

/* Two of the four tags have an index that the table does not have. */
static void what_cannot_be_registered_is_served_all_the_same(void)
{
	struct fixed_server s;
	int pids[4];

	share();
	fixed_run(&s, ZERO_COPY, 2);
	for (int i = 0; i < 4; i++) {
		int place = i * (2 << 20);

		pids[i] = spawn(write_and_read, &place);
	}
	for (int i = 0; i < 4; i++) {
		fixed_serve_while(&s, fixed_client_runs, pids[i]);
		check_exit(pids[i], 0);
	}
	fixed_delete(&s);
}

static void wrong_uses_are_refused(void)
{
	struct ubdsrv_ctrl_dev_info info = usual_info();
	struct fixed_server s;
	struct io_uring other;
	int pid;

	info.flags = UBD_F_ZERO_COPY;
	CHECK_EQ(add_dev(&info), -EINVAL);

	share();
	fixed_run(&s, ZERO_COPY, FIXED_DEPTH);
	CHECK_EQ(io_command(s.server.cdev, UBD_IO_FETCH_REQ, 0, 0, 0, (void *)65536), -EINVAL);
	pid = fixed_spawn_client(&s, write_kept);
	CHECK_EQ(io_uring_queue_init(4, &other, 0), 0);
	CHECK_EQ(fixed_commit(&s, &other, KEPT_BYTES), -EINVAL);
	CHECK(is_running(pid));
	CHECK_EQ(fixed_commit(&s, &s.ring, KEPT_BYTES), 0);
	check_exit(pid, 0);
	io_uring_queue_exit(&other);
	fixed_delete(&s);
}

/* Whose owner takes the pages out of the table, in this or in that way. */
static void a_buffer_that_the_server_unregisters_is_gone_and_no_more(void)
{
	struct fixed_server s;
	struct iovec none = {};
	struct io_uring other;
	int pid;

	share();
	fixed_run(&s, ZERO_COPY, FIXED_DEPTH);
	pid = fixed_spawn_client(&s, write_kept);
	CHECK_EQ(io_uring_register_buffers_update_tag(&s.ring, s.kept, &none, NULL, 1), 1);
	CHECK_EQ(pread(s.server.cdev, aligned(KEPT_BYTES), KEPT_BYTES, ubd_data_offset(0, s.kept)),
		 KEPT_BYTES);
	CHECK(is_running(pid));
	CHECK_EQ(io_uring_queue_init(4, &other, 0), 0);
	CHECK_EQ(fixed_commit(&s, &other, KEPT_BYTES), 0);
	check_exit(pid, 0);
	io_uring_queue_exit(&other);
	fixed_delete(&s);
}

/* ---- fixed I/O that takes time: into a pipe that is full ---- */

struct full_pipe {
	int fds[2];
	size_t bytes;
};

static void start_slow_io(struct fixed_server *s, struct full_pipe *full)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);
	uint8_t byte = 0;

	CHECK_EQ(pipe(full->fds), 0);
	fcntl(full->fds[1], F_SETFL, O_NONBLOCK);
	for (full->bytes = 0; write(full->fds[1], &byte, 1) == 1;)
		full->bytes++;
	fcntl(full->fds[1], F_SETFL, 0);
	CHECK(fixed_desc(s, s->kept)->op_flags & UBD_IO_F_REGISTERED);
	io_uring_prep_write_fixed(sqe, full->fds[1], NULL, 4096, -1, s->kept);
	sqe->user_data = IS_FIXED_IO | s->kept;
	CHECK_EQ(io_uring_submit(&s->ring), 1);
	usleep(20000);
	CHECK_EQ(io_uring_cq_ready(&s->ring), 0);
}

static void end_slow_io(struct fixed_server *s, struct full_pipe *full)
{
	uint8_t *data = aligned(full->bytes + 4096), *wanted = aligned(4096);
	struct io_uring_cqe *cqe;
	size_t nr = 0;

	while (nr < full->bytes + 4096) {
		ssize_t res = read(full->fds[0], data + nr, full->bytes + 4096 - nr);

		CHECK(res > 0);
		nr += res;
	}
	fill_kept(wanted, 4096);
	CHECK(!memcmp(data + full->bytes, wanted, 4096));
	CHECK_EQ(io_uring_wait_cqe(&s->ring, &cqe), 0);
	CHECK_EQ(cqe->user_data, IS_FIXED_IO | s->kept);
	CHECK_EQ(cqe->res, 4096);
	io_uring_cqe_seen(&s->ring, cqe);
	/* io_uring lets go of the pages when it next runs for the ring. */
	io_uring_get_events(&s->ring);
}

static void a_commit_during_fixed_io_ends_the_request_after_it(void)
{
	struct full_pipe full;
	struct fixed_server s;
	int pid;

	share();
	fixed_run(&s, ZERO_COPY, FIXED_DEPTH);
	pid = fixed_spawn_client(&s, write_kept);
	start_slow_io(&s, &full);
	CHECK_EQ(fixed_commit(&s, &s.ring, KEPT_BYTES), 0);
	fixed_send(&s, &s.ring, UBD_IO_FETCH_REQ, s.kept, 0);
	usleep(50000);
	CHECK(is_running(pid));
	end_slow_io(&s, &full);
	check_exit(pid, 0);
	/* The tag serves on. */
	s.kept = -1;
	for (int i = 0; i < FIXED_DEPTH; i++) {
		pid = fixed_spawn_client(&s, write_kept);
		fixed_send(&s, &s.ring, UBD_IO_COMMIT_AND_FETCH_REQ, s.kept, KEPT_BYTES);
		s.kept = -1;
		check_exit(pid, 0);
	}
	fixed_delete(&s);
}

/* A COMMIT that is refused for that takes the pages out of the ring all the same. */
static void an_aborted_request_ends_when_it_is_committed(void)
{
	struct fixed_server s;
	int pid;

	share();
	fixed_run(&s, ZERO_COPY, FIXED_DEPTH);
	pid = fixed_spawn_client(&s, fail_to_write_kept);
	usleep(50000);
	close(s.server.control);
	for (int i = 0; i < FIXED_DEPTH - 1; i++) {
		struct io_uring_cqe *cqe;

		CHECK_EQ(io_uring_wait_cqe(&s.ring, &cqe), 0);
		CHECK_EQ(cqe->res, UBD_IO_RES_ABORT);
		io_uring_cqe_seen(&s.ring, cqe);
	}
	CHECK(is_running(pid));
	CHECK_EQ(fixed_commit(&s, &s.ring, KEPT_BYTES), UBD_IO_RES_ABORT);
	check_exit(pid, 0);
	io_uring_queue_exit(&s.ring);
	close(s.server.cdev);
}

static void serve_slowly(void *arg)
{
	struct full_pipe full;
	struct fixed_server s;

	fixed_run(&s, *(uint64_t *)arg, FIXED_DEPTH);
	fixed_serve_while(&s, fixed_keeps_none, 0);
	start_slow_io(&s, &full);
	set(&shared->step, 1);
	pause();
}

static void serve_next(void *arg)
{
	struct fixed_server s;

	fixed_init(&s, REISSUE, FIXED_DEPTH);
	s.server.control = open_dev(*(int *)arg);
	s.server.info.dev_id = *(int *)arg;
	CHECK_EQ(control(s.server.control, UBD_CMD_START_RECOVERY, NULL, 0), 0);
	fixed_go_live(&s, fixed_end_recovery);
	fixed_serve_while(&s, fixed_keeps_none, 0);
	CHECK_EQ(fixed_commit(&s, &s.ring, KEPT_BYTES), 0);
	set(&shared->step, 2);
	pause();
}

static int spawn_slow(uint64_t flags)
{
	share();
	return wait_for_server(spawn(serve_slowly, &flags));
}

static void a_server_killed_during_fixed_io_fails_the_request(void)
{
	int server = spawn_slow(ZERO_COPY), client = spawn(fail_to_write_kept, NULL);

	WAIT_UNTIL(get(&shared->step) == 1, AGE);
	kill_server(server);
	check_exit(client, 0);
	WAIT_UNTIL(!exists(char_node(get(&shared->id))), AGE);
}

static void a_request_is_reissued_after_fixed_io(void)
{
	int server = spawn_slow(REISSUE), client = spawn(write_kept, NULL);
	int id = get(&shared->id);

	WAIT_UNTIL(get(&shared->step) == 1, AGE);
	kill_server(server);
	server = spawn(serve_next, &id);
	WAIT_UNTIL(get(&shared->step) == 2, AGE);
	check_exit(client, 0);
	delete_device();
	kill_server(server);
}

/* Its pages are nobody's any more; another ring may commit. */
static void a_ring_that_is_closed_lets_go_of_the_pages(void)
{
	struct fixed_server s;
	struct io_uring other;
	int pid;

	share();
	fixed_run(&s, ZERO_COPY, FIXED_DEPTH);
	pid = fixed_spawn_client(&s, fail_to_write_kept);
	CHECK_EQ(io_uring_queue_init(4, &other, 0), 0);
	io_uring_queue_exit(&s.ring);
	WAIT_UNTIL(fixed_commit(&s, &other, -EIO) != -EINVAL, AGE);
	check_exit(pid, 0);
	io_uring_queue_exit(&other);
	close(s.server.control);
	close(s.server.cdev);
}

static void sleep_on(void *arg)
{
	pause();
}

/* A child has the ring, with the pages in it; the server's FETCHes take them out when they end. */
static void serve_with_child(void *arg)
{
	struct fixed_server s;

	fixed_run(&s, ZERO_COPY, FIXED_DEPTH);
	fixed_serve_while(&s, fixed_keeps_none, 0);
	set(&shared->child, spawn(sleep_on, NULL));
	set(&shared->step, 1);
	pause();
}

static void a_ring_that_outlives_the_server_does_not_keep_the_pages(void)
{
	int server, client;

	share();
	server = wait_for_server(spawn(serve_with_child, NULL));
	client = spawn(fail_to_write_kept, NULL);
	WAIT_UNTIL(get(&shared->step) == 1, AGE);
	kill_server(server);
	check_exit(client, 0);
	CHECK_EQ(kill(get(&shared->child), SIGKILL), 0);
	WAIT_UNTIL(!exists(char_node(get(&shared->id))), AGE);
}

/* ---- the module ---- */

static int unload(void)
{
	return syscall(SYS_delete_module, "ubd", O_NONBLOCK) ? errno : 0;
}

static void load(void)
{
	int fd = open("/root/ubd.ko", O_RDONLY | O_CLOEXEC);

	CHECK_EQ(syscall(SYS_finit_module, fd, "", 0), 0);
	close(fd);
}

/* Has the ring, and no other file of the driver. */
static void keep_ring(void *arg)
{
	struct fixed_server *s = arg;

	close(s->server.control);
	close(s->server.cdev);
	set(&shared->step, 1);
	pause();
}

/* START_DEV looks for partitions. What it reads is fetched by the only FETCH, and never answered.
 */
static void start_with_child(void *arg)
{
	struct fixed_server s;
	pthread_t thread;

	fixed_init(&s, ZERO_COPY, 1);
	s.server.info.queue_depth = 1;
	server_add(&s.server);
	server_open(&s.server);
	fixed_send(&s, &s.ring, UBD_IO_FETCH_REQ, 0, 0);
	CHECK_EQ(pthread_create(&thread, NULL, fixed_start, &s.server), 0);
	WAIT_UNTIL(io_uring_cq_ready(&s.ring), AGE);
	CHECK(fixed_desc(&s, 0)->op_flags & UBD_IO_F_REGISTERED);
	set(&shared->child, spawn(keep_ring, &s));
	pause();
}

/* And not before: a request is not over before that, and then its device goes. */
static void the_module_goes_when_io_uring_has_let_go_of_the_pages(void)
{
	for (int round = 0; round < 5; round++) {
		int server;

		share();
		server = spawn(start_with_child, NULL);
		/* The child may be ahead of who notes its number. */
		WAIT_UNTIL(get(&shared->step) == 1 && get(&shared->child), AGE);
		kill_server(server);
		usleep(20000);
		CHECK_EQ(unload(), EAGAIN);
		CHECK_EQ(kill(get(&shared->child), SIGKILL), 0);
		WAIT_UNTIL(unload() == 0, AGE);
		load();
	}
}

/* Said of the driver by itself; a kernel that is new enough must have it. */
static bool has_zero_copy(void)
{
	int fd = open("/dev/ubd-control", O_RDWR | O_CLOEXEC), major, minor;
	struct utsname name;
	uint64_t features;

	CHECK_EQ(control(fd, UBD_CMD_GET_FEATURES, &features, sizeof(features)), 0);
	close(fd);
	CHECK_EQ(uname(&name), 0);
	CHECK_EQ(sscanf(name.release, "%d.%d", &major, &minor), 2);
	CHECK_EQ(!!(features & UBD_F_ZERO_COPY), major > 6 || (major == 6 && minor >= 15));
	return features & UBD_F_ZERO_COPY;
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "data is not copied", data_is_not_copied },
		{ "what cannot be registered is served all the same",
		  what_cannot_be_registered_is_served_all_the_same },
		{ "wrong uses are refused", wrong_uses_are_refused },
		{ "a buffer that the server unregisters is gone and no more",
		  a_buffer_that_the_server_unregisters_is_gone_and_no_more },
		{ "a COMMIT during fixed I/O ends the request after it",
		  a_commit_during_fixed_io_ends_the_request_after_it },
		{ "an aborted request ends when it is committed",
		  an_aborted_request_ends_when_it_is_committed },
		{ "a server killed during fixed I/O fails the request",
		  a_server_killed_during_fixed_io_fails_the_request },
		{ "a request is reissued after fixed I/O", a_request_is_reissued_after_fixed_io },
		{ "a ring that is closed lets go of the pages",
		  a_ring_that_is_closed_lets_go_of_the_pages },
		{ "a ring that outlives the server does not keep the pages",
		  a_ring_that_outlives_the_server_does_not_keep_the_pages },
		{ "the module goes when io_uring has let go of the pages",
		  the_module_goes_when_io_uring_has_let_go_of_the_pages },
	};

	if (!has_zero_copy()) {
		puts("ok zero copy # SKIP this kernel has none");
		return 0;
	}
	return RUN_TESTS(tests, argc, argv);
}
