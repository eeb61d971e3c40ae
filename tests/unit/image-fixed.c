// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Requests whose data is in a registered buffer: what files take directly, what is copied, and that
 * all rules for requests still hold. Linked with --wrap: transfers come here first.
 */
#include "fixed.h"
#include "image-test.h"

#define K	   1024ull
#define CLUSTER	   (64 * K)
#define BUF_BYTES  (4 * CLUSTER)
#define BUF_INDEX  3
#define BUF_OFFSET 4096 /* in the registered memory, so that offsets matter */

static struct {
	unsigned fixed;	 /* transfers of the registered buffer ... */
	unsigned memory; /* ... and of other memory */
	unsigned fdatasyncs;
	int refuse; /* the next transfers of the buffer fail with -EINVAL */
} kernel;

static ssize_t count_fixed(void)
{
	kernel.fixed++;
	return kernel.refuse && kernel.refuse-- ? -EINVAL : 0;
}

ssize_t __real_co_read_fixed(int fd, unsigned index, uint64_t addr, size_t bytes, uint64_t off);
ssize_t __wrap_co_read_fixed(int fd, unsigned index, uint64_t addr, size_t bytes, uint64_t off);
ssize_t __wrap_co_read_fixed(int fd, unsigned index, uint64_t addr, size_t bytes, uint64_t off)
{
	return count_fixed() ?: __real_co_read_fixed(fd, index, addr, bytes, off);
}

ssize_t __real_co_write_fixed(int fd, unsigned index, uint64_t addr, size_t bytes, uint64_t off);
ssize_t __wrap_co_write_fixed(int fd, unsigned index, uint64_t addr, size_t bytes, uint64_t off);
ssize_t __wrap_co_write_fixed(int fd, unsigned index, uint64_t addr, size_t bytes, uint64_t off)
{
	return count_fixed() ?: __real_co_write_fixed(fd, index, addr, bytes, off);
}

ssize_t __real_co_preadv(int fd, const struct iovec *iov, unsigned niov, uint64_t off);
ssize_t __wrap_co_preadv(int fd, const struct iovec *iov, unsigned niov, uint64_t off);
ssize_t __wrap_co_preadv(int fd, const struct iovec *iov, unsigned niov, uint64_t off)
{
	kernel.memory++;
	return __real_co_preadv(fd, iov, niov, off);
}

ssize_t __real_co_pwritev(int fd, const struct iovec *iov, unsigned niov, uint64_t off, int flags);
ssize_t __wrap_co_pwritev(int fd, const struct iovec *iov, unsigned niov, uint64_t off, int flags);
ssize_t __wrap_co_pwritev(int fd, const struct iovec *iov, unsigned niov, uint64_t off, int flags)
{
	kernel.memory++;
	return __real_co_pwritev(fd, iov, niov, off, flags);
}

int __real_co_fdatasync(int fd);
int __wrap_co_fdatasync(int fd);
int __wrap_co_fdatasync(int fd)
{
	kernel.fdatasyncs++;
	return __real_co_fdatasync(fd);
}

/* ---- the buffer ---- */

static struct fixed_memory fixed;
static uint8_t *memory; /* BUF_BYTES, inside the registered memory */

static struct iobuf view(void)
{
	return iobuf_advance(fixed_memory_view(&fixed), BUF_OFFSET);
}

/* A test whose body runs as a coroutine on a loop with the buffer. */
static void run_fixed(co_fn *fn)
{
	g_autoptr(GError) err = NULL;
	struct aio_loop *loop = aio_loop_new(64, &err);

	g_assert_no_error(err);
	g_assert_cmpint(aio_loop_make_buffers(loop, BUF_INDEX + 1), ==, 0);
	memory = try_iobuf_alloc(BUF_OFFSET + BUF_BYTES);
	memory += BUF_OFFSET;
	aio_loop_run_co(loop, fn, NULL);
	aio_loop_free(loop);
	iobuf_free(memory - BUF_OFFSET);
}

#define FIXED_TEST(name)                                                                           \
	static void name##_body(void);                                                             \
	static void name##_co(void *unused)                                                        \
	{                                                                                          \
		fixed_memory_init(&fixed, BUF_INDEX, memory - BUF_OFFSET, BUF_OFFSET + BUF_BYTES); \
		name##_body();                                                                     \
		fixed_memory_destroy(&fixed);                                                      \
	}                                                                                          \
	static void name(void)                                                                     \
	{                                                                                          \
		run_fixed(name##_co);                                                              \
	}                                                                                          \
	static void name##_body(void)

static void start_counting(void)
{
	memset(&kernel, 0, sizeof(kernel));
	fixed.copied = 0;
}

#define assert_moved(nr_fixed, nr_copied)                                                          \
	do {                                                                                       \
		g_assert_cmpuint(kernel.fixed, ==, nr_fixed);                                      \
		g_assert_cmpuint(fixed.copied, ==, nr_copied);                                     \
	} while (0)

static int co_write(struct image *img, uint64_t off, uint64_t bytes, char byte, unsigned flags)
{
	memset(memory, byte, bytes);
	start_counting();
	return image_co_pwritev(img, off, bytes, view(), flags);
}

static void co_write_ok(struct image *img, uint64_t off, uint64_t bytes, char byte)
{
	g_assert_cmpint(co_write(img, off, bytes, byte, 0), ==, 0);
}

static void co_read_ok(struct image *img, uint64_t off, uint64_t bytes)
{
	memset(memory, '?', BUF_BYTES);
	start_counting();
	g_assert_cmpint(image_co_preadv(img, off, bytes, view()), ==, 0);
	/* The memory behind it is untouched. */
	for (uint64_t i = bytes; i < BUF_BYTES; i++)
		g_assert_cmphex(memory[i], ==, '?');
}

static void assert_bytes(const uint8_t *at, uint64_t bytes, char byte)
{
	for (uint64_t i = 0; i < bytes; i++)
		g_assert_cmphex(at[i], ==, byte);
}

/* As a reader without registered buffers sees it. */
static void co_assert_disk(struct image *img, uint64_t off, uint64_t bytes, char byte)
{
	g_autofree uint8_t *buf = g_malloc(bytes);

	g_assert_cmpint(image_co_pread(img, off, bytes, buf), ==, 0);
	assert_bytes(buf, bytes, byte);
}

static struct image *co_new(const char *format, unsigned flags)
{
	g_unlink("disk");
	co_create_ok("disk", format, 1024 * K, NULL, NULL);
	return co_open_ok("disk", format, IMAGE_RDWR | flags);
}

/* ---- raw ---- */

FIXED_TEST(test_raw_moves_without_a_copy)
{
	struct image *img = co_new("raw", 0);

	co_write_ok(img, 64 * K, 12 * K, 'w');
	assert_moved(1, 0);
	co_assert_disk(img, 64 * K, 12 * K, 'w');
	co_assert_disk(img, 0, 64 * K, 0);
	co_read_ok(img, 68 * K, 20 * K);
	assert_moved(1, 0);
	assert_bytes(memory, 8 * K, 'w');
	assert_bytes(memory + 8 * K, 12 * K, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

FIXED_TEST(test_behind_the_end_of_a_file_are_zeroes)
{
	struct image *img;

	g_unlink("disk");
	write_file("disk", "0123456789", 10);
	img = co_open_ok("disk", "raw", 0);
	co_read_ok(img, 0, 512);
	assert_moved(2, 502);
	g_assert_cmpmem(memory, 10, "0123456789", 10);
	assert_bytes(memory + 10, 502, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

FIXED_TEST(test_what_is_not_aligned_is_bounced)
{
	struct image *img = co_new("raw", 0);

	memset(memory, 'b', 8 * K);
	start_counting();
	kernel.refuse = 1;
	g_assert_cmpint(image_co_pwritev(img, 4 * K, 8 * K, view(), 0), ==, 0);
	assert_moved(1, 8 * K);
	co_assert_disk(img, 4 * K, 8 * K, 'b');

	memset(memory, '?', 8 * K);
	start_counting();
	kernel.refuse = 1;
	g_assert_cmpint(image_co_preadv(img, 4 * K, 8 * K, view()), ==, 0);
	assert_moved(1, 8 * K);
	assert_bytes(memory, 8 * K, 'b');
	g_assert_cmpint(image_co_close(img), ==, 0);
}

/* Whatever O_DIRECT needs on the file system: memory at an odd address and at an aligned one. */
FIXED_TEST(test_direct)
{
	struct image *img = co_new("raw", IMAGE_DIRECT);

	co_write_ok(img, 0, 64 * K, 'd');
	assert_moved(1, 0);
	memset(memory, 'o', 64 * K + 24);
	g_assert_cmpint(image_co_pwritev(img, 128 * K, 64 * K, iobuf_advance(view(), 24), 0), ==,
			0);
	co_assert_disk(img, 0, 64 * K, 'd');
	co_assert_disk(img, 128 * K, 64 * K, 'o');
	co_read_ok(img, 0, 64 * K);
	assert_moved(1, 0);
	assert_bytes(memory, 64 * K, 'd');
	g_assert_cmpint(image_co_close(img), ==, 0);
}

FIXED_TEST(test_another_header_is_not_written_to_a_guessed_raw)
{
	struct image *img;

	g_unlink("disk");
	co_create_ok("disk", "raw", 64 * K, NULL, NULL);
	img = co_open_ok("disk", NULL, IMAGE_RDWR);
	memset(memory, 0, 4 * K);
	memcpy(memory, "QFI\xfb\0\0\0\3", 8);
	start_counting();
	g_assert_cmpint(image_co_pwritev(img, 0, 4 * K, view(), 0), ==, -EPERM);
	/* The check works on a copy, and that copy is written. */
	assert_moved(0, 4 * K);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

FIXED_TEST(test_refusals_are_those_of_memory)
{
	struct image *img = co_new("raw", 0);

	g_assert_cmpint(co_write(img, 1020 * K, 8 * K, 'x', 0), ==, -EIO);
	g_assert_cmpint(co_write(img, 0, 4 * K, 'x', IMAGE_REQ_MAY_UNMAP), ==, -EINVAL);
	g_assert_cmpint(image_co_preadv(img, 1020 * K, 8 * K, view()), ==, -EIO);
	g_assert_cmpint(image_co_close(img), ==, 0);
	img = co_open_ok("disk", "raw", 0);
	g_assert_cmpint(co_write(img, 0, 4 * K, 'x', 0), ==, -EPERM);
	assert_moved(0, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

FIXED_TEST(test_fua_is_durable)
{
	static const char *const formats[] = { "raw", "qcow2" };

	for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++) {
		struct image *img = co_new(formats[i], 0);

		g_assert_cmpint(co_write(img, 0, 4 * K, 'f', IMAGE_REQ_FUA), ==, 0);
		g_assert_cmpuint(kernel.fdatasyncs, >=, 1);
		g_assert_cmpint(image_co_close(img), ==, 0);
	}
}

static int broken_copy_in(const struct fixed_buf *buf, size_t off, const void *src, size_t bytes)
{
	return -ENXIO;
}

static int broken_copy_out(const struct fixed_buf *buf, size_t off, void *dst, size_t bytes)
{
	return -ENXIO;
}

FIXED_TEST(test_a_copy_that_fails_fails_the_request)
{
	struct fixed_memory whole = fixed;
	struct image *img;

	fixed.buf.copy_in = broken_copy_in;
	fixed.buf.copy_out = broken_copy_out;
	img = co_new("qcow2", 0);
	g_assert_cmpint(image_co_preadv(img, 0, 4 * K, view()), ==, -ENXIO);
	kernel.refuse = 1;
	g_assert_cmpint(image_co_pwritev(img, 0, CLUSTER, view(), 0), ==, -ENXIO);
	g_assert_cmpint(image_co_pwrite_compressed(img, 0, CLUSTER, view()), ==, -ENXIO);
	/* C6: no part of it was written. */
	co_assert_disk(img, 0, CLUSTER, 0);
	fixed = whole;
	g_assert_cmpint(image_co_close(img), ==, 0);
}

/* ---- qcow2 ---- */

FIXED_TEST(test_qcow2_allocated_clusters)
{
	struct image *img = co_new("qcow2", 0);

	co_write_ok(img, CLUSTER, 2 * CLUSTER, 'a');
	assert_moved(1, 0);
	co_write_ok(img, CLUSTER + 4 * K, 12 * K, 'b');
	assert_moved(1, 0);
	g_assert_cmpuint(kernel.memory, ==, 0);
	co_read_ok(img, CLUSTER, 2 * CLUSTER);
	assert_moved(1, 0);
	g_assert_cmpuint(kernel.memory, ==, 0);
	assert_bytes(memory, 4 * K, 'a');
	assert_bytes(memory + 4 * K, 12 * K, 'b');
	assert_bytes(memory + 16 * K, 2 * CLUSTER - 16 * K, 'a');
	g_assert_cmpint(image_co_close(img), ==, 0);
}

/* A cluster that was never written reads as zeroes: its edges need not be written. */
FIXED_TEST(test_qcow2_new_clusters)
{
	struct image *img = co_new("qcow2", 0);

	co_write_ok(img, 4 * K, CLUSTER, 'n');
	assert_moved(1, 0);
	co_assert_disk(img, 0, 4 * K, 0);
	co_assert_disk(img, 4 * K, CLUSTER, 'n');
	co_assert_disk(img, 4 * K + CLUSTER, CLUSTER - 4 * K, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

/* A chain with everything: 'b' below, 'a' above, zeroes, unallocated, compressed. */
static struct image *co_new_chain(void)
{
	struct image *img;
	struct iovec iov;

	g_unlink("base");
	co_create_ok("base", "raw", 1024 * K, NULL, NULL);
	img = co_open_ok("base", "raw", IMAGE_RDWR);
	co_write_ok(img, 0, 2 * CLUSTER, 'b');
	g_assert_cmpint(image_co_close(img), ==, 0);

	g_unlink("disk");
	co_create_ok("disk", "qcow2", 0, "base", "raw");
	img = co_open_ok("disk", "qcow2", IMAGE_RDWR);
	memset(memory, 'c', CLUSTER);
	g_assert_cmpint(
		image_co_pwrite_compressed(img, 2 * CLUSTER, CLUSTER, IOBUF(&iov, memory, CLUSTER)),
		==, 0);
	co_write_ok(img, CLUSTER, CLUSTER, 'a');
	return img;
}

FIXED_TEST(test_qcow2_reads_of_every_kind)
{
	struct image *img = co_new_chain();

	co_read_ok(img, 60 * K, 4 * K + 2 * CLUSTER + 8 * K);
	/* Below and above are read directly; only decompressed data and zeroes are copied. */
	assert_moved(3, CLUSTER);
	assert_bytes(memory, 4 * K, 'b');
	assert_bytes(memory + 4 * K, CLUSTER, 'a');
	assert_bytes(memory + 4 * K + CLUSTER, CLUSTER, 'c');
	assert_bytes(memory + 4 * K + 2 * CLUSTER, 8 * K, 0);

	g_assert_cmpint(image_co_pwrite_zeroes(img, CLUSTER, CLUSTER, 0), ==, 0);
	co_read_ok(img, CLUSTER, CLUSTER);
	assert_moved(0, CLUSTER);
	assert_bytes(memory, CLUSTER, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

FIXED_TEST(test_qcow2_copy_on_write)
{
	struct image *img = co_new_chain();

	co_write_ok(img, 4 * K, 8 * K, 'w');
	assert_moved(0, 8 * K);
	co_write_ok(img, 2 * CLUSTER + 60 * K, 4 * K, 'w');
	assert_moved(0, 4 * K);
	co_assert_disk(img, 0, 4 * K, 'b');
	co_assert_disk(img, 4 * K, 8 * K, 'w');
	co_assert_disk(img, 12 * K, CLUSTER - 12 * K, 'b');
	co_assert_disk(img, CLUSTER, CLUSTER, 'a');
	co_assert_disk(img, 2 * CLUSTER, 60 * K, 'c');
	co_assert_disk(img, 2 * CLUSTER + 60 * K, 4 * K, 'w');
	/* Whole clusters have no edges. */
	co_write_ok(img, 0, CLUSTER, 'v');
	assert_moved(1, 0);
	co_assert_disk(img, 0, CLUSTER, 'v');
	g_assert_cmpint(image_co_close(img), ==, 0);
}

static struct image *co_new_with(const char *option, const char *value)
{
	g_autoptr(GHashTable) options = g_hash_table_new(g_str_hash, g_str_equal);
	struct image_create_opts opts = { .size = 1024 * K,
					  .size_given = true,
					  .options = options };
	g_autoptr(GError) err = NULL;

	g_hash_table_insert(options, (char *)option, (char *)value);
	g_unlink("disk");
	image_co_create("disk", "qcow2", &opts, NULL, &err);
	g_assert_no_error(err);
	return co_open_ok("disk", "qcow2", IMAGE_RDWR);
}

FIXED_TEST(test_qcow2_subclusters)
{
	struct image *img = co_new_with("extended_l2", "on");

	co_write_ok(img, 4 * K, 8 * K, 's');
	assert_moved(1, 0);
	co_write_ok(img, 6 * K, 2 * K, 't');
	assert_moved(1, 0);
	co_read_ok(img, 0, 16 * K);
	assert_moved(1, 8 * K);
	assert_bytes(memory, 4 * K, 0);
	assert_bytes(memory + 4 * K, 2 * K, 's');
	assert_bytes(memory + 6 * K, 2 * K, 't');
	assert_bytes(memory + 8 * K, 4 * K, 's');
	assert_bytes(memory + 12 * K, 4 * K, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

FIXED_TEST(test_qcow2_data_file)
{
	struct image *img = co_new_with("data_file", "data");

	co_write_ok(img, CLUSTER, CLUSTER, 'd');
	assert_moved(1, 0);
	co_read_ok(img, CLUSTER, CLUSTER);
	assert_moved(1, 0);
	assert_bytes(memory, CLUSTER, 'd');
	co_assert_disk(image_data_file(img), CLUSTER, CLUSTER, 'd');
	g_assert_cmpint(image_co_close(img), ==, 0);
}

FIXED_TEST(test_qcow2_bitmaps_have_the_change)
{
	struct image *img = co_new("qcow2", 0);
	struct dirty_bits *bits;
	bool dirty;

	g_assert_cmpint(image_co_bitmap_change(img, IMAGE_BITMAP_ADD, "b", CLUSTER, NULL), ==, 0);
	co_write_ok(img, 3 * CLUSTER, 4 * K, 'x');
	assert_moved(1, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
	img = co_open_ok("disk", "qcow2", 0);
	g_assert_cmpint(image_co_bitmap_load(img, "b", &bits, NULL), ==, 0);
	g_assert_cmpuint(dirty_bits_extent(bits, 0, &dirty), ==, 3 * CLUSTER);
	g_assert_false(dirty);
	g_assert_cmpuint(dirty_bits_extent(bits, 3 * CLUSTER, &dirty), ==, CLUSTER);
	g_assert_true(dirty);
	dirty_bits_free(bits);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/fixed/raw-moves-without-a-copy", test_raw_moves_without_a_copy);
	g_test_add_func("/fixed/behind-the-end-of-a-file-are-zeroes",
			test_behind_the_end_of_a_file_are_zeroes);
	g_test_add_func("/fixed/what-is-not-aligned-is-bounced",
			test_what_is_not_aligned_is_bounced);
	g_test_add_func("/fixed/direct", test_direct);
	g_test_add_func("/fixed/another-header-is-not-written-to-a-guessed-raw",
			test_another_header_is_not_written_to_a_guessed_raw);
	g_test_add_func("/fixed/refusals-are-those-of-memory", test_refusals_are_those_of_memory);
	g_test_add_func("/fixed/fua-is-durable", test_fua_is_durable);
	g_test_add_func("/fixed/a-copy-that-fails-fails-the-request",
			test_a_copy_that_fails_fails_the_request);
	g_test_add_func("/fixed/qcow2-allocated-clusters", test_qcow2_allocated_clusters);
	g_test_add_func("/fixed/qcow2-new-clusters", test_qcow2_new_clusters);
	g_test_add_func("/fixed/qcow2-reads-of-every-kind", test_qcow2_reads_of_every_kind);
	g_test_add_func("/fixed/qcow2-copy-on-write", test_qcow2_copy_on_write);
	g_test_add_func("/fixed/qcow2-subclusters", test_qcow2_subclusters);
	g_test_add_func("/fixed/qcow2-data-file", test_qcow2_data_file);
	g_test_add_func("/fixed/qcow2-bitmaps-have-the-change", test_qcow2_bitmaps_have_the_change);
	return leave_scratch(folder, g_test_run());
}
