/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON text as options of nodes. */
#ifndef UBD_NODE_JSON_H
#define UBD_NODE_JSON_H

#include "node_options.h"

/*
 * Parses one JSON object, with QEMU's extension of strings in single quotes. The members of an
 * object or array inside it get dotted names ("file.filename", "list.0"). NULL, with @err set, if
 * it is invalid, or beyond the limits of node_json.c: it may be a stranger's. @prefix is put before
 * what is wrong with the text.
 */
struct node_options *node_options_from_json(const char *text, const char *prefix, GError **err);

#endif
