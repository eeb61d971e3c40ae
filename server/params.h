/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parameters of an image's block device: capacity, block sizes, limits. */
#ifndef UBD_PARAMS_H
#define UBD_PARAMS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "image.h"
#include "transport.h"

struct params_input {
	const struct image_limits *limits;
	uint64_t image_size; /* bytes */
	bool read_only;
	bool discard;	     /* the device takes discards */
	bool is_disk;	     /* the image is a whole disk */
	uint32_t block_size; /* logical, 512 to 4096; 0: a disk's, or 512 */
};

/*
 * Fills *ret_params except max_io_sectors, which the driver decides. The capacity is a multiple of
 * the logical block size; *ret_cut_bytes is the size of the rest of the image. -EINVAL for an image
 * that is smaller than a block.
 */
int params_of_image(const struct params_input *input, struct device_params *ret_params,
		    uint32_t *ret_cut_bytes, GError **err);

#endif
