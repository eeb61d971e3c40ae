// SPDX-License-Identifier: GPL-2.0-or-later
/* Descriptors that this process was started with; see inherited_fds.h. */
#include "inherited_fds.h"

#include <glib.h>
#include <string.h>
#include <unistd.h>

#include "close_fds.h"
#include "options.h"

/* The number that follows what precedes one; one that only looks like it does no harm. */
static void keep_named(GArray *kept, const char *word, const char *before)
{
	const char *at = word;

	while ((at = strstr(at, before))) {
		guint64 number;
		int fd;

		at += strlen(before);
		number = g_ascii_strtoull(at, NULL, 10);
		if (number >= G_MAXINT)
			continue;
		fd = number;
		g_array_append_val(kept, fd);
	}
}

void inherited_fds_close(char *const *argv, const GPtrArray *disks, int kept_fd)
{
	g_autoptr(GArray) kept = g_array_new(FALSE, FALSE, sizeof(int));

	g_array_append_val(kept, kept_fd);
	for (; *argv; argv++) {
		keep_named(kept, *argv, "nbd:fd:");
		keep_named(kept, *argv, "/fd/");
	}
	for (guint i = 0; i < disks->len; i++)
		keep_named(kept, ((const struct options *)disks->pdata[i])->filename, "/fd/");
	close_fds_from(STDERR_FILENO + 1, (int *)(void *)kept->data, kept->len);
}
