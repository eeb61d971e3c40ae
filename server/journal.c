// SPDX-License-Identifier: GPL-2.0-or-later
/* Messages with fields; see journal.h. */
#include "journal.h"

#include <endian.h>
#include <glib.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int journal_fd = -1;

void journal_connect(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (journal_fd >= 0)
		close(journal_fd);
	journal_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	if (journal_fd < 0 ||
	    connect(journal_fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return;
	close(journal_fd);
	journal_fd = -1;
}

/* Values with several lines are preceded by their length. */
static void add_field(GString *text, const struct journal_field *field)
{
	uint64_t bytes = htole64(strlen(field->value));

	g_string_append(text, field->name);
	if (strchr(field->value, '\n')) {
		g_string_append_c(text, '\n');
		g_string_append_len(text, (const char *)&bytes, sizeof(bytes));
	} else {
		g_string_append_c(text, '=');
	}
	g_string_append(text, field->value);
	g_string_append_c(text, '\n');
}

bool journal_send(const struct journal_field *fields)
{
	GString *text;
	ssize_t sent;

	if (journal_fd < 0)
		return false;
	text = g_string_new(NULL);
	for (; fields->name; fields++)
		if (fields->value)
			add_field(text, fields);
	sent = send(journal_fd, text->str, text->len, MSG_NOSIGNAL | MSG_DONTWAIT);
	g_string_free(text, TRUE);
	return sent >= 0;
}
