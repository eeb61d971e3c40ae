// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The options of a qcow2 node (node_options.h), which say how an image is used while it is open.
 * create.c and amend.c handle what is stored in the image.
 */
#include "options.h"

#include <inttypes.h>
#include <string.h>

#include "align.h"
#include "qcow2.h"

/* The rest of the cache needs enough of both. */
#define MIN_REFCOUNT_CACHE_BYTES (8u << 10)
#define MIN_ENTRY_BYTES		 512

#define OVERLAP_FLAG(what)                                                                         \
	{                                                                                          \
		.name = "overlap-check." what, .type = NODE_OPTION_BOOL, .default_value = "on",    \
		.help = "Check for overlaps with this kind of metadata: always on",                \
		.can_change = true,                                                                \
	}

#define ENCRYPT_OPTION(what)                                                                       \
	{                                                                                          \
		.name = what, .type = NODE_OPTION_STRING, .help = "Decrypt the image",             \
		.refusal = "encryption is not supported",                                          \
	}

static const char *const overlap_choices[] = { "none", "constant", "cached", "all", NULL };

const struct node_option qcow2_options[] = {
	{
		.name = "lazy-refcounts",
		.type = NODE_OPTION_BOOL,
		.help = "Postpone refcount updates (default: as the image says)",
		.can_change = true,
	},
	{
		.name = "pass-discard-request",
		.type = NODE_OPTION_BOOL,
		.help = "Return clusters that are no longer in use to the file system (default: if discard=unmap)",
		.can_change = true,
	},
	{
		.name = "pass-discard-snapshot",
		.type = NODE_OPTION_BOOL,
		.help = "The same when a snapshot is deleted or applied",
		.can_change = true,
	},
	{
		.name = "pass-discard-other",
		.type = NODE_OPTION_BOOL,
		.help = "The same for other reasons: part of pass-discard-request",
		.can_change = true,
	},
	{
		.name = "overlap-check",
		.type = NODE_OPTION_STRING,
		.default_value = "all",
		.help = "Which metadata writes are checked for: none, constant, cached or all; it is "
			"always all",
		.can_change = true,
	},
	{
		.name = "overlap-check.template",
		.type = NODE_OPTION_STRING,
		.default_value = "all",
		.help = "The same as overlap-check",
		.can_change = true,
	},
	OVERLAP_FLAG("main-header"),
	OVERLAP_FLAG("active-l1"),
	OVERLAP_FLAG("active-l2"),
	OVERLAP_FLAG("refcount-table"),
	OVERLAP_FLAG("refcount-block"),
	OVERLAP_FLAG("snapshot-table"),
	OVERLAP_FLAG("inactive-l1"),
	OVERLAP_FLAG("inactive-l2"),
	OVERLAP_FLAG("bitmap-directory"),
	ENCRYPT_OPTION("encrypt.format"),
	ENCRYPT_OPTION("encrypt.key-secret"),
	{
		.name = "cache-size",
		.type = NODE_OPTION_SIZE,
		.help = "Memory for tables: the two caches together (default: depends on the image's size)",
		.can_change = true,
	},
	{
		.name = "l2-cache-size",
		.type = NODE_OPTION_SIZE,
		.help = "Memory for L2 tables (default: the rest of cache-size)",
		.can_change = true,
	},
	{
		.name = "l2-cache-entry-size",
		.type = NODE_OPTION_SIZE,
		.help = "How much of an L2 table is read at once: 512 to the cluster size (default: 4k)",
		.can_change = true,
	},
	{
		.name = "refcount-cache-size",
		.type = NODE_OPTION_SIZE,
		.default_value = "256k",
		.help = "Memory for refcount blocks",
		.can_change = true,
	},
	{
		.name = "cache-clean-interval",
		.type = NODE_OPTION_NUMBER,
		.default_value = "0",
		.help = "Accepted; the caches are limited by cache-size and do not shrink",
		.can_change = true,
	},
	{},
};

/* ---- checks ---- */

static int check_overlap_value(const char *name, const char *value, GError **err)
{
	g_autofree char *choices = g_strjoinv(", ", (char **)overlap_choices);

	if (!value || g_strv_contains(overlap_choices, value))
		return 0;
	return error_refuse(err, -EINVAL,
			    "Unsupported value '%s' for qcow2 option '%s'. Allowed are any of the "
			    "following: %s",
			    value, name, choices);
}

/* Asking for less than all is not an error: the check is always on. */
static int check_overlap(const struct image_open_opts *opts, GError **err)
{
	const char *value = node_options_text(opts->node, "overlap-check");
	const char *template = node_options_text(opts->node, "overlap-check.template");

	if (value && template && strcmp(value, template) != 0)
		return error_refuse(err, -EINVAL,
				    "Conflicting values for qcow2 options 'overlap-check' ('%s') "
				    "and 'overlap-check.template' ('%s')",
				    value, template);
	return check_overlap_value("overlap-check", value ?: template, err);
}

static int check_entry_bytes(const struct qcow2 *q, uint64_t bytes, GError **err)
{
	if (bytes >= MIN_ENTRY_BYTES && bytes <= q->cluster_size && is_power_of_2(bytes))
		return 0;
	return error_refuse(err, -EINVAL,
			    "L2 cache entry size must be a power of two between %d and the cluster "
			    "size (%" PRIu32 ")",
			    MIN_ENTRY_BYTES, q->cluster_size);
}

/* ---- caches ---- */

/* The size of one of the two caches; @both is 0 if that was not given. */
static int split_cache(const struct image_open_opts *opts, uint64_t both, uint64_t *l2,
		       uint64_t *refcounts, GError **err)
{
	bool has_both = node_options_find(opts->node, "cache-size");
	bool has_l2 = node_options_find(opts->node, "l2-cache-size");
	bool has_refcounts = node_options_find(opts->node, "refcount-cache-size");

	*l2 = node_options_number(opts->node, "l2-cache-size", 0);
	*refcounts = node_options_number(opts->node, "refcount-cache-size", 0);
	if (has_both && has_l2 && has_refcounts)
		return error_refuse(err, -EINVAL,
				    "cache-size, l2-cache-size and refcount-cache-size may not be "
				    "set at the same time");
	if (!both)
		return 0;
	if (*l2 > both)
		return error_refuse(err, -EINVAL, "l2-cache-size may not exceed cache-size");
	if (*refcounts > both)
		return error_refuse(err, -EINVAL, "refcount-cache-size may not exceed cache-size");
	if (has_l2)
		*refcounts = both - *l2;
	else if (!has_refcounts)
		*refcounts = MIN(both / 4, QCOW2_DEFAULT_REFCOUNT_CACHE_BYTES);
	if (!has_l2)
		*l2 = both - *refcounts;
	return 0;
}

static int take_caches(struct qcow2 *q, const struct image_open_opts *opts, GError **err)
{
	uint64_t both = node_options_number(opts->node, "cache-size", 0), l2, refcounts;
	uint64_t entry =
		node_options_number(opts->node, "l2-cache-entry-size", q->cache.slice_bytes);
	int ret = check_entry_bytes(q, entry, err) ?: split_cache(opts, both, &l2, &refcounts, err);

	if (ret)
		return ret;
	qcow2_set_slice_bytes(q, entry);
	q->cache_bytes = l2;
	if (refcounts)
		q->refcount_cache_bytes = MAX(refcounts, MIN_REFCOUNT_CACHE_BYTES);
	return 0;
}

/* ---- the whole ---- */

int qcow2_take_options(struct qcow2 *q, const struct image_open_opts *opts, GError **err)
{
	bool lazy = node_options_bool(opts->node, "lazy-refcounts", false);

	if (lazy && q->version < 3)
		return error_refuse(err, -EINVAL,
				    "Lazy refcounts require a qcow2 image with at least qemu 1.1 "
				    "compatibility level");
	if (node_options_find(opts->node, "lazy-refcounts"))
		q->lazy_wanted = lazy ? QCOW2_LAZY_ON : QCOW2_LAZY_OFF;
	q->unmap = node_options_bool(opts->node, "pass-discard-request", q->unmap);
	q->unmap_snapshots =
		node_options_bool(opts->node, "pass-discard-snapshot", q->unmap_snapshots);
	return check_overlap(opts, err) ?: take_caches(q, opts, err);
}
