// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * UBD_F_USER_COPY: a request does not end while somebody copies its data, whatever happens to it
 * and to its server meanwhile.
 */
#include "kept.h"
#include "users.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#define REISSUE (UBD_F_USER_COPY | UBD_F_USER_RECOVERY | UBD_F_USER_RECOVERY_REISSUE)

/* ---- a copy that takes time ---- */

/* A page that is not there until somebody wakes who waits for it. */
struct missing {
	uint8_t *page;
	int fd;
	int cdev;
	pthread_t thread;
	ssize_t copied;
};

static void *copy_to_missing(void *arg)
{
	struct missing *missing = arg;

	missing->copied = pread(missing->cdev, missing->page, 4096, kept_data());
	return NULL;
}

/* A thread copies from the kept request, and sleeps in the middle of it. */
static void start_slow_copy(struct missing *missing, int cdev)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct pollfd poll_fd;

	missing->cdev = cdev;
	missing->page = map_pages(4096);
	missing->fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	CHECK(missing->fd >= 0);
	CHECK_EQ(ioctl(missing->fd, UFFDIO_API, &api), 0);
	range.range.start = (uintptr_t)missing->page;
	range.range.len = 4096;
	CHECK_EQ(ioctl(missing->fd, UFFDIO_REGISTER, &range), 0);
	CHECK_EQ(pthread_create(&missing->thread, NULL, copy_to_missing, missing), 0);
	poll_fd = (struct pollfd){ .fd = missing->fd, .events = POLLIN };
	CHECK_EQ(poll(&poll_fd, 1, AGE * 1000), 1);
	CHECK_EQ(poll_fd.revents, POLLIN);
}

static void end_slow_copy(struct missing *missing)
{
	struct uffdio_zeropage page = { .range = { (uintptr_t)missing->page, 4096 } };

	CHECK_EQ(ioctl(missing->fd, UFFDIO_ZEROPAGE, &page), 0);
	CHECK_EQ(pthread_join(missing->thread, NULL), 0);
	CHECK_EQ(missing->copied, 4096);
	close(missing->fd);
}

static void check_start_of_write(const struct missing *missing)
{
	uint8_t *wanted = aligned(KEPT_BYTES);

	fill_kept(wanted, KEPT_BYTES);
	CHECK(!memcmp(missing->page, wanted, 4096));
}

/* It is not waited for by who commits; but the request and its pages are there until it ends. */
static void a_commit_during_a_copy_ends_the_request_after_it(void)
{
	struct missing missing;
	struct server server;
	int pid;

	run_copy_server(&server);
	pid = spawn_client(write_kept);
	start_slow_copy(&missing, server.cdev);
	CHECK_EQ(commit_kept(&server, KEPT_BYTES), 0);
	CHECK_EQ(commit_kept(&server, KEPT_BYTES), -EINVAL);
	check_copies(server.cdev, kept_data(), 512, EINVAL, EINVAL);
	usleep(50000);
	CHECK(is_running(pid));
	end_slow_copy(&missing);
	check_start_of_write(&missing);
	check_exit(pid, 0);
	server_delete(&server);
}

/* A FETCH, sent with the COMMIT or after it, waits meanwhile, and there can be but one. */
static void a_fetch_waits_while_its_tag_is_held(bool with_commit)
{
	struct io_uring_cqe *cqe;
	struct missing missing;
	struct io_uring ring;
	struct server server;
	int pid, q_id, tag;

	run_copy_server(&server);
	pid = spawn_client(write_kept);
	q_id = get(&shared->q_id);
	tag = get(&shared->tag);
	start_slow_copy(&missing, server.cdev);
	CHECK_EQ(io_uring_queue_init(4, &ring, 0), 0);
	if (!with_commit)
		CHECK_EQ(commit_kept(&server, KEPT_BYTES), 0);
	prep_io(io_uring_get_sqe(&ring), server.cdev,
		with_commit ? UBD_IO_COMMIT_AND_FETCH_REQ : UBD_IO_FETCH_REQ, q_id, tag, KEPT_BYTES,
		NULL);
	CHECK_EQ(io_uring_submit(&ring), 1);
	CHECK_EQ(io_command(server.cdev, UBD_IO_FETCH_REQ, q_id, tag, 0, NULL), -EBUSY);
	CHECK(is_running(pid));
	end_slow_copy(&missing);
	check_exit(pid, 0);
	CHECK_EQ(io_uring_cq_ready(&ring), 0);
	CHECK_EQ(control(server.control, UBD_CMD_STOP_DEV, NULL, 0), 0);
	CHECK_EQ(io_uring_wait_cqe(&ring, &cqe), 0);
	CHECK_EQ(cqe->res, UBD_IO_RES_ABORT);
	io_uring_queue_exit(&ring);
	server_delete(&server);
}

static void a_commit_and_fetch_during_a_copy(void)
{
	a_fetch_waits_while_its_tag_is_held(true);
}

static void a_fetch_after_a_commit_during_a_copy(void)
{
	a_fetch_waits_while_its_tag_is_held(false);
}

/* FETCHes end at once, the request when the copy does. */
static void an_abort_during_a_copy_waits_for_it(void)
{
	struct missing missing;
	struct server server;
	int pid;

	run_copy_server(&server);
	pid = spawn_client(fail_to_write_kept);
	start_slow_copy(&missing, server.cdev);
	close(server.control);
	for (int i = 0; i < server.info.nr_hw_queues; i++)
		CHECK_EQ(pthread_join(server.queues[i].thread, NULL), 0);
	CHECK_EQ(commit_kept(&server, KEPT_BYTES), UBD_IO_RES_ABORT);
	usleep(50000);
	CHECK(is_running(pid));
	end_slow_copy(&missing);
	check_exit(pid, 0);
	close(server.cdev);
}

/* ---- the server is killed in the middle of a copy ---- */

static void sleep_in_copy(struct server *server)
{
	struct missing missing;

	WAIT_UNTIL(get(&shared->nr_kept) > 0, AGE);
	start_slow_copy(&missing, server->cdev);
	set(&shared->left, true);
	pause();
}

static void serve_and_sleep(void *arg)
{
	struct server server;

	init_copy_server(&server);
	server.info.flags = *(uint64_t *)arg;
	server_run(&server);
	set(&shared->id, server.info.dev_id);
	sleep_in_copy(&server);
}

static int spawn_sleeper(uint64_t flags)
{
	share();
	return wait_for_server(spawn(serve_and_sleep, &flags));
}

static void a_server_killed_during_a_copy_fails_the_request(void)
{
	int server = spawn_sleeper(UBD_F_USER_COPY), client = spawn_client(fail_to_write_kept);

	WAIT_UNTIL(get(&shared->left), AGE);
	kill_server(server);
	check_exit(client, 0);
	WAIT_UNTIL(!exists(char_node(get(&shared->id))), AGE);
}

static void a_request_is_reissued_after_the_copy(void)
{
	int server = spawn_sleeper(REISSUE), client = spawn_client(write_kept);
	uint8_t *wanted = aligned(KEPT_BYTES);

	WAIT_UNTIL(get(&shared->left), AGE);
	kill_server(server);
	CHECK(is_running(client));
	set(&shared->keeps, false);
	server = spawn_next();
	check_exit(client, 0);
	fill_kept(wanted, KEPT_BYTES);
	CHECK(!memcmp(shared->disk + KEPT_SECTOR * 512, wanted, KEPT_BYTES));
	kill_server(server);
	delete_device();
}

/* Its copy would never end, and its request neither. */
static void a_server_that_sleeps_in_a_copy_is_killed(void)
{
	int server = spawn_sleeper(UBD_F_USER_COPY), client = spawn_client(fail_to_write_kept);

	WAIT_UNTIL(get(&shared->left), AGE);
	set_param("request_timeout", "1");
	check_exit(server, SIGKILL);
	set_param("request_timeout", "300");
	check_exit(client, 0);
	WAIT_UNTIL(!exists(char_node(get(&shared->id))), AGE);
}

/* Threads that hurry move the data of requests, while others commit and the end comes. */
struct race {
	struct server *server;
	bool ends;
};

static void *copy_anything(void *arg)
{
	struct race *race = arg;
	uint8_t *data = aligned(KEPT_BYTES);
	unsigned int seed = gettid();

	while (!__atomic_load_n(&race->ends, __ATOMIC_SEQ_CST)) {
		off_t off = ubd_data_offset(rand_r(&seed) % 2, rand_r(&seed) % 8);

		/* What a read gets is what the server's own thread puts there last, or this. */
		if (rand_r(&seed) % 2)
			(void)!pread(race->server->cdev, data, 4096, off);
		else
			(void)!pwrite(race->server->cdev, data, 512, off);
	}
	return NULL;
}

static void use_disk(void *arg)
{
	int disk = open(block_node(get(&shared->id)), O_RDWR | O_DIRECT);
	uint8_t *data = aligned(4096);

	for (int i = 0; disk >= 0; i++) {
		off_t off = (off_t)(i * 37 % 1024) * 4096;

		if ((i % 2 ? pwrite(disk, data, 4096, off) : pread(disk, data, 4096, off)) != 4096)
			break;
	}
}

static void copies_race_with_commits_and_the_end(void)
{
	for (int round = 0; round < 5; round++) {
		struct server server;
		struct race race = { .server = &server };
		pthread_t threads[3];
		int clients[2];

		run_copy_server(&server);
		for (int i = 0; i < 3; i++)
			CHECK_EQ(pthread_create(&threads[i], NULL, copy_anything, &race), 0);
		for (int i = 0; i < 2; i++)
			clients[i] = spawn(use_disk, NULL);
		set(&shared->keeps, false);
		usleep(50000 + round * 10000);
		CHECK_EQ(control(server.control, UBD_CMD_DEL_DEV, NULL, 0), 0);
		__atomic_store_n(&race.ends, true, __ATOMIC_SEQ_CST);
		for (int i = 0; i < 3; i++)
			CHECK_EQ(pthread_join(threads[i], NULL), 0);
		for (int i = 0; i < 2; i++)
			check_exit(clients[i], 0);
		for (int i = 0; i < server.info.nr_hw_queues; i++)
			CHECK_EQ(pthread_join(server.queues[i].thread, NULL), 0);
		close(server.cdev);
		close(server.control);
	}
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "a COMMIT during a copy ends the request after it",
		  a_commit_during_a_copy_ends_the_request_after_it },
		{ "a COMMIT_AND_FETCH during a copy waits for a request after it",
		  a_commit_and_fetch_during_a_copy },
		{ "a FETCH after a COMMIT during a copy does so too",
		  a_fetch_after_a_commit_during_a_copy },
		{ "an abort during a copy waits for it", an_abort_during_a_copy_waits_for_it },
		{ "a server killed during a copy fails the request",
		  a_server_killed_during_a_copy_fails_the_request },
		{ "a request is reissued after the copy", a_request_is_reissued_after_the_copy },
		{ "a server that sleeps in a copy is killed",
		  a_server_that_sleeps_in_a_copy_is_killed },
		{ "copies race with commits and the end", copies_race_with_commits_and_the_end },
	};

	return RUN_TESTS(tests, argc, argv);
}
