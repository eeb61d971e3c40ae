// SPDX-License-Identifier: GPL-2.0-or-later
/* What ubdctl shows of a device; see describe.h. */
#include "describe.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "align.h"
#include "json_text.h"
#include "uuid.h"
#include "values.h"

int describe(struct transport *transport, struct description *ret_description)
{
	struct description *description = ret_description;
	int res = transport->ops->get_info(transport, &description->info);

	g_strlcpy(description->path, transport->path, sizeof(description->path));
	if (res == 0)
		res = transport->ops->get_params(transport, &description->params);
	if (res == 0)
		res = transport_get_identity(transport, &description->identity);
	/* A part of a UUID is nothing for people. */
	if (res == -EOPNOTSUPP || transport->ops->uuid_bytes < sizeof(description->identity.uuid))
		memset(description->identity.uuid, 0, sizeof(description->identity.uuid));
	if (res == -EOPNOTSUPP) {
		description->identity.serial[0] = 0;
		res = 0;
	}
	description->started = description->params.dev_sectors != 0;
	return res;
}

const char *describe_state(const struct description *description)
{
	static const char *const names[] = {
		[TRANSPORT_ADDED] = "added",	       [TRANSPORT_LIVE] = "live",
		[TRANSPORT_STOPPED] = "stopped",       [TRANSPORT_QUIESCED] = "quiesced",
		[TRANSPORT_RECOVERING] = "recovering",
	};

	return names[description->info.state];
}

uint64_t describe_size(const struct description *description)
{
	return description->params.dev_sectors * SECTOR_SIZE;
}

/* As the option --recovery of ubd-serve has it. */
static const char *recovery(const struct transport_info *info)
{
	static const char *const names[] = {
		[RECOVERY_NONE] = "none",
		[RECOVERY_FAIL] = "fail",
		[RECOVERY_REISSUE] = "reissue",
		[RECOVERY_FAIL_IO] = "fail-io",
	};

	return names[info->recovery];
}

static const char *yes_or_no(bool flag)
{
	return flag ? "yes" : "no";
}

/* NULL: it has none. The caller frees it. */
static char *uuid(const struct description *description)
{
	static const uint8_t none[16];
	const uint8_t *id = description->identity.uuid;

	return memcmp(id, none, sizeof(none)) == 0 ? NULL : uuid_to_text(id);
}

const char *describe_serial(const struct description *description)
{
	return description->identity.serial[0] ? description->identity.serial : NULL;
}

static void print_identity(const struct description *description)
{
	g_autofree char *uuid_text = uuid(description);

	if (describe_serial(description))
		printf("serial: %s\n", describe_serial(description));
	if (uuid_text)
		printf("UUID: %s\n", uuid_text);
}

static void print_bytes(const char *name, uint64_t bytes)
{
	g_autofree char *text = size_to_text(bytes);

	printf("%s: %s (%" PRIu64 " bytes)\n", name, text, bytes);
}

static void print_disk(const struct device_params *params)
{
	print_bytes("size", (uint64_t)params->dev_sectors * SECTOR_SIZE);
	printf("read-only: %s\n", yes_or_no(params->read_only));
	printf("write cache: %s\n", yes_or_no(params->volatile_cache));
	printf("block size: %u logical, %u physical\n", params->logical_block_size,
	       params->physical_block_size);
	printf("preferred I/O: %u minimal, %u optimal\n", params->io_min, params->io_opt);
	printf("discard: %s\n", yes_or_no(params->max_discard_sectors));
	if (params->request_timeout == TRANSPORT_NO_TIMEOUT)
		puts("request timeout: none");
	else if (params->request_timeout)
		printf("request timeout: %u s\n", params->request_timeout);
}

void describe_text(const struct description *description, const struct server *server)
{
	const struct transport_info *info = &description->info;

	printf("device: %s\n", description->path);
	if (server)
		server_print_image(server);
	print_identity(description);
	printf("state: %s\n", describe_state(description));
	if (info->server_pid > 0)
		printf("server: process %d\n", info->server_pid);
	else if (info->server_pid == 0)
		puts("server: outside this PID namespace, or hidden");
	printf("owner: user %u, group %u\n", info->owner_uid, info->owner_gid);
	printf("unprivileged: %s\n", yes_or_no(info->unprivileged));
	printf("recovery: %s\n", recovery(info));
	if (info->lost)
		puts("written data: may be lost, so flushes fail");
	if (info->recovery_timeout)
		printf("recovery timeout: %u s\n", info->recovery_timeout);
	printf("queues: %u, each for %u requests of up to %u bytes\n", info->queues, info->depth,
	       info->max_io_bytes);
	if (description->started)
		print_disk(&description->params);
}

static void add_disk(const struct device_params *params, json_t *object)
{
	json_add_int(object, "size", params->dev_sectors * SECTOR_SIZE);
	json_add_bool(object, "read-only", params->read_only);
	json_add_bool(object, "rotational", params->rotational);
	json_add_bool(object, "volatile-cache", params->volatile_cache);
	json_add_bool(object, "fua", params->fua);
	json_add_int(object, "logical-block-size", params->logical_block_size);
	json_add_int(object, "physical-block-size", params->physical_block_size);
	json_add_int(object, "io-min", params->io_min);
	json_add_int(object, "io-opt", params->io_opt);
	json_add_int(object, "discard-granularity", params->discard_granularity);
	json_add_int(object, "max-discard-sectors", params->max_discard_sectors);
	json_add_int(object, "max-write-zeroes-sectors", params->max_write_zeroes_sectors);
	if (params->request_timeout)
		json_add_int(object, "request-timeout",
			     params->request_timeout == TRANSPORT_NO_TIMEOUT
				     ? 0
				     : params->request_timeout);
}

json_t *describe_json(const struct description *description, const struct server *server)
{
	const struct transport_info *info = &description->info;
	g_autofree char *uuid_text = uuid(description);
	json_t *object = json_object();

	json_add_string(object, "device", description->path);
	json_add_int(object, "id", info->id);
	if (server)
		server_add_image(server, object);
	if (describe_serial(description))
		json_add_string(object, "serial", describe_serial(description));
	if (uuid_text)
		json_add_string(object, "uuid", uuid_text);
	json_add_string(object, "state", describe_state(description));
	if (info->server_pid > 0)
		json_add_int(object, "server-pid", info->server_pid);
	json_add_int(object, "owner-uid", info->owner_uid);
	json_add_int(object, "owner-gid", info->owner_gid);
	json_add_bool(object, "unprivileged", info->unprivileged);
	json_add_string(object, "recovery", recovery(info));
	json_add_bool(object, "lost", info->lost);
	if (info->recovery_timeout)
		json_add_int(object, "recovery-timeout", info->recovery_timeout);
	json_add_int(object, "queues", info->queues);
	json_add_int(object, "queue-depth", info->depth);
	json_add_int(object, "max-io-bytes", info->max_io_bytes);
	if (description->started)
		add_disk(&description->params, object);
	return object;
}
