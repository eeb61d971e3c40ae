// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * When is a freed cluster free? (C5)
 *
 * Its way: the last pointer is removed in memory (q->unlinked) -> a flush that
 * began after that is complete, so the pointer is gone from disk (q->freed, with
 * the epoch of that time) -> every request that may have looked at the old pointer
 * has ended -> it is punched out of the file -> its refcount falls.
 *
 * Requests are counted by epoch, in a cache line of their loop, under the
 * parity of the epoch they began in. The epoch e goes on to e + 1 only when no
 * request of e - 1 is left. So once it reached e + 2, no request of epoch e or
 * before is left; one that began later found the pointer gone.
 */
#include "qcow2.h"

static uint64_t epoch_enter(struct qcow2 *q)
{
	struct epoch_slot *slot = &q->epoch_slots[aio_loop_id(aio_loop_current())];
	uint64_t epoch = atomic_load(&q->epoch);

	for (;;) {
		uint64_t now;

		/*
		 * seq_cst: counted first, looked second. Either the one who moves the
		 * epoch on sees the count, or the move is seen here.
		 */
		atomic_fetch_add(&slot->active[epoch & 1], 1);
		now = atomic_load(&q->epoch);
		if (now == epoch)
			return epoch;
		atomic_fetch_sub(&slot->active[epoch & 1], 1);
		epoch = now;
	}
}

static void epoch_exit(struct qcow2 *q, uint64_t epoch)
{
	struct epoch_slot *slot = &q->epoch_slots[aio_loop_id(aio_loop_current())];

	/* Release (and more): the request's I/O is over before it is counted off. */
	atomic_fetch_sub(&slot->active[epoch & 1], 1);
}

uint64_t qcow2_co_request_begin(struct qcow2 *q)
{
	co_rwlock_rdlock(&q->struct_lock);
	return epoch_enter(q);
}

void qcow2_request_end(struct qcow2 *q, uint64_t epoch)
{
	epoch_exit(q, epoch);
	co_rwlock_rdunlock(&q->struct_lock);
}

static bool try_epoch_advance(struct qcow2 *q) REQUIRES(q->flush_lock)
{
	uint64_t epoch = atomic_load(&q->epoch);

	for (unsigned i = 0; i < AIO_MAX_LOOPS; i++)
		if (atomic_load(&q->epoch_slots[i].active[(epoch + 1) & 1]))
			return false;
	atomic_store(&q->epoch, epoch + 1);
	return true;
}

/*
 * P3: what is punched or has its refcount lowered is not another table of the image, nor a
 * table that somebody names still.
 */
static int check_freed(struct qcow2 *q, const struct freed_run *run) REQUIRES(q->alloc_lock)
{
	uint64_t refcount;
	int ret = q->broken;

	if (ret)
		return ret;
	if (!run->is_l2)
		return qcow2_co_check_overlap_locked(q, run->cluster, run->nr_clusters);
	ret = qcow2_co_get_refcount(q, run->cluster, &refcount);
	return ret || refcount > 1 ? ret : qcow2_co_check_last_owners(q, run->cluster, 1);
}

static int give_back(struct qcow2 *q, const struct freed_run *run) REQUIRES(q->flush_lock)
{
	uint64_t refcount = 0;
	int ret;

	co_mutex_lock(&q->alloc_lock);
	ret = check_freed(q, run);
	co_mutex_unlock(&q->alloc_lock);
	if (ret)
		return ret;

	/*
	 * Punched while the refcount still keeps everybody else away. A cluster
	 * that is shared (compressed data, snapshots) stays. That it is only advice
	 * is why its result does not matter.
	 */
	for (uint64_t i = 0; q->unmap && i < run->nr_clusters; i++) {
		co_mutex_lock(&q->alloc_lock);
		ret = qcow2_co_get_refcount(q, run->cluster + i, &refcount);
		/* Compressed data must not come there between this look and the hole. */
		if (!ret && refcount == 1)
			qcow2_leave_cluster(q, run->cluster + i);
		co_mutex_unlock(&q->alloc_lock);
		if (!ret && refcount == 1)
			image_co_pdiscard(q->file, (run->cluster + i) << q->cluster_bits,
					  q->cluster_size);
	}
	co_mutex_lock(&q->alloc_lock);
	ret = qcow2_co_put_clusters(q, run->cluster, run->nr_clusters);
	if (run->is_l2)
		qcow2_drop_l2_table(q, run->cluster);
	co_mutex_unlock(&q->alloc_lock);
	atomic_fetch_sub(&q->nr_unlinked, run->nr_clusters);
	return ret;
}

int qcow2_co_reclaim(struct qcow2 *q)
{
	uint64_t epoch;
	guint done = 0;
	int ret = 0;

	if (!q->freed->len)
		return 0;
	if (try_epoch_advance(q))
		try_epoch_advance(q);
	epoch = atomic_load(&q->epoch);
	/* Oldest first. A run that could not be given back leaks: nothing worse. */
	while (done < q->freed->len) {
		const struct freed_run *run = &g_array_index(q->freed, struct freed_run, done);

		if (run->epoch + 2 > epoch && !RULE_BROKEN(5))
			break;
		ret = give_back(q, run) ?: ret;
		done++;
	}
	if (done)
		g_array_remove_range(q->freed, 0, done);
	return ret;
}
