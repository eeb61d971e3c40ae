// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Check: finds out, in one pass over all tables and with one bit per host cluster, whether there is
 * anything to report but leaked clusters to which nothing refers. Most images are clean, and most
 * others have only these, since they are what a power cut leaves. The full check counts references
 * only if there is more: the first other finding ends this, without a word, and the full check
 * tells what is wrong.
 */
#include "check.h"

#include <inttypes.h>

static int co_add_blocks(struct check *c)
{
	uint64_t offs[CHECK_READ_AHEAD], firsts[CHECK_READ_AHEAD];
	uint64_t next = qcow2_check_next_covered(c, 0);

	while (next < c->nr_clusters) {
		unsigned nr = 0;

		for (; nr < c->ahead.max && next < c->nr_clusters; nr++) {
			offs[nr] = c->reftable[next >> c->q->refblock_bits];
			firsts[nr] = next;
			next = qcow2_check_next_covered(c, next + (1ull << c->q->refblock_bits));
		}
		qcow2_check_co_read_ahead(c, offs, nr);
		for (unsigned i = 0; i < nr; i++) {
			uint8_t *block;
			int ret = qcow2_check_co_read_table(c, offs[i], &block);

			if (ret)
				return ret;
			qcow2_check_prove_block(c, firsts[i], block);
		}
	}
	return 0;
}

/* Each cluster of the refcount structure belongs to it alone. Before references are counted. */
static bool refs_are_alone(const struct check *c)
{
	uint64_t first = qcow2_cluster_index(c->q, c->reftable_off);
	uint64_t nr = qcow2_clusters_for(c->q, c->reftable_size * sizeof(uint64_t));

	for (uint64_t i = first; i < first + nr; i++)
		if (i >= c->nr_clusters || !qcow2_check_has_one(c, i))
			return false;
	for (uint64_t i = 0; i < c->reftable_size; i++) {
		uint64_t cluster = qcow2_cluster_index(c->q, c->reftable[i]);

		if (c->block_counted[i] &&
		    (cluster >= c->nr_clusters || !qcow2_check_has_one(c, cluster)))
			return false;
	}
	return true;
}

/* Forgets what the proof found. */
static void proof_undo(struct check *c)
{
	c->result->allocated_clusters = 0;
	c->result->compressed_clusters = 0;
	c->result->fragmented_clusters = 0;
	c->unreadable_table = false;
	c->used_end = 0;
	c->entries_done = 0;
}

bool qcow2_check_co_is_nearly_clean(struct check *c)
{
	bool clean = !qcow2_check_prove_init(c) && !co_add_blocks(c) && refs_are_alone(c) &&
		     !qcow2_check_co_walk(c) && qcow2_check_is_proven(c);

	if (clean) {
		c->result->image_end_off = c->proof.used_end << c->q->cluster_bits;
		return true;
	}
	proof_undo(c);
	qcow2_check_prove_clear(c);
	return false;
}

/* ---- leaked clusters ---- */

static int report_leak(struct check *c, uint64_t cluster)
{
	qcow2_check_say(c, "Leaked cluster %" PRIu64 " refcount=1 reference=0", cluster);
	c->leaks++;
	return 0;
}

static int co_free_leak(struct check *c, uint64_t cluster)
{
	return qcow2_check_co_correct(c, cluster, 1, 0);
}

static int co_each_leak(struct check *c, int (*look)(struct check *c, uint64_t cluster))
{
	for (uint64_t i = 0; i < c->nr_clusters; i += 64)
		for (uint64_t left = c->refcount_one[i / 64]; left; left &= left - 1) {
			int ret = look(c, i + __builtin_ctzll(left));

			if (ret)
				return ret;
		}
	return 0;
}

static int co_free_leaks(struct check *c)
{
	/* C4: what is not named any more may still be named on the disk. */
	int ret = image_co_flush(c->q->file)
			  ?: co_each_leak(c, co_free_leak) ?: qcow2_check_co_flush_refs(c);

	if (ret)
		return ret;
	c->result->leaks_fixed += c->leaks;
	c->leaks = 0;
	return 0;
}

int qcow2_check_co_leaks(struct check *c)
{
	int ret;

	c->walk = CHECK_COUNT;
	ret = co_each_leak(c, report_leak);
	if (!ret && c->leaks && c->opts->fix & IMAGE_CHECK_FIX_LEAKS)
		ret = co_free_leaks(c);
	c->result->leaks += c->leaks;
	qcow2_check_prove_clear(c);
	return ret;
}
