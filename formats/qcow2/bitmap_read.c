// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Bitmaps: reads an image's directory, tables and bits, and walks over everything that they occupy
 * in the file, for the overlap check and for `check`.
 */
#include "bitmap.h"

#include <inttypes.h>
#include <string.h>

bool qcow2_has_bitmaps(const struct qcow2 *q)
{
	return q->bitmaps_ext.present && q->autoclear_features & QCOW2_AUTOCLEAR_BITMAPS;
}

/* ---- what can be ---- */

static int check_extension(const struct qcow2 *q, GError **err)
{
	const struct bitmaps_extension *ext = &q->bitmaps_ext;
	uint64_t file_size = image_size(q->file);

	if (ext->bytes != sizeof(struct qcow2_disk_bitmaps) || ext->reserved)
		g_set_error(err, UBD_ERROR, EINVAL,
			    "the bitmaps extension has %u bytes and %u in its reserved field, must "
			    "have %zu and 0",
			    ext->bytes, ext->reserved, sizeof(struct qcow2_disk_bitmaps));
	else if (!ext->nr || ext->nr > QCOW2_MAX_BITMAPS)
		g_set_error(err, UBD_ERROR, EINVAL, "nb_bitmaps is %u, must be 1 to %u", ext->nr,
			    QCOW2_MAX_BITMAPS);
	else if (ext->directory_bytes > QCOW2_MAX_BITMAP_DIRECTORY)
		g_set_error(err, UBD_ERROR, EINVAL,
			    "bitmap_directory_size is %" PRIu64 ", at most %u is supported",
			    ext->directory_bytes, QCOW2_MAX_BITMAP_DIRECTORY);
	else if (qcow2_in_cluster(q, ext->directory_off) || !ext->directory_off ||
		 ext->directory_off >= file_size ||
		 ext->directory_bytes > file_size - ext->directory_off)
		g_set_error(err, UBD_ERROR, EINVAL,
			    "the bitmap directory (0x%" PRIx64 ", %" PRIu64
			    " bytes) must start at a cluster and lie in the file",
			    ext->directory_off, ext->directory_bytes);
	else
		return 0;
	return -EINVAL;
}

uint64_t qcow2_bitmap_table_entries(const struct qcow2 *q, unsigned granularity_bits)
{
	return qcow2_clusters_for(q, dirty_bits_bytes(image_size(q->img), granularity_bits));
}

static int check_bitmap(const struct qcow2 *q, const struct bitmap *bitmap, GError **err)
{
	uint64_t file_size = image_size(q->file);
	uint64_t entries = qcow2_bitmap_table_entries(q, bitmap->granularity_bits);
	uint64_t bytes = (uint64_t)bitmap->table_entries * sizeof(uint64_t);

	/* IN_USE: "the metadata (such as the auto flag or bitmap size) ... may be outdated" */
	if (bitmap->table_entries != entries && !qcow2_bitmap_is_inconsistent(bitmap))
		g_set_error(err, UBD_ERROR, EINVAL,
			    "bitmap '%s': bitmap_table_size is %u, must be %" PRIu64
			    " for a disk of %" PRIu64 " bytes",
			    bitmap->name, bitmap->table_entries, entries, image_size(q->img));
	else if ((uint64_t)bitmap->table_entries << q->cluster_bits >
		 MAX(DIRTY_BITS_MAX_BYTES, q->cluster_size))
		g_set_error(
			err, UBD_ERROR, EFBIG,
			"bitmap '%s': bitmap_table_size is %u, more than the supported %llu MiB "
			"of bits",
			bitmap->name, bitmap->table_entries, DIRTY_BITS_MAX_BYTES >> 20);
	else if (bytes && (qcow2_in_cluster(q, bitmap->table_off) || !bitmap->table_off ||
			   bitmap->table_off >= file_size || bytes > file_size - bitmap->table_off))
		g_set_error(err, UBD_ERROR, EINVAL,
			    "bitmap '%s': its table (0x%" PRIx64 ", %" PRIu64
			    " bytes) must start at a cluster and lie in the file",
			    bitmap->name, bitmap->table_off, bytes);
	else
		return 0;
	return -EINVAL;
}

bool qcow2_bitmap_table_entry_is_valid(const struct qcow2 *q, uint64_t entry)
{
	uint64_t host_off = entry & QCOW2_OFFSET_MASK;

	if (entry & QCOW2_BITMAP_TABLE_RESERVED || qcow2_in_cluster(q, host_off))
		return false;
	return !host_off ||
	       (!(entry & QCOW2_BITMAP_TABLE_ALL_ONES) && host_off < image_size(q->file));
}

/* ---- reading ---- */

/* Reads the directory of an image that has one; does not check the bitmaps against the image. */
static int co_read_directory(struct qcow2 *q, GPtrArray **ret_list, GError **err)
{
	const struct bitmaps_extension *ext = &q->bitmaps_ext;
	uint8_t *dir = NULL;
	int ret = check_extension(q, err);

	if (ret)
		return ret;
	dir = try_iobuf_alloc(ext->directory_bytes);
	ret = dir ? image_co_pread(q->file, ext->directory_off, ext->directory_bytes, dir)
		  : -ENOMEM;
	if (ret)
		error_set(err, ret, "cannot read the bitmap directory");
	else
		ret = qcow2_bitmap_directory_parse(dir, ext->directory_bytes, ext->nr, ret_list,
						   err);
	iobuf_free(dir);
	return ret;
}

int qcow2_bitmaps_co_read_directory(struct qcow2 *q, GPtrArray **ret_list, GError **err)
{
	g_autoptr(GPtrArray) list = NULL;
	int ret;

	if (!qcow2_has_bitmaps(q)) {
		*ret_list = qcow2_bitmap_list_new();
		return 0;
	}
	ret = co_read_directory(q, &list, err);
	for (guint i = 0; !ret && i < list->len; i++)
		ret = check_bitmap(q, list->pdata[i], err);
	if (ret)
		g_prefix_error(err, "%s: ", q->img->filename);
	else
		*ret_list = g_steal_pointer(&list);
	return ret;
}

int qcow2_bitmap_co_read_table(struct qcow2 *q, const struct bitmap *bitmap, uint64_t **ret_table)
{
	uint64_t bytes = (uint64_t)bitmap->table_entries * sizeof(uint64_t);
	uint64_t *table = try_iobuf_alloc0(MAX(bytes, sizeof(uint64_t)));
	int ret = table ? 0 : -ENOMEM;

	if (!ret && bytes)
		ret = image_co_pread(q->file, bitmap->table_off, bytes, table);
	for (uint32_t i = 0; !ret && i < bitmap->table_entries; i++)
		table[i] = be64toh(table[i]);
	if (ret)
		iobuf_free(table);
	else
		*ret_table = table;
	return ret;
}

int qcow2_bitmap_co_read_cluster(struct qcow2 *q, uint64_t entry, uint8_t *buf)
{
	if (!qcow2_bitmap_table_entry_is_valid(q, entry))
		return -EIO;
	if (entry & QCOW2_OFFSET_MASK)
		return image_co_pread(q->file, entry & QCOW2_OFFSET_MASK, q->cluster_size, buf);
	memset(buf, entry & QCOW2_BITMAP_TABLE_ALL_ONES ? 0xff : 0, q->cluster_size);
	return 0;
}

static int co_load_bits(struct qcow2 *q, const struct bitmap *bitmap, struct dirty_bits *bits)
{
	uint8_t *buf = try_iobuf_alloc(q->cluster_size);
	uint64_t *table = NULL;
	int ret = buf ? qcow2_bitmap_co_read_table(q, bitmap, &table) : -ENOMEM;

	for (uint64_t i = 0; !ret && i < bitmap->table_entries; i++) {
		if (!table[i])
			continue;
		ret = qcow2_bitmap_co_read_cluster(q, table[i], buf);
		if (!ret)
			dirty_bits_put(bits, i << q->cluster_bits, buf, q->cluster_size);
	}
	if (!ret && bitmap->fresh)
		dirty_bits_merge(bits, bitmap->fresh);
	iobuf_free(table);
	iobuf_free(buf);
	return ret;
}

int qcow2_bitmap_co_load(struct qcow2 *q, const struct bitmap *bitmap, struct dirty_bits **ret_bits,
			 GError **err)
{
	uint64_t bytes = dirty_bits_bytes(image_size(q->img), bitmap->granularity_bits);
	g_autofree char *what = g_strdup_printf("bitmap '%s'", bitmap->name);
	struct dirty_bits *bits;
	int ret = qcow2_take_memory(q, bytes, what, err);

	if (ret)
		return ret;
	/* The caller frees it soon. */
	image_memory_put(q->img, bytes);
	bits = dirty_bits_try_new(image_size(q->img), bitmap->granularity_bits);
	ret = bits ? co_load_bits(q, bitmap, bits) : -ENOMEM;
	if (ret) {
		error_set(err, ret, "cannot read bitmap '%s'", bitmap->name);
		dirty_bits_free(bits);
		return ret;
	}
	*ret_bits = bits;
	return 0;
}

/* ---- walking ---- */

static int walk_problem(const struct bitmap_walk *walk, const char *text)
{
	return walk->problem(walk->arg, text);
}

static int walk_table(struct qcow2 *q, const struct bitmap_walk *walk, const struct bitmap *bitmap,
		      const uint64_t *table)
{
	int ret = 0;

	for (uint32_t i = 0; i < bitmap->table_entries && !ret; i++) {
		if (!qcow2_bitmap_table_entry_is_valid(q, table[i])) {
			g_autofree char *text = g_strdup_printf(
				"bitmap '%s': table entry %u is 0x%" PRIx64 ", which is invalid",
				bitmap->name, i, table[i]);

			ret = walk_problem(walk, text);
		} else if (table[i] & QCOW2_OFFSET_MASK) {
			ret = walk->range(walk->arg, "bitmap's bits", table[i] & QCOW2_OFFSET_MASK,
					  q->cluster_size);
		}
	}
	return ret;
}

static int co_walk_bitmap(struct qcow2 *q, const struct bitmap_walk *walk,
			  const struct bitmap *bitmap)
{
	g_autoptr(GError) err = NULL;
	uint64_t *table;
	int ret;

	if (check_bitmap(q, bitmap, &err))
		return walk_problem(walk, err->message);
	if (!bitmap->table_entries)
		return 0;
	ret = walk->range(walk->arg, "bitmap table", bitmap->table_off,
			  bitmap->table_entries * sizeof(uint64_t))
		      ?: qcow2_bitmap_co_read_table(q, bitmap, &table);
	if (ret)
		return ret;
	ret = walk_table(q, walk, bitmap, table);
	iobuf_free(table);
	return ret;
}

int qcow2_co_walk_bitmaps(struct qcow2 *q, const struct bitmap_walk *walk)
{
	g_autoptr(GPtrArray) list = NULL;
	g_autoptr(GError) err = NULL;
	uint64_t table_bytes = 0;
	int ret;

	if (!qcow2_has_bitmaps(q))
		return 0;
	ret = co_read_directory(q, &list, &err);
	if (ret == -EINVAL || ret == -ENOTSUP)
		return walk_problem(walk, err->message);
	if (!ret)
		ret = walk->range(walk->arg, "bitmap directory", q->bitmaps_ext.directory_off,
				  q->bitmaps_ext.directory_bytes);
	for (guint i = 0; !ret && i < list->len; i++) {
		const struct bitmap *bitmap = list->pdata[i];

		/* That many tables would have to overlap: do not walk a hostile image for ever. */
		table_bytes += (uint64_t)bitmap->table_entries * sizeof(uint64_t);
		if (table_bytes > image_size(q->file))
			return walk_problem(walk, "the bitmap tables do not fit into the file");
		ret = co_walk_bitmap(q, walk, bitmap);
	}
	return ret;
}
