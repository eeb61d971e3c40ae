// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The filter `copy-on-read`: what is read from it is copied into the image below, where that
 * image's backing file decides. Then reads of a slow backing file are slow once.
 *
 * The copying itself is image_co_copy_up(). A program that opens an image can also have it without
 * this node, with IMAGE_COPY_ON_READ.
 */
#include <errno.h>

#include "pass.h"

static int filter_co_open(struct image *img, const struct image_open_opts *opts, GError **err)
{
	if (image_is_read_only(img))
		return error_refuse(err, -EACCES, "Can't use copy-on-read on read-only device");
	filter_take_limits(img);
	return 0;
}

static int filter_co_preadv(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	image_co_try_copy_up(img->file, off, bytes);
	return image_co_preadv(img->file, off, bytes, mem);
}

static const struct node_option options[] = {
	{
		.name = "bottom",
		.type = NODE_OPTION_STRING,
		.help = "The last node to copy from",
		.refusal = "nodes have no names to refer to; all layers below are copied from",
	},
	{},
};

const struct format_ops image_copy_on_read_filter = {
	.io = {
		.name = "copy-on-read",
		.handles_fua = true,
		.co_close = filter_co_pass_close,
		.co_preadv = filter_co_preadv,
		.co_pwritev = filter_co_pass_pwritev,
		.co_pwrite_compressed = filter_co_pass_pwrite_compressed,
		.co_flush = filter_co_pass_flush,
		.co_write_back = filter_co_pass_write_back,
		.co_pdiscard = filter_co_pass_pdiscard,
		.co_pwrite_zeroes = filter_co_pass_pwrite_zeroes,
		.co_block_status = filter_co_pass_block_status,
		.co_refresh_size = filter_co_pass_refresh_size,
	},
	.no_backing = true,
	.options = options,
	.co_open = filter_co_open,
	.co_resize = filter_co_pass_resize,
};
