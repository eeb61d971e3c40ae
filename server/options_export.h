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

/* Whether the option of that name is for all exports of a process ... */
bool export_option_is_of_listener(const char *name);
/* ... and whether one was given that can only be for one of several. */
bool export_option_is_of_one(void);

/* Keeps what was parsed until now, and goes back to it. */
void export_options_keep(void);
void export_options_restore(void);
/* Frees what was parsed since then. */
void export_options_drop(void);
/* The export's name, unless one was given. */
void export_options_set_name(const char *name);

/* Checks the options and fills in *ret_options; false with @err set. */
bool export_options_take(struct export_options *ret_options, GError **err);
/* Frees what *ret_options has. */
void export_options_clear(struct export_options *options);

#endif
