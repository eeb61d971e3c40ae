/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The GError domain of ubd; codes are positive errno values. */
#ifndef UBD_ERROR_H
#define UBD_ERROR_H

#include <glib.h>

#define UBD_ERROR (ubd_error_quark())

static inline GQuark ubd_error_quark(void)
{
	return g_quark_from_static_string("ubd");
}

#endif
