// SPDX-License-Identifier: GPL-2.0-or-later
/* The table of drivers; see transport.h. */
#include "transport.h"

const struct transport_ops *const transports[TRANSPORT_DRIVERS] = {
	[TRANSPORT_UBD] = &transport_ubd,
	[TRANSPORT_NBD] = &transport_nbd,
};
