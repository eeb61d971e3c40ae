/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names of graphs: how a user or an image writes down the options of nodes.
 *
 *	json:{"driver": "qcow2", "file": {"driver": "file", "filename": "a.qcow2"}}
 *	driver=qcow2,file.driver=file,file.filename=a.qcow2	(only after --image-opts)
 *
 * Any other name is that of a file; see bottom/bottom.c.
 */
#ifndef UBD_NODE_NAME_H
#define UBD_NODE_NAME_H

#include "node_options.h"

/* Whether a node can have that name. */
bool node_name_is_identifier(const char *text);

bool node_name_is_json(const char *name);

/* The options of a name that is JSON; NULL, with @err set, if it is invalid. The caller frees it.
 */
struct node_options *node_name_parse(const char *name, GError **err);

/* The same of an option list. */
struct node_options *node_name_parse_list(const char *list, GError **err);

/* The name as JSON of these options. The caller frees it. */
char *node_name_make(const struct node_options *options);

/* What options call the node below a node of this driver (NULL: a format). */
const char *node_child_name(const char *driver);

#endif
