// SPDX-License-Identifier: GPL-2.0-or-later
/* Image nodes: breakpoints, which the first node from the image down has that knows them. */
#include <errno.h>

#include "image_ops.h"

static const struct debug_ops *find_debug(struct image **img)
{
	while (*img && !(*img)->format->debug)
		*img = (*img)->file;
	return *img ? (*img)->format->debug : NULL;
}

int image_set_break(struct image *img, const char *event, const char *tag)
{
	const struct debug_ops *debug = find_debug(&img);

	return debug ? debug->set_break(img, event, tag) : -ENOTSUP;
}

int image_remove_break(struct image *img, const char *tag)
{
	const struct debug_ops *debug = find_debug(&img);

	return debug ? debug->remove_break(img, tag) : -ENOTSUP;
}

int image_resume(struct image *img, const char *tag)
{
	const struct debug_ops *debug = find_debug(&img);

	return debug ? debug->resume(img, tag) : -ENOTSUP;
}

int image_co_wait_break(struct image *img, const char *tag)
{
	const struct debug_ops *debug = find_debug(&img);

	if (!debug)
		return -ENOTSUP;
	debug->co_wait_break(img, tag);
	return 0;
}
