// SPDX-License-Identifier: GPL-2.0-or-later
/* Image nodes: internal snapshots, for formats that have them. */
#include <errno.h>

#include "image_int.h"

static int check_change(const struct image *img, bool supported, GError **err)
{
	if (!supported)
		return error_refuse(err, -ENOTSUP, "%s: format %s does not support snapshots",
				    img->filename, img->ops->name);
	if (image_is_read_only(img))
		return error_refuse(err, -EPERM, "%s: the image is read-only", img->filename);
	return 0;
}

static void clear_snapshot(void *arg)
{
	struct image_snapshot *snapshot = arg;

	g_free(snapshot->id);
	g_free(snapshot->name);
}

bool image_has_snapshots(const struct image *img)
{
	return img->format->co_snapshot_list;
}

int image_co_snapshot_list(struct image *img, GArray **ret_list)
{
	GArray *list = g_array_new(false, false, sizeof(struct image_snapshot));
	int ret = 0;

	g_array_set_clear_func(list, clear_snapshot);
	if (img->format->co_snapshot_list)
		ret = img->format->co_snapshot_list(img, list);
	if (ret)
		g_array_unref(list);
	else
		*ret_list = list;
	return ret;
}

int image_co_snapshot_create(struct image *img, const char *name, GError **err)
{
	int ret = check_change(img, img->format->co_snapshot_create, err);

	return image_one_line(ret ?: img->format->co_snapshot_create(img, name, err), err);
}

int image_co_snapshot_apply(struct image *img, const char *which, GError **err)
{
	int ret = check_change(img, img->format->co_snapshot_apply, err);

	return image_one_line(ret ?: img->format->co_snapshot_apply(img, which, err), err);
}

int image_co_snapshot_delete(struct image *img, const char *name, GError **err)
{
	int ret = check_change(img, img->format->co_snapshot_delete, err);

	return image_one_line(ret ?: img->format->co_snapshot_delete(img, name, err), err);
}
