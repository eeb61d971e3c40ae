// SPDX-License-Identifier: GPL-2.0-or-later
/* Set a GError and return the errno value that goes with it. */
#include "error.h"

#include <assert.h>

#include "annotations.h"

#ifdef UBD_TSAN
/* ThreadSanitizer cannot follow how GLib shares the lock that it makes with the first error. */
static void __attribute__((constructor)) make_first_error(void)
{
	g_error_free(g_error_new_literal(UBD_ERROR, 0, ""));
}
#endif

int error_vrefuse(GError **err, int ret, const char *format, va_list args)
{
	assert(ret < 0);
	g_propagate_error(err, g_error_new_valist(UBD_ERROR, -ret, format, args));
	return ret;
}

int error_refuse(GError **err, int ret, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	error_vrefuse(err, ret, format, args);
	va_end(args);
	return ret;
}

int error_set(GError **err, int ret, const char *format, ...)
{
	g_autofree char *what = NULL;
	va_list args;

	va_start(args, format);
	what = g_strdup_vprintf(format, args);
	va_end(args);
	return error_refuse(err, ret, "%s: %s", what, g_strerror(-ret));
}

void error_one_line(char *message)
{
	for (; *message; message++)
		if (g_ascii_iscntrl(*message))
			*message = '?';
}
