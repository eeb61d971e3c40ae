// SPDX-License-Identifier: GPL-2.0-or-later
/* Which block device an image becomes; see params.h. */
#include "params.h"

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "align.h"
#include "error.h"

/* File systems align to it, and it suits the disks under the image. */
#define PHYSICAL_BLOCK_SIZE 4096u
/*
 * A discard of a whole disk takes several requests, none of which lasts so long that others give up
 * waiting for it.
 */
#define MAX_DISCARD_BYTES   (256u << 20)

/*
 * The contents of a disk were made for its block size. The contents of an image file were made for
 * the 512 bytes that QEMU gives to images, wherever the file is now; the image layer handles
 * requests that are smaller than a block of the storage.
 */
static uint32_t default_block_size(const struct params_input *input)
{
	if (!input->is_disk)
		return SECTOR_SIZE;
	return CLAMP(input->limits->request_alignment, SECTOR_SIZE, sysconf(_SC_PAGESIZE));
}

int params_of_image(const struct params_input *input, struct device_params *ret_params,
		    uint32_t *ret_cut_bytes, GError **err)
{
	uint32_t block_size = input->block_size ?: default_block_size(input);
	uint32_t physical = MAX(PHYSICAL_BLOCK_SIZE, block_size);
	uint32_t cluster_size = input->limits->cluster_size;
	uint32_t discard = MAX(block_size, input->limits->request_alignment);
	uint32_t cut_bytes;
	struct device_params params = {
		.logical_block_size = block_size,
		.physical_block_size = physical,
		.io_min = physical,
		.io_opt = cluster_size ? MAX(cluster_size, physical) : 0,
		.discard_granularity = MAX(discard, cluster_size ?: physical),
	};

	cut_bytes = input->image_size % block_size;
	params.dev_sectors = (input->image_size - cut_bytes) / SECTOR_SIZE;
	if (params.dev_sectors == 0)
		return error_refuse(err, -EINVAL,
				    "its size is %" PRIu64
				    " bytes, but a block device has at least %u",
				    input->image_size, block_size);
	if (input->read_only)
		params.read_only = true;
	else
		params.volatile_cache = params.fua = true;
	if (!input->read_only && input->discard)
		params.max_discard_sectors = MAX_DISCARD_BYTES / SECTOR_SIZE;
	if (!input->read_only)
		params.max_write_zeroes_sectors = MAX_DISCARD_BYTES / SECTOR_SIZE;
	*ret_params = params;
	*ret_cut_bytes = cut_bytes;
	return 0;
}
