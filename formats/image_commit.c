// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Image nodes: commits images to one below them.
 *
 * Whatever is written to the base is what the images above it decide, so reading the chain gives
 * the same at any time. Only when the base is durable may they be emptied, which is the caller's.
 */
#include <errno.h>
#include <inttypes.h>

#include "image_chain.h"
#include "image_int.h"
#include "pieces.h"
#include "qcow2/rules.h"

#define PIECE_BYTES (512ull << 10)

struct commit {
	struct image *top;
	struct image *base;
	unsigned base_depth;
	unsigned write_flags;
};

static int failed(const struct image *img, const char *what, uint64_t off, int ret, GError **err)
{
	return error_set(err, ret, "%s: error while %s at byte %" PRIu64, image_filename(img), what,
			 off);
}

static int co_look(void *arg, struct piece *piece, GError **err)
{
	struct commit *commit = arg;
	struct image_extent extent;
	int ret = image_co_block_status_chain(commit->top, piece->off, piece->bytes, &extent);

	if (ret)
		return failed(commit->top, "reading block status", piece->off, ret, err);
	piece->bytes = extent.bytes;
	if (extent.depth >= commit->base_depth)
		piece->kind = PIECE_SKIP;
	else
		piece->kind = extent.flags & IMAGE_EXTENT_ZERO ? PIECE_ZERO : PIECE_DATA;
	return 0;
}

static int co_handle(void *arg, const struct piece *piece, void *const *buffers, GError **err)
{
	struct commit *commit = arg;
	int ret;

	if (piece->kind == PIECE_ZERO) {
		ret = image_co_pwrite_zeroes(commit->base, piece->off, piece->bytes,
					     IMAGE_REQ_MAY_UNMAP | commit->write_flags);
	} else {
		ret = image_co_pread(commit->top, piece->off, piece->bytes, buffers[0]);
		if (ret)
			return failed(commit->top, "reading", piece->off, ret, err);
		ret = image_co_pwrite(commit->base, piece->off, piece->bytes, buffers[0],
				      commit->write_flags);
	}
	return ret ? failed(commit->base, "writing", piece->off, ret, err) : 0;
}

static int co_copy(struct commit *commit, const struct image_chain_opts *opts, GError **err)
{
	struct piece_walk walk = {
		.size = image_size(commit->top),
		.max_bytes = MAX(PIECE_BYTES, image_limits(commit->base)->cluster_size),
		.buffers = 1,
		.bytes_per_second = opts->bytes_per_second,
		.loops = opts->loops,
		.nr_loops = opts->nr_loops,
		.arg = commit,
		.co_look = co_look,
		.co_handle = co_handle,
		.progress = opts->progress,
		.progress_arg = opts->progress_arg,
	};

	return pieces_co_walk(&walk, err);
}

/* What is added reads as zeroes, as it did when the base ended before it. */
static int co_grow(struct image *base, uint64_t size, GError **err)
{
	int ret = 0;

	if (image_size(base) < size)
		ret = image_co_resize(base, size, IMAGE_PREALLOC_OFF, err);
	if (ret)
		g_prefix_error(err, "%s: ", image_filename(base));
	return ret;
}

static unsigned depth_of(const struct image *top, const struct image *base)
{
	unsigned depth = 0;

	for (; top != base; top = image_backing(top))
		depth++;
	return depth;
}

int image_co_commit(struct image *top, struct image *base, const struct image_chain_opts *opts,
		    GError **err)
{
	struct commit commit = {
		.top = top,
		.base = base,
		.base_depth = depth_of(top, base),
		.write_flags = opts->write_flags,
	};
	int ret = co_grow(base, image_size(top), err) ?: co_copy(&commit, opts, err);

	if (ret || RULE_BROKEN(RULE_COMMIT_DURABLE))
		return ret;
	ret = image_co_flush(base);
	return ret ? error_set(err, ret, "%s: cannot flush the image", image_filename(base)) : 0;
}

int image_co_make_empty(struct image *img, GError **err)
{
	if (!img->format->co_make_empty)
		return error_refuse(err, -ENOTSUP, "%s: format %s cannot be emptied", img->filename,
				    img->ops->name);
	if (image_is_read_only(img))
		return error_refuse(err, -EPERM, "%s: the image is read-only", img->filename);
	return image_one_line(img->format->co_make_empty(img, err), err);
}
