/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Throttle groups: limits that the requests of several nodes share. A user defines them as objects,
 * and nodes `throttle` name them.
 *
 * All are added before the first image is opened; after that, any thread may use them.
 */
#ifndef UBD_THROTTLE_GROUP_H
#define UBD_THROTTLE_GROUP_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum throttle_kind {
	THROTTLE_BPS_TOTAL,
	THROTTLE_BPS_READ,
	THROTTLE_BPS_WRITE,
	THROTTLE_IOPS_TOTAL,
	THROTTLE_IOPS_READ,
	THROTTLE_IOPS_WRITE,
	THROTTLE_KINDS,
};

/* Bytes or requests per second. */
struct throttle_limit {
	uint64_t rate;	       /* 0: no limit */
	uint64_t burst_rate;   /* 0: no bursts */
	uint64_t burst_length; /* seconds at the burst rate; at least 1 */
};

struct throttle_config {
	struct throttle_limit limits[THROTTLE_KINDS];
	uint64_t iops_size; /* a longer request counts as several; 0: none does */
};

struct throttle_group;

/* Adds a group. Errors are worded as QEMU's. */
int throttle_group_add(const char *id, const struct throttle_config *config, GError **err);

bool throttle_group_exists(const char *id);

/* NULL: there is none. It stays until the program ends. */
struct throttle_group *throttle_group_find(const char *id);

/*
 * Counts a request that comes at @now_ns, and returns when it may start: @now_ns or later, and not
 * before an earlier request that shares a limit with it.
 */
uint64_t throttle_group_take(struct throttle_group *group, uint64_t now_ns, bool is_write,
			     uint64_t bytes);

#endif
