// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Check: the entries of an L2 table.
 *
 * It repairs copied flags, and entries that can be written in another way without loss of data. An
 * entry that names data at an impossible place stays as it is, and stays a corruption: nobody knows
 * what it should be.
 */
#include "check.h"

#include <inttypes.h>

/* An entry at its place in c->l2_table. */
struct place {
	uint64_t *disk; /* one word, or two with extended L2 entries */
	struct l2_entry entry;
	uint64_t guest_off;
};

static void store(struct check *c, struct place *p, uint64_t value)
{
	p->entry.desc = value;
	*p->disk = htobe64(value);
	c->table_changed = true;
}

/* Reports a corrupt entry, which can be repaired if its table may be written. */
static bool may_fix(struct check *c)
{
	if (c->table_fixable < 0)
		c->table_fixable =
			!qcow2_check_is_fixed(c, qcow2_cluster_index(c->q, c->table_off));
	return c->table_fixable;
}

static void count_stats(struct check *c, uint64_t host_off, bool compressed)
{
	if (c->quiet)
		return;
	c->result->allocated_clusters++;
	if (compressed) {
		/* Compressed clusters are always fragmented. */
		c->result->compressed_clusters++;
		c->result->fragmented_clusters++;
		return;
	}
	if (c->next_host_off && host_off != c->next_host_off)
		c->result->fragmented_clusters++;
	c->next_host_off = host_off + c->q->cluster_size;
}

/* ---- counting ---- */

static void count_compressed(struct check *c, struct place *p, bool active)
{
	uint64_t host_off;
	uint32_t bytes;

	qcow2_compressed_range(c->q, p->entry.desc, &host_off, &bytes);
	if (p->entry.desc & QCOW2_COPIED &&
	    qcow2_check_corrupt(c, may_fix(c),
				": coffset=0x%" PRIx64
				": copied flag must never be set for compressed clusters",
				host_off))
		store(c, p, p->entry.desc & ~QCOW2_COPIED);
	if (qcow2_has_data_file(c->q)) {
		qcow2_check_corrupt(
			c, false,
			" compressed cluster in an image with an external data file: %" PRIx64,
			p->entry.desc);
		return;
	}
	if (active)
		count_stats(c, host_off, true);
	qcow2_check_count_range(c, host_off, bytes);
}

/* A zero cluster that reserves an impossible place for its data does not need one. */
static bool fix_unaligned(struct check *c, struct place *p, uint64_t host_off)
{
	bool zero = p->entry.desc & QCOW2_ZERO && !c->q->extended_l2;

	if (!qcow2_check_corrupt(c, zero && may_fix(c),
				 " offset=%" PRIx64 ": %s cluster is not properly aligned; "
				 "L2 entry corrupted.",
				 host_off, zero ? "Preallocated" : "Data"))
		return false;
	store(c, p, QCOW2_ZERO);
	return true;
}

static void check_subclusters(struct check *c, const struct place *p)
{
	uint64_t bitmap = p->entry.bitmap;
	bool compressed = p->entry.desc & QCOW2_COMPRESSED;

	if (compressed ? !bitmap
		       : subclusters_valid(bitmap) && (!subclusters_allocated(bitmap) ||
						       qcow2_has_cluster(c->q, p->entry.desc)))
		return;
	qcow2_check_corrupt(c, false,
			    " found l2 entry with invalid subclusters: %" PRIx64 " %" PRIx64,
			    p->entry.desc, bitmap);
}

static void count_standard(struct check *c, struct place *p, bool active)
{
	uint64_t host_off = p->entry.desc & QCOW2_OFFSET_MASK;

	if (p->entry.desc & qcow2_l2_reserved(c->q) &&
	    qcow2_check_corrupt(c, may_fix(c), " found l2 entry with reserved bits set: %" PRIx64,
				p->entry.desc))
		store(c, p, p->entry.desc & ~qcow2_l2_reserved(c->q));
	/* Nobody knows whether it reads as zeroes, as in version 3, or as its data. */
	if (c->q->version < 3 && p->entry.desc & QCOW2_ZERO)
		qcow2_check_corrupt(c, false,
				    " found l2 entry with the zero flag in version 2: %" PRIx64,
				    p->entry.desc);
	if (!qcow2_has_cluster(c->q, p->entry.desc)) {
		/* "The offset may only be 0 with bit 63 set ... when an external data file is
		 * used." */
		if (p->entry.desc & QCOW2_COPIED && !(p->entry.desc & QCOW2_ZERO) &&
		    qcow2_check_corrupt(c, may_fix(c),
					" copied flag without a cluster: l2_entry=%" PRIx64,
					p->entry.desc))
			store(c, p, p->entry.desc & ~QCOW2_COPIED);
		return;
	}
	if (qcow2_in_cluster(c->q, host_off) && fix_unaligned(c, p, host_off))
		return;
	if (active)
		count_stats(c, host_off, false);
	if (!qcow2_has_data_file(c->q))
		qcow2_check_count_range(c, host_off, c->q->cluster_size);
	else if (qcow2_is_misplaced(c->q, p->entry.desc, p->guest_off))
		qcow2_check_corrupt(
			c, false,
			" data cluster of guest offset 0x%" PRIx64
			" is not at that offset of the external data file: l2_entry=%" PRIx64,
			p->guest_off, p->entry.desc);
}

/* ---- copied flags ---- */

int qcow2_check_co_copied(struct check *c, uint64_t entry, bool *ret_right, uint64_t *ret_refcount)
{
	uint64_t cluster = qcow2_cluster_index(c->q, entry & QCOW2_OFFSET_MASK);
	bool one = false;
	int ret;

	*ret_right = true;
	*ret_refcount = 0;
	if (cluster < c->nr_clusters) {
		uint64_t index = cluster - c->window_start;

		if (!qcow2_check_see(c, cluster))
			return 0;
		one = c->refcount_one[index / 64] >> (index % 64) & 1;
	} else if (c->window_start) {
		return 0;
	} else {
		/* Behind the end nothing is counted or repaired; what is stored decides. */
		ret = qcow2_check_co_refcount(c, cluster, ret_refcount);
		if (ret)
			return ret;
		one = *ret_refcount == 1;
	}
	*ret_right = one == !!(entry & QCOW2_COPIED);
	if (*ret_right || cluster >= c->nr_clusters)
		return 0;
	ret = qcow2_check_co_refcount(c, cluster, ret_refcount);
	return ret;
}

/* "Bit 63: 0 for a cluster that is unused, compressed or requires COW, 1 ... exactly one." */
static int co_check_entry_copied(struct check *c, struct place *p)
{
	uint64_t refcount = 1;
	bool right;
	int ret = 0;

	if (p->entry.desc & QCOW2_COMPRESSED)
		return 0;
	if (!qcow2_has_cluster(c->q, p->entry.desc))
		return 0;
	if (qcow2_has_data_file(c->q))
		right = p->entry.desc & QCOW2_COPIED;
	else
		ret = qcow2_check_co_copied(c, p->entry.desc, &right, &refcount);
	if (!ret && !right &&
	    qcow2_check_corrupt(c, may_fix(c),
				" OFLAG_COPIED data cluster: l2_entry=%" PRIx64
				" refcount=%" PRIu64,
				p->entry.desc, refcount))
		store(c, p, p->entry.desc ^ QCOW2_COPIED);
	return ret;
}

/* ---- all ---- */

static int co_look_at(struct check *c, struct place *p, bool active)
{
	if (c->walk == CHECK_COPIED)
		return co_check_entry_copied(c, p);
	if (c->walk == CHECK_PROVE && active) {
		int ret = co_check_entry_copied(c, p);

		if (ret)
			return ret;
	}
	if (c->q->extended_l2)
		check_subclusters(c, p);
	if (p->entry.desc & QCOW2_COMPRESSED)
		count_compressed(c, p, active);
	else
		count_standard(c, p, active);
	return 0;
}

/* CHECK_PROVE of the active disk: most entries need no more than this. */
static bool count_plain(struct check *c, const struct l2_entry *entry)
{
	if (c->q->extended_l2 || qcow2_has_data_file(c->q) ||
	    !qcow2_check_prove_plain(c, entry->desc))
		return false;
	count_stats(c, entry->desc & QCOW2_OFFSET_MASK, false);
	return true;
}

int qcow2_check_co_l2_entries(struct check *c, bool active)
{
	const uint64_t *table = (const uint64_t *)c->l2_table;
	unsigned words = c->q->extended_l2 ? 2 : 1;
	int ret = 0;

	for (uint64_t i = 0; i < 1ull << c->q->l2_bits && !ret; i++) {
		struct place p = { (uint64_t *)c->l2_table + i * words,
				   qcow2_l2_table_entry(c->q, table, i),
				   c->table_guest_off + (i << c->q->cluster_bits) };

		if (!p.entry.desc && !p.entry.bitmap)
			continue;
		if (c->walk == CHECK_PROVE && active && count_plain(c, &p.entry))
			continue;
		ret = co_look_at(c, &p, active);
	}
	return ret;
}
