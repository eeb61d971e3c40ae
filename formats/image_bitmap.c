// SPDX-License-Identifier: GPL-2.0-or-later
/* Image nodes: dirty bitmaps, for formats that have them. */
#include <errno.h>

#include "image_int.h"

static int has_none(const struct image *img, GError **err)
{
	g_set_error(err, UBD_ERROR, ENOTSUP, "%s: format %s does not support bitmaps",
		    img->filename, img->ops->name);
	return image_one_line(-ENOTSUP, err);
}

bool image_has_bitmaps(const struct image *img)
{
	return img->format->co_bitmap_list;
}

bool image_can_hold_bitmaps(const struct image *img)
{
	const struct format_ops *ops = img->format;

	return image_has_bitmaps(img) && (!ops->can_hold_bitmaps || ops->can_hold_bitmaps(img));
}

static int check_change(const struct image *img, GError **err)
{
	if (!image_has_bitmaps(img))
		return has_none(img, err);
	if (!image_is_read_only(img))
		return 0;
	g_set_error(err, UBD_ERROR, EPERM, "%s: the image is read-only", img->filename);
	return image_one_line(-EPERM, err);
}

int image_co_bitmap_list(struct image *img, GPtrArray **ret_list, GError **err)
{
	if (!image_has_bitmaps(img))
		return has_none(img, err);
	return image_one_line(img->format->co_bitmap_list(img, ret_list, err), err);
}

int image_co_bitmap_load(struct image *img, const char *name, struct dirty_bits **ret_bits,
			 GError **err)
{
	if (!image_has_bitmaps(img))
		return has_none(img, err);
	return image_one_line(img->format->co_bitmap_load(img, name, ret_bits, err), err);
}

int image_co_bitmap_change(struct image *img, enum image_bitmap_action action, const char *name,
			   uint64_t granularity, GError **err)
{
	int ret = check_change(img, err);

	ret = ret ?: img->format->co_bitmap_change(img, action, name, granularity, err);
	return image_one_line(ret, err);
}

int image_co_bitmap_merge(struct image *img, const char *name, struct image *src,
			  const char *src_name, GError **err)
{
	struct dirty_bits *bits = NULL;
	int ret = check_change(img, err) ?: image_co_bitmap_load(src, src_name, &bits, err);

	ret = ret ?: img->format->co_bitmap_merge(img, name, bits, err);
	dirty_bits_free(bits);
	return image_one_line(ret, err);
}
