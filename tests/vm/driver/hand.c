// SPDX-License-Identifier: GPL-2.0-or-later
/* A server by hand, see hand.h. */
#include "hand.h"

#include <fcntl.h>
#include <unistd.h>

void hand_open(struct hand *hand)
{
	struct server *server = &hand->server;

	hand->sqe_flags = 0;
	server_init(server);
	server->info.nr_hw_queues = 1;
	server->info.queue_depth = 1;
	server_add(server);
	server_open(server);
	hand->buffer = server_buffer(&server->queues[0], 0);
}

static void *start_thread(void *arg)
{
	server_start(arg);
	return NULL;
}

void hand_start(struct hand *hand)
{
	struct server *server = &hand->server;
	struct io_uring_cqe *cqe;
	pthread_t thread;

	hand_submit(hand, UBD_IO_FETCH_REQ, 0);
	CHECK_EQ(pthread_create(&thread, NULL, start_thread, server), 0);
	while (get_state(server->control) != UBD_S_DEV_LIVE) {
		struct __kernel_timespec tick = { .tv_nsec = 1000000 };

		if (io_uring_wait_cqe_timeout(&hand->ring, &cqe, &tick))
			continue;
		CHECK_EQ(cqe->res, UBD_IO_RES_OK);
		io_uring_cqe_seen(&hand->ring, cqe);
		hand_submit(hand, UBD_IO_COMMIT_AND_FETCH_REQ,
			    server_handle(server, hand_desc(hand), hand->buffer));
	}
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

void hand_run(struct hand *hand, unsigned int ring_flags)
{
	hand_open(hand);
	CHECK_EQ(io_uring_queue_init(4, &hand->ring, ring_flags), 0);
	hand_start(hand);
}

struct io_uring_sqe *hand_prepare(struct hand *hand, uint32_t op, int32_t result)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&hand->ring);
	int file = hand->sqe_flags & IOSQE_FIXED_FILE ? 0 : hand->server.cdev;

	CHECK(sqe);
	prep_io(sqe, file, op, 0, 0, result, hand->buffer);
	sqe->flags = hand->sqe_flags;
	return sqe;
}

void hand_submit(struct hand *hand, uint32_t op, int32_t result)
{
	hand_prepare(hand, op, result);
	CHECK_EQ(io_uring_submit(&hand->ring), 1);
}

int hand_wait(struct hand *hand)
{
	struct io_uring_cqe *cqe;
	int res;

	CHECK_EQ(io_uring_wait_cqe(&hand->ring, &cqe), 0);
	res = cqe->res;
	io_uring_cqe_seen(&hand->ring, cqe);
	return res;
}

const struct ubdsrv_io_desc *hand_desc(const struct hand *hand)
{
	return &hand->server.queues[0].descs[0];
}

static void read_some(void *arg)
{
	int disk = open_disk(*(uint32_t *)arg, O_RDONLY);

	CHECK_EQ(pread(disk, aligned(4096), 4096, 65536), 4096);
	close(disk);
}

int hand_spawn_reader(struct hand *hand)
{
	return spawn(read_some, &hand->server.info.dev_id);
}

void hand_end(struct hand *hand)
{
	CHECK_EQ(control(hand->server.control, UBD_CMD_STOP_DEV, NULL, 0), 0);
	CHECK_EQ(hand_wait(hand), UBD_IO_RES_ABORT);
	CHECK_EQ(control(hand->server.control, UBD_CMD_DEL_DEV, NULL, 0), 0);
	io_uring_queue_exit(&hand->ring);
	close(hand->server.cdev);
	close(hand->server.control);
}
