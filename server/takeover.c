// SPDX-License-Identifier: GPL-2.0-or-later
/* Which device a server goes on with; see takeover.h. */
#include "takeover.h"

#include <errno.h>
#include <string.h>

#include "error.h"
#include "leave.h"
#include "options.h"
#include "others.h"
#include "report.h"
#include "supervisor.h"

/* What the driver knows of the device that is taken over. */
static struct {
	struct ubdsrv_ctrl_dev_info info;
	struct ubd_identity identity;
} last;

/* Before anybody is asked to leave. A device or an image without a UUID may be the right one. */
static int check_identity(struct control *control, GError **err)
{
	static const uint8_t none[sizeof(options.identity.uuid)];
	const uint8_t *uuid = options.identity.uuid;
	g_autofree char *wanted = NULL, *found = NULL;
	struct ubd_identity had;
	int res = control_get_identity(control, &had);

	last.identity = had;
	if (res < 0)
		return error_set(err, res, "/dev/ubdb%u", options.recover);
	if (memcmp(uuid, had.uuid, sizeof(none)) == 0 || memcmp(uuid, none, sizeof(none)) == 0 ||
	    memcmp(had.uuid, none, sizeof(none)) == 0)
		return 0;
	wanted = control_uuid_to_text(had.uuid);
	found = control_uuid_to_text(uuid);
	return error_refuse(
		err, -EINVAL,
		"%s: its UUID is %s, but that of /dev/ubdb%u is %s; if the image was moved, give "
		"--uuid=%s",
		options.filename, found, options.recover, wanted, wanted);
}

/* Waits for the end of the device's last server; the device's own options are taken up. */
static int take_over_control(struct control *control, const struct ubdsrv_ctrl_dev_info *info,
			     GError **err)
{
	struct ubd_params params;
	struct leave *leave;
	int res = check_identity(control, err);

	if (res < 0)
		return res;
	if (info->ubdsrv_pid >= 0)
		report_verbose("/dev/ubdb%u: waiting for its server to leave", info->dev_id);
	leave = leave_begin(control, options.kill_after_s);
	res = control_take_over(control);
	leave_end(leave);
	res = res ?: control_get_params(control, &params);
	/* Anew: since when it waits is known only now. */
	res = res ?: control_get_info(control, &last.info);
	if (res < 0)
		return error_refuse(
			err, res, "/dev/ubdb%u: cannot take over the device: %s", info->dev_id,
			res == -EBUSY ? "another server is using it" : g_strerror(-res));
	options.read_only = params.attrs & UBD_ATTR_READ_ONLY;
	options.discard = params.max_discard_sectors != 0;
	options.block_size = params.logical_block_size;
	return 0;
}

/* The device of --recover. */
static struct control *open_last(struct ubdsrv_ctrl_dev_info *ret_info, GError **err)
{
	struct control *control = control_open_dev(options.recover, ret_info, err);

	if (!control || ret_info->flags & UBD_F_USER_RECOVERY)
		return control;
	g_set_error(err, UBD_ERROR, EINVAL,
		    "/dev/ubdb%u: its server was started without --recovery", ret_info->dev_id);
	control_free(control);
	return NULL;
}

/* The device of a server that died, kept by the service manager; NULL if it has ended as well. */
static struct control *adopt_kept(int fd, struct ubdsrv_ctrl_dev_info *ret_info)
{
	g_autoptr(GError) err = NULL;
	struct control *control = control_adopt(fd, ret_info, &err);

	if (control && ret_info->flags & UBD_F_USER_RECOVERY &&
	    ret_info->state != UBD_S_DEV_STOPPED && ret_info->state != UBD_S_DEV_ADDED) {
		options.recover = ret_info->dev_id;
		return control;
	}
	control_free(control);
	supervisor_drop_fd();
	return NULL;
}

/* Also while a server that was to recover it has begun, and has died or not opened it yet. */
static bool waits(const struct ubdsrv_ctrl_dev_info *info)
{
	return info->state == UBD_S_DEV_QUIESCED ||
	       (info->state == UBD_S_DEV_RECOVERING && info->ubdsrv_pid == -1);
}

/*
 * The device of this image that waits for a server, though nobody has named it: a service manager
 * that gave up has let go of it. All disks of its UUID are looked at, for anybody can give that to
 * an unprivileged one. *ret_control is NULL if there is none; false with @err set if there are
 * several.
 */
static bool open_waiting(struct ubdsrv_ctrl_dev_info *ret_info, struct control **ret_control,
			 GError **err)
{
	g_autofree char *uuid = control_uuid_to_text(options.identity.uuid);
	g_autoptr(GArray) others = others_find("uuid", uuid);

	*ret_control = NULL;
	for (unsigned i = 0; i < others->len; i++) {
		struct ubdsrv_ctrl_dev_info info;
		struct control *control =
			control_open_dev(g_array_index(others, struct other, i).id, &info, NULL);

		if (!control || !waits(&info)) {
			control_free(control);
			continue;
		}
		if (*ret_control) {
			g_set_error(err, UBD_ERROR, EEXIST,
				    "%s: both /dev/ubdb%u and /dev/ubdb%u wait for a server of "
				    "this image; --recover=N takes one over",
				    options.filename, ret_info->dev_id, info.dev_id);
			control_free(control);
			control_free(*ret_control);
			return false;
		}
		*ret_control = control;
		*ret_info = info;
	}
	return true;
}

/*
 * A second device of the image would change it behind the back of what is mounted on the first. In
 * *ret_control the one that waits; false with @err set if it was not asked for.
 */
static bool mind_waiting(struct ubdsrv_ctrl_dev_info *ret_info, struct control **ret_control,
			 GError **err)
{
	struct control *control = NULL;

	*ret_control = NULL;
	if (!options.read_only && !open_waiting(ret_info, &control, err))
		return false;
	if (!control)
		return true;
	if (options.recovery) {
		*ret_control = control;
		options.recover = ret_info->dev_id;
		report_note("/dev/ubdb%u waits for a server of this image; taking it over",
			    ret_info->dev_id);
		return true;
	}
	g_set_error(err, UBD_ERROR, EBUSY,
		    "%s: /dev/ubdb%u was created for it and waits for a server; take it over with "
		    "--recover=%u, or end it with 'ubdctl delete %u'",
		    options.filename, ret_info->dev_id, ret_info->dev_id, ret_info->dev_id);
	control_free(control);
	return false;
}

int takeover_begin(int kept_fd, struct control **ret_control, GError **err)
{
	struct ubdsrv_ctrl_dev_info info;
	struct control *control = NULL;
	int res;

	if (kept_fd >= 0)
		control = adopt_kept(kept_fd, &info);
	else if (options.recover != UBD_DEV_ID_ANY && !(control = open_last(&info, err)))
		return -1;
	if (!control && !mind_waiting(&info, &control, err))
		return -1;
	*ret_control = control;
	if (!control)
		return 0;
	res = take_over_control(control, &info, err);
	if (res < 0)
		control_free(control);
	return res;
}

/* ---- the image ---- */

static int refuse_file(const char *why, GError **err)
{
	return error_refuse(
		err, -ESTALE,
		"%s: %s, but the users of /dev/ubdb%u still rely on the old contents; --force accepts it",
		options.filename, why, last.info.dev_id);
}

/* Or nobody knows. */
static bool is_last_file(const struct file_id *id)
{
	const struct ubd_identity *had = &last.identity;

	return !id->known || (!had->image_dev && !had->image_ino) ||
	       (id->dev == had->image_dev && id->ino == had->image_ino);
}

static int check_file(const struct image *file, GError **err)
{
	struct file_id id = image_file_id(file);
	int64_t changed = image_file_changed_ns(file);
	g_autofree char *why = NULL;

	if (options.force)
		return 0;
	if (!is_last_file(&id))
		return refuse_file("it is not the file for which the device was created", err);
	if (!last.info.left_ns || changed <= (int64_t)last.info.left_ns)
		return 0;
	why = g_strdup_printf("it was changed %.3f s after the device had lost its server",
			      (changed - (int64_t)last.info.left_ns) / 1e9);
	return refuse_file(why, err);
}

int takeover_claim(struct control *recovered, const struct image *file, int *ret_char_fd,
		   GError **err)
{
	struct file_id id = image_file_id(file);
	int res;

	if (*ret_char_fd >= 0)
		return 0;
	res = check_file(file, err);
	if (res < 0)
		return res;
	/* Should it make another device, nothing has happened to the device's own image. */
	if (!is_last_file(&id))
		return 0;
	res = control_open_char(recovered);
	if (res >= 0) {
		*ret_char_fd = res;
		return 0;
	}
	return error_set(err, res, "/dev/ubdc%u", last.info.dev_id);
}

int takeover_keep_image(struct control *recovered, const struct image *image)
{
	struct file_id id = image_file_id(image);

	if (is_last_file(&id))
		return 0;
	last.identity.image_dev = id.dev;
	last.identity.image_ino = id.ino;
	return control_set_identity(recovered, &last.identity);
}
