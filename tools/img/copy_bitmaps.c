// SPDX-License-Identifier: GPL-2.0-or-later
/* Copies the bitmaps along with an image; see copy_bitmaps.h. */
#include "copy_bitmaps.h"

#include "tool.h"

bool copy_bitmaps_co_check(struct image *source, const char *target_format, bool skip_broken)
{
	g_autoptr(GPtrArray) bitmaps = NULL;

	if (!image_has_bitmaps(source)) {
		tool_error("%s: Source lacks bitmap support", image_filename(source));
		return false;
	}
	if (!image_format_has_bitmaps(target_format)) {
		tool_error("Format driver '%s' does not support bitmaps", target_format);
		return false;
	}
	if (tool_co_get_bitmaps(source, &bitmaps))
		return false;
	for (guint i = 0; i < bitmaps->len && !skip_broken; i++) {
		const struct image_bitmap *bitmap = bitmaps->pdata[i];

		if (!bitmap->inconsistent)
			continue;
		tool_error("%s: Cannot copy inconsistent bitmap '%s'; try --skip-broken-bitmaps, "
			   "or use 'bitmap --remove' to delete it",
			   image_filename(source), bitmap->name);
		return false;
	}
	return true;
}

static int co_copy(struct image *source, struct image *target, const struct image_bitmap *bitmap)
{
	g_autoptr(GError) err = NULL;
	int ret =
		image_co_bitmap_change(target, IMAGE_BITMAP_ADD, bitmap->name, bitmap->granularity,
				       &err)
			?: image_co_bitmap_merge(target, bitmap->name, source, bitmap->name, &err);

	if (!ret && !bitmap->enabled)
		ret = image_co_bitmap_change(target, IMAGE_BITMAP_DISABLE, bitmap->name, 0, &err);
	if (ret)
		tool_error("Failed to copy bitmap %s: %s", bitmap->name, err->message);
	return ret;
}

bool copy_bitmaps_check_target(const struct image *target)
{
	if (image_can_hold_bitmaps(target))
		return true;
	tool_error("%s: Format driver '%s' does not support bitmaps with these options",
		   image_filename(target), image_format(target));
	return false;
}

int copy_bitmaps_co_run(struct image *source, struct image *target)
{
	g_autoptr(GPtrArray) bitmaps = NULL;
	int ret = tool_co_get_bitmaps(source, &bitmaps);

	for (guint i = 0; !ret && i < bitmaps->len; i++) {
		const struct image_bitmap *bitmap = bitmaps->pdata[i];

		if (bitmap->inconsistent)
			tool_error("warning: Skipping inconsistent bitmap '%s'", bitmap->name);
		else
			ret = co_copy(source, target, bitmap);
	}
	return ret;
}
