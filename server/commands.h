/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commands to a running server: a request and its answer are JSON objects.
 *
 *  *	{"command": "status"}			describe the disks
 *  *	{"command": "stats"}			statistics of requests
 *  *	{"command": "resize", "size": BYTES}	grow the image and its device or export
 *  *	{"command": "resize"}			grow these to the current size of the file
 *  *	{"command": "events"}			more lines follow the answer, see clients.h
 *  *	{"command": "throttle"}			show the limits
 *  *	{"command": "throttle", "limits": {"iops-total": N, ...}}   change some of them
 *  *	{"command": "remove"}			end this disk only
 *  *	{"command": "add", "image": NAME,	add a disk, with these options of ubd-serve and a
 *	 "options": [WORD, ...]}		device's control fd; without one, the answer
 *						describes the "wanted" device
 *  *	{"command": "quit"}			like SIGTERM
 *
 * "device": NAME selects the disk; without it, there must be only one. If a
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

/* The image that the user named; with a temporary overlay, that is the overlay's backing file. */
struct image_origin {
	const char *name;
	const char *path; /* absolute; NULL: it has none */
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
	bool several;	    /* there may be more than one */
	/*
	 * Adds a disk, and puts its name into @answer. @fd: as for commands_co_run(). < 0 with @err
	 * set.
	 */
	int (*co_add)(void *arg, const char *image, char *const *words, int *fd, json_t *answer,
		      GError **err);
	/* Ends a disk, and waits until its image is closed and it is gone. */
	void (*co_remove)(void *arg, const struct command_target *target);
	void *arg;
};

/* What happens after the answer to a command. */
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

/* Whether the command that @request names may take long. */
bool commands_may_wait(const json_t *request);

/*
 * For a disk that is no longer among the targets: cancels its jobs, and waits until no command
 * uses it.
 */
void commands_co_let_go(struct command_target *target);

/* Sets the error message of @answer. */
void commands_refuse(json_t *answer, const char *message);

#endif
