// SPDX-License-Identifier: GPL-2.0-or-later
/* The parameters of the block device for an image. */
#include <errno.h>
#include <glib.h>

#include "error.h"
#include "params.h"

#define MIB (1u << 20)

/* A writable image of @size bytes with default options. */
static struct params_input input_of_size(const struct image_limits *limits, uint64_t size)
{
	return (struct params_input){
		.limits = limits,
		.image_size = size,
		.discard = true,
	};
}

static struct device_params params_of(const struct params_input *input, uint32_t *ret_cut_bytes)
{
	struct device_params params;
	GError *err = NULL;

	g_assert_cmpint(params_of_image(input, &params, ret_cut_bytes, &err), ==, 0);
	g_assert_no_error(err);
	return params;
}

static void refuses(const struct params_input *input)
{
	struct device_params params;
	uint32_t cut_bytes;
	g_autoptr(GError) err = NULL;

	g_assert_cmpint(params_of_image(input, &params, &cut_bytes, &err), ==, -EINVAL);
	g_assert_error(err, UBD_ERROR, EINVAL);
}

static void test_clusters(void)
{
	const struct image_limits limits = { 1, 1, 65536, false, 0 };
	struct params_input input = input_of_size(&limits, 10 * MIB);
	uint32_t cut_bytes;
	struct device_params params = params_of(&input, &cut_bytes);

	g_assert_cmpuint(params.logical_block_size, ==, 512);
	g_assert_cmpuint(params.physical_block_size, ==, 4096);
	g_assert_cmpuint(params.io_opt, ==, 65536);
	g_assert_cmpuint(params.discard_granularity, ==, 65536);
	g_assert_cmpuint(params.max_discard_sectors % (65536 / 512), ==, 0);
	g_assert_cmpuint(params.max_discard_sectors, >, 0);
	g_assert_cmpuint(params.dev_sectors, ==, 10 * MIB / 512);
	g_assert_true(params.volatile_cache && params.fua && !params.read_only);
	g_assert_cmpuint(cut_bytes, ==, 0);
}

/* Clusters of 512 bytes on a disk with blocks of 4096. */
static void test_clusters_smaller_than_blocks(void)
{
	const struct image_limits limits = { 4096, 4096, 512, true, 0 };
	struct params_input input = input_of_size(&limits, MIB);
	uint32_t cut_bytes;
	struct device_params params = params_of(&input, &cut_bytes);

	g_assert_cmpuint(params.logical_block_size, ==, 512);
	g_assert_cmpuint(params.io_opt, ==, 4096);
	g_assert_cmpuint(params.discard_granularity, ==, 4096);
}

static void test_block_size_is_given(void)
{
	const struct image_limits limits = { 512, 512, 65536, true, 0 };
	const struct image_limits large = { 4096, 4096, 65536, true, 0 };
	struct params_input input = input_of_size(&limits, MIB + 3584);
	struct device_params params;
	uint32_t cut_bytes;

	for (input.block_size = 512; input.block_size <= 4096; input.block_size *= 2) {
		params = params_of(&input, &cut_bytes);
		g_assert_cmpuint(params.logical_block_size, ==, input.block_size);
		g_assert_cmpuint(params.physical_block_size, ==, 4096);
		g_assert_cmpuint(params.dev_sectors * 512 + cut_bytes, ==, MIB + 3584);
		g_assert_cmpuint(params.dev_sectors * 512 % input.block_size, ==, 0);
		g_assert_cmpuint(cut_bytes, <, input.block_size);
	}
	/* Smaller than the storage's block size. */
	input = input_of_size(&large, MIB + 512);
	input.block_size = 512;
	params = params_of(&input, &cut_bytes);
	g_assert_cmpuint(params.logical_block_size, ==, 512);
	g_assert_cmpuint(params.physical_block_size, ==, 4096);
	g_assert_cmpuint(cut_bytes, ==, 0);
}

static void test_blocks_of_the_storage(void)
{
	const struct image_limits usual = { 4096, 4096, 0, true, 0 };
	const struct image_limits large = { MIB, 1, 0, false, 0 };
	struct params_input input = input_of_size(&usual, MIB);
	uint32_t cut_bytes;

	g_assert_cmpuint(params_of(&input, &cut_bytes).logical_block_size, ==, 512);
	input.is_disk = true;
	g_assert_cmpuint(params_of(&input, &cut_bytes).logical_block_size, ==, 4096);
	/* No disk has blocks larger than a page. */
	input.limits = &large;
	g_assert_cmpuint(params_of(&input, &cut_bytes).logical_block_size, ==, 4096);
}

static void test_capacity_is_whole_blocks(void)
{
	const struct image_limits limits = { 4096, 4096, 0, true, 0 };
	struct params_input input = input_of_size(&limits, MIB + 4095);
	uint32_t cut_bytes;

	input.is_disk = true;
	g_assert_cmpuint(params_of(&input, &cut_bytes).dev_sectors, ==, MIB / 512);
	g_assert_cmpuint(cut_bytes, ==, 4095);
}

static void test_read_only(void)
{
	const struct image_limits limits = { 512, 1, 0, false, 0 };
	struct params_input input = input_of_size(&limits, MIB);
	struct device_params params;
	uint32_t cut_bytes;

	input.read_only = true;
	params = params_of(&input, &cut_bytes);
	g_assert_true(params.read_only && !params.volatile_cache && !params.fua);
	g_assert_cmpuint(params.max_discard_sectors, ==, 0);
	g_assert_cmpuint(params.max_write_zeroes_sectors, ==, 0);
}

static void test_discard_ignored(void)
{
	const struct image_limits limits = { 512, 1, 0, false, 0 };
	struct params_input input = input_of_size(&limits, MIB);
	struct device_params params;
	uint32_t cut_bytes;

	input.discard = false;
	params = params_of(&input, &cut_bytes);
	g_assert_cmpuint(params.max_discard_sectors, ==, 0);
	g_assert_cmpuint(params.max_write_zeroes_sectors, >, 0);
}

static void test_refused(void)
{
	const struct image_limits small = { 512, 1, 0, false, 0 };
	struct params_input empty = input_of_size(&small, 0);
	struct params_input tiny = input_of_size(&small, 511);

	refuses(&empty);
	refuses(&tiny);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/server/params/clusters", test_clusters);
	g_test_add_func("/server/params/clusters-smaller-than-blocks",
			test_clusters_smaller_than_blocks);
	g_test_add_func("/server/params/block-size-is-given", test_block_size_is_given);
	g_test_add_func("/server/params/blocks-of-the-storage", test_blocks_of_the_storage);
	g_test_add_func("/server/params/capacity-is-whole-blocks", test_capacity_is_whole_blocks);
	g_test_add_func("/server/params/read-only", test_read_only);
	g_test_add_func("/server/params/discard-ignored", test_discard_ignored);
	g_test_add_func("/server/params/refused", test_refused);
	return g_test_run();
}
