/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commands to a running server: a request and its answer are JSON objects.
 *
 *  *	{"command": "status"}			what is served
 *  *	{"command": "stats"}			what was counted of requests
 *  *	{"command": "resize", "size": BYTES}	the image grows, and its device or export with it
 *  *	{"command": "resize"}			they grow to what the image has become
 *  *	{"command": "events"}			more lines follow the answer, see clients.h
 *  *	{"command": "throttle"}			which limits there are
 *  *	{"command": "throttle", "limits": {"iops-total": N, ...}}   changes some
 *  *	{"command": "remove"}			the disk ends, and nothing else
 *  *	{"command": "add", "image": NAME,	another disk, with these options of ubd-serve;
 *	 "options": [WORD, ...]}		with a device's control fd, or the answer says which
 *						device is "wanted"
 *  *	{"command": "quit"}			as SIGTERM
 *
 * "device": NAME says which disk a command is about; without it, there must be only one. If a
 * command failed, the answer has a text in "error". Several commands may run at the same time.
 * Main loop only.
 */
#ifndef UBD_COMMANDS_H
#define UBD_COMMANDS_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>

#include "disk.h"
#include "job.h"
#include "target.h"

struct throttle_group;

/* The image that the user named, which is only the base of what is served if that is an overlay. */
struct image_origin {
	const char *name;
	const char *path; /* leads to it from any folder; NULL: none does */
	const char *format;
	struct file_id id;
	bool temporary; /* writes go to a temporary overlay ... */
	char *keep_as;	/* ... which gets this name; NULL: none */
};

/* A disk that commands work on. */
struct command_target {
	struct disk *disk;
	const struct image_origin *origin;
	struct target *target;
	struct throttle_group *throttle;
	struct jobs *jobs;
	unsigned users;		  /* commands that run; private to commands.c, as the next one */
	struct coroutine *waiter; /* commands_co_let_go() */
};

/* What commands work on. */
struct command_process {
	GPtrArray *targets; /* struct command_target, those that are live */
	bool several;	    /* there may be others than one */
	/*
	 * Adds a disk, and says so in @answer. @fd: as for commands_co_run(). < 0 with @err set.
	 */
	int (*co_add)(void *arg, const char *image, char *const *words, int *fd, json_t *answer,
		      GError **err);
	/* Ends a disk, and waits until its image is closed and it is gone. */
	void (*co_remove)(void *arg, const struct command_target *target);
	void *arg;
};

/* What must follow the answer to a command. */
enum commands_then {
	COMMANDS_NOTHING,
	COMMANDS_EVENTS, /* as they happen */
	COMMANDS_QUIT,	 /* the server must end */
};

/*
 * Runs the command that @request names, and fills @answer. *fd came with it, or is -1; a command
 * that keeps it sets it to -1.
 */
enum commands_then commands_co_run(const struct command_process *process, const json_t *request,
				   int *fd, json_t *answer);

/* Whether the command that @request names may take long, whoever waits for it. */
bool commands_may_wait(const json_t *request);

/*
 * Of a disk that is not among the targets any more: cancels its jobs, and waits until no command
 * uses it.
 */
void commands_co_let_go(struct command_target *target);

/* Makes @answer say what went wrong. */
void commands_refuse(json_t *answer, const char *message);

#endif
