/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The deadline of a server that was asked to leave its device. The device's requests wait for it
 * from then on, so a server that hangs is reported or killed.
 */
#ifndef UBD_LEAVE_H
#define UBD_LEAVE_H

#include <glib.h>

#include "transport.h"

/* When to report a server that has not left. */
#define LEAVE_REMIND_SECONDS 30

struct leave;

/*
 * Call this before asking the server, if there is one, to leave. A coroutine kills it after
 * @kill_after_s seconds (0: never).
 */
struct leave *leave_co_begin(struct transport *transport, unsigned kill_after_s);

/* The server has left. NULL is fine. */
void leave_co_end(struct leave *leave);

#endif
