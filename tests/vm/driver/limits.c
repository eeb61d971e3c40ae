// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Requests at the limits of a queue and a disk: lengths, alignment, the end. A server never gets a
 * request that is too large, crosses the end, or touches what was not asked for.
 */
#include "lib.h"

#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>

#define MAX_IO (128 << 10)

/* What the server was asked for. */
static _Atomic uint32_t most_sectors, nr_requests;

static int check_and_handle(struct server *server, const struct ubdsrv_io_desc *desc,
			    uint8_t *buffer)
{
	uint32_t limit = server->params.max_io_sectors;

	if (ubd_desc_op(desc) == UBD_IO_OP_DISCARD)
		limit = server->params.max_discard_sectors;
	else if (ubd_desc_op(desc) == UBD_IO_OP_WRITE_ZEROES)
		limit = server->params.max_write_zeroes_sectors;
	CHECK(desc->nr_sectors <= limit);
	CHECK(desc->start_sector + desc->nr_sectors <= server->params.dev_sectors);
	if (desc->nr_sectors > most_sectors)
		most_sectors = desc->nr_sectors;
	nr_requests++;
	return server_handle(server, desc, buffer);
}

static uint8_t expected(size_t off)
{
	return off / 512 * 7 + off % 512;
}

/* A server whose disk is filled with a pattern. */
static void run_filled(struct server *server, uint64_t dev_sectors)
{
	server->handle = check_and_handle;
	server->params.dev_sectors = dev_sectors;
	server->memory = aligned(dev_sectors * 512);
	for (size_t i = 0; i < dev_sectors * 512; i++)
		server->memory[i] = expected(i);
	server_run(server);
	most_sectors = nr_requests = 0;
}

/* The disk is as it was, but for @bytes zeroes at @off. */
static void check_zeroed(struct server *server, size_t off, size_t bytes)
{
	for (size_t i = 0; i < 4 << 20; i++) {
		uint8_t wanted = i >= off && i < off + bytes ? 0 : expected(i);

		if (server->memory[i] != wanted)
			fail("byte %zu is %u, not %u", i, server->memory[i], wanted);
	}
}

/* ---- lengths and alignment ---- */

static void check_pieces(int disk, size_t off, size_t bytes)
{
	uint8_t *data = aligned(bytes);

	CHECK_EQ(pread(disk, data, bytes, off), bytes);
	for (size_t i = 0; i < bytes; i++)
		if (data[i] != expected(off + i))
			fail("%zu bytes from %zu on: byte %zu is wrong", bytes, off, i);
	CHECK_EQ(pwrite(disk, data, bytes, off), bytes);
	free(data);
}

static void requests_at_the_limit_and_beyond(void)
{
	struct server server;
	int disk;

	server_init(&server);
	run_filled(&server, 32768);
	disk = open_disk(server.info.dev_id, O_RDWR);
	check_pieces(disk, 0, MAX_IO);
	CHECK_EQ(most_sectors, MAX_IO / 512);
	CHECK_EQ(nr_requests, 2);
	check_pieces(disk, 512, MAX_IO);
	check_pieces(disk, 0, MAX_IO - 512);
	check_pieces(disk, 0, MAX_IO + 512);
	check_pieces(disk, 3584, 8 * MAX_IO + 512);
	check_zeroed(&server, 0, 0);
	close(disk);
	server_delete(&server);
}

static void set_attribute(const struct server *server, const char *name, int value)
{
	char path[96];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/block/ubdb%u/queue/%s", server->info.dev_id, name);
	file = fopen(path, "we");
	CHECK(file);
	fprintf(file, "%d", value);
	CHECK_EQ(fclose(file), 0);
}

static int get_attribute(const struct server *server, const char *name)
{
	char path[96];
	FILE *file;
	int value;

	snprintf(path, sizeof(path), "/sys/block/ubdb%u/queue/%s", server->info.dev_id, name);
	file = fopen(path, "re");
	CHECK(file);
	CHECK_EQ(fscanf(file, "%d", &value), 1);
	fclose(file);
	return value;
}

static void an_administrators_limit_is_kept(void)
{
	struct server server;
	int disk;

	server_init(&server);
	run_filled(&server, 32768);
	set_attribute(&server, "max_sectors_kb", 4);
	set_attribute(&server, "nomerges", 2);
	disk = open_disk(server.info.dev_id, O_RDWR);
	check_pieces(disk, 512, MAX_IO);
	CHECK_EQ(most_sectors, 8);
	check_zeroed(&server, 0, 0);
	close(disk);
	server_delete(&server);
}

/* Many pieces of memory in one request, each at an odd offset in its page. */
static void a_vector_of_odd_pieces_is_one_request(void)
{
	uint8_t *memory = aligned(64 * 8192);
	struct iovec pieces[64];
	struct server server;
	size_t off = 4096;
	int disk;

	server_init(&server);
	run_filled(&server, 32768);
	disk = open_disk(server.info.dev_id, O_RDWR);
	for (int i = 0; i < 64; i++)
		pieces[i] = (struct iovec){ memory + i * 8192 + i % 8 * 512 + 512, 1536 };
	CHECK_EQ(preadv(disk, pieces, 64, off), 64 * 1536);
	for (int i = 0; i < 64; i++)
		for (int j = 0; j < 1536; j++, off++)
			CHECK_EQ(((uint8_t *)pieces[i].iov_base)[j], expected(off));
	CHECK_EQ(nr_requests, 1);
	CHECK_EQ(pwritev(disk, pieces, 64, 4096), 64 * 1536);
	check_zeroed(&server, 0, 0);
	close(disk);
	server_delete(&server);
}

/*
 * Whether a buffer at any address is accepted depends on the kernel's version; the data does not.
 */
static void a_buffer_at_an_odd_address_is_refused_or_works(void)
{
	uint8_t *memory = aligned(16384);
	struct server server;
	int disk;

	server_init(&server);
	run_filled(&server, 32768);
	disk = open_disk(server.info.dev_id, O_RDWR);
	for (int shift = 1; shift <= 512; shift *= 2) {
		ssize_t res = pread(disk, memory + shift, 8192, 1024);

		if (res < 0) {
			CHECK_EQ(errno, EINVAL);
			CHECK(shift < 512);
			continue;
		}
		CHECK_EQ(res, 8192);
		for (int i = 0; i < 8192; i++)
			CHECK_EQ(memory[shift + i], expected(1024 + i));
		CHECK_EQ(pwrite(disk, memory + shift, 8192, 1024), 8192);
	}
	CHECK(pread(disk, memory, 100, 0) < 0);
	CHECK_EQ(errno, EINVAL);
	CHECK(pread(disk, memory, 512, 100) < 0);
	check_zeroed(&server, 0, 0);
	close(disk);
	server_delete(&server);
}

/* ---- pieces of memory ---- */

/* Reads a block into memory that is @shift bytes off; returns 0 or an errno. */
static int read_shifted(int disk, int shift)
{
	static uint8_t memory[16384] __attribute__((aligned(4096)));

	if (pread(disk, memory + shift, 4096, 4096) < 0)
		return errno;
	for (int i = 0; i < 4096; i++)
		CHECK_EQ(memory[shift + i], expected(4096 + i));
	return 0;
}

static void run_aligned(uint32_t block_size, uint32_t alignment, int good, int bad)
{
	struct server server;
	int disk;

	server_init(&server);
	server.params.logical_block_size = block_size;
	server.params.dma_alignment = alignment;
	run_filled(&server, 32768);
	CHECK_EQ(get_attribute(&server, "dma_alignment"), (alignment ?: 512) - 1);
	disk = open_disk(server.info.dev_id, O_RDWR);
	CHECK_EQ(read_shifted(disk, good), 0);
	CHECK_EQ(read_shifted(disk, bad), EINVAL);
	close(disk);
	server_delete(&server);
}

static void memory_is_aligned_as_the_server_wants(void)
{
	run_aligned(512, 0, 512, 256);
	run_aligned(512, 4, 12, 2);
	run_aligned(4096, 512, 1536, 4);
	run_aligned(4096, 4096, 4096, 512);
}

/* 2 MiB in one piece; NULL if this kernel has none. */
static uint8_t *one_piece(void)
{
	int fd = open("/proc/sys/vm/nr_hugepages", O_WRONLY | O_CLOEXEC);
	uint8_t *memory;

	if (fd < 0)
		return NULL;
	CHECK_EQ(write(fd, "1", 1), 1);
	close(fd);
	memory = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1, 0);
	CHECK(memory != MAP_FAILED);
	return memory;
}

/* Reads 128 KiB by requests of at most @bytes. */
static void check_cut(uint8_t *memory, uint32_t segments, uint32_t segment_size, uint32_t boundary,
		      uint32_t bytes)
{
	struct server server;
	int disk;

	server_init(&server);
	server.params.max_segments = segments;
	server.params.max_segment_size = segment_size;
	server.params.segment_boundary = boundary;
	run_filled(&server, 32768);
	disk = open_disk(server.info.dev_id, O_RDONLY);
	CHECK_EQ(pread(disk, memory, MAX_IO, 0), MAX_IO);
	for (size_t i = 0; i < MAX_IO; i++)
		CHECK_EQ(memory[i], expected(i));
	CHECK_EQ(most_sectors, bytes / 512);
	close(disk);
	server_delete(&server);
}

static void a_request_has_so_many_pieces(void)
{
	uint8_t *memory = one_piece();

	if (!memory)
		return;
	check_cut(memory, 0, 0, 0, MAX_IO);
	check_cut(memory, 1, 0, 0, MAX_IO);
	check_cut(memory, 1, 12288, 0, 12288);
	check_cut(memory, 2, 12288, 0, 24576);
	check_cut(memory, 1, 0, 8192, 8192);
	check_cut(memory, 3, 0, 8192, 24576);
	check_cut(memory, 0, 0, 4096, MAX_IO);
}

/* As many pieces as a block may have; Linux versions differ on pieces smaller than a block. */
static void a_block_of_many_pieces_is_one_request(void)
{
	uint8_t *memory = aligned(16384);
	struct iovec pieces[16];
	struct server server;
	int disk;

	server_init(&server);
	server.params.logical_block_size = 4096;
	server.params.max_segments = 8;
	run_filled(&server, 32768);
	disk = open_disk(server.info.dev_id, O_RDWR);
	for (int i = 0; i < 16; i++)
		pieces[i] = (struct iovec){ memory + i * 1024, 512 };
	if (preadv(disk, pieces, 16, 0) < 0) {
		CHECK_EQ(errno, EINVAL);
	} else {
		for (int i = 0; i < 8192; i++)
			CHECK_EQ(memory[i / 512 * 1024 + i % 512], expected(i));
		CHECK_EQ(nr_requests, 2);
	}
	close(disk);
	server_delete(&server);
}

static void pages_stay_as_they_are_if_the_server_wants_that(void)
{
	struct server server;

	for (int wanted = 0; wanted < 2; wanted++) {
		server_init(&server);
		server.params.attrs |= wanted ? UBD_ATTR_STABLE_WRITES : 0;
		server_run(&server);
		CHECK_EQ(get_attribute(&server, "stable_writes"), wanted);
		server_delete(&server);
	}
}

/* ---- discard and zeroes ---- */

/* Nothing outside the range is touched, whatever the granularity is. */
static void odd_ranges_are_zeroed_and_no_more(void)
{
	const size_t ranges[][2] = { { 512, 512 },
				     { 512, 20480 },
				     { 3584, 1024 },
				     { 0, 4608 },
				     { 5120, (1 << 20) + 512 },
				     { 512, 3 << 20 } };

	for (size_t i = 0; i < 2 * sizeof(ranges) / sizeof(*ranges); i++) {
		uint64_t range[2] = { ranges[i / 2][0], ranges[i / 2][1] };
		struct server server;
		int disk;

		server_init(&server);
		run_filled(&server, 32768);
		disk = open_disk(server.info.dev_id, O_RDWR);
		CHECK_EQ(ioctl(disk, i % 2 ? BLKZEROOUT : BLKDISCARD, range), 0);
		check_zeroed(&server, range[0], range[1]);
		close(disk);
		server_delete(&server);
	}
}

static void ranges_beyond_the_end_are_refused(void)
{
	uint64_t range[2] = { 32767 * 512, 1024 }, odd[2] = { 100, 512 };
	struct server server;
	int disk;

	server_init(&server);
	run_filled(&server, 32768);
	disk = open_disk(server.info.dev_id, O_RDWR);
	CHECK(ioctl(disk, BLKDISCARD, range) < 0);
	CHECK(ioctl(disk, BLKZEROOUT, range) < 0);
	CHECK(ioctl(disk, BLKDISCARD, odd) < 0);
	CHECK(ioctl(disk, BLKZEROOUT, odd) < 0);
	CHECK_EQ(nr_requests, 0);
	check_zeroed(&server, 0, 0);
	close(disk);
	server_delete(&server);
}

/* A disk without memory, which reads as zeroes: what is zeroed in it is counted. */
static _Atomic uint64_t zeroed_sectors;

static int count_zeroed(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	if (ubd_desc_op(desc) != UBD_IO_OP_READ) {
		CHECK(desc->nr_sectors);
		zeroed_sectors += desc->nr_sectors;
		return 0;
	}
	memset(buffer, 0, desc->nr_sectors * 512);
	return desc->nr_sectors * 512;
}

/* The kernel counts the bytes of a request in 32 bits, the limits have them for sectors. */
static void no_limit_is_too_large(void)
{
	const uint64_t bytes = 9ull << 30;
	uint64_t range[2] = { 0, bytes };
	struct server server;
	int disk;

	server_init(&server);
	server.handle = count_zeroed;
	server.memory = aligned(4096);
	server.params.dev_sectors = bytes / 512;
	server.params.max_discard_sectors = UINT32_MAX;
	server.params.max_write_zeroes_sectors = UINT32_MAX;
	server_run(&server);
	disk = open_disk(server.info.dev_id, O_RDWR);
	for (int i = 0; i < 2; i++) {
		zeroed_sectors = 0;
		CHECK_EQ(ioctl(disk, i ? BLKZEROOUT : BLKDISCARD, range), 0);
		CHECK_EQ(zeroed_sectors, bytes / 512);
	}
	close(disk);
	server_delete(&server);
}

/* ---- the end ---- */

/*
 * A disk whose size is not a multiple of a page: read ahead of and beyond the end, written in part.
 */
static void readahead_stops_at_the_end(void)
{
	const uint64_t sectors = 16384 - 5, bytes = sectors * 512;
	uint8_t *data = aligned(1 << 20);
	struct server server;
	int disk;

	server_init(&server);
	run_filled(&server, sectors);
	disk = open(block_node(server.info.dev_id), O_RDWR | O_CLOEXEC);
	CHECK_EQ(posix_fadvise(disk, bytes - 65536, 1 << 20, POSIX_FADV_WILLNEED), 0);
	CHECK_EQ(pread(disk, data, 1 << 20, bytes - 300000), 300000);
	for (int i = 0; i < 300000; i++)
		CHECK_EQ(data[i], expected(bytes - 300000 + i));
	CHECK_EQ(pread(disk, data, 4096, bytes), 0);
	CHECK_EQ(pwrite(disk, "end", 3, bytes - 3), 3);
	CHECK_EQ(pwrite(disk, data, 1, bytes), -1);
	CHECK_EQ(errno, ENOSPC);
	CHECK_EQ(fsync(disk), 0);
	CHECK(!memcmp(server.memory + bytes - 3, "end", 3));
	CHECK_EQ(server.memory[bytes - 4], expected(bytes - 4));
	close(disk);

	disk = open_disk(server.info.dev_id, O_RDWR);
	CHECK_EQ(pread(disk, data, 4096, bytes - 512), 512);
	CHECK_EQ(pwrite(disk, data, 4096, bytes - 512), 512);
	close(disk);
	server_delete(&server);
}

static void resize(struct server *server, uint64_t sectors)
{
	CHECK_EQ(control(server->control, UBD_CMD_UPDATE_SIZE, &sectors, sizeof(sectors)), 0);
	server->params.dev_sectors = sectors;
}

/* The second half of the disk as a partition, which the kernel keeps as it is when the disk
 * shrinks. */
static int add_partition(const struct server *server)
{
	struct blkpg_partition partition = { .start = 8 << 20, .length = 8 << 20, .pno = 1 };
	struct blkpg_ioctl_arg arg = { .op = BLKPG_ADD_PARTITION,
				       .datalen = sizeof(partition),
				       .data = &partition };
	int disk = open_disk(server->info.dev_id, O_RDWR), part;
	char path[48];

	CHECK_EQ(ioctl(disk, BLKPG, &arg), 0);
	close(disk);
	snprintf(path, sizeof(path), "%sp1", block_node(server->info.dev_id));
	WAIT_UNTIL(exists(path), AGE);
	part = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	CHECK(part >= 0);
	return part;
}

static void check_out_of_reach(int part, uint64_t off)
{
	uint64_t range[2] = { off, 4096 };
	uint32_t before = nr_requests;
	void *data = aligned(4096);

	CHECK(pread(part, data, 4096, off) < 0);
	CHECK_EQ(errno, EIO);
	CHECK(pwrite(part, data, 4096, off) < 0);
	CHECK_EQ(errno, EIO);
	CHECK(ioctl(part, BLKDISCARD, range) < 0);
	CHECK(ioctl(part, BLKZEROOUT, range) < 0);
	CHECK_EQ(nr_requests, before);
}

static void a_partition_ends_with_its_disk(void)
{
	void *data = aligned(4096);
	struct server server;
	int part;

	server_init(&server);
	run_filled(&server, 32768);
	part = add_partition(&server);
	resize(&server, 24576);
	check_out_of_reach(part, 4 << 20);
	check_out_of_reach(part, (4 << 20) - 512);
	check_out_of_reach(part, (8 << 20) - 4096);
	CHECK_EQ(pread(part, data, 4096, (4 << 20) - 4096), 4096);
	CHECK_EQ(fsync(part), 0);
	check_zeroed(&server, 0, 0);
	resize(&server, 32768);
	CHECK_EQ(pread(part, data, 4096, 4 << 20), 4096);
	close(part);
	server_delete(&server);
}

/* The disk ends in front of the request while the server has it. */
static int shrink_and_handle(struct server *server, const struct ubdsrv_io_desc *desc,
			     uint8_t *buffer)
{
	if (desc->start_sector >= 24576 && server->params.dev_sectors > 24576)
		resize(server, 24576);
	return server_handle(server, desc, buffer);
}

static void a_request_outlives_the_end_of_its_disk(void)
{
	struct server server;
	int disk;

	server_init(&server);
	server.handle = shrink_and_handle;
	server_run(&server);
	disk = open_disk(server.info.dev_id, O_RDWR);
	CHECK_EQ(pread(disk, aligned(4096), 4096, 12 << 20), 4096);
	CHECK_EQ(server.params.dev_sectors, 24576);
	CHECK_EQ(pread(disk, aligned(4096), 4096, 12 << 20), 0);
	close(disk);
	server_delete(&server);
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "requests at the limit and beyond", requests_at_the_limit_and_beyond },
		{ "an administrator's limit is kept", an_administrators_limit_is_kept },
		{ "a vector of odd pieces is one request", a_vector_of_odd_pieces_is_one_request },
		{ "a buffer at an odd address is refused or works",
		  a_buffer_at_an_odd_address_is_refused_or_works },
		{ "memory is aligned as the server wants", memory_is_aligned_as_the_server_wants },
		{ "a request has so many pieces", a_request_has_so_many_pieces },
		{ "a block of many pieces is one request", a_block_of_many_pieces_is_one_request },
		{ "pages stay as they are if the server wants that",
		  pages_stay_as_they_are_if_the_server_wants_that },
		{ "odd ranges are zeroed and no more", odd_ranges_are_zeroed_and_no_more },
		{ "ranges beyond the end are refused", ranges_beyond_the_end_are_refused },
		{ "no limit is too large", no_limit_is_too_large },
		{ "readahead stops at the end", readahead_stops_at_the_end },
		{ "a partition ends with its disk", a_partition_ends_with_its_disk },
		{ "a request outlives the end of its disk",
		  a_request_outlives_the_end_of_its_disk },
	};

	return RUN_TESTS(tests, argc, argv);
}
