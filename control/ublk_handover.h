/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a ublk device passes from one server to the next: quiesce() and take_over() of transport.h.
 */
#ifndef UBD_UBLK_HANDOVER_H
#define UBD_UBLK_HANDOVER_H

#include "transport.h"

/*
 * Returns when the device has no server; -errno if it has ended, -ESRCH if the server cannot be
 * asked since this process does not see it.
 */
int ublk_quiesce(struct transport *transport);
int ublk_take_over(struct transport *transport);

#endif
