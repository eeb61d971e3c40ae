// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Summaries: L2 slices in one word each, for images that have more L2 tables than the cache has
 * room for.
 *
 * Where a file was written in order, the entries of a slice name neighbours: each says what the one
 * before says, one cluster further. Then the first entry tells all of them. This word is kept when
 * the slice is evicted, so whoever looks for a mapping need not load the slice again.
 *
 * Readers take no lock. A summary is never older than the entries of a cached slice could be:
 *
 *   S1  It belongs to a place in the file, as a slice does, not to a place on the disk. So L1
 *       entries may change and L2 tables may be copied; the slices of the old table and the new one
 *       have different summaries.
 *   S2  It is set by whoever loads the slice, before anybody else can use the slice.
 *   S3  It is cleared before an entry of the slice is stored. That takes a pinned slice, so it
 * comes after S2; and the slice is loaded again only when it is clean and was evicted, so what is
 *       then summarized is what was stored.
 *   S4  When slices are forgotten because their tables are gone, so are their summaries.
 *
 * A reader that sees a new entry sees the summary cleared, because the entry is stored with release
 * ordering (docs/litmus/slice-summary.litmus). One that still saw the summary is where it would be
 * if it had loaded the old entry: its epoch keeps the clusters from being used again (C5).
 *
 * From S3 follows that while a slice has a summary, its entries are in the file as they are in
 * memory.
 */
#include "qcow2.h"

#include "annotations.h"
#include "rules.h"

/* Summaries get at most this part of the cache's memory. */
#define PART_OF_CACHE 8
#define CHUNK_BYTES   (64u << 10)
/* Longer hash chains are neither walked nor made: only a hostile image has them. */
#define MAX_STEPS     8

/* The summaries of an L2 table. They stay where they are until all are forgotten. */
struct summary_table {
	/* Constant once it is hashed. */
	uint64_t l2_off;
	struct summary_table *hash_next;
	/* One for each slice. 0: unknown; else the first entry, in host order. */
	_Atomic uint64_t words[];
};

/* Memory for several tables. */
struct summary_chunk {
	struct summary_chunk *next;
	_Alignas(struct summary_table) char tables[];
};

static unsigned words_per_table(const struct qcow2 *q)
{
	return q->cluster_size / q->cache.slice_bytes;
}

static size_t table_bytes(const struct qcow2 *q)
{
	return sizeof(struct summary_table) + words_per_table(q) * sizeof(uint64_t);
}

/* With at most two buckets. */
static size_t cost_of_table(const struct qcow2 *q)
{
	return table_bytes(q) + 2 * sizeof(struct summary_table *);
}

uint64_t qcow2_summaries_init(struct qcow2 *q, uint64_t cache_bytes)
{
	struct summaries *sums = &q->cache.summaries;
	uint64_t all_tables = (uint64_t)q->l1_size << q->cluster_bits;
	uint64_t most = cache_bytes / PART_OF_CACHE / cost_of_table(q);

	thread_lock_init(&sums->lock);
	/* Only entries of one word that name a cluster of this file are summarized. */
	if (q->extended_l2 || qcow2_has_data_file(q) || all_tables <= cache_bytes)
		return 0;
	sums->max_tables = MIN(most, q->l1_size);
	while (1u << sums->hash_bits < sums->max_tables)
		sums->hash_bits++;
	return sums->max_tables * cost_of_table(q);
}

void qcow2_summaries_forget(struct qcow2 *q)
{
	struct summaries *sums = &q->cache.summaries;

	thread_lock(&sums->lock);
	while (sums->chunks) {
		struct summary_chunk *chunk = sums->chunks;

		sums->chunks = chunk->next;
		g_free(chunk);
	}
	sums->nr_tables = 0;
	g_free(atomic_exchange(&sums->hash, NULL));
	thread_unlock(&sums->lock);
}

void qcow2_summaries_destroy(struct qcow2 *q)
{
	qcow2_summaries_forget(q);
	thread_lock_destroy(&q->cache.summaries.lock);
}

/* ---- tables ---- */

static struct summary_table *_Atomic *bucket_of(const struct qcow2 *q,
						struct summary_table *_Atomic *hash,
						uint64_t l2_off)
{
	uint64_t mixed = qcow2_cluster_index(q, l2_off) * 0x9e3779b97f4a7c15;

	/* Twice, since a shift by 64 is undefined. */
	return &hash[mixed >> 1 >> (63 - q->cache.summaries.hash_bits)];
}

static struct summary_table *find_table(const struct qcow2 *q, uint64_t l2_off, unsigned *ret_steps)
{
	struct summary_table *_Atomic *hash =
		atomic_load_explicit(&q->cache.summaries.hash, memory_order_acquire);
	struct summary_table *table;

	*ret_steps = 0;
	if (!hash)
		return NULL;
	table = atomic_load_explicit(bucket_of(q, hash, l2_off), memory_order_acquire);
	while (table && table->l2_off != l2_off && ++*ret_steps < MAX_STEPS)
		table = table->hash_next;
	return *ret_steps < MAX_STEPS ? table : NULL;
}

static bool make_hash(struct summaries *sums) REQUIRES(sums->lock)
{
	struct summary_table *_Atomic *hash = atomic_load(&sums->hash);

	if (hash)
		return true;
	hash = g_try_new0(struct summary_table * _Atomic, 1u << sums->hash_bits);
	atomic_store_explicit(&sums->hash, hash, memory_order_release);
	return hash;
}

/* Memory for one more table, zeroed, or NULL. */
static struct summary_table *give_table(struct summaries *sums, size_t bytes) REQUIRES(sums->lock)
{
	unsigned per_chunk = MIN(MAX(CHUNK_BYTES / bytes, 1), sums->max_tables);
	unsigned in_chunk = sums->nr_tables % per_chunk;

	if (sums->nr_tables >= sums->max_tables)
		return NULL;
	if (!in_chunk) {
		struct summary_chunk *chunk = g_try_malloc0(sizeof(*chunk) + per_chunk * bytes);

		if (!chunk)
			return NULL;
		chunk->next = sums->chunks;
		sums->chunks = chunk;
	}
	sums->nr_tables++;
	return (struct summary_table *)(sums->chunks->tables + in_chunk * bytes);
}

/* Loaders of other slices of the table may want it, too: there is one of each. */
static struct summary_table *make_table(struct qcow2 *q, uint64_t l2_off)
{
	struct summaries *sums = &q->cache.summaries;
	struct summary_table *table;
	unsigned steps;

	thread_lock(&sums->lock);
	table = find_table(q, l2_off, &steps);
	if (!table && steps < MAX_STEPS && make_hash(sums))
		table = give_table(sums, table_bytes(q));
	if (table && !table->l2_off) {
		struct summary_table *_Atomic *bucket =
			bucket_of(q, atomic_load(&sums->hash), l2_off);

		table->l2_off = l2_off;
		table->hash_next = atomic_load(bucket);
		atomic_store_explicit(bucket, table, memory_order_release);
	}
	thread_unlock(&sums->lock);
	return table;
}

static _Atomic uint64_t *word_of(const struct qcow2 *q, struct summary_table *table,
				 uint64_t slice_off)
{
	return &table->words[qcow2_in_cluster(q, slice_off) / q->cache.slice_bytes];
}

/* ---- summaries ---- */

/* What sums up these big-endian entries; 0: nothing does. */
static uint64_t summarize(const struct qcow2 *q, const _Atomic uint64_t *entries)
{
	uint64_t allowed = (QCOW2_OFFSET_MASK & ~((uint64_t)q->cluster_size - 1)) | QCOW2_COPIED;
	uint64_t first = be64toh(atomic_load_explicit(entries, memory_order_relaxed));
	unsigned nr = 1u << q->slice_bits;

	/* Cheap if it fails: most slices that are not a run end elsewhere. */
	if (!(first & QCOW2_OFFSET_MASK) || first & ~allowed ||
	    (first + ((uint64_t)(nr - 1) << q->cluster_bits)) & ~allowed)
		return 0;
	for (unsigned i = nr - 1; i; i--)
		if (atomic_load_explicit(&entries[i], memory_order_relaxed) !=
		    htobe64(first + ((uint64_t)i << q->cluster_bits)))
			return 0;
	return first;
}

_Atomic uint64_t *qcow2_summary_prepare(struct qcow2 *q, uint64_t slice_off,
					const _Atomic uint64_t *entries, uint64_t *ret_summary)
{
	uint64_t l2_off = qcow2_cluster_start(q, slice_off);
	struct summary_table *table;
	unsigned steps;

	*ret_summary = 0;
	if (!q->cache.summaries.max_tables)
		return NULL;
	*ret_summary = summarize(q, entries);
	table = find_table(q, l2_off, &steps);
	if (!table && *ret_summary)
		table = make_table(q, l2_off);
	return table ? word_of(q, table, slice_off) : NULL;
}

uint64_t qcow2_summary_find(const struct qcow2 *q, uint64_t slice_off)
{
	unsigned steps;
	struct summary_table *table = find_table(q, qcow2_cluster_start(q, slice_off), &steps);

	return table ? atomic_load_explicit(word_of(q, table, slice_off), memory_order_acquire) : 0;
}

void qcow2_summaries_forget_table(struct qcow2 *q, uint64_t l2_off)
{
	unsigned steps;
	struct summary_table *table = find_table(q, l2_off, &steps);

	for (unsigned i = 0; table && i < words_per_table(q); i++)
		atomic_store_explicit(&table->words[i], 0, memory_order_relaxed);
}
