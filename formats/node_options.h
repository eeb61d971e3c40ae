/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options of nodes: what was asked of a node and of those below it, and the tables of what each
 * kind of node understands.
 *
 * The options of a whole graph are one flat list of values with dotted names, such as "driver",
 * "file.filename" and "backing.file.filename". Opening a graph takes it apart: the options of a
 * child ("file.", "backing.", "data-file.") go to that child, and what is left must be in the table
 * of the node. So nothing that was asked for is ignored.
 *
 * Names and values may come from the header of an image: then they say which image, so that
 * its policy applies (policy.h).
 */
#ifndef UBD_NODE_OPTIONS_H
#define UBD_NODE_OPTIONS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* ---- values ---- */

enum node_value_type {
	NODE_VALUE_STRING,
	NODE_VALUE_NUMBER, /* as it was written */
	NODE_VALUE_BOOL,   /* "true" or "false" */
	NODE_VALUE_NULL,
};

struct node_value {
	char *name;
	char *text;
	enum node_value_type type;
	/* The file name of the image whose header has it; NULL: the user gave it. */
	GRefString *named_by;
};

struct node_options;

/*
 * More are refused, wherever they come from. What does not fit into a list is dropped, but the list
 * and all that are made of it remember that: see node_options_check_count().
 */
#define NODE_OPTIONS_MAX 256

struct node_options *node_options_new(void);
void node_options_free(struct node_options *options);
struct node_options *node_options_copy(const struct node_options *options);

/* Adds a value or replaces the one of that name. False: there are too many. */
bool node_options_set(struct node_options *options, const char *name, enum node_value_type type,
		      const char *text);

/* In order; @i counts from 0. NULL behind the last one. */
const struct node_value *node_options_at(const struct node_options *options, unsigned i);

/* NULL if it was not given; @options may be NULL. */
const struct node_value *node_options_find(const struct node_options *options, const char *name);
/* Its text; NULL if it was not given, or is not a string. */
const char *node_options_text(const struct node_options *options, const char *name);
void node_options_drop(struct node_options *options, const char *name);

/* Whether there are options of that child. */
bool node_options_has_child(const struct node_options *options, const char *child);
/* Moves those of the child into a list of their own, without "CHILD.". The caller frees it. */
struct node_options *node_options_take_child(struct node_options *options, const char *child);
/* Adds those of a child, "CHILD." before their names; frees @child_options. */
void node_options_put_child(struct node_options *options, const char *child,
			    struct node_options *child_options);
/* Puts @prefix before all names. */
void node_options_add_prefix(struct node_options *options, const char *prefix);
/* Adds the values of @others that @options does not have. */
void node_options_add_missing(struct node_options *options, const struct node_options *others);
/* From now on, all of them were in the header of this image. */
void node_options_set_named_by(struct node_options *options, const char *image);

/* -EINVAL if options were dropped. node_options_check() fails, too. */
int node_options_check_count(const struct node_options *options, GError **err);

/* As JSON in one line, with objects for children, laid out as QEMU does. The caller frees it. */
char *node_options_to_json(const struct node_options *options);

/* ---- tables ---- */

enum node_option_type {
	NODE_OPTION_STRING,
	NODE_OPTION_BOOL,
	NODE_OPTION_SIZE,
	NODE_OPTION_NUMBER,
	NODE_OPTION_CHOICE, /* one of `choices` */
	NODE_OPTION_ANY,    /* the node checks it */
};

struct node_option {
	const char *name; /* NULL ends a table; "NAME.*": all that begin with "NAME." */
	enum node_option_type type;
	const char *default_value; /* for documentation; NULL: depends, or none */
	const char *help;
	const char *const *choices;
	/* Not supported, and why; NULL: it is. */
	const char *refusal;
	/* It tells where the data is: a name in an image may always have it. */
	bool is_place;
	/* It can be changed while the image is open: by opening it again. */
	bool can_change;
	/* It decides what is read: the name of such a node is not that of its file alone. */
	enum {
		NODE_OPTION_NOT_IN_NAME,
		NODE_OPTION_IN_NAME,	   /* behind the driver */
		NODE_OPTION_FIRST_IN_NAME, /* QEMU's order is that of a hash table */
	} in_name;
};

/* What all nodes have. */
extern const struct node_option node_common_options[];

/* Whether this is the option with the name. */
bool node_option_is_named(const struct node_option *option, const char *name);

/* The option in @table (NULL: none) or among the common ones; NULL: neither has it. */
const struct node_option *node_option_find(const struct node_option *table, const char *name);

/*
 * Whether all options are in one of the two tables, with possible values. @places_only: names in
 * images may only have options that tell where the data is.
 */
int node_options_check(const struct node_options *options, const char *driver, bool is_format,
		       const struct node_option *table, bool places_only, GError **err);

/* Only the values of the common ones: the table of the node is not known yet. */
int node_options_check_common(const struct node_options *options, GError **err);

/*
 * The value of an option that was checked; @otherwise if it was not given. @options may be NULL.
 */
bool node_options_bool(const struct node_options *options, const char *name, bool otherwise);
uint64_t node_options_number(const struct node_options *options, const char *name,
			     uint64_t otherwise);

#endif
