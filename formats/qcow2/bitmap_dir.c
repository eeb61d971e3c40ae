// SPDX-License-Identifier: GPL-2.0-or-later
/* Bitmaps: directories as bytes. Pure code; every number comes from an untrusted file. */
#include "bitmap.h"

#include <inttypes.h>
#include <string.h>

#include "align.h"

struct bitmap *qcow2_bitmap_new(const char *name, unsigned granularity_bits, uint32_t flags)
{
	struct bitmap *bitmap = g_new0(struct bitmap, 1);

	bitmap->name = g_strdup(name);
	bitmap->granularity_bits = granularity_bits;
	bitmap->flags = flags;
	return bitmap;
}

struct bitmap *qcow2_bitmap_copy(const struct bitmap *bitmap)
{
	struct bitmap *copy = g_memdup2(bitmap, sizeof(*bitmap));

	copy->name = g_strdup(bitmap->name);
	copy->extra = g_memdup2(bitmap->extra, bitmap->extra_bytes);
	copy->fresh = NULL;
	copy->img = NULL;
	return copy;
}

int qcow2_bitmap_make_fresh(const struct qcow2 *q, struct bitmap *bitmap, uint64_t disk_bytes,
			    GError **err)
{
	uint64_t bytes = dirty_bits_bytes(disk_bytes, bitmap->granularity_bits);
	g_autofree char *what = g_strdup_printf("bitmap '%s'", bitmap->name);
	struct dirty_bits *bits;
	int ret = qcow2_take_memory(q, bytes, what, err);

	if (ret)
		return ret;
	bits = dirty_bits_try_new(disk_bytes, bitmap->granularity_bits);
	if (!bits) {
		image_memory_put(q->img, bytes);
		return qcow2_refuse(q, err, -ENOMEM, "No memory for bitmap '%s'", bitmap->name);
	}
	qcow2_bitmap_drop_fresh(bitmap);
	bitmap->fresh = bits;
	bitmap->img = q->img;
	return 0;
}

void qcow2_bitmap_drop_fresh(struct bitmap *bitmap)
{
	if (!bitmap->fresh)
		return;
	image_memory_put(bitmap->img,
			 dirty_bits_bytes(bitmap->fresh->disk_bytes, bitmap->granularity_bits));
	g_clear_pointer(&bitmap->fresh, dirty_bits_free);
}

void qcow2_bitmap_free(void *arg)
{
	struct bitmap *bitmap = arg;

	if (!bitmap)
		return;
	qcow2_bitmap_drop_fresh(bitmap);
	g_free(bitmap->name);
	g_free(bitmap->extra);
	g_free(bitmap);
}

GPtrArray *qcow2_bitmap_list_new(void)
{
	return g_ptr_array_new_with_free_func(qcow2_bitmap_free);
}

GPtrArray *qcow2_bitmap_list_copy(const GPtrArray *list)
{
	GPtrArray *copy = qcow2_bitmap_list_new();

	for (guint i = 0; i < list->len; i++)
		g_ptr_array_add(copy, qcow2_bitmap_copy(list->pdata[i]));
	return copy;
}

struct bitmap *qcow2_bitmap_find(const GPtrArray *list, const char *name)
{
	for (guint i = 0; i < list->len; i++) {
		struct bitmap *bitmap = list->pdata[i];

		if (strcmp(bitmap->name, name) == 0)
			return bitmap;
	}
	return NULL;
}

/* ---- parsing ---- */

static uint64_t entry_bytes(uint32_t extra_bytes, uint32_t name_bytes)
{
	uint64_t bytes = sizeof(struct qcow2_disk_bitmap) + (uint64_t)extra_bytes + name_bytes;

	return align_up(bytes, 8);
}

static int check_entry(const struct qcow2_disk_bitmap *disk, uint64_t left, uint32_t index,
		       GError **err)
{
	uint32_t flags = be32toh(disk->flags);
	uint16_t name_bytes = be16toh(disk->name_size);
	uint64_t bytes = entry_bytes(be32toh(disk->extra_data_size), name_bytes);

	if (!name_bytes || name_bytes > QCOW2_MAX_BITMAP_NAME)
		return error_refuse(err, -EINVAL, "bitmap %u: name_size is %u, must be 1 to %u",
				    index, name_bytes, QCOW2_MAX_BITMAP_NAME);
	if (bytes > left)
		return error_refuse(err, -EINVAL,
				    "bitmap %u: its directory entry has %" PRIu64
				    " bytes, only %" PRIu64 " are left",
				    index, bytes, left);
	if (disk->type != QCOW2_BITMAP_TYPE_DIRTY)
		return error_refuse(err, -ENOTSUP,
				    "bitmap %u: type is %u, only %u (dirty tracking) is supported",
				    index, disk->type, QCOW2_BITMAP_TYPE_DIRTY);
	if (flags & ~(QCOW2_BITMAP_IN_USE | QCOW2_BITMAP_AUTO | QCOW2_BITMAP_EXTRA_COMPATIBLE))
		return error_refuse(err, -ENOTSUP,
				    "bitmap %u: flags are 0x%x, bits 3 to 31 must be 0", index,
				    flags);
	if (disk->granularity_bits < DIRTY_BITS_MIN_GRANULARITY_BITS ||
	    disk->granularity_bits > DIRTY_BITS_MAX_GRANULARITY_BITS)
		return error_refuse(err, -ENOTSUP,
				    "bitmap %u: granularity_bits is %u, must be %u to %u", index,
				    disk->granularity_bits, DIRTY_BITS_MIN_GRANULARITY_BITS,
				    DIRTY_BITS_MAX_GRANULARITY_BITS);
	return 0;
}

/* ret_bytes: the length of the entry. */
static int parse_entry(const uint8_t *buf, uint64_t left, uint32_t index,
		       struct bitmap **ret_bitmap, uint64_t *ret_bytes, GError **err)
{
	g_autofree char *name = NULL;
	struct qcow2_disk_bitmap disk;
	uint32_t extra_bytes;
	int ret;

	if (left < sizeof(disk))
		return error_refuse(err, -EINVAL,
				    "bitmap %u: only %" PRIu64 " bytes of the directory are left",
				    index, left);
	memcpy(&disk, buf, sizeof(disk));
	ret = check_entry(&disk, left, index, err);
	if (ret)
		return ret;
	extra_bytes = be32toh(disk.extra_data_size);
	name = g_strndup((const char *)buf + sizeof(disk) + extra_bytes, be16toh(disk.name_size));
	if (strlen(name) != be16toh(disk.name_size))
		return error_refuse(err, -EINVAL, "bitmap %u: its name contains a zero byte",
				    index);
	*ret_bytes = entry_bytes(extra_bytes, be16toh(disk.name_size));
	*ret_bitmap = qcow2_bitmap_new(name, disk.granularity_bits, be32toh(disk.flags));
	(*ret_bitmap)->table_off = be64toh(disk.bitmap_table_offset);
	(*ret_bitmap)->table_entries = be32toh(disk.bitmap_table_size);
	(*ret_bitmap)->extra_bytes = extra_bytes;
	(*ret_bitmap)->extra = g_memdup2(buf + sizeof(disk), extra_bytes);
	return 0;
}

int qcow2_bitmap_directory_parse(const uint8_t *dir, uint64_t bytes, uint32_t nr,
				 GPtrArray **ret_list, GError **err)
{
	g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
	g_autoptr(GPtrArray) list = qcow2_bitmap_list_new();
	uint64_t off = 0, this_bytes = 0;

	for (uint32_t i = 0; i < nr; i++, off += this_bytes) {
		struct bitmap *bitmap = NULL;
		int ret = parse_entry(dir + off, bytes - off, i, &bitmap, &this_bytes, err);

		if (ret)
			return ret;
		bitmap->entry_off = off;
		g_ptr_array_add(list, bitmap);
		if (!g_hash_table_add(names, bitmap->name))
			return error_refuse(err, -EINVAL, "two bitmaps are called '%s'",
					    bitmap->name);
	}
	if (off != bytes)
		return error_refuse(err, -EINVAL,
				    "bitmap_directory_size is %" PRIu64
				    ", the entries have %" PRIu64 " bytes",
				    bytes, off);
	*ret_list = g_steal_pointer(&list);
	return 0;
}

/* ---- building ---- */

static void build_entry(struct bitmap *bitmap, uint8_t *buf)
{
	size_t name_bytes = strlen(bitmap->name);
	struct qcow2_disk_bitmap disk = {
		.bitmap_table_offset = htobe64(bitmap->table_off),
		.bitmap_table_size = htobe32(bitmap->table_entries),
		.flags = htobe32(bitmap->flags),
		.type = QCOW2_BITMAP_TYPE_DIRTY,
		.granularity_bits = bitmap->granularity_bits,
		.name_size = htobe16(name_bytes),
		.extra_data_size = htobe32(bitmap->extra_bytes),
	};

	memcpy(buf, &disk, sizeof(disk));
	if (bitmap->extra_bytes)
		memcpy(buf + sizeof(disk), bitmap->extra, bitmap->extra_bytes);
	memcpy(buf + sizeof(disk) + bitmap->extra_bytes, bitmap->name, name_bytes);
}

static uint64_t bitmap_entry_bytes(const struct bitmap *bitmap)
{
	return entry_bytes(bitmap->extra_bytes, strlen(bitmap->name));
}

uint8_t *qcow2_bitmap_directory_build(const GPtrArray *list, uint32_t unit, uint64_t *ret_bytes)
{
	uint64_t bytes = 0;
	uint8_t *buf;

	for (guint i = 0; i < list->len; i++) {
		struct bitmap *bitmap = list->pdata[i];

		bitmap->entry_off = bytes;
		bytes += bitmap_entry_bytes(bitmap);
	}
	buf = try_iobuf_alloc0(round_up_to(bytes, unit));
	for (guint i = 0; buf && i < list->len; i++) {
		struct bitmap *bitmap = list->pdata[i];

		build_entry(bitmap, buf + bitmap->entry_off);
	}
	*ret_bytes = bytes;
	return buf;
}
