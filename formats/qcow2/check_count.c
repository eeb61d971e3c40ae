// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Check: walks all L1 and L2 tables of the file, of the active disk and of the snapshots, and
 * counts the references that it meets. What it reads is untrusted: it reads a table only if that
 * lies inside the file and is not too large, so every loop is bounded by the file.
 */
#include "check.h"

#include <inttypes.h>

#include "align.h"

/* L1 tables are read in pieces of this many entries. */
#define L1_PIECE 8192u

/* A table in one piece. False: it cannot be followed. */
static bool count_table(struct check *c, const char *name, uint64_t host_off, uint64_t bytes)
{
	struct check_range range = { qcow2_cluster_index(c->q, host_off),
				     qcow2_clusters_for(c->q, bytes) };

	if (c->walk == CHECK_COPIED)
		return true;
	if (qcow2_in_cluster(c->q, host_off)) {
		qcow2_check_corrupt(c, false,
				    " %s offset=%" PRIx64 ": Table is not cluster aligned", name,
				    host_off);
		return false;
	}
	if (!qcow2_check_count_range(c, host_off, bytes))
		return false;
	if (!c->quiet && c->walk != CHECK_PROVE)
		g_array_append_val(c->fixed, range);
	return true;
}

/* ---- L1 and L2 tables ---- */

/* C6: what cannot be read is reported and counted, and the check goes on. */
static int cannot_read(struct check *c, const char *name, uint64_t host_off, int ret)
{
	c->unreadable_table = true;
	if (c->quiet || c->walk == CHECK_COPIED)
		return 0;
	qcow2_check_say(c, "ERROR: %s at 0x%" PRIx64 " cannot be read: %s", name, host_off,
			g_strerror(-ret));
	if (c->walk != CHECK_PROVE)
		c->result->check_errors++;
	return 0;
}

static int co_walk_l2(struct check *c, uint64_t l2_off, bool active)
{
	struct qcow2 *q = c->q;
	int ret = qcow2_check_co_read_table(c, l2_off, &c->l2_table);

	if (ret)
		return cannot_read(c, "L2 table", l2_off, ret);
	/* There is often a table between two tables; that is not called fragmentation. */
	c->next_host_off = 0;
	c->table_changed = false;
	c->table_fixable = -1;
	c->table_off = l2_off;
	ret = qcow2_check_co_l2_entries(c, active);
	if (c->walk == CHECK_PROVE && c->proof.failed)
		return -ECANCELED;
	if (ret || !c->table_changed)
		return ret;
	qcow2_check_forget_ahead(c);
	return image_co_pwrite(q->file, l2_off, q->cluster_size, c->l2_table, 0);
}

/* In CHECK_COPIED: corrects the flag of *entry. */
static int co_check_l1_copied(struct check *c, uint64_t index, uint64_t *entry)
{
	uint64_t refcount;
	bool right;
	int ret = qcow2_check_co_copied(c, *entry, &right, &refcount);

	if (!ret && !right &&
	    qcow2_check_corrupt(c, true,
				" OFLAG_COPIED L2 cluster: l1_index=%" PRIu64 " l1_entry=%" PRIx64
				" refcount=%" PRIu64,
				index, *entry, refcount))
		*entry ^= QCOW2_COPIED;
	return ret;
}

/* Reports a corrupt entry, which can be repaired if its table may be written. */
static bool may_fix_l1(struct check *c)
{
	if (c->l1_fixable < 0)
		c->l1_fixable = qcow2_check_is_alone(c, &c->l1_range);
	return c->l1_fixable;
}

static int co_walk_l1_entry(struct check *c, uint64_t index, bool active, uint64_t *entry)
{
	uint64_t l2_off = *entry & QCOW2_OFFSET_MASK;
	int ret;

	if (*entry & QCOW2_L1_RESERVED && c->walk != CHECK_COPIED && !c->quiet &&
	    qcow2_check_corrupt(c, may_fix_l1(c),
				" found L1 entry with reserved bits set: %" PRIx64, *entry))
		*entry &= ~QCOW2_L1_RESERVED;
	if (!l2_off)
		return 0;
	if (qcow2_in_cluster(c->q, l2_off)) {
		if (c->walk != CHECK_COPIED)
			qcow2_check_corrupt(c, false,
					    " l2_offset=%" PRIx64
					    ": Table is not cluster aligned; L1 entry corrupted",
					    l2_off);
		c->unreadable_table = true;
		return 0;
	}
	if (c->walk == CHECK_COPIED || (c->walk == CHECK_PROVE && active)) {
		ret = co_check_l1_copied(c, index, entry);
		if (ret)
			return ret;
	}
	if (c->walk != CHECK_COPIED && !qcow2_check_count_range(c, l2_off, c->q->cluster_size))
		c->unreadable_table = true;
	if (qcow2_cluster_index(c->q, l2_off) >= c->nr_clusters)
		return 0;
	c->table_guest_off = index << (c->q->cluster_bits + c->q->l2_bits);
	return co_walk_l2(c, l2_off, active);
}

/* The L2 tables of the next few entries. */
static void co_read_ahead(struct check *c, const uint64_t *entries, uint64_t nr)
{
	uint64_t offs[CHECK_READ_AHEAD];
	unsigned found = 0;

	for (uint64_t i = 0; i < MIN(nr, c->ahead.max); i++) {
		uint64_t l2_off = be64toh(entries[i]) & QCOW2_OFFSET_MASK;

		if (l2_off && !qcow2_in_cluster(c->q, l2_off) &&
		    qcow2_cluster_index(c->q, l2_off) < c->nr_clusters)
			offs[found++] = l2_off;
	}
	qcow2_check_co_read_ahead(c, offs, found);
}

static int co_walk_l1_piece(struct check *c, uint64_t l1_off, uint64_t first, uint64_t nr,
			    bool active, uint64_t *piece)
{
	uint64_t bytes = nr * sizeof(uint64_t), off = l1_off + first * sizeof(uint64_t);
	bool changed = false;
	int ret = image_co_pread(c->q->file, off, bytes, piece);

	if (ret)
		return cannot_read(c, "L1 table", off, ret);
	for (uint64_t i = 0; i < nr && !ret; i++) {
		uint64_t entry = be64toh(piece[i]);

		if (i % c->ahead.max == 0)
			co_read_ahead(c, piece + i, nr - i);
		if (!entry)
			continue;
		ret = co_walk_l1_entry(c, first + i, active, &entry);
		changed |= entry != be64toh(piece[i]);
		piece[i] = htobe64(entry);
	}
	if (!ret && changed)
		ret = image_co_pwrite(c->q->file, off, bytes, piece, 0);
	return ret;
}

static void show_progress(struct check *c, uint64_t entries)
{
	c->entries_done = MIN(c->entries_done + entries, c->entries_total);
	if (c->opts->progress)
		c->opts->progress(c->opts->progress_arg, c->entries_done, c->entries_total);
}

static int co_walk_l1(struct check *c, uint64_t l1_off, uint64_t entries, bool active)
{
	uint64_t *piece;
	int ret = 0;

	if (!entries)
		return 0;
	if (entries * sizeof(uint64_t) > QCOW2_MAX_L1_BYTES) {
		qcow2_check_corrupt(c, false, " L1 table of %" PRIu64 " entries is too large",
				    entries);
		c->unreadable_table = true;
		return 0;
	}
	if (!count_table(c, "L1 table", l1_off, entries * sizeof(uint64_t))) {
		c->unreadable_table = true;
		return 0;
	}
	c->l1_fixable = -1;
	c->l1_range = (struct check_range){ qcow2_cluster_index(c->q, l1_off),
					    qcow2_clusters_for(c->q, entries * sizeof(uint64_t)) };
	piece = try_iobuf_alloc(MIN(entries, L1_PIECE) * sizeof(uint64_t));
	if (!piece)
		return -ENOMEM;
	for (uint64_t first = 0; first < entries && !ret; first += L1_PIECE) {
		uint64_t nr = MIN(entries - first, L1_PIECE);

		ret = co_walk_l1_piece(c, l1_off, first, nr, active, piece);
		if (active)
			show_progress(c, nr);
	}
	iobuf_free(piece);
	return ret;
}

/* ---- snapshots ---- */

/* Handles the entry at *off of the snapshot table; moves *off behind it. */
static int co_walk_snapshot(struct check *c, uint64_t *off)
{
	struct qcow2_disk_snapshot entry;
	uint64_t bytes;
	int ret = image_co_pread(c->q->file, *off, sizeof(entry), &entry);

	if (ret)
		return ret;
	bytes = sizeof(entry) + (uint64_t)be32toh(entry.extra_data_size) + be16toh(entry.id_size) +
		be16toh(entry.name_size);
	*off += align_up(bytes, 8);
	return co_walk_l1(c, be64toh(entry.l1_table_offset), be32toh(entry.l1_size), false);
}

static int co_walk_snapshots(struct check *c)
{
	struct qcow2 *q = c->q;
	uint64_t off = q->snapshots_off;
	int ret;

	for (uint32_t i = 0; i < q->nr_snapshots; i++) {
		if (off >= c->nr_clusters << q->cluster_bits) {
			qcow2_check_corrupt(c, false,
					    " snapshot table at 0x%" PRIx64
					    " extends beyond the end of the file",
					    q->snapshots_off);
			c->unreadable_table = true;
			return 0;
		}
		ret = co_walk_snapshot(c, &off);
		if (ret)
			return ret;
	}
	if (q->nr_snapshots)
		count_table(c, "snapshot table", q->snapshots_off, off - q->snapshots_off);
	return 0;
}

/* ---- bitmaps ---- */

static int count_bitmap_range(void *arg, const char *what, uint64_t host_off, uint64_t bytes)
{
	struct check *c = arg;

	if (!count_table(c, what, host_off, bytes))
		c->unreadable_table = true;
	return 0;
}

static int bitmap_problem(void *arg, const char *text)
{
	struct check *c = arg;

	qcow2_check_corrupt(c, false, " %s", text);
	c->unreadable_table = true;
	return 0;
}

static int co_walk_bitmaps(struct check *c)
{
	const struct bitmap_walk walk = { count_bitmap_range, bitmap_problem, c };

	return qcow2_co_walk_bitmaps(c->q, &walk);
}

/* ---- all ---- */

int qcow2_check_co_walk(struct check *c)
	NO_THREAD_SAFETY_ANALYSIS /* the L1 table stays where it is */
{
	struct qcow2 *q = c->q;
	int ret;

	c->next_used = UINT64_MAX;
	if (c->walk == CHECK_COPIED)
		return co_walk_l1(c, q->l1_off, q->l1_size, true);
	count_table(c, "header", 0, q->cluster_size);
	/*
	 * The other structures come first: their places are known before an entry of the disk is
	 * written.
	 */
	ret = co_walk_snapshots(c) ?: co_walk_bitmaps(c) ?: co_walk_l1(c, q->l1_off, q->l1_size, true);
	if (!ret && c->walk != CHECK_COUNT_WITHOUT_REFS)
		qcow2_check_count_refs(c);
	return ret;
}
