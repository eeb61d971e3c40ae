/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Throttle groups: limits shared by the requests of several nodes or disks. A user defines them as
 * objects, and `throttle` nodes name them; a server may have others without a name.
 *
 * Those with a name are added before the first image is opened; after that, any thread may use
 * them.
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
	bool has_iops;	    /* an iops limit was given, perhaps as 0; allows iops_size */
};

/* Without limits. */
void throttle_config_init(struct throttle_config *config);

struct throttle_group;

/* Adds a group. Errors are worded as QEMU's. */
int throttle_group_add(const char *id, const struct throttle_config *config, GError **err);

bool throttle_group_exists(const char *id);

/* NULL: there is none. It stays until the program ends. */
struct throttle_group *throttle_group_find(const char *id);

/* One without a name and without limits. The caller frees it with throttle_group_free(). */
struct throttle_group *throttle_group_new(void);
/* NULL is fine, and so is one with a name: it stays. */
void throttle_group_free(struct throttle_group *group);

/*
 * Changes the limits, also for waiting requests. Earlier usage does not count. 0, or
 * -EINVAL with @err set: nothing has changed. Any thread, as the others.
 */
int throttle_group_set(struct throttle_group *group, const struct throttle_config *config,
		       GError **err);
void throttle_group_get(struct throttle_group *group, struct throttle_config *ret_config);

/* A load without a lock. */
bool throttle_group_has_limits(const struct throttle_group *group);

/* What a waiting request should do. */
enum throttle_go {
	THROTTLE_WAIT,
	THROTTLE_START,	  /* at once, whatever the limits are */
	THROTTLE_GIVE_UP, /* do not start: it does not count */
};

/*
 * Waits until a request may start, or until look(arg), which may be NULL and is called several
 * times a second, no longer returns THROTTLE_WAIT. False: it must not start. Does nothing if there
 * are no limits.
 */
bool throttle_group_co_wait(struct throttle_group *group, bool is_write, uint64_t bytes,
			    enum throttle_go (*look)(void *arg), void *arg);

/* ---- for callers with their own clock ---- */

/* The cost of a request, in both units. */
struct throttle_amount {
	double bytes, requests;
};

/* A request that wants to start. The caller sets two fields, and clears the rest. */
struct throttle_turn {
	bool is_write;
	uint64_t bytes;
	uint64_t again_ns; /* when to try again; it cannot start earlier unless others give up */
	/* Private to throttle_group.c, and guarded by the group's lock. */
	bool waits, started;
	uint64_t number; /* lower ones came before */
	struct throttle_turn *previous, *next;
	struct throttle_amount amount, before; /* by it, and by those that came before it */
};

/*
 * Whether the request may start at @now_ns; the first try is the time of its arrival.
 * Otherwise it waits in line: try again until it may start, or until one of the
 * next two functions has ended the wait.
 */
bool throttle_try(struct throttle_group *group, struct throttle_turn *turn, uint64_t now_ns);

/* Lets a waiting request start at once, whatever the limits are. */
void throttle_start(struct throttle_group *group, struct throttle_turn *turn, uint64_t now_ns);

/* Removes it from the line. False: too late, it was allowed to start. */
bool throttle_give_up(struct throttle_group *group, struct throttle_turn *turn);

/* ---- for tests ---- */

/*
 * Counts a request that comes at @now_ns before all that wait, and returns when it may start:
 * @now_ns or later.
 */
uint64_t throttle_group_take(struct throttle_group *group, uint64_t now_ns, bool is_write,
			     uint64_t bytes);

/* How many requests wait. */
unsigned throttle_group_in_line(struct throttle_group *group);

#endif
