/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The options of ubd-serve that only exports have; see options.h. */
#ifndef UBD_OPTIONS_EXPORT_H
#define UBD_OPTIONS_EXPORT_H

#include <glib.h>
#include <stdbool.h>

#include "export.h"

/* For g_option_context_add_main_entries(). */
extern const GOptionEntry export_option_entries[];

/* Whether --export was given. */
bool export_is_wanted(void);

/* Checks the options and fills in *ret_options; false with @err set. Once. */
bool export_options_take(struct export_options *ret_options, GError **err);

#endif
