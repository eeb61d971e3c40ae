// SPDX-License-Identifier: GPL-2.0-or-later
/* Image nodes: how large a new image gets, before it is made. */
#include <errno.h>

#include "align.h"
#include "extents.h"
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

int image_co_count_data(struct image *img, uint64_t unit, uint64_t *ret_units)
{
	g_autofree struct extents *extents = g_new(struct extents, 1);
	uint64_t size = image_size(img), off = 0, units = 0;

	extents_co_init(extents, img);
	while (off < size) {
		struct image_extent extent;
		int ret = extents_co_get(extents, off, size - off, &extent);
		uint64_t end = off + extent.bytes;

		if (ret)
			return ret;
		/* What follows in the last unit does not count again. */
		if (!(extent.flags & IMAGE_EXTENT_ZERO)) {
			units += div_round_up(end, unit) - off / unit;
			end = MIN(round_up_to(end, unit), size);
		}
		off = end;
	}
	*ret_units = units;
	return 0;
}
