// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The overlap check of metadata: each kind of table is written only where that kind is registered.
 * Here the register is changed behind the image's back, as a bug would.
 */
#include "image-test.h"

#include <fcntl.h>
#include <unistd.h>

#include "qcow2/qcow2.h"

#define KIB 1024
#define MIB (1024 * KIB)

static void co_create(uint64_t size)
{
	struct image_create_opts opts = { .size = size, .size_given = true };
	g_autoptr(GError) err = NULL;

	image_co_create("disk", "qcow2", &opts, NULL, &err);
	g_assert_no_error(err);
}

static void co_write(struct image *img, uint64_t off, int expected)
{
	uint8_t buf[4 * KIB] = { 1 };

	g_assert_cmpint(image_co_pwrite(img, off, sizeof(buf), buf, 0), ==, expected);
}

/* A number in the file, read past the image. The file is sparse and may have gigabytes. */
static uint64_t file_be64(uint64_t off)
{
	int fd = open("disk", O_RDONLY | O_CLOEXEC);
	uint64_t value;

	g_assert_cmpint(fd, >=, 0);
	g_assert_cmpint(pread(fd, &value, sizeof(value), off), ==, sizeof(value));
	close(fd);
	return be64toh(value);
}

static void co_disguise(struct qcow2 *q, uint64_t host_off)
{
	co_mutex_lock(&q->alloc_lock);
	qcow2_add_metadata(q, METADATA_OTHER, qcow2_cluster_index(q, host_off), 1);
	co_mutex_unlock(&q->alloc_lock);
}

/* A write-back that finds something else registered at @host_off fails there, and from then on. */
static void co_expect_fire(struct image *img, uint64_t host_off, uint64_t watched_off)
{
	uint64_t before = file_be64(watched_off);

	co_disguise(img->opaque, host_off);
	g_assert_cmpint(image_co_flush(img), ==, -EIO);
	g_assert_cmphex(file_be64(watched_off), ==, before);
	g_assert_cmphex(file_be64(72) & QCOW2_INCOMPAT_CORRUPT, ==, QCOW2_INCOMPAT_CORRUPT);
	g_assert_cmpint(image_co_flush(img), ==, -EIO);
	g_assert_cmpint(image_co_close(img), ==, -EIO);
}

static uint64_t reftable_off(struct qcow2 *q) NO_THREAD_SAFETY_ANALYSIS /* one thread */
{
	return q->reftable_off;
}

static uint64_t refblock_off(struct qcow2 *q) NO_THREAD_SAFETY_ANALYSIS /* one thread */
{
	return q->reftable[0];
}

static uint64_t l1_off(struct qcow2 *q) NO_THREAD_SAFETY_ANALYSIS /* one thread */
{
	return q->l1_off;
}

CO_TEST(test_l1)
{
	struct image *img;
	struct qcow2 *q;

	co_create(64 * MIB);
	img = co_open_ok("disk", "qcow2", IMAGE_RDWR);
	q = img->opaque;
	co_write(img, 0, 0);
	co_expect_fire(img, l1_off(q), l1_off(q));
}

CO_TEST(test_l2)
{
	struct image *img;
	struct qcow2 *q;
	uint64_t l2_off;

	co_create(64 * MIB);
	img = co_open_ok("disk", "qcow2", IMAGE_RDWR);
	q = img->opaque;
	co_write(img, 0, 0);
	g_assert_cmpint(image_co_flush(img), ==, 0);
	l2_off = file_be64(l1_off(q)) & QCOW2_OFFSET_MASK;
	co_write(img, 64 * KIB, 0);
	co_expect_fire(img, l2_off, l2_off + 8);
}

CO_TEST(test_refcount_block)
{
	struct image *img;
	struct qcow2 *q;

	co_create(64 * MIB);
	img = co_open_ok("disk", "qcow2", IMAGE_RDWR);
	q = img->opaque;
	co_write(img, 0, 0);
	co_expect_fire(img, refblock_off(q), refblock_off(q));
}

/* Adds a refcount block, which makes the refcount table dirty. */
static void co_make_block(struct qcow2 *q)
{
	bool again;

	co_mutex_lock(&q->alloc_lock);
	g_assert_cmpint(qcow2_co_make_countable(q, 1ull << q->refblock_bits, &again), ==, 0);
	g_assert_true(again);
	co_mutex_unlock(&q->alloc_lock);
}

CO_TEST(test_refcount_table)
{
	struct image *img;
	struct qcow2 *q;

	co_create(64 * MIB);
	img = co_open_ok("disk", "qcow2", IMAGE_RDWR);
	q = img->opaque;
	co_make_block(q);
	co_write(img, 0, 0);
	co_expect_fire(img, reftable_off(q), reftable_off(q) + 8);
}

CO_TEST(test_header)
{
	struct image *img;
	struct qcow2 *q;
	uint64_t before;
	int ret;

	co_create(64 * MIB);
	before = file_be64(48);
	img = co_open_ok("disk", "qcow2", IMAGE_RDWR);
	q = img->opaque;
	co_disguise(q, 0);
	co_mutex_lock(&q->alloc_lock);
	ret = qcow2_co_write_reftable_pointer(q, 1 * MIB, 1);
	co_mutex_unlock(&q->alloc_lock);
	g_assert_cmpint(ret, ==, -EIO);
	g_assert_cmphex(file_be64(48), ==, before);
	image_co_close(img);
}

/*
 * An image that is marked corrupt refuses writers; a repair that finds no error removes the mark.
 */
CO_TEST(test_afterwards)
{
	struct image_check_opts opts = { .fix = IMAGE_CHECK_FIX_LEAKS | IMAGE_CHECK_FIX_ERRORS };
	struct image_check_result result;
	struct image *img;
	struct qcow2 *q;

	co_create(64 * MIB);
	img = co_open_ok("disk", "qcow2", IMAGE_RDWR);
	q = img->opaque;
	co_write(img, 0, 0);
	co_expect_fire(img, l1_off(q), l1_off(q));
	co_open_fails("disk", "qcow2", IMAGE_RDWR, EROFS, "Image is corrupt");
	img = co_open_ok("disk", "qcow2", IMAGE_FOR_CHECK | IMAGE_FOR_REPAIR);
	co_write(img, 0, -EPERM);
	g_assert_cmpint(image_co_repair(img, &opts, &result), ==, 0);
	g_assert_cmpuint(result.corruptions, ==, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
	img = co_open_ok("disk", "qcow2", IMAGE_RDWR);
	co_write(img, 0, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/overlap/l1", test_l1);
	g_test_add_func("/overlap/l2", test_l2);
	g_test_add_func("/overlap/refcount-block", test_refcount_block);
	g_test_add_func("/overlap/refcount-table", test_refcount_table);
	g_test_add_func("/overlap/header", test_header);
	g_test_add_func("/overlap/afterwards", test_afterwards);
	return leave_scratch(folder, g_test_run());
}
