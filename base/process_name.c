// SPDX-License-Identifier: GPL-2.0-or-later
#include "process_name.h"

#include <glib.h>

char *process_name(const char *process)
{
	g_autofree char *path = g_build_filename("/proc", process, "comm", NULL);
	g_autofree char *name = NULL;

	if (!g_file_get_contents(path, &name, NULL, NULL))
		return g_strdup_printf("PID %s", process);
	return g_strdup_printf("PID %s, %s", process, g_strchomp(name));
}
