// SPDX-License-Identifier: GPL-2.0-or-later
/* Image nodes: changes options of an existing image. */
#include <errno.h>
#include <string.h>

#include "image_int.h"

const struct image_option *image_amend_options(const char *format)
{
	const struct format_ops *ops = image_find_format(format, NULL);

	return ops && ops->co_amend ? ops->amend_options : NULL;
}

static int check_options(const struct format_ops *ops, GHashTable *options, GError **err)
{
	GHashTableIter iter;
	void *name;

	g_hash_table_iter_init(&iter, options);
	while (g_hash_table_iter_next(&iter, &name, NULL)) {
		if (image_has_option(ops->amend_options, name))
			continue;
		return error_refuse(err, -EINVAL, "Invalid parameter '%s'%s", (char *)name,
				    image_has_option(ops->create_options, name)
					    ? "\nThis option is only supported for image creation"
					    : "");
	}
	return 0;
}

static int check_image(const struct image *img, GError **err)
{
	if (!img->format->co_amend)
		return error_refuse(err, -ENOTSUP,
				    "Format driver '%s' does not support option amendment",
				    img->ops->name);
	if (image_is_read_only(img))
		return error_refuse(err, -EPERM, "the image is read-only");
	return 0;
}

int image_co_amend(struct image *img, GHashTable *options,
		   void (*progress)(void *arg, uint64_t done, uint64_t total), void *progress_arg,
		   GError **err)
{
	int ret = check_image(img, err) ?: check_options(img->format, options, err);

	return ret ?: img->format->co_amend(img, options, progress, progress_arg, err);
}
