/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands to a running server, at a UNIX socket of its user: a client connects, sends a line that
 * is a JSON object, and gets one back.
 *
 *	{"command": "status"}			what is served
 *	{"command": "resize", "size": BYTES}	the image grows, and the device with it
 *	{"command": "resize"}			the device grows to what its image has become
 *	{"command": "quit"}			as SIGTERM
 *
 * The answer has "error", a text, if it was not done. Main thread only; a client that is slow keeps
 * no request of the device waiting, and is given up after 2 seconds, however it spends them.
 */
#ifndef UBD_COMMANDS_H
#define UBD_COMMANDS_H

#include <glib.h>
#include <stdbool.h>

#include "aio.h"
#include "device.h"
#include "image.h"

struct commands;

/*
 * Listens at the socket @path, which is made as runfile.h says. NULL with @err set on failure. Free
 * it with commands_free().
 */
struct commands *commands_new(const char *path, GError **err);

/* To be polled for input; -1 for NULL. */
int commands_fd(const struct commands *commands);

/* Serves a client. False: the server is to end. */
bool commands_serve(struct commands *commands, struct aio_loop *loop, struct image *image,
		    struct device *device);

/* Removes the socket. NULL is fine. */
void commands_free(struct commands *commands);

#endif
