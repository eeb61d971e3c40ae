/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command "add": from the words of a client to a disk that is served. Main loop only.
 *
 * The file systems of images may hang, and then the commands that look at them do, too: each on its
 * own thread, and nobody else waits for it. A place has no more of them than half of the commands
 * that may wait, so that one whose file system hangs leaves room for others.
 */
#ifndef UBD_ADDER_H
#define UBD_ADDER_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>

#include "aio.h"
#include "colock.h"
#include "servers.h"

/* Private to adder.c. */
struct adder {
	struct servers *all;
	char *const *places;	/* as of --allow-add */
	unsigned *nr_adding;	/* in each of them; the last one is of names in none of them */
	struct co_mutex parses; /* options are parsed one after the other */
	GPtrArray *looks;	/* struct look */
	struct co_group group;	/* of them */
	bool is_ending;
};

/* @places: NULL: nothing can be added. */
void adder_init(struct adder *adder, struct servers *all, char *const *places);
/* Nobody is adding a disk any more. */
void adder_co_destroy(struct adder *adder);

/* As struct command_process has it. -EBUSY: too many are being added in the image's place. */
int adder_co_add(struct adder *adder, const char *image, char *const *words, int *fd,
		 json_t *answer, GError **err);

/* Clients that wait for a file to be looked at are told that the server is ending. */
void adder_end(struct adder *adder);

/* A thread still looks at a file: the process must exit without adder_co_destroy(). */
bool adder_is_looking(const struct adder *adder);

#endif
