// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Bitmaps of an image that is open for writing: opens them, marks them as in use, sets bits and
 * stores them at the end; and what other features need from them.
 *
 * A circle with bitmap_commit.c: what is stored becomes what is tracked.
 */
#include "bitmap.h"

#include <inttypes.h>
#include <stddef.h>

#include "rules.h"

struct bitmap *qcow2_bitmap_predecessor(const struct qcow2 *q, GHashTable *old,
					const struct bitmap *bitmap)
{
	struct bitmap *found = old ? g_hash_table_lookup(old, bitmap->name) : NULL;

	if (!found || !found->fresh || found->granularity_bits != bitmap->granularity_bits ||
	    found->fresh->disk_bytes != image_size(q->img))
		return NULL;
	return found;
}

int qcow2_bitmaps_make_tracked(const struct qcow2 *q, GPtrArray *list, GHashTable *old,
			       GError **err)
{
	int ret = 0;

	for (guint i = 0; i < list->len && !ret; i++) {
		struct bitmap *bitmap = list->pdata[i];

		if (qcow2_bitmap_is_tracked(bitmap) && !bitmap->fresh &&
		    !qcow2_bitmap_predecessor(q, old, bitmap))
			ret = qcow2_bitmap_make_fresh(q, bitmap, image_size(q->img), err);
	}
	return ret;
}

void qcow2_bitmaps_adopt(struct qcow2 *q, GPtrArray *list)
{
	if (q->bitmaps)
		g_ptr_array_unref(q->bitmaps);
	q->bitmaps = list;
	q->bitmaps_tracked = false;
	for (guint i = 0; i < list->len; i++)
		q->bitmaps_tracked |= qcow2_bitmap_is_tracked(list->pdata[i]);
	co_mutex_lock(&q->bitmap_lock);
	q->bitmaps_touched = false;
	co_mutex_unlock(&q->bitmap_lock);
	atomic_store(&q->bitmaps_marked, false);
}

/* ---- open and close ---- */

struct claim {
	struct qcow2 *q;
	GError **err;
};

static int claim_range(void *arg, const char *what, uint64_t host_off, uint64_t bytes)
{
	struct claim *claim = arg;
	int ret;

	co_mutex_lock(&claim->q->alloc_lock);
	ret = qcow2_claim(claim->q, METADATA_BITMAPS, what, host_off, bytes, claim->err);
	co_mutex_unlock(&claim->q->alloc_lock);
	return ret;
}

/* P3: we cannot keep right what we do not understand. */
static int refuse(void *arg, const char *text)
{
	struct claim *claim = arg;

	return error_refuse(claim->err, -EINVAL, "%s: %s; the image can only be opened read-only",
			    claim->q->img->filename, text);
}

static int check_trackable(struct claim *claim, GPtrArray *list)
{
	for (guint i = 0; i < list->len; i++) {
		const struct bitmap *bitmap = list->pdata[i];
		g_autofree char *text = NULL;

		if (!qcow2_bitmap_is_tracked(bitmap) || qcow2_bitmap_is_usable(bitmap))
			continue;
		text = g_strdup_printf("bitmap '%s' has extra data, which is not supported",
				       bitmap->name);
		return refuse(claim, text);
	}
	return qcow2_bitmaps_make_tracked(claim->q, list, NULL, claim->err);
}

static void drop_extension(struct qcow2 *q)
{
	co_mutex_lock(&q->alloc_lock);
	q->bitmaps_ext = (struct bitmaps_extension){ 0 };
	qcow2_set_extension(q, QCOW2_EXT_BITMAPS, NULL, 0);
	co_mutex_unlock(&q->alloc_lock);
}

/* For the directory, as a whole and in parts; what is out of range is refused afterwards. */
static int take_memory(const struct qcow2 *q, GError **err)
{
	uint64_t bytes = MIN(q->bitmaps_ext.directory_bytes, QCOW2_MAX_BITMAP_DIRECTORY);
	uint64_t nr = MIN(q->bitmaps_ext.nr, QCOW2_MAX_BITMAPS);

	return qcow2_take_memory(q, 2 * bytes + nr * sizeof(struct bitmap), "the bitmap directory",
				 err);
}

int qcow2_co_bitmaps_open(struct qcow2 *q,
			  GError **err) NO_THREAD_SAFETY_ANALYSIS /* nobody else knows @q yet */
{
	struct claim claim = { q, err };
	const struct bitmap_walk walk = { claim_range, refuse, &claim };
	g_autoptr(GPtrArray) list = NULL;
	int ret;

	/* Stale bitmaps are leaks; the extension is dropped when the header is written. */
	if (!qcow2_has_bitmaps(q))
		drop_extension(q);
	ret = take_memory(q, err) ?: qcow2_co_walk_bitmaps(q, &walk);
	if (ret && err && !*err)
		error_set(err, ret, "%s: cannot read its bitmaps", q->img->filename);
	ret = ret ?: qcow2_bitmaps_co_read_directory(q, &list, err) ?: check_trackable(&claim, list);
	if (!ret)
		qcow2_bitmaps_adopt(q, g_steal_pointer(&list));
	return ret;
}

int qcow2_co_bitmaps_close(struct qcow2 *q) NO_THREAD_SAFETY_ANALYSIS /* no request in flight */
{
	if (!q->bitmaps || !q->bitmaps_touched)
		return 0;
	return qcow2_bitmaps_co_commit(q, qcow2_bitmap_list_copy(q->bitmaps), NULL);
}

void qcow2_bitmaps_destroy(struct qcow2 *q)
	NO_THREAD_SAFETY_ANALYSIS /* nobody else knows @q any more */
{
	if (q->bitmaps)
		g_ptr_array_unref(q->bitmaps);
}

/* ---- tracking ---- */

/* In place, in one sector; the marks are independent of each other. */
static int co_write_mark(struct qcow2 *q, const struct bitmap *bitmap) REQUIRES(q->bitmap_lock)
{
	uint32_t flags = htobe32(bitmap->flags | QCOW2_BITMAP_IN_USE);
	uint64_t host_off = q->bitmaps_ext.directory_off + bitmap->entry_off +
			    offsetof(struct qcow2_disk_bitmap, flags);
	int ret;

	co_mutex_lock(&q->alloc_lock);
	ret = qcow2_co_settle_header(q)
		      ?: qcow2_co_check_metadata(q, METADATA_BITMAPS, host_off, sizeof(flags));
	co_mutex_unlock(&q->alloc_lock);
	return ret ?: image_co_pwrite(q->file, host_off, sizeof(flags), &flags, 0);
}

static int co_write_marks(struct qcow2 *q, bool all) REQUIRES(q->bitmap_lock)
	REQUIRES_SHARED(q->struct_lock)
{
	int ret = 0;

	q->bitmaps_touched = true;
	for (guint i = 0; i < q->bitmaps->len && !ret && !RULE_BROKEN(RULE_BITMAP_MARK); i++) {
		const struct bitmap *bitmap = q->bitmaps->pdata[i];

		if (qcow2_bitmap_is_tracked(bitmap) ||
		    (all && !qcow2_bitmap_is_inconsistent(bitmap)))
			ret = co_write_mark(q, bitmap);
	}
	return ret ?: image_co_flush(q->file);
}

int qcow2_bitmaps_co_mark_in_use(struct qcow2 *q, bool all)
{
	int ret = 0;

	co_mutex_lock(&q->bitmap_lock);
	if (all || !atomic_load(&q->bitmaps_marked))
		ret = co_write_marks(q, all);
	/* Release: a request that sees it goes on to change guest data. */
	if (!ret)
		atomic_store(&q->bitmaps_marked, true);
	co_mutex_unlock(&q->bitmap_lock);
	return ret;
}

/*
 * The mark is durable before the data is written: a power cut between the two must not leave
 * changed data and a bitmap that claims to be consistent.
 */
int qcow2_co_track(struct qcow2 *q, uint64_t off, uint64_t bytes)
{
	int ret = 0;

	if (!atomic_load(&q->bitmaps_marked))
		ret = qcow2_bitmaps_co_mark_in_use(q, false);
	for (guint i = 0; i < q->bitmaps->len && !ret; i++) {
		const struct bitmap *bitmap = q->bitmaps->pdata[i];

		if (bitmap->fresh)
			dirty_bits_set(bitmap->fresh, off, bytes);
	}
	return ret;
}

/* ---- for other features ---- */

static int refuse_resize(const struct qcow2 *q, const struct bitmap *bitmap, uint64_t new_size,
			 GError **err)
{
	if (qcow2_bitmap_is_inconsistent(bitmap) || !qcow2_bitmap_is_usable(bitmap))
		g_set_error(err, UBD_ERROR, ENOTSUP,
			    "%s: bitmap '%s' is %s and cannot be resized; remove it first",
			    q->img->filename, bitmap->name,
			    qcow2_bitmap_is_inconsistent(bitmap) ? "inconsistent"
								 : "of an unknown kind");
	else if (dirty_bits_bytes(new_size, bitmap->granularity_bits) > DIRTY_BITS_MAX_BYTES)
		g_set_error(err, UBD_ERROR, ENOTSUP,
			    "%s: bitmap '%s' would need more than %llu MiB for a disk of %" PRIu64
			    " bytes",
			    q->img->filename, bitmap->name, DIRTY_BITS_MAX_BYTES >> 20, new_size);
	else if (!new_size)
		g_set_error(err, UBD_ERROR, ENOTSUP,
			    "%s: a disk of size 0 cannot have bitmaps; remove them first",
			    q->img->filename);
	else
		return 0;
	return -ENOTSUP;
}

static int check_resize(const struct qcow2 *q, uint64_t new_size, GError **err)
	REQUIRES(q->struct_lock)
{
	int ret = 0;

	for (guint i = 0; i < q->bitmaps->len && !ret; i++)
		ret = refuse_resize(q, q->bitmaps->pdata[i], new_size, err);
	return ret;
}

/* The fresh bits of a tracked bitmap, for the larger of both sizes: either may become the size. */
static int resize_fresh(const struct qcow2 *q, struct bitmap *bitmap, uint64_t new_size,
			GError **err)
{
	uint64_t size = MAX(new_size, image_size(q->img));
	struct bitmap *larger;
	int ret;

	if (bitmap->fresh->disk_bytes == size)
		return 0;
	larger = qcow2_bitmap_copy(bitmap);
	ret = qcow2_bitmap_make_fresh(q, larger, size, err);
	if (!ret) {
		dirty_bits_merge(larger->fresh, bitmap->fresh);
		qcow2_bitmap_drop_fresh(bitmap);
		bitmap->fresh = g_steal_pointer(&larger->fresh);
	}
	qcow2_bitmap_free(larger);
	return ret;
}

static int explain(const struct qcow2 *q, int ret, GError **err)
{
	if (ret && err && !*err)
		error_set(err, ret, "%s: cannot change its bitmaps", q->img->filename);
	return ret;
}

int qcow2_co_bitmaps_resize(struct qcow2 *q, uint64_t new_size, GError **err)
{
	int ret = check_resize(q, new_size, err);

	if (ret || !q->bitmaps->len)
		return ret;
	ret = qcow2_bitmaps_co_mark_in_use(q, true);
	for (guint i = 0; i < q->bitmaps->len && !ret; i++) {
		struct bitmap *bitmap = q->bitmaps->pdata[i];

		bitmap->resized = true;
		if (bitmap->fresh)
			ret = resize_fresh(q, bitmap, new_size, err);
	}
	return explain(q, ret, err);
}

int qcow2_co_bitmaps_replace_disk(struct qcow2 *q, uint64_t new_size, GError **err)
{
	int ret = 0;

	if (new_size != image_size(q->img))
		ret = qcow2_co_bitmaps_resize(q, new_size, err);
	if (ret || !q->bitmaps_tracked)
		return ret;
	return explain(q, qcow2_co_track(q, 0, INT64_MAX), err);
}
