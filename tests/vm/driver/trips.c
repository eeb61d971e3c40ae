// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Not a test but a measurement, for R7 in docs/protocol.md: what one trip to the kernel
 * for a request saves against two, and what batching saves. One queue whose server answers
 * at once, one client with 32 reads of 4 KiB in flight. The best of some rounds counts,
 * since whatever else the host does only ever slows it down.
 */
#include "lib.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define DEPTH	32
#define SECONDS 1.0
#define ROUNDS	3

static const struct way {
	const char *name;
	bool two_commands; /* COMMIT_REQ and FETCH_REQ, not COMMIT_AND_FETCH_REQ */
	bool one_by_one;   /* a system call for each command */
} ways[] = {
	{ "one command, all in one call", false, false },
	{ "two commands, all in one call", true, false },
	{ "one command, each in a call (as ioctl)", false, true },
	{ "two commands, each in a call (as write and read)", true, true },
};

#define NR_WAYS (sizeof(ways) / sizeof(ways[0]))

struct best {
	double rate; /* reads a second */
	double cpu;  /* seconds of the server's thread for a read */
};

static struct server server;
static const struct way *way;
static double cpu_seconds; /* of the server's thread */

static void send_command(uint32_t op, uint16_t tag, int flags)
{
	struct server_queue *queue = &server.queues[0];
	struct io_uring_sqe *sqe = io_uring_get_sqe(&queue->ring);

	prep_io(sqe, server.cdev, op, 0, tag, queue->descs[tag].nr_sectors * 512,
		server_buffer(queue, tag));
	sqe->flags = flags;
	if (way->one_by_one)
		CHECK_EQ(io_uring_submit(&queue->ring), 1);
}

static void answer(uint16_t tag)
{
	if (!way->two_commands) {
		send_command(UBD_IO_COMMIT_AND_FETCH_REQ, tag, 0);
		return;
	}
	send_command(UBD_IO_COMMIT_REQ, tag, IOSQE_CQE_SKIP_SUCCESS);
	send_command(UBD_IO_FETCH_REQ, tag, 0);
}

static double cpu_time(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void *serve(void *arg)
{
	struct io_uring *ring = &server.queues[0].ring;
	struct io_uring_cqe *cqe;
	int pending = DEPTH;

	CHECK_EQ(io_uring_queue_init(DEPTH * 2, ring, 0), 0);
	for (int tag = 0; tag < DEPTH; tag++)
		send_command(UBD_IO_FETCH_REQ, tag, 0);
	while (pending) {
		CHECK(io_uring_submit_and_wait(ring, 1) >= 0);
		while (io_uring_peek_cqe(ring, &cqe) == 0) {
			if (cqe->res == UBD_IO_RES_OK)
				answer(cqe->user_data);
			else
				pending--;
			io_uring_cqe_seen(ring, cqe);
		}
	}
	cpu_seconds = cpu_time();
	return NULL;
}

static void submit_read(struct io_uring *ring, int disk, uint8_t *buffer)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_read(sqe, disk, buffer, 4096, (off_t)(rand() % 4096) * 4096);
	io_uring_sqe_set_data(sqe, buffer);
}

/* Returns how many requests were answered. */
static long read_for_a_while(void)
{
	int disk = open_disk(server.info.dev_id, O_RDONLY);
	uint8_t *buffers = aligned(DEPTH * 4096);
	double end = now() + SECONDS;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	long nr = 0;

	CHECK_EQ(io_uring_queue_init(DEPTH, &ring, 0), 0);
	for (int i = 0; i < DEPTH; i++)
		submit_read(&ring, disk, buffers + i * 4096);
	while (now() < end) {
		CHECK(io_uring_submit_and_wait(&ring, 1) >= 0);
		while (io_uring_peek_cqe(&ring, &cqe) == 0) {
			CHECK_EQ(cqe->res, 4096);
			submit_read(&ring, disk, io_uring_cqe_get_data(cqe));
			io_uring_cqe_seen(&ring, cqe);
			nr++;
		}
	}
	io_uring_queue_exit(&ring);
	close(disk);
	return nr;
}

static void measure(const struct way *to_measure, struct best *best)
{
	long nr;

	way = to_measure;
	server_init(&server);
	server.info.nr_hw_queues = 1;
	server.info.queue_depth = DEPTH;
	server_add(&server);
	server_open(&server);
	CHECK_EQ(pthread_create(&server.queues[0].thread, NULL, serve, NULL), 0);
	server_start(&server);
	nr = read_for_a_while();
	server_delete(&server);
	if (nr / SECONDS > best->rate)
		best->rate = nr / SECONDS;
	if (!best->cpu || cpu_seconds / nr < best->cpu)
		best->cpu = cpu_seconds / nr;
}

static void measure_each_way(void)
{
	struct best best[NR_WAYS] = {};

	for (int round = 0; round < ROUNDS; round++)
		for (size_t i = 0; i < NR_WAYS; i++)
			measure(&ways[i], &best[i]);
	for (size_t i = 0; i < NR_WAYS; i++)
		printf("%-50s %7.0f reads/s, server %5.1f us of CPU each\n", ways[i].name,
		       best[i].rate, best[i].cpu * 1e6);
}

int main(int argc, char **argv)
{
	const struct test tests[] = { { "one trip is measured against two", measure_each_way } };

	return RUN_TESTS(tests, argc, argv);
}
