// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The text: a version, the UUID and the serial number, and then numbers, all separated by commas,
 * which no serial number has.
 */
#include "nbd_description.h"

#include <string.h>

#include "nbd_sysfs.h"
#include "uuid.h"

#define VERSION "ubd1"

enum { TEXT_VERSION, TEXT_UUID, TEXT_SERIAL, TEXT_NUMBERS };

/* The numbers, in their order. */
enum number {
	IMAGE_DEV,
	IMAGE_INO,
	QUEUES,
	DEPTH,
	MAX_IO_BYTES,
	RECOVERY,
	RECOVERY_TIMEOUT,
	READ_ONLY,
	VOLATILE_CACHE,
	FUA,
	ROTATIONAL,
	LOGICAL_BLOCK_SIZE,
	PHYSICAL_BLOCK_SIZE,
	IO_MIN,
	IO_OPT,
	MAX_IO_SECTORS,
	DISCARD_GRANULARITY,
	MAX_DISCARD_SECTORS,
	MAX_WRITE_ZEROES_SECTORS,
	REQUEST_TIMEOUT,
	DEV_SECTORS,
	NUMBERS,
};

char *nbd_description_to_text(const struct nbd_description *description)
{
	const struct transport_info *info = &description->info;
	const struct device_params *params = &description->params;
	const uint64_t numbers[NUMBERS] = {
		[IMAGE_DEV] = description->identity.image_dev,
		[IMAGE_INO] = description->identity.image_ino,
		[QUEUES] = info->queues,
		[DEPTH] = info->depth,
		[MAX_IO_BYTES] = info->max_io_bytes,
		[RECOVERY] = info->recovery,
		[RECOVERY_TIMEOUT] = info->recovery_timeout,
		[READ_ONLY] = params->read_only,
		[VOLATILE_CACHE] = params->volatile_cache,
		[FUA] = params->fua,
		[ROTATIONAL] = params->rotational,
		[LOGICAL_BLOCK_SIZE] = params->logical_block_size,
		[PHYSICAL_BLOCK_SIZE] = params->physical_block_size,
		[IO_MIN] = params->io_min,
		[IO_OPT] = params->io_opt,
		[MAX_IO_SECTORS] = params->max_io_sectors,
		[DISCARD_GRANULARITY] = params->discard_granularity,
		[MAX_DISCARD_SECTORS] = params->max_discard_sectors,
		[MAX_WRITE_ZEROES_SECTORS] = params->max_write_zeroes_sectors,
		[REQUEST_TIMEOUT] = params->request_timeout,
		[DEV_SECTORS] = params->dev_sectors,
	};
	g_autofree char *uuid = uuid_to_text(description->identity.uuid);
	GString *text = g_string_new(VERSION);

	g_string_append_printf(text, ",%s,%s", uuid, description->identity.serial);
	for (unsigned i = 0; i < NUMBERS; i++)
		g_string_append_printf(text, ",%" G_GUINT64_FORMAT, numbers[i]);
	return g_string_free(text, FALSE);
}

static bool parse_numbers(char *const *texts, uint64_t *ret_numbers)
{
	for (unsigned i = 0; i < NUMBERS; i++)
		if (!g_ascii_string_to_unsigned(texts[i], 10, 0, G_MAXUINT64, &ret_numbers[i],
						NULL))
			return false;
	return true;
}

static bool are_sensible(const uint64_t *numbers)
{
	return numbers[QUEUES] >= 1 && numbers[QUEUES] <= UINT16_MAX && numbers[DEPTH] >= 1 &&
	       numbers[DEPTH] <= TRANSPORT_MAX_DEPTH && numbers[MAX_IO_BYTES] >= 4096 &&
	       numbers[MAX_IO_BYTES] <= (1u << 20) && numbers[RECOVERY] <= RECOVERY_FAIL_IO;
}

bool nbd_description_parse(const char *text, struct nbd_description *ret_description)
{
	g_auto(GStrv) texts = g_strsplit(text, ",", -1);
	struct identity identity = { 0 };
	uint64_t numbers[NUMBERS];

	if (g_strv_length(texts) != TEXT_NUMBERS + NUMBERS ||
	    strcmp(texts[TEXT_VERSION], VERSION) != 0 ||
	    !uuid_parse(texts[TEXT_UUID], identity.uuid) ||
	    strlen(texts[TEXT_SERIAL]) >= sizeof(identity.serial) ||
	    !parse_numbers(texts + TEXT_NUMBERS, numbers) || !are_sensible(numbers))
		return false;
	strcpy(identity.serial, texts[TEXT_SERIAL]);
	identity.image_dev = numbers[IMAGE_DEV];
	identity.image_ino = numbers[IMAGE_INO];
	*ret_description = (struct nbd_description){
		.info = {
			.queues = numbers[QUEUES],
			.depth = numbers[DEPTH],
			.max_io_bytes = numbers[MAX_IO_BYTES],
			.data = DATA_COPY,
			.recovery = numbers[RECOVERY],
			.recovery_timeout = numbers[RECOVERY_TIMEOUT],
		},
		.identity = identity,
		.params = {
			.read_only = numbers[READ_ONLY],
			.volatile_cache = numbers[VOLATILE_CACHE],
			.fua = numbers[FUA],
			.rotational = numbers[ROTATIONAL],
			.logical_block_size = numbers[LOGICAL_BLOCK_SIZE],
			.physical_block_size = numbers[PHYSICAL_BLOCK_SIZE],
			.io_min = numbers[IO_MIN],
			.io_opt = numbers[IO_OPT],
			.max_io_sectors = numbers[MAX_IO_SECTORS],
			.discard_granularity = numbers[DISCARD_GRANULARITY],
			.max_discard_sectors = numbers[MAX_DISCARD_SECTORS],
			.max_write_zeroes_sectors = numbers[MAX_WRITE_ZEROES_SECTORS],
			.request_timeout = numbers[REQUEST_TIMEOUT],
			.dev_sectors = numbers[DEV_SECTORS],
		},
	};
	return true;
}

bool nbd_description_read(uint32_t id, struct nbd_description *ret_description)
{
	g_autofree char *text = nbd_is_connected(id) ? nbd_attribute(id, "backend") : NULL;

	return text && nbd_description_parse(text, ret_description);
}
