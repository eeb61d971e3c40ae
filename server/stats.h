/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The statistics of a queue, as `stats` answers them. */
#ifndef UBD_STATS_H
#define UBD_STATS_H

#include <jansson.h>

#include "serve.h"

/* The caller unrefs it. */
json_t *stats_by_operation(const struct serve_stats *stats);

#endif
