// SPDX-License-Identifier: GPL-2.0-or-later
/* A device's parameters as ublk_drv has them; see ublk_params.h. */
#include "ublk_params.h"

static uint8_t shift_of(uint32_t bytes)
{
	return bytes ? g_bit_storage(bytes) - 1 : 0;
}

struct ublk_params ublk_params_to_wire(const struct device_params *params)
{
	bool discards = params->max_discard_sectors || params->max_write_zeroes_sectors;

	return (struct ublk_params){
		.len = sizeof(struct ublk_params),
		.types = UBLK_PARAMS_BASIC | (discards ? UBLK_PARAMS_DISCARD : 0),
		.basic = {
			.attrs = (params->read_only ? UBLK_ATTR_READ_ONLY : 0) |
				 (params->rotational ? UBLK_ATTR_ROTATIONAL : 0) |
				 (params->volatile_cache ? UBLK_ATTR_VOLATILE_CACHE : 0) |
				 (params->fua ? UBLK_ATTR_FUA : 0),
			.logical_shift = shift_of(params->logical_block_size),
			.physical_shift = shift_of(params->physical_block_size),
			.io_min_shift = shift_of(params->io_min),
			/* There is no "none", but less than a block is none. */
			.io_opt_shift = shift_of(params->io_opt ?: params->physical_block_size),
			.max_sectors = params->max_io_sectors,
			.dev_sectors = params->dev_sectors,
		},
		.discard = {
			.granularity = discards ? params->discard_granularity : 0,
			.max_discard_sectors = params->max_discard_sectors,
			.max_write_zeroes_sectors = params->max_write_zeroes_sectors,
			.max_discard_segments = params->max_discard_sectors ? 1 : 0,
		},
	};
}

struct device_params ublk_params_from_wire(const struct ublk_params *wire)
{
	struct device_params params = {
		.read_only = wire->basic.attrs & UBLK_ATTR_READ_ONLY,
		.rotational = wire->basic.attrs & UBLK_ATTR_ROTATIONAL,
		.volatile_cache = wire->basic.attrs & UBLK_ATTR_VOLATILE_CACHE,
		.fua = wire->basic.attrs & UBLK_ATTR_FUA,
		.logical_block_size = 1u << (wire->basic.logical_shift & 31),
		.physical_block_size = 1u << (wire->basic.physical_shift & 31),
		.io_min = 1u << (wire->basic.io_min_shift & 31),
		.io_opt = 1u << (wire->basic.io_opt_shift & 31),
		.max_io_sectors = wire->basic.max_sectors,
		.dev_sectors = wire->basic.dev_sectors,
		.has_others = (wire->types &
			       ~(UBLK_PARAMS_BASIC | UBLK_PARAMS_DISCARD | UBLK_PARAMS_DEVT)) ||
			      wire->basic.chunk_sectors || wire->basic.virt_boundary_mask,
	};

	if (wire->types & UBLK_PARAMS_DISCARD) {
		params.discard_granularity = wire->discard.granularity;
		params.max_discard_sectors = wire->discard.max_discard_sectors;
		params.max_write_zeroes_sectors = wire->discard.max_write_zeroes_sectors;
	}
	return params;
}
