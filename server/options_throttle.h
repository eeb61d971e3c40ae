/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The options that limit the requests of a disk. */
#ifndef UBD_OPTIONS_THROTTLE_H
#define UBD_OPTIONS_THROTTLE_H

#include <glib.h>

struct throttle_group;

/* Ends with an empty entry. */
extern const GOptionEntry throttle_option_entries[];

/* Keeps what was parsed until now, and goes back to it. */
void throttle_options_keep(void);
void throttle_options_restore(void);
/* Frees what was parsed since then. */
void throttle_options_drop(void);

/*
 * What was given, once the words are parsed: a group that has no limits if none were given, or the
 * one that was named. It stays until the program ends. NULL with @err set.
 */
struct throttle_group *throttle_options_take(GError **err);

#endif
