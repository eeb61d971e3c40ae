// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * L2 slices in memory; also slices of an L1 table that is not in memory as a whole.
 *
 * A shard's lock is held for a lookup or an eviction, never across I/O. A miss takes a slot, marks
 * it `loading` and reads; other requests for the same slice wait for that one load. A slot with a
 * pin or a dirty mark is not evicted; if a shard has no other, the image is written back first: a
 * circle with flush.c.
 */
#include "qcow2.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

static struct shard *shard_of(struct l2_cache *cache, uint64_t host_off)
{
	return &cache->shards[host_off / cache->slice_bytes % cache->nr_shards];
}

static struct slice **bucket_of(const struct l2_cache *cache, struct shard *shard,
				uint64_t host_off)
{
	return &shard->hash[host_off / cache->slice_bytes / cache->nr_shards & shard->hash_mask];
}

static int shard_init(struct l2_cache *cache, struct shard *shard, unsigned nr_slices)
{
	unsigned hash_size = 2;

	while (hash_size < nr_slices)
		hash_size *= 2;
	thread_lock_init(&shard->lock);
	co_queue_init(&shard->waiters);
	shard->hash_mask = hash_size - 1;
	shard->hash = g_try_new0(struct slice *, hash_size);
	shard->slices = g_try_new0(struct slice, nr_slices);
	if (!shard->hash || !shard->slices)
		return -ENOMEM;
	shard->nr_slices = nr_slices;
	return 0;
}

/* With its slot, at most two buckets, and the copy that a write-back makes. */
static uint64_t bytes_per_slice(const struct qcow2 *q)
{
	return q->cache.slice_bytes * (image_is_read_only(q->img) ? 1 : 2) + sizeof(struct slice) +
	       2 * sizeof(struct slice *);
}

static int no_memory(const struct qcow2 *q, uint64_t bytes, GError **err)
{
	return qcow2_refuse(q, err, -ENOMEM, "no memory for a cache of %" PRIu64 " bytes", bytes);
}

int qcow2_l2_cache_init(struct qcow2 *q, uint64_t bytes, GError **err)
{
	struct l2_cache *cache = &q->cache;
	uint64_t wanted = bytes / cache->slice_bytes;
	unsigned per_shard;
	int ret;

	wanted = MIN(MAX(wanted, 2), 1u << 24);
	cache->nr_shards = wanted >= 8 * QCOW2_MAX_SHARDS ? QCOW2_MAX_SHARDS : 1;
	per_shard = wanted / cache->nr_shards;
	cache->nr_slices = per_shard * cache->nr_shards;
	ret = qcow2_take_memory(q, cache->nr_slices * bytes_per_slice(q), "the metadata cache",
				err);
	if (ret)
		return ret;
	for (unsigned i = 0; i < cache->nr_shards; i++) {
		ret = shard_init(cache, &cache->shards[i], per_shard);
		if (ret)
			return no_memory(q, bytes, err);
	}
	return 0;
}

void qcow2_l2_cache_destroy(struct qcow2 *q)
{
	for (unsigned i = 0; i < q->cache.nr_shards; i++) {
		struct shard *shard = &q->cache.shards[i];

		for (unsigned j = 0; shard->slices && j < shard->nr_slices; j++)
			iobuf_free((void *)shard->slices[j].entries);
		g_free(shard->slices);
		g_free(shard->hash);
		co_queue_destroy(&shard->waiters);
		thread_lock_destroy(&shard->lock);
	}
}

void qcow2_l2_cache_add_stats(struct qcow2 *q, struct image_stats *stats)
{
	stats->cache_bytes += (uint64_t)q->cache.nr_slices * q->cache.slice_bytes;
	for (unsigned i = 0; i < q->cache.nr_shards; i++) {
		struct shard *shard = &q->cache.shards[i];

		thread_lock(&shard->lock);
		stats->cache_hits += shard->hits;
		stats->cache_misses += shard->misses;
		thread_unlock(&shard->lock);
	}
}

static struct slice *find(struct l2_cache *cache, struct shard *shard, uint64_t host_off)
{
	struct slice *slice = *bucket_of(cache, shard, host_off);

	while (slice && slice->host_off != host_off)
		slice = slice->hash_next;
	return slice;
}

static void unhash(struct l2_cache *cache, struct slice *slice)
{
	struct slice **link = bucket_of(cache, slice->shard, slice->host_off);

	while (*link != slice)
		link = &(*link)->hash_next;
	*link = slice->hash_next;
	slice->host_off = 0;
}

/*
 * Returns a slot that may be used, or NULL; *ret_dirty says whether a write-back would help.
 *
 * It looks at the pins before the dirty mark: whoever makes a slice dirty holds a pin and drops it
 * (release) afterwards, so seeing no pin (acquire) means seeing the mark. flush.c clears the mark
 * under the shard lock.
 */
static struct slice *find_victim(struct l2_cache *cache, struct shard *shard, bool *ret_dirty)
{
	*ret_dirty = false;
	for (unsigned i = 0; i < 2 * shard->nr_slices; i++) {
		struct slice *slice = &shard->slices[shard->hand];

		shard->hand = (shard->hand + 1) % shard->nr_slices;
		if (atomic_load(&slice->pins) > 0)
			continue;
		if (atomic_load(&slice->dirty)) {
			*ret_dirty = true;
			continue;
		}
		if (slice->referenced) {
			slice->referenced = false;
			continue;
		}
		if (slice->host_off)
			unhash(cache, slice);
		return slice;
	}
	return NULL;
}

void qcow2_l2_cache_forget(struct qcow2 *q)
{
	for (unsigned i = 0; i < q->cache.nr_shards; i++) {
		struct shard *shard = &q->cache.shards[i];

		thread_lock(&shard->lock);
		for (unsigned j = 0; j < shard->nr_slices; j++) {
			struct slice *slice = &shard->slices[j];

			assert(!atomic_load(&slice->pins) && !atomic_load(&slice->dirty));
			if (slice->host_off)
				unhash(&q->cache, slice);
		}
		thread_unlock(&shard->lock);
	}
}

void qcow2_l2_cache_forget_table(struct qcow2 *q, uint64_t l2_off)
{
	struct l2_cache *cache = &q->cache;

	for (uint64_t off = l2_off; off < l2_off + q->cluster_size; off += cache->slice_bytes) {
		struct shard *shard = shard_of(cache, off);
		struct slice *slice;

		thread_lock(&shard->lock);
		slice = find(cache, shard, off);
		if (slice) {
			assert(!atomic_load(&slice->pins) && !atomic_load(&slice->dirty));
			unhash(cache, slice);
		}
		thread_unlock(&shard->lock);
	}
}

static int slice_co_load(struct qcow2 *q, struct slice *slice, uint64_t host_off)
{
	if (!slice->entries)
		slice->entries = try_iobuf_alloc(q->cache.slice_bytes);
	if (!slice->entries)
		return -ENOMEM;
	image_co_event(q->file, IMAGE_EVENT_L2_LOAD);
	return image_co_pread(q->file, host_off, q->cache.slice_bytes, (void *)slice->entries);
}

static void wait_for_shard(struct shard *shard) REQUIRES(shard->lock)
{
	/*
	 * Counted before the last look that find_victim() takes at the pins: qcow2_slice_put()
	 * drops its pin first and looks at the count second.
	 */
	co_queue_wait_thread(&shard->waiters, &shard->lock);
}

/*
 * Takes a slot for @host_off, which is not in the cache, and reads it. Shard lock held; drops it.
 */
static int slice_co_fill(struct qcow2 *q, struct shard *shard, struct slice *slice,
			 uint64_t host_off)
	NO_THREAD_SAFETY_ANALYSIS /* the caller's lock, dropped here */
{
	struct slice **bucket = bucket_of(&q->cache, shard, host_off);
	int ret;

	slice->shard = shard;
	slice->host_off = host_off;
	slice->hash_next = *bucket;
	*bucket = slice;
	slice->loading = true;
	atomic_store(&slice->pins, 1);
	thread_unlock(&shard->lock);

	ret = slice_co_load(q, slice, host_off);

	thread_lock(&shard->lock);
	slice->loading = false;
	if (ret) {
		unhash(&q->cache, slice);
		atomic_store(&slice->pins, 0);
	}
	co_queue_wake_all(&shard->waiters);
	thread_unlock(&shard->lock);
	return ret;
}

int qcow2_slice_co_get(struct qcow2 *q, uint64_t l2_off, uint64_t guest_off,
		       struct slice **ret_slice)
{
	uint64_t in_table = qcow2_l2_index(q, guest_off) >> q->slice_bits;

	return qcow2_slice_co_get_at(q, l2_off + in_table * q->cache.slice_bytes, ret_slice);
}

int qcow2_slice_co_get_at(struct qcow2 *q, uint64_t host_off, struct slice **ret_slice)
	NO_THREAD_SAFETY_ANALYSIS /* slice_co_fill() drops the lock */
{
	struct shard *shard = shard_of(&q->cache, host_off);
	struct slice *slice;
	bool dirty;
	int ret;

	thread_lock(&shard->lock);
	for (;;) {
		slice = find(&q->cache, shard, host_off);
		if (slice && !slice->loading) {
			atomic_fetch_add(&slice->pins, 1);
			slice->referenced = true;
			shard->hits++;
			thread_unlock(&shard->lock);
			*ret_slice = slice;
			return 0;
		}
		if (slice) {
			co_queue_wait_thread(&shard->waiters, &shard->lock);
			continue;
		}
		atomic_fetch_add(&shard->nr_waiters, 1);
		slice = find_victim(&q->cache, shard, &dirty);
		if (!slice && !dirty)
			wait_for_shard(shard);
		atomic_fetch_sub(&shard->nr_waiters, 1);
		if (slice) {
			shard->misses++;
			ret = slice_co_fill(q, shard, slice, host_off);
			if (!ret)
				*ret_slice = slice;
			return ret;
		}
		if (dirty) {
			thread_unlock(&shard->lock);
			ret = qcow2_co_flush_all(q);
			if (ret)
				return ret;
			thread_lock(&shard->lock);
		}
	}
}

void qcow2_slice_put(struct slice *slice)
{
	struct shard *shard = slice->shard;

	/* seq_cst, because of nr_waiters: see wait_for_shard(). */
	if (atomic_fetch_sub(&slice->pins, 1) != 1 || atomic_load(&shard->nr_waiters) == 0)
		return;
	thread_lock(&shard->lock);
	co_queue_wake_all(&shard->waiters);
	thread_unlock(&shard->lock);
}

void qcow2_slice_mark_dirty(struct qcow2 *q, struct slice *slice)
{
	if (atomic_load_explicit(&slice->dirty, memory_order_relaxed))
		return;
	atomic_store(&slice->dirty, true);
	slice->dirty_next = q->dirty_slices;
	q->dirty_slices = slice;
}

/* A concurrent load sees an odd or a changed count, since it is stored before the words. */
static void store_extended(struct slice *slice, unsigned index, struct l2_entry entry)
{
	unsigned seq = atomic_load_explicit(&slice->seq, memory_order_relaxed);

	atomic_store_explicit(&slice->seq, seq + 1, memory_order_relaxed);
	atomic_store_explicit(&slice->entries[2 * index], htobe64(entry.desc),
			      memory_order_release);
	atomic_store_explicit(&slice->entries[2 * index + 1], htobe64(entry.bitmap),
			      memory_order_release);
	atomic_store_explicit(&slice->seq, seq + 2, memory_order_release);
}

struct l2_entry qcow2_slice_load_extended(const struct slice *slice, unsigned index)
{
	unsigned before, after;
	uint64_t desc, bitmap;

	do {
		before = atomic_load_explicit(&slice->seq, memory_order_acquire);
		desc = atomic_load_explicit(&slice->entries[2 * index], memory_order_acquire);
		bitmap = atomic_load_explicit(&slice->entries[2 * index + 1], memory_order_acquire);
		/* Not before the words were loaded, since those loads are acquires. */
		after = atomic_load_explicit(&slice->seq, memory_order_relaxed);
	} while (before & 1 || before != after);
	return (struct l2_entry){ be64toh(desc), be64toh(bitmap) };
}

void qcow2_slice_store(struct qcow2 *q, struct slice *slice, unsigned index, struct l2_entry entry)
{
	atomic_fetch_add(&q->changes, 1);
	if (q->extended_l2)
		store_extended(slice, index, entry);
	else
		atomic_store_explicit(&slice->entries[index], htobe64(entry.desc),
				      memory_order_release);
	qcow2_slice_mark_dirty(q, slice);
}

void qcow2_slice_begin_clean(struct slice *slice)
{
	thread_lock(&slice->shard->lock);
	atomic_fetch_add(&slice->pins, 1);
	atomic_store(&slice->dirty, false);
	thread_unlock(&slice->shard->lock);
}
