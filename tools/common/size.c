// SPDX-License-Identifier: GPL-2.0-or-later
/* Sizes as people read them; see size.h. */
#include "size.h"

#include <glib.h>
#include <string.h>

char *size_to_text(uint64_t bytes)
{
	static const char *const units[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei" };
	double value = bytes;
	unsigned unit = 0;

	/* Use the next unit from 1000 on, so that three digits suffice. */
	while (value >= 1000 && unit < G_N_ELEMENTS(units) - 1) {
		value /= 1024;
		unit++;
	}
	return g_strdup_printf("%.3g %sB", value, units[unit]);
}

char *size_to_io_text(double bytes)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	g_autofree char *number = NULL;
	unsigned unit = 0;

	while (bytes >= 1024 && unit < G_N_ELEMENTS(units) - 1) {
		bytes /= 1024;
		unit++;
	}
	number = g_strdup_printf("%.3f", bytes);
	if (g_str_has_suffix(number, ".000"))
		*strchr(number, '.') = '\0';
	return g_strdup_printf("%s %s", number, units[unit]);
}
