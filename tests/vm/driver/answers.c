// SPDX-License-Identifier: GPL-2.0-or-later
/* How a server's answers reach whoever asked: results, buffers that are gone, COMMIT and FETCH
 * apart. */
#include "lib.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- results and buffers ---- */

/* Sectors of whose requests fail_by_sector() makes something of. */
enum { GOOD, IO_ERROR, NO_SPACE, UNSUPPORTED, SHORT, LONG, TRY_AGAIN };

static int fail_by_sector(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	int result = server_handle(server, desc, buffer);

	switch (desc->start_sector / 1024) {
	case IO_ERROR:
		return -EIO;
	case NO_SPACE:
		return -ENOSPC;
	case UNSUPPORTED:
		return -EOPNOTSUPP;
	case SHORT:
		return result - 512;
	case LONG:
		return result + 512;
	case TRY_AGAIN:
		return -EAGAIN;
	default:
		return result;
	}
}

static void check_write_error(int disk, int place, int wanted)
{
	uint8_t *data = aligned(4096);
	ssize_t res = pwrite(disk, data, 4096, place * 1024 * 512);

	CHECK_EQ(res < 0 ? errno : 0, wanted);
	free(data);
}

static void the_servers_errors_reach_the_caller(void)
{
	struct server server;
	int disk;

	server_init(&server);
	server.handle = fail_by_sector;
	server_run(&server);
	disk = open_disk(server.info.dev_id, O_RDWR);
	check_write_error(disk, GOOD, 0);
	check_write_error(disk, IO_ERROR, EIO);
	check_write_error(disk, NO_SPACE, ENOSPC);
	check_write_error(disk, UNSUPPORTED, EOPNOTSUPP);
	check_write_error(disk, SHORT, EIO);
	check_write_error(disk, LONG, EIO);
	check_write_error(disk, TRY_AGAIN, EIO);
	check_write_error(disk, GOOD, 0);
	close(disk);
	server_delete(&server);
}

static int vanish_buffer(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	int result = server_handle(server, desc, buffer);

	if (desc->start_sector == 1024)
		CHECK_EQ(mprotect(buffer, server->info.max_io_bytes, PROT_NONE), 0);
	return result;
}

/* One tag, so that every request has the buffer that has gone. */
static void run_with_one_tag(struct server *server)
{
	server_init(server);
	server->info.nr_hw_queues = 1;
	server->info.queue_depth = 1;
	server->handle = vanish_buffer;
	server_run(server);
}

static void a_buffer_that_faults_fails_the_request_only(void)
{
	struct server server;
	uint8_t *data = aligned(4096);
	int disk;

	run_with_one_tag(&server);
	disk = open_disk(server.info.dev_id, O_RDWR);
	/* The COMMIT cannot take the data out, then the FETCH cannot bring any in. */
	CHECK(pread(disk, data, 4096, 1024 * 512) < 0);
	CHECK_EQ(errno, EIO);
	CHECK(pwrite(disk, data, 4096, 0) < 0);
	CHECK_EQ(errno, EIO);
	/* The same FETCH still waits, and works once its buffer is back. */
	CHECK_EQ(mprotect(server_buffer(&server.queues[0], 0), server.info.max_io_bytes,
			  PROT_READ | PROT_WRITE),
		 0);
	CHECK_EQ(pwrite(disk, data, 4096, 0), 4096);
	CHECK_EQ(pread(disk, data, 4096, 0), 4096);
	close(disk);
	server_delete(&server);
}

/* ---- a server by hand: one tag, one ring ---- */

struct hand {
	struct server server;
	struct io_uring ring;
	uint8_t *buffer;
};

static void hand_submit(struct hand *hand, uint32_t op, int32_t result)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&hand->ring);

	prep_io(sqe, hand->server.cdev, op, 0, 0, result, hand->buffer);
	CHECK_EQ(io_uring_submit(&hand->ring), 1);
}

static int hand_wait(struct hand *hand)
{
	struct io_uring_cqe *cqe;
	int res;

	CHECK_EQ(io_uring_wait_cqe(&hand->ring, &cqe), 0);
	res = cqe->res;
	io_uring_cqe_seen(&hand->ring, cqe);
	return res;
}

static void *start_thread(void *arg)
{
	server_start(arg);
	return NULL;
}

/* Serves by @op until START_DEV has found no partitions. */
static void hand_run(struct hand *hand, unsigned int ring_flags)
{
	struct server *server = &hand->server;
	struct io_uring_cqe *cqe;
	pthread_t thread;

	server_init(server);
	server->info.nr_hw_queues = 1;
	server->info.queue_depth = 1;
	server_add(server);
	server_open(server);
	hand->buffer = server_buffer(&server->queues[0], 0);
	CHECK_EQ(io_uring_queue_init(4, &hand->ring, ring_flags), 0);
	hand_submit(hand, UBD_IO_FETCH_REQ, 0);
	CHECK_EQ(pthread_create(&thread, NULL, start_thread, server), 0);
	while (get_state(server->control) != UBD_S_DEV_LIVE) {
		struct __kernel_timespec tick = { .tv_nsec = 1000000 };

		if (io_uring_wait_cqe_timeout(&hand->ring, &cqe, &tick))
			continue;
		CHECK_EQ(cqe->res, UBD_IO_RES_OK);
		io_uring_cqe_seen(&hand->ring, cqe);
		hand_submit(hand, UBD_IO_COMMIT_AND_FETCH_REQ,
			    server_handle(server, server->queues[0].descs, hand->buffer));
	}
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* Reads 4 KiB at 64 KiB in a process of its own, which exits with 0 if that works. */
static void read_some(void *arg)
{
	int disk = open_disk(*(uint32_t *)arg, O_RDONLY);

	CHECK_EQ(pread(disk, aligned(4096), 4096, 65536), 4096);
	close(disk);
}

static void hand_end(struct hand *hand)
{
	CHECK_EQ(control(hand->server.control, UBD_CMD_STOP_DEV, NULL, 0), 0);
	CHECK_EQ(hand_wait(hand), UBD_IO_RES_ABORT);
	CHECK_EQ(control(hand->server.control, UBD_CMD_DEL_DEV, NULL, 0), 0);
	io_uring_queue_exit(&hand->ring);
	close(hand->server.cdev);
	close(hand->server.control);
}

static void a_request_waits_for_the_fetch_after_commit(void)
{
	struct hand hand;
	uint32_t id;
	int first, second;

	hand_run(&hand, 0);
	id = hand.server.info.dev_id;
	first = spawn(read_some, &id);
	CHECK_EQ(hand_wait(&hand), UBD_IO_RES_OK);
	hand_submit(&hand, UBD_IO_COMMIT_REQ, 4096);
	CHECK_EQ(hand_wait(&hand), 0);
	check_exit(first, 0);

	/* Now the tag has no FETCH; a request comes all the same. */
	second = spawn(read_some, &id);
	usleep(300000);
	hand_submit(&hand, UBD_IO_FETCH_REQ, 0);
	CHECK_EQ(hand_wait(&hand), UBD_IO_RES_OK);
	CHECK_EQ(hand.server.queues[0].descs[0].start_sector, 128);
	hand_submit(&hand, UBD_IO_COMMIT_AND_FETCH_REQ, 4096);
	check_exit(second, 0);
	hand_end(&hand);
}

/* It has no answer of its own before the next request is there, which its descriptor tells (R8). */
static void r7_one_command_answers_and_asks_again(void)
{
	const struct ubdsrv_io_desc *desc;
	struct hand hand;
	int reader;

	hand_run(&hand, 0);
	desc = &hand.server.queues[0].descs[0];
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(io_uring_cq_ready(&hand.ring), 0);
		reader = spawn(read_some, &hand.server.info.dev_id);
		CHECK_EQ(hand_wait(&hand), UBD_IO_RES_OK);
		CHECK_EQ(desc->op_flags, UBD_IO_OP_READ);
		CHECK_EQ(desc->start_sector, 65536 / 512);
		CHECK_EQ(desc->nr_sectors, 4096 / 512);
		CHECK_EQ(desc->addr, (uintptr_t)hand.buffer);
		hand_submit(&hand, UBD_IO_COMMIT_AND_FETCH_REQ, 4096);
		check_exit(reader, 0);
	}
	hand_end(&hand);
}

static void serve_one_read(unsigned int ring_flags)
{
	struct hand hand;
	int reader;

	hand_run(&hand, ring_flags);
	reader = spawn(read_some, &hand.server.info.dev_id);
	CHECK_EQ(hand_wait(&hand), UBD_IO_RES_OK);
	hand_submit(&hand, UBD_IO_COMMIT_AND_FETCH_REQ, 4096);
	check_exit(reader, 0);
	hand_end(&hand);
}

static void a_ring_that_defers_its_task_work_serves(void)
{
	serve_one_read(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
}

static void a_ring_with_a_polling_kernel_thread_serves(void)
{
	serve_one_read(IORING_SETUP_SQPOLL);
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "the server's errors reach the caller", the_servers_errors_reach_the_caller },
		{ "a buffer that faults fails the request only",
		  a_buffer_that_faults_fails_the_request_only },
		{ "a request waits for the FETCH after COMMIT_REQ",
		  a_request_waits_for_the_fetch_after_commit },
		{ "R7: one command answers and asks again", r7_one_command_answers_and_asks_again },
		{ "a ring that defers its task work serves",
		  a_ring_that_defers_its_task_work_serves },
		{ "a ring with a polling kernel thread serves",
		  a_ring_with_a_polling_kernel_thread_serves },
	};

	return RUN_TESTS(tests, argc, argv);
}
