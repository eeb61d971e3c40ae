/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages with fields, by the journal's native protocol: a datagram with a line NAME=VALUE for
 * each. So that a sandbox need not let it through, the socket is connected once. Any thread.
 */
#ifndef UBD_JOURNAL_H
#define UBD_JOURNAL_H

#include <stdbool.h>

/* Where the journal of systemd listens. */
#define JOURNAL_SOCKET "/run/systemd/journal/socket"

/* Connects to the journal, if it is there. */
void journal_connect(const char *path);

struct journal_field {
	const char *name;  /* NULL: the last one */
	const char *value; /* may be any text; NULL: there is no such field */
};

/* False: it was not taken. It does not wait for a journal that is slow. */
bool journal_send(const struct journal_field *fields);

#endif
