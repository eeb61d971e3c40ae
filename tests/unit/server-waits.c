// SPDX-License-Identifier: GPL-2.0-or-later
/* Builds an ubd-serve whose image never finishes opening, to test what ends the wait for it. */
#include <stdio.h>
#include <unistd.h>

#include "image.h"

int __wrap_image_co_open(const char *filename, const struct image_open_opts *opts,
			 struct image **ret_img, GError **err);

int __wrap_image_co_open(const char *filename, const struct image_open_opts *opts,
			 struct image **ret_img, GError **err)
{
	fputs("opening\n", stderr);
	for (;;)
		pause();
}
