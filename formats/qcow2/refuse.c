// SPDX-License-Identifier: GPL-2.0-or-later
/* Errors that name the image: every file of qcow2 may call these, and they call none of those. */
#include "qcow2.h"

#include <stdarg.h>

int qcow2_refuse(const struct qcow2 *q, GError **err, int ret, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	error_vrefuse(err, ret, format, args);
	va_end(args);
	g_prefix_error(err, "%s: ", q->img->filename);
	return ret;
}

int qcow2_take_memory(const struct qcow2 *q, uint64_t bytes, const char *what, GError **err)
{
	int ret = image_memory_take(q->img, bytes, what, err);

	if (ret)
		g_prefix_error(err, "%s: ", q->img->filename);
	return ret;
}
