// SPDX-License-Identifier: GPL-2.0-or-later
/* What reaches the server: operations, flags, limits. Answers are in answers.c. */
#include "actors.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <unistd.h>

#define FLAGS (UBD_IO_F_FUA | UBD_IO_F_NOUNMAP)

/* The requests since forget(), as the server saw them. */
struct log {
	pthread_mutex_t lock;
	size_t nr;
	struct ubdsrv_io_desc descs[256];
};

static struct log requests = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void forget(void)
{
	pthread_mutex_lock(&requests.lock);
	requests.nr = 0;
	pthread_mutex_unlock(&requests.lock);
}

static int log_and_handle(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	CHECK_EQ(desc->addr, (uintptr_t)buffer);
	pthread_mutex_lock(&requests.lock);
	if (requests.nr < 256)
		requests.descs[requests.nr++] = *desc;
	pthread_mutex_unlock(&requests.lock);
	return server_handle(server, desc, buffer);
}

/* The n-th request was this one. */
static void check_request(size_t n, uint32_t op_flags, uint64_t sector, uint32_t nr_sectors)
{
	const struct ubdsrv_io_desc *desc = &requests.descs[n];

	CHECK(n < requests.nr);
	CHECK_EQ(desc->op_flags, op_flags);
	CHECK_EQ(desc->start_sector, sector);
	CHECK_EQ(desc->nr_sectors, nr_sectors);
}

/* A running server that logs, and its disk; the log is empty. */
static int run_logged(struct server *server, uint32_t attrs)
{
	int disk;

	server_init(server);
	server->params.attrs = attrs;
	server->handle = log_and_handle;
	server_run(server);
	disk = open_disk(server->info.dev_id, attrs & UBD_ATTR_READ_ONLY ? O_RDONLY : O_RDWR);
	forget();
	return disk;
}

static void fill(uint8_t *data, size_t size, unsigned int seed)
{
	for (size_t i = 0; i < size; i++)
		data[i] = rand_r(&seed) >> 8;
}

static void what_is_written_is_read(void)
{
	struct server server;
	int disk = run_logged(&server, 0);

	check_write_and_read(&server, disk);
	close(disk);
	server_delete(&server);
}

static void no_request_is_larger_than_allowed(void)
{
	uint8_t *data = aligned(1 << 20);
	struct server server;
	int disk = run_logged(&server, 0);
	uint64_t sectors = 0;

	CHECK_EQ(pwrite(disk, data, 1 << 20, 0), 1 << 20);
	for (size_t i = 0; i < requests.nr; i++) {
		CHECK(requests.descs[i].nr_sectors <= server.params.max_io_sectors);
		sectors += requests.descs[i].nr_sectors;
	}
	CHECK_EQ(sectors, 2048);
	close(disk);
	server_delete(&server);
}

static void many_requests_at_once_do_not_mix(void)
{
	enum { NR = 128, SIZE = 8192 };
	uint8_t *data = aligned(NR * SIZE);
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	struct server server;
	int disk = run_logged(&server, 0);

	CHECK_EQ(io_uring_queue_init(NR, &ring, 0), 0);
	fill(server.memory, NR * SIZE, 42);
	for (int i = 0; i < NR; i++)
		io_uring_prep_read(io_uring_get_sqe(&ring), disk, data + i * SIZE, SIZE,
				   (off_t)i * SIZE);
	CHECK_EQ(io_uring_submit(&ring), NR);
	for (int i = 0; i < NR; i++) {
		CHECK_EQ(io_uring_wait_cqe(&ring, &cqe), 0);
		CHECK_EQ(cqe->res, SIZE);
		io_uring_cqe_seen(&ring, cqe);
	}
	CHECK(!memcmp(data, server.memory, NR * SIZE));
	close(disk);
	server_delete(&server);
}

static void r8_the_descriptor_tells_it_all(void)
{
	struct server server;
	uint8_t *data = aligned(4096);
	int disk = run_logged(&server, UBD_ATTR_VOLATILE_CACHE | UBD_ATTR_FUA);
	int durable = open_disk(server.info.dev_id, O_WRONLY | O_DSYNC);

	CHECK_EQ(pwrite(disk, data, 4096, 8192), 4096);
	check_request(0, UBD_IO_OP_WRITE, 16, 8);
	CHECK_EQ(fsync(disk), 0);
	check_request(1, UBD_IO_OP_FLUSH, 0, 0);
	CHECK_EQ(pwrite(durable, data, 4096, 4096), 4096);
	check_request(2, UBD_IO_OP_WRITE | UBD_IO_F_FUA, 8, 8);
	close(durable);
	close(disk);
	server_delete(&server);
}

static void without_fua_a_flush_follows(void)
{
	struct server server;
	uint8_t *data = aligned(4096);
	int disk = run_logged(&server, UBD_ATTR_VOLATILE_CACHE);
	int durable = open_disk(server.info.dev_id, O_WRONLY | O_DSYNC);

	CHECK_EQ(pwrite(durable, data, 4096, 4096), 4096);
	check_request(0, UBD_IO_OP_WRITE, 8, 8);
	check_request(1, UBD_IO_OP_FLUSH, 0, 0);
	close(durable);
	close(disk);
	server_delete(&server);
}

static void without_a_cache_no_flush_comes(void)
{
	struct server server;
	uint8_t *data = aligned(4096);
	int disk = run_logged(&server, 0);

	CHECK_EQ(pwrite(disk, data, 4096, 0), 4096);
	CHECK_EQ(fsync(disk), 0);
	check_request(0, UBD_IO_OP_WRITE, 0, 8);
	CHECK_EQ(requests.nr, 1);
	close(disk);
	server_delete(&server);
}

static void discard_and_write_zeroes_arrive(void)
{
	uint64_t range[2] = { 65536, 8192 };
	struct server server;
	int disk = run_logged(&server, 0);

	CHECK_EQ(ioctl(disk, BLKDISCARD, range), 0);
	check_request(0, UBD_IO_OP_DISCARD, 128, 16);
	CHECK_EQ(ioctl(disk, BLKZEROOUT, range), 0);
	check_request(1, UBD_IO_OP_WRITE_ZEROES | UBD_IO_F_NOUNMAP, 128, 16);
	CHECK_EQ(fallocate(disk, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 65536, 8192), 0);
	check_request(2, UBD_IO_OP_WRITE_ZEROES, 128, 16);
	CHECK_EQ(requests.nr, 3);
	close(disk);
	server_delete(&server);
}

static void a_large_discard_is_split_at_the_limit(void)
{
	uint64_t range[2] = { 0, 4 << 20 };
	struct server server;
	int disk = run_logged(&server, 0);
	uint64_t sectors = 0;

	CHECK_EQ(ioctl(disk, BLKDISCARD, range), 0);
	for (size_t i = 0; i < requests.nr; i++) {
		CHECK_EQ(requests.descs[i].op_flags & ~FLAGS, UBD_IO_OP_DISCARD);
		CHECK(requests.descs[i].nr_sectors <= server.params.max_discard_sectors);
		sectors += requests.descs[i].nr_sectors;
	}
	CHECK_EQ(sectors, 8192);
	close(disk);
	server_delete(&server);
}

static void a_disk_without_discard_refuses_it(void)
{
	uint64_t range[2] = { 0, 4096 };
	struct server server;
	int disk;

	server_init(&server);
	server.params.max_discard_sectors = 0;
	server.params.discard_granularity = 0;
	server_run(&server);
	disk = open_disk(server.info.dev_id, O_RDWR);
	CHECK(ioctl(disk, BLKDISCARD, range) < 0);
	CHECK_EQ(errno, EOPNOTSUPP);
	close(disk);
	server_delete(&server);
}

static void a_read_only_disk_cannot_be_written(void)
{
	struct server server;
	int disk = run_logged(&server, UBD_ATTR_READ_ONLY);
	int writer = open(block_node(server.info.dev_id), O_WRONLY | O_DIRECT);
	int read_only = 0;

	CHECK_EQ(ioctl(disk, BLKROGET, &read_only), 0);
	CHECK_EQ(read_only, 1);
	/* Whether the open fails or the write depends on the kernel's version. */
	CHECK(writer < 0 || pwrite(writer, aligned(4096), 4096, 0) < 0);
	CHECK_EQ(requests.nr, 0);
	close(writer);
	close(disk);
	server_delete(&server);
}

/* A swap space of 64 pages. */
static void make_swap(uint8_t *memory)
{
	uint32_t header[3] = { 1, 63, 0 };

	memcpy(memory + 1024, header, sizeof(header));
	memcpy(memory + 4096 - 10, "SWAPSPACE2", 10);
}

/* That blk-mq has ended, well or not. */
static unsigned long nr_writes(uint32_t id)
{
	unsigned long nr = 0;
	char path[48];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/block/ubdb%u/stat", id);
	file = fopen(path, "re");
	CHECK(file);
	CHECK_EQ(fscanf(file, "%*u %*u %*u %*u %lu", &nr), 1);
	fclose(file);
	return nr;
}

/*
 * The block layer itself only warns of writes to such a disk. A file of the disk refuses them, and
 * so does a file system; swap does not.
 */
static void no_write_reaches_the_server_of_a_read_only_disk(void)
{
	uint8_t *pages = aligned(16 * 4096);
	struct server server;

	server_init(&server);
	server.params.attrs = UBD_ATTR_READ_ONLY;
	server.handle = log_and_handle;
	server_add(&server);
	make_swap(server.memory);
	server_open(&server);
	server_serve(&server);
	server_start(&server);
	forget();
	CHECK_EQ(swapon(block_node(server.info.dev_id), 0), 0);
	memset(pages, 0x5a, 16 * 4096);
	CHECK_EQ(madvise(pages, 16 * 4096, MADV_PAGEOUT), 0);
	CHECK_EQ(swapoff(block_node(server.info.dev_id)), 0);
	CHECK_EQ(pages[0], 0x5a);
	CHECK(nr_writes(server.info.dev_id));
	for (size_t i = 0; i < requests.nr; i++)
		CHECK_EQ(ubd_desc_op(&requests.descs[i]), UBD_IO_OP_READ);
	server_delete(&server);
}

static long queue_attribute(uint32_t id, const char *name)
{
	char path[96];
	long value = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/block/ubdb%u/queue/%s", id, name);
	file = fopen(path, "re");
	CHECK(file);
	CHECK_EQ(fscanf(file, "%ld", &value), 1);
	fclose(file);
	return value;
}

static void the_limits_are_those_of_the_parameters(void)
{
	struct server server;
	uint64_t size;
	uint32_t id;
	int disk;

	server_init(&server);
	server.params.attrs |= UBD_ATTR_ROTATIONAL;
	server.params.logical_block_size = 1024;
	server.params.max_io_sectors = 128;
	server_run(&server);
	id = server.info.dev_id;
	CHECK_EQ(queue_attribute(id, "logical_block_size"), 1024);
	CHECK_EQ(queue_attribute(id, "physical_block_size"), 4096);
	CHECK_EQ(queue_attribute(id, "minimum_io_size"), 4096);
	CHECK_EQ(queue_attribute(id, "optimal_io_size"), 65536);
	CHECK_EQ(queue_attribute(id, "max_hw_sectors_kb"), 64);
	CHECK_EQ(queue_attribute(id, "discard_granularity"), 4096);
	CHECK_EQ(queue_attribute(id, "discard_max_bytes"), 1 << 20);
	CHECK_EQ(queue_attribute(id, "write_zeroes_max_bytes"), 1 << 20);
	CHECK_EQ(queue_attribute(id, "rotational"), 1);
	CHECK_EQ(queue_attribute(id, "fua"), 1);

	disk = open_disk(id, O_RDONLY);
	CHECK_EQ(ioctl(disk, BLKGETSIZE64, &size), 0);
	CHECK_EQ(size, 16 << 20);
	close(disk);
	server_delete(&server);
}

/* The first sector holds a table with one partition, of 4096 sectors from 2048 on. */
static void partitions_are_found(void)
{
	const uint8_t entry[16] = { 0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0 };
	struct server server;
	char path[48];

	server_init(&server);
	server_add(&server);
	memcpy(server.memory + 446, entry, sizeof(entry));
	memcpy(server.memory + 510, "\x55\xaa", 2);
	server_open(&server);
	server_serve(&server);
	server_start(&server);
	snprintf(path, sizeof(path), "%sp1", block_node(server.info.dev_id));
	CHECK(exists(path));
	server_delete(&server);
	CHECK(!exists(path));
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "what is written is read", what_is_written_is_read },
		{ "no request is larger than allowed", no_request_is_larger_than_allowed },
		{ "many requests at once do not mix", many_requests_at_once_do_not_mix },
		{ "R8: the descriptor tells operation, flags, place and length",
		  r8_the_descriptor_tells_it_all },
		{ "without FUA a flush follows", without_fua_a_flush_follows },
		{ "without a cache no flush comes", without_a_cache_no_flush_comes },
		{ "discard and write zeroes arrive", discard_and_write_zeroes_arrive },
		{ "a large discard is split at the limit", a_large_discard_is_split_at_the_limit },
		{ "a disk without discard refuses it", a_disk_without_discard_refuses_it },
		{ "a read-only disk cannot be written", a_read_only_disk_cannot_be_written },
		{ "no write reaches the server of a read-only disk",
		  no_write_reaches_the_server_of_a_read_only_disk },
		{ "the limits are those of the parameters",
		  the_limits_are_those_of_the_parameters },
		{ "partitions are found", partitions_are_found },
	};
	int failed = RUN_TESTS(tests, argc, argv);

	return failed | RUN_TESTS_BY_BATCHES(tests, argc, argv);
}
