// SPDX-License-Identifier: GPL-2.0-or-later
/* Image nodes: how large a new image gets, before it is made. */
#include <errno.h>

#include "image_int.h"

int image_co_measure(const char *format, const struct image_create_opts *opts, struct image *source,
		     struct image_measurement *ret_measurement, GError **err)
{
	const struct format_ops *ops = image_find_format(format, err);
	struct image_measurement measurement = {};
	int ret;

	if (!ops)
		return -EINVAL;
	if (!ops->co_measure)
		return error_refuse(err, -ENOTSUP,
				    "Block driver '%s' does not support size measurement", format);
	ret = ops->co_measure(opts, source, &measurement, err);
	if (!ret)
		*ret_measurement = measurement;
	return ret;
}
