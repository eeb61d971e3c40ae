// SPDX-License-Identifier: GPL-2.0-or-later
/* Image nodes: what `info` shows. */
#include <errno.h>
#include <string.h>

#include "image_int.h"

static bool is_in_file(const struct image *img)
{
	while (img->file)
		img = img->file;
	return img->bottom->is_path;
}

int image_co_get_info(struct image *img, struct image_info *ret_info, GError **err)
{
	struct image_info info = {
		.format = image_format(img),
		.virtual_size = image_size(img),
		.cluster_size = img->limits.cluster_size,
		.can_be_dirty = img->format->co_get_info || is_in_file(img),
		.backing_filename = g_strdup(img->backing_filename),
		.backing_format = g_strdup(img->backing_filename ? img->backing_format : NULL),
	};
	int ret = 0;

	if (img->backing_filename)
		info.full_backing_filename =
			image_resolve_backing(image_bottom_name(img), img->backing_filename);
	if (img->format->co_get_info)
		ret = image_one_line(img->format->co_get_info(img, &info, err), err);
	if (ret)
		image_info_clear(&info);
	else
		*ret_info = info;
	return ret;
}

void image_info_clear(struct image_info *info)
{
	g_free(info->backing_filename);
	g_free(info->full_backing_filename);
	g_free(info->backing_format);
	if (info->specific)
		g_variant_unref(info->specific);
	memset(info, 0, sizeof(*info));
}

void image_info_add_string(GVariantBuilder *pairs, const char *name, const char *value)
{
	g_variant_builder_add(pairs, "{sv}", name, g_variant_new_bytestring(value));
}

void image_info_add_number(GVariantBuilder *pairs, const char *name, uint64_t value)
{
	g_variant_builder_add(pairs, "{sv}", name, g_variant_new_uint64(value));
}

void image_info_add_bool(GVariantBuilder *pairs, const char *name, bool value)
{
	g_variant_builder_add(pairs, "{sv}", name, g_variant_new_boolean(value));
}

/* ---- all nodes of a graph ---- */

static void add_stats(const struct image *img, struct image_stats *stats)
{
	for (; img; img = img->backing) {
		if (img->format->add_stats)
			img->format->add_stats(img, stats);
		add_stats(img->file, stats);
		add_stats(img->data_file, stats);
	}
}

struct image_stats image_get_stats(const struct image *img)
{
	struct image_stats stats = { 0 };

	add_stats(img, &stats);
	return stats;
}

void image_begin_use(struct image *img)
{
	for (; img; img = img->backing) {
		atomic_fetch_add(&img->users, 1);
		image_begin_use(img->file);
		image_begin_use(img->data_file);
	}
}

void image_end_use(struct image *img)
{
	for (; img; img = img->backing) {
		if (atomic_fetch_sub(&img->users, 1) == 1 && img->format->give_back)
			img->format->give_back(img);
		image_end_use(img->file);
		image_end_use(img->data_file);
	}
}

int64_t image_co_allocated_bytes(struct image *img)
{
	if (img->ops->co_allocated_bytes)
		return img->ops->co_allocated_bytes(img);
	return img->file ? image_co_allocated_bytes(img->file) : -ENOTSUP;
}
