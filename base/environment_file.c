// SPDX-License-Identifier: GPL-2.0-or-later
/* Files of variables; see environment_file.h. Their bytes are taken one after the other. */
#include "environment_file.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "error.h"

#define NEWLINES "\n\r"
#define BLANKS	 " \t" NEWLINES

static const char *skip_line(const char *at)
{
	return at + strcspn(at, NEWLINES);
}

/* Behind the "=" of a line, whose name is stored; NULL: the file has no more. */
static const char *next_assignment(const char *at, GString *name)
{
	while (*(at += strspn(at, BLANKS))) {
		size_t len = strcspn(at, "=" NEWLINES);

		if (*at != '#' && *at != ';' && at[len] == '=') {
			g_string_truncate(name, 0);
			g_string_append_len(name, at, len);
			g_strchomp(name->str);
			return at + len + 1;
		}
		at = skip_line(at);
	}
	return NULL;
}

/* Behind the quote at its end; NULL: there is none. @at is behind the first one. */
static const char *take_single_quoted(const char *at, GString *value)
{
	const char *end = strchr(at, '\'');

	if (!end)
		return NULL;
	g_string_append_len(value, at, end - at);
	return end + 1;
}

static const char *take_double_quoted(const char *at, GString *value)
{
	for (; *at && *at != '"'; at++) {
		if (*at != '\\' || !at[1]) {
			g_string_append_c(value, *at);
			continue;
		}
		at++;
		if (*at == '\n')
			continue;
		if (!strchr("\"\\`$", *at))
			g_string_append_c(value, '\\');
		g_string_append_c(value, *at);
	}
	return *at ? at + 1 : NULL;
}

/* Up to the end of the line, but for blanks there. Quotes mean nothing in the middle of it. */
static const char *take_unquoted(const char *at, GString *value)
{
	size_t len = value->len;

	for (; *at && !strchr(NEWLINES, *at); at++) {
		bool is_escape = *at == '\\';

		if (is_escape)
			at++;
		/* The end of a line, or of the file, disappears with its backslash. */
		if (!is_escape || (*at && !strchr(NEWLINES, *at)))
			g_string_append_c(value, *at);
		if (is_escape || !strchr(BLANKS, *at))
			len = value->len;
		if (!*at)
			break;
	}
	g_string_truncate(value, len);
	return at;
}

/* Several quoted values may follow each other. Returns the end of the last line, or NULL. */
static const char *take_value(const char *at, GString *value)
{
	g_string_truncate(value, 0);
	while (at && *(at += strspn(at, " \t")) && !strchr(NEWLINES, *at)) {
		if (*at == '\'')
			at = take_single_quoted(at + 1, value);
		else if (*at == '"')
			at = take_double_quoted(at + 1, value);
		else
			return take_unquoted(at, value);
	}
	return at;
}

char *environment_file_get(const char *text, const char *name, GError **err)
{
	g_autoptr(GString) found = g_string_new(NULL), value = g_string_new(NULL);
	char *result = NULL;

	while ((text = next_assignment(text, found))) {
		text = take_value(text, value);
		if (!text) {
			g_free(result);
			error_refuse(err, -EINVAL, "%s: its value has no closing quote",
				     found->str);
			return NULL;
		}
		if (strcmp(found->str, name) == 0) {
			g_free(result);
			result = g_strdup(value->str);
		}
	}
	return result;
}
