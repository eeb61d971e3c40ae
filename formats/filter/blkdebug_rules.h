/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a blkdebug node does at events: its rules, from a configuration file and from options, and
 * the state that they depend on. Any thread.
 */
#ifndef UBD_BLKDEBUG_RULES_H
#define UBD_BLKDEBUG_RULES_H

#include "image_event.h"

struct debug_rules;

/* Kinds of requests, which a rule may be limited to. */
enum debug_request {
	DEBUG_READ,
	DEBUG_WRITE,
	DEBUG_WRITE_ZEROES,
	DEBUG_DISCARD,
	DEBUG_FLUSH,
	DEBUG_BLOCK_STATUS,
};

struct debug_rules *debug_rules_new(void);
/* No request may be suspended. */
void debug_rules_free(struct debug_rules *rules);

/*
 * Adds the rules of a configuration file: sections [inject-error] and [set-state], with lines of
 * the form name = "value". @name is that of the file, for messages.
 */
int debug_rules_add_config(struct debug_rules *rules, const char *name, const char *text,
			   GError **err);

/* Adds those of options: "inject-error.0.event"..., "set-state.0.event"... */
int debug_rules_add_options(struct debug_rules *rules, const struct node_options *options,
			    GError **err);

/* Applies the rules for an event. Suspends the caller if there is a breakpoint. */
void debug_rules_co_event(struct debug_rules *rules, enum image_event event);

/*
 * The error that a request gets: 0 if it may go on, or -errno. @bytes is 0 for requests without a
 * range.
 */
int debug_rules_co_check(struct debug_rules *rules, enum debug_request request, uint64_t off,
			 uint64_t bytes);

/* ---- breakpoints ---- */

/* -ENOENT: there is no such event. */
int debug_rules_break(struct debug_rules *rules, const char *event, const char *tag);
/* Also lets requests continue that are suspended there. NULL: all. -ENOENT: there is none. */
int debug_rules_remove_break(struct debug_rules *rules, const char *tag);
/* Lets one request continue. -ENOENT: none is suspended there. */
int debug_rules_resume(struct debug_rules *rules, const char *tag);
/* Waits until a request is suspended there. */
void debug_rules_co_wait_break(struct debug_rules *rules, const char *tag);

#endif
