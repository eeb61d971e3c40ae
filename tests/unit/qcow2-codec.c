// SPDX-License-Identifier: GPL-2.0-or-later
/* What compresses clusters: its results are what other readers expect, and bad input is refused. */
#include <errno.h>
#include <glib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "../../formats/qcow2/codec.h"

#define CLUSTER (64 * 1024)
#define ROOM	(2 * CLUSTER)
#define WINDOW	4096

static uint8_t cluster[CLUSTER], packed[ROOM], unpacked[CLUSTER];

/* Repeats at all distances, also beyond the window, and noise between them. */
static void fill_cluster(unsigned seed)
{
	g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
	unsigned done = 0;

	while (done < CLUSTER) {
		unsigned length = g_rand_int_range(rand, 1, 300),
			 bytes = MIN(length, CLUSTER - done);
		unsigned far = g_rand_int_range(rand, 1, 3 * WINDOW);

		for (unsigned i = 0; i < bytes; i++)
			cluster[done + i] = bytes % 2 && far <= done ? cluster[done + i - far]
								     : g_rand_int(rand);
		done += bytes;
	}
}

static size_t compress_cluster(enum codec_method method)
{
	size_t bytes = 0;

	g_assert_cmpint(codec_compress(method, cluster, CLUSTER, packed, CLUSTER - 1, &bytes), ==,
			0);
	g_assert_cmpuint(bytes, <, CLUSTER);
	return bytes;
}

/* As QEMU does: with a small window, which does not matter if all of the output is one buffer. */
static void assert_inflates_in_one_call(size_t bytes)
{
	z_stream stream = {
		.next_in = packed,
		.avail_in = bytes,
		.next_out = unpacked,
		.avail_out = CLUSTER,
	};

	memset(unpacked, 0xee, CLUSTER);
	g_assert_cmpint(inflateInit2(&stream, -12), ==, Z_OK);
	g_assert_cmpint(inflate(&stream, Z_FINISH), ==, Z_STREAM_END);
	g_assert_cmpuint(stream.total_out, ==, CLUSTER);
	inflateEnd(&stream);
	g_assert_cmpmem(unpacked, CLUSTER, cluster, CLUSTER);
}

static void test_other_readers(gconstpointer method)
{
	for (unsigned seed = 0; seed < 8; seed++) {
		fill_cluster(seed);
		assert_inflates_in_one_call(compress_cluster(GPOINTER_TO_INT(method)));
	}
}

static void assert_decompresses(enum codec_method method, size_t bytes)
{
	memset(unpacked, 0xee, CLUSTER);
	g_assert_cmpint(codec_decompress(method, packed, bytes, unpacked, CLUSTER), ==, 0);
	g_assert_cmpmem(unpacked, CLUSTER, cluster, CLUSTER);
}

/* Contexts are kept: the second cluster must not depend on the first. */
static void test_round_trip(gconstpointer method)
{
	for (unsigned seed = 0; seed < 4; seed++) {
		fill_cluster(seed);
		assert_decompresses(GPOINTER_TO_INT(method),
				    compress_cluster(GPOINTER_TO_INT(method)));
	}
}

/* An entry counts in sectors: the next cluster's data may follow. */
static void test_garbage_follows(gconstpointer method)
{
	size_t bytes;

	fill_cluster(1);
	bytes = compress_cluster(GPOINTER_TO_INT(method));
	memset(packed + bytes, 0xa5, 1024);
	assert_decompresses(GPOINTER_TO_INT(method), bytes + 1024);
}

static void test_noise_does_not_fit(gconstpointer method)
{
	g_autoptr(GRand) rand = g_rand_new_with_seed(1);
	size_t bytes = 1;

	for (unsigned i = 0; i < CLUSTER; i++)
		cluster[i] = g_rand_int(rand);
	g_assert_cmpint(codec_compress(GPOINTER_TO_INT(method), cluster, CLUSTER, packed,
				       CLUSTER - 1, &bytes),
			==, 0);
	g_assert_cmpuint(bytes, ==, 0);
	/* The next cluster is not affected. */
	fill_cluster(1);
	assert_decompresses(GPOINTER_TO_INT(method), compress_cluster(GPOINTER_TO_INT(method)));
}

static void test_cut_off(gconstpointer method)
{
	size_t bytes;

	fill_cluster(1);
	bytes = compress_cluster(GPOINTER_TO_INT(method));
	g_assert_cmpint(
		codec_decompress(GPOINTER_TO_INT(method), packed, bytes / 2, unpacked, CLUSTER), ==,
		-EIO);
	g_assert_cmpint(codec_decompress(GPOINTER_TO_INT(method), packed, 0, unpacked, CLUSTER), ==,
			-EIO);
	assert_decompresses(GPOINTER_TO_INT(method), bytes);
}

/* Compresses @bytes, which may be more than a cluster, with or without an end. */
static size_t deflate_bytes(const void *src, size_t bytes, int flush)
{
	z_stream stream = {
		.next_in = (Bytef *)src,
		.avail_in = bytes,
		.next_out = packed,
		.avail_out = ROOM,
	};

	g_assert_cmpint(deflateInit2(&stream, 6, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY), ==, Z_OK);
	g_assert_cmpint(deflate(&stream, flush), ==, flush == Z_FINISH ? Z_STREAM_END : Z_OK);
	deflateEnd(&stream);
	return stream.total_out;
}

static void test_deflate_without_end(void)
{
	fill_cluster(1);
	assert_decompresses(CODEC_DEFLATE, deflate_bytes(cluster, CLUSTER, Z_SYNC_FLUSH));
}

static void test_deflate_of_more(void)
{
	static uint8_t more[CLUSTER + 1];

	fill_cluster(1);
	memcpy(more, cluster, CLUSTER);
	assert_decompresses(CODEC_DEFLATE, deflate_bytes(more, sizeof(more), Z_FINISH));
}

static void test_deflate_of_less(void)
{
	fill_cluster(1);
	g_assert_cmpint(codec_decompress(CODEC_DEFLATE, packed,
					 deflate_bytes(cluster, CLUSTER - 1, Z_FINISH), unpacked,
					 CLUSTER),
			==, -EIO);
}

static void test_zstd_of_two_frames(void)
{
	size_t first;

	fill_cluster(1);
	first = ZSTD_compress(packed, ROOM, cluster, CLUSTER / 2, 1);
	g_assert_false(ZSTD_isError(first));
	assert_decompresses(CODEC_ZSTD,
			    first + ZSTD_compress(packed + first, ROOM - first,
						  cluster + CLUSTER / 2, CLUSTER / 2, 1));
}

static void test_zstd_of_more(void)
{
	static uint8_t more[CLUSTER + 1];

	fill_cluster(1);
	memcpy(more, cluster, CLUSTER);
	assert_decompresses(CODEC_ZSTD, ZSTD_compress(packed, ROOM, more, sizeof(more), 1));
}

/* Noise of 16 letters, which repeats nowhere. */
static void fill_with_hex(GRand *rand)
{
	for (unsigned i = 0; i < CLUSTER; i++)
		cluster[i] = "0123456789abcdef"[g_rand_int_range(rand, 0, 16)];
}

#ifdef HAVE_LIBDEFLATE

/* Noise that repeats after 6 KiB, which only libdeflate sees. */
static void fill_for_slow(GRand *rand)
{
	for (unsigned i = 0; i < CLUSTER; i++)
		cluster[i] = i < 6 * 1024 ? g_rand_int(rand) : cluster[i - 6 * 1024];
}

#else

/* 64 words of 3 to 10 letters, in any order. */
static void fill_for_slow(GRand *rand)
{
	char words[64][10];
	unsigned done = 0;

	for (unsigned i = 0; i < 64; i++)
		for (unsigned j = 0; j < 10; j++)
			words[i][j] = g_rand_int_range(rand, 'a', 'z');
	while (done < CLUSTER) {
		unsigned word = g_rand_int_range(rand, 0, 64),
			 bytes = MIN(3 + word % 8, CLUSTER - done);

		memcpy(&cluster[done], words[word], bytes);
		done += bytes;
	}
}

#endif

/* Where isa-l's result is larger by more than a hundredth or so, the other one is better. */
static void test_fast_where_it_suffices(void)
{
	g_autoptr(GRand) rand = g_rand_new_with_seed(1);

	fill_with_hex(rand);
	g_assert_cmpint(codec_fast_suffices(cluster, CLUSTER), ==, codec_has_fast());
	g_assert_cmpint(codec_fast_suffices(cluster, 512), ==, codec_has_fast());
	fill_for_slow(rand);
	g_assert_false(codec_fast_suffices(cluster, CLUSTER));
}

static void add_for_each(const char *name, void (*test)(gconstpointer method))
{
	static const char *const methods[] = {
		[CODEC_DEFLATE] = "deflate",
		[CODEC_DEFLATE_FAST] = "deflate-fast",
		[CODEC_ZSTD] = "zstd",
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(methods); i++) {
		g_autofree char *path = g_strdup_printf("/qcow2/codec/%s/%s", methods[i], name);

		if (test != test_other_readers || i != CODEC_ZSTD)
			g_test_add_data_func(path, GINT_TO_POINTER(i), test);
	}
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	add_for_each("other-readers", test_other_readers);
	add_for_each("round-trip", test_round_trip);
	add_for_each("garbage-follows", test_garbage_follows);
	add_for_each("noise-does-not-fit", test_noise_does_not_fit);
	add_for_each("cut-off", test_cut_off);
	g_test_add_func("/qcow2/codec/deflate/without-end", test_deflate_without_end);
	g_test_add_func("/qcow2/codec/deflate/of-more", test_deflate_of_more);
	g_test_add_func("/qcow2/codec/deflate/of-less", test_deflate_of_less);
	g_test_add_func("/qcow2/codec/zstd/of-two-frames", test_zstd_of_two_frames);
	g_test_add_func("/qcow2/codec/zstd/of-more", test_zstd_of_more);
	g_test_add_func("/qcow2/codec/fast-where-it-suffices", test_fast_where_it_suffices);
	return g_test_run();
}
