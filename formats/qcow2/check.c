// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Check: counts the references to every host cluster from all tables and
 * compares them with the refcounts.
 *
 * A refcount that is too low, or a table that cannot be, is a corruption; one that
 * is too high is a leak. Nothing is changed. References are counted in 16
 * bits per host cluster of the file, saturating.
 */
#include "qcow2.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

struct check {
	struct qcow2 *q;
	void (*report)(void *arg, const char *line);
	void *report_arg;
	struct image_check_result *result;
	uint16_t *counted;	/* references found, by host cluster */
	uint64_t nr_clusters;	/* host clusters in the file */
	uint64_t *reftable;	/* host order */
	uint8_t *refblock;	/* the one loaded last */
	uint64_t refblock_off;	/* 0: none */
	uint64_t next_host_off; /* where the data would go on unfragmented */
};

static void say(struct check *c, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void say(struct check *c, const char *format, ...)
{
	g_autofree char *line = NULL;
	va_list args;

	if (!c->report)
		return;
	va_start(args, format);
	line = g_strdup_vprintf(format, args);
	va_end(args);
	c->report(c->report_arg, line);
}

static void say_corrupt(struct check *c, const char *what, uint64_t off)
{
	say(c, "ERROR %s at offset 0x%" PRIx64, what, off);
	c->result->corruptions++;
}

/* ---- counting ---- */

/* One reference on every host cluster of a range. False: it lies outside the file. */
static bool count_range(struct check *c, uint64_t host_off, uint64_t bytes)
{
	uint64_t first = qcow2_cluster_index(c->q, host_off);
	uint64_t last = qcow2_cluster_index(c->q, host_off + bytes - 1);

	if (!bytes)
		return true;
	if (host_off + bytes < host_off || last >= c->nr_clusters)
		return false;
	for (uint64_t i = first; i <= last; i++)
		if (c->counted[i] < UINT16_MAX)
			c->counted[i]++;
	return true;
}

static void count_table(struct check *c, const char *name, uint64_t host_off, uint64_t bytes)
{
	if (qcow2_in_cluster(c->q, host_off))
		say_corrupt(c, "unaligned table", host_off);
	else if (!count_range(c, host_off, bytes)) {
		say(c, "ERROR %s at offset 0x%" PRIx64 " lies outside the file", name, host_off);
		c->result->corruptions++;
	}
}

static void count_data(struct check *c, uint64_t host_off, uint64_t bytes, uint64_t guest_off)
{
	if (count_range(c, host_off, bytes))
		return;
	say(c, "ERROR data of guest offset 0x%" PRIx64 " at 0x%" PRIx64 " lies outside the file",
	    guest_off, host_off);
	c->result->corruptions++;
}

static int co_refcount(struct check *c, uint64_t cluster, uint64_t *ret_refcount)
{
	struct qcow2 *q = c->q;
	uint64_t index = cluster >> q->refblock_bits;
	uint64_t off = index < q->reftable_size ? c->reftable[index] : 0;
	int ret;

	*ret_refcount = 0;
	if (!off)
		return 0;
	if (off != c->refblock_off) {
		c->refblock_off = 0;
		ret = image_co_pread(q->file, off, q->cluster_size, c->refblock);
		if (ret)
			return ret;
		c->refblock_off = off;
	}
	*ret_refcount = qcow2_refcount_load(q->refcount_order, c->refblock,
					    cluster & ((1ull << q->refblock_bits) - 1));
	return 0;
}

/* ---- L1 and L2 tables ---- */

/* Bit 63 says "refcount is exactly one"; "only accurate in the active L1 table". */
static int co_check_copied(struct check *c, const char *name, uint64_t entry, uint64_t host_off)
{
	uint64_t refcount;
	int ret = co_refcount(c, qcow2_cluster_index(c->q, host_off), &refcount);

	if (ret)
		return ret;
	if ((refcount == 1) != !!(entry & QCOW2_COPIED)) {
		say(c, "ERROR OFLAG_COPIED %s cluster: entry=%" PRIx64 " refcount=%" PRIu64, name,
		    entry, refcount);
		c->result->corruptions++;
	}
	return 0;
}

static void count_stats(struct check *c, uint64_t desc, uint64_t host_off)
{
	bool compressed = desc & QCOW2_COMPRESSED;

	if (!compressed && !qcow2_has_cluster(c->q, desc))
		return;
	c->result->allocated_clusters++;
	if (compressed) {
		/* Compressed clusters are fragmented by nature. */
		c->result->compressed_clusters++;
		c->result->fragmented_clusters++;
		return;
	}
	if (c->next_host_off && host_off != c->next_host_off)
		c->result->fragmented_clusters++;
	c->next_host_off = host_off + c->q->cluster_size;
}

static void say_bad_l2_entry(struct check *c, struct l2_entry entry, uint64_t guest_off)
{
	if (c->q->extended_l2)
		say(c,
		    "ERROR L2 entry 0x%" PRIx64 " with subclusters 0x%" PRIx64
		    " of guest offset 0x%" PRIx64 " cannot be",
		    entry.desc, entry.bitmap, guest_off);
	else
		say(c, "ERROR L2 entry 0x%" PRIx64 " of guest offset 0x%" PRIx64 " cannot be",
		    entry.desc, guest_off);
	c->result->corruptions++;
}

static void check_compressed(struct check *c, uint64_t desc, uint64_t guest_off)
{
	uint64_t host_off;
	uint32_t bytes;

	if (desc & QCOW2_COPIED) {
		say(c,
		    "ERROR compressed cluster of guest offset 0x%" PRIx64
		    " has the copied flag set",
		    guest_off);
		c->result->corruptions++;
	}
	qcow2_compressed_range(c->q, desc, &host_off, &bytes);
	count_data(c, host_off, bytes, guest_off);
}

static int co_check_l2_entry(struct check *c, struct l2_entry entry, uint64_t guest_off,
			     bool active)
{
	struct qcow2 *q = c->q;
	uint64_t host_off = entry.desc & QCOW2_OFFSET_MASK;

	if (qcow2_check_entry(q, entry)) {
		say_bad_l2_entry(c, entry, guest_off);
		return 0;
	}
	if (active)
		count_stats(c, entry.desc, host_off);
	if (entry.desc & QCOW2_COMPRESSED) {
		check_compressed(c, entry.desc, guest_off);
		return 0;
	}
	if (!qcow2_has_cluster(q, entry.desc))
		return 0;
	count_data(c, host_off, q->cluster_size, guest_off);
	return active ? co_check_copied(c, "data", entry.desc, host_off) : 0;
}

static int co_check_l2(struct check *c, uint64_t l2_off, uint64_t guest_off, bool active)
{
	struct qcow2 *q = c->q;
	uint64_t *table = try_iobuf_alloc(q->cluster_size);
	int ret;

	if (!table)
		return -ENOMEM;
	/* Fragments are counted within a table, as qemu-img does: tables lie in between. */
	c->next_host_off = 0;
	ret = image_co_pread(q->file, l2_off, q->cluster_size, table);
	/* Between two tables there is often a table, which is not called fragmentation. */
	c->next_host_off = 0;
	for (uint64_t i = 0; i < 1ull << q->l2_bits && !ret; i++)
		ret = co_check_l2_entry(c, qcow2_l2_table_entry(q, table, i),
					guest_off + (i << q->cluster_bits), active);
	iobuf_free(table);
	return ret;
}

static int co_check_l1_entry(struct check *c, uint64_t entry, uint64_t guest_off, bool active)
{
	uint64_t l2_off = entry & QCOW2_OFFSET_MASK;
	int ret;

	if (entry & QCOW2_L1_RESERVED || qcow2_in_cluster(c->q, l2_off)) {
		say(c, "ERROR L1 entry 0x%" PRIx64 " of guest offset 0x%" PRIx64 " cannot be",
		    entry, guest_off);
		c->result->corruptions++;
		return 0;
	}
	if (!l2_off)
		return 0;
	if (!count_range(c, l2_off, c->q->cluster_size)) {
		say_corrupt(c, "L2 table outside the file", l2_off);
		return 0;
	}
	if (active) {
		ret = co_check_copied(c, "L2", entry, l2_off);
		if (ret)
			return ret;
	}
	return co_check_l2(c, l2_off, guest_off, active);
}

static int co_check_l1(struct check *c, uint64_t l1_off, uint64_t entries, bool active)
{
	struct qcow2 *q = c->q;
	unsigned l1_bits = q->cluster_bits + q->l2_bits;
	uint64_t *table;
	int ret;

	count_table(c, "L1 table", l1_off, entries * 8);
	if (entries * 8 > QCOW2_MAX_L1_BYTES || !entries)
		return entries ? -EFBIG : 0;
	table = try_iobuf_alloc(entries * 8);
	if (!table)
		return -ENOMEM;
	ret = image_co_pread(q->file, l1_off, entries * 8, table);
	for (uint64_t i = 0; i < entries && !ret; i++)
		if (table[i])
			ret = co_check_l1_entry(c, be64toh(table[i]), i << l1_bits, active);
	iobuf_free(table);
	return ret;
}

/* ---- snapshots ---- */

/* One entry at *off of the snapshot table; moves *off behind it. */
static int co_check_snapshot(struct check *c, uint64_t *off)
{
	struct qcow2_disk_snapshot entry;
	uint64_t bytes;
	int ret = image_co_pread(c->q->file, *off, sizeof(entry), &entry);

	if (ret)
		return ret;
	bytes = sizeof(entry) + (uint64_t)be32toh(entry.extra_data_size) + be16toh(entry.id_size) +
		be16toh(entry.name_size);
	*off += (bytes + 7) & ~7ull;
	return co_check_l1(c, be64toh(entry.l1_table_offset), be32toh(entry.l1_size), false);
}

static int co_check_snapshots(struct check *c)
{
	struct qcow2 *q = c->q;
	uint64_t off = q->snapshots_off;
	int ret;

	for (uint32_t i = 0; i < q->nr_snapshots; i++) {
		if (off >= c->nr_clusters << q->cluster_bits) {
			say_corrupt(c, "snapshot table outside the file", off);
			return 0;
		}
		ret = co_check_snapshot(c, &off);
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
	count_table(arg, what, host_off, bytes);
	return 0;
}

static int bitmap_problem(void *arg, const char *text)
{
	struct check *c = arg;

	say(c, "ERROR %s", text);
	c->result->corruptions++;
	return 0;
}

static int co_check_bitmaps(struct check *c)
{
	const struct bitmap_walk walk = { count_bitmap_range, bitmap_problem, c };

	return qcow2_co_walk_bitmaps(c->q, &walk);
}

/* ---- refcounts ---- */

static int co_load_reftable(struct check *c) NO_THREAD_SAFETY_ANALYSIS /* constant: read-only */
{
	struct qcow2 *q = c->q;
	uint64_t bytes = q->reftable_size * 8;
	int ret;

	c->reftable = try_iobuf_alloc(bytes);
	c->refblock = try_iobuf_alloc(q->cluster_size);
	if (!c->reftable || !c->refblock)
		return -ENOMEM;
	ret = image_co_pread(q->file, q->reftable_off, bytes, c->reftable);
	if (ret)
		return ret;
	count_table(c, "refcount table", q->reftable_off, bytes);
	for (uint64_t i = 0; i < q->reftable_size; i++) {
		uint64_t off = be64toh(c->reftable[i]);

		c->reftable[i] = 0;
		if (!off)
			continue;
		if (off & ~QCOW2_REFTABLE_OFFSET_MASK || qcow2_in_cluster(q, off) ||
		    !count_range(c, off, q->cluster_size)) {
			say(c,
			    "ERROR refcount block %" PRIu64 " at 0x%" PRIx64
			    " is not a cluster of the file",
			    i, off);
			c->result->corruptions++;
			continue;
		}
		c->reftable[i] = off;
	}
	return 0;
}

static int co_compare(struct check *c)
{
	uint64_t refcount;
	int ret;

	for (uint64_t i = 0; i < c->nr_clusters; i++) {
		ret = co_refcount(c, i, &refcount);
		if (ret)
			return ret;
		if (refcount || c->counted[i])
			c->result->image_end_off = (i + 1) << c->q->cluster_bits;
		if (refcount == c->counted[i] ||
		    (c->counted[i] == UINT16_MAX && refcount > UINT16_MAX))
			continue;
		if (refcount < c->counted[i]) {
			say(c, "ERROR cluster %" PRIu64 " refcount=%" PRIu64 " reference=%u", i,
			    refcount, c->counted[i]);
			c->result->corruptions++;
		} else {
			say(c, "Leaked cluster %" PRIu64 " refcount=%" PRIu64 " reference=%u", i,
			    refcount, c->counted[i]);
			c->result->leaks++;
		}
	}
	return 0;
}

static int co_check_all(struct check *c) NO_THREAD_SAFETY_ANALYSIS /* constant: read-only */
{
	struct qcow2 *q = c->q;

	/* The first thing, for the copied flags are checked against the refcounts. */
	int ret = co_load_reftable(c);

	if (ret)
		return ret;
	count_range(c, 0, q->cluster_size);
	return co_check_l1(c, q->l1_off, q->l1_size, true) ?:
	       co_check_snapshots(c) ?:
	       co_check_bitmaps(c) ?:
	       co_compare(c);
}

int qcow2_co_check(struct image *img, void (*report)(void *arg, const char *line), void *report_arg,
		   struct image_check_result *result)
{
	struct qcow2 *q = img->opaque;
	struct check c = {
		.q = q,
		.report = report,
		.report_arg = report_arg,
		.result = result,
		.nr_clusters = qcow2_clusters_for(q, image_size(q->file)),
	};
	int ret;

	result->total_clusters = qcow2_clusters_for(q, image_size(img));
	c.counted = g_try_new0(uint16_t, c.nr_clusters);
	if (!c.counted)
		return -ENOMEM;
	ret = co_check_all(&c);
	g_free(c.counted);
	iobuf_free(c.reftable);
	iobuf_free(c.refblock);
	return ret;
}
