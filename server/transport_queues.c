// SPDX-License-Identifier: GPL-2.0-or-later
/* The table of drivers, as the server's queues know them; see transport_queues.h. */
#include "transport_queues.h"

const struct transport_queues *transport_queues(const struct transport_ops *ops)
{
	static const struct transport_queues *const all[TRANSPORT_DRIVERS] = {
		[TRANSPORT_UBD] = &transport_queues_ubd,
		[TRANSPORT_UBLK] = &transport_queues_ublk,
		[TRANSPORT_NBD] = &transport_queues_nbd,
	};

	return all[ops->driver];
}
