// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Check and repair: what is done in which order.
 *
 * A refcount that is too low, or an impossible table, is a corruption; a refcount that is too high
 * is a leak. A repair goes in steps, each durable before the next, so that it can be interrupted at
 * any instant and repeated:
 *
 *   1. L2 entries that can be written in another way       check_entry.c
 *   2. refcounts rise, or a new structure of them          check_refs.c, check_rebuild.c
 *   3. refcounts fall (C4: what pointed there is gone)
 *   4. copied flags
 *   5. the corrupt and the dirty bit are cleared if nothing is left
 *
 * A host cluster with several references that should have one stays as it is: with the right
 * refcount and without copied flags, nobody writes to it in place.
 */
#include "check.h"

#include <inttypes.h>

/* ---- windows ---- */

/* Where to look next, behind the window; false: nowhere. */
static bool next_window(struct check *c, uint64_t *ret_start)
{
	uint64_t end = c->window_start + c->window_clusters;
	uint64_t next = MIN(c->next_used, qcow2_check_next_covered(c, end));

	*ret_start = qcow2_check_window_of(c, next);
	return next < c->nr_clusters;
}

static int co_fill_window(struct check *c, enum check_walk walk, uint64_t start)
{
	int ret;

	/* If there is only one window, it is filled once. */
	if (c->filled && c->filled_walk == walk && c->window_start == start)
		return 0;
	qcow2_check_window_reset(c);
	c->window_start = start;
	c->walk = walk;
	c->filled = false;
	ret = qcow2_check_co_walk(c);
	if (ret)
		return ret;
	c->filled = true;
	c->filled_walk = walk;
	c->quiet = true;
	return 0;
}

int qcow2_check_co_each_window(struct check *c, enum check_walk walk,
			       int (*look)(struct check *c, void *arg), void *arg)
{
	uint64_t start = 0;
	int ret;

	for (unsigned i = 0; i < CHECK_MAX_WINDOWS; i++) {
		ret = co_fill_window(c, walk, start) ?: look(c, arg);
		if (ret || !next_window(c, &start))
			return ret;
	}
	return -EFBIG;
}

/* Corrects all copied flags. */
static int co_check_flags(struct check *c)
{
	uint64_t start = 0;
	int ret;

	c->walk = CHECK_COPIED;
	c->quiet = false;
	c->filled = false;
	for (unsigned i = 0; i < CHECK_MAX_WINDOWS; i++) {
		c->window_start = start;
		ret = qcow2_check_co_load_ones(c) ?: qcow2_check_co_walk(c);
		if (ret || !next_window(c, &start))
			return ret;
	}
	return -EFBIG;
}

/* ---- repair ---- */

static int co_rebuild(struct check *c)
	NO_THREAD_SAFETY_ANALYSIS /* nobody else works on the image */
{
	uint64_t fixed = c->refs_wrong - c->refs_too_high;
	int ret;

	if (!(c->opts->fix & IMAGE_CHECK_FIX_ERRORS)) {
		qcow2_check_say(c, "ERROR need to rebuild refcount structures");
		return -EIO;
	}
	/* What a table that cannot be read points to would be counted as free. */
	if (c->unreadable_table) {
		qcow2_check_say(c, "ERROR refcounts are not rebuilt: a table that cannot be read "
				   "may refer to any cluster");
		return 0;
	}
	ret = qcow2_check_co_rebuild(c);
	if (ret)
		return ret;
	c->result->corruptions_fixed += fixed;
	c->result->leaks_fixed += c->leaks;
	c->refs_wrong -= fixed;
	c->leaks = 0;
	qcow2_check_refs_clear(c);
	c->reftable_off = c->q->reftable_off;
	c->reftable_size = c->q->reftable_size;
	c->filled = false;
	return qcow2_check_co_load_reftable(c);
}

static int co_raise(struct check *c)
{
	uint64_t fixed = c->refs_wrong - c->refs_too_high;
	bool raise = true;
	int ret = qcow2_check_co_each_window(c, CHECK_COUNT, qcow2_check_co_adjust, &raise)
			  ?: qcow2_check_co_flush_refs(c);

	if (ret)
		return ret;
	c->result->corruptions_fixed += fixed;
	c->refs_wrong -= fixed;
	return 0;
}

static int co_lower(struct check *c)
{
	bool raise = false;
	int ret;

	if (c->unreadable_table) {
		qcow2_check_say(c, "Leaked clusters are kept: they may belong to a table that "
				   "cannot be read");
		return 0;
	}
	ret = qcow2_check_co_each_window(c, CHECK_COUNT, qcow2_check_co_adjust, &raise)
		      ?: qcow2_check_co_flush_refs(c);
	if (ret)
		return ret;
	c->result->leaks_fixed += c->leaks;
	c->leaks = 0;
	return 0;
}

static int co_repair_refs(struct check *c)
{
	/* C4: the repaired entries no longer name their clusters. */
	int ret = image_co_flush(c->q->file);

	if (!ret && c->rebuild)
		return co_rebuild(c);
	if (!ret && c->refs_wrong && c->opts->fix & IMAGE_CHECK_FIX_ERRORS)
		ret = co_raise(c);
	if (!ret && c->leaks && c->opts->fix & IMAGE_CHECK_FIX_LEAKS)
		ret = co_lower(c);
	return ret;
}

/* Nothing that the two bits stand for is left. */
static int co_clear_bits(struct check *c) NO_THREAD_SAFETY_ANALYSIS /* as above */
{
	uint64_t bits = QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT;
	int ret = image_co_flush(c->q->file);

	if (ret || c->result->corruptions || c->result->check_errors ||
	    !(c->q->incompatible_features & bits))
		return ret;
	return qcow2_co_write_incompatible(c->q, c->q->incompatible_features & ~bits);
}

/* The parts of the L1 table beyond the end of the file read as zeroes: writes those zeroes. */
static int co_complete_l1(struct check *c) NO_THREAD_SAFETY_ANALYSIS /* as above */
{
	struct qcow2 *q = c->q;
	uint64_t bytes = (uint64_t)q->l1_size * sizeof(uint64_t);
	int ret;

	if (!qcow2_is_behind_end(q, q->l1_off, bytes) ||
	    !qcow2_check_corrupt(c, true,
				 " L1 table at 0x%" PRIx64 " lies beyond the end of the file",
				 q->l1_off))
		return 0;
	ret = image_co_truncate(q->file,
				q->l1_off + (qcow2_clusters_for(q, bytes) << q->cluster_bits));
	if (!ret)
		ret = image_co_flush(q->file);
	return ret;
}

/* ---- all ---- */

static int co_check_fully(struct check *c)
{
	int ret =
		qcow2_check_window_init(c)
			?: qcow2_check_co_each_window(c, CHECK_COUNT, qcow2_check_co_compare, NULL);

	if (!ret && c->opts->fix)
		ret = co_repair_refs(c);
	c->result->corruptions += c->refs_wrong;
	c->result->leaks += c->leaks;
	return ret ?: co_check_flags(c);
}

static int co_check_all(struct check *c) NO_THREAD_SAFETY_ANALYSIS /* as above */
{
	int ret = qcow2_check_co_load_reftable(c);

	if (c->q->reftable_bad) {
		qcow2_check_say(c, "ERROR refcount table at 0x%" PRIx64 " is invalid",
				c->q->reftable_off);
		c->refs_wrong += c->q->reftable_size != 0;
		c->rebuild = true;
	}
	if (!ret && qcow2_check_co_is_nearly_clean(c))
		ret = qcow2_check_co_leaks(c);
	else if (!ret)
		ret = co_check_fully(c);
	if (!ret && c->opts->fix)
		ret = co_clear_bits(c);
	return ret;
}

static int check_init(struct check *c, struct qcow2 *q) NO_THREAD_SAFETY_ANALYSIS /* as above */
{
	c->q = q;
	c->nr_clusters = qcow2_clusters_for(q, image_size(q->file));
	c->counts.limit = CHECK_COUNT_BYTES;
	c->entries_total = q->l1_size;
	c->reftable_off = q->reftable_off;
	c->reftable_size = q->reftable_bad ? 0 : q->reftable_size;
	return qcow2_check_read_init(c);
}

int qcow2_co_check_file(struct qcow2 *q, const struct image_check_opts *opts,
			struct image_check_result *result)
{
	struct check c = { .opts = opts, .result = result };
	int ret;

	result->total_clusters = qcow2_clusters_for(q, image_size(q->img));
	c.q = q;
	/* First, since the file's size tells how many clusters to count. */
	ret = co_complete_l1(&c) ?: check_init(&c, q) ?: co_check_all(&c);
	qcow2_check_refs_clear(&c);
	qcow2_check_window_clear(&c);
	qcow2_check_read_clear(&c);
	return ret;
}

int qcow2_co_check(struct image *img, const struct image_check_opts *opts,
		   struct image_check_result *result)
{
	return qcow2_co_check_file(img->opaque, opts, result);
}
