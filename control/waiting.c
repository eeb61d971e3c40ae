// SPDX-License-Identifier: GPL-2.0-or-later
/* Devices that wait for a server; see waiting.h. */
#include "waiting.h"

#include <errno.h>
#include <string.h>

#include "error.h"
#include "others.h"
#include "uuid.h"

/*
 * Also true if a server that was to recover the device has begun, and has died or not opened it
 * yet.
 */
static bool waits(const struct transport_info *info)
{
	return info->state == TRANSPORT_QUIESCED ||
	       (info->state == TRANSPORT_RECOVERING && info->server_pid == -1);
}

/* Devices that may be the image's, as struct other. */
static GArray *find_candidates(const struct transport_ops *driver, const uint8_t *uuid)
{
	g_autofree char *text = uuid_to_text(uuid);
	g_autoptr(GArray) listed = NULL;
	GArray *found;

	/*
	 * All disks with its UUID are checked, because anybody can give that UUID to an
	 * unprivileged disk.
	 */
	if (driver->notions & TRANSPORT_NAMES)
		return others_find(driver, "uuid", text);
	found = g_array_new(FALSE, FALSE, sizeof(struct other));
	listed = driver->uuid_bytes ? driver->list(NULL) : NULL;
	for (unsigned i = 0; listed && i < listed->len; i++) {
		const struct transport_info *info =
			&g_array_index(listed, struct transport_info, i);
		struct other other = { info->id, info->unprivileged };

		g_array_append_val(found, other);
	}
	return found;
}

/*
 * Of a device that cannot be opened: 0 if it is known not to wait for a server of the image.
 * Unprivileged ones, which others may have named like this to get in the way, wait for nobody.
 */
static int mind_closed(const struct transport_ops *driver, const struct other *other,
		       const char *filename, const GError *why, GError **err)
{
	if (!(driver->notions & TRANSPORT_NAMES) || other->unprivileged ||
	    g_error_matches(why, UBD_ERROR, ENODEV))
		return 0;
	return error_refuse(
		err, -EBUSY,
		"%s: /dev/%s%u has its UUID and may wait for a server of it, but cannot "
		"be inspected (%s); if it belongs to another image, give --uuid",
		filename, driver->disk_name, other->id, why->message);
}

/* *ret_transport is NULL if the device does not wait for a server of the image. */
static int open_if_waiting(const struct transport_ops *driver, const struct other *other,
			   const uint8_t *uuid, const char *filename,
			   struct transport **ret_transport, struct transport_info *ret_info,
			   GError **err)
{
	g_autoptr(GError) why = NULL;
	struct transport *transport = driver->open(other->id, ret_info, &why);
	struct identity identity;

	*ret_transport = NULL;
	if (!transport)
		return mind_closed(driver, other, filename, why, err);
	if (waits(ret_info) && transport_get_identity(transport, &identity) == 0 &&
	    memcmp(identity.uuid, uuid, driver->uuid_bytes) == 0)
		*ret_transport = transport;
	else
		transport_free(transport);
	return 0;
}

static int refuse_both(struct transport *one, struct transport *two, const char *filename,
		       GError **err)
{
	error_refuse(err, -EEXIST,
		     "%s: both %s and %s wait for a server of this image; --recover=%s takes one "
		     "over",
		     filename, one->path, two->path, two->path);
	transport_free(one);
	transport_free(two);
	return -EEXIST;
}

static int open_any(const struct transport_ops *driver, const GArray *candidates,
		    const uint8_t *uuid, const char *filename, struct transport **ret_transport,
		    struct transport_info *ret_info, GError **err)
{
	struct transport *found = NULL;

	for (unsigned i = 0; i < candidates->len; i++) {
		struct transport_info info;
		struct transport *transport;
		int res = open_if_waiting(driver, &g_array_index(candidates, struct other, i), uuid,
					  filename, &transport, &info, err);

		if (res < 0) {
			transport_free(found);
			return res;
		}
		if (transport && found)
			return refuse_both(found, transport, filename, err);
		if (!transport)
			continue;
		found = transport;
		*ret_info = info;
	}
	*ret_transport = found;
	return 0;
}

int waiting_open(const struct transport_ops *driver, const uint8_t *uuid, const char *filename,
		 struct transport **ret_transport, struct transport_info *ret_info, GError **err)
{
	static const uint8_t none[sizeof(((struct identity *)0)->uuid)];
	g_autoptr(GArray) candidates = NULL;

	*ret_transport = NULL;
	if (memcmp(uuid, none, sizeof(none)) == 0)
		return 0;
	candidates = find_candidates(driver, uuid);
	return open_any(driver, candidates, uuid, filename, ret_transport, ret_info, err);
}

int waiting_refuse(const struct transport *transport, const char *filename, GError **err)
{
	return error_refuse(err, -EBUSY,
			    "%s: %s was created for it and waits for a server; take it over with "
			    "--recover=%s, or end it with 'ubdctl delete %s'",
			    filename, transport->path, transport->path, transport->path);
}
