// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Opens an image that has the dirty bit, for writing: check counts all references in the file and
 * corrects what the bit allows to be wrong.
 */
#include "qcow2.h"

#include <inttypes.h>

static void tell(const struct qcow2 *q, const struct image_open_opts *opts,
		 const struct image_check_result *result)
{
	g_autofree char *line = NULL;

	/* An image that is as it should be is no news. */
	if (!opts->warn || (!result->corruptions_fixed && !result->leaks_fixed))
		return;
	line = g_strdup_printf(
		"%s: the image was not closed properly; a full check repaired %" PRIu64
		" errors and %" PRIu64 " leaked clusters",
		q->img->filename, result->corruptions_fixed, result->leaks_fixed);
	opts->warn(line);
}

int qcow2_co_repair_dirty(struct qcow2 *q, const struct image_open_opts *opts, GError **err)
{
	const struct image_check_opts all = { .fix = IMAGE_CHECK_FIX_LEAKS |
						     IMAGE_CHECK_FIX_ERRORS };
	struct image_check_result result = { 0 };
	int ret;

	if (!(q->incompatible_features & QCOW2_INCOMPAT_DIRTY))
		return 0;
	ret = qcow2_co_check_file(q, &all, &result);
	if (ret)
		return error_set(err, ret,
				 "%s: the image was not closed properly, and repairing it failed",
				 q->img->filename);
	if (result.corruptions || result.check_errors)
		return error_refuse(
			err, -EROFS,
			"%s: the image was not closed properly, and %" PRIu64
			" errors in it cannot be repaired; it can only be opened read-only",
			q->img->filename, result.corruptions + result.check_errors);
	tell(q, opts, &result);
	return 0;
}
