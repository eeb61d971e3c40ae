// SPDX-License-Identifier: GPL-2.0-or-later
/* Structural operations that give a qcow2 image another size. */
#include "structural.h"

#include <errno.h>

static bool is_qcow2(const struct image_spec *spec)
{
	return g_str_equal(spec->format, "qcow2");
}

static int co_resize(struct structural *s)
{
	uint64_t old = image_size(s->img), size = structural_draw_size(s);
	enum image_preallocation mode = IMAGE_PREALLOC_OFF;
	int ret;

	if (size > old && rng_percent(&s->rng, 40))
		mode = rng_between(&s->rng, IMAGE_PREALLOC_METADATA, IMAGE_PREALLOC_FULL);
	structural_begin(s, NULL, size);
	/* Once more after an error, for what that left behind. */
	ret = image_co_resize(s->img, size, mode, NULL);
	if (ret < 0 && s->faults)
		ret = image_co_resize(s->img, size, mode, NULL);
	structural_end(s, ret);
	/* Version 2 cannot, where there are snapshots. */
	return ret == -ENOTSUP && s->spec->compat == 2 ? 0 : ret;
}

const struct structural_op structural_resize = {
	.name = "resize",
	.exclusive = true,
	.fits = is_qcow2,
	.co_perform = co_resize,
};
