// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Room for compressed data: allocated by the byte, one piece after the other, several in one host
 * cluster and some across the border of two.
 *
 * Each piece of data holds a reference on every host cluster that it touches ("Compressed Clusters
 * Descriptor"). byte_tail is where the next piece goes. It only moves forward: freed bytes are not
 * reused before their whole cluster is (C5). A cluster that is about to be freed is left at once;
 * see qcow2_leave_cluster().
 */
#include "qcow2.h"

static uint64_t tail_room(const struct qcow2 *q) REQUIRES(q->alloc_lock)
{
	return q->byte_tail ? q->cluster_size - qcow2_in_cluster(q, q->byte_tail) : 0;
}

/* Entirely within the tail's cluster. */
static int co_take_room(struct qcow2 *q, uint64_t *ret_host_off) REQUIRES(q->alloc_lock)
{
	int ret = qcow2_co_add_reference(q, qcow2_cluster_index(q, q->byte_tail));

	if (!ret)
		*ret_host_off = q->byte_tail;
	return ret;
}

/* In a new cluster, together with the rest of the tail's cluster if the two are neighbours. */
static int co_take_cluster(struct qcow2 *q, uint64_t *ret_host_off) REQUIRES(q->alloc_lock)
{
	uint64_t tail = q->byte_tail, host_off, nr;
	bool fresh;
	int ret = qcow2_co_alloc_clusters(q, 1, &host_off, &nr, &fresh);

	if (ret)
		return ret;
	if (tail && qcow2_cluster_start(q, tail) + q->cluster_size == host_off) {
		ret = qcow2_co_add_reference(q, qcow2_cluster_index(q, tail));
		if (!ret) {
			*ret_host_off = tail;
			return 0;
		}
		if (ret != -EMLINK) {
			qcow2_co_put_clusters(q, qcow2_cluster_index(q, host_off), 1);
			return ret;
		}
	}
	*ret_host_off = host_off;
	return 0;
}

int qcow2_co_alloc_bytes(struct qcow2 *q, uint32_t bytes, uint64_t *ret_host_off)
{
	uint64_t host_off, entry, end;
	int ret = -EMLINK;

	if (q->broken)
		return q->broken;
	image_co_event(q->file, IMAGE_EVENT_CLUSTER_ALLOC_BYTES);
	if (bytes <= tail_room(q))
		ret = co_take_room(q, &host_off);
	else if (tail_room(q))
		ret = co_take_cluster(q, &host_off);
	/* A narrow refcount cannot count another piece of data there: start elsewhere. */
	if (ret == -EMLINK) {
		q->byte_tail = 0;
		ret = co_take_cluster(q, &host_off);
	}
	if (ret)
		return ret;
	end = host_off + bytes;
	q->byte_tail = qcow2_in_cluster(q, end) ? end : 0;
	if (!qcow2_compressed_entry(q, host_off, bytes, &entry)) {
		qcow2_co_put_bytes(q, host_off, bytes);
		return -EFBIG;
	}
	*ret_host_off = host_off;
	return 0;
}

int qcow2_co_put_bytes(struct qcow2 *q, uint64_t host_off, uint32_t bytes)
{
	uint64_t first = qcow2_cluster_index(q, host_off);
	uint64_t last = qcow2_cluster_index(q, host_off + bytes - 1);

	return qcow2_co_put_clusters(q, first, last - first + 1);
}
