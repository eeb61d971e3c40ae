// SPDX-License-Identifier: GPL-2.0-or-later
/* The table of formats, and what is known of a format without an image. */
#include <errno.h>
#include <string.h>

#include "image_int.h"

static const struct format_ops *const formats[] = {
	&image_qcow2_format,
	&image_raw_format,
};

/* Nodes that no file looks like, and that are not created. */
static const struct format_ops *const filters[] = {
	&image_blkdebug_filter,	    &image_blkverify_filter,   &image_compress_filter,
	&image_copy_on_read_filter, &image_preallocate_filter, &image_throttle_filter,
};

const char *const *image_formats(void)
{
	static const char *names[G_N_ELEMENTS(formats) + 1];
	static gsize done;

	if (g_once_init_enter(&done)) {
		for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++)
			names[i] = formats[i]->io.name;
		g_once_init_leave(&done, 1);
	}
	return names;
}

const struct format_ops *image_find_format(const char *name, GError **err)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++)
		if (strcmp(formats[i]->io.name, name) == 0)
			return formats[i];
	for (unsigned i = 0; i < G_N_ELEMENTS(filters); i++)
		if (strcmp(filters[i]->io.name, name) == 0)
			return filters[i];
	g_set_error(err, UBD_ERROR, EINVAL, "Unknown driver '%s'", name);
	return NULL;
}

const struct format_ops *image_headerless_format(void)
{
	unsigned i = 0;

	while (!formats[i]->headerless)
		i++;
	return formats[i];
}

const struct format_ops *image_find_new_format(const char *name, GError **err)
{
	return strcmp(name, "file") == 0 ? image_headerless_format() : image_find_format(name, err);
}

const struct image_option *image_create_options(const char *format)
{
	const struct format_ops *ops = image_find_new_format(format, NULL);

	return ops && ops->co_create ? ops->create_options : NULL;
}

bool image_format_can_compress(const char *format)
{
	const struct format_ops *ops = image_find_format(format, NULL);

	return ops && ops->io.co_pwrite_compressed;
}

void image_load_compression(void)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++)
		if (formats[i]->load_compression)
			formats[i]->load_compression();
}

bool image_format_has_backing(const char *format)
{
	const struct format_ops *ops = image_find_format(format, NULL);

	return ops && ops->co_set_backing;
}

bool image_format_has_bitmaps(const char *format)
{
	const struct format_ops *ops = image_find_format(format, NULL);

	return ops && ops->co_bitmap_list;
}
