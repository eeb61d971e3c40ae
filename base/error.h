/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Errors as a person reads them: a GError whose code is a positive errno value, beside the negative
 * one that the function returns. Both functions return @ret, so that a refusal is one statement:
 *
 *	return error_set(err, -errno, "%s", path);
 *
 * @ret must be negative. @err may be NULL; then only the return value tells.
 */
#ifndef UBD_ERROR_H
#define UBD_ERROR_H

#include <glib.h>
#include <stdarg.h>

#define UBD_ERROR (ubd_error_quark())

static inline GQuark ubd_error_quark(void)
{
	return g_quark_from_static_string("ubd");
}

/* The reason is errno's: the message, then ": " and the text of -@ret. */
int error_set(GError **err, int ret, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* The reason is our own: the message alone. */
int error_refuse(GError **err, int ret, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* For functions with their own prefix, which they put before the message with g_prefix_error(). */
int error_vrefuse(GError **err, int ret, const char *format, va_list args) G_GNUC_PRINTF(3, 0);

/* Control characters become '?': what a stranger has named must not look like several messages. */
void error_one_line(char *message);

#endif
