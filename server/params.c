// SPDX-License-Identifier: GPL-2.0-or-later
/* What block device an image makes. */
#include "params.h"

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "align.h"
#include "error.h"

/* File systems align to it, and disks under the image like it. */
#define PHYSICAL_BLOCK_SIZE 4096u
/*
 * A discard of a whole disk takes a few requests, and none of them lasts so
 * long that others wait for it in vain.
 */
#define MAX_DISCARD_BYTES   (256u << 20)

/*
 * What is on a disk was made for its blocks, and what is in an image file for those of 512 bytes
 * that images have in QEMU, wherever the file is now. The image layer does what is less than a
 * block of the storage.
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
