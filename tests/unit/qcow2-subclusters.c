// SPDX-License-Identifier: GPL-2.0-or-later
/* The arithmetic of subcluster bitmaps, and the meaning of extended L2 entries. */
#include "qcow2/qcow2.h"

#define ZERO(mask) ((uint64_t)(mask) << 32)

static void test_masks(void)
{
	g_assert_cmphex(subclusters_mask(0, 32), ==, 0xffffffff);
	g_assert_cmphex(subclusters_mask(0, 1), ==, 1);
	g_assert_cmphex(subclusters_mask(31, 1), ==, 0x80000000);
	g_assert_cmphex(subclusters_mask(4, 8), ==, 0xff0);
}

static void test_changes(void)
{
	uint64_t bitmap = ZERO(0xf0) | 0x0f;

	g_assert_cmphex(subclusters_allocate(bitmap, 0x3c), ==, (ZERO(0xc0) | 0x3f));
	g_assert_cmphex(subclusters_make_zero(bitmap, 0x3c), ==, (ZERO(0xfc) | 0x03));
	g_assert_cmphex(subclusters_allocate(ZERO(UINT32_MAX), UINT32_MAX), ==, UINT32_MAX);
	g_assert_cmphex(subclusters_make_zero(UINT32_MAX, UINT32_MAX), ==, ZERO(UINT32_MAX));
	g_assert_true(subclusters_valid(bitmap));
	g_assert_false(subclusters_valid(bitmap | ZERO(1)));
}

/* Every run is compared with a count. */
static void test_runs(void)
{
	static const uint64_t bitmaps[] = {
		0,
		UINT32_MAX,
		ZERO(UINT32_MAX),
		ZERO(0xf0) | 0x0f,
		ZERO(0x80000000) | 1,
		0x55555555,
		ZERO(0xffff0000) | 0xff,
		ZERO(0x33333333) | 0x44444444,
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(bitmaps); i++) {
		for (unsigned first = 0; first < 32; first++) {
			uint64_t both = 1ull | 1ull << 32;
			unsigned run = 1;

			while (first + run < 32 &&
			       (bitmaps[i] >> first & both) == (bitmaps[i] >> (first + run) & both))
				run++;
			g_assert_cmpuint(subclusters_run(bitmaps[i], first), ==, run);
		}
	}
}

static struct qcow2 *extended_image(void)
{
	struct qcow2 *q = g_new0(struct qcow2, 1);

	q->version = 3;
	q->extended_l2 = true;
	q->cluster_bits = 16;
	q->cluster_size = 1 << 16;
	q->subcluster_bits = 11;
	return q;
}

static void test_types(void)
{
	static const struct {
		struct l2_entry entry;
		unsigned subcluster;
		enum mapping_type type;
	} cases[] = {
		{ { 0, 0 }, 5, MAPPING_UNALLOCATED },
		{ { 0, ZERO(0x20) }, 5, MAPPING_ZERO },
		{ { 0, ZERO(0x20) }, 6, MAPPING_UNALLOCATED },
		{ { 0x50000 | QCOW2_COPIED, 0x40 }, 6, MAPPING_NORMAL },
		{ { 0x50000 | QCOW2_COPIED, 0x40 }, 5, MAPPING_HOLE },
		{ { 0x50000 | QCOW2_COPIED, ZERO(0x20) | 0x40 }, 5, MAPPING_ZERO_ALLOCATED },
		{ { 0x50000 | QCOW2_COPIED, 0x80000000 }, 31, MAPPING_NORMAL },
		{ { QCOW2_COMPRESSED | 0x12345, 0 }, 31, MAPPING_COMPRESSED },
	};
	g_autofree struct qcow2 *q = extended_image();

	for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
		enum mapping_type type;

		g_assert_cmpint(qcow2_entry_type(q, cases[i].entry, cases[i].subcluster, &type), ==,
				0);
		g_assert_cmpint(type, ==, cases[i].type);
	}
}

/* Invalid combinations are refused, whichever subcluster is asked for. */
static void test_bad_entries(void)
{
	static const struct l2_entry cases[] = {
		{ 0x50000 | QCOW2_COPIED, ZERO(0x80) | 0x80 }, /* both bits */
		{ 0, 1 },				       /* allocated nowhere */
		{ 1, 0 },				       /* the flag of plain entries */
		{ 0x50001, 0 },
		{ 0x50002, 0 },
		{ 0x50800, 0 },
		{ QCOW2_COPIED, 0 },
		{ QCOW2_COMPRESSED | 0x12345, 1 },
		{ QCOW2_COMPRESSED | 0x12345, ZERO(1) },
	};
	g_autofree struct qcow2 *q = extended_image();
	enum mapping_type type;

	for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++)
		for (unsigned subcluster = 0; subcluster < 32; subcluster++)
			g_assert_cmpint(qcow2_entry_type(q, cases[i], subcluster, &type), ==, -EIO);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/qcow2/subclusters/masks", test_masks);
	g_test_add_func("/qcow2/subclusters/changes", test_changes);
	g_test_add_func("/qcow2/subclusters/runs", test_runs);
	g_test_add_func("/qcow2/subclusters/types", test_types);
	g_test_add_func("/qcow2/subclusters/bad-entries", test_bad_entries);
	return g_test_run();
}
