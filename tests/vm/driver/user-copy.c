// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * UBD_F_USER_COPY: the server moves the data of requests by pread() and pwrite() of ubdcN.
 * slow-copy.c is about copies that take time.
 */
#include "kept.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

/* ---- moving data ---- */

static void what_is_written_is_read(void)
{
	struct server server;
	int disk;

	run_copy_server(&server);
	disk = open_disk(server.info.dev_id, O_RDWR);
	check_write_and_read(&server, disk);
	close(disk);
	server_delete(&server);
}

static ssize_t ring_rw(int fd, void *data, size_t bytes, off_t off, bool writes)
{
	struct io_uring ring;
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	ssize_t res;

	CHECK_EQ(io_uring_queue_init(1, &ring, 0), 0);
	sqe = io_uring_get_sqe(&ring);
	if (writes)
		io_uring_prep_write(sqe, fd, data, bytes, off);
	else
		io_uring_prep_read(sqe, fd, data, bytes, off);
	/* Inline: what is there at once was not done by a worker. */
	CHECK_EQ(io_uring_submit(&ring), 1);
	CHECK_EQ(io_uring_peek_cqe(&ring, &cqe), 0);
	res = cqe->res;
	io_uring_queue_exit(&ring);
	return res;
}

static ssize_t three_parts(ssize_t (*move)(int, const struct iovec *, int, off_t), int fd,
			   uint8_t *data, size_t bytes, off_t off)
{
	struct iovec parts[] = { { data, 1 }, { data + 1, 5000 }, { data + 5001, bytes - 5001 } };

	return move(fd, parts, 3, off);
}

static void a_write_is_taken_in_parts(void)
{
	uint8_t *data = aligned(KEPT_BYTES), *wanted = aligned(KEPT_BYTES);
	struct server server;
	off_t off;
	int pid;

	run_copy_server(&server);
	fill_kept(wanted, KEPT_BYTES);
	pid = spawn_client(write_kept);
	off = kept_data();
	CHECK_EQ(pread(server.cdev, data, 513, off), 513);
	CHECK_EQ(three_parts(preadv, server.cdev, data + 513, 20000, off + 513), 20000);
	CHECK_EQ(ring_rw(server.cdev, data + 20513, 30000, off + 20513, false), 30000);
	CHECK_EQ(pread(server.cdev, data + 50513, KEPT_BYTES - 50513, off + 50513),
		 KEPT_BYTES - 50513);
	CHECK(!memcmp(data, wanted, KEPT_BYTES));
	CHECK_EQ(commit_kept(&server, KEPT_BYTES), 0);
	check_exit(pid, 0);
	server_delete(&server);
}

/* Last part first. */
static void a_read_is_given_in_parts(void)
{
	uint8_t *data = aligned(KEPT_BYTES);
	struct server server;
	off_t off;
	int pid;

	run_copy_server(&server);
	fill_kept(data, KEPT_BYTES);
	pid = spawn_client(read_kept);
	off = kept_data();
	CHECK_EQ(pwrite(server.cdev, data + 50513, KEPT_BYTES - 50513, off + 50513),
		 KEPT_BYTES - 50513);
	CHECK_EQ(ring_rw(server.cdev, data + 20513, 30000, off + 20513, true), 30000);
	CHECK_EQ(three_parts(pwritev, server.cdev, data + 513, 20000, off + 513), 20000);
	CHECK_EQ(pwrite(server.cdev, data, 513, off), 513);
	CHECK_EQ(commit_kept(&server, KEPT_BYTES), 0);
	check_exit(pid, 0);
	server_delete(&server);
}

/* The copy is short, or fails; the request does not. */
static void memory_that_faults_fails_the_copy_only(void)
{
	uint8_t *data = map_pages(8192);
	struct server server;
	int pid;

	run_copy_server(&server);
	CHECK_EQ(mprotect(data + 4096, 4096, PROT_NONE), 0);
	pid = spawn_client(write_kept);
	CHECK_EQ(pread(server.cdev, data, 8192, kept_data()), 4096);
	CHECK(pread(server.cdev, data + 4096, 4096, kept_data()) < 0);
	CHECK_EQ(errno, EFAULT);
	CHECK_EQ(commit_kept(&server, KEPT_BYTES), 0);
	check_exit(pid, 0);
	server_delete(&server);
}

/* ---- what is refused ---- */

static void copy_from_child(void *arg)
{
	check_copies(*(int *)arg, kept_data(), 512, EPERM, EPERM);
}

static void copies_of_what_the_server_has_not_are_refused(void)
{
	struct server server;
	int pid, cdev;
	off_t off;

	run_copy_server(&server);
	cdev = server.cdev;
	pid = spawn_client(write_kept);
	off = kept_data();
	check_copies(cdev, off, 512, 0, EINVAL);
	check_copies(cdev, off + KEPT_BYTES - 512, 512, 0, EINVAL);
	check_copies(cdev, off + KEPT_BYTES - 511, 512, EINVAL, EINVAL);
	check_copies(cdev, off, KEPT_BYTES + 1, EINVAL, EINVAL);
	check_copies(cdev, off + KEPT_BYTES, 1, EINVAL, EINVAL);
	check_copies(cdev, ubd_data_offset(get(&shared->q_id), (get(&shared->tag) + 1) % 8), 512,
		     EINVAL, EINVAL);
	check_copies(cdev, ubd_data_offset(get(&shared->q_id), 8), 512, EINVAL, EINVAL);
	check_copies(cdev, ubd_data_offset(2, get(&shared->tag)), 512, EINVAL, EINVAL);
	check_copies(cdev, off | 1ull << 49, 512, EINVAL, EINVAL);
	check_copies(cdev, off | 1ull << 62, 512, EINVAL, EINVAL);
	check_exit(spawn(copy_from_child, &cdev), 0);
	CHECK(is_running(pid));
	CHECK_EQ(commit_kept(&server, KEPT_BYTES), 0);
	check_exit(pid, 0);
	check_copies(cdev, off, 512, EINVAL, EINVAL);

	pid = spawn_client(read_kept);
	fill_kept(shared->disk, KEPT_BYTES);
	off = kept_data();
	check_copies(cdev, off, 512, EINVAL, 0);
	CHECK_EQ(pwrite(cdev, shared->disk, KEPT_BYTES, off), KEPT_BYTES);
	CHECK_EQ(commit_kept(&server, KEPT_BYTES), 0);
	check_exit(pid, 0);
	CHECK_EQ(control(server.control, UBD_CMD_STOP_DEV, NULL, 0), 0);
	check_copies(cdev, off, 512, ENODEV, ENODEV);
	server_delete(&server);
}

static void it_is_the_device_that_copies_or_the_server(void)
{
	struct server server;
	uint8_t buffer[512];
	uint64_t features;
	int fd = open("/dev/ubd-control", O_RDWR);

	CHECK_EQ(control(fd, UBD_CMD_GET_FEATURES, &features, sizeof(features)), 0);
	CHECK(features & UBD_F_USER_COPY);
	close(fd);

	server_init(&server);
	server_run(&server);
	check_copies(server.cdev, 0, 512, EINVAL, EINVAL);
	server_delete(&server);

	share();
	init_kept_server(&server, UBD_F_USER_COPY);
	server_add(&server);
	server_open(&server);
	CHECK_EQ(io_command(server.cdev, UBD_IO_FETCH_REQ, 0, 0, 0, buffer), -EINVAL);
	CHECK_EQ(io_command(server.cdev, UBD_IO_COMMIT_AND_FETCH_REQ, 0, 0, 0, buffer), -EINVAL);
	server_serve(&server);
	server_start(&server);
	server_delete(&server);
}

/* A file that OPEN_CHAR made takes copies as the node does. */
static void copies_need_no_node(void)
{
	struct server server;
	int disk;

	share();
	init_kept_server(&server, UBD_F_USER_COPY);
	server_add(&server);
	server_open_by_control(&server);
	server_serve(&server);
	server_start(&server);
	disk = open_disk(server.info.dev_id, O_RDWR);
	CHECK_EQ(pwrite(disk, aligned(4096), 4096, 0), 4096);
	CHECK_EQ(pread(disk, aligned(4096), 4096, 0), 4096);
	close(disk);
	server_delete(&server);
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "what is written is read", what_is_written_is_read },
		{ "a write is taken in parts", a_write_is_taken_in_parts },
		{ "a read is given in parts", a_read_is_given_in_parts },
		{ "memory that faults fails the copy only",
		  memory_that_faults_fails_the_copy_only },
		{ "copies of what the server has not are refused",
		  copies_of_what_the_server_has_not_are_refused },
		{ "it is the device that copies or the server",
		  it_is_the_device_that_copies_or_the_server },
		{ "copies need no node", copies_need_no_node },
	};

	return RUN_TESTS(tests, argc, argv);
}
