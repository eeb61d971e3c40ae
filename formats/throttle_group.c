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
 * T1: A request starts when all limits that apply to it allow that at the same time, and pours into
 *     all buckets then. If it poured into one and then waited for another, the first would leak
 *     meanwhile, and all that has gathered could start at once when the second allows it.
 * T2: Requests that must wait stand in line, reads and writes apart, and have used nothing. If they
 *     shared a line, a read that waits for a limit on reads would hold up writes.
 * T3: Of the first read and the first write, if both may start, the one that came first does. Which
 *     limits allow a request depends on nothing but its direction, so no short request passes a
 *     long one, and each waits only for those that came before it.
 *
 * A thread that looks lets all start that may, also those of other threads: these may be busy, and
 * nobody should have to wait for them.
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

/* Requests that wait, in the order in which they came. */
struct line {
	struct throttle_turn *first, *last;
	unsigned length;
	/* What all had to pour in that have come since nobody waited, and those of them that left.
	 */
	struct throttle_amount came, left;
};

struct throttle_group {
	bool has_name;
	_Atomic bool has_limits;
	struct thread_lock lock;
	struct throttle_config config GUARDED_BY(lock);
	struct bucket buckets[THROTTLE_KINDS] GUARDED_BY(lock);
	struct line lines[2] GUARDED_BY(lock); /* of reads, of writes */
	uint64_t numbers GUARDED_BY(lock);     /* of requests that have waited */
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

static struct throttle_amount amount_of(const struct throttle_config *config, uint64_t bytes)
{
	return (struct throttle_amount){
		.bytes = bytes,
		.requests = config->iops_size && bytes > config->iops_size
				    ? (double)bytes / config->iops_size
				    : 1,
	};
}

static double units(const struct throttle_amount *amount, unsigned kind)
{
	return kind < THROTTLE_IOPS_TOTAL ? amount->bytes : amount->requests;
}

static double time_ns(double units, uint64_t rate)
{
	return rate ? units / rate * NS_PER_SEC : 0;
}

/* When the buckets are empty if so much is poured in now, or later. */
static struct bucket filled(const struct bucket *bucket, const struct throttle_limit *limit,
			    uint64_t now_ns, double units)
{
	return (struct bucket){
		.empty_ns = MAX(bucket->empty_ns, (double)now_ns) + time_ns(units, limit->rate),
		.burst_empty_ns = MAX(bucket->burst_empty_ns, (double)now_ns) +
				  time_ns(units, limit->burst_rate),
	};
}

/* When they hold no more than they have room for. */
static double ready_ns(const struct bucket *bucket, const struct throttle_limit *limit)
{
	double room = limit->burst_rate ? (double)limit->burst_rate * limit->burst_length
					: (double)limit->rate / SHARE;
	double ready = bucket->empty_ns - time_ns(room, limit->rate);

	if (limit->burst_length > 1)
		ready = MAX(ready, bucket->burst_empty_ns - NS_PER_SEC / SHARE);
	return ready;
}

/* When all limits allow a request that waits for no others than some that pour in @ahead. */
static uint64_t start_ns(const struct throttle_group *group, bool is_write, uint64_t now_ns,
			 const struct throttle_amount *ahead) REQUIRES(group->lock)
{
	double start = now_ns;

	for (unsigned kind = 0; kind < THROTTLE_KINDS; kind++) {
		const struct throttle_limit *limit = &group->config.limits[kind];
		struct bucket then;

		if (!applies(&group->config, kind, is_write))
			continue;
		then = filled(&group->buckets[kind], limit, now_ns, units(ahead, kind));
		start = MAX(start, ready_ns(&then, limit));
	}
	/* A long request at a low rate would wait for longer than time can be told. */
	return start < (double)END_NS ? (uint64_t)start : END_NS;
}

static void pour(struct throttle_group *group, bool is_write, uint64_t now_ns,
		 const struct throttle_amount *amount) REQUIRES(group->lock)
{
	for (unsigned kind = 0; kind < THROTTLE_KINDS; kind++)
		if (applies(&group->config, kind, is_write))
			group->buckets[kind] =
				filled(&group->buckets[kind], &group->config.limits[kind], now_ns,
				       units(amount, kind));
}

/* ---- the lines ---- */

static void add_amount(struct throttle_amount *sum, const struct throttle_amount *amount)
{
	sum->bytes += amount->bytes;
	sum->requests += amount->requests;
}

static void stand_in_line(struct throttle_group *group, struct throttle_turn *turn)
	REQUIRES(group->lock)
{
	struct line *line = &group->lines[turn->is_write];

	turn->waits = true;
	turn->number = group->numbers++;
	turn->amount = amount_of(&group->config, turn->bytes);
	turn->before = line->came;
	add_amount(&line->came, &turn->amount);
	turn->next = NULL;
	turn->previous = line->last;
	*(line->last ? &line->last->next : &line->first) = turn;
	line->last = turn;
	line->length++;
}

static void leave_line(struct throttle_group *group, struct throttle_turn *turn)
	REQUIRES(group->lock)
{
	struct line *line = &group->lines[turn->is_write];

	turn->waits = false;
	add_amount(&line->left, &turn->amount);
	*(turn->previous ? &turn->previous->next : &line->first) = turn->next;
	*(turn->next ? &turn->next->previous : &line->last) = turn->previous;
	if (!--line->length)
		*line = (struct line){ 0 };
}

/* What those before it will pour in, or less, if some behind it have given up. */
static struct throttle_amount ahead_of(const struct throttle_group *group,
				       const struct throttle_turn *turn) REQUIRES(group->lock)
{
	const struct throttle_amount *left = &group->lines[turn->is_write].left;

	return (struct throttle_amount){
		.bytes = MAX(0, turn->before.bytes - left->bytes),
		.requests = MAX(0, turn->before.requests - left->requests),
	};
}

static void start(struct throttle_group *group, struct throttle_turn *turn, uint64_t now_ns)
	REQUIRES(group->lock)
{
	const struct throttle_amount amount = amount_of(&group->config, turn->bytes);

	leave_line(group, turn);
	turn->started = true;
	pour(group, turn->is_write, now_ns, &amount);
}

/* T3. NULL: none may start. */
static struct throttle_turn *next_to_start(const struct throttle_group *group, uint64_t now_ns)
	REQUIRES(group->lock)
{
	static const struct throttle_amount none;
	struct throttle_turn *next = NULL;

	for (unsigned i = 0; i < G_N_ELEMENTS(group->lines); i++) {
		struct throttle_turn *first = group->lines[i].first;

		if (first && (!next || first->number < next->number) &&
		    start_ns(group, first->is_write, now_ns, &none) <= now_ns)
			next = first;
	}
	return next;
}

static void start_all(struct throttle_group *group, uint64_t now_ns) REQUIRES(group->lock)
{
	struct throttle_turn *next;

	while ((next = next_to_start(group, now_ns)))
		start(group, next, now_ns);
}

bool throttle_try(struct throttle_group *group, struct throttle_turn *turn, uint64_t now_ns)
{
	struct throttle_amount ahead;
	bool started;

	thread_lock(&group->lock);
	if (!turn->waits && !turn->started)
		stand_in_line(group, turn);
	start_all(group, now_ns);
	started = turn->started;
	if (!started) {
		ahead = ahead_of(group, turn);
		turn->again_ns = start_ns(group, turn->is_write, now_ns, &ahead);
	}
	thread_unlock(&group->lock);
	return started;
}

void throttle_start(struct throttle_group *group, struct throttle_turn *turn, uint64_t now_ns)
{
	thread_lock(&group->lock);
	if (turn->waits)
		start(group, turn, now_ns);
	thread_unlock(&group->lock);
}

bool throttle_give_up(struct throttle_group *group, struct throttle_turn *turn)
{
	bool started;

	thread_lock(&group->lock);
	started = turn->started;
	if (turn->waits)
		leave_line(group, turn);
	thread_unlock(&group->lock);
	return !started;
}

uint64_t throttle_group_take(struct throttle_group *group, uint64_t now_ns, bool is_write,
			     uint64_t bytes)
{
	static const struct throttle_amount none;
	struct throttle_amount amount;
	uint64_t start;

	thread_lock(&group->lock);
	amount = amount_of(&group->config, bytes);
	start = start_ns(group, is_write, now_ns, &none);
	pour(group, is_write, start, &amount);
	thread_unlock(&group->lock);
	return start;
}

unsigned throttle_group_in_line(struct throttle_group *group)
{
	unsigned length = 0;

	thread_lock(&group->lock);
	for (unsigned i = 0; i < G_N_ELEMENTS(group->lines); i++)
		length += group->lines[i].length;
	thread_unlock(&group->lock);
	return length;
}

bool throttle_group_co_wait(struct throttle_group *group, bool is_write, uint64_t bytes,
			    enum throttle_go (*look)(void *arg), void *arg)
{
	struct throttle_turn turn = { .is_write = is_write, .bytes = bytes };
	enum throttle_go go = THROTTLE_WAIT;
	uint64_t now_ns;

	if (!throttle_group_has_limits(group))
		return true;
	while (!throttle_try(group, &turn, (now_ns = aio_now_ns()))) {
		if (look)
			go = look(arg);
		if (go == THROTTLE_GIVE_UP)
			return !throttle_give_up(group, &turn);
		if (go == THROTTLE_START)
			throttle_start(group, &turn, now_ns);
		else
			co_sleep_ns(MIN(turn.again_ns - now_ns, LOOK_NS));
	}
	return true;
}
