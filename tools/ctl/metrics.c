// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubdctl metrics: the statistics of servers for Prometheus, on standard output, in a file for
 * node_exporter, or as the answer to an HTTP request. A service manager listens for those, and
 * starts us with a connection as standard input and output; so we only ever see one request.
 */
#include <errno.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "metrics_text.h"
#include "servers.h"
#include "subject.h"
#include "tool.h"

#define OPEN_TYPE    "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define CLASSIC_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define MAX_REQUEST  8192
/* For a client's request, and again until it has the answer. Then SIGALRM ends us. */
#define HTTP_SECONDS 10

/* NULL after an error message. */
static char *make_text(char **words, enum metrics_form form)
{
	g_autoptr(GArray) asked = g_array_new(FALSE, FALSE, sizeof(struct asked_server));
	g_autoptr(GPtrArray) servers =
		words ? subjects_ask(words, "stats") : servers_ask("stats", asked);

	return servers ? metrics_text(servers, asked, form) : NULL;
}

/* ---- a file ---- */

/* Readers see the old one or the new one; after a crash it need not be there. */
static bool write_file(const char *path, const char *text)
{
	g_autoptr(GError) err = NULL;

	if (g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0644, &err))
		return true;
	tool_error("%s", err->message);
	return false;
}

static int metrics_to_file(const char *path, char **words)
{
	g_autofree char *text = make_text(words, METRICS_CLASSIC);

	return text && write_file(path, text) ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int metrics_to_output(char **words)
{
	g_autofree char *text = make_text(words, METRICS_OPEN);

	if (!text)
		return EXIT_FAILURE;
	fputs(text, stdout);
	return EXIT_SUCCESS;
}

/* ---- HTTP ---- */

/* Up to the empty line; false: none came, or it is too long. */
static bool read_request(char *request)
{
	size_t len = 0;
	ssize_t got;

	do {
		got = read(STDIN_FILENO, request + len, MAX_REQUEST - 1 - len);
		len += MAX(got, 0);
		request[len] = 0;
	} while (got > 0 && !strstr(request, "\r\n\r\n") && !strstr(request, "\n\n"));
	return got > 0;
}

static void answer(const char *status, const char *type, const char *body, bool with_body)
{
	printf("HTTP/1.0 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
	       status, type, strlen(body), with_body ? body : "");
}

/* Whether the client names the newer form among those that it takes. */
static bool takes_open(char **lines)
{
	for (; *lines; lines++)
		if (g_ascii_strncasecmp(*lines, "accept:", strlen("accept:")) == 0 &&
		    strstr(*lines, "application/openmetrics-text"))
			return true;
	return false;
}

static void answer_get(char **lines, char **words, bool with_body)
{
	enum metrics_form form = takes_open(lines) ? METRICS_OPEN : METRICS_CLASSIC;
	g_autofree char *text = make_text(words, form);

	if (text)
		answer("200 OK", form == METRICS_OPEN ? OPEN_TYPE : CLASSIC_TYPE, text, with_body);
	else
		answer("503 Service Unavailable", "text/plain", "no such disk\n", with_body);
}

static void answer_request(char *request, char **words)
{
	g_auto(GStrv) lines = g_strsplit(request, "\n", -1);
	g_auto(GStrv) line = g_strsplit(g_strchomp(lines[0]), " ", 3);
	bool is_get = g_strcmp0(line[0], "GET") == 0, is_head = g_strcmp0(line[0], "HEAD") == 0;

	if (!line[0] || !line[1] || !line[2] || !g_str_has_prefix(line[2], "HTTP/1."))
		answer("400 Bad Request", "text/plain", "bad request\n", true);
	else if (!is_get && !is_head)
		answer("405 Method Not Allowed", "text/plain", "only GET and HEAD\n", true);
	else if (strcmp(line[1], "/metrics") != 0 && !g_str_has_prefix(line[1], "/metrics?"))
		answer("404 Not Found", "text/plain", "see /metrics\n", is_get);
	else
		answer_get(lines, words, is_get);
}

static int metrics_by_http(char **words)
{
	g_autofree char *request = g_malloc(MAX_REQUEST);

	alarm(HTTP_SECONDS);
	/* Nobody is there who could be told. */
	if (!read_request(request))
		return EXIT_SUCCESS;
	alarm(HTTP_SECONDS);
	answer_request(request, words);
	return EXIT_SUCCESS;
}

/* ---- the command ---- */

int ctl_metrics(const struct command *command, char **argv)
{
	g_autofree char *file = NULL;
	gboolean by_http = FALSE;
	g_auto(GStrv) words = NULL;
	const GOptionEntry entries[] = {
		{ "http", 0, 0, G_OPTION_ARG_NONE, &by_http,
		  "Answer the HTTP request on standard input", NULL },
		{ "textfile", 0, 0, G_OPTION_ARG_FILENAME, &file,
		  "Write to this file, for node_exporter's textfile collector", "FILE" },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL,
		  "[DEVICE...]" },
		{},
	};

	if (!command_parse(command, entries, argv))
		return EXIT_FAILURE;
	if (by_http && file)
		return command_usage_error(command, "--http and --textfile are mutually exclusive");
	if (by_http)
		return metrics_by_http(words);
	return file ? metrics_to_file(file, words) : metrics_to_output(words);
}
