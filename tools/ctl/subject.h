/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a command is about: a device or an export, by its own name or by that of its image. */
#ifndef UBD_CTL_SUBJECT_H
#define UBD_CTL_SUBJECT_H

#include <stdbool.h>

#include "ctl.h"
#include "servers.h"

/*
 * Finds what @word means: a device's name or number, an export's name, or a file that is the image
 * of exactly one of them. Returns its name, such as "/dev/ubdb0", which the caller frees; NULL
 * after an error message.
 */
char *subject_find(const char *word);
/* Whether a name that was found is not that of a driver's device. */
bool subject_is_export(const char *name);

/*
 * The socket of the server that is meant, whose path @word may also be. *ret_name: what it calls
 * the device or export; NULL: what it serves. The caller frees both; NULL after an error message.
 */
char *subject_find_socket(const char *word, char **ret_name);

/*
 * What the servers of these answer to a command that servers_ask() takes, struct server *; of all
 * that can be found if there are no words. The caller unrefs the list; NULL after an error message.
 */
GPtrArray *subjects_ask(char **words, const char *command);

#endif
