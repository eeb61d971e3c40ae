// SPDX-License-Identifier: GPL-2.0-or-later
/* Views of memory: pieces, copies, alignment, zeroes. */
#include <glib.h>
#include <string.h>

#include "iobuf.h"

/* "abc", "", "de", "fghi" */
static char text[] = "abc--de-fghi";
static struct iovec pieces[] = { { text, 3 }, { text + 3, 0 }, { text + 5, 2 }, { text + 8, 4 } };

static struct iobuf view(size_t skip)
{
	return (struct iobuf){ .iov = pieces, .skip = skip };
}

static void test_copy_out_of_every_range(void)
{
	static const char all[] = "abcdefghi";

	for (size_t skip = 0; skip <= 9; skip++) {
		for (size_t bytes = 0; skip + bytes <= 9; bytes++) {
			char copy[10] = "";

			iobuf_copy_out(copy, view(skip), bytes);
			g_assert_cmpmem(copy, strlen(copy), all + skip, bytes);
		}
	}
}

static void test_copy_in_changes_only_its_range(void)
{
	char before[sizeof(text)];

	memcpy(before, text, sizeof(text));
	iobuf_copy_in(view(2), "XYZ", 3);
	g_assert_cmpstr(text, ==, "abX--YZ-fghi");
	iobuf_zero(view(6), 2);
	g_assert_cmpmem(text, sizeof(text), "abX--YZ-f\0\0i", sizeof(text));
	memcpy(text, before, sizeof(text));
}

static void test_clip_gives_exactly_the_bytes(void)
{
	struct iovec clipped[G_N_ELEMENTS(pieces)];

	g_assert_cmpuint(iobuf_clip(clipped, view(0), 0), ==, 0);
	g_assert_cmpuint(iobuf_clip(clipped, view(1), 7), ==, 3);
	g_assert_true(clipped[0].iov_base == text + 1 && clipped[0].iov_len == 2);
	g_assert_true(clipped[1].iov_base == text + 5 && clipped[1].iov_len == 2);
	g_assert_true(clipped[2].iov_base == text + 8 && clipped[2].iov_len == 3);
	g_assert_cmpuint(iobuf_clip(clipped, view(9), 0), ==, 0);
	g_assert_cmpuint(iobuf_iovecs(view(1), 7), ==, 3);
	g_assert_cmpuint(iobuf_iovecs(view(9), 0), ==, 0);
}

static void test_clip_some_says_what_fitted(void)
{
	struct iovec clipped[2];
	size_t bytes = 7;

	g_assert_cmpuint(iobuf_clip_some(clipped, 2, view(1), &bytes), ==, 2);
	g_assert_cmpuint(bytes, ==, 4);
	g_assert_true(clipped[1].iov_base == text + 5 && clipped[1].iov_len == 2);
	bytes = 1;
	g_assert_cmpuint(iobuf_clip_some(clipped, 2, view(1), &bytes), ==, 1);
	g_assert_cmpuint(bytes, ==, 1);
}

static void test_flat_memory_is_one_piece(void)
{
	struct fixed_buf fixed = { 0 };

	g_assert_true(iobuf_flat(view(1), 2) == text + 1);
	g_assert_null(iobuf_flat(view(1), 3));
	g_assert_null(iobuf_flat(iobuf_of_fixed(&fixed), 1));
}

static void test_alignment_looks_at_every_edge(void)
{
	uint8_t *buf = try_iobuf_alloc(8192);
	struct iovec iov[] = { { buf, 1024 }, { buf + 4096, 512 } };
	struct iobuf mem = { .iov = iov };

	g_assert_true(iobuf_is_aligned(mem, 1536, 512));
	g_assert_false(iobuf_is_aligned(mem, 1536, 1024));
	g_assert_true(iobuf_is_aligned(mem, 1024, 1024));
	g_assert_false(iobuf_is_aligned(mem, 1535, 512));
	g_assert_false(iobuf_is_aligned(iobuf_advance(mem, 1), 1024, 512));
	g_assert_true(iobuf_is_aligned(iobuf_advance(mem, 512), 1024, 512));
	iobuf_free(buf);
}

static void test_one_byte_is_seen_anywhere(void)
{
	uint8_t *buf = try_iobuf_alloc0(1024);

	g_assert_true(buffer_is_zero(NULL, 0));
	for (size_t bytes = 1; bytes < 300; bytes++) {
		/* What lies behind the end does not count. */
		buf[1 + bytes] = 1;
		g_assert_true(buffer_is_zero(buf + 1, bytes));
		buf[1 + bytes] = 0;
		for (size_t i = 1; i <= bytes; i++) {
			buf[i] = 0x80;
			g_assert_false(buffer_is_zero(buf + 1, bytes));
			buf[i] = 0;
		}
	}
	iobuf_free(buf);
}

static void test_is_zero_skips_what_is_outside(void)
{
	char buf[] = { 1, 0, 0, 1, 0, 1 };
	struct iovec iov[] = { { buf, 3 }, { buf + 4, 2 } };
	struct iobuf mem = { .iov = iov, .skip = 1 };

	g_assert_true(iobuf_is_zero(mem, 3));
	g_assert_false(iobuf_is_zero(mem, 4));
	mem.skip = 0;
	g_assert_false(iobuf_is_zero(mem, 3));
}

static void test_buffers_of_an_array(void)
{
	static const size_t sizes[] = { 1, 4096, 5000, 512 * 1024, 3 * 1024 * 1024 };

	for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
		size_t bytes = sizes[i];
		void *array = try_iobuf_alloc_array(5, bytes);

		g_assert_nonnull(array);
		for (unsigned k = 0; k < 5; k++)
			memset(iobuf_array_at(array, k, bytes), k, bytes);
		for (unsigned k = 0; k < 5; k++) {
			const char *buf = iobuf_array_at(array, k, bytes);

			g_assert_cmpuint((uintptr_t)buf % 4096, ==, 0);
			g_assert_cmpint(buf[0], ==, k);
			g_assert_cmpint(buf[bytes - 1], ==, k);
		}
		iobuf_free(array);
	}
	g_assert_null(try_iobuf_alloc_array(2, SIZE_MAX));
	g_assert_null(try_iobuf_alloc_array(2, SIZE_MAX / 2));
}

static void test_absurd_sizes_give_no_memory(void)
{
	g_assert_null(try_iobuf_alloc(SIZE_MAX));
	g_assert_null(try_iobuf_alloc0(SIZE_MAX - 4096));
	iobuf_free(NULL);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/iobuf/copy-out-of-every-range", test_copy_out_of_every_range);
	g_test_add_func("/iobuf/copy-in-changes-only-its-range",
			test_copy_in_changes_only_its_range);
	g_test_add_func("/iobuf/clip-gives-exactly-the-bytes", test_clip_gives_exactly_the_bytes);
	g_test_add_func("/iobuf/clip-some-says-what-fitted", test_clip_some_says_what_fitted);
	g_test_add_func("/iobuf/flat-memory-is-one-piece", test_flat_memory_is_one_piece);
	g_test_add_func("/iobuf/alignment-looks-at-every-edge", test_alignment_looks_at_every_edge);
	g_test_add_func("/iobuf/one-byte-is-seen-anywhere", test_one_byte_is_seen_anywhere);
	g_test_add_func("/iobuf/is-zero-skips-what-is-outside", test_is_zero_skips_what_is_outside);
	g_test_add_func("/iobuf/buffers-of-an-array", test_buffers_of_an_array);
	g_test_add_func("/iobuf/absurd-sizes-give-no-memory", test_absurd_sizes_give_no_memory);
	return g_test_run();
}
