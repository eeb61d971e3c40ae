// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The filter preallocate: how far its file reaches, what lies behind the data, and writers that
 * make it grow at the same time, with and without a file system that can allocate.
 */
#include <sys/stat.h>

#include "image-test.h"

#define KIB	1024u
#define MIB	(1024u * KIB)
#define UNIT	4096u
#define WRITERS 8
#define UNITS	2048u

static int fallocate_error; /* of every other call; 0: none */

int __real_co_fallocate(int fd, int mode, uint64_t off, uint64_t bytes);
int __wrap_co_fallocate(int fd, int mode, uint64_t off, uint64_t bytes);

int __wrap_co_fallocate(int fd, int mode, uint64_t off, uint64_t bytes)
{
	static unsigned calls;

	/* So that others run between the decision to allocate and what comes of it. */
	for (unsigned turns = off / UNIT % 8; turns; turns--)
		co_reschedule();
	return calls++ % 2 && fallocate_error ? fallocate_error
					      : __real_co_fallocate(fd, mode, off, bytes);
}

ssize_t __real_co_pwritev(int fd, const struct iovec *iov, unsigned niov, uint64_t off,
			  int rw_flags);
ssize_t __wrap_co_pwritev(int fd, const struct iovec *iov, unsigned niov, uint64_t off,
			  int rw_flags);

ssize_t __wrap_co_pwritev(int fd, const struct iovec *iov, unsigned niov, uint64_t off,
			  int rw_flags)
{
	for (unsigned turns = off / UNIT % 5; turns; turns--)
		co_reschedule();
	return __real_co_pwritev(fd, iov, niov, off, rw_flags);
}

static uint64_t file_size(void)
{
	struct stat st;

	g_assert_cmpint(stat("disk", &st), ==, 0);
	return st.st_size;
}

/* An image whose file is the filter; that is what is tested. */
static struct image *co_open_new(unsigned flags)
{
	co_create_ok("disk", "qcow2", MIB, NULL, NULL);
	return co_open_ok("json:{'driver':'qcow2','file':{'driver':'preallocate',"
			  "'prealloc-size':'1M','prealloc-align':'64k','file':"
			  "{'driver':'file','filename':'disk'}}}",
			  NULL, flags);
}

static void co_write(struct image *node, uint64_t off, uint64_t bytes, char byte)
{
	g_autofree char *data = g_malloc(bytes);

	memset(data, byte, bytes);
	g_assert_cmpint(image_co_pwrite(node, off, bytes, data, 0), ==, 0);
}

static void co_check(struct image *node, uint64_t off, uint64_t bytes, char byte)
{
	g_autofree char *data = g_malloc(bytes), *expected = g_malloc(bytes);

	memset(expected, byte, bytes);
	g_assert_cmpint(image_co_pread(node, off, bytes, data), ==, 0);
	g_assert_cmpmem(data, bytes, expected, bytes);
}

CO_TEST(test_sizes)
{
	struct image *img = co_open_new(IMAGE_RDWR | IMAGE_UNMAP), *node = image_file(img);
	uint64_t size = image_size(node);

	g_assert_cmpuint(size, ==, file_size());
	/* The file does not do the same. */
	g_assert_false(image_grow_ahead(node));
	g_assert_cmpint(image_co_pwrite(node, 100 * MIB, 0, NULL, 0), ==, 0);
	g_assert_cmpuint(size, ==, file_size());
	co_write(node, 10 * MIB, 1000, 'a');
	g_assert_cmpuint(image_size(node), ==, 10 * MIB + 1000);
	g_assert_cmpuint(file_size(), ==, 11 * MIB + 64 * KIB);
	/* Into what is allocated. */
	co_write(node, 11 * MIB, 64 * KIB, 'b');
	g_assert_cmpuint(image_size(node), ==, 11 * MIB + 64 * KIB);
	g_assert_cmpuint(file_size(), ==, 11 * MIB + 64 * KIB);
	g_assert_cmpint(image_co_pwrite_zeroes(node, 12 * MIB, 512, 0), ==, 0);
	g_assert_cmpuint(image_size(node), ==, 12 * MIB + 512);
	g_assert_cmpuint(file_size(), ==, 13 * MIB + 64 * KIB);
	g_assert_cmpint(image_co_close(img), ==, 0);
	g_assert_cmpuint(file_size(), ==, 12 * MIB + 512);
}

CO_TEST(test_what_is_behind_reads_as_zeroes)
{
	struct image *img = co_open_new(IMAGE_RDWR | IMAGE_UNMAP), *node = image_file(img);

	co_write(node, MIB, MIB, 'a');
	co_check(node, 2 * MIB, 2 * MIB, 0);
	/* Down, and up again to where data was. */
	g_assert_cmpint(image_co_truncate(node, MIB + 100), ==, 0);
	g_assert_cmpuint(file_size(), ==, MIB + 100);
	g_assert_cmpint(image_co_truncate(node, 2 * MIB), ==, 0);
	co_check(node, MIB, 100, 'a');
	co_check(node, MIB + 100, MIB, 0);
	/* Up, within what is allocated and beyond it. */
	co_write(node, 2 * MIB, 512, 'b');
	g_assert_cmpint(image_co_truncate(node, 3 * MIB), ==, 0);
	g_assert_cmpuint(image_size(node), ==, 3 * MIB);
	co_check(node, 2 * MIB + 512, MIB - 512, 0);
	g_assert_cmpint(image_co_truncate(node, 8 * MIB), ==, 0);
	co_check(node, 2 * MIB + 512, 6 * MIB - 512, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
	g_assert_cmpuint(file_size(), ==, 8 * MIB);
}

CO_TEST(test_read_only)
{
	struct image *img = co_open_new(0);
	uint64_t size = file_size();

	g_assert_cmpint(image_co_close(img), ==, 0);
	g_assert_cmpuint(file_size(), ==, size);
}

/* ---- writers at the same time ---- */

struct writers {
	struct image *node;
	unsigned next;
};

static void writer_co(void *arg)
{
	struct writers *w = arg;

	while (w->next < UNITS) {
		unsigned unit = w->next++;

		co_write(w->node, MIB + (uint64_t)unit * UNIT, UNIT, 1 + unit % 255);
	}
}

static void co_run_writers(unsigned writers, int error)
{
	struct image *img = co_open_new(IMAGE_RDWR | IMAGE_UNMAP);
	struct writers w = { .node = image_file(img) };
	struct co_group group = { 0 };

	fallocate_error = error;
	for (unsigned i = 0; i < writers; i++)
		co_group_start(&group, writer_co, &w);
	co_group_wait(&group);
	for (unsigned unit = 0; unit < UNITS; unit++)
		co_check(w.node, MIB + (uint64_t)unit * UNIT, UNIT, 1 + unit % 255);
	g_assert_cmpint(image_co_close(img), ==, 0);
	g_assert_cmpuint(file_size(), ==, MIB + UNITS * UNIT);
	fallocate_error = 0;
}

CO_TEST(test_writers)
{
	co_run_writers(WRITERS, 0);
}

CO_TEST(test_writers_without_space)
{
	co_run_writers(1, -ENOSPC);
	co_run_writers(WRITERS, -ENOSPC);
}

CO_TEST(test_writers_without_fallocate)
{
	co_run_writers(WRITERS, -EOPNOTSUPP);
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/preallocate/sizes", test_sizes);
	g_test_add_func("/preallocate/what-is-behind-reads-as-zeroes",
			test_what_is_behind_reads_as_zeroes);
	g_test_add_func("/preallocate/read-only", test_read_only);
	g_test_add_func("/preallocate/writers", test_writers);
	g_test_add_func("/preallocate/writers-without-space", test_writers_without_space);
	g_test_add_func("/preallocate/writers-without-fallocate", test_writers_without_fallocate);
	return leave_scratch(folder, g_test_run());
}
