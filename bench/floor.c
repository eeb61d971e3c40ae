// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * floor: what requests on a file cost without an image: a bare loop on io_uring.
 *
 * It understands those options of `ubd-img bench` that choose requests, and sends the same ones,
 * but to the file itself. Writes therefore destroy the image in it. The ring has the flags that
 * aio/ uses.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define HUGE_PAGE (2u << 20)

struct options {
	uint64_t count, depth, bytes, step;
	bool write, random, direct;
	const char *filename;
};

static struct options options = { .count = 75000, .depth = 64, .bytes = 4096 };
static struct io_uring ring;
static int fd;
static uint64_t size, started, random_state;
static char *bufs;

static void die(const char *what, int error)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(error));
	exit(1);
}

/* SplitMix64, as in `ubd-img bench`. */
static uint64_t next_random(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static uint64_t next_off(void)
{
	uint64_t off;

	if (options.random)
		return next_random() % (size / options.bytes) * options.bytes;
	off = started * options.step % size;
	return off + options.bytes <= size ? off : 0;
}

static void start(unsigned slot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	char *buf = bufs + slot * options.bytes;

	if (options.write)
		io_uring_prep_write(sqe, fd, buf, options.bytes, next_off());
	else
		io_uring_prep_read(sqe, fd, buf, options.bytes, next_off());
	io_uring_sqe_set_data64(sqe, slot);
	started++;
}

/* Starts another request in place of each one that is complete; returns how many were. */
static unsigned reap(void)
{
	struct io_uring_cqe *cqe;
	unsigned head, reaped = 0;

	io_uring_for_each_cqe(&ring, head, cqe) {
		if (cqe->res != (int)options.bytes)
			die("request", cqe->res < 0 ? -cqe->res : EIO);
		reaped++;
		if (started < options.count)
			start(cqe->user_data);
	}
	io_uring_cq_advance(&ring, reaped);
	return reaped;
}

static void run(void)
{
	uint64_t ended = 0;

	for (unsigned slot = 0; slot < options.depth && started < options.count; slot++)
		start(slot);
	while (ended < options.count) {
		int ret = io_uring_submit_and_wait(&ring, 1);

		if (ret < 0 && ret != -EINTR)
			die("io_uring_enter", -ret);
		ended += reap();
	}
}

/* As `ubd-img bench` does: in huge pages if they fill any. */
static void make_buffers(void)
{
	size_t bytes = options.depth * options.bytes;
	void *memory;

	if (posix_memalign(&memory, bytes < HUGE_PAGE ? 4096 : HUGE_PAGE, bytes))
		die("buffers", ENOMEM);
	bufs = memory;
	madvise(bufs, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
	memset(bufs, 0, bytes);
}

static void prepare(void)
{
	struct stat st;
	int ret;

	fd = open(options.filename,
		  (options.write ? O_RDWR : O_RDONLY) | (options.direct ? O_DIRECT : 0));
	if (fd < 0 || fstat(fd, &st))
		die(options.filename, errno);
	size = st.st_size;
	if (size < options.bytes)
		die(options.filename, EINVAL);
	make_buffers();
	ret = io_uring_queue_init(options.depth, &ring,
				  IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	if (ret)
		die("io_uring", -ret);
}

static bool parse(int argc, char **argv)
{
	static const struct option longs[] = { { "random", no_argument, NULL, 'r' }, {} };
	int opt;

	while ((opt = getopt_long(argc, argv, "f:c:d:s:S:t:w", longs, NULL)) != -1) {
		if (opt == 'c')
			options.count = strtoull(optarg, NULL, 10);
		else if (opt == 'd')
			options.depth = strtoull(optarg, NULL, 10);
		else if (opt == 's')
			options.bytes = strtoull(optarg, NULL, 10);
		else if (opt == 'S')
			options.step = strtoull(optarg, NULL, 10);
		else if (opt == 't')
			options.direct = strcmp(optarg, "none") == 0;
		else if (opt == 'w')
			options.write = true;
		else if (opt == 'r')
			options.random = true;
		else if (opt != 'f') /* the format of the image */
			return false;
	}
	options.step = options.step ? options.step : options.bytes;
	options.filename = argv[optind];
	return options.filename && options.bytes && options.depth;
}

int main(int argc, char **argv)
{
	if (!parse(argc, argv)) {
		fprintf(stderr, "usage: floor [-w] [-c N] [-d N] [-s BYTES] [-S BYTES | --random]"
				" [-t CACHE] FILE\n");
		return 1;
	}
	prepare();
	run();
	return 0;
}
