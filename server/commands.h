/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands to a running server, over a UNIX socket of its user: a client connects, sends one line
 * with a JSON object, and gets one back.
 *
 *  *	{"command": "status"}			what is served
 *  *	{"command": "resize", "size": BYTES}	the image grows, and the device with it
 *  *	{"command": "resize"}			the device grows to what its image has become
 *  *	{"command": "quit"}			as SIGTERM
 *
 * If a command failed, the answer has a text in "error". Main thread only; a slow client delays no
 * request of the device, and is dropped after 2 seconds, whatever it does with them.
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
 * Listens on the socket @path, which is created as described in runfile.h. NULL with @err set on
 * failure. Free it with commands_free().
 */
struct commands *commands_new(const char *path, GError **err);

/* The descriptor to poll for input; -1 for NULL. */
int commands_fd(const struct commands *commands);

/* Serves a client. False: the server must end. */
bool commands_serve(struct commands *commands, struct aio_loop *loop, struct image *image,
		    struct device *device);

/* Removes the socket. NULL is fine. */
void commands_free(struct commands *commands);

#endif
