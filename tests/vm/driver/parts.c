// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A server that lives, but loses what it needs to serve: a thread or a ring with FETCHes, or its
 * program. death.c is about servers that are killed.
 */
#include "actors.h"
#include "batches.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Fetches every tag of every queue on one ring, in a thread that then ends. */
static void *fetch_all(void *arg)
{
	struct server *server = arg;
	struct io_uring *ring = &server->queues[0].ring;

	for (int q = 0; q < server->info.nr_hw_queues; q++)
		for (int tag = 0; tag < server->info.queue_depth; tag++)
			prep_io(io_uring_get_sqe(ring), server->cdev, UBD_IO_FETCH_REQ, q, tag, 0,
				server_buffer(&server->queues[q], tag));
	CHECK_EQ(io_uring_submit(ring), 16);
	return NULL;
}

/* A server without threads, whose only ring is its first queue's. */
static void open_with_one_ring(struct server *server)
{
	server_init(server);
	server_add(server);
	server_open(server);
	CHECK_EQ(io_uring_queue_init(16, &server->queues[0].ring, 0), 0);
}

/* Nobody can receive what the partition scan asks for, and the scan finds that out. */
static void check_start_fails(struct server *server)
{
	double start = now();

	CHECK_EQ(control(server->control, UBD_CMD_START_DEV, NULL, 0), -ENODEV);
	WAIT_UNTIL(get_state(server->control) == UBD_S_DEV_STOPPED, SOON);
	CHECK(now() - start < SOON);
}

static void the_thread_that_fetched_ends(void)
{
	struct server server;
	pthread_t thread;

	open_with_one_ring(&server);
	CHECK_EQ(pthread_create(&thread, NULL, fetch_all, &server), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	check_start_fails(&server);
}

/*
 * The one FETCH there is, on a ring whose task work only this thread may run, and it then ends. Of
 * batches both commands.
 */
static void *fetch_for_this_thread_only(void *arg)
{
	const unsigned int flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
	struct server *server = arg;
	struct server_queue *queue = &server->queues[0];
	struct ubd_batch_entry entry = {
		.flags = UBD_BATCH_FETCH,
		.addr = (uintptr_t)server_buffer(queue, 0),
	};
	struct batch batch;

	CHECK_EQ(io_uring_queue_init(16, &queue->ring, flags), 0);
	if (server->info.flags & UBD_F_BATCH) {
		prep_commit_batch(io_uring_get_sqe(&queue->ring), server->cdev, 0, &entry, 1);
		batch_init(&batch, &queue->ring, server->cdev, 0, 1, 1);
		batch_fetch(&batch);
	} else {
		prep_io(io_uring_get_sqe(&queue->ring), server->cdev, UBD_IO_FETCH_REQ, 0, 0, 0,
			server_buffer(queue, 0));
	}
	CHECK(io_uring_submit(&queue->ring) > 0);
	return NULL;
}

/* A request stays on its way to it forever, and nobody is told. */
static void the_only_thread_that_can_be_told_ends(void)
{
	struct server server;
	pthread_t thread;

	server_init(&server);
	server.info.nr_hw_queues = 1;
	server.info.queue_depth = 1;
	server_add(&server);
	server_open(&server);
	CHECK_EQ(pthread_create(&thread, NULL, fetch_for_this_thread_only, &server), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	check_start_fails(&server);
}

static void a_ring_is_closed_with_its_fetches(void)
{
	struct server server;

	open_with_one_ring(&server);
	fetch_all(&server);
	io_uring_queue_exit(&server.queues[0].ring);
	check_start_fails(&server);
}

/* No request comes, so the kernel has to look for itself; it does so every half minute. */
static void a_ring_closed_in_silence_is_noticed(void)
{
	struct server server;

	open_with_one_ring(&server);
	fetch_all(&server);
	io_uring_queue_exit(&server.queues[0].ring);
	WAIT_UNTIL(get_state(server.control) == UBD_S_DEV_STOPPED, 45);
}

/* Serves until told to leave, with the FETCHes pending. */
static int leave_when_told(struct server *server, const struct ubdsrv_io_desc *desc,
			   uint8_t *buffer)
{
	if (desc->start_sector >= KEPT_SECTOR)
		syscall(SYS_exit, 0);
	return server_handle(server, desc, buffer);
}

/* The request is in the hands of a thread that is gone; the next one tells. */
static void a_queue_thread_ends_while_the_device_is_live(void)
{
	struct server server;
	int disk, client;

	share();
	server_init(&server);
	server.info.nr_hw_queues = 1;
	server.handle = leave_when_told;
	server_run(&server);
	shared->id = server.info.dev_id;
	client = spawn(hammer, NULL);
	disk = open_disk(server.info.dev_id, O_RDONLY);
	CHECK(pread(disk, aligned(4096), 4096, KEPT_SECTOR * 512) <= 0);
	close(disk);
	check_exit(client, 0);
	WAIT_UNTIL(get_state(server.control) == UBD_S_DEV_STOPPED, SOON);
}

/* Linux has a thread wait for its FETCHes before it executes another program. */
static void execute_with_fetches(void *arg)
{
	struct server server;
	struct io_uring ring;
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;

	open_with_one_ring(&server);
	fetch_all(&server);
	CHECK_EQ(io_uring_queue_init(2, &ring, 0), 0);
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, server.control, NULL, 0, 0);
	sqe->cmd_op = UBD_CMD_START_DEV;
	memset(sqe->cmd, 0, 16);
	CHECK_EQ(io_uring_submit(&ring), 1);
	CHECK_EQ(io_uring_wait_cqe(&server.queues[0].ring, &cqe), 0);
	execl("/bin/busybox", "busybox", "true", NULL);
	fail("no /bin/busybox");
}

static void a_server_executes_another_program(void)
{
	double start = now();

	check_exit(spawn(execute_with_fetches, NULL), 0);
	if (now() - start > SOON)
		fail("it took %.2f s", now() - start);
	WAIT_UNTIL(!exists("/dev/ubdc0"), SOON);
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "the thread that fetched ends", the_thread_that_fetched_ends },
		{ "the only thread that can be told ends", the_only_thread_that_can_be_told_ends },
		{ "a queue thread ends while the device is live",
		  a_queue_thread_ends_while_the_device_is_live },
		{ "a ring is closed with its FETCHes", a_ring_is_closed_with_its_fetches },
		{ "a server executes another program", a_server_executes_another_program },
		{ "a ring closed in silence is noticed", a_ring_closed_in_silence_is_noticed },
	};

	const struct test by_batches[] = {
		{ "the only thread that can be told ends", the_only_thread_that_can_be_told_ends },
	};
	int failed = RUN_TESTS(tests, argc, argv);

	return failed | RUN_TESTS_BY_BATCHES(by_batches, argc, argv);
}
