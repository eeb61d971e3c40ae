// SPDX-License-Identifier: GPL-2.0-or-later
/* Summaries of L2 slices say what the slices would, and end when these change. */
#include "image-test.h"
#include "qcow2/qcow2.h"

#define MIB	    (1ull << 20)
#define GIB	    (1ull << 30)
#define CLUSTER	    (64ull << 10)
#define SLICE_BYTES 4096
#define PER_SLICE   (SLICE_BYTES / 8)
#define SLICE_GUEST (PER_SLICE * CLUSTER) /* what a slice maps */
#define PER_TABLE   (CLUSTER / SLICE_BYTES)
/* Two slices, and room for the summaries of six tables. */
#define CACHE_BYTES (2 * SLICE_BYTES)
#define MAX_TABLES  6

static void co_create(uint64_t size, const char *extra)
{
	g_autoptr(GHashTable) options = g_hash_table_new(g_str_hash, g_str_equal);
	struct image_create_opts opts = { .size = size, .size_given = true, .options = options };
	g_autoptr(GError) err = NULL;

	g_hash_table_insert(options, (char *)"preallocation", (char *)"metadata");
	if (extra)
		g_hash_table_insert(options, (char *)extra, (char *)"on");
	image_co_create("disk", "qcow2", &opts, NULL, &err);
	g_assert_no_error(err);
}

static struct image *co_open(uint64_t cache_bytes)
{
	struct image_open_opts opts = { .format = "qcow2",
					.flags = IMAGE_RDWR | IMAGE_UNMAP,
					.cache_bytes = cache_bytes };
	g_autoptr(GError) err = NULL;
	struct image *img = NULL;

	image_co_open("disk", &opts, &img, &err);
	g_assert_no_error(err);
	return img;
}

static struct mapping co_map(struct image *img, uint64_t off, uint64_t bytes)
{
	struct qcow2 *q = img->opaque;
	uint64_t epoch = qcow2_co_request_begin(q);
	struct mapping map;

	g_assert_cmpint(qcow2_co_lookup(q, off, bytes, &map), ==, 0);
	qcow2_request_end(q, epoch);
	return map;
}

static uint64_t slice_off(struct image *img, unsigned index)
{
	const struct qcow2 *q = img->opaque;

	return qcow2_slice_off(q, q->l1[index / PER_TABLE] & QCOW2_OFFSET_MASK,
			       index * SLICE_GUEST);
}

static uint64_t summary_of(struct image *img, unsigned index)
{
	return qcow2_summary_load(img->opaque, slice_off(img, index));
}

/* Afterwards, none of the slices before @first is in memory. */
static void co_load_from(struct image *img, unsigned first)
{
	const struct qcow2 *q = img->opaque;
	uint64_t end = image_size(img) / SLICE_GUEST;

	for (unsigned i = first; i < end; i++) {
		struct slice *slice;

		g_assert_cmpint(qcow2_slice_co_get_at(img->opaque, slice_off(img, i), &slice), ==,
				0);
		qcow2_slice_put(slice);
	}
	for (unsigned i = 0; i < q->cache.nr_slices; i++) {
		uint64_t held = q->cache.shards[0].slices[i].host_off;

		for (unsigned k = 0; k < first; k++)
			g_assert_cmphex(held, !=, slice_off(img, k));
	}
}

static uint64_t misses(const struct image *img)
{
	return image_get_stats(img).cache_misses;
}

/* Discards the first cluster of the disk, and knows nothing of its slice any more. */
static void co_make_hole(struct image *img)
{
	g_assert_cmpint(image_co_pdiscard(img, 0, CLUSTER), ==, 0);
	g_assert_cmpint(image_co_flush(img), ==, 0);
}

CO_TEST(test_a_slice_is_loaded_once)
{
	struct image *img;
	uint64_t loaded, start;

	co_create(GIB, NULL);
	img = co_open(CACHE_BYTES);
	start = co_map(img, 0, CLUSTER).host_off;
	for (unsigned i = 0; i < GIB / SLICE_GUEST; i++)
		co_map(img, i * SLICE_GUEST, CLUSTER);
	loaded = misses(img);
	g_assert_cmpuint(loaded, ==, GIB / SLICE_GUEST);
	for (unsigned i = 0; i < GIB / SLICE_GUEST; i++) {
		uint64_t off = i * SLICE_GUEST + 3 * CLUSTER + 512;
		struct mapping map = co_map(img, off, GIB);

		g_assert_cmpint(map.type, ==, MAPPING_NORMAL);
		g_assert_true(map.copied);
		g_assert_false(map.reserved);
		g_assert_cmphex(map.host_off, ==, start + off);
		g_assert_cmpuint(map.bytes, ==, SLICE_GUEST - 3 * CLUSTER - 512);
		map = co_map(img, off, 4096);
		g_assert_cmpuint(map.bytes, ==, 4096);
	}
	g_assert_cmpuint(misses(img), ==, loaded);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

CO_TEST(test_a_changed_entry_ends_the_summary)
{
	g_autofree void *data = g_malloc0(CLUSTER);
	struct image *img;

	co_create(GIB, NULL);
	img = co_open(CACHE_BYTES);
	co_map(img, 0, CLUSTER);
	g_assert_cmphex(summary_of(img, 0), !=, 0);
	co_load_from(img, 1);
	co_make_hole(img);
	g_assert_cmphex(summary_of(img, 0), ==, 0);
	g_assert_cmpint(co_map(img, 0, CLUSTER).type, !=, MAPPING_NORMAL);
	/* Nor does a slice with a hole have one when it is loaded again. */
	co_load_from(img, 1);
	g_assert_cmpint(co_map(img, 0, CLUSTER).type, !=, MAPPING_NORMAL);
	g_assert_cmphex(summary_of(img, 0), ==, 0);
	/* Of those beside it, all are left. */
	for (unsigned i = 1; i < GIB / SLICE_GUEST; i++)
		g_assert_cmphex(summary_of(img, i), !=, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

CO_TEST(test_a_slice_may_become_a_run_again)
{
	g_autofree void *data = g_malloc0(CLUSTER);
	struct image *img;
	uint64_t before;

	co_create(GIB, NULL);
	img = co_open(CACHE_BYTES);
	co_map(img, 0, CLUSTER);
	before = summary_of(img, 0);
	g_assert_cmpint(image_co_pwrite_zeroes(img, CLUSTER, CLUSTER, 0), ==, 0);
	g_assert_cmphex(summary_of(img, 0), ==, 0);
	g_assert_cmpint(image_co_pwrite(img, CLUSTER, CLUSTER, data, 0), ==, 0);
	/* Not as long as it is in memory, where it is found in any case. */
	g_assert_cmphex(summary_of(img, 0), ==, 0);
	g_assert_cmpint(image_co_flush(img), ==, 0);
	co_load_from(img, 1);
	co_map(img, 0, CLUSTER);
	g_assert_cmphex(summary_of(img, 0), ==, before);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

/* A snapshot shares the clusters: from then on nothing may be written in place. */
CO_TEST(test_a_snapshot_ends_all_summaries)
{
	g_autoptr(GError) err = NULL;
	struct mapping before, after;
	struct image *img;
	char byte = 1;

	co_create(GIB, NULL);
	img = co_open(CACHE_BYTES);
	co_load_from(img, 0);
	before = co_map(img, 0, CLUSTER);
	g_assert_true(before.copied);
	image_co_snapshot_create(img, "s", &err);
	g_assert_no_error(err);
	g_assert_null(((struct qcow2 *)img->opaque)->cache.summaries.hash);
	g_assert_false(co_map(img, 0, CLUSTER).copied);
	/* What is shared has a summary, too. */
	co_load_from(img, 1);
	g_assert_cmphex(summary_of(img, 0), ==, before.host_off);
	after = co_map(img, 0, CLUSTER);
	g_assert_cmphex(after.host_off, ==, before.host_off);
	g_assert_false(after.copied);
	/* The new table has another place, where there is none. */
	g_assert_cmpint(image_co_pwrite(img, 0, 1, &byte, 0), ==, 0);
	g_assert_cmphex(summary_of(img, 0), ==, 0);
	g_assert_cmphex(co_map(img, 0, CLUSTER).host_off, !=, before.host_off);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

CO_TEST(test_a_table_that_is_gone_has_none)
{
	struct image *img;
	struct qcow2 *q;

	co_create(GIB, NULL);
	img = co_open(CACHE_BYTES);
	q = img->opaque;
	co_load_from(img, 0);
	qcow2_l2_cache_forget_table(q, q->l1[1] & QCOW2_OFFSET_MASK);
	for (unsigned i = 0; i < GIB / SLICE_GUEST; i++)
		g_assert_cmpint(summary_of(img, i) != 0, ==, i < PER_TABLE);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

/* An overwrite through a summary is in the file at once, whatever else is not. */
CO_TEST(test_a_slice_with_a_summary_is_written)
{
	struct image *img;
	struct qcow2 *q;

	co_create(GIB, NULL);
	img = co_open(CACHE_BYTES);
	q = img->opaque;
	co_load_from(img, 0);
	g_assert_cmpint(image_co_pdiscard(img, GIB - CLUSTER, CLUSTER), ==, 0);
	g_assert_cmpuint(q->changes_written, <, q->changes);
	g_assert_cmpint(image_co_write_back(img, 0, CLUSTER), ==, 0);
	g_assert_cmpuint(q->changes_written, <, q->changes);
	g_assert_cmpint(image_co_write_back(img, GIB - CLUSTER, CLUSTER), ==, 0);
	g_assert_cmpuint(q->changes_written, ==, q->changes);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

/* Slots of the cache that are gone again, and tables without room. */
CO_TEST(test_memory_is_limited)
{
	const uint64_t size = 8 * GIB, nr = size / SLICE_GUEST;
	struct summaries *sums;
	unsigned found = 0;
	struct image *img;
	struct qcow2 *q;

	co_create(size, NULL);
	img = co_open(CACHE_BYTES);
	q = img->opaque;
	sums = &q->cache.summaries;
	g_assert_cmpuint(sums->max_tables, ==, MAX_TABLES);
	g_assert_cmpuint(q->cache.summary_bytes, <=, CACHE_BYTES / 8);
	g_assert_null(sums->hash);
	co_load_from(img, 0);
	for (unsigned i = 0; i < nr; i++)
		found += summary_of(img, i) != 0;
	g_assert_cmpuint(found, ==, MAX_TABLES * PER_TABLE);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

static unsigned co_max_tables(uint64_t size, const char *extra, uint64_t cache_bytes)
{
	struct image *img;
	unsigned max;

	co_create(size, extra);
	img = co_open(cache_bytes);
	max = ((struct qcow2 *)img->opaque)->cache.summaries.max_tables;
	g_assert_cmpint(image_co_close(img), ==, 0);
	return max;
}

CO_TEST(test_only_large_images_have_any)
{
	/* All tables fit into the cache. */
	g_assert_cmpuint(co_max_tables(GIB, NULL, 0), ==, 0);
	g_assert_cmpuint(co_max_tables(GIB, NULL, 2 * CLUSTER), ==, 0);
	g_assert_cmpuint(co_max_tables(GIB, NULL, 2 * CLUSTER - 1), ==, 2);
	g_assert_cmpuint(co_max_tables(GIB, "extended_l2", CACHE_BYTES), ==, 0);
}

int main(int argc, char **argv)
{
	char *folder;

	g_test_init(&argc, &argv, NULL);
	folder = enter_scratch();
	g_test_add_func("/qcow2/summary/loaded-once", test_a_slice_is_loaded_once);
	g_test_add_func("/qcow2/summary/changed-entry", test_a_changed_entry_ends_the_summary);
	g_test_add_func("/qcow2/summary/run-again", test_a_slice_may_become_a_run_again);
	g_test_add_func("/qcow2/summary/snapshot", test_a_snapshot_ends_all_summaries);
	g_test_add_func("/qcow2/summary/forgotten-table", test_a_table_that_is_gone_has_none);
	g_test_add_func("/qcow2/summary/write-back", test_a_slice_with_a_summary_is_written);
	g_test_add_func("/qcow2/summary/memory", test_memory_is_limited);
	g_test_add_func("/qcow2/summary/large-images", test_only_large_images_have_any);
	return leave_scratch(folder, g_test_run());
}
