// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Bitmaps: what users do with them. Every change makes a new list, which is committed or dropped.
 */
#include "bitmap.h"

#include <inttypes.h>
#include <string.h>

/* Finds the bitmap of that name for @use: it must not be inconsistent or of an unknown kind. */
static int find_usable(const struct qcow2 *q, const GPtrArray *list, const char *name,
		       struct bitmap **ret_bitmap, GError **err)
{
	struct bitmap *bitmap = qcow2_bitmap_find(list, name);

	if (!bitmap)
		return qcow2_refuse(q, err, -ENOENT, "Dirty bitmap '%s' not found", name);
	if (qcow2_bitmap_is_inconsistent(bitmap))
		return qcow2_refuse(
			q, err, -EINVAL,
			"Bitmap '%s' is inconsistent and cannot be used; it can only be "
			"removed",
			name);
	if (!qcow2_bitmap_is_usable(bitmap))
		return qcow2_refuse(q, err, -ENOTSUP,
				    "Bitmap '%s' has extra data, which is not supported", name);
	*ret_bitmap = bitmap;
	return 0;
}

/* ---- changes ---- */

/* As in QEMU: a cluster, but neither very small nor very large. */
static unsigned default_granularity_bits(const struct qcow2 *q)
{
	return CLAMP(q->cluster_bits, 12, 16);
}

static int add_bitmap(const struct qcow2 *q, GPtrArray *next, const char *name,
		      uint64_t granularity, GError **err)
{
	uint64_t min = 1ull << DIRTY_BITS_MIN_GRANULARITY_BITS;
	uint64_t max = 1ull << DIRTY_BITS_MAX_GRANULARITY_BITS;
	unsigned bits =
		granularity ? (unsigned)__builtin_ctzll(granularity) : default_granularity_bits(q);

	if (!*name)
		return qcow2_refuse(q, err, -EINVAL, "Bitmap name cannot be empty");
	if (strlen(name) > QCOW2_MAX_BITMAP_NAME)
		return qcow2_refuse(q, err, -EINVAL,
				    "Bitmap name has %zu bytes, at most %u are valid", strlen(name),
				    QCOW2_MAX_BITMAP_NAME);
	if (granularity && (granularity != 1ull << bits || granularity < min || granularity > max))
		return qcow2_refuse(q, err, -EINVAL,
				    "Granularity must be power of 2 and at least %" PRIu64
				    ", at most %" PRIu64,
				    min, max);
	if (q->version < 3)
		return qcow2_refuse(q, err, -ENOTSUP,
				    "Cannot store dirty bitmaps in qcow2 v2 files");
	if (qcow2_bitmap_find(next, name))
		return qcow2_refuse(q, err, -EEXIST, "Bitmap already exists: %s", name);
	if (next->len >= QCOW2_MAX_BITMAPS)
		return qcow2_refuse(q, err, -EFBIG,
				    "Maximum number of persistent bitmaps (%u) is reached",
				    QCOW2_MAX_BITMAPS);
	if (!image_size(q->img))
		return qcow2_refuse(q, err, -EINVAL, "Cannot track changes of a disk of size 0");
	if (dirty_bits_bytes(image_size(q->img), bits) > DIRTY_BITS_MAX_BYTES)
		return qcow2_refuse(q, err, -EFBIG,
				    "Too much space will be occupied by the bitmap. Use larger "
				    "granularity");
	g_ptr_array_add(next, qcow2_bitmap_new(name, bits, QCOW2_BITMAP_AUTO));
	return 0;
}

static int remove_bitmap(const struct qcow2 *q, GPtrArray *next, const char *name, GError **err)
{
	struct bitmap *bitmap = qcow2_bitmap_find(next, name);

	if (!bitmap)
		return qcow2_refuse(q, err, -ENOENT, "Dirty bitmap '%s' not found", name);
	g_ptr_array_remove(next, bitmap);
	return 0;
}

static int clear_bitmap(const struct qcow2 *q, struct bitmap *bitmap, GError **err)
{
	int ret = qcow2_bitmap_make_fresh(q, bitmap, image_size(q->img), err);

	if (ret)
		return ret;
	bitmap->table_off = 0;
	bitmap->table_entries = 0;
	return 0;
}

static int apply(const struct qcow2 *q, GPtrArray *next, enum image_bitmap_action action,
		 const char *name, uint64_t granularity, GError **err)
{
	struct bitmap *bitmap;
	int ret;

	if (action == IMAGE_BITMAP_ADD)
		return add_bitmap(q, next, name, granularity, err);
	if (action == IMAGE_BITMAP_REMOVE)
		return remove_bitmap(q, next, name, err);
	ret = find_usable(q, next, name, &bitmap, err);
	if (ret)
		return ret;
	if (action == IMAGE_BITMAP_CLEAR)
		return clear_bitmap(q, bitmap, err);
	if (action == IMAGE_BITMAP_ENABLE)
		bitmap->flags |= QCOW2_BITMAP_AUTO;
	else
		bitmap->flags &= ~QCOW2_BITMAP_AUTO;
	return 0;
}

static int co_commit(struct qcow2 *q, GPtrArray *next, GError **err) REQUIRES(q->struct_lock)
{
	int ret = qcow2_bitmaps_co_commit(q, next, err);

	if (ret)
		g_prefix_error(err, "%s: Could not store its bitmaps: ", q->img->filename);
	return ret;
}

/* Commits @next, or drops it if making it failed. */
static int co_end_change(struct qcow2 *q, GPtrArray *next, int ret, GError **err)
	REQUIRES(q->struct_lock)
{
	if (!ret)
		return co_commit(q, next, err);
	g_ptr_array_unref(next);
	return ret;
}

int qcow2_co_bitmap_change(struct image *img, enum image_bitmap_action action, const char *name,
			   uint64_t granularity, GError **err)
{
	struct qcow2 *q = img->opaque;
	GPtrArray *next;
	int ret;

	co_rwlock_wrlock(&q->struct_lock);
	next = qcow2_bitmap_list_copy(q->bitmaps);
	ret = apply(q, next, action, name, granularity, err);
	ret = co_end_change(q, next, ret, err);
	co_rwlock_wrunlock(&q->struct_lock);
	return ret;
}

/* ---- merging ---- */

static int merge(struct qcow2 *q, GPtrArray *next, const char *name, const struct dirty_bits *src,
		 GError **err) REQUIRES(q->struct_lock)
{
	uint64_t size = image_size(q->img);
	struct bitmap *bitmap;
	int ret = find_usable(q, next, name, &bitmap, err);

	if (ret)
		return ret;
	if (src->disk_bytes != size)
		return qcow2_refuse(q, err, -EINVAL,
				    "Bitmaps are of different sizes (destination size is %" PRIu64
				    ", source size is %" PRIu64 ") and can't be merged",
				    size, src->disk_bytes);
	ret = qcow2_bitmap_make_fresh(q, bitmap, size, err);
	if (ret)
		return ret;
	dirty_bits_merge(bitmap->fresh, src);
	if (qcow2_bitmap_find(q->bitmaps, name)->fresh)
		dirty_bits_merge(bitmap->fresh, qcow2_bitmap_find(q->bitmaps, name)->fresh);
	return 0;
}

int qcow2_co_bitmap_merge(struct image *img, const char *name, const struct dirty_bits *src,
			  GError **err)
{
	struct qcow2 *q = img->opaque;
	GPtrArray *next;
	int ret;

	co_rwlock_wrlock(&q->struct_lock);
	next = qcow2_bitmap_list_copy(q->bitmaps);
	ret = merge(q, next, name, src, err);
	ret = co_end_change(q, next, ret, err);
	co_rwlock_wrunlock(&q->struct_lock);
	return ret;
}

/* ---- looking ---- */

/* The bitmaps in memory or, for a read-only image, those on disk. The caller frees the list. */
static int co_get_list(struct qcow2 *q, GPtrArray **ret_list, GError **err)
	REQUIRES_SHARED(q->struct_lock)
{
	if (!q->bitmaps)
		return qcow2_bitmaps_co_read_directory(q, ret_list, err);
	*ret_list = g_ptr_array_ref(q->bitmaps);
	return 0;
}

static void free_image_bitmap(void *arg)
{
	struct image_bitmap *bitmap = arg;

	g_free(bitmap->name);
	g_free(bitmap);
}

bool qcow2_can_hold_bitmaps(const struct image *img)
{
	const struct qcow2 *q = img->opaque;

	return q->version >= 3;
}

int qcow2_co_bitmap_list(struct image *img, GPtrArray **ret_list, GError **err)
{
	g_autoptr(GPtrArray) list = NULL;
	struct qcow2 *q = img->opaque;
	int ret;

	co_rwlock_rdlock(&q->struct_lock);
	ret = co_get_list(q, &list, err);
	if (!ret)
		*ret_list = g_ptr_array_new_with_free_func(free_image_bitmap);
	for (guint i = 0; !ret && i < list->len; i++) {
		const struct bitmap *bitmap = list->pdata[i];
		struct image_bitmap *entry = g_new0(struct image_bitmap, 1);

		entry->name = g_strdup(bitmap->name);
		entry->granularity = 1ull << bitmap->granularity_bits;
		entry->enabled = bitmap->flags & QCOW2_BITMAP_AUTO;
		entry->inconsistent = qcow2_bitmap_is_inconsistent(bitmap);
		g_ptr_array_add(*ret_list, entry);
	}
	co_rwlock_rdunlock(&q->struct_lock);
	return ret;
}

int qcow2_co_bitmap_load(struct image *img, const char *name, struct dirty_bits **ret_bits,
			 GError **err)
{
	g_autoptr(GPtrArray) list = NULL;
	struct qcow2 *q = img->opaque;
	struct bitmap *bitmap;
	int ret;

	co_rwlock_rdlock(&q->struct_lock);
	ret = co_get_list(q, &list, err) ?:
	      find_usable(q, list, name, &bitmap, err) ?:
	      qcow2_bitmap_co_load(q, bitmap, ret_bits, err);
	co_rwlock_rdunlock(&q->struct_lock);
	return ret;
}
