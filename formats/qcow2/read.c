// SPDX-License-Identifier: GPL-2.0-or-later
/* Reads, and the state of a range. During I/O no lock is held but struct_lock, for reading. */
#include "qcow2.h"

static int read_compressed(struct qcow2 *q, uint64_t entry, uint64_t off, uint64_t bytes,
			   struct iobuf mem)
{
	uint8_t *cluster = try_iobuf_alloc(q->cluster_size);
	int ret;

	if (!cluster)
		return -ENOMEM;
	ret = qcow2_co_read_compressed(q, entry, cluster);
	if (!ret)
		ret = iobuf_copy_in(mem, cluster + qcow2_in_cluster(q, off), bytes);
	iobuf_free(cluster);
	return ret;
}

static int read_mapped(struct qcow2 *q, const struct mapping *map, uint64_t off, struct iobuf mem)
{
	switch (map->type) {
	case MAPPING_UNALLOCATED:
	case MAPPING_HOLE:
		if (image_backing(q->img))
			image_co_event(q->file, IMAGE_EVENT_READ_BACKING_AIO);
		return image_co_preadv_chain(image_backing(q->img), off, map->bytes, mem);
	case MAPPING_ZERO:
	case MAPPING_ZERO_ALLOCATED:
		return iobuf_zero(mem, map->bytes);
	case MAPPING_NORMAL:
		image_co_event(q->file, IMAGE_EVENT_READ_AIO);
		return qcow2_co_read_data(q, map->host_off, map->bytes, mem);
	case MAPPING_COMPRESSED:
		return read_compressed(q, map->entry, off, map->bytes, mem);
	}
	return -EIO;
}

int qcow2_co_read_range(struct qcow2 *q, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	struct mapping map;
	int ret;

	while (bytes) {
		ret = qcow2_co_lookup(q, off, bytes, &map);
		if (ret)
			return ret;
		ret = read_mapped(q, &map, off, mem);
		if (ret)
			return ret;
		off += map.bytes;
		bytes -= map.bytes;
		mem = iobuf_advance(mem, map.bytes);
	}
	return 0;
}

int qcow2_co_preadv(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	struct qcow2 *q = img->opaque;
	uint64_t epoch;
	int ret;

	epoch = qcow2_co_request_begin(q);
	/* A raw data file decides, whatever the entries say. */
	if (q->data_file_raw)
		ret = qcow2_co_read_data(q, off, bytes, mem);
	else
		ret = qcow2_co_read_range(q, off, bytes, mem);
	qcow2_request_end(q, epoch);
	return ret;
}

static unsigned extent_flags(enum mapping_type type)
{
	switch (type) {
	case MAPPING_UNALLOCATED:
		return 0;
	case MAPPING_HOLE:
		return IMAGE_EXTENT_OFFSET;
	case MAPPING_ZERO:
		return IMAGE_EXTENT_ALLOCATED | IMAGE_EXTENT_ZERO;
	case MAPPING_ZERO_ALLOCATED:
		return IMAGE_EXTENT_ALLOCATED | IMAGE_EXTENT_ZERO | IMAGE_EXTENT_OFFSET;
	case MAPPING_NORMAL:
		return IMAGE_EXTENT_ALLOCATED | IMAGE_EXTENT_DATA | IMAGE_EXTENT_OFFSET;
	case MAPPING_COMPRESSED:
		return IMAGE_EXTENT_ALLOCATED | IMAGE_EXTENT_DATA | IMAGE_EXTENT_COMPRESSED;
	}
	return 0;
}

/* Whether what @next says goes on where @map ends. */
static bool goes_on(const struct mapping *map, const struct mapping *next)
{
	return next->type == map->type &&
	       qcow2_run_continues(map->type, next->host_off == map->host_off + map->bytes);
}

/*
 * As qcow2_co_lookup(), beyond the slice, to the end of the L2 table at most: the file below is
 * asked for the state of each run.
 */
static int co_lookup_run(struct qcow2 *q, uint64_t off, uint64_t bytes, struct mapping *map)
{
	uint64_t end =
		off + MIN(bytes, bytes_to_boundary(off, 1ull << (q->cluster_bits + q->l2_bits)));
	int ret = qcow2_co_lookup(q, off, bytes, map);

	while (!ret && off + map->bytes < end) {
		struct mapping next;

		/* An error is told when that part is asked for. */
		if (qcow2_co_lookup(q, off + map->bytes, end - off - map->bytes, &next) ||
		    !goes_on(map, &next))
			break;
		map->bytes += next.bytes;
	}
	return ret;
}

int qcow2_co_block_status(struct image *img, uint64_t off, uint64_t bytes,
			  struct image_extent *ret_extent)
{
	struct qcow2 *q = img->opaque;
	struct mapping map;
	int ret;

	/* The state is what reads find: all of it is data of the data file. */
	if (q->data_file_raw) {
		*ret_extent = (struct image_extent){
			.bytes = bytes,
			.flags = extent_flags(MAPPING_NORMAL),
			.host_off = off,
		};
		return 0;
	}
	co_rwlock_rdlock(&q->struct_lock);
	ret = co_lookup_run(q, off, bytes, &map);
	co_rwlock_rdunlock(&q->struct_lock);
	if (ret)
		return ret;
	*ret_extent = (struct image_extent){
		.bytes = map.bytes,
		.flags = extent_flags(map.type),
		.host_off = map.host_off,
	};
	return 0;
}
