/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disks that a server begins with: those of its command line, and those of --config. */
#ifndef UBD_CONFIG_H
#define UBD_CONFIG_H

#include <glib.h>

#include "options.h"

/*
 * The options (struct options) of each disk, which the array has. A file that cannot be used is
 * reported, and its disk is missing: *ret_failed. NULL after reporting what is wrong with all of
 * it. Before there are other threads.
 */
GPtrArray *config_disks(const struct options *options, bool *ret_failed);

#endif
