// SPDX-License-Identifier: GPL-2.0-or-later
/* Descriptors that this process was started with; see inherited_fds.h. */
#include "inherited_fds.h"

#include <glib.h>
#include <string.h>
#include <unistd.h>

#include "close_fds.h"

/* The number that follows what precedes one; one that only looks like it does no harm. */
static void keep_named(GArray *kept, const char *word, const char *before)
{
	const char *at = word;

	while ((at = strstr(at, before))) {
		int fd;

		at += strlen(before);
		fd = MIN(g_ascii_strtoull(at, NULL, 10), G_MAXINT);
		g_array_append_val(kept, fd);
	}
}

void inherited_fds_close(char *const *argv, int kept_fd)
{
	g_autoptr(GArray) kept = g_array_new(FALSE, FALSE, sizeof(int));

	g_array_append_val(kept, kept_fd);
	for (; *argv; argv++) {
		keep_named(kept, *argv, "nbd:fd:");
		keep_named(kept, *argv, "/fd/");
	}
	close_fds_from(STDERR_FILENO + 1, (int *)(void *)kept->data, kept->len);
}
