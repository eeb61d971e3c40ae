/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The loops on which client connections run. Their number is fixed, because the sandbox
 * allows no new rings: each client gets the loop with the fewest clients. A loop's thread starts
 * with its first client, and stays.
 */
#ifndef UBD_CLIENT_LOOPS_H
#define UBD_CLIENT_LOOPS_H

#include <glib.h>
#include <stdbool.h>

#include "coroutine.h"

struct client_loop;
struct client_loops;

/* For at most @max_clients. NULL with @err set. */
struct client_loops *client_loops_new(unsigned max_clients, GError **err);
/* All visits have ended. NULL is fine. */
void client_loops_free(struct client_loops *loops);

/* A client's work on a loop; embed it, zeroed. */
struct client_visit {
	co_fn *co_fn; /* called once, as a coroutine of the loop */
	void *arg;
	struct client_loop *loop; /* private to client_loops.c, as what follows */
	bool has_ended;
};

/* Any thread. 0 or -errno with @err set. */
int client_visit_begin(struct client_loops *loops, struct client_visit *visit, GError **err);
/* Waits until its function has returned; does nothing if it has not begun. Another thread. */
void client_visit_wait(struct client_visit *visit);

#endif
