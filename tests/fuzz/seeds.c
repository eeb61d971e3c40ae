// SPDX-License-Identifier: GPL-2.0-or-later
/* Writes the small base images into a folder, for the target `image` to begin with. */
#include <stdio.h>
#include <stdlib.h>

#include "base.h"

#define MAX_SEED_BYTES (128u << 10)

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return EXIT_FAILURE;
	}
	base_images_make();
	for (unsigned i = 0; i < nr_base_images; i++) {
		const struct base_image *base = base_image_at(i);
		g_autofree char *file = g_build_filename(argv[1], base->name, NULL);

		if (memdisk_size(base->disk) > MAX_SEED_BYTES)
			continue;
		if (memdisk_save(base->disk, file) < 0) {
			fprintf(stderr, "%s: cannot be written\n", file);
			return EXIT_FAILURE;
		}
	}
	return EXIT_SUCCESS;
}
