// SPDX-License-Identifier: GPL-2.0-or-later
/* Errors that name the image: every file of qcow2 may call these, and they call none of them. */
#include "qcow2.h"

#include <stdarg.h>

int qcow2_refuse(const struct qcow2 *q, int code, GError **err, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list args;

	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	g_set_error(err, UBD_ERROR, code, "%s: %s", q->img->filename, text);
	return -code;
}

int qcow2_take_memory(const struct qcow2 *q, uint64_t bytes, const char *what, GError **err)
{
	int ret = image_memory_take(q->img, bytes, what, err);

	if (ret)
		g_prefix_error(err, "%s: ", q->img->filename);
	return ret;
}
