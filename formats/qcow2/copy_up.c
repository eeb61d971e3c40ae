// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Copy on read: clusters that the backing file decides are copied from it.
 *
 * The data is read before anything is claimed. That is safe, because the backing file does not
 * change, and because the copy is only linked to clusters that nobody has written, zeroed or
 * discarded meanwhile: a plan, or the change of an entry, looks again with the alloc_lock held. A
 * guest's write never waits for the backing file because of a copy.
 *
 * The disk does not change, so its dirty bitmaps do not either.
 */
#include "align.h"
#include "qcow2.h"

/* At least a cluster. */
#define COPY_BYTES (1u << 20)

/* How much of the data is, or is not, zeroes as its first cluster. */
static uint64_t run_bytes(const struct qcow2 *q, const uint8_t *data, uint64_t bytes,
			  bool *ret_zero)
{
	uint64_t done = MIN(bytes, q->cluster_size);

	*ret_zero = buffer_is_zero(data, done);
	while (done < bytes &&
	       buffer_is_zero(data + done, MIN(bytes - done, q->cluster_size)) == *ret_zero)
		done += MIN(bytes - done, q->cluster_size);
	return done;
}

static int co_store(struct qcow2 *q, uint64_t off, uint64_t bytes, uint8_t *data)
{
	struct iovec iov;
	uint64_t run;
	int ret = 0;

	for (; !ret && bytes; off += run, data += run, bytes -= run) {
		bool zero;

		run = run_bytes(q, data, bytes, &zero);
		ret = zero ? qcow2_co_zero_empty(q, off, run) : -ENOTSUP;
		/* Version 2 has no zero flag; or somebody has written there. */
		if (ret == -ENOTSUP)
			ret = qcow2_co_fill_range(q, off, run, IOBUF(&iov, data, run));
	}
	return ret;
}

static int co_copy(struct qcow2 *q, uint64_t off, uint64_t bytes)
{
	struct iovec iov;
	uint8_t *data = try_iobuf_alloc(bytes);
	int ret;

	if (!data)
		return -ENOMEM;
	image_co_event(q->file, IMAGE_EVENT_COR_WRITE);
	ret = image_co_preadv_chain(image_backing(q->img), off, bytes, IOBUF(&iov, data, bytes));
	ret = ret ?: co_store(q, off, bytes, data);
	iobuf_free(data);
	return ret;
}

/* Copies the first part of a range; *ret_done: how much of it needs nothing more. */
static int co_copy_part(struct qcow2 *q, uint64_t off, uint64_t bytes, uint64_t *ret_done)
	REQUIRES_SHARED(q->struct_lock)
{
	struct mapping map;
	int ret = qcow2_co_lookup(q, off, MIN(bytes, MAX(COPY_BYTES, q->cluster_size)), &map);

	if (ret)
		return ret;
	*ret_done = map.bytes;
	if ((map.type != MAPPING_UNALLOCATED && map.type != MAPPING_HOLE) || map.reserved ||
	    qcow2_nothing_below(q, off))
		return 0;
	return qcow2_co_begin_unchanged(q, off, map.bytes) ?: co_copy(q, off, map.bytes);
}

int qcow2_co_copy_up(struct image *img, uint64_t off, uint64_t bytes)
{
	struct qcow2 *q = img->opaque;
	uint64_t done;
	int ret = 0;

	/* Such a data file shows the disk alone: nothing lies below. */
	if (q->data_file_raw)
		return 0;
	for (; !ret && bytes; off += done, bytes -= done) {
		uint64_t epoch = qcow2_co_request_begin(q);

		ret = co_copy_part(q, off, bytes, &done);
		qcow2_request_end(q, epoch);
		ret = ret ?: qcow2_co_make_room(img);
	}
	return ret;
}
