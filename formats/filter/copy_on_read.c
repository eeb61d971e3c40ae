// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The filter `copy-on-read`: what is read from it is copied into the image below, where that
 * image's backing file decides. Then reads of a slow backing file are slow once.
 *
 * The copying itself is image_co_copy_up(). A program that opens an image can also have it without
 * this node, with IMAGE_COPY_ON_READ.
 */
#include <errno.h>
#include <string.h>

#include "pass.h"

struct copy_on_read {
	unsigned max_depth; /* of the layers that are copied from; 0 is the image itself */
};

/* ---- open ---- */

static bool has_name(const struct image *img, const char *name)
{
	return g_strcmp0(node_options_text(img->options, "node-name"), name) == 0;
}

/* Whether the layer, or a filter on it, has this name. */
static bool layer_has_name(const struct image *layer, const char *name)
{
	while (!has_name(layer, name) && layer->format->is_filter)
		layer = layer->file;
	return has_name(layer, name);
}

/* How deep in the chain the last layer is that is copied from. */
static int find_bottom(const struct image *img, const char *name, unsigned *ret_depth, GError **err)
{
	unsigned depth = 0;

	if (has_name(img, name))
		return error_refuse(err, -EINVAL, "Bottom node '%s' is a filter", name);
	for (struct image *layer = image_below_filters(img->file); layer;
	     layer = layer->backing, depth++) {
		if (!layer_has_name(layer, name))
			continue;
		*ret_depth = depth;
		return 0;
	}
	return error_refuse(err, -EINVAL, "Bottom node '%s' not found", name);
}

static int filter_co_open(struct image *img, const struct image_open_opts *opts, GError **err)
{
	const char *bottom = node_options_text(opts->node, "bottom");
	struct copy_on_read cor = { .max_depth = UINT_MAX };
	int ret = bottom ? find_bottom(img, bottom, &cor.max_depth, err) : 0;

	if (ret)
		return ret;
	if (image_is_read_only(img))
		return error_refuse(err, -EACCES, "Block node is read-only");
	filter_take_limits(img);
	img->opaque = g_memdup2(&cor, sizeof(cor));
	return 0;
}

static int filter_co_close(struct image *img)
{
	g_free(img->opaque);
	return 0;
}

/* ---- requests ---- */

/* Copies what the layers down to the bottom decide. */
static void co_copy_up(struct image *img, uint64_t off, uint64_t bytes)
{
	const struct copy_on_read *cor = img->opaque;

	if (cor->max_depth == UINT_MAX)
		image_co_try_copy_up(img->file, off, bytes);
	while (cor->max_depth != UINT_MAX && bytes) {
		struct image_extent extent;

		if (image_co_block_status_chain(image_below_filters(img->file), off, bytes,
						&extent))
			return;
		if (extent.layer && extent.depth <= cor->max_depth)
			image_co_try_copy_up(img->file, off, extent.bytes);
		off += extent.bytes;
		bytes -= extent.bytes;
	}
}

static int filter_co_preadv(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	co_copy_up(img, off, bytes);
	return image_co_preadv(img->file, off, bytes, mem);
}

static const struct node_option options[] = {
	{
		.name = "bottom",
		.type = NODE_OPTION_STRING,
		.help = "The node-name of the last layer to copy from (default: all)",
	},
	{},
};

const struct format_ops image_copy_on_read_filter = {
	.io = {
		.name = "copy-on-read",
		.handles_fua = true,
		.co_close = filter_co_close,
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
	.is_filter = true,
	.no_backing = true,
	.options = options,
	.co_open = filter_co_open,
	.co_resize = filter_co_pass_resize,
};
