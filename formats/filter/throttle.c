// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The filter `throttle`: its requests wait until the limits of its group allow them
 * (throttle_group.h), or until its patience ends (image_set_patience()), unless its user lets them
 * wait before (image_take_throttle()). Flushes do not count. A discard or a write of zeroes counts
 * as a write of that many bytes.
 */
#include <errno.h>

#include "aio.h"
#include "pass.h"
#include "throttle_group.h"

static int throttle_co_open(struct image *img, const struct image_open_opts *opts, GError **err)
{
	const char *id = node_options_text(opts->node, "throttle-group");
	struct throttle_group *group = id ? throttle_group_find(id) : NULL;

	if (!id)
		return error_refuse(err, -EINVAL, "Please specify a throttle group");
	if (!group)
		return error_refuse(err, -EINVAL, "Throttle group '%s' does not exist", id);
	filter_take_limits(img);
	img->opaque = group;
	return 0;
}

static struct throttle_group *throttle_group_of(const struct image *img)
{
	return img->opaque;
}

struct waiting {
	const struct image *img;
	uint64_t begin_ns;
};

static enum throttle_go look(void *arg)
{
	const struct waiting *waiting = arg;
	uint64_t waited_ns = aio_now_ns() - waiting->begin_ns;

	return waited_ns >= atomic_load(&waiting->img->patience_ns) ? THROTTLE_START
								    : THROTTLE_WAIT;
}

static void co_wait(struct image *img, bool is_write, uint64_t bytes)
{
	struct waiting waiting = { .img = img, .begin_ns = aio_now_ns() };

	if (atomic_load_explicit(&img->throttle_taken, memory_order_relaxed))
		return;
	throttle_group_co_wait(img->opaque, is_write, bytes, look, &waiting);
}

static int throttle_co_preadv(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	co_wait(img, false, bytes);
	return filter_co_pass_preadv(img, off, bytes, mem);
}

static int throttle_co_pwritev(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
			       unsigned flags)
{
	co_wait(img, true, bytes);
	return filter_co_pass_pwritev(img, off, bytes, mem, flags);
}

static int throttle_co_pwrite_compressed(struct image *img, uint64_t off, uint64_t bytes,
					 struct iobuf mem)
{
	co_wait(img, true, bytes);
	return filter_co_pass_pwrite_compressed(img, off, bytes, mem);
}

static int throttle_co_pdiscard(struct image *img, uint64_t off, uint64_t bytes)
{
	co_wait(img, true, bytes);
	return filter_co_pass_pdiscard(img, off, bytes);
}

static int throttle_co_pwrite_zeroes(struct image *img, uint64_t off, uint64_t bytes,
				     unsigned flags)
{
	co_wait(img, true, bytes);
	return filter_co_pass_pwrite_zeroes(img, off, bytes, flags);
}

static const struct node_option options[] = {
	{
		.name = "throttle-group",
		.type = NODE_OPTION_STRING,
		.help = "The ID of an object throttle-group",
		.in_name = NODE_OPTION_FIRST_IN_NAME,
	},
	{},
};

const struct format_ops image_throttle_filter = {
	.io = {
		.name = "throttle",
		.handles_fua = true,
		.co_close = filter_co_pass_close,
		.co_preadv = throttle_co_preadv,
		.co_pwritev = throttle_co_pwritev,
		.co_pwrite_compressed = throttle_co_pwrite_compressed,
		.co_flush = filter_co_pass_flush,
		.co_write_back = filter_co_pass_write_back,
		.co_pdiscard = throttle_co_pdiscard,
		.co_pwrite_zeroes = throttle_co_pwrite_zeroes,
		.co_block_status = filter_co_pass_block_status,
		.co_refresh_size = filter_co_pass_refresh_size,
	},
	.is_filter = true,
	.for_users = true,
	.no_backing = true,
	.options = options,
	.co_open = throttle_co_open,
	.throttle = throttle_group_of,
	.co_resize = filter_co_pass_resize,
};
