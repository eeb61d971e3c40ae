// SPDX-License-Identifier: GPL-2.0-or-later
/* Bitmap directories as bytes: what is built can be parsed, and invalid ones are refused. */
#include <string.h>

#include "qcow2/bitmap.h"

static GPtrArray *sample_list(void)
{
	GPtrArray *list = qcow2_bitmap_list_new();
	struct bitmap *bitmap = qcow2_bitmap_new("first", 16, QCOW2_BITMAP_AUTO);

	bitmap->table_off = 0x50000;
	bitmap->table_entries = 7;
	g_ptr_array_add(list, bitmap);
	bitmap = qcow2_bitmap_new("the second", 9, QCOW2_BITMAP_EXTRA_COMPATIBLE);
	bitmap->extra = (uint8_t *)g_strdup("abc");
	bitmap->extra_bytes = 3;
	g_ptr_array_add(list, bitmap);
	return list;
}

static void test_round_trip(void)
{
	g_autoptr(GPtrArray) list = sample_list(), parsed = NULL;
	g_autoptr(GError) err = NULL;
	const struct bitmap *bitmap;
	uint64_t bytes;
	uint8_t *dir = qcow2_bitmap_directory_build(list, 512, &bytes);

	g_assert_cmpuint(bytes, ==, 32 + 40);
	g_assert_cmpint(qcow2_bitmap_directory_parse(dir, bytes, 2, &parsed, &err), ==, 0);
	g_assert_no_error(err);
	bitmap = qcow2_bitmap_find(parsed, "first");
	g_assert_cmphex(bitmap->table_off, ==, 0x50000);
	g_assert_cmpuint(bitmap->table_entries, ==, 7);
	g_assert_cmpuint(bitmap->granularity_bits, ==, 16);
	g_assert_cmpuint(bitmap->flags, ==, QCOW2_BITMAP_AUTO);
	g_assert_cmpuint(bitmap->entry_off, ==, 0);
	bitmap = qcow2_bitmap_find(parsed, "the second");
	g_assert_cmpuint(bitmap->entry_off, ==, 32);
	g_assert_cmpmem(bitmap->extra, bitmap->extra_bytes, "abc", 3);
	g_assert_null(qcow2_bitmap_find(parsed, "third"));
	iobuf_free(dir);
}

struct damage {
	unsigned off;
	uint8_t value;
	int ret;
	const char *reason;
};

/* Each changes one byte of the first entry. */
static void test_refused(void)
{
	static const struct damage cases[] = {
		{ 12, 0x80, -ENOTSUP, "flags" },
		{ 15, 0x08, -ENOTSUP, "flags" },
		{ 16, 0, -ENOTSUP, "type is 0" },
		{ 16, 2, -ENOTSUP, "type is 2" },
		{ 17, 8, -ENOTSUP, "granularity_bits is 8" },
		{ 17, 32, -ENOTSUP, "granularity_bits is 32" },
		{ 17, 255, -ENOTSUP, "granularity_bits is 255" },
		{ 19, 0, -EINVAL, "name_size is 0" },
		{ 18, 4, -EINVAL, "name_size is 1029" },
		{ 19, 200, -EINVAL, "only 72 are left" },
		{ 20, 0xff, -EINVAL, "only 72 are left" },
		{ 23, 40, -EINVAL, "type is|directory|name" },
		{ 24, 0, -EINVAL, "zero byte" },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GPtrArray) list = sample_list(), parsed = NULL;
		g_autoptr(GError) err = NULL;
		uint64_t bytes;
		uint8_t *dir = qcow2_bitmap_directory_build(list, 512, &bytes);
		int ret;

		dir[cases[i].off] = cases[i].value;
		ret = qcow2_bitmap_directory_parse(dir, bytes, 2, &parsed, &err);
		g_assert_cmpint(ret, <, 0);
		g_assert_null(parsed);
		g_assert_nonnull(err);
		if (!g_regex_match_simple(cases[i].reason, err->message, 0, 0))
			g_error("case %u: %s", i, err->message);
		iobuf_free(dir);
	}
}

static void test_sizes(void)
{
	g_autoptr(GPtrArray) list = sample_list();
	uint64_t bytes;
	uint8_t *dir = qcow2_bitmap_directory_build(list, 512, &bytes);

	for (uint32_t nr = 0; nr < 5; nr++) {
		for (uint64_t part = 0; part <= bytes; part++) {
			g_autoptr(GPtrArray) parsed = NULL;
			g_autoptr(GError) err = NULL;
			int ret = qcow2_bitmap_directory_parse(dir, part, nr, &parsed, &err);
			bool fits = (nr == 0 && part == 0) || (nr == 1 && part == 32) ||
				    (nr == 2 && part == bytes);

			g_assert_cmpint(ret == 0, ==, fits);
		}
	}
	iobuf_free(dir);
}

static void test_same_name(void)
{
	g_autoptr(GPtrArray) list = qcow2_bitmap_list_new(), parsed = NULL;
	g_autoptr(GError) err = NULL;
	uint64_t bytes;
	uint8_t *dir;

	g_ptr_array_add(list, qcow2_bitmap_new("one", 16, 0));
	g_ptr_array_add(list, qcow2_bitmap_new("one", 17, 0));
	dir = qcow2_bitmap_directory_build(list, 512, &bytes);
	g_assert_cmpint(qcow2_bitmap_directory_parse(dir, bytes, 2, &parsed, &err), ==, -EINVAL);
	g_assert_nonnull(strstr(err->message, "'one'"));
	iobuf_free(dir);
}

/* Whatever the bytes are, parsing ends and reads nothing outside them (under ASan). */
static void test_random(void)
{
	for (unsigned i = 0; i < 20000; i++) {
		g_autoptr(GPtrArray) list = sample_list(), parsed = NULL;
		uint64_t bytes;
		uint8_t *dir = qcow2_bitmap_directory_build(list, 512, &bytes);
		g_autofree uint8_t *exact = g_memdup2(dir, bytes);
		unsigned flips = g_test_rand_int_range(1, 5);

		for (unsigned j = 0; j < flips; j++)
			exact[g_test_rand_int_range(0, bytes)] = g_test_rand_int();
		qcow2_bitmap_directory_parse(exact, bytes, g_test_rand_int_range(0, 4), &parsed,
					     NULL);
		iobuf_free(dir);
	}
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/qcow2-bitmaps/round-trip", test_round_trip);
	g_test_add_func("/qcow2-bitmaps/refused", test_refused);
	g_test_add_func("/qcow2-bitmaps/sizes", test_sizes);
	g_test_add_func("/qcow2-bitmaps/same-name", test_same_name);
	g_test_add_func("/qcow2-bitmaps/random", test_random);
	return g_test_run();
}
