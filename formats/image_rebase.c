// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Image nodes: prepares an image for another backing file, and records it.
 *
 * What the old backing file decides, and the new one has otherwise, is written to the image. Until
 * the header names the new one this changes nothing that is read. Zeroes are recorded even where
 * nothing lies below now.
 *
 * Written are whole units, subclusters or compressed clusters, since a part of one would have to be
 * completed from the old backing file.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "align.h"
#include "image_chain.h"
#include "image_int.h"
#include "pieces.h"

#define PIECE_BYTES (512ull << 10)
/* The block status of longer ranges is not asked for, since the next piece would ask again. */
#define LOOK_BYTES  (64ull << 20)

enum rebase_piece_flags {
	OLD_IS_ZERO = 1 << 0,
	NEW_IS_ZERO = 1 << 1,
	WHOLE_CLUSTERS = 1 << 2, /* to be compressed */
};

struct rebase {
	struct image *img;
	struct image *old, *new; /* NULL: none */
	uint32_t cluster, subcluster;
	bool compress;
	unsigned write_flags;
};

static int failed(const struct image *img, const char *what, uint64_t off, int ret, GError **err)
{
	return error_set(err, ret, "%s: error while %s at byte %" PRIu64, image_filename(img), what,
			 off);
}

/* ---- where they may differ ---- */

/* Of a backing file, which may be missing or too short. */
static int co_status(struct image *backing, uint64_t off, uint64_t bytes, struct image_extent *ret,
		     GError **err)
{
	int result;

	if (!backing || off >= image_size(backing)) {
		*ret = (struct image_extent){ .bytes = bytes, .flags = IMAGE_EXTENT_ZERO };
		return 0;
	}
	bytes = MIN(bytes, image_size(backing) - off);
	result = image_co_block_status_chain(backing, off, bytes, ret);
	return result ? failed(backing, "reading block status", off, result, err) : 0;
}

/* A name with options may stand for anything in the file. */
static bool is_plain(const struct image *img)
{
	return !g_str_has_prefix(image_filename(img), "json:");
}

/* Whether both chains have it from the same image. */
static bool same_origin(const struct image_extent *a, const struct image_extent *b)
{
	struct file_id a_id, b_id;

	if (!a->layer || !b->layer || !is_plain(a->layer) || !is_plain(b->layer))
		return false;
	a_id = image_file_id(a->layer);
	b_id = image_file_id(b->layer);
	return file_id_equal(&a_id, &b_id) &&
	       g_str_equal(image_format(a->layer), image_format(b->layer));
}

/* At an offset that is not allocated in the image, up to @bytes. */
static int co_compare_status(const struct rebase *rebase, struct piece *piece, uint64_t bytes,
			     GError **err)
{
	struct image_extent old, new;
	uint64_t off = piece->off;
	int ret = co_status(rebase->old, off, bytes, &old, err)
			  ?: co_status(rebase->new, off, bytes, &new, err);

	if (ret)
		return ret;
	piece->bytes = MIN(old.bytes, new.bytes);
	piece->kind = PIECE_DATA;
	if (old.flags & IMAGE_EXTENT_ZERO)
		piece->flags |= OLD_IS_ZERO;
	if (new.flags & IMAGE_EXTENT_ZERO)
		piece->flags |= NEW_IS_ZERO;
	if ((piece->flags & OLD_IS_ZERO && piece->flags & NEW_IS_ZERO) || same_origin(&old, &new))
		piece->kind = PIECE_SKIP;
	return 0;
}

static uint32_t unit_of(const struct rebase *rebase, const struct piece *piece)
{
	return piece->flags & WHOLE_CLUSTERS ? rebase->cluster : rebase->subcluster;
}

/* Ends the piece on a unit, out of @bytes; in a unit of several kinds, everything is read. */
static void cut_to_units(const struct rebase *rebase, struct piece *piece, uint64_t bytes)
{
	uint64_t end = piece->off + piece->bytes;
	uint32_t unit = unit_of(rebase, piece);

	if (piece->bytes == bytes || is_aligned(end, unit))
		return;
	if (piece->bytes > unit) {
		piece->bytes = align_down(end, unit) - piece->off;
		return;
	}
	piece->bytes = MIN(unit, bytes);
	piece->kind = PIECE_DATA;
	piece->flags &= ~(OLD_IS_ZERO | NEW_IS_ZERO);
}

/* Of @bytes that are not allocated: those to be looked at, up to where the way of writing changes.
 */
static uint64_t choose_way(const struct rebase *rebase, struct piece *piece, uint64_t bytes)
{
	uint64_t off = piece->off, end = off + bytes;
	uint64_t whole = end == image_size(rebase->img) ? end : align_down(end, rebase->cluster);

	if (!rebase->compress)
		return bytes;
	if (!is_aligned(off, rebase->cluster) || whole <= off)
		return MIN(bytes, bytes_to_boundary(off, rebase->cluster));
	piece->flags |= WHOLE_CLUSTERS;
	return whole - off;
}

static int co_look(void *arg, struct piece *piece, GError **err)
{
	const struct rebase *rebase = arg;
	uint64_t bytes = MIN(piece->bytes, bytes_to_boundary(piece->off, LOOK_BYTES));
	struct image_extent own;
	int ret = image_co_block_status(rebase->img, piece->off, bytes, &own);

	if (ret)
		return failed(rebase->img, "reading block status", piece->off, ret, err);
	piece->bytes = own.bytes;
	piece->kind = PIECE_SKIP;
	if (own.flags & IMAGE_EXTENT_ALLOCATED)
		return 0;
	bytes = choose_way(rebase, piece, own.bytes);
	ret = co_compare_status(rebase, piece, bytes, err);
	if (!ret)
		cut_to_units(rebase, piece, bytes);
	return ret;
}

/* ---- comparing ---- */

static int co_read(struct image *backing, const struct piece *piece, void *buf, GError **err)
{
	struct iovec iov;
	int ret = image_co_preadv_chain(backing, piece->off, piece->bytes,
					IOBUF(&iov, buf, piece->bytes));

	return ret ? failed(backing, "reading", piece->off, ret, err) : 0;
}

/* What is to be done with a unit. */
enum action {
	KEEP, /* both are the same */
	HIDE, /* the old one is zero */
	WRITE,
};

static enum action action_for(const struct piece *piece, const void *old, const void *new,
			      uint64_t bytes)
{
	bool zero = piece->flags & OLD_IS_ZERO || buffer_is_zero(old, bytes);

	if (zero)
		return piece->flags & NEW_IS_ZERO || buffer_is_zero(new, bytes) ? KEEP : HIDE;
	return piece->flags & NEW_IS_ZERO || memcmp(old, new, bytes) ? WRITE : KEEP;
}

static int co_write(const struct rebase *rebase, bool compress, uint64_t off, uint64_t bytes,
		    const void *buf)
{
	struct iovec iov;
	int ret;

	if (!compress)
		return image_co_pwrite(rebase->img, off, bytes, buf, rebase->write_flags);
	ret = image_co_pwrite_compressed(rebase->img, off, bytes, IOBUF(&iov, buf, bytes));
	if (!ret && rebase->write_flags & IMAGE_REQ_FUA)
		ret = image_co_flush(rebase->img);
	return ret;
}

static int co_act(const struct rebase *rebase, const struct piece *piece, enum action action,
		  uint64_t off, uint64_t bytes, const void *buf, GError **err)
{
	int ret = 0;

	if (action == HIDE)
		ret = image_co_pwrite_zeroes(rebase->img, off, bytes,
					     IMAGE_REQ_HIDE | rebase->write_flags);
	else if (action == WRITE)
		ret = co_write(rebase, piece->flags & WHOLE_CLUSTERS, off, bytes, buf);
	return ret ? failed(rebase->img, "writing", off, ret, err) : 0;
}

/* Runs of units for which the same is to be done. */
static int co_settle(const struct rebase *rebase, const struct piece *piece, const char *old,
		     const char *new, GError **err)
{
	uint32_t unit = unit_of(rebase, piece);
	enum action action = KEEP;
	uint64_t start = 0, off = 0;
	int ret = 0;

	while (!ret && off < piece->bytes) {
		uint64_t bytes = MIN(piece->bytes - off, bytes_to_boundary(piece->off + off, unit));
		enum action next = action_for(piece, old + off, new + off, bytes);

		if (next != action) {
			ret = co_act(rebase, piece, action, piece->off + start, off - start,
				     old + start, err);
			start = off;
			action = next;
		}
		off += bytes;
	}
	return ret
		       ?: co_act(rebase, piece, action, piece->off + start, off - start,
				 old + start, err);
}

static int co_handle(void *arg, const struct piece *piece, void *const *buffers, GError **err)
{
	const struct rebase *rebase = arg;
	int ret = 0;

	if (!(piece->flags & OLD_IS_ZERO))
		ret = co_read(rebase->old, piece, buffers[0], err);
	if (!ret && !(piece->flags & NEW_IS_ZERO))
		ret = co_read(rebase->new, piece, buffers[1], err);
	return ret ?: co_settle(rebase, piece, buffers[0], buffers[1], err);
}

/* ---- entries ---- */

static int check_img(const struct image *img, GError **err)
{
	if (!img->format->co_set_backing)
		return error_refuse(err, -ENOTSUP, "Operation not supported");
	if (image_is_read_only(img))
		return error_refuse(err, -EPERM, "the image is read-only");
	return 0;
}

int image_co_copy_differences(struct image *img, struct image *backing,
			      const struct image_chain_opts *opts, GError **err)
{
	const struct image_limits *limits = image_limits(img);
	struct rebase rebase = {
		.img = img,
		.old = image_backing(img),
		.new = backing,
		.cluster = limits->cluster_size,
		.subcluster = limits->zero_alignment,
		.compress = opts->compress,
		.write_flags = opts->write_flags,
	};
	struct piece_walk walk = {
		.size = image_size(img),
		.max_bytes = MAX(PIECE_BYTES, limits->cluster_size),
		.buffers = 2,
		.bytes_per_second = opts->bytes_per_second,
		.loops = opts->loops,
		.nr_loops = opts->nr_loops,
		.arg = &rebase,
		.co_look = co_look,
		.co_handle = co_handle,
		.progress = opts->progress,
		.progress_arg = opts->progress_arg,
	};
	int ret = check_img(img, err);

	if (ret) {
		g_prefix_error(err, "%s: ", img->filename);
		return ret;
	}
	return pieces_co_walk(&walk, err);
}

int image_co_set_backing(struct image *img, const char *filename, const char *format, GError **err)
{
	return check_img(img, err)
		       ?: image_one_line(img->format->co_set_backing(img, filename, format, err),
					 err);
}
