// SPDX-License-Identifier: GPL-2.0-or-later
/* The bits of a dirty bitmap, compared with a model that has a byte per granule. */
#include <glib.h>
#include <string.h>

#include "dirty_bits.h"

#define MODEL_BITS  1000
#define GRANULARITY 512u

static void assert_equals(const struct dirty_bits *bits, const bool *model, uint64_t disk_bytes)
{
	uint64_t off = 0, count = 0;

	while (off < disk_bytes) {
		bool dirty;
		uint64_t bytes = dirty_bits_extent(bits, off, &dirty);

		g_assert_cmpuint(bytes, >, 0);
		for (uint64_t i = off; i < off + bytes; i += GRANULARITY)
			g_assert_cmpint(model[i / GRANULARITY], ==, dirty);
		/* A run ends where the state changes. */
		if (off + bytes < disk_bytes)
			g_assert_cmpint(model[(off + bytes) / GRANULARITY], !=, dirty);
		count += dirty ? bytes : 0;
		off += bytes;
	}
	g_assert_cmpuint(off, ==, disk_bytes);
	g_assert_cmpuint(dirty_bits_count(bits), ==, count);
}

/* Random ranges on disks of all lengths around the ends of words. */
static void test_set(void)
{
	for (unsigned nr_bits = 1; nr_bits < 200; nr_bits += 7) {
		uint64_t disk_bytes = (uint64_t)nr_bits * GRANULARITY - 100;
		struct dirty_bits *bits = dirty_bits_try_new(disk_bytes, 9);
		bool model[MODEL_BITS] = { false };

		for (unsigned i = 0; i < 20; i++) {
			uint64_t off = g_test_rand_int_range(0, disk_bytes);
			uint64_t bytes = g_test_rand_int_range(1, disk_bytes - off + 1);

			bytes = i % 2 ? bytes : MIN(bytes, 700);
			dirty_bits_set(bits, off, bytes);
			for (uint64_t j = off / GRANULARITY; j <= (off + bytes - 1) / GRANULARITY;
			     j++)
				model[j] = true;
			assert_equals(bits, model, disk_bytes);
		}
		dirty_bits_clear_all(bits);
		memset(model, 0, sizeof(model));
		assert_equals(bits, model, disk_bytes);
		dirty_bits_set_all(bits);
		g_assert_cmpuint(dirty_bits_count(bits), ==, disk_bytes);
		dirty_bits_free(bits);
	}
}

static void test_beyond_the_end(void)
{
	struct dirty_bits *bits = dirty_bits_try_new(1024, 9);

	dirty_bits_set(bits, 1024, 512);
	dirty_bits_set(bits, UINT64_MAX - 10, 10);
	dirty_bits_set(bits, 0, 0);
	g_assert_cmpuint(dirty_bits_count(bits), ==, 0);
	dirty_bits_set(bits, 600, UINT64_MAX);
	g_assert_cmpuint(dirty_bits_count(bits), ==, 512);
	dirty_bits_free(bits);
	bits = dirty_bits_try_new(0, 9);
	dirty_bits_set_all(bits);
	g_assert_cmpuint(dirty_bits_count(bits), ==, 0);
	dirty_bits_free(bits);
}

/* The first granule is the lowest bit of the first byte. */
static void test_bytes(void)
{
	struct dirty_bits *bits = dirty_bits_try_new(100 * GRANULARITY, 9);
	uint8_t buf[16] = { 0 };

	g_assert_cmpuint(dirty_bits_bytes(100 * GRANULARITY, 9), ==, 13);
	g_assert_false(dirty_bits_any(bits, 0, 512));
	dirty_bits_set(bits, 0, 1);
	dirty_bits_set(bits, 9 * GRANULARITY, 2 * GRANULARITY);
	dirty_bits_set(bits, 99 * GRANULARITY, 1);
	g_assert_true(dirty_bits_any(bits, 0, 512));
	g_assert_true(dirty_bits_any(bits, 8, 8));
	g_assert_false(dirty_bits_any(bits, 512, 512));
	buf[0] = 0x80;
	dirty_bits_get(bits, 0, buf, sizeof(buf));
	g_assert_cmphex(buf[0], ==, 0x81);
	g_assert_cmphex(buf[1], ==, 0x06);
	g_assert_cmphex(buf[12], ==, 0x08);
	dirty_bits_free(bits);
}

/* Bits of an image beyond the end are dropped. */
static void test_put(void)
{
	struct dirty_bits *bits = dirty_bits_try_new(70 * GRANULARITY, 9);
	uint8_t buf[512];

	memset(buf, 0, sizeof(buf));
	buf[1] = 0x10;
	dirty_bits_put(bits, 0, buf, sizeof(buf));
	g_assert_cmpuint(dirty_bits_count(bits), ==, GRANULARITY);
	memset(buf, 0xff, sizeof(buf));
	dirty_bits_put(bits, 512, buf, sizeof(buf));
	g_assert_cmpuint(dirty_bits_count(bits), ==, GRANULARITY);
	dirty_bits_put(bits, 0, buf, sizeof(buf));
	g_assert_cmpuint(dirty_bits_count(bits), ==, 70 * GRANULARITY);
	memset(buf, 0, sizeof(buf));
	dirty_bits_get(bits, 0, buf, sizeof(buf));
	g_assert_cmphex(buf[7], ==, 0xff);
	g_assert_cmphex(buf[8], ==, 0x3f);
	g_assert_cmphex(buf[9], ==, 0);
	dirty_bits_free(bits);
}

/* Between any two granularities, nothing is lost, and at most the coarser granule is added. */
static void test_merge(void)
{
	for (unsigned from = 9; from < 14; from++) {
		for (unsigned to = 9; to < 14; to++) {
			struct dirty_bits *src = dirty_bits_try_new(1 << 20, from);
			struct dirty_bits *dst = dirty_bits_try_new(1 << 20, to);
			uint64_t granule = 1ull << MAX(from, to);
			bool dirty;

			dirty_bits_set(src, 300000, 1);
			dirty_bits_merge(dst, src);
			dirty_bits_extent(dst, 300000, &dirty);
			g_assert_true(dirty);
			g_assert_cmpuint(dirty_bits_count(dst), ==, granule);
			dirty_bits_merge(dst, src);
			g_assert_cmpuint(dirty_bits_count(dst), ==, granule);
			dirty_bits_free(src);
			dirty_bits_free(dst);
		}
	}
}

static void test_too_large(void)
{
	g_assert_null(dirty_bits_try_new(1ull << 50, 9));
	g_assert_null(dirty_bits_try_new(UINT64_MAX, 9));
	g_assert_cmpuint(dirty_bits_bytes(UINT64_MAX, 9), ==, 1ull << 52);
}

#define THREADS 4

static gpointer set_every_fourth(gpointer arg)
{
	struct dirty_bits **bits = arg;
	static _Atomic unsigned next;
	unsigned mine = atomic_fetch_add(&next, 1);

	for (uint64_t i = mine; i < 1 << 16; i += THREADS)
		dirty_bits_set(*bits, i * GRANULARITY, 1);
	return NULL;
}

/* Threads that set neighbouring bits do not undo each other's bits. */
static void test_threads(void)
{
	struct dirty_bits *bits = dirty_bits_try_new((uint64_t)GRANULARITY << 16, 9);
	GThread *threads[THREADS];

	for (unsigned i = 0; i < THREADS; i++)
		threads[i] = g_thread_new("set", set_every_fourth, &bits);
	for (unsigned i = 0; i < THREADS; i++)
		g_thread_join(threads[i]);
	g_assert_cmpuint(dirty_bits_count(bits), ==, (uint64_t)GRANULARITY << 16);
	dirty_bits_free(bits);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/dirty-bits/set", test_set);
	g_test_add_func("/dirty-bits/beyond-the-end", test_beyond_the_end);
	g_test_add_func("/dirty-bits/bytes", test_bytes);
	g_test_add_func("/dirty-bits/put", test_put);
	g_test_add_func("/dirty-bits/merge", test_merge);
	g_test_add_func("/dirty-bits/too-large", test_too_large);
	g_test_add_func("/dirty-bits/threads", test_threads);
	return g_test_run();
}
