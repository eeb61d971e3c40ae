// SPDX-License-Identifier: GPL-2.0-or-later
/* What image_get_stats() counts. */
#include "image-test.h"

#define MIB	(1024 * 1024)
#define CLUSTER 65536

static void co_fill(struct image *img, uint64_t off, uint64_t bytes)
{
	g_autofree void *buf = g_malloc(bytes);

	memset(buf, 0x11, bytes);
	g_assert_cmpint(image_co_pwrite(img, off, bytes, buf, 0), ==, 0);
}

static void co_read(struct image *img, uint64_t off, uint64_t bytes)
{
	g_autofree void *buf = g_malloc(bytes);

	g_assert_cmpint(image_co_pread(img, off, bytes, buf), ==, 0);
}

/* The table of mappings is read once. */
CO_TEST(test_cache)
{
	struct image_stats before, after;
	struct image *img;

	co_create_ok("disk", "qcow2", MIB, NULL, NULL);
	img = co_open_ok("disk", "qcow2", IMAGE_RDWR);
	co_fill(img, 0, CLUSTER);
	g_assert_cmpint(image_co_close(img), ==, 0);

	img = co_open_ok("disk", "qcow2", 0);
	before = image_get_stats(img);
	g_assert_cmpuint(before.cache_bytes, >, 0);
	g_assert_cmpuint(before.cache_hits, ==, 0);
	g_assert_cmpuint(before.cache_misses, ==, 0);
	co_read(img, 0, 512);
	after = image_get_stats(img);
	g_assert_cmpuint(after.cache_misses, ==, 1);
	co_read(img, 512, 512);
	g_assert_cmpuint(image_get_stats(img).cache_misses, ==, 1);
	g_assert_cmpuint(image_get_stats(img).cache_hits, ==, after.cache_hits + 1);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

/* What is clean is read again; what is not stays, and reaches the file. */
CO_TEST(test_give_back)
{
	uint8_t byte = 0;
	uint64_t misses;
	struct image *img;

	co_create_ok("disk", "qcow2", MIB, NULL, NULL);
	img = co_open_ok("disk", "qcow2", IMAGE_RDWR);
	co_fill(img, 0, CLUSTER);
	misses = image_get_stats(img).cache_misses;
	image_begin_use(img);
	image_end_use(img);
	g_assert_cmpint(image_co_pread(img, 512, 1, &byte), ==, 0);
	g_assert_cmpint(byte, ==, 0x11);
	g_assert_cmpuint(image_get_stats(img).cache_misses, ==, misses);

	g_assert_cmpint(image_co_flush(img), ==, 0);
	/* Not while somebody else uses it. */
	image_begin_use(img);
	image_begin_use(img);
	image_end_use(img);
	g_assert_cmpint(image_co_pread(img, 512, 1, &byte), ==, 0);
	g_assert_cmpuint(image_get_stats(img).cache_misses, ==, misses);
	image_end_use(img);
	g_assert_cmpint(image_co_pread(img, 512, 1, &byte), ==, 0);
	g_assert_cmpint(byte, ==, 0x11);
	g_assert_cmpuint(image_get_stats(img).cache_misses, ==, misses + 1);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

/* Also of what is below a filter. */
CO_TEST(test_below_filter)
{
	struct image *img;
	uint64_t misses;

	co_create_ok("base", "qcow2", MIB, NULL, NULL);
	img = co_open_ok("base", "qcow2", IMAGE_RDWR);
	co_fill(img, 0, CLUSTER);
	g_assert_cmpint(image_co_close(img), ==, 0);
	co_create_ok("top", "qcow2", MIB, "base", "qcow2");
	img = co_open_ok("json:{'driver':'blkdebug','image':{'driver':'qcow2','file':"
			 "{'driver':'file','filename':'top'}}}",
			 NULL, 0);
	/* Of the base alone: the top has no table there. */
	co_read(img, 0, 512);
	misses = image_get_stats(img).cache_misses;
	g_assert_cmpuint(misses, >, 0);
	image_begin_use(img);
	image_end_use(img);
	co_read(img, 0, 512);
	g_assert_cmpuint(image_get_stats(img).cache_misses, ==, misses + 1);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

CO_TEST(test_allocation)
{
	struct image_stats empty, full;
	struct image *img;

	co_create_ok("disk", "qcow2", MIB, NULL, NULL);
	img = co_open_ok("disk", "qcow2", IMAGE_RDWR | IMAGE_UNMAP);
	empty = image_get_stats(img);
	g_assert_cmpuint(empty.allocated_bytes, ==, 0);
	g_assert_cmpuint(empty.freed_bytes, ==, 0);
	co_fill(img, 0, 8 * CLUSTER);
	full = image_get_stats(img);
	/* And a table. */
	g_assert_cmpuint(full.allocated_bytes, ==, 9 * CLUSTER);
	co_fill(img, 0, 8 * CLUSTER);
	g_assert_cmpuint(image_get_stats(img).allocated_bytes, ==, full.allocated_bytes);
	g_assert_cmpint(image_co_pdiscard(img, 0, 4 * CLUSTER), ==, 0);
	g_assert_cmpint(image_co_flush(img), ==, 0);
	while (image_get_stats(img).freed_bytes < 4 * CLUSTER)
		co_sleep_ns(1000000);
	g_assert_cmpuint(image_get_stats(img).freed_bytes, ==, 4 * CLUSTER);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

CO_TEST(test_chain)
{
	uint64_t base_bytes, misses;
	struct image *img;

	co_create_ok("base", "qcow2", MIB, NULL, NULL);
	img = co_open_ok("base", "qcow2", IMAGE_RDWR);
	co_fill(img, 0, CLUSTER);
	base_bytes = image_get_stats(img).cache_bytes;
	g_assert_cmpint(image_co_close(img), ==, 0);
	co_create_ok("top", "qcow2", MIB, "base", "qcow2");
	img = co_open_ok("top", "qcow2", IMAGE_RDWR);
	co_fill(img, CLUSTER, CLUSTER);
	g_assert_cmpuint(image_get_stats(img).cache_bytes, ==, 2 * base_bytes);
	misses = image_get_stats(img).cache_misses;
	co_read(img, 0, 512);
	g_assert_cmpuint(image_get_stats(img).cache_misses, ==, misses + 1);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

CO_TEST(test_raw)
{
	struct image_stats none = { 0 }, stats;
	struct image *img;

	co_create_ok("raw", "raw", MIB, NULL, NULL);
	img = co_open_ok("raw", "raw", IMAGE_RDWR);
	co_fill(img, 0, MIB);
	stats = image_get_stats(img);
	g_assert_cmpmem(&stats, sizeof(stats), &none, sizeof(none));
	g_assert_cmpint(image_co_close(img), ==, 0);
}

int main(int argc, char **argv)
{
	char *folder;

	g_test_init(&argc, &argv, NULL);
	folder = enter_scratch();
	g_test_add_func("/image/stats/cache", test_cache);
	g_test_add_func("/image/stats/give-back", test_give_back);
	g_test_add_func("/image/stats/below-filter", test_below_filter);
	g_test_add_func("/image/stats/allocation", test_allocation);
	g_test_add_func("/image/stats/chain", test_chain);
	g_test_add_func("/image/stats/raw", test_raw);
	return leave_scratch(folder, g_test_run());
}
