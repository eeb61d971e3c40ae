// SPDX-License-Identifier: GPL-2.0-or-later
/* The other disks of ubd; see others.h. */
#include "others.h"

#include <glib.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define DISKS "/sys/block"

static bool has(const char *name, const char *attribute, const char *value)
{
	g_autofree char *path = g_build_filename(DISKS, name, attribute, NULL);
	g_autofree char *text = NULL;

	return g_file_get_contents(path, &text, NULL, NULL) && strcmp(g_strchomp(text), value) == 0;
}

int64_t others_find(const char *attribute, const char *value)
{
	g_autoptr(GDir) dir = g_dir_open(DISKS, 0, NULL);
	const char *name;
	unsigned id;

	while (dir && (name = g_dir_read_name(dir)))
		if (sscanf(name, "ubdb%u", &id) == 1 && has(name, attribute, value))
			return id;
	return -1;
}
