// SPDX-License-Identifier: GPL-2.0-or-later
/* The dirty bitmaps of an export, which --bitmap names. */
#include <errno.h>

#include "dirty_bits.h"
#include "disk.h"
#include "error.h"
#include "export_parts.h"

static const struct image_bitmap *find_in_list(const GPtrArray *list, const char *name)
{
	for (unsigned i = 0; i < list->len; i++) {
		const struct image_bitmap *bitmap = g_ptr_array_index(list, i);

		if (g_str_equal(bitmap->name, name))
			return bitmap;
	}
	return NULL;
}

/* One that changes while clients read it would be no bitmap of any moment. */
static int check_bitmap(const struct image *image, const struct image_bitmap *bitmap, GError **err)
{
	if (bitmap->enabled && !image_is_read_only(image))
		return error_refuse(err, -EBUSY,
				    "--bitmap: \"%s\" is enabled, so it would change while it is "
				    "exported; disable it, or give --read-only",
				    bitmap->name);
	return 0;
}

/* 0: this image does not have it. 1: loaded. */
static int co_load_from(struct image *image, const char *name, struct dirty_bits **ret_bits,
			GError **err)
{
	const struct image_bitmap *bitmap;
	g_autoptr(GPtrArray) list = NULL;
	int res = image_has_bitmaps(image) ? image_co_bitmap_list(image, &list, err) : 0;

	if (res < 0 || !list)
		return res;
	bitmap = find_in_list(list, name);
	if (!bitmap)
		return 0;
	return check_bitmap(image, bitmap, err)
		       ?: image_co_bitmap_load(image, name, ret_bits, err) ?: 1;
}

/* That of the first image of the chain that has one of this name, as in QEMU. */
static int co_load_bitmap(struct image *top, const char *name, struct dirty_bits **ret_bits,
			  GError **err)
{
	int res = 0;

	for (struct image *next = top, *image; next && !res; next = image_backing(image)) {
		image = image_below_filters(next);
		res = co_load_from(image, name, ret_bits, err);
	}
	if (!res)
		return error_refuse(err, -ENOENT, "--bitmap: %s has no bitmap \"%s\"",
				    image_filename(top), name);
	return MIN(res, 0);
}

int export_co_load_bitmaps(struct export *export, GError **err)
{
	struct nbd_export *nbd = &export->nbd;
	char **names = export->config.options->bitmaps;
	int res = 0;

	if (!names)
		return 0;
	nbd->bitmaps = g_new0(struct nbd_client_bitmap, g_strv_length(names));
	for (; *names && !res; names++) {
		struct nbd_client_bitmap *bitmap = &nbd->bitmaps[nbd->nr_bitmaps];

		bitmap->name = *names;
		res = co_load_bitmap(disk_image(export->config.disk), *names, &bitmap->bits, err);
		nbd->nr_bitmaps += !res;
	}
	return res;
}

void export_free_bitmaps(struct export *export)
{
	for (unsigned i = 0; i < export->nbd.nr_bitmaps; i++)
		dirty_bits_free(export->nbd.bitmaps[i].bits);
	g_free(export->nbd.bitmaps);
}
