// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How a server's answers reach the requests: results, buffers that have disappeared, COMMIT and
 * FETCH as separate commands.
 */
#include "hand.h"

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

/* ---- COMMIT and FETCH ---- */

static void a_request_waits_for_the_fetch_after_commit(void)
{
	struct hand hand;
	int first, second;

	hand_run(&hand, 0);
	first = hand_spawn_reader(&hand);
	CHECK_EQ(hand_wait(&hand), UBD_IO_RES_OK);
	hand_submit(&hand, UBD_IO_COMMIT_REQ, 4096);
	CHECK_EQ(hand_wait(&hand), 0);
	check_exit(first, 0);

	/* Now the tag has no FETCH; a request comes all the same. */
	second = hand_spawn_reader(&hand);
	usleep(300000);
	hand_submit(&hand, UBD_IO_FETCH_REQ, 0);
	CHECK_EQ(hand_wait(&hand), UBD_IO_RES_OK);
	CHECK_EQ(hand_desc(&hand)->start_sector, 128);
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
	desc = hand_desc(&hand);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(io_uring_cq_ready(&hand.ring), 0);
		reader = hand_spawn_reader(&hand);
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

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "the server's errors reach the caller", the_servers_errors_reach_the_caller },
		{ "a buffer that faults fails the request only",
		  a_buffer_that_faults_fails_the_request_only },
		{ "a request waits for the FETCH after COMMIT_REQ",
		  a_request_waits_for_the_fetch_after_commit },
		{ "R7: one command answers and asks again", r7_one_command_answers_and_asks_again },
	};

	return RUN_TESTS(tests, argc, argv);
}
