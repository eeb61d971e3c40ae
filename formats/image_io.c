// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Image nodes: requests. Every request passes through here, at every level; what a format sees is
 * in range, allowed, and aligned as it asked.
 *
 * A request that is not aligned goes through a bounce buffer. For a write that means reading the
 * blocks at its ends, changing parts of them and writing them back; meanwhile the node's rmw_lock
 * keeps out other writes to the same blocks. Reads need no lock: what lies beside the changed part
 * is written back as it was.
 */
#include <errno.h>
#include <string.h>

#include "align.h"
#include "enum_names.h"
#include "image_event.h"
#include "image_int.h"
#include "probes.h"

/* A larger request is done in pieces: one transfer by the kernel stays below 2 GiB. */
#define MAX_PIECE  (1024ULL * 1024 * 1024)
/* Memory that one request takes for bouncing or for zeroes; larger than any alignment. */
#define MAX_BOUNCE (1024ULL * 1024)

/* ---- checks ---- */

/* Anything beyond INT64_MAX is out of range, with room to round up. */
static int check_within(struct image *img, uint64_t off, uint64_t bytes, bool beyond_end)
{
	uint64_t end = beyond_end ? INT64_MAX - MAX_BOUNCE : image_size(img);

	if (img->flags & IMAGE_INFO_ONLY)
		return -EPERM;
	return bytes > end || off > end - bytes ? -EIO : 0;
}

/* A node that grows may be read and written behind its end. */
static int check_range(struct image *img, uint64_t off, uint64_t bytes)
{
	return check_within(img, off, bytes, img->grows);
}

/* What a format stands on may be read there even if it does not grow. */
static int check_read(struct image *img, uint64_t off, uint64_t bytes)
{
	return check_within(img, off, bytes, img->grows || img->is_below);
}

static int check_change(struct image *img, uint64_t off, uint64_t bytes, unsigned flags,
			unsigned allowed_flags)
{
	if (flags & ~allowed_flags)
		return -EINVAL;
	if (image_is_read_only(img))
		return -EPERM;
	return check_range(img, off, bytes);
}

static bool range_is_aligned(struct image *img, uint64_t off, uint64_t bytes)
{
	return is_aligned(off | bytes, img->limits.request_alignment);
}

static bool memory_is_aligned(struct image *img, uint64_t bytes, struct iobuf mem)
{
	return img->limits.memory_alignment == 1 ||
	       iobuf_is_aligned(mem, bytes, img->limits.memory_alignment);
}

/*
 * Most requests are inside the image, aligned, and in one piece of memory: there is nothing to do
 * to them but to call the node's op. This finds that out at once; whatever it says no to takes the
 * long way, which checks everything by itself, and is not inlined, so that the short one needs no
 * stack.
 */
static inline bool is_plain(const struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	uint64_t end = img->grows ? INT64_MAX - MAX_BOUNCE : atomic_load(&img->size);
	uintptr_t data;

	if (bytes - 1 >= MAX_PIECE || bytes > end || off > end - bytes)
		return false;
	data = (uintptr_t)iobuf_flat(mem, bytes);
	return data && is_aligned(off | bytes, img->limits.request_alignment) &&
	       is_aligned(data | bytes, img->limits.memory_alignment);
}

static inline bool is_plain_read(const struct image *img, uint64_t off, uint64_t bytes,
				 struct iobuf mem)
{
	return !(img->flags & (IMAGE_INFO_ONLY | IMAGE_COPY_ON_READ)) &&
	       is_plain(img, off, bytes, mem);
}

static inline bool is_plain_write(const struct image *img, uint64_t off, uint64_t bytes,
				  struct iobuf mem, unsigned flags)
{
	return (!flags || (flags == IMAGE_REQ_FUA && img->ops->handles_fua)) &&
	       (img->flags & (IMAGE_RDWR | IMAGE_INFO_ONLY)) == IMAGE_RDWR && !img->detect_zeroes &&
	       is_plain(img, off, bytes, mem);
}

/*
 * Only the kernel knows where the data of a fixed buffer lies: it refuses what is not aligned, and
 * then that goes through a bounce buffer.
 */
static bool is_refused(struct iobuf mem, int ret)
{
	return mem.is_fixed && ret == -EINVAL;
}

/* Changes of whole blocks run side by side, changes of parts of blocks alone. */
static void lock_change(struct image *img, bool whole_blocks) NO_THREAD_SAFETY_ANALYSIS
{
	if (!img->rmw_lock)
		return;
	if (whole_blocks)
		co_rwlock_rdlock(img->rmw_lock);
	else
		co_rwlock_wrlock(img->rmw_lock);
}

static void unlock_change(struct image *img, bool whole_blocks) NO_THREAD_SAFETY_ANALYSIS
{
	if (!img->rmw_lock)
		return;
	if (whole_blocks)
		co_rwlock_rdunlock(img->rmw_lock);
	else
		co_rwlock_wrunlock(img->rmw_lock);
}

/* ---- bouncing ---- */

/* A part of a request, widened to whole blocks, and its memory. */
struct padded_part {
	uint64_t off, end;		 /* the part */
	uint64_t block_off, block_bytes; /* the whole blocks around it */
	uint8_t *buf;
	struct iovec iov;
};

static struct iobuf padded_mem(struct padded_part *b)
{
	return (struct iobuf){ .iov = &b->iov };
}

static uint8_t *padded_data(struct padded_part *b)
{
	return b->buf + (b->off - b->block_off);
}

/* Room for the largest part of a request. */
static int padded_init(struct padded_part *b, struct image *img, uint64_t off, uint64_t bytes)
{
	uint32_t align = img->limits.request_alignment;

	b->end = off;
	b->buf = try_iobuf_alloc(
		MIN(align_up(off + bytes, align) - align_down(off, align), MAX(MAX_BOUNCE, align)));
	return b->buf ? 0 : -ENOMEM;
}

/* The next part, up to the end of the request; false if that was reached. */
static bool padded_next(struct padded_part *b, struct image *img, uint64_t end)
{
	uint32_t align = img->limits.request_alignment;

	if (b->end == end)
		return false;
	b->off = b->end;
	b->block_off = align_down(b->off, align);
	b->end = MIN(end, b->block_off + MAX(MAX_BOUNCE, align));
	b->block_bytes = align_up(b->end, align) - b->block_off;
	b->iov = (struct iovec){ b->buf, b->block_bytes };
	return true;
}

static int bounced_read(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	struct padded_part b;
	int ret = padded_init(&b, img, off, bytes);

	while (!ret && padded_next(&b, img, off + bytes)) {
		ret = img->ops->co_preadv(img, b.block_off, b.block_bytes, padded_mem(&b));
		if (!ret)
			ret = iobuf_copy_in(iobuf_advance(mem, b.off - off), padded_data(&b),
					    b.end - b.off);
	}
	iobuf_free(b.buf);
	return ret;
}

static int read_block(struct image *img, struct padded_part *b, uint64_t block_off)
{
	uint32_t align = img->limits.request_alignment;
	struct iovec iov;

	return img->ops->co_preadv(img, block_off, align,
				   IOBUF(&iov, b->buf + (block_off - b->block_off), align));
}

/* Reads the blocks that the part covers only partly: the first and the last. */
static int read_edges(struct image *img, struct padded_part *b)
{
	uint32_t align = img->limits.request_alignment;
	bool head = b->off != b->block_off;
	bool tail = b->end & (align - 1);
	uint64_t last_block = align_down(b->end, align);
	int ret = 0;

	if (head) {
		image_co_event(img, IMAGE_EVENT_PWRITEV_RMW_HEAD);
		ret = read_block(img, b, b->block_off);
		image_co_event(img, IMAGE_EVENT_PWRITEV_RMW_AFTER_HEAD);
	}
	if (!ret && tail && !(head && last_block == b->block_off)) {
		image_co_event(img, IMAGE_EVENT_PWRITEV_RMW_TAIL);
		ret = read_block(img, b, last_block);
		image_co_event(img, IMAGE_EVENT_PWRITEV_RMW_AFTER_TAIL);
	}
	return ret;
}

/* With the rmw_lock held. */
static int bounced_write(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
			 unsigned flags)
{
	struct padded_part b;
	int ret = padded_init(&b, img, off, bytes);

	while (!ret && padded_next(&b, img, off + bytes)) {
		ret = read_edges(img, &b);
		if (ret)
			break;
		ret = iobuf_copy_out(padded_data(&b), iobuf_advance(mem, b.off - off),
				     b.end - b.off);
		if (ret)
			break;
		ret = img->ops->co_pwritev(img, b.block_off, b.block_bytes, padded_mem(&b), flags);
	}
	iobuf_free(b.buf);
	return ret;
}

/* ---- read ---- */

static int read_piece(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	int ret;

	if (!range_is_aligned(img, off, bytes) || !memory_is_aligned(img, bytes, mem))
		return bounced_read(img, off, bytes, mem);
	ret = img->ops->co_preadv(img, off, bytes, mem);
	return is_refused(mem, ret) ? bounced_read(img, off, bytes, mem) : ret;
}

/*
 * Where a piece that starts at @off ends: all pieces but the last end on a multiple of any
 * alignment.
 */
static uint64_t piece_bytes(uint64_t off, uint64_t bytes)
{
	return MIN(bytes, MAX_PIECE - off % MAX_PIECE);
}

/* How much of a range the node itself can read; the rest is zero. */
static uint64_t bytes_in_node(struct image *img, uint64_t off, uint64_t bytes)
{
	uint64_t size = image_size(img);

	if (img->grows)
		return bytes;
	return off < size ? MIN(bytes, size - off) : 0;
}

static G_GNUC_NO_INLINE int co_read_pieces(struct image *img, uint64_t off, uint64_t bytes,
					   struct iobuf mem)
{
	int ret = check_read(img, off, bytes);
	uint64_t left = bytes_in_node(img, off, bytes), zeroes = bytes - left;

	if (!ret && img->flags & IMAGE_COPY_ON_READ)
		image_co_try_copy_up(img, off, left);
	while (!ret && left) {
		uint64_t piece = piece_bytes(off, left);

		ret = read_piece(img, off, piece, mem);
		mem = iobuf_advance(mem, piece);
		off += piece;
		left -= piece;
	}
	return ret || !zeroes ? ret : iobuf_zero(mem, zeroes);
}

int image_co_preadv(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	if (is_plain_read(img, off, bytes, mem))
		return img->ops->co_preadv(img, off, bytes, mem);
	return co_read_pieces(img, off, bytes, mem);
}

int image_co_pread(struct image *img, uint64_t off, uint64_t bytes, void *buf)
{
	struct iovec iov;

	return image_co_preadv(img, off, bytes, IOBUF(&iov, buf, bytes));
}

/* ---- write ---- */

static int write_piece(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
		       unsigned flags)
{
	bool whole_blocks = range_is_aligned(img, off, bytes);
	bool direct = whole_blocks && memory_is_aligned(img, bytes, mem);
	int ret = 0;

	lock_change(img, whole_blocks);
	if (direct)
		ret = img->ops->co_pwritev(img, off, bytes, mem, flags);
	if (!direct || is_refused(mem, ret))
		ret = bounced_write(img, off, bytes, mem, flags);
	unlock_change(img, whole_blocks);
	return ret;
}

/*
 * Makes the change durable before the request completes: by the node itself, or by a flush after
 * it.
 */
static int finish_change(struct image *img, int ret, unsigned flags, bool fua_done)
{
	if (ret || !(flags & IMAGE_REQ_FUA) || fua_done)
		return ret;
	return image_co_flush(img);
}

/*
 * Whether the node wants to know that the data is zero, and it is. Only the kernel knows what a
 * fixed buffer contains.
 */
static bool are_zeroes(const struct image *img, uint64_t bytes, struct iobuf mem)
{
	return img->detect_zeroes && bytes && !mem.is_fixed && iobuf_is_zero(mem, bytes);
}

static int write_found_zeroes(struct image *img, uint64_t off, uint64_t bytes, unsigned flags)
{
	if (img->detect_zeroes == IMAGE_DETECT_ZEROES_UNMAP)
		flags |= IMAGE_REQ_MAY_UNMAP;
	return image_co_pwrite_zeroes(img, off, bytes, flags);
}

static G_GNUC_NO_INLINE int co_write_pieces(struct image *img, uint64_t off, uint64_t bytes,
					    struct iobuf mem, unsigned flags)
{
	bool does_fua = img->ops->handles_fua;
	unsigned op_flags = does_fua ? flags : flags & ~IMAGE_REQ_FUA;
	int ret = check_change(img, off, bytes, flags, IMAGE_REQ_FUA);

	if (!ret && are_zeroes(img, bytes, mem))
		return write_found_zeroes(img, off, bytes, flags);
	while (!ret && bytes) {
		uint64_t piece = piece_bytes(off, bytes);

		ret = write_piece(img, off, piece, mem, op_flags);
		mem = iobuf_advance(mem, piece);
		off += piece;
		bytes -= piece;
	}
	return finish_change(img, ret, flags, does_fua);
}

static G_GNUC_NO_INLINE int co_write_blocks(struct image *img, uint64_t off, uint64_t bytes,
					    struct iobuf mem, unsigned flags)
{
	int ret;

	co_rwlock_rdlock(img->rmw_lock);
	ret = img->ops->co_pwritev(img, off, bytes, mem, flags);
	co_rwlock_rdunlock(img->rmw_lock);
	return ret;
}

int image_co_pwritev(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
		     unsigned flags)
{
	if (!is_plain_write(img, off, bytes, mem, flags))
		return co_write_pieces(img, off, bytes, mem, flags);
	if (img->rmw_lock)
		return co_write_blocks(img, off, bytes, mem, flags);
	return img->ops->co_pwritev(img, off, bytes, mem, flags);
}

int image_co_pwrite(struct image *img, uint64_t off, uint64_t bytes, const void *buf,
		    unsigned flags)
{
	struct iovec iov;

	return image_co_pwritev(img, off, bytes, IOBUF(&iov, buf, bytes), flags);
}

int image_co_pwrite_compressed(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	bool whole_blocks = range_is_aligned(img, off, bytes);
	int ret = check_change(img, off, bytes, 0, 0);

	if (!img->ops->co_pwrite_compressed)
		return -ENOTSUP;
	if (ret || !bytes)
		return ret;
	lock_change(img, whole_blocks);
	ret = img->ops->co_pwrite_compressed(img, off, bytes, mem);
	unlock_change(img, whole_blocks);
	return ret;
}

int image_co_copy_range(struct image *img, uint64_t off, struct image *from, uint64_t from_off,
			uint64_t bytes, unsigned flags)
{
	int ret = check_change(img, off, bytes, 0, 0) ?: check_read(from, from_off, bytes);

	if (ret || !bytes)
		return ret;
	if (!img->ops->co_copy_range || img->detect_zeroes || !range_is_aligned(img, off, bytes))
		return -ENOTSUP;
	lock_change(img, true);
	ret = img->ops->co_copy_range(img, off, from, from_off, bytes, flags);
	unlock_change(img, true);
	return ret;
}

/* ---- VM state ---- */

int image_co_read_vm_state(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	int ret = check_within(img, off, bytes, true);

	if (!ret && !img->ops->co_read_vm_state)
		return img->file ? image_co_read_vm_state(image_data_file(img), off, bytes, mem)
				 : -ENOTSUP;
	return ret || !bytes ? ret : img->ops->co_read_vm_state(img, off, bytes, mem);
}

int image_co_write_vm_state(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	int ret = check_within(img, off, bytes, true);

	if (!ret && !img->ops->co_write_vm_state)
		return img->file ? image_co_write_vm_state(image_data_file(img), off, bytes, mem)
				 : -ENOTSUP;
	if (image_is_read_only(img))
		return -EPERM;
	return ret || !bytes ? ret : img->ops->co_write_vm_state(img, off, bytes, mem);
}

/* ---- copying up ---- */

/* Whole clusters, or all up to the end of the disk. */
int image_co_copy_up(struct image *img, uint64_t off, uint64_t bytes)
{
	uint64_t unit = MAX(img->limits.request_alignment, img->limits.cluster_size);
	int ret = check_change(img, off, bytes, 0, 0);
	uint64_t end;

	if (!ret && img->format->is_filter)
		return image_co_copy_up(img->file, off, bytes);
	if (ret || !bytes || !img->backing || !img->ops->co_copy_up)
		return ret;
	end = MIN(align_up(off + bytes, unit),
		  align_up(image_size(img), img->limits.request_alignment));
	off = align_down(off, unit);
	lock_change(img, true);
	ret = img->ops->co_copy_up(img, off, end - off);
	unlock_change(img, true);
	return ret;
}

void image_co_try_copy_up(struct image *img, uint64_t off, uint64_t bytes)
{
	image_co_copy_up(img, off, bytes);
}

int image_co_flush(struct image *img)
{
	int ret;

	if (image_is_read_only(img) || (img->flags & IMAGE_NO_FLUSH))
		return 0;
	if (img->file)
		image_co_event(img->file, IMAGE_EVENT_FLUSH_TO_OS);
	UBD_PROBE(flush_begin, img, img->ops->name);
	ret = img->ops->co_flush(img);
	UBD_PROBE(flush_done, img, img->ops->name, ret);
	return ret;
}

int image_co_write_back(struct image *img, uint64_t off, uint64_t bytes)
{
	if (image_is_read_only(img))
		return 0;
	if (img->ops->co_write_back)
		return img->ops->co_write_back(img, off, bytes);
	/* Only the node knows which part of the file a range is. */
	return img->file ? image_co_write_back(img->file, 0, UINT64_MAX) : 0;
}

void image_end_no_flush(struct image *img)
{
	for (; img; img = img->file) {
		img->flags &= ~IMAGE_NO_FLUSH;
		if (img->data_file)
			image_end_no_flush(img->data_file);
	}
}

/* ---- zeroes ---- */

int image_co_write_zero_data(struct image *img, uint64_t off, uint64_t bytes)
{
	uint64_t room = MIN(bytes, MAX_BOUNCE);
	void *zeroes = try_iobuf_alloc0(room);
	struct iovec iov;
	int ret = zeroes ? 0 : -ENOMEM;

	while (!ret && bytes) {
		/*
		 * End on multiples, so that only the two ends of the whole request are not aligned.
		 */
		uint64_t piece = MIN(bytes, room - off % room);

		ret = write_piece(img, off, piece, IOBUF(&iov, zeroes, piece), 0);
		off += piece;
		bytes -= piece;
	}
	iobuf_free(zeroes);
	return ret;
}

int image_co_zero_by_data(struct image *img, uint64_t off, uint64_t bytes)
{
	uint64_t room = MIN(bytes, MAX_BOUNCE);
	void *zeroes = try_iobuf_alloc0(room);
	struct iovec iov;
	int ret = zeroes ? 0 : -ENOMEM;

	while (!ret && bytes) {
		uint64_t piece = MIN(bytes, room);

		ret = img->ops->co_pwritev(img, off, piece, IOBUF(&iov, zeroes, piece), 0);
		off += piece;
		bytes -= piece;
	}
	iobuf_free(zeroes);
	return ret;
}

/* The format's own way for the range, if that consists of whole blocks. */
static int try_zero_op(struct image *img, uint64_t off, uint64_t bytes, unsigned flags)
{
	int ret;

	if (!img->ops->co_pwrite_zeroes || !range_is_aligned(img, off, bytes))
		return -ENOTSUP;
	lock_change(img, true);
	ret = img->ops->co_pwrite_zeroes(img, off, bytes, flags);
	unlock_change(img, true);
	return ret;
}

static int zero_part(struct image *img, uint64_t off, uint64_t bytes, unsigned flags)
{
	int ret;

	if (!bytes)
		return 0;
	ret = try_zero_op(img, off, bytes, flags);
	if (ret != -ENOTSUP)
		return ret;
	if (flags & IMAGE_REQ_NO_FALLBACK)
		return -ENOTSUP;
	return image_co_write_zero_data(img, off, bytes);
}

/*
 * In three parts, so that a format that only knows whole clusters need not refuse the whole range
 * because of its ends. The middle comes first: if it is refused under NO_FALLBACK, nothing has been
 * changed.
 */
static int zero_parts(struct image *img, uint64_t off, uint64_t bytes, unsigned flags)
{
	uint64_t unit = MAX(img->limits.request_alignment, img->limits.cluster_size);
	uint64_t end = off + bytes;
	uint64_t middle = align_up(off, unit);
	uint64_t middle_end = align_down(end, unit);
	int ret;

	if (middle >= middle_end)
		return zero_part(img, off, bytes, flags);
	ret = zero_part(img, middle, middle_end - middle, flags);
	if (!ret)
		ret = zero_part(img, off, middle - off, flags);
	if (!ret)
		ret = zero_part(img, middle_end, end - middle_end, flags);
	return ret;
}

int image_co_pwrite_zeroes(struct image *img, uint64_t off, uint64_t bytes, unsigned flags)
{
	unsigned op_flags = flags & ~IMAGE_REQ_FUA;
	int ret = check_change(img, off, bytes, flags,
			       IMAGE_REQ_FUA | IMAGE_REQ_MAY_UNMAP | IMAGE_REQ_NO_FALLBACK |
				       IMAGE_REQ_HIDE);

	if (ret)
		return ret;
	/* Less than a block can only be written; so find that out before anything is changed. */
	if (flags & IMAGE_REQ_NO_FALLBACK && !range_is_aligned(img, off, bytes))
		return -ENOTSUP;
	if (!(img->flags & IMAGE_UNMAP))
		op_flags &= ~IMAGE_REQ_MAY_UNMAP;
	if (bytes)
		ret = zero_parts(img, off, bytes, op_flags);
	return finish_change(img, ret, flags, false);
}

/* ---- discard ---- */

int image_co_pdiscard(struct image *img, uint64_t off, uint64_t bytes)
{
	uint32_t align = img->limits.request_alignment;
	uint64_t end = align_down(off + bytes, align);
	int ret = check_change(img, off, bytes, 0, 0);

	if (ret || !(img->flags & IMAGE_UNMAP) || !img->ops->co_pdiscard)
		return ret;
	off = align_up(off, align);
	if (off >= end)
		return 0;
	lock_change(img, true);
	ret = img->ops->co_pdiscard(img, off, end - off);
	unlock_change(img, true);
	/* It is advice: a node that cannot follow it does not. */
	return ret == -ENOTSUP ? 0 : ret;
}

/* ---- size ---- */

bool image_parse_preallocation(const char *name, enum image_preallocation *ret_mode)
{
	static const struct enum_name modes[] = {
		{ "off", IMAGE_PREALLOC_OFF },
		{ "metadata", IMAGE_PREALLOC_METADATA },
		{ "falloc", IMAGE_PREALLOC_FALLOC },
		{ "full", IMAGE_PREALLOC_FULL },
		{},
	};
	uint64_t mode;

	if (!enum_from_name(modes, name, &mode))
		return false;
	*ret_mode = mode;
	return true;
}

static int check_resize(struct image *img, uint64_t size)
{
	if (!img->ops->co_truncate && !img->format->co_resize)
		return -ENOTSUP;
	if (image_is_read_only(img))
		return -EPERM;
	return size > INT64_MAX - MAX_BOUNCE ? -EFBIG : 0;
}

static int resize(struct image *img, uint64_t size, enum image_preallocation mode, GError **err)
{
	int ret;

	if (img->format->co_resize)
		return img->format->co_resize(img, size, mode, err);
	ret = mode == IMAGE_PREALLOC_OFF ? img->ops->co_truncate(img, size) : -ENOTSUP;
	if (ret)
		g_set_error_literal(err, UBD_ERROR, -ret, g_strerror(-ret));
	return ret;
}

int image_co_resize(struct image *img, uint64_t size, enum image_preallocation mode, GError **err)
{
	int ret = check_resize(img, size);

	if (ret)
		return error_refuse(err, ret, "%s", g_strerror(-ret));
	lock_change(img, false);
	ret = resize(img, size, mode, err);
	unlock_change(img, false);
	return ret ?: image_co_flush(img);
}

int image_co_refresh_size(struct image *img)
{
	return img->ops->co_refresh_size ? img->ops->co_refresh_size(img) : -ENOTSUP;
}

int image_co_truncate(struct image *img, uint64_t size)
{
	int ret = check_resize(img, size);

	if (ret)
		return ret;
	lock_change(img, false);
	ret = resize(img, size, IMAGE_PREALLOC_OFF, NULL);
	unlock_change(img, false);
	return ret;
}

/* ---- block status ---- */

int image_co_block_status(struct image *img, uint64_t off, uint64_t bytes,
			  struct image_extent *ret_extent)
{
	struct image_extent extent = {
		.bytes = bytes,
		.flags = IMAGE_EXTENT_DATA | IMAGE_EXTENT_ALLOCATED | IMAGE_EXTENT_OFFSET,
		.host_off = off,
	};
	int ret = bytes ? check_range(img, off, bytes) : -EINVAL;

	if (!ret && img->ops->co_block_status)
		ret = img->ops->co_block_status(img, off, bytes, &extent);
	if (ret)
		return ret;
	*ret_extent = extent;
	ret_extent->bytes = MIN(extent.bytes, bytes);
	ret_extent->file = extent.file ?: image_data_file(img) ?: img;
	ret_extent->layer = img;
	ret_extent->depth = 0;
	return 0;
}

/*
 * Like image_co_block_status() for a layer that may be shorter than the one above it, for which
 * *ret_extent was filled before.
 */
static int layer_status(struct image *layer, uint64_t off, uint64_t bytes,
			struct image_extent *ret_extent)
{
	uint64_t size = image_size(layer);

	if (off < size)
		return image_co_block_status(layer, off, MIN(bytes, size - off), ret_extent);
	/*
	 * The end of the layer decides: nothing below shows through here. A place that the layer
	 * above has for the range, but does not use, stays.
	 */
	ret_extent->flags &= IMAGE_EXTENT_OFFSET;
	ret_extent->flags |= IMAGE_EXTENT_ZERO | IMAGE_EXTENT_ALLOCATED;
	ret_extent->bytes = bytes;
	ret_extent->layer = layer;
	return 0;
}

int image_co_block_status_chain(struct image *img, uint64_t off, uint64_t bytes,
				struct image_extent *ret_extent)
{
	struct image_extent extent = { 0 };
	unsigned depth = 0;
	int ret = bytes ? check_range(img, off, bytes) : -EINVAL;

	if (ret)
		return ret;
	for (struct image *layer = img; layer; layer = layer->backing, depth++) {
		ret = layer_status(layer, off, bytes, &extent);
		if (ret)
			return ret;
		extent.depth = depth;
		bytes = MIN(bytes, extent.bytes);
		if (extent.flags & IMAGE_EXTENT_ALLOCATED)
			break;
	}
	if (!(extent.flags & IMAGE_EXTENT_ALLOCATED)) {
		/* An existing place is worth reporting even if it is not in use. */
		extent.flags = IMAGE_EXTENT_ZERO | (extent.flags & IMAGE_EXTENT_OFFSET);
		extent.layer = NULL;
	}
	*ret_extent = extent;
	return 0;
}

/* ---- reading through a chain ---- */

/*
 * The layer that decides the first part of a range, and how long that part is. NULL: it lies behind
 * the end of the layer that would decide.
 */
static int find_layer(struct image *img, uint64_t off, uint64_t *bytes, struct image **ret_layer)
{
	struct image_extent extent;
	int ret;

	for (; img && off < image_size(img); img = img->backing) {
		*bytes = MIN(*bytes, image_size(img) - off);
		/* The last layer need not be asked; for a file that would be slow. */
		if (!img->backing)
			break;
		ret = image_co_block_status(img, off, *bytes, &extent);
		if (ret)
			return ret;
		*bytes = extent.bytes;
		if (extent.flags & IMAGE_EXTENT_ALLOCATED)
			break;
	}
	*ret_layer = img && off < image_size(img) ? img : NULL;
	return 0;
}

int image_co_preadv_chain(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	while (bytes) {
		uint64_t part = bytes;
		struct image *layer;
		int ret = find_layer(img, off, &part, &layer);

		if (!ret && layer)
			ret = image_co_preadv(layer, off, part, mem);
		else if (!ret)
			ret = iobuf_zero(mem, part);
		if (ret)
			return ret;
		mem = iobuf_advance(mem, part);
		off += part;
		bytes -= part;
	}
	return 0;
}
