// SPDX-License-Identifier: GPL-2.0-or-later
/* A bottom node on a disk in memory; see memnode.h. */
#include "memnode.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Faults and torn writes cut requests at multiples of this. */
#define UNIT	       512u

/* How many times longer a late request takes: this, twice, four or eight times as much. */
#define LATE_FACTOR    40
#define LATE_DOUBLINGS 3

static void disk_op_free(void *arg)
{
	struct disk_op *op = arg;

	g_free(op->data);
	g_free(op);
}

void memnode_init(struct memnode *node, struct memdisk *disk, uint64_t seed)
{
	memset(node, 0, sizeof(*node));
	node->disk = disk;
	node->rng = rng_of(seed, 0x6e6f6465);
	thread_lock_init(&node->lock);
}

void memnode_destroy(struct memnode *node)
{
	if (node->log)
		g_ptr_array_free(node->log, true);
	thread_lock_destroy(&node->lock);
}

void memnode_start_log(struct memnode *node)
{
	node->log = g_ptr_array_new_with_free_func(disk_op_free);
}

/* Called with the node's lock held. The clock's own lock is taken after it. */
static uint64_t tick(struct memnode *node)
{
	return node->clock ? memnode_tick(node->clock) : ++node->ticks;
}

uint64_t memnode_tick(struct memnode *node)
{
	uint64_t now;

	thread_lock(&node->lock);
	now = tick(node);
	thread_unlock(&node->lock);
	return now;
}

static void co_delay(struct memnode *node)
{
	unsigned turns;

	if (!node->max_delay)
		return;
	thread_lock(&node->lock);
	turns = rng_below(&node->rng, node->max_delay + 1);
	if (rng_percent(&node->rng, node->percent_late))
		turns *= LATE_FACTOR << rng_below(&node->rng, LATE_DOUBLINGS + 1);
	thread_unlock(&node->lock);
	while (turns--)
		co_reschedule();
}

/* ---- the life of a request that changes the disk ---- */

static bool draw_fault(struct memnode *node, const struct disk_op *op)
{
	unsigned permille = atomic_load(&node->fault_permille);
	unsigned percent = atomic_load(&node->header_fault_percent);

	if (percent && op->kind == DISK_WRITE && !op->off && rng_percent(&node->rng, percent))
		return true;
	return permille && rng_below(&node->rng, 1000) < permille;
}

/* What a request that must fail does before it fails: its first part. */
static int maybe_fail(struct memnode *node, struct disk_op *op)
{
	if (!draw_fault(node, op))
		return 0;
	atomic_fetch_add(&node->faults, 1);
	if (op->kind != DISK_TRUNCATE)
		op->bytes = rng_below(&node->rng, op->bytes / UNIT + 1) * UNIT;
	return rng_percent(&node->rng, 50) ? -EIO : -ENOSPC;
}

static struct disk_op *begin(struct memnode *node, enum disk_op_kind kind, uint64_t off,
			     uint64_t bytes, uint8_t *data, int *ret_fault)
{
	struct disk_op *op = g_new(struct disk_op, 1);

	*op = (struct disk_op){ kind, off, bytes, data, 0, DISK_NEVER };
	atomic_fetch_add(&node->in_flight, 1);
	thread_lock(&node->lock);
	*ret_fault = maybe_fail(node, op);
	op->start = tick(node);
	if (node->log)
		g_ptr_array_add(node->log, op);
	thread_unlock(&node->lock);
	return op;
}

static void take_effect(struct memnode *node, struct disk_op *op)
{
	switch (op->kind) {
	case DISK_WRITE:
		if (op->bytes)
			memdisk_write(node->disk, op->off, op->bytes, op->data);
		break;
	case DISK_ZERO:
	case DISK_DISCARD:
		if (op->bytes)
			memdisk_zero(node->disk, op->off, op->bytes);
		break;
	case DISK_TRUNCATE:
		memdisk_set_size(node->disk, op->off);
		break;
	case DISK_FLUSH:
		break;
	}
}

static int end(struct memnode *node, struct disk_op *op, int fault)
{
	bool undone = fault && (op->kind == DISK_FLUSH || op->kind == DISK_TRUNCATE);

	thread_lock(&node->lock);
	if (!undone) {
		take_effect(node, op);
		op->end = tick(node);
	}
	thread_unlock(&node->lock);
	if (!node->log)
		disk_op_free(op);
	atomic_fetch_sub(&node->in_flight, 1);
	return fault;
}

static int co_change(struct memnode *node, enum disk_op_kind kind, uint64_t off, uint64_t bytes,
		     uint8_t *data)
{
	int fault;
	struct disk_op *op = begin(node, kind, off, bytes, data, &fault);

	co_delay(node);
	return end(node, op, fault);
}

/* ---- the node's ops ---- */

static bool in_reach(const struct image *img, uint64_t off, uint64_t bytes)
{
	const struct memnode *node = img->opaque;
	uint64_t max_size = node->max_size ? node->max_size : MEMDISK_MAX_SIZE;

	return off <= max_size && bytes <= max_size - off;
}

static int memnode_co_open(struct image *img, const struct image_open_opts *opts, GError **err)
{
	struct memnode *node = img->opaque;

	atomic_store(&node->flush_failed, false);
	img->size = memdisk_size(node->disk);
	img->limits = (struct image_limits){
		.request_alignment = node->alignment ? node->alignment : 1,
		.memory_alignment = 1,
	};
	return 0;
}

static int memnode_co_close(struct image *img)
{
	return 0;
}

static int memnode_co_preadv(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	struct memnode *node = img->opaque;
	g_autofree uint8_t *data = g_malloc(bytes);

	co_delay(node);
	thread_lock(&node->lock);
	memdisk_read(node->disk, off, bytes, data);
	thread_unlock(&node->lock);
	return iobuf_copy_in(mem, data, bytes);
}

/* The node's size follows the disk's; if two finish at once, the larger one stays. */
static void grow_to(struct image *img, uint64_t size)
{
	uint64_t old = atomic_load(&img->size);

	while (old < size && !atomic_compare_exchange_weak(&img->size, &old, size))
		;
}

static int memnode_co_pwritev(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
			      unsigned flags)
{
	uint8_t *data;
	int ret;

	if (!in_reach(img, off, bytes))
		return -EFBIG;
	data = g_malloc(bytes);
	ret = iobuf_copy_out(data, mem, bytes);
	if (ret) {
		g_free(data);
		return ret;
	}
	ret = co_change(img->opaque, DISK_WRITE, off, bytes, data);
	if (!ret)
		grow_to(img, off + bytes);
	return ret;
}

static int memnode_co_pwrite_zeroes(struct image *img, uint64_t off, uint64_t bytes, unsigned flags)
{
	struct memnode *node = img->opaque;
	int ret;

	if (node->no_write_zeroes)
		return -ENOTSUP;
	if (!in_reach(img, off, bytes))
		return -EFBIG;
	ret = co_change(node, DISK_ZERO, off, bytes, NULL);
	if (!ret)
		grow_to(img, off + bytes);
	return ret;
}

/* Advice: only half of it is followed. */
static int memnode_co_pdiscard(struct image *img, uint64_t off, uint64_t bytes)
{
	struct memnode *node = img->opaque;
	uint64_t size = atomic_load(&img->size);
	bool taken;

	atomic_fetch_add(&node->discards, 1);
	while (atomic_load(&node->hold_discards))
		co_reschedule();
	if (off >= size)
		return 0;
	bytes = MIN(bytes, size - off);
	thread_lock(&node->lock);
	taken = rng_percent(&node->rng, 50);
	thread_unlock(&node->lock);
	if (!taken) {
		co_delay(node);
		return 0;
	}
	return co_change(node, DISK_DISCARD, off, bytes, NULL);
}

static int memnode_co_flush(struct image *img)
{
	struct memnode *node = img->opaque;
	int ret;

	atomic_fetch_add(&node->flushes, 1);
	if (node->flush_does_nothing)
		return 0;
	if (atomic_load(&node->flush_failed))
		return -EIO;
	ret = co_change(node, DISK_FLUSH, 0, 0, NULL);
	if (ret < 0 && node->flush_error_stays)
		atomic_store(&node->flush_failed, true);
	return ret;
}

static int memnode_co_truncate(struct image *img, uint64_t size)
{
	int ret;

	if (!in_reach(img, size, 0))
		return -EFBIG;
	ret = co_change(img->opaque, DISK_TRUNCATE, size, 0, NULL);
	if (!ret)
		atomic_store(&img->size, size);
	return ret;
}

/* Nothing is allocated ahead: where a file may be too long after a cut is up to the replay. */
static bool memnode_grow_ahead(struct image *img)
{
	struct memnode *node = img->opaque;

	node->tells_holes = true;
	return true;
}

static bool is_zero(const struct memdisk *disk, uint64_t off, uint64_t bytes)
{
	uint8_t buf[UNIT];

	memdisk_read(disk, off, bytes, buf);
	for (uint64_t i = 0; i < bytes; i++)
		if (buf[i])
			return false;
	return true;
}

/* Whole units of zeroes are holes. */
static int memnode_co_block_status(struct image *img, uint64_t off, uint64_t bytes,
				   struct image_extent *ret_extent)
{
	struct memnode *node = img->opaque;
	unsigned kind = IMAGE_EXTENT_DATA;
	uint64_t end = off;

	co_delay(node);
	thread_lock(&node->lock);
	while (node->tells_holes && end < off + bytes) {
		uint64_t part = MIN(off + bytes - end, UNIT - end % UNIT);
		unsigned its_kind =
			is_zero(node->disk, end, part) ? IMAGE_EXTENT_ZERO : IMAGE_EXTENT_DATA;

		if (end > off && its_kind != kind)
			break;
		kind = its_kind;
		end += part;
	}
	thread_unlock(&node->lock);
	*ret_extent = (struct image_extent){
		.bytes = node->tells_holes ? end - off : bytes,
		.flags = kind | IMAGE_EXTENT_ALLOCATED | IMAGE_EXTENT_OFFSET,
		.host_off = off,
	};
	return 0;
}

static const struct bottom_ops memnode_ops = {
	.io = {
		.name = "memory",
		.grows = true,
		.co_close = memnode_co_close,
		.co_preadv = memnode_co_preadv,
		.co_pwritev = memnode_co_pwritev,
		.co_flush = memnode_co_flush,
		.co_pdiscard = memnode_co_pdiscard,
		.co_pwrite_zeroes = memnode_co_pwrite_zeroes,
		.co_block_status = memnode_co_block_status,
		.co_truncate = memnode_co_truncate,
	},
	.co_open = memnode_co_open,
	.grow_ahead = memnode_grow_ahead,
};

int memnode_co_open_image(struct memnode *node, const char *filename,
			  const struct image_open_opts *opts, struct image **ret_img, GError **err)
{
	struct image_open_opts with_data = *opts;
	struct image *bottom;
	int ret;

	ret = image_co_new_bottom(&memnode_ops, filename, opts->flags & ~IMAGE_INFO_ONLY, node,
				  &bottom, err);
	if (!ret && node->data)
		ret = image_co_new_bottom(&memnode_ops, filename, opts->flags, node->data,
					  &with_data.data_file, err);
	return ret ? ret : image_co_open_on(bottom, &with_data, ret_img, err);
}

/* ---- for people ---- */

char *disk_op_describe(const struct disk_op *op)
{
	static const char *const names[] = {
		[DISK_WRITE] = "write",	    [DISK_ZERO] = "write zeroes",
		[DISK_DISCARD] = "discard", [DISK_TRUNCATE] = "truncate",
		[DISK_FLUSH] = "flush",
	};
	g_autofree char *until = op->end == DISK_NEVER
					 ? g_strdup("...")
					 : g_strdup_printf("%" G_GUINT64_FORMAT, op->end);

	return g_strdup_printf("%6" G_GUINT64_FORMAT " to %6s  %-12s %#" G_GINT64_MODIFIER
			       "x + %#" G_GINT64_MODIFIER "x",
			       op->start, until, names[op->kind], op->off, op->bytes);
}

void memnode_dump(struct memnode *node)
{
	const unsigned last = 20;

	fprintf(stderr, "disk: %u requests in flight, %" G_GUINT64_FORMAT " ticks\n",
		atomic_load(&node->in_flight), node->ticks);
	for (unsigned i = 0; node->log && i < node->log->len; i++) {
		const struct disk_op *op = node->log->pdata[i];
		g_autofree char *line = disk_op_describe(op);

		if (op->end == DISK_NEVER || i + last >= node->log->len)
			fprintf(stderr, "  %s\n", line);
	}
}
