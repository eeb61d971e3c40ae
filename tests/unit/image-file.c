// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The bottom node `file`: transfers at and beyond the end, holes, flushes, and how it copes with a
 * kernel that does only part of the work. For the latter it is linked with --wrap: calls of
 * co_preadv() and the like come here first.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image-test.h"

/* ---- the kernel and its faults ---- */

static struct {
	_Atomic int preads, pwrites, fdatasyncs, fallocates, write_backs;
	size_t max_transfer;	     /* 0: no limit */
	_Atomic ssize_t write_loses; /* the last bytes of the next write are not written */
	int error;		     /* the next calls fail with this error ... */
	int errors;		     /* ... this many times */
	bool writes_succeed;	     /* even so */
	int refuse_mode;	     /* fallocate with this mode is not supported */
	bool refuse_all;	     /* nor with any other mode */
	struct co_queue *stuck;	     /* fdatasync() waits here */
	struct thread_lock lock;
	bool let_go;
} kernel;

static bool take_error(void)
{
	if (!kernel.errors)
		return false;
	kernel.errors--;
	return true;
}

static unsigned shorten(struct iovec *dst, const struct iovec *iov, unsigned niov)
{
	struct iobuf mem = { .iov = iov };
	size_t bytes = 0;

	for (unsigned i = 0; i < niov; i++)
		bytes += iov[i].iov_len;
	if (kernel.max_transfer)
		bytes = MIN(bytes, kernel.max_transfer);
	return iobuf_clip(dst, mem, bytes);
}

ssize_t __real_co_preadv(int fd, const struct iovec *iov, unsigned niov, uint64_t off);
ssize_t __wrap_co_preadv(int fd, const struct iovec *iov, unsigned niov, uint64_t off);
ssize_t __wrap_co_preadv(int fd, const struct iovec *iov, unsigned niov, uint64_t off)
{
	struct iovec shorter[64];

	kernel.preads++;
	if (take_error())
		return kernel.error;
	niov = shorten(shorter, iov, niov);
	return __real_co_preadv(fd, shorter, niov, off);
}

ssize_t __real_co_pwritev(int fd, const struct iovec *iov, unsigned niov, uint64_t off, int flags);
ssize_t __wrap_co_pwritev(int fd, const struct iovec *iov, unsigned niov, uint64_t off, int flags);
ssize_t __wrap_co_pwritev(int fd, const struct iovec *iov, unsigned niov, uint64_t off, int flags)
{
	struct iovec shorter[64];
	ssize_t ret;

	kernel.pwrites++;
	if (!kernel.writes_succeed && take_error())
		return kernel.error;
	niov = shorten(shorter, iov, niov);
	ret = __real_co_pwritev(fd, shorter, niov, off, flags);
	return ret - atomic_exchange(&kernel.write_loses, 0);
}

int __real_co_fdatasync(int fd);
int __wrap_co_fdatasync(int fd);
int __wrap_co_fdatasync(int fd)
{
	kernel.fdatasyncs++;
	if (kernel.stuck) {
		thread_lock(&kernel.lock);
		while (!kernel.let_go)
			co_queue_wait_thread(kernel.stuck, &kernel.lock);
		thread_unlock(&kernel.lock);
	}
	return take_error() ? kernel.error : __real_co_fdatasync(fd);
}

int __real_co_fallocate(int fd, int mode, uint64_t off, uint64_t bytes);
int __wrap_co_fallocate(int fd, int mode, uint64_t off, uint64_t bytes);
int __wrap_co_fallocate(int fd, int mode, uint64_t off, uint64_t bytes)
{
	kernel.fallocates++;
	if (kernel.refuse_all ||
	    (mode && (mode & kernel.refuse_mode) == kernel.refuse_mode && kernel.refuse_mode))
		return -EOPNOTSUPP;
	return take_error() ? kernel.error : __real_co_fallocate(fd, mode, off, bytes);
}

int __real_co_sync_file_range(int fd, uint64_t off, uint64_t bytes, unsigned flags);
int __wrap_co_sync_file_range(int fd, uint64_t off, uint64_t bytes, unsigned flags);
int __wrap_co_sync_file_range(int fd, uint64_t off, uint64_t bytes, unsigned flags)
{
	kernel.write_backs++;
	return take_error() ? kernel.error : __real_co_sync_file_range(fd, off, bytes, flags);
}

/* ---- helpers ---- */

/* Opens a file of @bytes times 'o' as a node. */
static struct image *co_new_file(uint64_t bytes, unsigned flags)
{
	g_autofree char *data = g_malloc(bytes + 1);
	g_autoptr(GError) err = NULL;
	struct image *img = NULL;

	memset(&kernel, 0, sizeof(kernel));
	memset(data, 'o', bytes);
	write_file("file", data, bytes);
	image_co_new_bottom(&image_file_bottom, "file", flags | IMAGE_RDWR, NULL, &img, &err);
	g_assert_no_error(err);
	return img;
}

static uint64_t size_on_disk(void)
{
	struct stat st;

	g_assert_cmpint(stat("file", &st), ==, 0);
	return st.st_size;
}

static void check_bytes(struct image *img, uint64_t off, uint64_t bytes, char expected)
{
	g_autofree char *data = g_malloc(bytes);

	memset(data, expected + 1, bytes);
	g_assert_cmpint(image_co_pread(img, off, bytes, data), ==, 0);
	for (uint64_t i = 0; i < bytes; i++)
		if (data[i] != expected)
			g_error("byte %" PRIu64 " is %02x, not %02x", off + i, data[i], expected);
}

static const unsigned modes[] = { 0, IMAGE_DIRECT };

/* ---- transfers ---- */

CO_TEST(test_reads_behind_the_end_are_zero)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
		struct image *img = co_new_file(5000, modes[i]);

		g_assert_cmpuint(image_size(img), ==, 5000);
		check_bytes(img, 0, 5000, 'o');
		check_bytes(img, 5000, 5000, 0);
		check_bytes(img, 1 << 20, 100, 0);
		image_co_close(img);
	}
}

CO_TEST(test_a_read_over_the_end)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
		struct image *img = co_new_file(5000, modes[i]);
		char *buf = try_iobuf_alloc(8192);

		memset(buf, 'x', 8192);
		g_assert_cmpint(image_co_pread(img, 0, 8192, buf), ==, 0);
		for (unsigned j = 0; j < 8192; j++)
			g_assert_cmpint(buf[j], ==, j < 5000 ? 'o' : 0);
		iobuf_free(buf);
		image_co_close(img);
	}
}

CO_TEST(test_writes_let_it_grow)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
		struct image *img = co_new_file(5000, modes[i]);
		uint32_t align = image_limits(img)->request_alignment;

		g_assert_cmpint(image_co_pwrite(img, 20000, 3, "new", 0), ==, 0);
		/* The file now ends on the alignment. */
		g_assert_cmpuint(image_size(img), ==, (20003 + align - 1) / align * align);
		g_assert_cmpuint(size_on_disk(), ==, image_size(img));
		check_bytes(img, 0, 5000, 'o');
		check_bytes(img, 5000, 15000, 0);
		check_bytes(img, 20003, 1000, 0);
		image_co_close(img);
	}
}

/* More than one call accepts, with empty ones in between. */
CO_TEST(test_many_iovecs)
{
	struct image *img = co_new_file(0, 0);
	struct iovec iov[300];
	struct iobuf mem = { .iov = iov, .skip = 4 };
	char data[900], back[900], expected[800];

	for (unsigned i = 0; i < G_N_ELEMENTS(iov); i++)
		iov[i] = (struct iovec){ data + 3 * i, i % 50 ? 3 : 0 };
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = i * 7;
	iobuf_copy_out(expected, mem, 800);
	g_assert_cmpint(image_co_pwritev(img, 1, 800, mem, 0), ==, 0);
	g_assert_cmpint(image_co_pread(img, 1, 800, back), ==, 0);
	g_assert_cmpmem(back, 800, expected, 800);
	memset(data, 0, sizeof(data));
	g_assert_cmpint(image_co_preadv(img, 1, 800, mem), ==, 0);
	iobuf_copy_out(back, mem, 800);
	g_assert_cmpmem(back, 800, expected, 800);
	image_co_close(img);
}

CO_TEST(test_short_transfers_go_on)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
		struct image *img = co_new_file(65536, modes[i]);
		char *buf = try_iobuf_alloc(32768);

		kernel.max_transfer = 4096;
		memset(buf, 'n', 32768);
		g_assert_cmpint(image_co_pwrite(img, 16384, 32768, buf, 0), ==, 0);
		g_assert_cmpint(kernel.pwrites, ==, 8);
		memset(buf, 0, 32768);
		g_assert_cmpint(image_co_pread(img, 16384, 32768, buf), ==, 0);
		g_assert_cmpint(kernel.preads, ==, 8);
		kernel.max_transfer = 0;
		check_bytes(img, 16384, 32768, 'n');
		check_bytes(img, 0, 16384, 'o');
		check_bytes(img, 49152, 16384, 'o');
		iobuf_free(buf);
		image_co_close(img);
	}
}

/* O_DIRECT cannot continue in the middle of a block. */
CO_TEST(test_a_write_that_ends_in_a_block)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
		struct image *img = co_new_file(65536, modes[i]);
		char *buf = try_iobuf_alloc(8192);

		memset(buf, 'n', 8192);
		kernel.write_loses = 100;
		g_assert_cmpint(image_co_pwrite(img, 4096, 8192, buf, 0), ==, 0);
		g_assert_cmpint(kernel.pwrites, ==, 2);
		check_bytes(img, 4096, 8192, 'n');
		check_bytes(img, 12288, 4096, 'o');
		/* Not even one block was written: no progress is possible. */
		kernel.write_loses = 8192;
		g_assert_cmpint(image_co_pwrite(img, 4096, 8192, buf, 0), ==, -EIO);
		iobuf_free(buf);
		image_co_close(img);
	}
}

CO_TEST(test_interrupted_calls_are_made_again)
{
	static const int errors[] = { -EINTR, -EAGAIN };
	struct image *img = co_new_file(4096, IMAGE_UNMAP);
	char byte;

	for (unsigned i = 0; i < G_N_ELEMENTS(errors); i++) {
		kernel.error = errors[i];
		kernel.errors = 3;
		g_assert_cmpint(image_co_pread(img, 0, 1, &byte), ==, 0);
		kernel.errors = 3;
		g_assert_cmpint(image_co_pwrite(img, 0, 1, "n", 0), ==, 0);
		kernel.errors = 3;
		g_assert_cmpint(image_co_flush(img), ==, 0);
		kernel.errors = 3;
		g_assert_cmpint(image_co_pdiscard(img, 0, 4096), ==, 0);
	}
	g_assert_cmpint(kernel.preads, ==, 8);
	image_co_close(img);
}

CO_TEST(test_errors_come_through)
{
	struct image *img = co_new_file(4096, 0);
	char byte;

	kernel.error = -EIO;
	kernel.errors = 1;
	g_assert_cmpint(image_co_pread(img, 0, 1, &byte), ==, -EIO);
	kernel.error = -ENOSPC;
	kernel.errors = 1;
	g_assert_cmpint(image_co_pwrite(img, 8192, 1, "n", 0), ==, -ENOSPC);
	g_assert_cmpuint(image_size(img), ==, 4096);
	image_co_close(img);
}

/* ---- flush ---- */

CO_TEST(test_flush_only_after_a_change)
{
	struct image *img = co_new_file(4096, IMAGE_UNMAP);

	g_assert_cmpint(image_co_flush(img), ==, 0);
	g_assert_cmpint(kernel.fdatasyncs, ==, 0);
	g_assert_cmpint(image_co_pwrite(img, 0, 1, "n", 0), ==, 0);
	g_assert_cmpint(image_co_flush(img), ==, 0);
	g_assert_cmpint(kernel.fdatasyncs, ==, 1);
	g_assert_cmpint(image_co_flush(img), ==, 0);
	g_assert_cmpint(kernel.fdatasyncs, ==, 1);
	g_assert_cmpint(image_co_pwrite_zeroes(img, 0, 4096, 0), ==, 0);
	g_assert_cmpint(image_co_flush(img), ==, 0);
	g_assert_cmpint(kernel.fdatasyncs, ==, 2);
	g_assert_cmpint(image_co_truncate(img, 8192), ==, 0);
	g_assert_cmpint(image_co_flush(img), ==, 0);
	g_assert_cmpint(kernel.fdatasyncs, ==, 3);
	/* A failed write may have changed something. */
	kernel.error = -EIO;
	kernel.errors = 1;
	g_assert_cmpint(image_co_pwrite(img, 0, 1, "n", 0), ==, -EIO);
	g_assert_cmpint(image_co_flush(img), ==, 0);
	g_assert_cmpint(kernel.fdatasyncs, ==, 4);
	g_assert_cmpint(image_co_close(img), ==, 0);
	g_assert_cmpint(kernel.fdatasyncs, ==, 4);
}

static int co_write_mibs(struct image *img, unsigned nr)
{
	g_autofree char *data = g_malloc0(1 << 20);
	int ret = 0;

	for (unsigned i = 0; i < nr && !ret; i++)
		ret = image_co_pwrite(img, (uint64_t)i << 20, 1 << 20, data, 0);
	return ret;
}

CO_TEST(test_write_behind)
{
	struct image *img = co_new_file(0, 0);

	g_assert_cmpint(co_write_mibs(img, 20), ==, 0);
	g_assert_cmpint(kernel.write_backs, ==, 0);
	image_co_close(img);

	img = co_new_file(0, IMAGE_WRITE_BEHIND);
	g_assert_cmpint(co_write_mibs(img, 20), ==, 0);
	g_assert_cmpint(kernel.write_backs, ==, 2);
	/* It does not stand in for the flush. */
	g_assert_cmpint(image_co_flush(img), ==, 0);
	g_assert_cmpint(kernel.fdatasyncs, ==, 1);
	image_co_close(img);
}

CO_TEST(test_no_write_behind_the_page_cache)
{
	struct image *img = co_new_file(0, IMAGE_WRITE_BEHIND | IMAGE_DIRECT);

	g_assert_cmpint(co_write_mibs(img, 20), ==, 0);
	g_assert_cmpint(kernel.write_backs, ==, image_limits(img)->direct ? 0 : 2);
	image_co_close(img);
}

CO_TEST(test_write_behind_may_fail)
{
	struct image *img = co_new_file(0, IMAGE_WRITE_BEHIND);

	g_assert_cmpint(co_write_mibs(img, 7), ==, 0);
	kernel.error = -EIO;
	kernel.errors = 1;
	kernel.writes_succeed = true;
	g_assert_cmpint(co_write_mibs(img, 1), ==, 0);
	g_assert_cmpint(kernel.write_backs, ==, 1);
	g_assert_cmpint(kernel.errors, ==, 0);
	g_assert_cmpint(image_co_flush(img), ==, 0);
	image_co_close(img);
}

CO_TEST(test_close_flushes)
{
	struct image *img = co_new_file(4096, 0);

	g_assert_cmpint(image_co_pwrite(img, 0, 1, "n", 0), ==, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
	g_assert_cmpint(kernel.fdatasyncs, ==, 1);
}

/* The kernel forgets what it could not write back; the node does not. */
CO_TEST(test_a_failed_flush_fails_for_good)
{
	struct image *img = co_new_file(4096, 0);

	g_assert_cmpint(image_co_pwrite(img, 0, 1, "n", 0), ==, 0);
	kernel.error = -EIO;
	kernel.errors = 1;
	g_assert_cmpint(image_co_flush(img), ==, -EIO);
	g_assert_cmpuint(image_troubles(img), ==, IMAGE_TROUBLE_LOST);
	g_assert_cmpint(image_co_flush(img), ==, -EIO);
	g_assert_cmpint(image_co_pwrite(img, 0, 1, "n", 0), ==, 0);
	g_assert_cmpint(image_co_flush(img), ==, -EIO);
	g_assert_cmpint(image_co_pwrite(img, 0, 1, "n", IMAGE_REQ_FUA), ==, -EIO);
	g_assert_cmpint(image_co_close(img), ==, -EIO);
}

struct flusher {
	struct image *img;
	bool writes;
	int flushing;
	int ended;
};

static void flusher_run(void *arg)
{
	struct flusher *f = arg;

	if (f->writes)
		g_assert_cmpint(image_co_pwrite(f->img, 0, 1, "n", 0), ==, 0);
	f->flushing++;
	g_assert_cmpint(image_co_flush(f->img), ==, 0);
	f->ended++;
}

static void start_flushers(struct flusher *f, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		co_start(flusher_run, f);
}

static void wait_a_little(void)
{
	co_sleep_ns(20 * 1000 * 1000);
}

/* Flushes that arrive while an fdatasync() runs share the next one. */
CO_TEST(test_overlapping_flushes_share)
{
	struct image *img = co_new_file(4096, 0);
	struct flusher first = { .img = img, .writes = true },
		       later = { .img = img, .writes = true };
	struct co_queue stuck;

	co_queue_init(&stuck);
	thread_lock_init(&kernel.lock);
	kernel.stuck = &stuck;
	start_flushers(&first, 1);
	while (!kernel.fdatasyncs)
		wait_a_little();
	start_flushers(&later, 10);
	while (later.flushing < 10)
		wait_a_little();
	g_assert_cmpint(kernel.pwrites, ==, 11);
	g_assert_cmpint(kernel.fdatasyncs, ==, 1);
	g_assert_cmpint(first.ended + later.ended, ==, 0);

	thread_lock(&kernel.lock);
	kernel.let_go = true;
	co_queue_wake_all(&stuck);
	thread_unlock(&kernel.lock);
	while (first.ended + later.ended < 11)
		wait_a_little();
	g_assert_cmpint(kernel.fdatasyncs, ==, 2);
	image_co_close(img);
	co_queue_destroy(&stuck);
}

/* Nothing changed since that one started, but its data is not durable before it ends. */
CO_TEST(test_a_flush_waits_for_the_one_that_runs)
{
	struct image *img = co_new_file(4096, 0);
	struct flusher first = { .img = img, .writes = true }, later = { .img = img };
	struct co_queue stuck;

	co_queue_init(&stuck);
	thread_lock_init(&kernel.lock);
	kernel.stuck = &stuck;
	start_flushers(&first, 1);
	while (!kernel.fdatasyncs)
		wait_a_little();
	start_flushers(&later, 1);
	while (!later.flushing)
		wait_a_little();
	wait_a_little();
	g_assert_cmpint(later.ended, ==, 0);

	thread_lock(&kernel.lock);
	kernel.let_go = true;
	co_queue_wake_all(&stuck);
	thread_unlock(&kernel.lock);
	while (first.ended + later.ended < 2)
		wait_a_little();
	g_assert_cmpint(kernel.fdatasyncs, ==, 1);
	image_co_close(img);
	co_queue_destroy(&stuck);
}

/* ---- many loops ---- */

#define LOOPS  4
#define BLOCKS 200
#define BLOCK  4096

struct appender {
	struct image *img;
	unsigned number;
};

/* The loops take turns, so every write is beyond the end that the others know. */
static void append_blocks(void *arg)
{
	struct appender *a = arg;
	char *block = try_iobuf_alloc(BLOCK);

	memset(block, 'a' + a->number, BLOCK);
	for (unsigned i = 0; i < BLOCKS; i++) {
		uint64_t off = (i * LOOPS + a->number) * BLOCK;

		if (i % 7 == 3)
			g_assert_cmpint(
				image_co_pwrite_zeroes(a->img, off, BLOCK, IMAGE_REQ_MAY_UNMAP), ==,
				0);
		else
			g_assert_cmpint(image_co_pwrite(a->img, off, BLOCK, block, 0), ==, 0);
		g_assert_cmpuint(image_size(a->img), >=, off + BLOCK);
		if (i % 10 == 0)
			g_assert_cmpint(image_co_flush(a->img), ==, 0);
	}
	iobuf_free(block);
}

static void *appender_thread(void *arg)
{
	run_co(append_blocks, arg);
	return NULL;
}

CO_TEST(test_many_loops_append_and_flush)
{
	struct image *img = co_new_file(0, IMAGE_DIRECT | IMAGE_UNMAP);
	struct appender appenders[LOOPS];
	GThread *threads[LOOPS];

	for (unsigned i = 0; i < LOOPS; i++) {
		appenders[i] = (struct appender){ img, i };
		threads[i] = g_thread_new("appender", appender_thread, &appenders[i]);
	}
	for (unsigned i = 0; i < LOOPS; i++)
		g_thread_join(threads[i]);
	g_assert_cmpuint(image_size(img), ==, LOOPS * BLOCKS * BLOCK);
	g_assert_cmpuint(size_on_disk(), ==, LOOPS * BLOCKS * BLOCK);
	for (unsigned i = 0; i < LOOPS * BLOCKS; i++)
		check_bytes(img, i * BLOCK, BLOCK, i / LOOPS % 7 == 3 ? 0 : 'a' + i % LOOPS);
	image_co_close(img);
}

/* ---- zeroes, holes, size ---- */

/* Extents as text: "d" data or "z" zero, and how long. */
static char *co_extents(struct image *img, uint64_t bytes)
{
	GString *text = g_string_new(NULL);

	for (uint64_t off = 0; off < bytes;) {
		struct image_extent extent;

		g_assert_cmpint(image_co_block_status(img, off, bytes - off, &extent), ==, 0);
		g_assert_true(extent.flags & IMAGE_EXTENT_ALLOCATED);
		g_assert_cmpuint(extent.host_off, ==, off);
		g_string_append_printf(text, "%s%u ", extent.flags & IMAGE_EXTENT_ZERO ? "z" : "d",
				       (unsigned)extent.bytes / 1024);
		off += extent.bytes;
	}
	return g_string_free(text, FALSE);
}

CO_TEST(test_discard_makes_holes)
{
	struct image *img = co_new_file(256 * 1024, IMAGE_UNMAP);
	int64_t before = image_co_allocated_bytes(img);
	g_autofree char *extents = NULL;

	g_assert_cmpint(image_co_flush(img), ==, 0);
	g_assert_cmpint(image_co_pdiscard(img, 65536, 65536), ==, 0);
	extents = co_extents(img, 256 * 1024);
	g_assert_cmpstr(extents, ==, "d64 z64 d128 ");
	check_bytes(img, 65536, 65536, 0);
	g_assert_cmpint(image_co_allocated_bytes(img), ==, before - 65536);
	/* The part beyond the end does not make the file grow. */
	g_assert_cmpint(image_co_pdiscard(img, 128 * 1024, 1 << 20), ==, 0);
	g_assert_cmpuint(size_on_disk(), ==, 256 * 1024);
	check_bytes(img, 65536, 192 * 1024, 0);
	image_co_close(img);
}

CO_TEST(test_zeroes_are_zero_and_let_it_grow)
{
	static const unsigned flags[] = { 0, IMAGE_REQ_MAY_UNMAP };
	static const int refused[] = { 0, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE };

	for (unsigned i = 0; i < 2 * 2 * 3; i++) {
		struct image *img = co_new_file(65536, modes[i % 2] | IMAGE_UNMAP);

		kernel.refuse_mode = refused[i / 4];
		/* Inside, across and beyond the end. */
		g_assert_cmpint(image_co_pwrite_zeroes(img, 1000, 5000, flags[i / 2 % 2]), ==, 0);
		g_assert_cmpuint(image_size(img), ==, 65536);
		g_assert_cmpint(image_co_pwrite_zeroes(img, 61440, 8192, flags[i / 2 % 2]), ==, 0);
		g_assert_cmpuint(image_size(img), ==, 69632);
		g_assert_cmpuint(size_on_disk(), ==, 69632);
		g_assert_cmpint(image_co_pwrite_zeroes(img, 131072, 4096, flags[i / 2 % 2]), ==, 0);
		g_assert_cmpuint(size_on_disk(), ==, 135168);
		check_bytes(img, 0, 1000, 'o');
		check_bytes(img, 1000, 5000, 0);
		check_bytes(img, 6000, 55440, 'o');
		check_bytes(img, 61440, 73728, 0);
		image_co_close(img);
	}
}

CO_TEST(test_refusals_are_remembered)
{
	struct image *img = co_new_file(65536, IMAGE_UNMAP);

	kernel.refuse_all = true;
	g_assert_cmpint(image_co_pwrite_zeroes(img, 0, 4096, IMAGE_REQ_NO_FALLBACK), ==, -ENOTSUP);
	g_assert_cmpint(image_co_pdiscard(img, 0, 4096), ==, 0);
	g_assert_cmpint(kernel.fallocates, ==, 2);
	g_assert_cmpint(image_co_pwrite_zeroes(img, 0, 4096, IMAGE_REQ_NO_FALLBACK), ==, -ENOTSUP);
	g_assert_cmpint(image_co_pdiscard(img, 0, 4096), ==, 0);
	g_assert_cmpint(kernel.fallocates, ==, 2);
	check_bytes(img, 0, 65536, 'o');
	g_assert_cmpint(image_co_pwrite_zeroes(img, 0, 4096, 0), ==, 0);
	check_bytes(img, 0, 4096, 0);
	image_co_close(img);
}

CO_TEST(test_truncate)
{
	struct image *img = co_new_file(65536, 0);

	g_assert_cmpint(image_co_truncate(img, 100), ==, 0);
	g_assert_cmpuint(image_size(img), ==, 100);
	g_assert_cmpint(image_co_truncate(img, 1000), ==, 0);
	g_assert_cmpuint(size_on_disk(), ==, 1000);
	check_bytes(img, 0, 100, 'o');
	check_bytes(img, 100, 900, 0);
	g_assert_cmpint(image_co_truncate(img, UINT64_MAX), ==, -EFBIG);
	image_co_close(img);
}

/* ---- changes by other programs ---- */

static void check_read_fails(struct image *img, uint64_t off, uint64_t bytes)
{
	g_autofree char *data = g_malloc(bytes);

	g_assert_cmpint(image_co_pread(img, off, bytes, data), ==, -EIO);
}

CO_TEST(test_what_others_cut_off_is_an_error)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
		struct image *img = co_new_file(65536, modes[i]);

		g_assert_cmpint(truncate("file", 10000), ==, 0);
		check_bytes(img, 0, 8192, 'o');
		/* Nothing is missing beyond what the file ever had. */
		check_bytes(img, 65536, 4096, 0);
		g_assert_cmpuint(image_troubles(img), ==, 0);
		check_read_fails(img, 8192, 4096);
		check_read_fails(img, 61440, 4096);
		check_read_fails(img, 61440, 8192);
		g_assert_cmpuint(image_troubles(img), ==, IMAGE_TROUBLE_CUT);
		g_assert_cmpstr(image_troubled_file(img, IMAGE_TROUBLE_CUT), ==, "file");
		check_bytes(img, 0, 8192, 'o');
		check_bytes(img, 65536, 4096, 0);
		image_co_close(img);
	}
}

/* The hole that appears there once had other contents. */
CO_TEST(test_what_was_cut_off_does_not_come_back)
{
	struct image *img = co_new_file(65536, 0);
	struct image_extent extent;

	g_assert_cmpint(truncate("file", 4096), ==, 0);
	image_inspect(img);
	g_assert_cmpuint(image_troubles(img), ==, IMAGE_TROUBLE_CUT);
	g_assert_cmpint(image_co_pwrite(img, 70000, 3, "new", 0), ==, 0);
	check_read_fails(img, 8192, 4096);
	g_assert_cmpint(image_co_block_status(img, 8192, 4096, &extent), ==, -EIO);
	check_bytes(img, 0, 4096, 'o');
	check_bytes(img, 65536, 4464, 0);
	image_co_close(img);
}

CO_TEST(test_block_status_notices_a_cut)
{
	struct image *img = co_new_file(65536, 0);
	struct image_extent extent;

	g_assert_cmpint(truncate("file", 4096), ==, 0);
	g_assert_cmpint(image_co_block_status(img, 0, 4096, &extent), ==, 0);
	g_assert_cmpint(image_co_block_status(img, 8192, 4096, &extent), ==, -EIO);
	g_assert_cmpint(image_co_block_status(img, 65536, 4096, &extent), ==, 0);
	g_assert_true(extent.flags & IMAGE_EXTENT_ZERO);
	image_co_close(img);
}

/* Neither our own truncation nor growth counts. */
CO_TEST(test_what_is_no_cut)
{
	struct image *img = co_new_file(65536, 0);

	g_assert_cmpint(image_co_truncate(img, 4096), ==, 0);
	image_inspect(img);
	check_bytes(img, 4096, 61440, 0);
	g_assert_cmpint(truncate("file", 131072), ==, 0);
	image_inspect(img);
	g_assert_cmpint(image_co_pwrite(img, 8192, 3, "new", 0), ==, 0);
	check_bytes(img, 4096, 4096, 0);
	g_assert_cmpuint(image_troubles(img), ==, 0);
	image_co_close(img);
}

CO_TEST(test_deletion_is_noticed)
{
	struct image *img = co_new_file(4096, 0);

	/* Another name will do. */
	g_assert_cmpint(link("file", "other"), ==, 0);
	g_assert_cmpint(unlink("file"), ==, 0);
	image_inspect(img);
	g_assert_cmpuint(image_troubles(img), ==, 0);
	g_assert_cmpint(unlink("other"), ==, 0);
	image_inspect(img);
	g_assert_cmpuint(image_troubles(img), ==, IMAGE_TROUBLE_DELETED);
	g_assert_cmpint(image_co_pwrite(img, 0, 1, "n", 0), ==, 0);
	image_co_close(img);
}

/* A file without a name from the start is meant to have none. */
CO_TEST(test_a_file_without_a_name)
{
	struct image *img = NULL;
	g_autofree char *name = NULL;
	int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0) {
		g_test_skip("no O_TMPFILE here");
		return;
	}
	name = g_strdup_printf("/proc/self/fd/%d", fd);
	img = co_open_ok(name, "raw", IMAGE_RDWR);
	image_inspect(img);
	g_assert_cmpuint(image_troubles(img), ==, 0);
	image_co_close(img);
	close(fd);
}

CO_TEST(test_troubles_of_the_whole_chain)
{
	struct image *img;

	co_create_ok("base", "raw", 65536, NULL, NULL);
	co_create_ok("top", "qcow2", 65536, "base", "raw");
	img = co_open_ok("top", NULL, IMAGE_RDWR);
	g_assert_cmpint(truncate("base", 512), ==, 0);
	g_assert_cmpint(unlink("top"), ==, 0);
	image_inspect(img);
	g_assert_cmpuint(image_troubles(img), ==, IMAGE_TROUBLE_CUT | IMAGE_TROUBLE_DELETED);
	g_assert_cmpstr(image_troubled_file(img, IMAGE_TROUBLE_CUT), ==, "base");
	g_assert_cmpstr(image_troubled_file(img, IMAGE_TROUBLE_DELETED), ==, "top");
	check_read_fails(img, 0, 4096);
	image_co_close(img);
}

/* A raw image of two sectors, written as part of a larger block. */
static struct image *co_raw_with_tail(void)
{
	g_autofree char *block = g_malloc0(4096);
	struct image_open_opts opts = { .format = "raw", .flags = IMAGE_RDWR };
	struct image *img = co_new_file(1024, 0);

	g_assert_cmpint(image_co_open_on(img, &opts, &img, NULL), ==, 0);
	g_assert_cmpint(image_co_pwrite(image_file(img), 0, 4096, block, 0), ==, 0);
	return img;
}

CO_TEST(test_raw_cuts_only_what_it_added)
{
	struct image *img = co_raw_with_tail();

	g_assert_cmpint(image_co_close(img), ==, 0);
	g_assert_cmpuint(size_on_disk(), ==, 1024);

	img = co_raw_with_tail();
	g_assert_cmpint(truncate("file", 65536), ==, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
	g_assert_cmpuint(size_on_disk(), ==, 65536);
}

int main(int argc, char **argv)
{
	char *scratch;

	g_test_init(&argc, &argv, NULL);
	scratch = enter_scratch();
	g_test_add_func("/file/reads-behind-the-end-are-zero", test_reads_behind_the_end_are_zero);
	g_test_add_func("/file/a-read-over-the-end", test_a_read_over_the_end);
	g_test_add_func("/file/writes-let-it-grow", test_writes_let_it_grow);
	g_test_add_func("/file/many-iovecs", test_many_iovecs);
	g_test_add_func("/file/short-transfers-go-on", test_short_transfers_go_on);
	g_test_add_func("/file/a-write-that-ends-in-a-block", test_a_write_that_ends_in_a_block);
	g_test_add_func("/file/interrupted-calls-are-made-again",
			test_interrupted_calls_are_made_again);
	g_test_add_func("/file/errors-come-through", test_errors_come_through);
	g_test_add_func("/file/flush-only-after-a-change", test_flush_only_after_a_change);
	g_test_add_func("/file/write-behind", test_write_behind);
	g_test_add_func("/file/no-write-behind-the-page-cache",
			test_no_write_behind_the_page_cache);
	g_test_add_func("/file/write-behind-may-fail", test_write_behind_may_fail);
	g_test_add_func("/file/close-flushes", test_close_flushes);
	g_test_add_func("/file/a-failed-flush-fails-for-good", test_a_failed_flush_fails_for_good);
	g_test_add_func("/file/overlapping-flushes-share", test_overlapping_flushes_share);
	g_test_add_func("/file/a-flush-waits-for-the-one-that-runs",
			test_a_flush_waits_for_the_one_that_runs);
	g_test_add_func("/file/many-loops-append-and-flush", test_many_loops_append_and_flush);
	g_test_add_func("/file/discard-makes-holes", test_discard_makes_holes);
	g_test_add_func("/file/zeroes-are-zero-and-let-it-grow",
			test_zeroes_are_zero_and_let_it_grow);
	g_test_add_func("/file/refusals-are-remembered", test_refusals_are_remembered);
	g_test_add_func("/file/truncate", test_truncate);
	g_test_add_func("/file/what-others-cut-off-is-an-error",
			test_what_others_cut_off_is_an_error);
	g_test_add_func("/file/what-was-cut-off-does-not-come-back",
			test_what_was_cut_off_does_not_come_back);
	g_test_add_func("/file/block-status-notices-a-cut", test_block_status_notices_a_cut);
	g_test_add_func("/file/what-is-no-cut", test_what_is_no_cut);
	g_test_add_func("/file/deletion-is-noticed", test_deletion_is_noticed);
	g_test_add_func("/file/a-file-without-a-name", test_a_file_without_a_name);
	g_test_add_func("/file/troubles-of-the-whole-chain", test_troubles_of_the_whole_chain);
	g_test_add_func("/file/raw-cuts-only-what-it-added", test_raw_cuts_only_what_it_added);
	return leave_scratch(scratch, g_test_run());
}
