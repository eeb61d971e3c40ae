/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands `status` and `stats`: what is served, and how that goes. Main loop only. */
#ifndef UBD_STATUS_H
#define UBD_STATUS_H

#include "commands.h"

/* Adds to @answer what docs/ubd-serve.8 lists. Always 0. */
int status_answer(const struct command_target *on, const json_t *request, json_t *answer,
		  GError **err);
int stats_answer(const struct command_target *on, const json_t *request, json_t *answer,
		 GError **err);

#endif
