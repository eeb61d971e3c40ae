/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Limits of throttle groups by QEMU's names, such as "iops-total" and "bps-read-max-length". */
#ifndef UBD_THROTTLE_LIMITS_H
#define UBD_THROTTLE_LIMITS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "throttle_group.h"

/* "bps-total", ... by kind. */
extern const char *const throttle_kind_names[THROTTLE_KINDS];

/*
 * Sets one limit. A rate of 0 removes its burst, too, until that is set. False: there is no limit
 * of that name.
 */
bool throttle_config_set(struct throttle_config *config, const char *name, uint64_t value);

/* Calls fn(arg, name, value) for each that is set. */
void throttle_config_for_each(const struct throttle_config *config,
			      void (*fn)(void *arg, const char *name, uint64_t value), void *arg);

/*
 * Parses a list such as "iops-total=1000,bps-read=10M,bps-read-max=50M", whose names may begin with
 * "throttling.", or "none", and changes @config. 0, or -EINVAL with @err set.
 */
int throttle_config_parse(struct throttle_config *config, const char *list, GError **err);

#endif
