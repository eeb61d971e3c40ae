// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Writes.
 *
 * In place: the range is mapped to clusters that are ours alone; no lock is taken.
 *
 * Otherwise a plan, in three steps:
 *   plan   alloc_lock: the guest clusters are claimed, host clusters taken
 *   move   no lock: the guest's data and, around it, what the clusters held before
 *   link   alloc_lock: the L2 entries, the old clusters given up, the claim dropped
 *
 * With extended L2 entries the same is true of subclusters, but plans are of
 * clusters: a subcluster that is not allocated gets its place in the cluster that
 * is there, and what surrounds the guest's data is the rest of its subcluster. Others may
 * write meanwhile in place to allocated subclusters of a cluster under a plan.
 *
 * Who wants to change an entry under a plan waits until it has ended.
 */
#include "qcow2.h"

#include <string.h>

#include "align.h"
#include "rules.h"

/* ---- plans ---- */

void qcow2_plan_begin(struct qcow2 *q, struct plan *plan)
{
	plan->next = q->plans;
	plan->prev = &q->plans;
	if (q->plans)
		q->plans->prev = &plan->next;
	q->plans = plan;
}

void qcow2_plan_end(struct qcow2 *q, struct plan *plan)
{
	*plan->prev = plan->next;
	if (plan->next)
		plan->next->prev = plan->prev;
	co_queue_wake_all(&q->plan_ended);
}

uint64_t qcow2_co_wait_for_plans(struct qcow2 *q, uint64_t first, uint64_t nr)
{
	for (const struct plan *plan = q->plans; plan; plan = plan->next) {
		uint64_t plan_end = plan->first_cluster + plan->nr_clusters;

		if (first >= plan_end || plan->first_cluster >= first + nr)
			continue;
		if (plan->first_cluster <= first) {
			co_queue_wait(&q->plan_ended, &q->alloc_lock);
			return 0;
		}
		nr = plan->first_cluster - first;
	}
	return nr;
}

/* ---- one write that allocates ---- */

struct alloc_write {
	uint64_t off; /* guest range; within one slice */
	uint64_t bytes;
	struct iobuf mem;
	struct slice *slice; /* pinned */
	unsigned index;	     /* of the first cluster in it */
	struct plan plan;
	uint64_t host_off; /* of the first cluster */
	uint64_t fill_off; /* guest range that is written: the data and its edges, as far ... */
	uint64_t fill_end; /* ... as they must be; all that it touches becomes allocated */
	bool reuses;	   /* the clusters are those of the old entries, not new ones */
	bool fresh;	   /* new clusters that read as zeroes */
	bool ready;	   /* and entries that name them may be written at any time */
	bool only_empty;   /* where this image decides, nothing is written */
};

/* Whether the backing file decides all that the write has of a cluster, the @i-th. */
static bool is_empty(struct qcow2 *q, const struct alloc_write *w, uint64_t i,
		     struct l2_entry entry) REQUIRES(q->alloc_lock)
{
	uint64_t start = qcow2_cluster_start(q, w->off) + (i << q->cluster_bits);
	uint64_t last = MIN(w->off + w->bytes, start + q->cluster_size) - 1;
	unsigned to = qcow2_subcluster_index(q, last);

	for (unsigned sub = qcow2_subcluster_index(q, MAX(w->off, start)); sub <= to; sub++) {
		enum mapping_type type;

		if (qcow2_entry_type(q, entry, sub, &type) ||
		    (type != MAPPING_UNALLOCATED && type != MAPPING_HOLE))
			return false;
	}
	return true;
}

/*
 * How many clusters from the first on one plan can fill: either all need new clusters, or all keep
 * the clusters that they have. Zero: the first one may be written in place.
 */
static int64_t count_plannable(struct qcow2 *q, struct alloc_write *w, uint64_t nr)
	REQUIRES(q->alloc_lock)
{
	uint64_t first = qcow2_slice_load(q, w->slice, w->index).desc & QCOW2_OFFSET_MASK;
	unsigned subcluster = qcow2_subcluster_index(q, w->off);
	enum mapping_type type;
	uint64_t count;

	for (count = 0; count < nr; count++) {
		struct l2_entry entry = qcow2_slice_load(q, w->slice, w->index + count);
		uint64_t host_off = entry.desc & QCOW2_OFFSET_MASK;
		bool own = qcow2_has_own_cluster(q, entry.desc);

		if (qcow2_entry_type(q, entry, count ? 0 : subcluster, &type))
			return count ? (int64_t)count : -EIO;
		if (count == 0)
			w->reuses = own || qcow2_has_data_file(q);
		if ((type == MAPPING_NORMAL && own) ||
		    (w->only_empty && !is_empty(q, w, count, entry)))
			break;
		/* In an external data file every cluster has its fixed place. */
		if (qcow2_has_data_file(q))
			continue;
		if (w->reuses != own || (own && host_off != first + (count << q->cluster_bits)))
			break;
	}
	return count;
}

/* Where the clusters of a plan lie that takes no new ones. */
static int reuse_clusters(struct qcow2 *q, struct alloc_write *w, uint64_t nr)
	REQUIRES(q->alloc_lock)
{
	if (qcow2_has_data_file(q)) {
		w->host_off = qcow2_cluster_start(q, w->off);
		return 0;
	}
	w->host_off = qcow2_slice_load(q, w->slice, w->index).desc & QCOW2_OFFSET_MASK;
	return qcow2_co_check_overlap_locked(q, qcow2_cluster_index(q, w->host_off), nr);
}

/*
 * The head: a new cluster needs everything that the old one had, an old one the rest of a
 * subcluster that becomes allocated.
 */
static uint64_t find_fill_off(struct qcow2 *q, const struct alloc_write *w) REQUIRES(q->alloc_lock)
{
	uint32_t data = qcow2_data_subclusters(q, qcow2_slice_load(q, w->slice, w->index));
	uint64_t start = qcow2_cluster_start(q, w->off);
	unsigned first = qcow2_subcluster_index(q, w->off);

	/* What lies beside it in a raw data file is already right. */
	if (q->data_file_raw)
		return w->off;
	/* The first subcluster is not allocated; otherwise there would be nothing to plan. */
	if (!w->reuses && data)
		first = MIN(first, (unsigned)__builtin_ctz(data));
	return start + ((uint64_t)first << q->subcluster_bits);
}

/* The tail works the same way. */
static uint64_t find_fill_end(struct qcow2 *q, const struct alloc_write *w) REQUIRES(q->alloc_lock)
{
	unsigned index = w->index + w->plan.nr_clusters - 1;
	uint32_t data = qcow2_data_subclusters(q, qcow2_slice_load(q, w->slice, index));
	uint64_t last_off = w->off + w->bytes - 1;
	uint64_t start = qcow2_cluster_start(q, last_off);
	unsigned last = qcow2_subcluster_index(q, last_off);

	if (q->data_file_raw || (w->reuses && data & 1u << last))
		return last_off + 1;
	/* More bits than subclusters mean compressed, that is, the whole cluster. */
	if (!w->reuses && data)
		last = MAX(last, 31 - (unsigned)__builtin_clz(data));
	return MIN(start + ((last + 1ull) << q->subcluster_bits), start + q->cluster_size);
}

/* P3: the old clusters of the plan are given up when it is linked. */
static int check_old_clusters(struct qcow2 *q, const struct alloc_write *w, uint64_t nr)
	REQUIRES(q->alloc_lock)
{
	int ret = 0;

	for (uint64_t i = 0; i < nr && !ret; i++)
		ret = qcow2_co_check_unlink(q, qcow2_slice_load(q, w->slice, w->index + i).desc);
	return ret;
}

/* Claims guest and host clusters. 0: planned; 1: look again, something changed; or -errno. */
static int alloc_write_co_plan(struct qcow2 *q, struct alloc_write *w) REQUIRES(q->alloc_lock)
{
	uint64_t first = qcow2_cluster_index(q, w->off);
	uint64_t in_cluster = qcow2_in_cluster(q, w->off);
	uint64_t nr = qcow2_clusters_for(q, in_cluster + w->bytes);
	int64_t count;
	int ret;

	nr = MIN(nr, (1ull << q->slice_bits) - w->index);
	nr = qcow2_co_wait_for_plans(q, first, nr);
	if (!nr)
		return 1;
	count = count_plannable(q, w, nr);
	if (count <= 0)
		return count ?: 1;
	nr = count;
	if (w->reuses)
		ret = reuse_clusters(q, w, nr);
	else
		ret = check_old_clusters(q, w, nr)
			      ?: qcow2_co_alloc_ready_clusters(q, nr, &w->host_off, &nr, &w->fresh,
							       &w->ready);
	if (ret)
		return ret;
	w->bytes = MIN(w->bytes, (nr << q->cluster_bits) - in_cluster);
	w->plan.first_cluster = first;
	w->plan.nr_clusters = nr;
	w->fill_off = find_fill_off(q, w);
	w->fill_end = find_fill_end(q, w);
	qcow2_plan_begin(q, &w->plan);
	return 0;
}

/* Whether a guest range reads as zeroes, found out without looking at data. */
static int reads_as_zero(struct qcow2 *q, uint64_t off, uint64_t bytes, bool *ret_zero)
{
	struct mapping map;
	int ret;

	for (*ret_zero = true; bytes && *ret_zero; off += map.bytes, bytes -= map.bytes) {
		ret = qcow2_co_lookup(q, off, bytes, &map);
		if (ret)
			return ret;
		*ret_zero = qcow2_mapping_is_zero(q, &map, off);
	}
	return 0;
}

/*
 * What a partly written cluster held before, beside the guest's data: @bytes at @off, never past
 * the end of the cluster. *ret_buf is NULL if nothing must be written because the new cluster
 * already reads as zeroes.
 */
static int read_edge(struct qcow2 *q, const struct alloc_write *w, uint64_t off, uint64_t bytes,
		     void **ret_buf)
{
	struct iovec vec;
	void *buf;
	bool zero;
	int ret;

	*ret_buf = NULL;
	if (!bytes)
		return 0;
	ret = reads_as_zero(q, off, bytes, &zero);
	if (ret || (zero && w->fresh))
		return ret;
	buf = zero ? try_iobuf_alloc0(bytes) : try_iobuf_alloc(bytes);
	if (!buf)
		return -ENOMEM;
	if (!zero) {
		image_co_event(q->file, IMAGE_EVENT_COW_READ);
		ret = qcow2_co_read_range(q, off, bytes, IOBUF(&vec, buf, bytes));
	}
	if (ret)
		iobuf_free(buf);
	else
		*ret_buf = buf;
	return ret;
}

/* What is written around the guest's data; NULL: nothing. */
struct edges {
	void *head, *tail;
	uint64_t head_bytes, tail_bytes;
};

/* Writes everything at once: edge, guest data, edge. */
static int write_with_edges(struct qcow2 *q, const struct alloc_write *w, struct iobuf mem,
			    const struct edges *edges)
{
	g_autofree struct iovec *vecs = g_try_new(struct iovec, iobuf_iovecs(mem, w->bytes) + 2);
	uint64_t data_off = w->host_off + qcow2_in_cluster(q, w->off);
	uint64_t host_off = data_off - (edges->head ? edges->head_bytes : 0);
	uint64_t bytes = w->bytes;
	unsigned nr = 0;

	if (!vecs)
		return -ENOMEM;
	if (edges->head) {
		vecs[nr++] = (struct iovec){ edges->head, edges->head_bytes };
		bytes += edges->head_bytes;
	}
	nr += iobuf_clip(&vecs[nr], mem, w->bytes);
	if (edges->tail) {
		vecs[nr++] = (struct iovec){ edges->tail, edges->tail_bytes };
		bytes += edges->tail_bytes;
	}
	return qcow2_co_write_data(q, host_off, bytes, (struct iobuf){ .iov = vecs });
}

/* One write takes memory: data in a fixed buffer is copied. */
static int copy_and_write_with_edges(struct qcow2 *q, const struct alloc_write *w,
				     const struct edges *edges)
{
	void *buf = try_iobuf_alloc(w->bytes);
	struct iovec iov;
	int ret;

	if (!buf)
		return -ENOMEM;
	ret = iobuf_copy_out(buf, w->mem, w->bytes);
	if (!ret)
		ret = write_with_edges(q, w, IOBUF(&iov, buf, w->bytes), edges);
	iobuf_free(buf);
	return ret;
}

static int move(struct qcow2 *q, const struct alloc_write *w, const struct edges *edges)
{
	image_co_event(q->file, IMAGE_EVENT_WRITE_AIO);
	if (!edges->head && !edges->tail)
		return qcow2_co_write_data(q, w->host_off + qcow2_in_cluster(q, w->off), w->bytes,
					   w->mem);
	image_co_event(q->file, IMAGE_EVENT_COW_WRITE);
	if (w->mem.is_fixed)
		return copy_and_write_with_edges(q, w, edges);
	return write_with_edges(q, w, w->mem, edges);
}

/*
 * C2: if the clusters held something, it must be in the new ones, or the guest's data in its place,
 * before the entries are. If they read as zeroes, so do the new ones before anything is written:
 * then a power cut leaves the old contents, the new ones, or a part of these, in whatever order
 * they reach the disk.
 */
static int find_order(struct qcow2 *q, struct alloc_write *w)
{
	uint64_t first = w->plan.first_cluster << q->cluster_bits;
	int ret = 0;

	if (w->ready && !RULE_BROKEN(RULE_C2_ORDER_KEPT))
		ret = reads_as_zero(q, first, w->plan.nr_clusters << q->cluster_bits, &w->ready);
	return ret;
}

/*
 * Writes the guest's data and the edges; C2: the flush before the entries are written covers them.
 */
static int alloc_write_co_move(struct qcow2 *q, struct alloc_write *w)
{
	struct edges edges = {
		.head_bytes = w->off - w->fill_off,
		.tail_bytes = w->fill_end - (w->off + w->bytes),
	};
	int ret = find_order(q, w);

	ret = ret ?: read_edge(q, w, w->fill_off, edges.head_bytes, &edges.head);
	if (!ret)
		ret = read_edge(q, w, w->off + w->bytes, edges.tail_bytes, &edges.tail);
	if (!ret)
		ret = move(q, w, &edges);
	iobuf_free(edges.head);
	iobuf_free(edges.tail);
	return ret;
}

/* The subclusters of a plan's cluster that it has filled. */
static uint32_t filled_subclusters(struct qcow2 *q, const struct alloc_write *w, uint64_t i)
{
	uint64_t start = qcow2_cluster_start(q, w->off) + (i << q->cluster_bits);
	uint64_t from = MAX(w->fill_off, start);
	uint64_t last = MIN(w->fill_end, start + q->cluster_size) - 1;
	unsigned first = qcow2_subcluster_index(q, from);

	return subclusters_mask(first, qcow2_subcluster_index(q, last) - first + 1);
}

static void alloc_write_link(struct qcow2 *q, const struct alloc_write *w) REQUIRES(q->alloc_lock)
{
	for (uint64_t i = 0; i < w->plan.nr_clusters; i++) {
		struct l2_entry old = qcow2_slice_load(q, w->slice, w->index + i);
		struct l2_entry new = {
			.desc = (w->host_off + (i << q->cluster_bits)) | QCOW2_COPIED,
		};

		/* The old data, if any, of subclusters that were not filled is in this cluster. */
		if (q->extended_l2)
			new.bitmap = subclusters_allocate(old.bitmap, filled_subclusters(q, w, i));
		if (w->ready)
			qcow2_slice_store_ready(q, w->slice, w->index + i, new);
		else
			qcow2_slice_store(q, w->slice, w->index + i, new);
		if (!w->reuses)
			qcow2_unlink_entry(q, old.desc);
	}
}

/* C6: nothing points to the clusters; if they cannot be given back they leak. */
static void alloc_write_undo(struct qcow2 *q, const struct alloc_write *w) REQUIRES(q->alloc_lock)
{
	if (!w->reuses)
		qcow2_co_put_clusters(q, qcow2_cluster_index(q, w->host_off), w->plan.nr_clusters);
}

/*
 * Writes the first part of the range, whose clusters are not yet ours alone. *ret_done: how much; 0
 * if the mapping must be looked at again.
 */
static int co_write_allocating(struct qcow2 *q, uint64_t off, uint64_t bytes, struct iobuf mem,
			       bool only_empty, uint64_t *ret_done)
{
	struct alloc_write w = {
		.off = off,
		.bytes = bytes,
		.mem = mem,
		.only_empty = only_empty,
	};
	int ret;

	*ret_done = 0;
	ret = qcow2_co_get_writable_slice(q, off, &w.slice);
	if (ret)
		return ret;
	w.index = qcow2_slice_index(q, off);

	co_mutex_lock(&q->alloc_lock);
	ret = alloc_write_co_plan(q, &w);
	co_mutex_unlock(&q->alloc_lock);
	if (ret) {
		qcow2_slice_put(w.slice);
		return ret < 0 ? ret : 0;
	}

	ret = alloc_write_co_move(q, &w);

	co_mutex_lock(&q->alloc_lock);
	if (ret)
		alloc_write_undo(q, &w);
	else
		alloc_write_link(q, &w);
	qcow2_plan_end(q, &w.plan);
	co_mutex_unlock(&q->alloc_lock);
	qcow2_slice_put(w.slice);
	if (!ret)
		*ret_done = w.bytes;
	return ret;
}

int qcow2_co_write_range(struct qcow2 *q, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	struct mapping map;
	uint64_t done;
	int ret;

	while (bytes) {
		ret = qcow2_co_lookup(q, off, bytes, &map);
		if (ret || map.reserved)
			return ret ?: -EIO;
		if (map.type == MAPPING_NORMAL && map.copied) {
			image_co_event(q->file, IMAGE_EVENT_WRITE_AIO);
			ret = qcow2_co_check_overlap(q, map.host_off, map.bytes)
				      ?: qcow2_co_write_data(q, map.host_off, map.bytes, mem);
			done = map.bytes;
		} else {
			ret = co_write_allocating(q, off, bytes, mem, false, &done);
		}
		if (ret)
			return ret;
		off += done;
		bytes -= done;
		mem = iobuf_advance(mem, done);
	}
	return 0;
}

int qcow2_co_fill_range(struct qcow2 *q, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	struct mapping map;
	uint64_t done;
	int ret = 0;

	for (; !ret && bytes; off += done, bytes -= done, mem = iobuf_advance(mem, done)) {
		ret = qcow2_co_lookup(q, off, bytes, &map);
		done = map.bytes;
		if (!ret && (map.type == MAPPING_UNALLOCATED || map.type == MAPPING_HOLE))
			ret = map.reserved
				      ? -EIO
				      : co_write_allocating(q, off, map.bytes, mem, true, &done);
	}
	return ret;
}

/* ---- requests ---- */

/* The last block may extend past the end of the disk. */
static bool is_in_disk(const struct qcow2 *q, uint64_t off, uint64_t bytes)
{
	uint64_t align = q->img->limits.request_alignment;

	return off + bytes <= align_up(image_size(q->img), align);
}

int qcow2_co_begin_unchanged(struct qcow2 *q, uint64_t off, uint64_t bytes)
{
	/* A snapshot of a smaller disk may have been applied since the request was accepted. */
	int ret = is_in_disk(q, off, bytes) ? 0 : -EIO;

	if (!ret && atomic_load(&q->header_unsettled)) {
		co_mutex_lock(&q->alloc_lock);
		ret = qcow2_co_settle_header(q);
		co_mutex_unlock(&q->alloc_lock);
	}
	return ret;
}

int qcow2_co_begin_change(struct qcow2 *q, uint64_t off, uint64_t bytes)
{
	int ret = qcow2_co_begin_unchanged(q, off, bytes);

	if (!ret && q->bitmaps_tracked)
		ret = qcow2_co_track(q, off, bytes);
	return ret;
}

int qcow2_co_pwritev(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
		     unsigned flags)
{
	struct qcow2 *q = img->opaque;
	uint64_t epoch;
	int ret;

	epoch = qcow2_co_request_begin(q);
	ret = qcow2_co_begin_change(q, off, bytes) ?: qcow2_co_write_range(q, off, bytes, mem);
	qcow2_request_end(q, epoch);
	return ret ?: qcow2_co_make_room(img);
}
