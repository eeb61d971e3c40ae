// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Compressed writes: whole clusters, or the shorter last one of the image.
 *
 * They go in batches. A part of the first cluster decides how the batch is compressed, so that the
 * same data always gives the same image. The clusters are compressed in parallel, on the worker
 * pool; then those that shrank are written by plans, like other allocating writes (write.c), and
 * the others uncompressed. What lies side by side in the file is written at once.
 *
 * What the guest clusters were before does not matter: it is replaced as a whole, and given up when
 * the new entry is stored.
 */
#include "qcow2.h"

#include <string.h>

/* Memory for one request; a cluster may be larger. */
#define BATCH_BYTES    (2u << 20)
#define BATCH_CLUSTERS 32

struct piece {
	struct batch *batch;
	void *data;	/* compressed */
	uint32_t bytes; /* 0: it does not shrink */
	uint64_t host_off;
};

struct batch {
	struct qcow2 *q;
	uint64_t ticket;
	uint64_t off; /* guest range */
	uint64_t bytes;
	struct iobuf mem;
	struct piece pieces[BATCH_CLUSTERS]; /* one per cluster */
	unsigned nr;
	bool fast; /* how they are compressed */
	unsigned compressing;
	struct coroutine *waiter;
	int error; /* the first one */
};

static uint64_t piece_start(const struct batch *b, unsigned index)
{
	return (uint64_t)index << b->q->cluster_bits;
}

/* The last one may be short. */
static uint64_t piece_bytes(const struct batch *b, unsigned index)
{
	return MIN(b->q->cluster_size, b->bytes - piece_start(b, index));
}

/*
 * ---- turns ----
 *
 * Requests compress at the same time, but place their data in the order in which they began, so
 * that what was written in order lies in order. One that waits for its turn holds no lock but
 * struct_lock, for reading.
 */

static uint64_t packing_begin(struct qcow2 *q)
{
	uint64_t ticket;

	thread_lock(&q->packing_lock);
	ticket = q->next_packing++;
	thread_unlock(&q->packing_lock);
	return ticket;
}

static void packing_co_wait(struct qcow2 *q, uint64_t ticket)
{
	thread_lock(&q->packing_lock);
	while (q->packing_turn != ticket)
		co_queue_wait_thread(&q->packing_turn_changed, &q->packing_lock);
	thread_unlock(&q->packing_lock);
}

/* Also after a failure. */
static void packing_co_end(struct qcow2 *q, uint64_t ticket)
{
	packing_co_wait(q, ticket);
	thread_lock(&q->packing_lock);
	q->packing_turn++;
	co_queue_wake_all(&q->packing_turn_changed);
	thread_unlock(&q->packing_lock);
}

/* ---- compressing ---- */

/* A whole cluster, filled up with zeroes. */
static int copy_piece(const struct batch *b, unsigned index, uint8_t *dst)
{
	uint64_t bytes = piece_bytes(b, index);

	memset(dst + bytes, 0, b->q->cluster_size - bytes);
	return iobuf_copy_out(dst, iobuf_advance(b->mem, piece_start(b, index)), bytes);
}

static int co_compress_piece(struct piece *piece)
{
	struct batch *b = piece->batch;
	uint8_t *src = try_iobuf_alloc(b->q->cluster_size);
	int ret = -ENOMEM;

	piece->data = try_iobuf_alloc(b->q->cluster_size);
	if (src && piece->data) {
		ret = copy_piece(b, piece - b->pieces, src);
		ret = ret ?: qcow2_co_compress(b->q, b->fast, src, piece->data, &piece->bytes);
	}
	iobuf_free(src);
	return ret;
}

static void compress_co(void *arg)
{
	struct piece *piece = arg;
	struct batch *b = piece->batch;
	int ret = co_compress_piece(piece);

	b->error = b->error ?: ret;
	if (--b->compressing == 0)
		co_wake(b->waiter);
}

static int co_choose_method(struct batch *b)
{
	uint8_t *src;
	int ret;

	if (!qcow2_can_compress_fast(b->q))
		return 0;
	src = try_iobuf_alloc(b->q->cluster_size);
	ret = src ? copy_piece(b, 0, src) : -ENOMEM;
	if (!ret)
		b->fast = qcow2_co_compress_fast_suffices(b->q, src);
	iobuf_free(src);
	return ret;
}

static int co_compress_all(struct batch *b)
{
	int ret = co_choose_method(b);

	if (ret)
		return ret;
	b->compressing = b->nr;
	b->waiter = co_self();
	for (unsigned i = 0; i < b->nr; i++) {
		b->pieces[i].batch = b;
		if (co_has_stack())
			co_start(compress_co, &b->pieces[i]);
		else
			compress_co(&b->pieces[i]);
	}
	co_yield();
	return b->error;
}

/* ---- a run of compressed clusters ---- */

struct packed_write {
	struct batch *batch;
	struct piece *pieces;
	unsigned nr;
	struct slice *slice; /* pinned */
	unsigned index;	     /* of the first cluster in it */
	struct plan plan;
};

/* Takes room for as many as possible, at least one; or returns -errno. */
static int packed_write_co_alloc(struct qcow2 *q, struct packed_write *w) REQUIRES(q->alloc_lock)
{
	unsigned i;
	int ret = 0;

	for (i = 0; i < w->nr; i++) {
		struct l2_entry old = qcow2_slice_load(q, w->slice, w->index + i);

		ret = qcow2_check_entry(q, old)		     ?:
		      qcow2_co_check_unlink(q, old.desc) ?:
		      qcow2_co_alloc_bytes(q, w->pieces[i].bytes, &w->pieces[i].host_off);
		if (ret)
			break;
	}
	w->nr = i;
	return i ? 0 : ret;
}

/* Claims guest clusters and host bytes. 0: planned; 1: look again, or -errno. */
static int packed_write_co_plan(struct qcow2 *q, struct packed_write *w, uint64_t first)
	REQUIRES(q->alloc_lock)
{
	int ret;

	w->nr = qcow2_co_wait_for_plans(q, first, w->nr);
	if (!w->nr)
		return 1;
	ret = packed_write_co_alloc(q, w);
	if (ret)
		return ret;
	w->plan.first_cluster = first;
	w->plan.nr_clusters = w->nr;
	qcow2_plan_begin(q, &w->plan);
	return 0;
}

/* C2: the flush before the entries are written covers it. */
static int packed_write_co_move(struct qcow2 *q, const struct packed_write *w)
{
	struct iovec vecs[BATCH_CLUSTERS];
	int ret = 0;

	for (unsigned i = 0; i < w->nr && !ret;) {
		uint64_t host_off = w->pieces[i].host_off, end = host_off;
		unsigned nr = 0;

		for (; i < w->nr && w->pieces[i].host_off == end; i++) {
			vecs[nr++] = (struct iovec){ w->pieces[i].data, w->pieces[i].bytes };
			end += w->pieces[i].bytes;
		}
		image_co_event(q->file, IMAGE_EVENT_WRITE_COMPRESSED);
		ret = image_co_pwritev(q->file, host_off, end - host_off,
				       (struct iobuf){ .iov = vecs }, 0);
	}
	return ret;
}

static void packed_write_link(struct qcow2 *q, const struct packed_write *w) REQUIRES(q->alloc_lock)
{
	for (unsigned i = 0; i < w->nr; i++) {
		struct l2_entry old = qcow2_slice_load(q, w->slice, w->index + i);
		struct l2_entry new = { 0, 0 };

		qcow2_compressed_entry(q, w->pieces[i].host_off, w->pieces[i].bytes, &new.desc);
		qcow2_slice_store(q, w->slice, w->index + i, new);
		qcow2_unlink_entry(q, old.desc);
	}
}

/* C6: nothing points there; what cannot be given back leaks. */
static void packed_write_undo(struct qcow2 *q, const struct packed_write *w) REQUIRES(q->alloc_lock)
{
	for (unsigned i = 0; i < w->nr; i++)
		qcow2_co_put_bytes(q, w->pieces[i].host_off, w->pieces[i].bytes);
}

/* Writes the first w->nr pieces; fewer if there is no more room. */
static int packed_write_co_run(struct packed_write *w, uint64_t off)
{
	struct qcow2 *q = w->batch->q;
	int ret = qcow2_co_get_writable_slice(q, off, &w->slice);

	if (ret)
		return ret;
	w->index = qcow2_slice_index(q, off);
	w->nr = MIN(w->nr, (1u << q->slice_bits) - w->index);
	co_mutex_lock(&q->alloc_lock);
	ret = packed_write_co_plan(q, w, qcow2_cluster_index(q, off));
	co_mutex_unlock(&q->alloc_lock);
	if (!ret) {
		ret = packed_write_co_move(q, w);
		co_mutex_lock(&q->alloc_lock);
		if (ret)
			packed_write_undo(q, w);
		else
			packed_write_link(q, w);
		qcow2_plan_end(q, &w->plan);
		co_mutex_unlock(&q->alloc_lock);
	}
	qcow2_slice_put(w->slice);
	return ret;
}

/* ---- a batch ---- */

static int co_write_plain(struct batch *b, unsigned index)
{
	uint64_t start = piece_start(b, index);

	return qcow2_co_write_range(b->q, b->off + start, piece_bytes(b, index),
				    iobuf_advance(b->mem, start));
}

/* Writes the pieces from @first on; *ret_nr: how many; 0: look again. */
static int co_write_pieces(struct batch *b, unsigned first, unsigned *ret_nr)
{
	struct packed_write w = { .batch = b, .pieces = &b->pieces[first] };
	int ret = -EFBIG;

	while (first + w.nr < b->nr && b->pieces[first + w.nr].bytes)
		w.nr++;
	if (w.nr)
		ret = packed_write_co_run(&w, b->off + piece_start(b, first));
	*ret_nr = ret ? 0 : w.nr;
	/* It does not shrink, or lies where no compressed cluster can be. */
	if (ret == -EFBIG) {
		*ret_nr = 1;
		ret = co_write_plain(b, first);
	}
	return MIN(ret, 0);
}

static int co_write_batch(struct batch *b)
{
	int ret = co_compress_all(b);
	unsigned nr;

	if (!ret)
		packing_co_wait(b->q, b->ticket);
	for (unsigned i = 0; i < b->nr && !ret; i += nr)
		ret = co_write_pieces(b, i, &nr);
	for (unsigned i = 0; i < b->nr; i++)
		iobuf_free(b->pieces[i].data);
	return ret;
}

static int co_write_range(struct qcow2 *q, uint64_t ticket, uint64_t off, uint64_t bytes,
			  struct iobuf mem)
{
	uint64_t most = MIN(BATCH_CLUSTERS, MAX(BATCH_BYTES >> q->cluster_bits, 1))
			<< q->cluster_bits;
	int ret = 0;

	while (bytes && !ret) {
		struct batch b = {
			.q = q,
			.ticket = ticket,
			.off = off,
			.bytes = MIN(bytes, most),
			.mem = mem,
		};

		b.nr = qcow2_clusters_for(q, b.bytes);
		ret = co_write_batch(&b);
		off += b.bytes;
		bytes -= b.bytes;
		mem = iobuf_advance(mem, b.bytes);
	}
	return ret;
}

int qcow2_co_pwrite_compressed(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	struct qcow2 *q = img->opaque;
	uint64_t end = off + bytes;
	uint64_t epoch, ticket;
	int ret;

	/* "neither compressed clusters nor internal snapshots are supported" */
	if (qcow2_has_data_file(q))
		return -ENOTSUP;
	epoch = qcow2_co_request_begin(q);
	ticket = packing_begin(q);
	/* Within the request: if the disk has grown, the cluster at its old end is a whole one. */
	if (qcow2_in_cluster(q, off) || (qcow2_in_cluster(q, end) && end != image_size(img)))
		ret = -EINVAL;
	else
		ret = qcow2_co_begin_change(q, off, bytes)
			      ?: co_write_range(q, ticket, off, bytes, mem);
	packing_co_end(q, ticket);
	qcow2_request_end(q, epoch);
	return ret ?: qcow2_co_make_room(img);
}
