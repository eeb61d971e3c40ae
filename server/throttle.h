/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command `throttle`: the limits of a disk, and changes of them. Main loop only. */
#ifndef UBD_THROTTLE_H
#define UBD_THROTTLE_H

#include "commands.h"

/*
 * Changes those limits that the member "limits" of @request names, and adds all that there are to
 * @answer. 0, or < 0 with @err set: nothing has changed.
 */
int throttle_answer(const struct command_target *on, const json_t *request, json_t *answer,
		    GError **err);

#endif
