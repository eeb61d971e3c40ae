// SPDX-License-Identifier: GPL-2.0-or-later
/* The parameters of a device, and how it grows with its image. */
#include "device_parts.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "error.h"
#include "params.h"
#include "report.h"

static bool is_disk(const struct image *image)
{
	return image_is_headerless(image) && image_is_on_block_device(image);
}

int device_choose_params(const struct device_config *config, struct device_params *ret_params,
			 GError **err)
{
	struct image *image = disk_image(config->disk);
	struct params_input input = {
		.limits = image_limits(image),
		.image_size = image_size(image),
		.read_only = image_is_read_only(image),
		.discard = config->discard,
		.is_disk = is_disk(image),
		.block_size = config->block_size,
	};
	uint32_t cut_bytes;
	int res = params_of_image(&input, ret_params, &cut_bytes, err);

	if (res < 0)
		g_prefix_error(err, "%s: ", image_filename(image));
	else if (cut_bytes)
		report_note("%s: ignoring the last %u bytes: they do not fill a block",
			    image_filename(image), cut_bytes);
	ret_params->request_timeout = config->request_timeout;
	return res;
}

int device_check_image(const struct device_config *config, GError **err)
{
	struct device_params params;

	return device_choose_params(config, &params, err);
}

int device_set_params(struct device *device, struct device_params *params, GError **err)
{
	int res = device->transport->ops->set_params(device->transport, params);

	if (res < 0)
		error_set(err, res, "%s: the driver refused the device's parameters",
			  image_filename(disk_image(device->config.disk)));
	return res;
}

static bool have_same_limits(const struct device_params *a, const struct device_params *b)
{
	struct device_params copy = *a;

	copy.dev_sectors = b->dev_sectors;
	return memcmp(&copy, b, sizeof(copy)) == 0;
}

int device_check_params(struct device *device, const struct device_params *params, GError **err)
{
	const char *filename = image_filename(disk_image(device->config.disk));
	const struct transport_ops *ops = device->transport->ops;
	struct device_params had, rounded = *params;
	int res = ops->get_params(device->transport, &had);

	if (ops->round_params)
		ops->round_params(&rounded);

	if (res < 0)
		error_set(err, res, "%s", device->transport->path);
	else if (params->dev_sectors < had.dev_sectors)
		g_set_error(
			err, UBD_ERROR, EINVAL,
			"%s: the image needs a device of %" PRIu64 " sectors, but %s has %" PRIu64,
			filename, params->dev_sectors, device->transport->path, had.dev_sectors);
	else if (!have_same_limits(&rounded, &had))
		g_set_error(
			err, UBD_ERROR, EINVAL,
			"%s: its block or cluster size differs from that of the image for which %s was created",
			filename, device->transport->path);
	else {
		device->sectors = had.dev_sectors;
		return 0;
	}
	return res < 0 ? res : -EINVAL;
}

int device_co_grow(struct device *device)
{
	uint64_t size = image_size(disk_image(device->config.disk));
	uint64_t sectors = (size - size % device->block_size) / SECTOR_SIZE;
	int res;

	if (sectors <= device->sectors)
		return 0;
	res = device_co_resize(device, sectors);
	if (res < 0)
		return res;
	device->sectors = sectors;
	return 0;
}
