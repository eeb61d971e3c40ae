// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * When is a freed cluster free? (C5)
 *
 * It goes this way: the last pointer is removed in memory (q->unlinked) -> a flush that began after
 * that is complete, so the pointer is gone from disk (q->freed) -> every request that may have seen
 * the old pointer has ended (q->reclaimable) -> the cluster is punched out of the file -> its
 * refcount falls.
 *
 * Requests are counted by epoch, in a cache line of their loop, under the parity of the epoch in
 * which they began. Epoch e advances to e + 1 only when no request of e - 1 is left. Nobody sees
 * what was freed in epoch e - 1 then: requests of that epoch and before have ended, and requests
 * that began later found the pointer gone.
 *
 * The reclaimer does the last two steps: a coroutine on the loop of the flush or request that
 * started it. Only close, operations that need all clusters given back, and requests that free
 * clusters when memory is full of them, wait for it. It holds alloc_lock for one part of a run at a
 * time, and never while it punches.
 *
 * The image keeps a stack for it: were the reclaimer to wait for one of the thread's, requests
 * would wait for each other; and a request that did its work would not end while others free
 * clusters.
 */
#include "qcow2.h"
#include "rules.h"

/* The most that one call punches, or that is counted under one hold of alloc_lock. */
#define PART_BYTES	(32ull << 20)
#define PART_CLUSTERS	8192
/* The same for a while after a flush has begun: see co_let_flush_pass(). */
#define BUSY_PART_BYTES (8ull << 20)
#define BUSY_PARTS	4
/* After such a part, so many flushes go first, unless they take longer than that to come. */
#define BUSY_FLUSHES	4
#define BUSY_PAUSE_NS	1000000
#define BUSY_PAUSES	10

/*
 * seq_cst: the request is counted off first and looks second. Either the reclaimer sees that the
 * count is gone, or we see that clusters wait for it. What counts is parity: a late count may
 * belong to an epoch that is long over, and the reclaimer takes it for one of the last.
 */
static void count_off(struct qcow2 *q, struct epoch_slot *slot, uint64_t epoch)
{
	if (atomic_fetch_sub(&slot->active[epoch & 1], 1) == 1 && atomic_load(&q->freed_waits) &&
	    (epoch & 1) != (atomic_load(&q->epoch) & 1))
		qcow2_start_reclaimer(q);
}

static uint64_t epoch_enter(struct qcow2 *q)
{
	struct epoch_slot *slot = &q->epoch_slots[aio_loop_id(aio_loop_current())];
	uint64_t epoch = atomic_load(&q->epoch);

	for (;;) {
		uint64_t now;

		/*
		 * seq_cst: the request is counted first and looks second. Either whoever advances
		 * the epoch sees the count, or this request sees the epoch advance.
		 */
		atomic_fetch_add(&slot->active[epoch & 1], 1);
		now = atomic_load(&q->epoch);
		if (now == epoch)
			return epoch;
		/* The reclaimer may have seen this count, too, and ended because of it. */
		count_off(q, slot, epoch);
		epoch = now;
	}
}

static void epoch_exit(struct qcow2 *q, uint64_t epoch)
{
	/* The release part: the request's I/O is over before it is counted off. */
	count_off(q, &q->epoch_slots[aio_loop_id(aio_loop_current())], epoch);
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

/* ---- from unlinked to reclaimable ---- */

/* This bounds the memory: see qcow2_co_make_room(). */
static void note_room(struct qcow2 *q) REQUIRES(q->alloc_lock)
{
	guint nr_runs = q->unlinked.runs->len + q->freed[0].runs->len + q->freed[1].runs->len +
			q->reclaimable.runs->len;

	atomic_store(&q->freed_full, nr_runs >= q->max_freed_runs);
}

void qcow2_unlink_clusters(struct qcow2 *q, uint64_t cluster, uint64_t nr, bool is_l2)
{
	struct freed_run run = { cluster, nr, .references = 1, .is_l2 = is_l2 };

	qcow2_freed_runs_add(&q->unlinked, &run);
	atomic_fetch_add(&q->nr_unlinked, nr);
	note_room(q);
}

void qcow2_take_unlinked(struct qcow2 *q, struct freed_runs *taken)
{
	qcow2_freed_runs_move(taken, &q->unlinked);
	atomic_store(&q->nr_unlinked, 0);
}

void qcow2_put_back_unlinked(struct qcow2 *q, struct freed_runs *taken)
{
	for (guint i = 0; i < taken->runs->len; i++)
		atomic_fetch_add(&q->nr_unlinked,
				 g_array_index(taken->runs, struct freed_run, i).nr_clusters);
	qcow2_freed_runs_move(&q->unlinked, taken);
	note_room(q);
}

void qcow2_unlinked_on_disk(struct qcow2 *q, struct freed_runs *taken)
{
	struct freed_runs *freed = &q->freed[atomic_load(&q->epoch) & 1];

	if (!taken->runs->len)
		return;
	qcow2_freed_runs_move(RULE_BROKEN(RULE_C5_REUSE) ? &q->reclaimable : freed, taken);
	atomic_store(&q->freed_waits, true);
	note_room(q);
}

static bool try_epoch_advance(struct qcow2 *q) REQUIRES(q->alloc_lock)
{
	uint64_t epoch = atomic_load(&q->epoch);
	unsigned other = (epoch + 1) & 1;

	for (unsigned i = 0; i < AIO_MAX_LOOPS; i++)
		if (atomic_load(&q->epoch_slots[i].active[other]))
			return false;
	qcow2_freed_runs_move(&q->reclaimable, &q->freed[other]);
	atomic_store(&q->epoch, epoch + 1);
	return true;
}

static bool any_freed(struct qcow2 *q) REQUIRES(q->alloc_lock)
{
	return q->freed[0].runs->len || q->freed[1].runs->len;
}

/* Whether there is anything to give back. */
static bool find_reclaimable(struct qcow2 *q) REQUIRES(q->alloc_lock)
{
	while (any_freed(q) && try_epoch_advance(q))
		;
	atomic_store(&q->freed_waits, any_freed(q));
	return q->reclaimable.runs->len;
}

/* ---- giving back ---- */

/* What becomes of a cluster that loses references. */
enum fate {
	FATE_FREE,
	FATE_SHARED, /* still referenced: compressed data, snapshots */
	FATE_WRONG,  /* the image's refcount is too low: going on would make it worse */
};

/* A position in merged runs, which moves cluster by cluster. */
struct walk {
	const struct freed_run *run, *end;
	uint64_t in_run;
};

static uint64_t walk_cluster(const struct walk *walk)
{
	return walk->run->cluster + walk->in_run;
}

static void walk_on(struct walk *walk)
{
	if (++walk->in_run < walk->run->nr_clusters)
		return;
	walk->run++;
	walk->in_run = 0;
}

/* Neighbours in the file with the same fate. */
struct part {
	struct walk start;
	uint64_t cluster;
	uint64_t nr_clusters;
	bool is_l2;
	enum fate fate;
};

static int get_fate(struct qcow2 *q, const struct walk *walk, enum fate *ret_fate)
	REQUIRES(q->alloc_lock)
{
	uint64_t references = walk->run->references, refcount = 0;
	int ret = qcow2_co_get_refcount(q, walk_cluster(walk), &refcount);

	if (refcount == references)
		*ret_fate = FATE_FREE;
	else
		*ret_fate = refcount > references ? FATE_SHARED : FATE_WRONG;
	return ret;
}

/* Whether the part includes the cluster of @walk. */
static bool continues(struct qcow2 *q, const struct part *part, const struct walk *walk)
	REQUIRES(q->alloc_lock)
{
	enum fate fate;

	return walk->run < walk->end && walk->run->is_l2 == part->is_l2 &&
	       walk_cluster(walk) == part->cluster + part->nr_clusters &&
	       !get_fate(q, walk, &fate) && fate == part->fate;
}

/* How parts keep out of the way of flushes. */
struct pace {
	uint64_t flushes;    /* that had begun when it was last looked at */
	uint64_t bytes;	     /* given back since then */
	unsigned busy_parts; /* still to come */
};

/*
 * The file system makes a flush, and what it writes, wait for the hole that is being punched, and
 * the first flush after it writes a transaction of the file system's journal. So holes are small
 * beside flushes, none is begun while one is under way, and most flushes follow another flush.
 */
static void co_let_flush_pass(struct qcow2 *q, struct pace *pace, uint64_t bytes)
	EXCLUDES(q->alloc_lock, q->flush_lock)
{
	uint64_t flushes = atomic_load(&q->flush_started);

	/* Many small holes count as one. */
	pace->bytes += bytes;
	if (pace->bytes < BUSY_PART_BYTES)
		return;
	pace->bytes = 0;
	if (flushes != pace->flushes)
		pace->busy_parts = BUSY_PARTS;
	else if (pace->busy_parts)
		pace->busy_parts--;
	pace->flushes = flushes;
	if (!pace->busy_parts)
		return;
	for (unsigned i = 0; i < BUSY_PAUSES; i++) {
		if (atomic_load(&q->flush_started) - flushes >= BUSY_FLUSHES)
			break;
		co_sleep_ns(BUSY_PAUSE_NS);
	}
	co_mutex_lock(&q->flush_lock);
	co_mutex_unlock(&q->flush_lock);
}

/* Moves @walk over the part that begins there; over one cluster if its refcount cannot be read. */
static int find_part(struct qcow2 *q, struct walk *walk, const struct pace *pace, struct part *part)
	REQUIRES(q->alloc_lock)
{
	uint64_t most_bytes = pace->busy_parts ? BUSY_PART_BYTES : PART_BYTES;
	uint64_t most = MIN(PART_CLUSTERS, MAX(most_bytes >> q->cluster_bits, 1));
	int ret;

	*part = (struct part){ *walk, walk_cluster(walk), 0, walk->run->is_l2, FATE_WRONG };
	ret = get_fate(q, walk, &part->fate);
	do {
		part->nr_clusters++;
		walk_on(walk);
	} while (!ret && part->nr_clusters < most && continues(q, part, walk));
	return ret;
}

/*
 * P3: what is punched, or loses a reference, must not be another table of the image, nor a table
 * that something still names.
 */
static int check_part(struct qcow2 *q, const struct part *part) REQUIRES(q->alloc_lock)
{
	struct walk walk = part->start;
	int ret = q->broken;

	if (!ret && !part->is_l2)
		ret = qcow2_co_check_overlap_locked(q, part->cluster, part->nr_clusters);
	if (ret || !part->is_l2 || part->fate != FATE_FREE)
		return ret;
	for (uint64_t i = 0; i < part->nr_clusters && !ret; i++, walk_on(&walk))
		ret = qcow2_co_check_last_owners(q, part->cluster + i, walk.run->references);
	return ret;
}

/*
 * Punches while the refcount still keeps everybody else away. It is only advice, so its result does
 * not matter.
 */
static void co_punch(struct qcow2 *q, const struct part *part) REQUIRES(q->alloc_lock)
{
	/* No compressed data may be put there between this and the hole. */
	for (uint64_t i = 0; i < part->nr_clusters; i++)
		qcow2_leave_cluster(q, part->cluster + i);
	co_mutex_unlock(&q->alloc_lock);
	image_co_pdiscard(q->file, part->cluster << q->cluster_bits,
			  part->nr_clusters << q->cluster_bits);
	co_mutex_lock(&q->alloc_lock);
}

static int put_part(struct qcow2 *q, const struct part *part) REQUIRES(q->alloc_lock)
{
	struct walk walk = part->start;
	int ret = q->broken;

	if (!ret && part->fate == FATE_WRONG)
		ret = -EIO;
	for (uint64_t i = 0; i < part->nr_clusters && !ret; i++, walk_on(&walk))
		ret = qcow2_co_drop_references(q, part->cluster + i, walk.run->references);
	return ret;
}

/* No L1 table names these L2 tables any more, whatever becomes of their clusters. */
static void forget_tables(struct qcow2 *q, const struct part *part) REQUIRES(q->alloc_lock)
{
	struct walk walk = part->start;

	for (uint64_t i = 0; i < part->nr_clusters; i++, walk_on(&walk))
		for (uint64_t k = 0; k < walk.run->references; k++)
			qcow2_drop_l2_table(q, part->cluster + i);
}

/* What cannot be given back leaks, which is harmless. */
static int give_back(struct qcow2 *q, const struct freed_runs *batch) REQUIRES(q->alloc_lock)
{
	const struct freed_run *runs = (const void *)batch->runs->data;
	struct walk walk = { runs, runs + batch->runs->len, 0 };
	struct pace pace = { .flushes = atomic_load(&q->flush_started) };
	int result = 0, ret;

	while (walk.run < walk.end) {
		struct part part;

		ret = find_part(q, &walk, &pace, &part) ?: check_part(q, &part);
		if (!ret && part.fate == FATE_FREE && q->unmap)
			co_punch(q, &part);
		ret = ret ?: put_part(q, &part);
		if (part.is_l2)
			forget_tables(q, &part);
		result = result ?: ret;
		/* Lets others have the lock and the loop. */
		co_mutex_unlock(&q->alloc_lock);
		co_reschedule();
		co_let_flush_pass(q, &pace, part.nr_clusters << q->cluster_bits);
		co_mutex_lock(&q->alloc_lock);
	}
	return result;
}

int qcow2_co_reclaim(struct qcow2 *q)
{
	struct freed_runs batch;
	int ret = 0;

	qcow2_freed_runs_init(&batch);
	co_mutex_lock(&q->reclaim_lock);
	co_mutex_lock(&q->alloc_lock);
	while (find_reclaimable(q)) {
		qcow2_freed_runs_move(&batch, &q->reclaimable);
		note_room(q);
		q->times_room_made += !atomic_load(&q->freed_full);
		co_queue_wake_all(&q->reclaimed);
		qcow2_freed_runs_merge(&batch);
		ret = give_back(q, &batch) ?: ret;
		qcow2_freed_runs_clear(&batch);
	}
	co_mutex_unlock(&q->alloc_lock);
	co_mutex_unlock(&q->reclaim_lock);
	qcow2_freed_runs_destroy(&batch);
	return ret;
}

/* ---- the reclaimer ---- */

static void reclaimer_co(void *arg)
{
	qcow2_co_reclaim(arg);
}

int qcow2_reclaimer_init(struct qcow2 *q, GError **err)
{
	int ret = co_standby_init(&q->reclaimer, reclaimer_co, q);

	return ret ? error_refuse(err, ret, "%s: no memory", q->img->filename) : 0;
}

void qcow2_reclaimer_destroy(struct qcow2 *q)
{
	co_standby_destroy(&q->reclaimer);
}

void qcow2_start_reclaimer(struct qcow2 *q)
{
	co_standby_call(&q->reclaimer);
}

void qcow2_co_end_reclaimer(struct qcow2 *q)
{
	co_standby_co_end(&q->reclaimer);
}

void qcow2_co_wait_for_room(struct qcow2 *q)
{
	uint64_t before;

	co_mutex_lock(&q->alloc_lock);
	before = q->times_room_made;
	/*
	 * The last of the requests in flight that clusters wait for calls the reclaimer. If others
	 * have taken the room since then, this request does not wait for more.
	 */
	while (atomic_load(&q->freed_full) && atomic_load(&q->freed_waits) &&
	       q->times_room_made == before)
		co_queue_wait(&q->reclaimed, &q->alloc_lock);
	co_mutex_unlock(&q->alloc_lock);
}
