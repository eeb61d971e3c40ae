// SPDX-License-Identifier: GPL-2.0-or-later
/* The temporary overlay; see overlay.h. */
#include "overlay.h"

#include <errno.h>

#include "error.h"
#include "report.h"
#include "temporary.h"

struct overlay {
	const struct options *options;
	struct image_temporary *file;
	bool is_complete;
};

/* What a file that is kept calls the image. */
static const char *base_name(const struct options *options, GError **err)
{
	if (!options->stable_name)
		error_refuse(err, -EINVAL, "--keep-as: '%s' cannot be named as a backing file",
			     options->filename);
	return options->stable_name;
}

static struct image_temporary *new_file(const struct options *options, GError **err)
{
	if (options->keep_as)
		return image_temporary_new_kept(options->keep_as, err);
	return image_temporary_new(options->temporary_dir ?: IMAGE_TEMPORARY_DIR, err);
}

static int co_open(struct overlay *overlay, struct image *base, struct image **ret_image,
		   GError **err)
{
	const struct options *options = overlay->options;
	const struct image_open_opts opts = {
		.flags = IMAGE_RDWR | (options->direct ? IMAGE_DIRECT : 0) |
			 (options->discard ? IMAGE_UNMAP : 0) |
			 (options->copy_on_read ? IMAGE_COPY_ON_READ : 0) |
			 (options->no_lock ? IMAGE_WRITE_UNLOCKED : 0),
		.cache_bytes = options->cache_bytes,
	};
	const char *name = NULL;

	if ((options->keep_as && !(name = base_name(options, err))) ||
	    !(overlay->file = new_file(options, err))) {
		image_co_close(base);
		return -1;
	}
	return image_temporary_co_open(overlay->file, base, name, &opts, ret_image, err);
}

struct overlay *overlay_co_new(const struct options *options, struct image *base,
			       struct image **ret_image, GError **err)
{
	struct overlay *overlay = g_new0(struct overlay, 1);

	overlay->options = options;
	if (co_open(overlay, base, ret_image, err) == 0)
		return overlay;
	overlay_free(overlay);
	return NULL;
}

bool overlay_can_be_kept(const struct overlay *overlay, GError **err)
{
	return !overlay || image_temporary_check_keep(overlay->file, err) == 0;
}

void overlay_complete(struct overlay *overlay, struct image *image)
{
	if (!overlay || !overlay->options->keep_as)
		return;
	image_end_no_flush(image);
	overlay->is_complete = true;
}

/* What was written for hours is not thrown away because the end of it is missing. */
static void co_keep_incomplete(struct overlay *overlay)
{
	g_autoptr(GError) err = NULL;
	g_autofree char *name = NULL;

	if (image_temporary_co_keep_incomplete(overlay->file, &name, &err) < 0)
		report_error("%s", err->message);
	else
		report_error("the overlay was kept as '%s', in which data may be missing", name);
}

bool overlay_co_keep(struct overlay *overlay, bool is_whole)
{
	g_autoptr(GError) err = NULL;
	g_autofree char *name = NULL;

	if (!overlay || !overlay->is_complete)
		return true;
	if (!is_whole || image_temporary_co_keep(overlay->file, &name, &err) < 0) {
		if (err)
			report_error("%s", err->message);
		co_keep_incomplete(overlay);
		return false;
	}
	if (g_str_equal(name, overlay->options->keep_as)) {
		report_verbose("kept the overlay as %s", name);
		return true;
	}
	report_error("'%s' exists by now; the overlay was kept as '%s'", overlay->options->keep_as,
		     name);
	return false;
}

void overlay_free(struct overlay *overlay)
{
	if (!overlay)
		return;
	image_temporary_free(overlay->file);
	g_free(overlay);
}
