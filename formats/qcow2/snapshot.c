// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Internal snapshots: creates, applies and deletes them.
 *
 * A snapshot is an L1 table. The refcount of an L2 table or of a data cluster is the number of L1
 * tables, the active one included, that lead to it; the flag "copied" in the active tables says
 * that this number is one, and in the tables of snapshots it means nothing.
 *
 * Each operation takes the same three steps on what will be (rewrite.h): one reference more or less
 * on everything that a tree leads to, the active tables made anew where a flag changes, and another
 * snapshot table. Then all of it is put in force at once. Requests wait meanwhile.
 *
 * Emptying an image is a change of the same kind: the active tree is dropped.
 */
#include "snapshot.h"

#include <inttypes.h>
#include <string.h>

#include "rewrite.h"

/* As long as QEMU shows them. */
#define MAX_NAME_BYTES 255

/* A snapshot operation in progress. */
struct change {
	struct rewrite rw;
	GPtrArray *snapshots; /* those that there will be; does not own them */
	GError **err;	      /* set if the errno does not say it */
};

/* ---- trees ---- */

/* The host clusters on which an L2 entry holds a reference; *ret_nr is 0 if there are none. */
static int entry_clusters(const struct qcow2 *q, uint64_t entry, uint64_t *ret_first,
			  uint64_t *ret_nr)
{
	uint64_t host_off = entry & QCOW2_OFFSET_MASK;
	uint32_t bytes;

	if (entry & QCOW2_COMPRESSED) {
		qcow2_compressed_range(q, entry, &host_off, &bytes);
		*ret_first = qcow2_cluster_index(q, host_off);
		*ret_nr = qcow2_cluster_index(q, host_off + bytes - 1) - *ret_first + 1;
		return 0;
	}
	if (entry & QCOW2_L2_RESERVED || qcow2_in_cluster(q, host_off))
		return -EUCLEAN;
	*ret_first = qcow2_cluster_index(q, host_off);
	*ret_nr = host_off != 0;
	return 0;
}

static int co_read_l2(const struct qcow2 *q, uint64_t l1_entry, uint64_t *table)
{
	uint64_t l2_off = l1_entry & QCOW2_OFFSET_MASK;

	if (l1_entry & QCOW2_L1_RESERVED || qcow2_in_cluster(q, l2_off))
		return -EUCLEAN;
	return image_co_pread(q->file, l2_off, q->cluster_size, table);
}

static uint64_t words_in_table(const struct qcow2 *q)
{
	return q->cluster_size / sizeof(uint64_t);
}

static int count_entries(struct qcow2 *q, struct change *ch, const uint64_t *table, int delta)
	REQUIRES(q->alloc_lock)
{
	uint64_t first, nr;
	int ret = 0;

	for (uint64_t i = 0; i < words_in_table(q) && !ret; i += qcow2_l2_stride(q)) {
		if (!table[i])
			continue;
		ret = entry_clusters(q, be64toh(table[i]), &first, &nr);
		/* P3: what loses a reference may become free. */
		if (!ret && delta < 0)
			ret = qcow2_co_check_overlap_locked(q, first, nr);
		if (!ret)
			ret = qcow2_rewrite_count(q, &ch->rw, first, nr, delta);
	}
	return ret;
}

/* Adds or drops one reference on all L2 tables and clusters that an L1 table leads to. */
static int co_count_tree(struct qcow2 *q, struct change *ch, const uint64_t *l1, uint32_t size,
			 int delta) REQUIRES(q->alloc_lock)
{
	uint64_t *table = try_iobuf_alloc(q->cluster_size);
	int ret = table ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < size && !ret; i++) {
		uint64_t cluster = qcow2_cluster_index(q, l1[i] & QCOW2_OFFSET_MASK);

		if (!cluster)
			continue;
		ret = co_read_l2(q, l1[i], table);
		/* The clusters of a data file are not counted. */
		if (!ret && !qcow2_has_data_file(q))
			ret = count_entries(q, ch, table, delta);
		ret = ret ?: qcow2_rewrite_count(q, &ch->rw, cluster, 1, delta);
		qcow2_rewrite_note_l2(&ch->rw, cluster, delta);
	}
	iobuf_free(table);
	return ret;
}

/* Sets the "copied" flags of a table by the refcounts. *ret_changed: some were wrong. */
static int set_copied_flags(struct qcow2 *q, struct change *ch, uint64_t *table, bool *ret_changed)
{

	*ret_changed = false;
	for (uint64_t i = 0; i < words_in_table(q); i += qcow2_l2_stride(q)) {
		uint64_t entry = be64toh(table[i]), wanted = entry & ~QCOW2_COPIED, refcount;

		if (!(entry & QCOW2_OFFSET_MASK) || entry & QCOW2_COMPRESSED)
			continue;
		refcount = qcow2_rewrite_refcount(
			q, &ch->rw, qcow2_cluster_index(q, entry & QCOW2_OFFSET_MASK));
		if (!refcount)
			return -EUCLEAN;
		if (refcount == 1)
			wanted |= QCOW2_COPIED;
		*ret_changed |= wanted != entry;
		table[i] = htobe64(wanted);
	}
	return 0;
}

/* Handles an active L2 table: if flags change, a new table takes its place. */
static int co_settle_l2(struct qcow2 *q, struct change *ch, uint64_t *l1_entry, uint64_t *table)
	REQUIRES(q->alloc_lock)
{
	uint64_t l2_off = *l1_entry & QCOW2_OFFSET_MASK;
	uint64_t cluster = qcow2_cluster_index(q, l2_off);
	bool changed;
	int ret = co_read_l2(q, *l1_entry, table) ?: set_copied_flags(q, ch, table, &changed);

	if (!ret && changed) {
		ret = qcow2_rewrite_count(q, &ch->rw, cluster, 1, -1) ?:
		      qcow2_rewrite_alloc(q, &ch->rw, 1, &l2_off)     ?:
		      image_co_pwrite(q->file, l2_off, q->cluster_size, table, 0);
		qcow2_rewrite_note_l2(&ch->rw, cluster, -1);
		cluster = qcow2_cluster_index(q, l2_off);
		qcow2_rewrite_note_l2(&ch->rw, cluster, 1);
	}
	*l1_entry = l2_off;
	if (!ret && qcow2_rewrite_refcount(q, &ch->rw, cluster) == 1)
		*l1_entry |= QCOW2_COPIED;
	return ret;
}

/* Sets what the active L1 table will be; takes @l1, and gives it a place. */
static int co_settle_active(struct qcow2 *q, struct change *ch, uint64_t *l1, uint32_t size)
	REQUIRES(q->alloc_lock)
{
	uint64_t nr = qcow2_clusters_for(q, size * sizeof(uint64_t));
	uint64_t *table = try_iobuf_alloc(q->cluster_size);
	int ret = table ? 0 : -ENOMEM;

	ch->rw.l1 = l1;
	ch->rw.roots.l1_size = size;
	ch->rw.roots.l1_off = 0;
	for (uint32_t i = 0; i < size && !ret; i++)
		if (l1[i] & QCOW2_OFFSET_MASK)
			ret = co_settle_l2(q, ch, &l1[i], table);
	iobuf_free(table);
	if (ret || !nr)
		return ret;
	ret = qcow2_rewrite_alloc(q, &ch->rw, nr, &ch->rw.roots.l1_off);
	if (!ret)
		qcow2_rewrite_note_table(&ch->rw, METADATA_L1,
					 qcow2_cluster_index(q, ch->rw.roots.l1_off), nr, 1);
	return ret;
}

/* Gives up the clusters of a table that is no longer needed. */
static int drop_table(struct qcow2 *q, struct change *ch, uint64_t host_off, uint64_t bytes)
{
	uint64_t first = qcow2_cluster_index(q, host_off);
	uint64_t nr = qcow2_clusters_for(q, bytes);

	qcow2_rewrite_note_table(&ch->rw, METADATA_OTHER, first, nr, -1);
	return qcow2_rewrite_count(q, &ch->rw, first, nr, -1);
}

static int drop_l1(struct qcow2 *q, struct change *ch, uint64_t l1_off, uint32_t l1_size)
{
	return drop_table(q, ch, l1_off, l1_size * sizeof(uint64_t));
}

/* ---- the table of snapshots ---- */

static int co_write_snapshots(struct qcow2 *q, struct change *ch) REQUIRES(q->alloc_lock)
{
	struct qcow2_roots *roots = &ch->rw.roots;
	uint8_t *table;
	uint64_t bytes, nr;
	int ret = qcow2_snapshot_table_build(ch->snapshots, &table, &bytes);

	if (ret)
		return ret;
	nr = qcow2_clusters_for(q, bytes);
	ret = drop_table(q, ch, q->snapshots_off, qcow2_snapshot_table_bytes(q));
	roots->nr_snapshots = ch->snapshots->len;
	roots->snapshots_off = 0;
	if (!ret && nr) {
		ret = qcow2_rewrite_alloc(q, &ch->rw, nr, &roots->snapshots_off)
			      ?: image_co_pwrite(q->file, roots->snapshots_off, bytes, table, 0);
		qcow2_rewrite_note_table(&ch->rw, METADATA_OTHER,
					 qcow2_cluster_index(q, roots->snapshots_off), nr, 1);
	}
	iobuf_free(table);
	return ret;
}

/* ---- operations ---- */

static int co_fill_create(struct qcow2 *q, struct change *ch, struct snapshot *new)
	REQUIRES(q->alloc_lock)
{
	uint64_t *l1;
	int ret = qcow2_snapshot_co_load_l1(q, q->l1_off, q->l1_size, &l1);

	if (ret)
		return ret;
	/* The present L1 table becomes the snapshot's. */
	qcow2_snapshot_set_l1(new, q->l1_size ? q->l1_off : 0, q->l1_size);
	qcow2_rewrite_note_table(&ch->rw, METADATA_OTHER, qcow2_cluster_index(q, new->l1_off),
				 qcow2_clusters_for(q, new->l1_size * sizeof(uint64_t)), 1);
	g_ptr_array_add(ch->snapshots, new);
	ret = co_count_tree(q, ch, l1, q->l1_size, 1);
	if (ret) {
		g_free(l1);
		return ret;
	}
	return co_settle_active(q, ch, l1, q->l1_size) ?: co_write_snapshots(q, ch);
}

/* The part of a snapshot's L1 table that maps its disk; what is behind it is VM state. */
static int co_load_disk_l1(struct qcow2 *q, const struct snapshot *s, uint32_t size,
			   uint64_t **ret_l1)
{
	uint64_t *l1 = g_try_new0(uint64_t, MAX(size, 1)), *all;
	int ret = l1 ? qcow2_snapshot_co_load_l1(q, s->l1_off, s->l1_size, &all) : -ENOMEM;

	if (ret) {
		g_free(l1);
		return ret;
	}
	memcpy(l1, all, MIN(size, s->l1_size) * sizeof(uint64_t));
	g_free(all);
	*ret_l1 = l1;
	return 0;
}

static int co_drop_active_tree(struct qcow2 *q, struct change *ch) REQUIRES(q->alloc_lock)
{
	g_autofree uint64_t *l1 = NULL;

	return qcow2_snapshot_co_load_l1(q, q->l1_off, q->l1_size, &l1) ?:
	       co_count_tree(q, ch, l1, q->l1_size, -1)		  ?:
	       drop_l1(q, ch, q->l1_off, q->l1_size);
}

static int co_fill_apply(struct qcow2 *q, struct change *ch, struct snapshot *s)
	REQUIRES(q->alloc_lock)
{
	uint32_t size = qcow2_snapshot_l1_needed(q, s->disk_size);
	uint64_t *l1;
	int ret = qcow2_take_memory(q, qcow2_l1_memory(size), "the L1 table", ch->err);

	if (ret)
		return ret;
	ch->rw.memory += qcow2_l1_memory(size);
	/*
	 * First, so that no refcount gets higher than it will be. The snapshot holds what it
	 * contains.
	 */
	ret = co_drop_active_tree(q, ch) ?: co_load_disk_l1(q, s, size, &l1);
	if (ret)
		return ret;
	ch->rw.roots.size = s->disk_size;
	ret = co_count_tree(q, ch, l1, size, 1);
	if (ret) {
		g_free(l1);
		return ret;
	}
	return co_settle_active(q, ch, l1, size);
}

static int co_fill_delete(struct qcow2 *q, struct change *ch, struct snapshot *s)
	REQUIRES(q->alloc_lock)
{
	g_autofree uint64_t *dead_l1 = NULL;
	uint64_t *l1;
	int ret;

	g_ptr_array_remove(ch->snapshots, s);
	ret = qcow2_snapshot_co_load_l1(q, s->l1_off, s->l1_size, &dead_l1) ?:
	      co_count_tree(q, ch, dead_l1, s->l1_size, -1)	      ?:
	      drop_l1(q, ch, s->l1_off, s->l1_size)		      ?:
	      drop_l1(q, ch, q->l1_off, q->l1_size)		      ?:
	      qcow2_snapshot_co_load_l1(q, q->l1_off, q->l1_size, &l1);
	if (ret)
		return ret;
	return co_settle_active(q, ch, l1, q->l1_size) ?: co_write_snapshots(q, ch);
}

/* @s is NULL. */
static int co_fill_empty(struct qcow2 *q, struct change *ch, struct snapshot *s)
	REQUIRES(q->alloc_lock)
{
	uint64_t *l1 = g_try_new0(uint64_t, MAX(q->l1_size, 1));
	int ret = l1 ? co_drop_active_tree(q, ch) : -ENOMEM;

	/* Most of it will be cut off. */
	ch->rw.punch = false;
	if (!ret)
		return co_settle_active(q, ch, l1, q->l1_size);
	g_free(l1);
	return ret;
}

typedef int fill_fn(struct qcow2 *q, struct change *ch, struct snapshot *s);

static int co_change_locked(struct qcow2 *q, fill_fn *fill, struct snapshot *s, GError **err)
	REQUIRES(q->struct_lock, q->flush_lock)
{
	struct change ch = { .snapshots = g_ptr_array_new(), .err = err };
	int ret;

	g_ptr_array_extend(ch.snapshots, q->snapshots, NULL, NULL);
	co_mutex_lock(&q->alloc_lock);
	ret = qcow2_rewrite_co_begin(q, &ch.rw, err);
	if (!ret)
		ret = fill(q, &ch, s);
	if (!ret)
		ret = qcow2_rewrite_co_commit(q, &ch.rw);
	qcow2_rewrite_end(q, &ch.rw);
	co_mutex_unlock(&q->alloc_lock);
	if (!ret) {
		/* The array owns them; the caller owns what is in neither of the two. */
		g_ptr_array_set_free_func(q->snapshots, NULL);
		g_ptr_array_set_size(q->snapshots, 0);
		g_ptr_array_extend(q->snapshots, ch.snapshots, NULL, NULL);
		g_ptr_array_set_free_func(q->snapshots, qcow2_snapshot_free);
	}
	g_ptr_array_unref(ch.snapshots);
	return ret;
}

/* Everything in memory is written to the file first, freed clusters too. */
static int co_change(struct qcow2 *q, fill_fn *fill, struct snapshot *s, GError **err)
	REQUIRES(q->struct_lock)
{
	int ret = qcow2_co_flush_and_reclaim(q);

	if (ret)
		return ret;
	co_mutex_lock(&q->flush_lock);
	ret = co_change_locked(q, fill, s, err);
	co_mutex_unlock(&q->flush_lock);
	return ret;
}

static int explain(const struct qcow2 *q, int ret, GError **err)
{
	const char *filename = q->img->filename;

	/* The reason has been given already. */
	if (err && *err)
		return ret;
	if (ret == -EOVERFLOW)
		g_set_error(err, UBD_ERROR, EOVERFLOW,
			    "%s: a refcount of %u bits cannot count another snapshot", filename,
			    1u << q->refcount_order);
	else if (ret == -EUCLEAN)
		g_set_error(err, UBD_ERROR, EUCLEAN,
			    "%s: its tables and refcounts contradict each other; check it first",
			    filename);
	else if (ret)
		error_set(err, ret, "%s", filename);
	return ret;
}

/* A cluster of a data file has no refcount, so it cannot be shared. */
static int check_data_file(const struct qcow2 *q, GError **err)
{
	if (!qcow2_has_data_file(q))
		return 0;
	return error_refuse(err, -ENOTSUP,
			    "%s: an image with an external data file cannot have snapshots",
			    q->img->filename);
}

static int not_found(const struct qcow2 *q, const char *which, GError **err)
{
	return error_refuse(err, -ENOENT, "%s: snapshot not found: '%s'", q->img->filename, which);
}

/* ---- entries ---- */

int qcow2_co_snapshot_list(struct image *img, GArray *list)
{
	struct qcow2 *q = img->opaque;

	co_rwlock_rdlock(&q->struct_lock);
	for (guint i = 0; i < q->snapshots->len; i++) {
		const struct snapshot *s = q->snapshots->pdata[i];
		struct image_snapshot entry = {
			.id = g_strdup(s->id),
			.name = g_strdup(s->name),
			.vm_state_size = s->vm_state_size,
			.date_sec = s->date_sec,
			.date_nsec = s->date_nsec,
			.vm_clock_nsec = s->vm_clock_nsec,
			.icount = s->icount,
			.disk_size = s->disk_size,
		};

		g_array_append_val(list, entry);
	}
	co_rwlock_rdunlock(&q->struct_lock);
	return 0;
}

static int check_create(const struct qcow2 *q, const char *name, GError **err)
{
	if (strlen(name) > MAX_NAME_BYTES)
		return error_refuse(err, -EINVAL,
				    "%s: a snapshot's name can have at most %u bytes, not %zu",
				    q->img->filename, MAX_NAME_BYTES, strlen(name));
	if (q->nr_snapshots >= QCOW2_MAX_SNAPSHOTS)
		return error_refuse(err, -EFBIG, "%s: an image can have at most %u snapshots",
				    q->img->filename, QCOW2_MAX_SNAPSHOTS);
	return 0;
}

int qcow2_co_snapshot_create(struct image *img, const char *name, GError **err)
{
	struct qcow2 *q = img->opaque;
	struct snapshot *new;
	int ret;

	co_rwlock_wrlock(&q->struct_lock);
	ret = check_data_file(q, err) ?: check_create(q, name, err);
	if (!ret) {
		new = qcow2_snapshot_new(q, name, image_size(img));
		ret = explain(q, co_change(q, co_fill_create, new, err), err);
		if (ret)
			qcow2_snapshot_free(new);
	}
	co_rwlock_wrunlock(&q->struct_lock);
	return ret;
}

int qcow2_co_snapshot_apply(struct image *img, const char *which, GError **err)
{
	struct qcow2 *q = img->opaque;
	struct snapshot *s;
	int ret;

	co_rwlock_wrlock(&q->struct_lock);
	s = qcow2_snapshot_find_any(q, which);
	ret = s ? check_data_file(q, err) : not_found(q, which, err);
	if (!ret)
		ret = qcow2_co_bitmaps_replace_disk(q, s->disk_size, err);
	if (!ret)
		ret = explain(q, co_change(q, co_fill_apply, s, err), err);
	co_rwlock_wrunlock(&q->struct_lock);
	return ret;
}

int qcow2_co_snapshot_delete(struct image *img, const char *name, GError **err)
{
	struct qcow2 *q = img->opaque;
	struct snapshot *s;
	int ret;

	co_rwlock_wrlock(&q->struct_lock);
	s = qcow2_snapshot_find(q, NULL, name);
	ret = s ? check_data_file(q, err) : not_found(q, name, err);
	if (!ret)
		ret = explain(q, co_change(q, co_fill_delete, s, err), err);
	if (!ret)
		qcow2_snapshot_free(s);
	co_rwlock_wrunlock(&q->struct_lock);
	return ret;
}

/* C5: their freeing is durable, and no request is in flight. The punch is only advice. */
static int co_punch_free(struct qcow2 *q) REQUIRES(q->alloc_lock)
{
	uint64_t end = image_size(q->file) >> q->cluster_bits, run = 0, refcount;
	int ret = 0;

	for (uint64_t i = 0; i <= end && !ret; i++) {
		refcount = 1;
		if (i < end)
			ret = qcow2_co_get_refcount(q, i, &refcount);
		if (!ret && !refcount) {
			run++;
			continue;
		}
		if (!ret && run)
			ret = qcow2_co_check_overlap_locked(q, i - run, run);
		if (!ret && run)
			image_co_pdiscard(q->file, (i - run) << q->cluster_bits,
					  run << q->cluster_bits);
		run = 0;
	}
	return ret;
}

/* What was freed, below snapshots and bitmaps that stay. */
static int co_punch_rest(struct qcow2 *q) REQUIRES(q->struct_lock)
{
	int ret;

	if (!q->unmap)
		return 0;
	co_mutex_lock(&q->alloc_lock);
	ret = co_punch_free(q);
	co_mutex_unlock(&q->alloc_lock);
	return ret;
}

/*
 * The new tables cannot take the place of the old ones, which are in force until the end. So this
 * is done twice: then they lie at the start of the file, and the rest of it can be cut off.
 */
static int co_empty(struct qcow2 *q, GError **err) REQUIRES(q->struct_lock)
{
	int ret = co_change(q, co_fill_empty, NULL, err) ?: co_change(q, co_fill_empty, NULL, err);

	ret = ret ?: qcow2_co_cut_file(q) ?: co_punch_rest(q);
	/* Nothing in it is in use any more. */
	if (!ret && qcow2_has_data_file(q))
		ret = qcow2_co_discard_data(q, 0, image_size(q->data_file));
	return ret;
}

int qcow2_co_make_empty(struct image *img, GError **err)
{
	struct qcow2 *q = img->opaque;
	int ret;

	co_rwlock_wrlock(&q->struct_lock);
	ret = explain(q, co_empty(q, err), err);
	co_rwlock_wrunlock(&q->struct_lock);
	return ret;
}
