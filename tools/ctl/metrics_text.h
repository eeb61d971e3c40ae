/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The statistics of servers as text for Prometheus. */
#ifndef UBD_CTL_METRICS_TEXT_H
#define UBD_CTL_METRICS_TEXT_H

#include <glib.h>

enum metrics_form {
	METRICS_OPEN,	 /* OpenMetrics 1.0 */
	METRICS_CLASSIC, /* Prometheus' own older form, 0.0.4 */
};

/*
 * What struct server * have answered to `stats`, and which struct asked_server have. The caller
 * frees it.
 */
char *metrics_text(const GPtrArray *servers, const GArray *asked, enum metrics_form form);

#endif
