// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The state of a virtual machine: clusters like those of the disk, behind its end, from the first
 * L1 entry on that the disk does not need. The backing file and the bitmaps have nothing to do with
 * them. A write holds struct_lock for writing: it is rare, and may have to grow the L1 table.
 */
#include <string.h>

#include "align.h"
#include "image_int.h"
#include "qcow2.h"

uint64_t qcow2_vm_state_off(const struct qcow2 *q)
{
	return align_up(image_size(q->img), 1ull << (q->cluster_bits + q->l2_bits));
}

/* Where a range of the state lies. */
static int find_place(const struct qcow2 *q, uint64_t off, uint64_t bytes, uint64_t *ret_off)
{
	uint64_t start = qcow2_vm_state_off(q);

	/* A raw data file has the disk, and nothing more. */
	if (q->data_file_raw)
		return -ENOTSUP;
	if (start > IMAGE_MAX_SIZE || off > IMAGE_MAX_SIZE - start ||
	    bytes > IMAGE_MAX_SIZE - start - off)
		return -EFBIG;
	*ret_off = start + off;
	return 0;
}

/* Nothing below the image shows through. */
static int co_read(struct qcow2 *q, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	struct mapping map;
	int ret = 0;

	for (; !ret && bytes; off += map.bytes, bytes -= map.bytes) {
		ret = qcow2_co_lookup(q, off, bytes, &map);
		if (ret)
			return ret;
		if (map.type == MAPPING_UNALLOCATED || map.type == MAPPING_HOLE)
			ret = iobuf_zero(mem, map.bytes);
		else
			ret = qcow2_co_read_range(q, off, map.bytes, mem);
		mem = iobuf_advance(mem, map.bytes);
	}
	return ret;
}

int qcow2_co_read_vm_state(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	struct qcow2 *q = img->opaque;
	uint64_t epoch = qcow2_co_request_begin(q);
	int ret;

	image_co_event(q->file, IMAGE_EVENT_VMSTATE_LOAD);
	ret = find_place(q, off, bytes, &off) ?: co_read(q, off, bytes, mem);
	qcow2_request_end(q, epoch);
	return ret;
}

/* Whole clusters, so that a write has no edges for which it would look below the image. */
static int co_write_cluster(struct qcow2 *q, uint64_t off, uint64_t bytes, struct iobuf mem,
			    uint8_t *buf)
{
	uint64_t start = qcow2_cluster_start(q, off);
	struct iovec iov;
	struct iobuf cluster = IOBUF(&iov, buf, q->cluster_size);
	int ret = 0;

	if (bytes < q->cluster_size)
		ret = co_read(q, start, q->cluster_size, cluster);
	if (!ret)
		ret = iobuf_copy_out(buf + (off - start), mem, bytes);
	return ret ?: qcow2_co_write_range(q, start, q->cluster_size, cluster);
}

static int co_write_clusters(struct qcow2 *q, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	uint8_t *buf = try_iobuf_alloc(q->cluster_size);
	int ret = buf ? 0 : -ENOMEM;

	while (!ret && bytes) {
		uint64_t part = MIN(bytes, q->cluster_size - qcow2_in_cluster(q, off));

		ret = co_write_cluster(q, off, part, mem, buf) ?: qcow2_co_make_room_alone(q);
		mem = iobuf_advance(mem, part);
		off += part;
		bytes -= part;
	}
	iobuf_free(buf);
	return ret;
}

static int co_settle_header(struct qcow2 *q)
{
	int ret;

	co_mutex_lock(&q->alloc_lock);
	ret = qcow2_co_settle_header(q);
	co_mutex_unlock(&q->alloc_lock);
	return ret;
}

static int co_write_locked(struct qcow2 *q, uint64_t off, uint64_t bytes, struct iobuf mem)
	REQUIRES(q->struct_lock)
{
	int ret = find_place(q, off, bytes, &off) ?: co_settle_header(q);

	if (!ret && qcow2_l1_index(q, off + bytes - 1) >= q->l1_size)
		ret = qcow2_co_flush_all(q) ?: qcow2_co_cover(q, off + bytes, NULL);
	return ret ?: co_write_clusters(q, off, bytes, mem);
}

int qcow2_co_write_vm_state(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	struct qcow2 *q = img->opaque;
	int ret;

	co_rwlock_wrlock(&q->struct_lock);
	image_co_event(q->file, IMAGE_EVENT_VMSTATE_SAVE);
	ret = co_write_locked(q, off, bytes, mem);
	co_rwlock_wrunlock(&q->struct_lock);
	return ret;
}
