// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * L2 slices in memory; also slices of an L1 table that is not in memory as a whole.
 *
 * A shard's lock is held for a pin or an eviction, never across I/O. A miss takes a slot, marks
 * it `loading` and reads; other requests for the same slice wait for that one load. A slot with a
 * pin or a dirty mark is not evicted; if a shard has no other, the image is written back first: a
 * circle with flush.c.
 *
 * Readers find what is in memory without a lock, and without writing to a cache line that others
 * read. Each slot has a generation, odd while its contents are those of `host_off`:
 *
 *   evict, under the lock               peek, without one
 *     gen = even                          g = gen (acquire), which must be odd
 *     full barrier                        host_off (acquire) must be what is looked for
 *     store host_off, other entries       load entries (acquire)
 *     gen = next odd (release)            gen must still be g
 *
 * So a reader whose entries may have been overwritten finds another generation, and pins the slice
 * instead. A hash chain that changes meanwhile may lead astray, even into another chain: the walk
 * is short, and only a generation proves anything. Slots and their memory stay until the image is
 * closed.
 *
 * What a slice says may outlive it in one word; summary.c has the rules.
 */
#include "qcow2.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "annotations.h"
#include "pages.h"
#include "probes.h"
#include "rules.h"

/* A huge page. */
#define BLOCK_BYTES (2u << 20)

static uint64_t slice_index(const struct l2_cache *cache, uint64_t host_off)
{
	return host_off >> __builtin_ctz(cache->slice_bytes);
}

static struct shard *shard_of(struct l2_cache *cache, uint64_t host_off)
{
	return &cache->shards[slice_index(cache, host_off) & (cache->nr_shards - 1)];
}

static struct slice *_Atomic *bucket_of(const struct l2_cache *cache, struct shard *shard,
					uint64_t host_off)
{
	uint64_t in_shard = slice_index(cache, host_off) >> __builtin_ctz(cache->nr_shards);

	return &shard->hash[in_shard & shard->hash_mask];
}

/* What a shard has of cache->slots: its slots, then its buckets. */
static size_t shard_bytes(unsigned nr_slots, unsigned nr_buckets)
{
	return align_up(nr_slots * sizeof(struct slice) + nr_buckets * sizeof(struct slice *),
			_Alignof(struct slice));
}

static void shard_init(struct shard *shard, void *memory, unsigned nr_slots, unsigned nr_buckets)
{
	thread_lock_init(&shard->lock);
	co_queue_init(&shard->waiters);
	shard->slices = memory;
	shard->nr_slices = nr_slots;
	shard->hash = (struct slice * _Atomic *)(shard->slices + nr_slots);
	shard->hash_mask = nr_buckets - 1;
}

/*
 * In one piece, which is of pages that the kernel has just mapped if it is large: zeroes that take
 * no memory until they are used.
 */
static int shards_init(struct l2_cache *cache, unsigned per_shard)
{
	unsigned nr_buckets = 2;
	size_t bytes;
	char *memory;

	while (nr_buckets < per_shard)
		nr_buckets *= 2;
	bytes = shard_bytes(per_shard, nr_buckets);
	cache->slots = g_try_malloc0(cache->nr_shards * bytes + _Alignof(struct slice));
	if (!cache->slots)
		return -ENOMEM;
	memory = (char *)align_up((uintptr_t)cache->slots, _Alignof(struct slice));
	for (unsigned i = 0; i < cache->nr_shards; i++)
		shard_init(&cache->shards[i], memory + i * bytes, per_shard, nr_buckets);
	return 0;
}

/* How many slices share a block of memory. */
static unsigned slices_per_block(const struct l2_cache *cache)
{
	return MAX(BLOCK_BYTES / cache->slice_bytes, 1);
}

static unsigned nr_blocks(const struct l2_cache *cache)
{
	return (cache->nr_slices - 1) / slices_per_block(cache) + 1;
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
	uint64_t wanted;
	unsigned per_shard;
	int ret;

	cache->summary_bytes = qcow2_summaries_init(q, bytes);
	wanted = (bytes - cache->summary_bytes) / cache->slice_bytes;
	wanted = MIN(MAX(wanted, 2), 1u << 24);
	cache->nr_shards = 1;
	while (cache->nr_shards < QCOW2_MAX_SHARDS && 16 * cache->nr_shards <= wanted)
		cache->nr_shards *= 2;
	per_shard = wanted / cache->nr_shards;
	cache->nr_slices = per_shard * cache->nr_shards;
	ret = qcow2_take_memory(q, cache->nr_slices * bytes_per_slice(q) + cache->summary_bytes,
				"the metadata cache", err);
	if (ret)
		return ret;
	thread_lock_init(&cache->blocks_lock);
	thread_lock(&cache->blocks_lock);
	cache->blocks = g_try_new0(void *, nr_blocks(cache));
	ret = cache->blocks ? 0 : -ENOMEM;
	thread_unlock(&cache->blocks_lock);
	ret = ret ?: shards_init(cache, per_shard);
	return ret ? no_memory(q, bytes, err) : 0;
}

static void free_blocks(struct l2_cache *cache)
{
	thread_lock(&cache->blocks_lock);
	for (unsigned i = 0; cache->blocks && i < nr_blocks(cache); i++)
		iobuf_free(cache->blocks[i]);
	g_free(cache->blocks);
	thread_unlock(&cache->blocks_lock);
	thread_lock_destroy(&cache->blocks_lock);
}

void qcow2_l2_cache_destroy(struct qcow2 *q)
{
	for (unsigned i = 0; i < q->cache.nr_shards; i++) {
		struct shard *shard = &q->cache.shards[i];

		co_queue_destroy(&shard->waiters);
		thread_lock_destroy(&shard->lock);
	}
	g_free(q->cache.slots);
	free_blocks(&q->cache);
	qcow2_summaries_destroy(q);
}

void qcow2_l2_cache_add_stats(struct qcow2 *q, struct image_stats *stats)
{
	stats->cache_bytes +=
		(uint64_t)q->cache.nr_slices * q->cache.slice_bytes + q->cache.summary_bytes;
	for (unsigned i = 0; i < q->cache.nr_shards; i++) {
		struct shard *shard = &q->cache.shards[i];

		thread_lock(&shard->lock);
		stats->cache_hits += shard->hits;
		stats->cache_misses += shard->misses;
		thread_unlock(&shard->lock);
	}
	for (unsigned i = 0; i < AIO_MAX_LOOPS; i++)
		stats->cache_hits +=
			atomic_load_explicit(&q->epoch_slots[i].cache_hits, memory_order_relaxed);
}

static struct slice *load_link(struct slice *_Atomic *link)
{
	return atomic_load_explicit(link, memory_order_acquire);
}

static uint64_t host_off_of(const struct slice *slice)
{
	return atomic_load_explicit(&slice->host_off, memory_order_acquire);
}

static struct slice *find(struct l2_cache *cache, struct shard *shard, uint64_t host_off)
{
	struct slice *slice = load_link(bucket_of(cache, shard, host_off));

	while (slice && host_off_of(slice) != host_off)
		slice = load_link(&slice->hash_next);
	return slice;
}

/* The slot's contents are no longer valid, before anything else is loaded there. */
static void invalidate(struct slice *slice)
{
	if (!(atomic_load_explicit(&slice->gen, memory_order_relaxed) & 1))
		return;
	atomic_fetch_add(&slice->gen, 1);
	atomic_thread_fence(memory_order_seq_cst);
}

static void unhash(struct l2_cache *cache, struct slice *slice)
{
	struct slice *_Atomic *link = bucket_of(cache, slice->shard, host_off_of(slice));

	invalidate(slice);
	while (load_link(link) != slice)
		link = &load_link(link)->hash_next;
	atomic_store_explicit(link, load_link(&slice->hash_next), memory_order_release);
	atomic_store_explicit(&slice->host_off, 0, memory_order_relaxed);
}

/* A chain longer than this is not walked without the lock; nor one that changed underneath. */
#define MAX_PEEK_STEPS 8

void qcow2_l2_cache_count_hit(struct qcow2 *q)
{
	_Atomic uint64_t *hits = &q->epoch_slots[aio_loop_id(aio_loop_current())].cache_hits;

	/* Only this thread stores to it. */
	atomic_store_explicit(hits, atomic_load_explicit(hits, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

bool qcow2_slice_try_peek(struct qcow2 *q, uint64_t host_off, struct slice_peek *ret_peek)
{
	struct slice *slice =
		load_link(bucket_of(&q->cache, shard_of(&q->cache, host_off), host_off));

	for (unsigned i = 0; slice && i < MAX_PEEK_STEPS; i++) {
		uint64_t gen = atomic_load_explicit(&slice->gen, memory_order_acquire);

		if (host_off_of(slice) != host_off) {
			slice = load_link(&slice->hash_next);
			continue;
		}
		if (!(gen & 1))
			return false;
		if (!atomic_load_explicit(&slice->referenced, memory_order_relaxed))
			atomic_store_explicit(&slice->referenced, true, memory_order_relaxed);
		qcow2_l2_cache_count_hit(q);
		*ret_peek = (struct slice_peek){ slice, gen };
		return true;
	}
	return false;
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
		if (atomic_load_explicit(&slice->referenced, memory_order_relaxed)) {
			atomic_store_explicit(&slice->referenced, false, memory_order_relaxed);
			continue;
		}
		if (host_off_of(slice))
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
			if (host_off_of(slice))
				unhash(&q->cache, slice);
		}
		thread_unlock(&shard->lock);
	}
	if (!RULE_BROKEN(RULE_SUMMARY_FORGOTTEN))
		qcow2_summaries_forget(q);
}

/*
 * Whether the slot is free, now at the latest. The same order as in find_victim(): no pin, and then
 * no dirty mark.
 */
static bool try_evict(struct l2_cache *cache, struct slice *slice)
{
	if (atomic_load(&slice->pins) || atomic_load(&slice->dirty))
		return false;
	if (host_off_of(slice))
		unhash(cache, slice);
	return true;
}

/* A system call for each slice: requests of others get the lock in between. */
static void shard_give_back(struct l2_cache *cache, struct shard *shard)
{
	for (unsigned i = 0; i < shard->nr_slices; i++) {
		struct slice *slice = &shard->slices[i];

		thread_lock(&shard->lock);
		/* Before the lock is dropped, since the slot may be filled again at once. */
		if (try_evict(cache, slice) && slice->entries)
			pages_give_back((void *)slice->entries, cache->slice_bytes);
		thread_unlock(&shard->lock);
	}
}

void qcow2_l2_cache_give_back(struct image *img)
{
	struct qcow2 *q = img->opaque;

	for (unsigned i = 0; i < q->cache.nr_shards; i++)
		shard_give_back(&q->cache, &q->cache.shards[i]);
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
	qcow2_summaries_forget_table(q, l2_off);
}

/*
 * Reads straight into the slot, where others may still be loading entries; they find another
 * generation afterwards. ThreadSanitizer cannot know that, and gets atomic stores to see.
 */
static int entries_co_read(struct qcow2 *q, uint64_t host_off, _Atomic uint64_t *entries)
{
#ifdef UBD_TSAN
	size_t nr_words = q->cache.slice_bytes / sizeof(uint64_t);
	g_autofree uint64_t *words = g_new(uint64_t, nr_words);
	int ret = image_co_pread(q->file, host_off, q->cache.slice_bytes, words);

	for (size_t i = 0; i < nr_words && !ret; i++)
		atomic_store_explicit(&entries[i], words[i], memory_order_relaxed);
	return ret;
#else
	return image_co_pread(q->file, host_off, q->cache.slice_bytes, (void *)entries);
#endif
}

/*
 * The first block takes memory as it is used, since many caches never need more, such as those of
 * the lower images of a long chain.
 */
static void *new_block(const struct l2_cache *cache, unsigned nr_slices)
	REQUIRES(cache->blocks_lock)
{
	size_t bytes = nr_slices * (size_t)cache->slice_bytes;

	return cache->nr_given ? try_iobuf_alloc_huge(bytes) : try_iobuf_alloc(bytes);
}

/* Memory for the entries of a slot that has none yet; NULL if there is none. */
static _Atomic uint64_t *give_entries(struct l2_cache *cache)
{
	unsigned per_block = slices_per_block(cache);
	char *entries = NULL;
	void **block;

	thread_lock(&cache->blocks_lock);
	block = &cache->blocks[cache->nr_given / per_block];
	if (!*block)
		*block = new_block(cache, MIN(per_block, cache->nr_slices - cache->nr_given));
	if (*block)
		entries =
			(char *)*block + cache->nr_given++ % per_block * (size_t)cache->slice_bytes;
	thread_unlock(&cache->blocks_lock);
	return (_Atomic uint64_t *)entries;
}

static void set_summary(struct slice *slice, uint64_t summary)
{
	if (slice->summary)
		atomic_store_explicit(slice->summary, summary, memory_order_release);
}

static void clear_summary(struct slice *slice)
{
	/* Seldom set: most stores do not write to a line that readers of other slices load. */
	if (slice->summary && atomic_load_explicit(slice->summary, memory_order_relaxed))
		atomic_store_explicit(slice->summary, 0, memory_order_relaxed);
}

static int slice_co_load(struct qcow2 *q, struct slice *slice, uint64_t host_off,
			 uint64_t *ret_summary)
{
	int ret;

	if (!slice->entries)
		slice->entries = give_entries(&q->cache);
	if (!slice->entries)
		return -ENOMEM;
	image_co_event(q->file, IMAGE_EVENT_L2_LOAD);
	ret = entries_co_read(q, host_off, slice->entries);
	if (ret)
		return ret;
	slice->summary = qcow2_summary_prepare(q, host_off, slice->entries, ret_summary);
	if (!RULE_BROKEN(RULE_SUMMARY_FIRST))
		set_summary(slice, *ret_summary);
	return 0;
}

/* The mutant of summaries that are set when others use the slice. */
static void co_set_summary_late(struct slice *slice, uint64_t summary)
{
	for (unsigned i = 0; i < 100; i++)
		co_reschedule();
	set_summary(slice, summary);
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
	struct slice *_Atomic *bucket = bucket_of(&q->cache, shard, host_off);
	uint64_t summary = 0;
	int ret;

	slice->shard = shard;
	atomic_store_explicit(&slice->host_off, host_off, memory_order_relaxed);
	atomic_store_explicit(&slice->changed, 0, memory_order_relaxed);
	atomic_store_explicit(&slice->hash_next, load_link(bucket), memory_order_relaxed);
	atomic_store_explicit(bucket, slice, memory_order_release);
	slice->loading = true;
	atomic_store(&slice->pins, 1);
	thread_unlock(&shard->lock);

	ret = slice_co_load(q, slice, host_off, &summary);

	thread_lock(&shard->lock);
	slice->loading = false;
	if (ret) {
		unhash(&q->cache, slice);
		atomic_store(&slice->pins, 0);
	} else {
		atomic_fetch_add_explicit(&slice->gen, 1, memory_order_release);
	}
	co_queue_wake_all(&shard->waiters);
	thread_unlock(&shard->lock);
	if (!ret && RULE_BROKEN(RULE_SUMMARY_FIRST))
		co_set_summary_late(slice, summary);
	return ret;
}

uint64_t qcow2_slice_off(const struct qcow2 *q, uint64_t l2_off, uint64_t guest_off)
{
	uint64_t in_table = qcow2_l2_index(q, guest_off) >> q->slice_bits;

	return l2_off + in_table * q->cache.slice_bytes;
}

int qcow2_slice_co_get(struct qcow2 *q, uint64_t l2_off, uint64_t guest_off,
		       struct slice **ret_slice)
{
	return qcow2_slice_co_get_at(q, qcow2_slice_off(q, l2_off, guest_off), ret_slice);
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
			atomic_store_explicit(&slice->referenced, true, memory_order_relaxed);
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
			UBD_PROBE(cache_miss, q->img, host_off);
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
	q->keep_order = true;
	qcow2_slice_store_ready(q, slice, index, entry);
}

void qcow2_slice_store_ready(struct qcow2 *q, struct slice *slice, unsigned index,
			     struct l2_entry entry)
{
	if (!RULE_BROKEN(RULE_SUMMARY_CLEARED))
		clear_summary(slice);
	/* First, so that a reader that sees the entry sees that it is newer than the file. */
	atomic_store_explicit(&slice->changed, atomic_fetch_add(&q->changes, 1) + 1,
			      memory_order_relaxed);
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
