// SPDX-License-Identifier: GPL-2.0-or-later
/* How a device is added in the best way that the driver has; see transport.h. */
#include <errno.h>

#include "error.h"
#include "transport.h"

/*
 * The largest request. If the driver copies, every tag has a buffer of this size that stays in
 * memory, so that no request ever waits for memory that only the device itself could free (by
 * writing). Larger requests would hardly be faster, but need that much more memory.
 */
#define MAX_COPY_BYTES (128u << 10)
/* Otherwise requests use no memory, or share it. */
#define MAX_IO_BYTES   (1u << 20)

static bool offers(unsigned features, enum data_way way)
{
	return way == DATA_COPY || (way == DATA_USER_COPY && features & TRANSPORT_USER_COPY) ||
	       (way == DATA_ZERO_COPY && features & TRANSPORT_ZERO_COPY);
}

static struct transport *add_with(const struct transport_ops *ops, enum data_way way, bool batches,
				  struct transport_info *info, const struct identity *identity,
				  GError **err)
{
	info->data = way;
	info->batches = batches;
	info->max_io_bytes = way == DATA_COPY ? MAX_COPY_BYTES : MAX_IO_BYTES;
	return ops->add(info, identity, err);
}

/* If the driver refuses all of them, the last attempt says why. */
struct transport *transport_add(const struct transport_ops *ops, const enum data_way *ways,
				struct transport_info *info, const struct identity *identity,
				GError **err)
{
	struct transport *added = NULL;
	unsigned features;

	if (ops->get_features(&features, err) < 0)
		return NULL;
	for (; *ways != DATA_ANY && !added; ways++) {
		bool is_last = ways[1] == DATA_ANY;

		if (!offers(features, *ways)) {
			if (is_last)
				error_refuse(err, -ENOTSUP,
					     "the driver does not support %s copy on this kernel; "
					     "use another --data",
					     *ways == DATA_ZERO_COPY ? "zero" : "user");
			continue;
		}
		if (features & TRANSPORT_BATCHES)
			added = add_with(ops, *ways, true, info, identity, NULL);
		if (!added)
			added = add_with(ops, *ways, false, info, identity, is_last ? err : NULL);
	}
	return added;
}
