// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Asynchronous I/O whose completion drops the last reference to a file. Requests end in a thread of
 * the server, which must not be the one that releases the file, because a release may wait for I/O
 * on the server's own disk.
 */
#include "actors.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#define FILE_BYTES  (1 << 20)
#define DIRTY_BYTES (FILE_BYTES / 2)
#define DIRTY_OFF   (1 << 20)

/* ---- users ---- */

static aio_context_t new_context(void)
{
	aio_context_t context = 0;

	CHECK_EQ(syscall(SYS_io_setup, 1, &context), 0);
	return context;
}

/* Reads the first 4 KiB. */
static void submit_read(aio_context_t context, int fd, void *data)
{
	struct iocb read = {
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_fildes = fd,
		.aio_buf = (uintptr_t)data,
		.aio_nbytes = 4096,
	};
	struct iocb *reads[] = { &read };

	CHECK_EQ(syscall(SYS_io_submit, context, 1, reads), 1);
}

static void wait_for_read(aio_context_t context, int result)
{
	struct timespec limit = { .tv_sec = AGE };
	struct io_event event;

	CHECK_EQ(syscall(SYS_io_getevents, context, 1, 1, &event, &limit), 1);
	CHECK_EQ(event.res, result);
}

static int open_direct(const char *path)
{
	int fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
}

/*
 * A file without a name whose first block is on the disk and whose others are dirty pages: its
 * release waits until the pages under writeback have been written.
 */
static int open_unlinked(int *ret_buffered)
{
	static char data[FILE_BYTES];
	int fd;

	*ret_buffered = open("/mnt/file", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CHECK(*ret_buffered >= 0);
	memset(data, 0xa5, sizeof(data));
	CHECK_EQ(write(*ret_buffered, data, sizeof(data)), sizeof(data));
	CHECK_EQ(fsync(*ret_buffered), 0);
	CHECK_EQ(pwrite(*ret_buffered, data, DIRTY_BYTES, FILE_BYTES - DIRTY_BYTES), DIRTY_BYTES);
	fd = open_direct("/mnt/file");
	CHECK_EQ(unlink("/mnt/file"), 0);
	return fd;
}

/* A disk with a dirty page and no other opener: its release writes the page. */
static int open_dirty_disk(void)
{
	const char *node = block_node(get(&shared->id));
	int buffered, fd = open_direct(node);
	char data[4096];

	buffered = open(node, O_RDWR | O_CLOEXEC);
	CHECK(buffered >= 0);
	memset(data, 0xa5, sizeof(data));
	CHECK_EQ(pwrite(buffered, data, sizeof(data), DIRTY_OFF), sizeof(data));
	close(buffered);
	return fd;
}

/* All requests reach the server by one queue, and are served by one thread. */
static void stay_on_one_cpu(void)
{
	cpu_set_t first;

	CPU_ZERO(&first);
	CPU_SET(0, &first);
	CHECK_EQ(sched_setaffinity(0, sizeof(first), &first), 0);
}

static void read_unlinked_files(void *arg)
{
	aio_context_t context = new_context();
	char *data = aligned(4096);

	stay_on_one_cpu();
	for (int i = 0; i < 10; i++) {
		int buffered, fd = open_unlinked(&buffered);

		set(&shared->keeps, true);
		submit_read(context, fd, data);
		CHECK_EQ(sync_file_range(buffered, 0, 0, SYNC_FILE_RANGE_WRITE), 0);
		close(buffered);
		close(fd);
		set(&shared->keeps, false);
		wait_for_read(context, 4096);
		CHECK_EQ(data[4095], (char)0xa5);
	}
	sync();
	/* Another process releases the last file, later. */
	WAIT_UNTIL(umount("/mnt") == 0, AGE);
	set(&shared->left, true);
}

static void read_dirty_disks(void *arg)
{
	aio_context_t context = new_context();
	char *data = aligned(4096);

	for (int i = 0; i < 10; i++) {
		int fd = open_dirty_disk();

		set(&shared->keeps, true);
		submit_read(context, fd, data);
		close(fd);
		set(&shared->keeps, false);
		wait_for_read(context, 4096);
	}
	set(&shared->left, true);
}

/* ---- a server that answers ---- */

/*
 * Answers a read when the user has closed the file; or after a second, because the user may first
 * have to wait for another request of this queue.
 */
static int read_late(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	if (ubd_desc_op(desc) == UBD_IO_OP_READ)
		for (int left = NR_SLEEPS(1); left && get(&shared->keeps); left--)
			usleep(2000);
	return server_handle(server, desc, buffer);
}

static void serve_late(void *arg)
{
	struct server server;

	init_server(&server);
	server.handle = read_late;
	server_run(&server);
	serve_for_ever(&server);
}

/* The server goes on serving while @use drops last references. */
static void check_served(int server, void (*use)(void *arg))
{
	int user = spawn(use, NULL);

	WAIT_UNTIL(get(&shared->left), 4 * AGE);
	check_exit(user, 0);
	kill_server(server);
	check_gone(shared->id);
}

static int spawn_late_server(void)
{
	share();
	set(&shared->keeps, false);
	return wait_for_server(spawn(serve_late, NULL));
}

static void a_file_without_a_name_is_released_by_somebody_else(void)
{
	int server = spawn_late_server();

	make_file_system(shared->id);
	mount_disk(shared->id);
	check_served(server, read_unlinked_files);
}

static void a_disk_with_a_dirty_page_is_released_by_somebody_else(void)
{
	check_served(spawn_late_server(), read_dirty_disks);
}

/* ---- a server that ends ---- */

/*
 * The server has the read, which ends with @arg's result when it may; no other process has the disk
 * open.
 */
static void leave_read(void *arg)
{
	aio_context_t context = new_context();
	int fd = open_dirty_disk();

	set(&shared->keeps, true);
	submit_read(context, fd, aligned(4096));
	WAIT_UNTIL(get(&shared->nr_kept) > 0, AGE);
	close(fd);
	set(&shared->left, true);
	WAIT_UNTIL(get(&shared->release), AGE);
	wait_for_read(context, *(int *)arg);
}

static int keep_reads(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	if (get(&shared->keeps) && ubd_desc_op(desc) == UBD_IO_OP_READ)
		return keep_all(server, desc, buffer);
	return server_handle(server, desc, buffer);
}

static void serve_but_reads(void *arg)
{
	struct server server;

	init_server(&server);
	server.info.flags = *(uint64_t *)arg;
	server.handle = keep_reads;
	server_run(&server);
	serve_for_ever(&server);
}

/* Also its user's, whose read is due a @result. */
static int spawn_busy_server(void (*serve)(void *arg), uint64_t flags, int result, int *ret_user)
{
	int server;

	share();
	set(&shared->keeps, false);
	server = wait_for_server(spawn(serve, &flags));
	*ret_user = spawn(leave_read, &result);
	WAIT_UNTIL(get(&shared->left), AGE);
	return server;
}

static void an_abort_ends_before_the_release(void)
{
	int user, server = spawn_busy_server(serve_but_reads, 0, -EIO, &user);

	kill_server(server);
	set(&shared->release, true);
	check_exit(user, 0);
	check_gone(shared->id);
}

/* The next server can come although the release waits for it. */
static void check_next_server(int user, bool writes)
{
	int server;

	set(&shared->keeps, false);
	server = spawn_next();
	set(&shared->release, true);
	check_exit(user, 0);
	if (writes)
		WAIT_UNTIL(shared->disk[DIRTY_OFF] == 0xa5, AGE);
	kill_server(server);
	delete_device();
}

static void a_read_that_fails_does_so_for_the_next_server(void)
{
	int user, server = spawn_busy_server(serve_but_reads, UBD_F_USER_RECOVERY, -EIO, &user);

	kill_server(server);
	check_next_server(user, true);
}

static void a_read_is_reissued_to_the_next_server(void)
{
	uint64_t flags = UBD_F_USER_RECOVERY | UBD_F_USER_RECOVERY_REISSUE;
	int user, server = spawn_busy_server(serve_but_reads, flags, 4096, &user);

	kill_server(server);
	check_next_server(user, true);
}

static void pass(void *arg)
{
}

static void what_fails_at_once_is_released_at_once(void)
{
	uint64_t flags = UBD_F_USER_RECOVERY | UBD_F_USER_RECOVERY_FAIL_IO;
	int user, server = spawn_busy_server(serve_but_reads, flags, -EIO, &user);

	kill_server(server);
	set(&shared->release, true);
	check_exit(user, 0);
	user = spawn(pass, NULL);
	check_next_server(user, false);
}

static void a_device_without_a_next_server_ends(void)
{
	int user, server = spawn_busy_server(serve_but_reads, UBD_F_USER_RECOVERY, -EIO, &user);

	kill_server(server);
	delete_device();
	set(&shared->release, true);
	check_exit(user, 0);
}

/* ---- a server that is told to leave ---- */

static int answer_when_told(struct server *server, const struct ubdsrv_io_desc *desc,
			    uint8_t *buffer)
{
	if (get(&shared->keeps) && ubd_desc_op(desc) == UBD_IO_OP_READ) {
		set(&shared->nr_kept, 1);
		WAIT_UNTIL(!get(&shared->keeps), AGE);
	}
	return server_handle(server, desc, buffer);
}

static void serve_until_told(void *arg)
{
	struct server server;

	init_server(&server);
	server.info.flags = *(uint64_t *)arg;
	server.handle = answer_when_told;
	server_run(&server);
	set(&shared->id, server.info.dev_id);
	for (int i = 0; i < server.info.nr_hw_queues; i++)
		CHECK_EQ(pthread_join(server.queues[i].thread, NULL), 0);
}

static void tell_to_leave(void *arg)
{
	int fd = open_dev(get(&shared->id));

	CHECK(fd >= 0);
	CHECK_EQ(control(fd, UBD_CMD_QUIESCE, NULL, 0), 0);
}

static bool is_leaving(void)
{
	int fd = open_dev(get(&shared->id)), state = get_state(fd);

	close(fd);
	return state == UBD_S_DEV_QUIESCED;
}

/* It answers the read, the last, when the dirty page has to wait for the next server already. */
static void a_server_that_is_told_to_leave_can(void)
{
	int user, server, quiesce;

	server = spawn_busy_server(serve_until_told, UBD_F_USER_RECOVERY, 4096, &user);
	quiesce = spawn(tell_to_leave, NULL);
	WAIT_UNTIL(is_leaving(), AGE);
	set(&shared->keeps, false);
	check_exit(server, 0);
	check_exit(quiesce, 0);
	check_next_server(user, true);
}

static const struct test tests[] = {
	{ "a file without a name is released by somebody else",
	  a_file_without_a_name_is_released_by_somebody_else },
	{ "a disk with a dirty page is released by somebody else",
	  a_disk_with_a_dirty_page_is_released_by_somebody_else },
	{ "an abort ends before the release", an_abort_ends_before_the_release },
	{ "a read that fails does so for the next server",
	  a_read_that_fails_does_so_for_the_next_server },
	{ "a read is reissued to the next server", a_read_is_reissued_to_the_next_server },
	{ "what fails at once is released at once", what_fails_at_once_is_released_at_once },
	{ "a device without a next server ends", a_device_without_a_next_server_ends },
	{ "a server that is told to leave can", a_server_that_is_told_to_leave_can },
};

int main(int argc, char **argv)
{
	int failed = RUN_TESTS(tests, argc, argv);

	/* A batch of requests ends in another function. */
	return failed | RUN_TESTS_BY_BATCHES(tests, argc, argv);
}
