/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a server needs after it has entered its sandbox (sandbox.h), as its options say. */
#ifndef UBD_SANDBOX_PLACES_H
#define UBD_SANDBOX_PLACES_H

#include <glib.h>

#include "options.h"

struct transport_ops;

/*
 * Allows what the process needs, and begins *@ret_config, which is for sandbox_enter() once
 * sandbox_co_add_disk() was called for each disk, and sandbox_finish() after that. < 0 with @err
 * set.
 */
int sandbox_prepare(const struct options *options, struct sandbox_config *ret_config, GError **err);

/*
 * Allows the places that a disk's options and image need. @driver: NULL for an export. @file is the
 * image's, of which nothing has been read. < 0 with @err set. Main loop, a coroutine.
 */
int sandbox_co_add_disk(const struct options *options, const struct transport_ops *driver,
			struct image *file, struct sandbox_config *config, GError **err);

int sandbox_finish(const struct options *options, const struct sandbox_config *config,
		   GError **err);

/* Whether another process must remove the server's files at its end; see runfile_begin_keeper(). */
bool sandbox_needs_keeper(const struct options *options, const struct sandbox_config *config);

#endif
