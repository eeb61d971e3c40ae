// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The format `raw`: the file is the disk.
 *
 * A disk has whole sectors: a file that does not end on one is taken to have
 * zeroes up to there, and gets them with the first write behind its end.
 */
#include <errno.h>
#include <string.h>

#include "align.h"
#include "image_int.h"
#include "probe.h"

/*
 * Where nobody said that it is raw, its first sector says so, and that can be
 * changed by whoever uses the disk: with a header of another format there, the next user
 * (or QEMU, which knows more formats) would open a backing file of his choice. So the first
 * sector is guarded.
 *
 * The last one is not, although two formats show there: such a file is refused, and no other
 * file is opened for it. And the end moves when the disk is resized, to what was written unseen.
 */
static int raw_co_open(struct image *img, const struct image_open_opts *opts, GError **err)
{
	bool guessed = !opts->format;

	img->size = align_up(image_size(img->file), SECTOR_SIZE);
	img->limits = *image_limits(img->file);
	img->opaque = GINT_TO_POINTER(guessed);
	/* It is written in whole then, and can be looked at. */
	if (guessed && !image_is_read_only(img))
		img->limits.request_alignment = MAX(img->limits.request_alignment, SECTOR_SIZE);
	return 0;
}

/*
 * -EPERM if the first sector is to look like another format. Who made the request might change
 * what is in a fixed buffer after the look: refused, it comes again in memory.
 */
static int check_head(struct iobuf mem)
{
	uint8_t head[SECTOR_SIZE];

	if (mem.fixed)
		return -EINVAL;
	iobuf_copy_out(head, mem, sizeof(head));
	return probe_head(head, sizeof(head)) ? -EPERM : 0;
}

/*
 * With O_DIRECT the last sectors can only be written together with what
 * lies behind them in a bigger block; then the file has grown beyond the disk. What
 * somebody else has added since is not ours to cut.
 */
static int raw_co_close(struct image *img)
{
	uint64_t written_end = image_size(img->file);
	int ret;

	if (image_is_read_only(img) || written_end <= img->size)
		return 0;
	ret = image_co_refresh_size(img->file);
	if (ret < 0 && ret != -ENOTSUP)
		return ret;
	return image_size(img->file) > written_end ? 0 : image_co_truncate(img->file, img->size);
}

static int raw_co_preadv(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	return image_co_preadv(img->file, off, bytes, mem);
}

static int raw_co_pwritev(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
			  unsigned flags)
{
	bool guessed = img->opaque;
	int ret = guessed && off == 0 ? check_head(mem) : 0;

	return ret ?: image_co_pwritev(img->file, off, bytes, mem, flags);
}

static int raw_co_flush(struct image *img)
{
	return image_co_flush(img->file);
}

static int raw_co_pdiscard(struct image *img, uint64_t off, uint64_t bytes)
{
	return image_co_pdiscard(img->file, off, bytes);
}

static int raw_co_pwrite_zeroes(struct image *img, uint64_t off, uint64_t bytes, unsigned flags)
{
	return image_co_pwrite_zeroes(img->file, off, bytes, flags);
}

static int raw_co_block_status(struct image *img, uint64_t off, uint64_t bytes,
			       struct image_extent *ret_extent)
{
	int ret = image_co_block_status(img->file, off, bytes, ret_extent);

	/* Where the bottom finds it is its own business. */
	ret_extent->flags |= IMAGE_EXTENT_ALLOCATED | IMAGE_EXTENT_OFFSET;
	ret_extent->host_off = off;
	return ret;
}

/* ---- size ---- */

/* Lets the file grow from @old to @size. */
static int co_preallocate(struct image *file, uint64_t old, uint64_t size,
			  enum image_preallocation mode)
{
	int ret = 0;

	if (mode == IMAGE_PREALLOC_FALLOC && size > old)
		ret = image_co_pwrite_zeroes(file, old, size - old, IMAGE_REQ_NO_FALLBACK);
	else if (mode == IMAGE_PREALLOC_FULL && size > old)
		ret = image_co_write_zero_data(file, old, size - old);
	return ret ?: image_co_truncate(file, size);
}

static int check_mode(enum image_preallocation mode, GError **err)
{
	if (mode != IMAGE_PREALLOC_METADATA)
		return 0;
	return error_refuse(
		err, -ENOTSUP,
		"preallocation is 'metadata', must be off, falloc or full for format raw");
}

static int raw_co_resize(struct image *img, uint64_t size, enum image_preallocation mode,
			 GError **err)
{
	uint64_t old = image_size(img->file);
	int ret = check_mode(mode, err);

	if (ret)
		return ret;
	if (size != old && image_is_on_block_device(img))
		return error_refuse(err, -ENOTSUP,
				    "cannot resize a block device of %" PRIu64 " bytes", old);
	ret = co_preallocate(img->file, old, size, mode);
	if (!ret) {
		img->size = align_up(size, SECTOR_SIZE);
		return 0;
	}
	error_set(err, ret, "cannot set its size to %" PRIu64 " bytes", size);
	if (size > old)
		image_co_truncate(img->file, old);
	return ret;
}

static int raw_co_refresh_size(struct image *img)
{
	int ret = image_co_refresh_size(img->file);

	if (!ret)
		img->size = MAX(img->size, align_up(image_size(img->file), SECTOR_SIZE));
	return ret;
}

/* ---- create ---- */

static int parse_preallocation(const struct image_create_opts *opts,
			       enum image_preallocation *ret_mode, GError **err)
{
	const char *value =
		opts->options ? g_hash_table_lookup(opts->options, "preallocation") : NULL;

	*ret_mode = IMAGE_PREALLOC_OFF;
	if (!value ||
	    (image_parse_preallocation(value, ret_mode) && *ret_mode != IMAGE_PREALLOC_METADATA))
		return 0;
	return error_refuse(err, -EINVAL, "preallocation is '%s', must be off, falloc or full",
			    value);
}

static int raw_check_create(const struct image_create_opts *opts, GError **err)
{
	enum image_preallocation mode;

	return parse_preallocation(opts, &mode, err);
}

static int raw_co_create(struct image *file, const struct image_create_opts *opts, GError **err)
{
	uint64_t size = align_up(opts->size, SECTOR_SIZE);
	enum image_preallocation mode;
	int ret = parse_preallocation(opts, &mode, err);

	if (ret)
		return ret;
	ret = co_preallocate(file, 0, size, mode);
	if (ret)
		error_set(err, ret, "cannot set its size to %" PRIu64 " bytes", size);
	return ret;
}

static const struct image_option raw_create_options[] = {
	{ "size", "size", "Virtual disk size", NULL },
	{ "preallocation", "str", "Preallocation mode (allowed values: off, falloc, full)", NULL },
	{ NULL, NULL, NULL, NULL },
};

const struct format_ops image_raw_format = {
	.io = {
		.name = "raw",
		.co_close = raw_co_close,
		.co_preadv = raw_co_preadv,
		.co_pwritev = raw_co_pwritev,
		.co_flush = raw_co_flush,
		.co_pdiscard = raw_co_pdiscard,
		.co_pwrite_zeroes = raw_co_pwrite_zeroes,
		.co_block_status = raw_co_block_status,
		.co_refresh_size = raw_co_refresh_size,
	},
	.headerless = true,
	.no_backing = true,
	.bears_writers = true,
	.create_options = raw_create_options,
	.co_open = raw_co_open,
	.co_resize = raw_co_resize,
	.check_create = raw_check_create,
	.co_create = raw_co_create,
};
