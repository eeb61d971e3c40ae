// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The filter `preallocate`, between a format and its file: where a write makes the file grow, space
 * is allocated ahead, so that the next writes need not. What was not used is cut off again when the
 * node is closed. After a crash it stays, behind everything that the format uses.
 *
 * To the format, the file ends where its data ends. Rules:
 *  1. What lies behind that, up to file_end, was never written and reads as zeroes.
 *  2. Nothing is allocated below file_end: a write may be on its way there.
 */
#include <errno.h>

#include "align.h"
#include "pass.h"

#define DEFAULT_SIZE  (128ull << 20)
#define DEFAULT_ALIGN (1ull << 20)

struct preallocate {
	uint64_t size;	/* allocated ahead */
	uint64_t align; /* of the end of the file; at least 1 */
	struct co_mutex lock;
	/* How far writes may go without the lock. */
	_Atomic uint64_t file_end;
	bool refused GUARDED_BY(lock); /* by the file system, which is not asked again */
};

static int preallocate_co_open(struct image *img, const struct image_open_opts *opts, GError **err)
{
	uint64_t align = node_options_number(opts->node, "prealloc-align", DEFAULT_ALIGN);
	struct preallocate *p;

	if (!is_aligned(align, SECTOR_SIZE))
		return error_refuse(err, -EINVAL,
				    "prealloc-align parameter of preallocate filter is not aligned "
				    "to %u",
				    SECTOR_SIZE);
	filter_take_limits(img);
	p = g_new0(struct preallocate, 1);
	p->size = node_options_number(opts->node, "prealloc-size", DEFAULT_SIZE);
	p->align = MAX(align, 1);
	p->file_end = img->size;
	co_mutex_init(&p->lock);
	img->opaque = p;
	return 0;
}

static int preallocate_co_close(struct image *img)
{
	struct preallocate *p = img->opaque;
	uint64_t size = image_size(img);
	int ret = 0;

	if (size < p->file_end)
		ret = image_co_truncate(img->file, size);
	co_mutex_destroy(&p->lock);
	g_free(p);
	return ret;
}

/* ---- growing ---- */

/* Where the file shall end if a write ends at @end; @end itself if that is too far. */
static uint64_t end_ahead(const struct image *img, uint64_t end)
{
	const struct preallocate *p = img->opaque;
	uint64_t ahead, rest;

	if (p->size > INT64_MAX - end)
		return end;
	ahead = end + p->size;
	rest = ahead % p->align;
	if (rest)
		ahead += p->align - rest;
	ahead = align_up(ahead, img->limits.request_alignment);
	return ahead <= INT64_MAX ? ahead : end;
}

/* Called before a write that ends at @end. If there is no room ahead, it grows as without us. */
static void co_make_room(struct image *img, uint64_t end)
{
	struct preallocate *p = img->opaque;

	if (end <= atomic_load(&p->file_end))
		return;
	co_mutex_lock(&p->lock);
	if (end > p->file_end) {
		uint64_t from = align_up(p->file_end, img->limits.request_alignment);
		uint64_t to = p->refused ? end : end_ahead(img, end);
		int ret = from < to && !p->refused
				  ? image_co_pwrite_zeroes(img->file, from, to - from,
							   IMAGE_REQ_NO_FALLBACK)
				  : 0;

		p->refused |= ret == -ENOTSUP;
		p->file_end = ret ? end : MAX(to, end);
	}
	co_mutex_unlock(&p->lock);
}

/* Also after a write that failed: part of it may be there. Returns @ret. */
static int grow(struct image *img, uint64_t end, int ret)
{
	image_grow(img, end);
	return ret;
}

static int preallocate_co_pwritev(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
				  unsigned flags)
{
	co_make_room(img, off + bytes);
	return grow(img, off + bytes, image_co_pwritev(img->file, off, bytes, mem, flags));
}

static int preallocate_co_pwrite_zeroes(struct image *img, uint64_t off, uint64_t bytes,
					unsigned flags)
{
	int ret;

	co_make_room(img, off + bytes);
	ret = image_co_pwrite_zeroes(img->file, off, bytes, flags);
	/* Then nothing was done. */
	return ret == -ENOTSUP ? ret : grow(img, off + bytes, ret);
}

/* ---- size ---- */

/* Within what is allocated ahead, only the data's end moves: what is there reads as zeroes. */
static int preallocate_co_resize(struct image *img, uint64_t size, enum image_preallocation mode,
				 GError **err)
{
	struct preallocate *p = img->opaque;
	int ret = 0;

	co_mutex_lock(&p->lock);
	if (size < image_size(img) || size > p->file_end || mode != IMAGE_PREALLOC_OFF) {
		ret = image_co_resize(img->file, size, mode, err);
		if (!ret)
			p->file_end = size;
	}
	if (!ret)
		img->size = size;
	co_mutex_unlock(&p->lock);
	return ret;
}

static const struct node_option options[] = {
	{
		.name = "prealloc-align",
		.type = NODE_OPTION_SIZE,
		.default_value = "1M",
		.help = "Where the file ends, a multiple of this",
	},
	{
		.name = "prealloc-size",
		.type = NODE_OPTION_SIZE,
		.default_value = "128M",
		.help = "How much is allocated ahead",
	},
	{},
};

const struct format_ops image_preallocate_filter = {
	.io = {
		.name = "preallocate",
		.handles_fua = true,
		.co_close = preallocate_co_close,
		.co_preadv = filter_co_pass_preadv,
		.co_pwritev = preallocate_co_pwritev,
		.co_flush = filter_co_pass_flush,
		.co_write_back = filter_co_pass_write_back,
		.co_pdiscard = filter_co_pass_pdiscard,
		.co_pwrite_zeroes = preallocate_co_pwrite_zeroes,
		.co_block_status = filter_co_pass_block_status,
	},
	.is_filter = true,
	.allocates_ahead = true,
	.for_users = true,
	.no_backing = true,
	.options = options,
	.co_open = preallocate_co_open,
	.co_resize = preallocate_co_resize,
};
