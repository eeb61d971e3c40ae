// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The format `raw`: the file, or a part of it, is the disk.
 *
 * A disk has whole sectors: a file that does not end on a sector is taken to have zeroes up to the
 * next one, and gets them with the first write behind its end.
 *
 * Below another format raw is a filter, and its size is exactly that of the file or the part. As
 * with any file, reads beyond the end then get zeroes.
 */
#include <errno.h>
#include <string.h>

#include "align.h"
#include "image_event.h"
#include "image_int.h"
#include "probe.h"

/*
 * If nobody said that the image is raw, its first sector says so, and any user of the disk can
 * change that: with a header of another format there, the next user (or QEMU, which knows more
 * formats) would open a backing file of that user's choice. So the first sector is guarded.
 *
 * The last sector is not, although two formats show there: such a file is refused, and no other
 * file is opened for it. And the end moves when the disk is resized, to data that was written
 * unseen.
 */
struct raw {
	bool guessed;
	bool has_size;	 /* it does not grow with the file */
	bool passes_on;	 /* reads and writes are those of the file, but for @offset and the guard */
	uint64_t offset; /* where the disk begins in the file */
};

/* A disk has whole sectors, and so has the file that it is in. */
static uint64_t file_end(const struct image *img)
{
	uint64_t end = image_size(img->file);

	return img->is_below ? end : align_up(end, SECTOR_SIZE);
}

static uint64_t size_in_file(const struct image *img)
{
	const struct raw *raw = img->opaque;
	uint64_t end = file_end(img), bytes = end > raw->offset ? end - raw->offset : 0;

	return img->is_below ? bytes : align_up(bytes, SECTOR_SIZE);
}

static int check_part(const struct image *img, uint64_t offset, bool has_size, uint64_t size,
		      GError **err)
{
	uint64_t end = file_end(img);

	if (offset > end)
		return error_refuse(err, -EINVAL,
				    "Offset (%" PRIu64 ") cannot be greater than size of the "
				    "containing file (%" PRIu64 ")",
				    offset, end);
	if (has_size && size % SECTOR_SIZE)
		return error_refuse(err, -EINVAL, "Specified size is not multiple of %d",
				    SECTOR_SIZE);
	if (has_size && size > end - offset)
		return error_refuse(err, -EINVAL,
				    "The sum of offset (%" PRIu64 ") and size (%" PRIu64 ") has to "
				    "be smaller or equal to the actual size of the containing file "
				    "(%" PRIu64 ")",
				    offset, size, end);
	return 0;
}

static int raw_co_open(struct image *img, const struct image_open_opts *opts, GError **err)
{
	uint64_t offset = node_options_number(opts->node, "offset", 0);
	uint64_t size = node_options_number(opts->node, "size", UINT64_MAX);
	bool has_size = size != UINT64_MAX;
	int ret = check_part(img, offset, has_size, size, err);
	struct raw *raw;

	if (ret)
		return ret;
	raw = g_new(struct raw, 1);
	*raw = (struct raw){
		.guessed = !opts->format,
		.has_size = has_size,
		.passes_on = !has_size && !img->is_below,
		.offset = offset,
	};
	img->opaque = raw;
	img->size = has_size ? size : size_in_file(img);
	img->grows = img->is_below;
	img->limits = *image_limits(img->file);
	/* Then it is written as a whole, and can be checked. */
	if (raw->guessed && !image_is_read_only(img))
		img->limits.request_alignment = MAX(img->limits.request_alignment, SECTOR_SIZE);
	return 0;
}

/* How much of a range lies in the part of the file that is the disk. */
static uint64_t bytes_in_part(const struct image *img, uint64_t off, uint64_t bytes)
{
	const struct raw *raw = img->opaque;

	if (!raw->has_size)
		return bytes;
	return off < img->size ? MIN(bytes, img->size - off) : 0;
}

/* After the file may have grown. */
static int follow_file(struct image *img, int ret)
{
	const struct raw *raw = img->opaque;

	if (img->is_below && !raw->has_size)
		img->size = size_in_file(img);
	return ret;
}

/*
 * -EPERM if the first sector would look like another format. The guest might change a fixed buffer
 * after the check, so such a request is refused and repeated in memory.
 */
static int check_head(struct iobuf mem)
{
	uint8_t head[SECTOR_SIZE];

	if (mem.is_fixed)
		return -EINVAL;
	iobuf_copy_out(head, mem, sizeof(head));
	return probe_head(head, sizeof(head)) ? -EPERM : 0;
}

/*
 * With O_DIRECT the last sectors can only be written together with what lies behind them in a
 * larger block; then the file has grown beyond the disk. What another program has added since must
 * not be cut off.
 */
static int co_trim(struct image *img)
{
	const struct raw *raw = img->opaque;
	uint64_t written_end = image_size(img->file), end = raw->offset + img->size;
	int ret;

	if (image_is_read_only(img) || img->is_below || raw->has_size || written_end <= end)
		return 0;
	ret = image_co_refresh_size(img->file);
	if (ret < 0 && ret != -ENOTSUP)
		return ret;
	return image_size(img->file) > written_end ? 0 : image_co_truncate(img->file, end);
}

static int raw_co_close(struct image *img)
{
	int ret = co_trim(img);

	g_free(img->opaque);
	return ret;
}

static int raw_co_preadv(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	const struct raw *raw = img->opaque;
	uint64_t there;
	int ret;

	if (raw->passes_on && !img->file->co_event)
		return image_co_preadv(img->file, raw->offset + off, bytes, mem);
	image_co_event(img->file, IMAGE_EVENT_READ_AIO);
	there = bytes_in_part(img, off, bytes);
	ret = there ? image_co_preadv(img->file, raw->offset + off, there, mem) : 0;
	return ret || there == bytes ? ret : iobuf_zero(iobuf_advance(mem, there), bytes - there);
}

static G_GNUC_NO_INLINE int co_write_checked(struct image *img, uint64_t off, uint64_t bytes,
					     struct iobuf mem, unsigned flags)
{
	const struct raw *raw = img->opaque;
	int ret = raw->guessed && raw->offset + off == 0 ? check_head(mem) : 0;

	if (bytes_in_part(img, off, bytes) < bytes)
		return -ENOSPC;
	image_co_event(img->file, IMAGE_EVENT_WRITE_AIO);
	ret = ret ?: image_co_pwritev(img->file, raw->offset + off, bytes, mem, flags);
	return follow_file(img, ret);
}

static int raw_co_pwritev(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
			  unsigned flags)
{
	const struct raw *raw = img->opaque;

	if (raw->passes_on && raw->offset + off && !img->file->co_event)
		return image_co_pwritev(img->file, raw->offset + off, bytes, mem, flags);
	return co_write_checked(img, off, bytes, mem, flags);
}

/* What a header would look like is only known of data in memory. */
static int raw_co_copy_range(struct image *img, uint64_t off, struct image *from, uint64_t from_off,
			     uint64_t bytes, unsigned flags)
{
	const struct raw *raw = img->opaque;
	int ret = -ENOTSUP;

	if (!raw->guessed && bytes_in_part(img, off, bytes) == bytes)
		ret = image_co_copy_range(img->file, raw->offset + off, from, from_off, bytes,
					  flags);
	return follow_file(img, ret);
}

static int raw_co_flush(struct image *img)
{
	return image_co_flush(img->file);
}

static int raw_co_pdiscard(struct image *img, uint64_t off, uint64_t bytes)
{
	const struct raw *raw = img->opaque;

	return image_co_pdiscard(img->file, raw->offset + off, bytes_in_part(img, off, bytes));
}

static int raw_co_pwrite_zeroes(struct image *img, uint64_t off, uint64_t bytes, unsigned flags)
{
	const struct raw *raw = img->opaque;

	if (bytes_in_part(img, off, bytes) < bytes)
		return -ENOSPC;
	return follow_file(img, image_co_pwrite_zeroes(img->file, raw->offset + off, bytes, flags));
}

static int raw_co_block_status(struct image *img, uint64_t off, uint64_t bytes,
			       struct image_extent *ret_extent)
{
	const struct raw *raw = img->opaque;
	uint64_t there = bytes_in_part(img, off, bytes);

	if (!there) {
		ret_extent->bytes = bytes;
		ret_extent->flags = IMAGE_EXTENT_ZERO | IMAGE_EXTENT_ALLOCATED;
		return 0;
	}
	/* A format below it may have the data in its backing file. */
	if (img->file->file)
		return image_co_block_status_chain(img->file, raw->offset + off, there, ret_extent);
	return image_co_block_status(img->file, raw->offset + off, there, ret_extent);
}

/* ---- size ---- */

/* Makes the file grow from @old to @size. */
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
		"Unsupported preallocation mode: metadata, must be off, falloc or full");
}

static int raw_co_resize(struct image *img, uint64_t size, enum image_preallocation mode,
			 GError **err)
{
	const struct raw *raw = img->opaque;
	uint64_t old = image_size(img->file), end = raw->offset + size;
	int ret = check_mode(mode, err);

	if (ret)
		return ret;
	if (raw->has_size)
		return error_refuse(err, -ENOTSUP, "Cannot resize fixed-size raw disks");
	if (end != old && image_is_on_block_device(img))
		return error_refuse(err, -ENOTSUP,
				    "cannot resize a block device of %" PRIu64 " bytes", old);
	ret = co_preallocate(img->file, old, end, mode);
	if (!ret) {
		img->size = img->is_below ? size : align_up(size, SECTOR_SIZE);
		return 0;
	}
	error_set(err, ret, "cannot set its size to %" PRIu64 " bytes", size);
	if (end > old)
		image_co_truncate(img->file, old);
	return ret;
}

static int raw_co_refresh_size(struct image *img)
{
	const struct raw *raw = img->opaque;
	int ret = raw->has_size ? -ENOTSUP : image_co_refresh_size(img->file);

	if (!ret)
		img->size = MAX(img->size, size_in_file(img));
	return ret;
}

/* ---- create ---- */

static int parse_preallocation(const struct image_create_opts *opts,
			       enum image_preallocation *ret_mode, GError **err)
{
	const char *value =
		opts->options ? g_hash_table_lookup(opts->options, "preallocation") : NULL;

	*ret_mode = IMAGE_PREALLOC_OFF;
	if (value && !image_parse_preallocation(value, ret_mode))
		return error_refuse(err, -EINVAL,
				    "Parameter 'preallocation' does not accept value '%s', must be "
				    "off, falloc or full",
				    value);
	return check_mode(*ret_mode, err);
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

/* Whether there are holes in it is for the file system. */
static int raw_co_measure(const struct image_create_opts *opts, struct image *source,
			  struct image_measurement *ret_measurement, GError **err)
{
	uint64_t size = align_up(opts->size, SECTOR_SIZE);

	ret_measurement->required = size;
	ret_measurement->fully_allocated = size;
	return raw_check_create(opts, err);
}

static const struct node_option raw_options[] = {
	{
		.name = "offset",
		.type = NODE_OPTION_SIZE,
		.default_value = "0",
		.help = "Where the disk begins in the file",
		.is_place = true,
		.in_name = NODE_OPTION_FIRST_IN_NAME,
		.can_change = true,
	},
	{
		.name = "size",
		.type = NODE_OPTION_SIZE,
		.help = "Its size (default: up to the end of the file, and it grows with the file)",
		.is_place = true,
		.in_name = NODE_OPTION_IN_NAME,
		.can_change = true,
	},
	{},
};

static const struct image_option raw_create_options[] = {
	{ "size", "size", "Virtual disk size", NULL },
	{ NULL, NULL, NULL, NULL },
};

const struct format_ops image_raw_format = {
	.io = {
		.name = "raw",
		.handles_fua = true, /* or the file does */
		.co_close = raw_co_close,
		.co_preadv = raw_co_preadv,
		.co_pwritev = raw_co_pwritev,
		.co_copy_range = raw_co_copy_range,
		.co_flush = raw_co_flush,
		.co_pdiscard = raw_co_pdiscard,
		.co_pwrite_zeroes = raw_co_pwrite_zeroes,
		.co_block_status = raw_co_block_status,
		.co_refresh_size = raw_co_refresh_size,
	},
	.headerless = true,
	.no_backing = true,
	.bears_writers = true,
	.options = raw_options,
	.create_options = raw_create_options,
	.co_open = raw_co_open,
	.co_resize = raw_co_resize,
	.check_create = raw_check_create,
	.co_create = raw_co_create,
	.co_measure = raw_co_measure,
};
