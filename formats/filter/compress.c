// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The filter `compress`: what is written to it is written compressed to the image below. Requests
 * that are not whole clusters are widened to them by the checked entry.
 */
#include <errno.h>

#include "pass.h"

static int compress_co_open(struct image *img, const struct image_open_opts *opts, GError **err)
{
	filter_take_limits(img);
	if (!img->file->ops->co_pwrite_compressed || !img->limits.cluster_size)
		return error_refuse(err, -ENOTSUP,
				    "Compression is not supported for underlying format: %s",
				    image_format(img->file));
	img->limits.request_alignment =
		MAX(img->limits.request_alignment, img->limits.cluster_size);
	return 0;
}

/* The last cluster may end with the image. */
static int compress_co_pwritev(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
			       unsigned flags)
{
	return image_co_pwrite_compressed(img->file, off, MIN(bytes, image_size(img) - off), mem);
}

const struct format_ops image_compress_filter = {
	.io = {
		.name = "compress",
		.co_close = filter_co_pass_close,
		.co_preadv = filter_co_pass_preadv,
		.co_pwritev = compress_co_pwritev,
		.co_pwrite_compressed = filter_co_pass_pwrite_compressed,
		.co_flush = filter_co_pass_flush,
		.co_write_back = filter_co_pass_write_back,
		.co_pdiscard = filter_co_pass_pdiscard,
		.co_pwrite_zeroes = filter_co_pass_pwrite_zeroes,
		.co_block_status = filter_co_pass_block_status,
		.co_refresh_size = filter_co_pass_refresh_size,
	},
	.is_filter = true,
	.for_users = true,
	.no_backing = true,
	.co_open = compress_co_open,
	.co_resize = filter_co_pass_resize,
};
