// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The bottom node `null`, for measuring the cost of everything above it: it reads as zeroes and
 * forgets what is written, at once or after a latency. Its file name is "null:SIZE", as in
 * null:10G; or it has none, and its size is an option.
 */
#include <errno.h>
#include <string.h>

#include "image_ops.h"
#include "values.h"

#define DEFAULT_SIZE (1ull << 30)

static int null_co_open(struct image *img, const struct image_open_opts *opts, GError **err)
{
	const char *filename = node_options_text(opts->node, "filename");
	uint64_t size = node_options_number(opts->node, "size", DEFAULT_SIZE);
	uint64_t latency = node_options_number(opts->node, "latency-ns", 0);

	if (latency > INT64_MAX)
		return error_refuse(err, -EINVAL, "latency-ns is invalid");
	if (filename && strcmp(filename, "null-co://") != 0 &&
	    strcmp(filename, "null-aio://") != 0 &&
	    (!g_str_has_prefix(filename, "null:") || size_parse(filename + strlen("null:"), &size)))
		return error_refuse(err, -EINVAL,
				    "Could not open '%s': expected null:SIZE, as in null:10G",
				    filename);
	img->size = size;
	img->opaque = g_memdup2(&latency, sizeof(latency));
	return 0;
}

static int null_co_close(struct image *img)
{
	g_free(img->opaque);
	return 0;
}

/* Takes as long as a request shall take. */
static int co_take_time(const struct image *img)
{
	const uint64_t *latency_ns = img->opaque;

	if (*latency_ns)
		co_sleep_ns(*latency_ns);
	return 0;
}

static int null_co_preadv(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	co_take_time(img);
	return iobuf_zero(mem, bytes);
}

static int null_co_pwritev(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
			   unsigned flags)
{
	return co_take_time(img);
}

static int null_co_flush(struct image *img)
{
	return co_take_time(img);
}

static int null_co_pdiscard(struct image *img, uint64_t off, uint64_t bytes)
{
	return co_take_time(img);
}

static int null_co_pwrite_zeroes(struct image *img, uint64_t off, uint64_t bytes, unsigned flags)
{
	return co_take_time(img);
}

static int null_co_block_status(struct image *img, uint64_t off, uint64_t bytes,
				struct image_extent *ret_extent)
{
	ret_extent->bytes = bytes;
	ret_extent->flags = IMAGE_EXTENT_ZERO | IMAGE_EXTENT_ALLOCATED | IMAGE_EXTENT_OFFSET;
	ret_extent->host_off = off;
	return 0;
}

static int null_co_truncate(struct image *img, uint64_t size)
{
	img->size = size;
	return 0;
}

static int64_t null_co_allocated_bytes(struct image *img)
{
	return 0;
}

static const struct node_option options[] = {
	{
		.name = "read-zeroes",
		.type = NODE_OPTION_BOOL,
		.default_value = "on",
		.help = "Reads as zeroes; it always does",
		.is_place = true,
		.in_name = NODE_OPTION_FIRST_IN_NAME,
	},
	{
		.name = "size",
		.type = NODE_OPTION_SIZE,
		.default_value = "1G",
		.help = "Its size",
		.is_place = true,
		.in_name = NODE_OPTION_IN_NAME,
	},
	{
		.name = "filename",
		.type = NODE_OPTION_STRING,
		.help = "null:SIZE or null-co://, in place of a size",
		.is_place = true,
		.in_name = NODE_OPTION_IN_NAME,
	},
	{
		.name = "latency-ns",
		.type = NODE_OPTION_NUMBER,
		.default_value = "0",
		.help = "How long a request takes",
	},
	{},
};

const struct bottom_ops image_null_bottom = {
	.io = {
		.name = "null",
		.grows = true,
		.co_close = null_co_close,
		.co_preadv = null_co_preadv,
		.co_pwritev = null_co_pwritev,
		.co_flush = null_co_flush,
		.co_pdiscard = null_co_pdiscard,
		.co_pwrite_zeroes = null_co_pwrite_zeroes,
		.co_block_status = null_co_block_status,
		.co_truncate = null_co_truncate,
		.co_allocated_bytes = null_co_allocated_bytes,
	},
	.options = options,
	.forgets = true,
	.co_open = null_co_open,
};
