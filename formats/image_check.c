// SPDX-License-Identifier: GPL-2.0-or-later
/* Image nodes: check and repair. */
#include <errno.h>

#include "image_int.h"

int image_co_check(struct image *img, void (*report)(void *arg, const char *line), void *report_arg,
		   struct image_check_result *ret_result)
{
	struct image_check_opts opts = { .report = report, .report_arg = report_arg };

	return image_co_repair(img, &opts, ret_result);
}

int image_co_repair(struct image *img, const struct image_check_opts *opts,
		    struct image_check_result *ret_result)
{
	struct image_check_result result = {};
	int ret;

	if (!img->format->co_check)
		return -ENOTSUP;
	if (opts->fix && !(img->flags & IMAGE_FOR_REPAIR))
		return -EPERM;
	ret = img->format->co_check(img, opts, &result);
	if (!ret)
		*ret_result = result;
	return ret;
}
