// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Copies the contents of images to another; see copy.h.
 *
 * Workers take pieces in order from a cursor, read them in parallel, and begin to write them in
 * order, each when its turn comes. A turn ends when the last write of the piece begins, so several
 * writes are in flight.
 */
#include "copy.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "align.h"
#include "colock.h"
#include "img.h"

/* Small enough that what was read is still in the CPU's cache when it is written. */
#define PIECE_BYTES	  (512 * 1024)
/* A batch of clusters, which a format compresses in parallel. */
#define COMPRESSED_BYTES  (1024 * 1024)
#define MIN_PIECE_BYTES	  (64 * 1024)	       /* with a limit of the rate */
#define LARGE_PIECE_BYTES (1024 * 1024 * 1024) /* if no data is moved */
#define UNKNOWN_BYTES	  (64 * 1024)

enum piece_kind {
	PIECE_DATA, /* read it, and write it except for its zeroes */
	PIECE_ZERO, /* reads as zeroes */
	PIECE_SKIP, /* the target's backing file provides it */
};

struct piece {
	uint64_t off;
	uint64_t bytes;
	enum piece_kind kind;
	struct image *file; /* which has the data as it is, at file_off; NULL: none */
	uint64_t file_off;
};

/* Whether the target's file shares the data of the source's. */
enum sharing {
	SHARING_REFUSED, /* or not wanted */
	SHARING_UNKNOWN,
	SHARING_WORKS,
};

struct copy {
	const struct copy_opts *opts;
	uint64_t size;
	bool offload; /* until it is refused */
	enum sharing sharing;
	int64_t free_at;  /* when the next data may be written, with a limit; us */
	uint64_t cluster; /* of the target; 1 if none */
	uint64_t unit;	  /* for detecting zeroes; multiples of it are not split */
	uint64_t buffer_bytes;
	void *buffers; /* one for each worker */
	unsigned started;
	int error; /* the first one */
	unsigned workers;
	struct coroutine *waiter;

	struct co_mutex cursor_lock;
	uint64_t cursor;     /* start of the next piece, and ... */
	struct piece extent; /* ... what is known from there on */

	struct co_mutex turn_lock;
	struct co_queue turn_changed;
	uint64_t turn; /* start of the piece to be written next */
};

static void fail(struct copy *copy, const struct image *img, const char *what, uint64_t off,
		 int error)
{
	if (!copy->error)
		tool_error("%s: error while %s at byte %" PRIu64 ": %s", image_filename(img), what,
			   off, g_strerror(-error));
	copy->error = copy->error ?: error;
}

static struct image *source_at(const struct copy *copy, uint64_t off)
{
	return concat_at(copy->opts->source, off)->img;
}

/* ---- the pieces ---- */

/* Whether the target's backing file provides what is below the source. */
static bool is_below_target(const struct copy *copy, uint64_t off)
{
	const struct image *backing = image_backing(copy->opts->target);

	return copy->opts->target_has_backing && backing && off < image_size(backing);
}

static int co_status(struct copy *copy, uint64_t off, struct image_extent *ret_extent)
{
	struct image *source = copy->opts->source->parts[0].img;
	uint64_t bytes = copy->size - off;
	int ret;

	if (!is_below_target(copy, off))
		return concat_co_block_status_chain(copy->opts->source, off, bytes, ret_extent);
	bytes = MIN(bytes, image_size(image_backing(copy->opts->target)) - off);
	ret = image_co_block_status(source, off, bytes, ret_extent);
	/* Nothing is below it: then the chain says zeroes. */
	if (!ret && !(ret_extent->flags & IMAGE_EXTENT_ALLOCATED) && !image_backing(source))
		ret = image_co_block_status_chain(source, off, bytes, ret_extent);
	return ret;
}

static enum piece_kind kind_of(const struct copy *copy, const struct image_extent *extent)
{
	if (extent->flags & IMAGE_EXTENT_ZERO)
		return copy->opts->sparse_bytes ? PIECE_ZERO : PIECE_DATA;
	/* For the top layer alone, it is neither where that layer defers to the next. */
	return extent->flags & IMAGE_EXTENT_DATA ? PIECE_DATA : PIECE_SKIP;
}

/*
 * A compressed cluster is written as a whole: if it has parts of several kinds, all of it is data.
 */
static void cut_to_clusters(struct copy *copy) REQUIRES(copy->cursor_lock)
{
	struct piece *extent = &copy->extent;
	uint64_t end = extent->off + extent->bytes;

	if (end == copy->size || end % copy->cluster == 0)
		return;
	if (extent->bytes > copy->cluster) {
		extent->bytes -= end % copy->cluster;
	} else {
		extent->bytes = MIN(copy->cluster, copy->size - extent->off);
		extent->kind = PIECE_DATA;
	}
}

/* What cannot be known must be read, a little at a time. */
static struct piece unknown_extent(const struct copy *copy) REQUIRES(copy->cursor_lock)
{
	return (struct piece){
		.off = copy->cursor,
		.bytes = MIN(UNKNOWN_BYTES - copy->cursor % UNKNOWN_BYTES,
			     copy->size - copy->cursor),
		.kind = PIECE_DATA,
	};
}

static int co_look_ahead(struct copy *copy) REQUIRES(copy->cursor_lock)
{
	struct image_extent extent;
	int ret = co_status(copy, copy->cursor, &extent);

	if (ret && !copy->opts->salvage) {
		fail(copy, source_at(copy, copy->cursor), "reading block status", copy->cursor,
		     ret);
		return ret;
	}
	if (ret && !copy->opts->quiet)
		tool_error("warning: error while reading block status at offset %" PRIu64 ": %s",
			   copy->cursor, g_strerror(-ret));
	if (ret)
		copy->extent = unknown_extent(copy);
	else
		copy->extent = (struct piece){
			.off = copy->cursor,
			.bytes = extent.bytes,
			.kind = kind_of(copy, &extent),
			.file = extent.flags & IMAGE_EXTENT_OFFSET ? extent.file : NULL,
			.file_off = extent.host_off,
		};
	if (copy->opts->compress)
		cut_to_clusters(copy);
	return 0;
}

/* The part of the rest of an extent that makes one piece; it ends on a unit if possible. */
static uint64_t piece_bytes(const struct copy *copy, uint64_t off, uint64_t left)
{
	uint64_t max = copy->buffer_bytes;

	if (copy->extent.kind != PIECE_DATA ||
	    (copy->sharing == SHARING_WORKS && copy->extent.file))
		max = LARGE_PIECE_BYTES;
	return MIN(left, max - off % copy->unit);
}

/* False at the end, and after a failure. */
static bool co_next_piece(struct copy *copy, struct piece *ret_piece)
{
	uint64_t extent_end;
	bool found = false;

	co_mutex_lock(&copy->cursor_lock);
	if (copy->error || copy->cursor == copy->size)
		goto out;
	extent_end = copy->extent.off + copy->extent.bytes;
	if (copy->cursor == extent_end) {
		if (co_look_ahead(copy))
			goto out;
		extent_end = copy->extent.off + copy->extent.bytes;
	}
	*ret_piece = (struct piece){
		.off = copy->cursor,
		.bytes = piece_bytes(copy, copy->cursor, extent_end - copy->cursor),
		.kind = copy->extent.kind,
		.file = copy->extent.file,
		.file_off = copy->extent.file_off + (copy->cursor - copy->extent.off),
	};
	copy->cursor += ret_piece->bytes;
	found = true;
out:
	co_mutex_unlock(&copy->cursor_lock);
	return found;
}

/* ---- whose turn it is ---- */

static void co_wait_for_turn(struct copy *copy, const struct piece *piece)
{
	co_mutex_lock(&copy->turn_lock);
	while (copy->turn != piece->off && !copy->error)
		co_queue_wait(&copy->turn_changed, &copy->turn_lock);
	co_mutex_unlock(&copy->turn_lock);
}

/* Also called after a failure: waiters must notice it. Does nothing if it was passed before. */
static void co_pass_turn(struct copy *copy, const struct piece *piece)
{
	co_mutex_lock(&copy->turn_lock);
	if (copy->turn == piece->off || copy->error)
		copy->turn = piece->off + piece->bytes;
	co_queue_wake_all(&copy->turn_changed);
	co_mutex_unlock(&copy->turn_lock);
}

/* ---- reading ---- */

/* Sector by sector, as in QEMU: as much as possible is kept. */
static void co_salvage(struct copy *copy, const struct piece *piece, char *buf)
{
	for (uint64_t done = 0; done < piece->bytes; done += SECTOR_SIZE) {
		uint64_t off = piece->off + done, bytes = MIN(SECTOR_SIZE, piece->bytes - done);
		int ret = concat_co_pread(copy->opts->source, off, bytes, buf + done);

		if (!ret)
			continue;
		memset(buf + done, 0, bytes);
		if (!copy->opts->quiet)
			tool_error("warning: error while reading offset %" PRIu64 ": %s", off,
				   g_strerror(-ret));
	}
}

static void co_read_data(struct copy *copy, const struct piece *piece, char *buf)
{
	int ret = concat_co_pread(copy->opts->source, piece->off, piece->bytes, buf);

	if (ret && copy->opts->salvage)
		co_salvage(copy, piece, buf);
	else if (ret)
		fail(copy, source_at(copy, piece->off), "reading", piece->off, ret);
}

/* ---- writing ---- */

/* Waits until the limit allows to write so much more. */
static void co_pace(struct copy *copy, uint64_t bytes)
{
	int64_t now = g_get_monotonic_time(), begin = MAX(copy->free_at, now);

	if (!copy->opts->rate)
		return;
	copy->free_at = begin + (double)bytes / copy->opts->rate * G_USEC_PER_SEC;
	if (begin > now)
		co_sleep_ns((begin - now) * 1000);
}

static int co_write_zeroes(struct copy *copy, uint64_t off, uint64_t bytes)
{
	if (copy->opts->target_is_zero)
		return 0;
	return image_co_pwrite_zeroes(copy->opts->target, off, bytes,
				      IMAGE_REQ_MAY_UNMAP | copy->opts->write_flags);
}

/* The length of @buf that is all zero, or all not zero, in whole units. */
static uint64_t run_length(const struct copy *copy, const char *buf, uint64_t off, uint64_t bytes,
			   bool *ret_zero)
{
	bool zero = false;
	uint64_t len = 0;

	/* With no detection of zeroes, everything counts as data. */
	while (len < bytes && copy->opts->sparse_bytes) {
		uint64_t step = MIN(bytes - len, copy->unit - (off + len) % copy->unit);
		bool step_is_zero = buffer_is_zero(buf + len, step);

		if (len && step_is_zero != zero)
			break;
		zero = step_is_zero;
		len += step;
	}
	*ret_zero = zero;
	return copy->opts->sparse_bytes ? len : bytes;
}

static int co_write_compressed(struct copy *copy, uint64_t off, uint64_t bytes, const char *buf)
{
	struct image *target = copy->opts->target;
	struct iovec iov;
	int ret = image_co_pwrite_compressed(target, off, bytes, IOBUF(&iov, buf, bytes));

	return ret || !(copy->opts->write_flags & IMAGE_REQ_FUA) ? ret : image_co_flush(target);
}

static int co_write_run(struct copy *copy, uint64_t off, uint64_t bytes, const char *buf)
{
	struct image *target = copy->opts->target;
	uint64_t end = off + bytes, whole = 0;
	int ret = 0;

	/* In a larger target, only whole clusters can be compressed. */
	if (copy->opts->compress)
		whole = end == image_size(target) ? bytes : bytes - end % copy->cluster;
	if (whole)
		ret = co_write_compressed(copy, off, whole, buf);
	if (ret || whole == bytes)
		return ret;
	return image_co_pwrite(target, off + whole, bytes - whole, buf + whole,
			       copy->opts->write_flags);
}

/* The turn ends as soon as the last write has begun. */
static int co_write_data(struct copy *copy, const struct piece *piece, const char *buf)
{
	uint64_t done = 0;
	int ret = 0;

	while (!ret && done < piece->bytes) {
		uint64_t off = piece->off + done;
		bool zero;
		uint64_t len = run_length(copy, buf + done, off, piece->bytes - done, &zero);

		if (done + len == piece->bytes)
			co_pass_turn(copy, piece);
		ret = zero ? co_write_zeroes(copy, off, len)
			   : co_write_run(copy, off, len, buf + done);
		done += len;
	}
	return ret;
}

static int co_write_piece(struct copy *copy, const struct piece *piece, const char *buf)
{
	switch (piece->kind) {
	case PIECE_DATA:
		return co_write_data(copy, piece, buf);
	case PIECE_ZERO:
		co_pass_turn(copy, piece);
		return co_write_zeroes(copy, piece->off, piece->bytes);
	case PIECE_SKIP:
		break;
	}
	return 0;
}

/* ---- one piece ---- */

/* The kernel need not be able to; then this copy does not ask it again. */
static bool co_try_offload(struct copy *copy, const struct piece *piece)
{
	if (!copy->offload || piece->kind != PIECE_DATA || !piece->file)
		return false;
	co_pace(copy, piece->bytes);
	copy->offload = !image_co_copy_range(copy->opts->target, piece->off, piece->file,
					     piece->file_off, piece->bytes, 0);
	return copy->offload;
}

/* The same where nothing is copied at all. */
static bool co_try_share(struct copy *copy, const struct piece *piece)
{
	if (copy->sharing == SHARING_REFUSED || piece->kind != PIECE_DATA || !piece->file)
		return false;
	copy->sharing = image_co_copy_range(copy->opts->target, piece->off, piece->file,
					    piece->file_off, piece->bytes, IMAGE_COPY_SHARE)
				? SHARING_REFUSED
				: SHARING_WORKS;
	return copy->sharing == SHARING_WORKS;
}

static void co_copy_by_memory(struct copy *copy, const struct piece *piece, char *buf)
{
	int ret;

	if (piece->kind == PIECE_DATA)
		co_read_data(copy, piece, buf);
	if (!copy->opts->out_of_order)
		co_wait_for_turn(copy, piece);
	if (piece->kind == PIECE_DATA)
		co_pace(copy, piece->bytes);
	if (copy->error)
		return;
	ret = co_write_piece(copy, piece, buf);
	if (ret)
		fail(copy, copy->opts->target, "writing", piece->off, ret);
}

/* A piece that was to be shared may be larger than the buffer. */
static void co_copy_parts(struct copy *copy, const struct piece *piece, char *buf)
{
	struct piece part = *piece;
	uint64_t end = piece->off + piece->bytes;

	if (piece->kind != PIECE_DATA) {
		co_copy_by_memory(copy, piece, buf);
		return;
	}
	for (; part.off < end && !copy->error; part.off += part.bytes) {
		part.bytes = MIN(end - part.off, copy->buffer_bytes - part.off % copy->unit);
		co_copy_by_memory(copy, &part, buf);
		/* The next part waits for its turn. */
		if (part.off + part.bytes < end)
			co_pass_turn(copy, &part);
	}
}

static void co_copy_piece(struct copy *copy, const struct piece *piece, char *buf)
{
	if (co_try_share(copy, piece) || co_try_offload(copy, piece)) {
		if (!copy->opts->out_of_order)
			co_wait_for_turn(copy, piece);
	} else {
		co_copy_parts(copy, piece, buf);
	}
	if (!copy->error)
		progress_add(copy->opts->progress, piece->bytes);
	co_pass_turn(copy, piece);
}

static void worker_co(void *arg)
{
	struct copy *copy = arg;
	char *buf = iobuf_array_at(copy->buffers, copy->started++, copy->buffer_bytes);
	struct piece piece;

	while (co_next_piece(copy, &piece))
		co_copy_piece(copy, &piece, buf);
	if (--copy->workers == 0)
		co_wake(copy->waiter);
}

/* ---- the copy ---- */

/* A limit is kept over a tenth of a second. */
static uint64_t piece_size(const struct copy_opts *opts)
{
	uint64_t most = opts->compress ? COMPRESSED_BYTES : PIECE_BYTES;

	return opts->rate ? CLAMP(opts->rate / 10, MIN_PIECE_BYTES, most) : most;
}

/* What takes up space as a whole if it has any data: a cluster or a subcluster. */
static uint64_t unit_of_space(const struct copy_opts *opts, uint64_t cluster)
{
	if (opts->compress)
		return cluster;
	return opts->target_has_space ? 1 : image_limits(opts->target)->zero_alignment ?: cluster;
}

static void co_run_workers(struct copy *copy)
{
	unsigned nr = copy->opts->coroutines;

	copy->buffers = try_iobuf_alloc_array(nr, copy->buffer_bytes);
	if (!copy->buffers) {
		fail(copy, copy->opts->target, "allocating memory", 0, -ENOMEM);
		return;
	}
	copy->workers = nr;
	copy->waiter = co_self();
	for (unsigned i = 0; i < nr; i++)
		co_start(worker_co, copy);
	co_yield();
	iobuf_free(copy->buffers);
}

int copy_co_run(const struct copy_opts *opts)
{
	uint64_t cluster = image_limits(opts->target)->cluster_size ?: 1;
	struct copy copy = {
		.opts = opts,
		.size = opts->source->size,
		.offload = opts->offload,
		.sharing = opts->share ? SHARING_UNKNOWN : SHARING_REFUSED,
		.cluster = cluster,
		.unit = round_up_to(MAX(opts->sparse_bytes, 1), unit_of_space(opts, cluster)),
	};

	copy.buffer_bytes = round_up_to(piece_size(opts), copy.unit);
	co_mutex_init(&copy.cursor_lock);
	co_mutex_init(&copy.turn_lock);
	co_queue_init(&copy.turn_changed);
	co_run_workers(&copy);
	co_queue_destroy(&copy.turn_changed);
	co_mutex_destroy(&copy.turn_lock);
	co_mutex_destroy(&copy.cursor_lock);
	return copy.error;
}
