// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Check: finds out, in one pass over all tables and with one bit per host cluster, whether there is
 * anything to report. Most images are clean; the full check counts references only for the others.
 * The first finding ends this, without a word, and the full check tells what is wrong.
 */
#include "check.h"

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

bool qcow2_check_co_is_clean(struct check *c)
{
	bool clean = !qcow2_check_prove_init(c) && !co_add_blocks(c) && refs_are_alone(c) &&
		     !qcow2_check_co_walk(c) && qcow2_check_is_proven(c);

	if (clean)
		c->result->image_end_off = c->proof.used_end << c->q->cluster_bits;
	else
		proof_undo(c);
	g_free(c->refcount_one);
	c->refcount_one = NULL;
	return clean;
}
