// SPDX-License-Identifier: GPL-2.0-or-later
/* What `info` shows of a qcow2 image, in QEMU's words and order. */
#include "enum_names.h"
#include "qcow2.h"

static GVariant *describe_bitmap(const struct image_bitmap *bitmap)
{
	GVariantBuilder pairs, flags;

	g_variant_builder_init(&flags, G_VARIANT_TYPE("av"));
	if (bitmap->inconsistent)
		g_variant_builder_add(&flags, "v", g_variant_new_bytestring("in-use"));
	if (bitmap->enabled)
		g_variant_builder_add(&flags, "v", g_variant_new_bytestring("auto"));
	g_variant_builder_init(&pairs, G_VARIANT_TYPE_VARDICT);
	g_variant_builder_add(&pairs, "{sv}", "flags", g_variant_builder_end(&flags));
	image_info_add_string(&pairs, "name", bitmap->name);
	image_info_add_number(&pairs, "granularity", bitmap->granularity);
	return g_variant_builder_end(&pairs);
}

static void add_bitmaps(GVariantBuilder *pairs, const GPtrArray *bitmaps)
{
	GVariantBuilder list;

	if (!bitmaps->len)
		return;
	g_variant_builder_init(&list, G_VARIANT_TYPE("av"));
	for (guint i = 0; i < bitmaps->len; i++)
		g_variant_builder_add(&list, "v", describe_bitmap(bitmaps->pdata[i]));
	g_variant_builder_add(pairs, "{sv}", "bitmaps", g_variant_builder_end(&list));
}

static void add_encryption(GVariantBuilder *pairs, uint32_t method)
{
	static const struct enum_name methods[] = { { "aes", 1 }, { "luks", 2 }, {} };
	GVariantBuilder encrypt;

	g_variant_builder_init(&encrypt, G_VARIANT_TYPE_VARDICT);
	image_info_add_string(&encrypt, "format", enum_to_name(methods, method) ?: "unknown");
	g_variant_builder_add(pairs, "{sv}", "encrypt", g_variant_builder_end(&encrypt));
}

static GVariant *describe(const struct qcow2 *q, const GPtrArray *bitmaps)
{
	/* The header of version 2 has no room for some of it. */
	bool is_v3 = q->version >= 3;
	GVariantBuilder pairs;

	g_variant_builder_init(&pairs, G_VARIANT_TYPE_VARDICT);
	image_info_add_string(&pairs, "compat", is_v3 ? "1.1" : "0.10");
	image_info_add_string(&pairs, "compression-type",
			      q->compression_type == QCOW2_COMPRESSION_ZSTD ? "zstd" : "zlib");
	if (is_v3)
		image_info_add_bool(&pairs, "lazy-refcounts",
				    q->compatible_features & QCOW2_COMPAT_LAZY_REFCOUNTS);
	add_bitmaps(&pairs, bitmaps);
	image_info_add_number(&pairs, "refcount-bits", 1u << q->refcount_order);
	if (q->crypt_method)
		add_encryption(&pairs, q->crypt_method);
	if (q->data_filename)
		image_info_add_string(&pairs, "data-file", q->data_filename);
	if (q->incompatible_features & QCOW2_INCOMPAT_DATA_FILE)
		image_info_add_bool(&pairs, "data-file-raw", q->data_file_raw);
	if (is_v3) {
		image_info_add_bool(&pairs, "corrupt",
				    q->incompatible_features & QCOW2_INCOMPAT_CORRUPT);
		image_info_add_bool(&pairs, "extended-l2", q->extended_l2);
	}
	return g_variant_ref_sink(g_variant_builder_end(&pairs));
}

void qcow2_add_stats(const struct image *img, struct image_stats *stats)
{
	struct qcow2 *q = img->opaque;

	qcow2_l2_cache_add_stats(q, stats);
	stats->allocated_bytes += atomic_load(&q->nr_taken) << q->cluster_bits;
	stats->freed_bytes += atomic_load(&q->nr_given_back) << q->cluster_bits;
}

int qcow2_co_get_info(struct image *img, struct image_info *info, GError **err)
{
	g_autoptr(GPtrArray) bitmaps = NULL;
	const struct qcow2 *q = img->opaque;
	int ret = qcow2_co_bitmap_list(img, &bitmaps, err);

	if (ret)
		return ret;
	info->cluster_size = q->cluster_size;
	info->vm_state_off = qcow2_vm_state_off(q);
	info->encrypted = q->crypt_method;
	info->dirty = q->incompatible_features & QCOW2_INCOMPAT_DIRTY;
	info->specific = describe(q, bitmaps);
	return 0;
}
