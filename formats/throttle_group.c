// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Throttle groups; see throttle_group.h.
 *
 * Each limit is a leaky bucket: a request pours in its bytes, or 1, and what is inside leaks out at
 * the rate of the limit. A request starts once no more is inside than the bucket holds: a tenth of
 * a second's worth or, with bursts, all that may come in one. So a long request is let through and
 * is paid for afterwards. A burst of several seconds has a second bucket, which leaks at the burst
 * rate.
 *
 * A request that has to wait pours in at once what it will need when it starts, so those behind it
 * know how long to wait without a queue. If it gives up, it takes that out again: clients that come
 * and go must not use up what others are to share. What it poured in for limits that it has passed
 * stays: that has leaked out meanwhile, and what is inside now others have poured in.
 *
 * If two limits apply, a request passes one after the other, and pours nothing into the second
 * bucket while it waits for the first: what cannot start yet must not keep others from starting.
 * The limits of its direction come first, so reads that wait for one do not hold up writes.
 */
#include "throttle_group.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "aio.h"
#include "colock.h"
#include "error.h"

#define MAX_RATE   1000000000000000ull
/* Part of a second's worth that a bucket holds. */
#define SHARE	   10
#define NS_PER_SEC 1e9
#define END_NS	   ((uint64_t)INT64_MAX)
/* How often a request that waits looks whether it still must. */
#define LOOK_NS	   UINT64_C(100000000)

struct bucket {
	double empty_ns;       /* when it will be */
	double burst_empty_ns; /* of the second bucket */
};

/* In the order in which requests pass them. */
static const enum throttle_kind order[] = {
	THROTTLE_BPS_READ,   THROTTLE_BPS_WRITE, THROTTLE_IOPS_READ,
	THROTTLE_IOPS_WRITE, THROTTLE_BPS_TOTAL, THROTTLE_IOPS_TOTAL,
};

struct throttle_group {
	bool has_name;
	_Atomic bool has_limits;
	_Atomic unsigned changes; /* of the limits */
	struct thread_lock lock;
	struct throttle_config config GUARDED_BY(lock);
	struct bucket buckets[THROTTLE_KINDS] GUARDED_BY(lock);
};

static GHashTable *groups; /* ID -> struct throttle_group */

/* ---- checks ---- */

static int check_range(uint64_t value, GError **err)
{
	if (value <= MAX_RATE)
		return 0;
	return error_refuse(err, -EINVAL, "bps/iops/max values must be within [0, %llu]", MAX_RATE);
}

static int check_limit(const struct throttle_limit *limit, GError **err)
{
	if (check_range(limit->rate, err) || check_range(limit->burst_rate, err))
		return -EINVAL;
	if (!limit->burst_length)
		return error_refuse(err, -EINVAL, "the burst length cannot be 0");
	if (limit->burst_length > 1 && !limit->burst_rate)
		return error_refuse(err, -EINVAL, "burst length set without burst rate");
	if (limit->burst_rate && limit->burst_length > MAX_RATE / limit->burst_rate)
		return error_refuse(err, -EINVAL, "burst length too high for this burst rate");
	if (limit->burst_rate && !limit->rate)
		return error_refuse(err, -EINVAL,
				    "bps_max/iops_max require corresponding bps/iops values");
	if (limit->burst_rate && limit->burst_rate < limit->rate)
		return error_refuse(err, -EINVAL, "bps_max/iops_max cannot be lower than bps/iops");
	return 0;
}

/* Whether one kind of limits is set for all requests and for reads or writes alone. */
static bool is_ambiguous(const struct throttle_limit *total)
{
	const struct throttle_limit *reads = total + 1, *writes = total + 2;

	return (total->rate && (reads->rate || writes->rate)) ||
	       (total->burst_rate && (reads->burst_rate || writes->burst_rate));
}

static int check_config(const struct throttle_config *config, GError **err)
{
	const struct throttle_limit *limits = config->limits;
	int ret;

	if (is_ambiguous(&limits[THROTTLE_BPS_TOTAL]) || is_ambiguous(&limits[THROTTLE_IOPS_TOTAL]))
		return error_refuse(err, -EINVAL,
				    "bps/iops/max total values and read/write values cannot be "
				    "used at the same time");
	if (config->iops_size && !config->has_iops && !limits[THROTTLE_IOPS_TOTAL].rate &&
	    !limits[THROTTLE_IOPS_READ].rate && !limits[THROTTLE_IOPS_WRITE].rate)
		return error_refuse(err, -EINVAL, "iops size requires an iops value to be set");
	ret = check_range(config->iops_size, err);
	for (unsigned kind = 0; !ret && kind < THROTTLE_KINDS; kind++)
		ret = check_limit(&limits[kind], err);
	return ret;
}

void throttle_config_init(struct throttle_config *config)
{
	*config = (struct throttle_config){ 0 };
	for (unsigned kind = 0; kind < THROTTLE_KINDS; kind++)
		config->limits[kind].burst_length = 1;
}

/* ---- the table ---- */

/* No lock: nobody else knows it yet. */
struct throttle_group *throttle_group_new(void) NO_THREAD_SAFETY_ANALYSIS
{
	struct throttle_group *group = g_new0(struct throttle_group, 1);

	thread_lock_init(&group->lock);
	throttle_config_init(&group->config);
	return group;
}

static void free_group(void *arg)
{
	struct throttle_group *group = arg;

	thread_lock_destroy(&group->lock);
	g_free(group);
}

void throttle_group_free(struct throttle_group *group)
{
	if (group && !group->has_name)
		free_group(group);
}

int throttle_group_add(const char *id, const struct throttle_config *config, GError **err)
{
	struct throttle_group *group = throttle_group_new();
	int ret = throttle_group_set(group, config, err);

	if (ret) {
		throttle_group_free(group);
		return ret;
	}
	if (!groups)
		groups = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, free_group);
	group->has_name = true;
	g_hash_table_replace(groups, g_strdup(id), group);
	return 0;
}

struct throttle_group *throttle_group_find(const char *id)
{
	return groups ? g_hash_table_lookup(groups, id) : NULL;
}

bool throttle_group_exists(const char *id)
{
	return throttle_group_find(id);
}

/* ---- limits ---- */

static bool has_limits(const struct throttle_config *config)
{
	for (unsigned kind = 0; kind < THROTTLE_KINDS; kind++)
		if (config->limits[kind].rate)
			return true;
	return false;
}

bool throttle_group_has_limits(const struct throttle_group *group)
{
	return atomic_load_explicit(&group->has_limits, memory_order_relaxed);
}

int throttle_group_set(struct throttle_group *group, const struct throttle_config *config,
		       GError **err)
{
	int ret = check_config(config, err);

	if (ret)
		return ret;
	thread_lock(&group->lock);
	group->config = *config;
	memset(group->buckets, 0, sizeof(group->buckets));
	atomic_store(&group->has_limits, has_limits(config));
	atomic_fetch_add(&group->changes, 1);
	thread_unlock(&group->lock);
	return 0;
}

void throttle_group_get(struct throttle_group *group, struct throttle_config *ret_config)
{
	thread_lock(&group->lock);
	*ret_config = group->config;
	thread_unlock(&group->lock);
}

/* ---- requests ---- */

static bool applies(const struct throttle_config *config, unsigned kind, bool is_write)
{
	if (!config->limits[kind].rate)
		return false;
	switch (kind) {
	case THROTTLE_BPS_READ:
	case THROTTLE_IOPS_READ:
		return !is_write;
	case THROTTLE_BPS_WRITE:
	case THROTTLE_IOPS_WRITE:
		return is_write;
	}
	return true;
}

static double units(const struct throttle_config *config, unsigned kind, uint64_t bytes)
{
	if (kind < THROTTLE_IOPS_TOTAL)
		return bytes;
	return config->iops_size && bytes > config->iops_size ? (double)bytes / config->iops_size
							      : 1;
}

/* When a bucket that is empty at @empty_ns holds no more than @room. */
static double ready_ns(double empty_ns, double room, uint64_t rate)
{
	return empty_ns - room / rate * NS_PER_SEC;
}

static double start_ns(const struct bucket *bucket, const struct throttle_limit *limit)
{
	double room = limit->burst_rate ? (double)limit->burst_rate * limit->burst_length
					: (double)limit->rate / SHARE;
	double start = ready_ns(bucket->empty_ns, room, limit->rate);

	if (limit->burst_length > 1)
		start = MAX(start, ready_ns(bucket->burst_empty_ns,
					    (double)limit->burst_rate / SHARE, limit->burst_rate));
	return start;
}

static double time_ns(double amount, uint64_t rate)
{
	return rate ? amount / rate * NS_PER_SEC : 0;
}

static void pour(struct bucket *bucket, const struct throttle_limit *limit, uint64_t now_ns,
		 double amount)
{
	bucket->empty_ns = MAX(bucket->empty_ns, (double)now_ns) + time_ns(amount, limit->rate);
	bucket->burst_empty_ns =
		MAX(bucket->burst_empty_ns, (double)now_ns) + time_ns(amount, limit->burst_rate);
}

static void take_out(struct bucket *bucket, const struct throttle_limit *limit, double amount)
{
	bucket->empty_ns -= time_ns(amount, limit->rate);
	bucket->burst_empty_ns -= time_ns(amount, limit->burst_rate);
}

static void pass_one(struct throttle_group *group, struct throttle_turn *turn,
		     enum throttle_kind kind, uint64_t now_ns) REQUIRES(group->lock)
{
	const struct throttle_limit *limit = &group->config.limits[kind];
	double start = MAX((double)now_ns, start_ns(&group->buckets[kind], limit));

	/* A long request at a low rate would wait for longer than time can be told. */
	turn->start_ns = start < (double)END_NS ? (uint64_t)start : END_NS;
	turn->poured = units(&group->config, kind, turn->bytes);
	pour(&group->buckets[kind], limit, now_ns, turn->poured);
}

bool throttle_pass(struct throttle_group *group, struct throttle_turn *turn, uint64_t now_ns)
{
	bool found = false;

	thread_lock(&group->lock);
	if (turn->changes != group->changes)
		*turn = (struct throttle_turn){
			.is_write = turn->is_write,
			.bytes = turn->bytes,
			.changes = group->changes,
		};
	while (!found && turn->passed < G_N_ELEMENTS(order)) {
		enum throttle_kind kind = order[turn->passed++];

		found = applies(&group->config, kind, turn->is_write);
		if (found)
			pass_one(group, turn, kind, now_ns);
	}
	thread_unlock(&group->lock);
	return found;
}

uint64_t throttle_group_take(struct throttle_group *group, uint64_t now_ns, bool is_write,
			     uint64_t bytes)
{
	struct throttle_turn turn = { .is_write = is_write, .bytes = bytes };

	while (throttle_pass(group, &turn, now_ns))
		now_ns = turn.start_ns;
	return now_ns;
}

/* Those behind it still start when they were told to. */
static void give_back(struct throttle_group *group, const struct throttle_turn *turn)
{
	enum throttle_kind kind = order[turn->passed - 1];

	thread_lock(&group->lock);
	if (turn->changes == group->changes)
		take_out(&group->buckets[kind], &group->config.limits[kind], turn->poured);
	thread_unlock(&group->lock);
}

/* Waits until the turn or the next change of the limits. */
static enum throttle_go co_wait_for(struct throttle_group *group, const struct throttle_turn *turn,
				    enum throttle_go (*look)(void *arg), void *arg)
{
	uint64_t now_ns = aio_now_ns();
	enum throttle_go go = THROTTLE_WAIT;

	while (now_ns < turn->start_ns) {
		if (look)
			go = look(arg);
		if (go != THROTTLE_WAIT || atomic_load(&group->changes) != turn->changes)
			return go;
		co_sleep_ns(MIN(turn->start_ns - now_ns, LOOK_NS));
		now_ns = aio_now_ns();
	}
	return THROTTLE_START;
}

bool throttle_group_co_wait(struct throttle_group *group, bool is_write, uint64_t bytes,
			    enum throttle_go (*look)(void *arg), void *arg)
{
	struct throttle_turn turn = { .is_write = is_write, .bytes = bytes };

	if (!throttle_group_has_limits(group))
		return true;
	while (throttle_pass(group, &turn, aio_now_ns()))
		if (co_wait_for(group, &turn, look, arg) == THROTTLE_GIVE_UP) {
			give_back(group, &turn);
			return false;
		}
	return true;
}
