// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Entries that are read without a lock are those of the slice that was looked for, in a cache of
 * two slices whose slots get other contents all the time.
 */
#include "crew.h"
#include "image-test.h"
#include "qcow2/qcow2.h"

#define MIB	    (1ull << 20)
#define DISK_BYTES  (1024 * MIB)
#define SLICE_BYTES 4096
#define SLICE_GUEST (SLICE_BYTES / 8 * (64ull << 10)) /* what a slice maps */
#define NR_SLICES   (DISK_BYTES / SLICE_GUEST)

#define NR_LOOPS    4
#define NR_LOOKUPS  (NR_LOOPS * 20000)

static struct mapping expected[NR_SLICES];

static void co_create(void)
{
	g_autoptr(GHashTable) options = g_hash_table_new(g_str_hash, g_str_equal);
	struct image_create_opts opts = {
		.size = DISK_BYTES,
		.size_given = true,
		.options = options,
	};
	g_autoptr(GError) err = NULL;

	g_hash_table_insert(options, (char *)"preallocation", (char *)"metadata");
	image_co_create("disk", "qcow2", &opts, NULL, &err);
	g_assert_no_error(err);
}

static struct image *co_open(void)
{
	struct image_open_opts opts = { .format = "qcow2", .cache_bytes = 2 * SLICE_BYTES };
	g_autoptr(GError) err = NULL;
	struct image *img = NULL;
	struct qcow2 *q;

	co_create();
	image_co_open("disk", &opts, &img, &err);
	g_assert_no_error(err);
	q = img->opaque;
	/* Lookups must look at slices. */
	q->cache.summaries.max_tables = 0;
	g_assert_cmpuint(q->cache.nr_slices, ==, 2);
	g_assert_cmpuint(q->cache.slice_bytes, ==, SLICE_BYTES);
	return img;
}

static struct mapping co_map(struct qcow2 *q, unsigned index)
{
	uint64_t epoch = qcow2_co_request_begin(q);
	struct mapping map;

	g_assert_cmpint(qcow2_co_lookup(q, index * SLICE_GUEST, SLICE_GUEST, &map), ==, 0);
	qcow2_request_end(q, epoch);
	return map;
}

static void co_load(struct qcow2 *q, uint64_t slice_off)
{
	struct slice *slice;

	g_assert_cmpint(qcow2_slice_co_get_at(q, slice_off, &slice), ==, 0);
	qcow2_slice_put(slice);
}

CO_TEST(test_a_peek_holds_until_its_slot_is_used_again)
{
	struct image *img = co_open();
	struct qcow2 *q = img->opaque;
	uint64_t epoch = qcow2_co_request_begin(q);
	uint64_t first = q->l1[0] & QCOW2_OFFSET_MASK;
	struct slice_peek peek, now;

	g_assert_false(qcow2_slice_try_peek(q, first, &peek));
	co_load(q, first);
	g_assert_true(qcow2_slice_try_peek(q, first, &peek));
	g_assert_true(qcow2_slice_peek_holds(&peek));
	for (unsigned i = 1; i < 6; i++)
		co_load(q, first + i * SLICE_BYTES);
	g_assert_false(qcow2_slice_try_peek(q, first, &now));
	g_assert_false(qcow2_slice_peek_holds(&peek));
	/* Not even if it is there again. */
	co_load(q, first);
	g_assert_true(qcow2_slice_try_peek(q, first, &now));
	g_assert_true(qcow2_slice_peek_holds(&now));
	g_assert_false(qcow2_slice_peek_holds(&peek));
	qcow2_request_end(q, epoch);
	image_co_close(img);
}

CO_TEST(test_a_forgotten_slice_does_not_hold)
{
	struct image *img = co_open();
	struct qcow2 *q = img->opaque;
	uint64_t epoch = qcow2_co_request_begin(q);
	uint64_t first = q->l1[0] & QCOW2_OFFSET_MASK;
	struct slice_peek peek, now;

	co_load(q, first);
	g_assert_true(qcow2_slice_try_peek(q, first, &peek));
	qcow2_l2_cache_forget_table(q, first);
	g_assert_false(qcow2_slice_peek_holds(&peek));
	g_assert_false(qcow2_slice_try_peek(q, first, &now));
	qcow2_request_end(q, epoch);
	image_co_close(img);
}

struct reader {
	struct qcow2 *q;
	GRand *rand;
};

static void reader_co(void *arg)
{
	struct reader *reader = arg;

	for (unsigned i = 0; i < NR_LOOKUPS / NR_LOOPS; i++) {
		unsigned index = g_rand_int_range(reader->rand, 0, NR_SLICES);
		struct mapping map = co_map(reader->q, index);

		g_assert_cmphex(map.host_off, ==, expected[index].host_off);
		g_assert_cmphex(map.bytes, ==, expected[index].bytes);
	}
}

static void co_read_from_all_loops(void *arg)
{
	struct image *img = co_open();
	struct reader readers[NR_LOOPS];
	void *args[NR_LOOPS];

	for (unsigned i = 0; i < NR_SLICES; i++)
		expected[i] = co_map(img->opaque, i);
	for (unsigned i = 0; i < NR_LOOPS; i++) {
		readers[i] = (struct reader){ img->opaque, g_rand_new_with_seed(i) };
		args[i] = &readers[i];
	}
	crew_co_run_all(arg, reader_co, args, NR_LOOPS);
	for (unsigned i = 0; i < NR_LOOPS; i++)
		g_rand_free(readers[i].rand);
	image_co_close(img);
}

static void test_lookups_find_their_own_slice(void)
{
	struct crew *crew = crew_new(NR_LOOPS);

	crew_run_co(crew, co_read_from_all_loops, crew);
	crew_free(crew);
}

int main(int argc, char **argv)
{
	char *folder;

	g_test_init(&argc, &argv, NULL);
	folder = enter_scratch();
	g_test_add_func("/qcow2/peek/held", test_a_peek_holds_until_its_slot_is_used_again);
	g_test_add_func("/qcow2/peek/forgotten", test_a_forgotten_slice_does_not_hold);
	g_test_add_func("/qcow2/peek/lookups", test_lookups_find_their_own_slice);
	return leave_scratch(folder, g_test_run());
}
