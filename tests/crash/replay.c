// SPDX-License-Identifier: GPL-2.0-or-later
/* A disk after a power cut; see replay.h. */
#include "replay.h"

#include <assert.h>

/* What a disk writes in one piece. */
#define SECTOR	  512u
/* How much longer a file is that was growing ahead. */
#define MAX_AHEAD (4ull << 20)

/* How much of what is not durable reaches the disk; drawn for each cut. */
struct luck {
	unsigned percent_there;
	unsigned percent_torn;
};

/* A request that may or may not have reached the disk. */
struct pending {
	const struct disk_op *op;
	uint64_t when;
};

static int compare_ends(gconstpointer a, gconstpointer b)
{
	const struct disk_op *x = *(struct disk_op *const *)a, *y = *(struct disk_op *const *)b;

	return x->end < y->end ? -1 : x->end > y->end;
}

void replay_init(struct replay *replay, struct memdisk *initial, const GPtrArray *log)
{
	*replay = (struct replay){ .log = log, .by_end = g_ptr_array_new() };
	replay->durable = memdisk_new(initial);
	for (unsigned i = 0; i < log->len; i++) {
		struct disk_op *op = log->pdata[i];

		if (op->end != DISK_NEVER)
			g_ptr_array_add(replay->by_end, op);
	}
	g_ptr_array_sort(replay->by_end, compare_ends);
}

void replay_destroy(struct replay *replay)
{
	g_ptr_array_free(replay->by_end, true);
	memdisk_free(replay->durable);
}

/* The part of a request, as a whole. */
static void apply(struct memdisk *disk, const struct disk_op *op, uint64_t skip, uint64_t bytes)
{
	switch (op->kind) {
	case DISK_WRITE:
		memdisk_write(disk, op->off + skip, bytes, op->data + skip);
		break;
	case DISK_ZERO:
	case DISK_DISCARD:
		memdisk_zero(disk, op->off + skip, bytes);
		break;
	case DISK_TRUNCATE:
		memdisk_set_size(disk, op->off);
		break;
	case DISK_FLUSH:
		break;
	}
}

/* A flush covers everything that ended before it, so what is durable grows in order of the ends. */
static void advance_durable(struct replay *replay, uint64_t cut)
{
	assert(cut >= replay->durable_at);
	for (unsigned i = 0; i < replay->by_end->len; i++) {
		const struct disk_op *op = replay->by_end->pdata[i];

		if (op->kind == DISK_FLUSH && op->end <= cut)
			replay->durable_at = MAX(replay->durable_at, op->start);
	}
	while (replay->nr_durable < replay->by_end->len) {
		const struct disk_op *op = replay->by_end->pdata[replay->nr_durable];

		if (op->end >= replay->durable_at)
			break;
		if (op->bytes || op->kind == DISK_TRUNCATE)
			apply(replay->durable, op, 0, op->bytes);
		replay->nr_durable++;
	}
}

static int compare_times(gconstpointer a, gconstpointer b)
{
	const struct pending *x = a, *y = b;

	return x->when < y->when ? -1 : x->when > y->when;
}

/*
 * What is neither durable nor later than the cut, in a possible order: each request at some time
 * between its start and its end.
 */
static GArray *draw_order(const struct replay *replay, uint64_t cut, struct rng *rng)
{
	GArray *order = g_array_new(false, false, sizeof(struct pending));

	for (unsigned i = 0; i < replay->log->len; i++) {
		const struct disk_op *op = replay->log->pdata[i];
		struct pending pending = { op, 0 };

		if (op->start > cut)
			break;
		/* A request without an end failed, and did nothing. */
		if (op->end < replay->durable_at || op->end == DISK_NEVER || op->kind == DISK_FLUSH)
			continue;
		pending.when = rng_between(rng, op->start, MIN(op->end, cut));
		g_array_append_val(order, pending);
	}
	g_array_sort(order, compare_times);
	return order;
}

static struct luck draw_luck(struct rng *rng)
{
	static const uint8_t percents[] = { 0, 5, 30, 50, 70, 95, 100 };
	struct luck luck;

	luck.percent_there = percents[rng_below(rng, G_N_ELEMENTS(percents))];
	luck.percent_torn = rng_percent(rng, 50) ? 0 : 30;
	return luck;
}

static void apply_torn(struct memdisk *disk, const struct disk_op *op, struct rng *rng)
{
	uint64_t skip = 0;

	while (skip < op->bytes) {
		uint64_t part = MIN(op->bytes - skip, SECTOR - (op->off + skip) % SECTOR);

		if (rng_percent(rng, 50))
			apply(disk, op, skip, part);
		skip += part;
	}
}

static void apply_by_luck(struct memdisk *disk, const struct disk_op *op, const struct luck *luck,
			  struct rng *rng)
{
	bool grows = (op->kind == DISK_WRITE || op->kind == DISK_ZERO) && op->bytes;

	/* The file's size may be written before its data. */
	if (grows && rng_percent(rng, 20))
		memdisk_set_size(disk, MAX(memdisk_size(disk), op->off + op->bytes));

	if (op->kind != DISK_TRUNCATE && rng_percent(rng, luck->percent_torn))
		apply_torn(disk, op, rng);
	else if (rng_percent(rng, luck->percent_there) && (op->bytes || op->kind == DISK_TRUNCATE))
		apply(disk, op, 0, op->bytes);
}

struct memdisk *replay_cut(struct replay *replay, uint64_t cut, struct rng *rng)
{
	static const struct luck certain = { .percent_there = 100 };
	struct luck luck = draw_luck(rng);
	struct memdisk *disk;
	GArray *order;

	advance_durable(replay, cut);
	disk = memdisk_new(replay->durable);
	order = draw_order(replay, cut, rng);
	for (unsigned i = 0; i < order->len; i++) {
		const struct disk_op *op = g_array_index(order, struct pending, i).op;
		bool is_there = replay->process_only && op->end <= cut;

		apply_by_luck(disk, op, is_there ? &certain : &luck, rng);
	}
	g_array_free(order, true);
	if (replay->grows_ahead && rng_percent(rng, 50))
		memdisk_set_size(disk, memdisk_size(disk) + rng_below(rng, MAX_AHEAD));
	return disk;
}
