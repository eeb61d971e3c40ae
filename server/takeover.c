// SPDX-License-Identifier: GPL-2.0-or-later
/* Which device a server continues; see takeover.h. */
#include "takeover.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "aio.h"
#include "error.h"
#include "leave.h"
#include "params.h"
#include "report.h"
#include "supervisor.h"
#include "uuid.h"
#include "waiting.h"

/* If the device or the image has no UUID, they may belong together. */
static bool may_be_same(const uint8_t *one, const uint8_t *other, size_t bytes)
{
	static const uint8_t none[sizeof(((struct identity *)0)->uuid)];

	return memcmp(one, other, bytes) == 0 || memcmp(one, none, bytes) == 0 ||
	       memcmp(other, none, bytes) == 0;
}

/* Before any server is asked to leave. */
static int check_identity(struct takeover *takeover, GError **err)
{
	const uint8_t *uuid = takeover->options->identity.uuid;
	const struct identity *had = &takeover->identity;
	struct transport *transport = takeover->transport;
	g_autofree char *wanted = NULL, *found = NULL;
	int res = transport_get_identity(transport, &takeover->identity);

	if (res < 0 && res != -EOPNOTSUPP)
		return error_set(err, res, "%s", transport->path);
	if (may_be_same(uuid, had->uuid, transport->ops->uuid_bytes))
		return 0;
	wanted = uuid_to_text(had->uuid);
	found = uuid_to_text(uuid);
	if (transport->ops->uuid_bytes < sizeof(had->uuid))
		return error_refuse(err, -EINVAL,
				    "%s: its UUID is %s, but that of %s begins as %s does; if the "
				    "image was moved, give --uuid=''",
				    takeover->options->filename, found, transport->path, wanted);
	return error_refuse(
		err, -EINVAL,
		"%s: its UUID is %s, but that of %s is %s; if the image was moved, give "
		"--uuid=%s",
		takeover->options->filename, found, transport->path, wanted, wanted);
}

/*
 * Before the server leaves, too, and while it writes to the image: what cannot be opened now could
 * not be served then. Not what is on a network, where the other server may have the only
 * connection.
 */
static int co_try_image(const struct takeover *takeover, GError **err)
{
	const struct options *options = takeover->options;
	const struct image_open_opts opts = {
		.flags = IMAGE_FORCE_SHARE | IMAGE_NO_BACKING,
		.format = options->format,
		.snapshot = options->snapshot,
		.cache_bytes = options->cache_bytes,
		.memory_limit = options->memory_limit,
		.policy = &options->policy,
	};
	struct image *image;
	int res;

	if (!image_co_file_id(options->filename).known)
		return 0;
	res = image_co_open(options->filename, &opts, &image, err);
	if (res < 0)
		return res;
	image_co_close(image);
	return 0;
}

/* The server that must leave may take long. */
static int call_take_over(void *arg)
{
	struct transport *transport = arg;

	return transport_take_over(transport);
}

/* Waits for the device's last server to end, and adopts the device's settings. */
static int co_take_over_device(struct takeover *takeover, GError **err)
{
	struct transport *transport = takeover->transport;
	struct device_params params;
	struct leave *leave;
	int res = check_identity(takeover, err);

	if (res == 0 && takeover->info.server_pid >= 0)
		res = co_try_image(takeover, err);
	if (res < 0)
		return res;
	if (takeover->info.server_pid >= 0)
		report_verbose("%s: waiting for its server to leave", transport->path);
	leave = leave_co_begin(transport, takeover->options->kill_after_s);
	res = co_run_on_thread("ubd-takeover", call_take_over, transport);
	leave_co_end(leave);
	res = res ?: transport->ops->get_params(transport, &params);
	/* Again: only now is it known since when the device has been waiting. */
	res = res ?: transport->ops->get_info(transport, &takeover->info);
	if (res < 0)
		return error_refuse(
			err, res, "%s: cannot take over the device: %s", transport->path,
			res == -EBUSY ? "another server is using it"
			: res == -ESRCH
				? "its server cannot be asked to leave; it is in another PID namespace"
				: g_strerror(-res));
	takeover->read_only = params.read_only;
	takeover->discard = params.max_discard_sectors != 0;
	takeover->block_size = params.logical_block_size;
	return 0;
}

/* Opens the device of --recover. */
static int open_named(struct takeover *takeover, GError **err)
{
	const struct options *options = takeover->options;

	takeover->transport = takeover->driver->open(options->recover, &takeover->info, err);
	if (!takeover->transport)
		return -1;
	if (takeover->info.recovery)
		return 0;
	return error_refuse(err, -EINVAL, "%s: its server was started without --recovery",
			    takeover->transport->path);
}

/*
 * Adopts the device of a server that died, which the service manager kept, unless the device has
 * ended, too.
 */
static void co_adopt_kept(struct takeover *takeover, int fd)
{
	struct transport_info *info = &takeover->info;
	g_autoptr(GError) err = NULL;
	struct transport *transport = takeover->driver->adopt(fd, info, &err);

	if (transport && info->recovery && info->state != TRANSPORT_STOPPED &&
	    info->state != TRANSPORT_ADDED) {
		takeover->transport = transport;
		return;
	}
	transport_free(transport);
	supervisor_co_drop_fd();
}

/* Of a driver; see mind_waiting(). */
static int mind_waiting_of(struct takeover *takeover, const struct transport_ops *driver,
			   GError **err)
{
	const struct options *options = takeover->options;
	struct transport_info info;
	struct transport *transport;
	int res = waiting_open(driver, options->identity.uuid, options->filename, &transport, &info,
			       err);

	if (res < 0 || !transport)
		return res;
	if (options->recovery && driver == takeover->driver) {
		report_note("%s waits for a server of this image; taking it over", transport->path);
		takeover->transport = transport;
		takeover->info = info;
		return 0;
	}
	res = waiting_refuse(transport, options->filename, err);
	transport_free(transport);
	return res;
}

/*
 * Looks for devices of this image that wait for a server although nobody has named them: a service
 * manager that gave up has closed one. A second device, or an export, would change the image behind
 * the back of what is mounted on it. Opens one of our driver if the options allow it; otherwise
 * fails if there is one.
 */
static int mind_waiting(struct takeover *takeover, GError **err)
{
	const struct options *options = takeover->options;
	int res = 0;

	if (options->read_only || options->temporary)
		return 0;
	for (unsigned i = 0; i < TRANSPORT_DRIVERS && !res; i++)
		res = mind_waiting_of(takeover, transports[i], err);
	return res;
}

static int co_find_device(struct takeover *takeover, int kept_fd, GError **err)
{
	if (kept_fd >= 0 && takeover->options->temporary) {
		close(kept_fd);
		return error_refuse(err, -EINVAL,
				    "--temporary: cannot take over the device that the service "
				    "manager has kept");
	}
	if (kept_fd >= 0)
		co_adopt_kept(takeover, kept_fd);
	else if (takeover->options->recover != TRANSPORT_ANY_ID)
		return open_named(takeover, err);
	return takeover->transport ? 0 : mind_waiting(takeover, err);
}

int takeover_co_begin(const struct options *options, const struct transport_ops *driver,
		      int kept_fd, struct takeover *ret_takeover, GError **err)
{
	struct takeover takeover = {
		.options = options,
		.driver = driver,
		.read_only = options->read_only,
		.discard = options->discard,
		.block_size = options->block_size,
	};
	/* An export has no device, but others may have one. */
	int res = options->exports ? mind_waiting(&takeover, err)
				   : co_find_device(&takeover, kept_fd, err);

	if (res == 0 && takeover.transport)
		res = co_take_over_device(&takeover, err);
	if (res == 0)
		*ret_takeover = takeover;
	else
		transport_free(takeover.transport);
	return res;
}

/* ---- the image ---- */

static int refuse_file(const struct takeover *takeover, const char *why, GError **err)
{
	return error_refuse(
		err, -ESTALE,
		"%s: %s, but the users of %s still rely on the old contents; --force accepts it",
		takeover->options->filename, why, takeover->transport->path);
}

/* Also true if nobody knows. */
static bool is_last_file(const struct takeover *takeover, const struct file_id *id)
{
	const struct identity *had = &takeover->identity;

	return !id->known || (!had->image_dev && !had->image_ino) ||
	       (id->dev == had->image_dev && id->ino == had->image_ino);
}

static int check_file(const struct takeover *takeover, const struct image *file, GError **err)
{
	struct file_id id = image_file_id(file);
	int64_t changed = image_file_changed_ns(file), left = takeover->info.left_ns;
	g_autofree char *why = NULL;

	if (takeover->options->force)
		return 0;
	if (!is_last_file(takeover, &id))
		return refuse_file(takeover, "it is not the file for which the device was created",
				   err);
	if (!left || changed <= left)
		return 0;
	why = g_strdup_printf("it was changed %.3f s after the device had lost its server",
			      (changed - left) / 1e9);
	return refuse_file(takeover, why, err);
}

int takeover_claim(const struct takeover *takeover, const struct image *file, int *ret_char_fd,
		   GError **err)
{
	struct file_id id = image_file_id(file);
	int res;

	if (*ret_char_fd >= 0)
		return 0;
	res = check_file(takeover, file, err);
	if (res < 0)
		return res;
	/* If it becomes another device, nothing has happened to the device's own image. */
	if (!is_last_file(takeover, &id))
		return 0;
	res = takeover->transport->ops->open_server_file(takeover->transport, err);
	if (res < 0)
		return res;
	*ret_char_fd = res;
	return 0;
}

int takeover_keep_image(const struct takeover *takeover, const struct image *image)
{
	struct file_id id = image_file_id(image);
	struct identity identity = takeover->identity;

	if (is_last_file(takeover, &id))
		return 0;
	identity.image_dev = id.dev;
	identity.image_ino = id.ino;
	return transport_set_identity(takeover->transport, &identity);
}
