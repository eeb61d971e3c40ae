// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The filter `blkdebug`, for tests: stands between a format and its file, `image`, and lets
 * requests fail or stop at events that the format raises (blkdebug_rules.h). It can also pretend
 * that the file has other limits: then requests are aligned and split accordingly.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "align.h"
#include "blkdebug_rules.h"
#include "node_name.h"
#include "pass.h"

struct blkdebug {
	struct debug_rules *rules;
	/* 0: none. */
	uint64_t max_transfer;
	uint64_t opt_write_zero, max_write_zero;
	uint64_t opt_discard, max_discard;
};

/* ---- open ---- */

struct config_file {
	const char *name;
	char *text;
	GError *reason;
};

static int read_on_worker(void *arg)
{
	struct config_file *file = arg;

	return g_file_get_contents(file->name, &file->text, NULL, &file->reason) ? 0 : -EIO;
}

static int co_add_config(struct debug_rules *rules, const char *name, GError **err)
{
	struct config_file file = { .name = name };
	int ret;

	if (!name || !*name)
		return 0;
	if (co_block_on_worker(read_on_worker, &file)) {
		const char *words = strrchr(file.reason->message, ':');

		ret = error_refuse(err, -EINVAL, "Could not read blkdebug config file:%s",
				   words ? words + 1 : "");
		g_error_free(file.reason);
		return ret;
	}
	ret = debug_rules_add_config(rules, name, file.text, err);
	g_free(file.text);
	return ret;
}

static int cannot_meet(const char *name, uint64_t value, GError **err)
{
	return error_refuse(err, -EINVAL, "Cannot meet constraints with %s %" PRIu64, name, value);
}

static int take_alignment(struct image *img, const struct node_options *options, GError **err)
{
	uint64_t align = node_options_number(options, "align", 0);

	if (align > INT32_MAX || (align && !is_power_of_2(align)))
		return cannot_meet("align", align, err);
	img->limits.request_alignment = MAX(img->limits.request_alignment, (uint32_t)align);
	return 0;
}

static int take_limit(const struct image *img, const struct node_options *options, const char *name,
		      uint64_t *ret_value, GError **err)
{
	uint64_t value = node_options_number(options, name, 0);

	if (value > INT32_MAX || value % img->limits.request_alignment)
		return cannot_meet(name, value, err);
	*ret_value = value;
	return 0;
}

static int take_limits(struct image *img, const struct node_options *options, GError **err)
{
	struct blkdebug *debug = img->opaque;

	return take_alignment(img, options, err)						 ?:
	       take_limit(img, options, "max-transfer", &debug->max_transfer, err)	 ?:
	       take_limit(img, options, "opt-write-zero", &debug->opt_write_zero, err) ?:
	       take_limit(img, options, "max-write-zero", &debug->max_write_zero, err) ?:
	       take_limit(img, options, "opt-discard", &debug->opt_discard, err)	 ?:
	       take_limit(img, options, "max-discard", &debug->max_discard, err);
}

static void blkdebug_co_event(struct image *img, enum image_event event)
{
	const struct blkdebug *debug = img->opaque;

	debug_rules_co_event(debug->rules, event);
}

static int blkdebug_co_close(struct image *img)
{
	struct blkdebug *debug = img->opaque;

	debug_rules_free(debug->rules);
	g_free(debug);
	return 0;
}

static int blkdebug_co_open(struct image *img, const struct image_open_opts *opts, GError **err)
{
	struct blkdebug *debug = g_new0(struct blkdebug, 1);
	int ret;

	debug->rules = debug_rules_new();
	img->opaque = debug;
	filter_take_limits(img);
	ret = co_add_config(debug->rules, node_options_text(opts->node, "config"), err) ?:
	      debug_rules_add_options(debug->rules, opts->node, err)			      ?:
	      take_limits(img, opts->node, err);
	if (ret) {
		blkdebug_co_close(img);
		return ret;
	}
	img->co_event = blkdebug_co_event;
	blkdebug_co_event(img, IMAGE_EVENT_NONE);
	return 0;
}

/* "blkdebug:CONFIG:IMAGE", if that says everything. */
static char *blkdebug_make_name(const struct image *img)
{
	const char *config = node_options_text(img->options, "config");
	const struct node_value *value;

	if (node_name_is_json(img->file->filename))
		return NULL;
	for (unsigned i = 0; (value = node_options_at(img->options, i)); i++)
		if (strcmp(value->name, "driver") != 0 && strcmp(value->name, "config") != 0)
			return NULL;
	return g_strdup_printf("blkdebug:%s:%s", config ?: "", img->file->filename);
}

/* ---- requests ---- */

static int co_check(struct image *img, enum debug_request request, uint64_t off, uint64_t bytes)
{
	const struct blkdebug *debug = img->opaque;

	return debug_rules_co_check(debug->rules, request, off, bytes);
}

static uint64_t part_bytes(uint64_t bytes, uint64_t max)
{
	return max ? MIN(bytes, max) : bytes;
}

static int blkdebug_co_preadv(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	const struct blkdebug *debug = img->opaque;
	int ret = 0;

	while (!ret && bytes) {
		uint64_t part = part_bytes(bytes, debug->max_transfer);

		ret = co_check(img, DEBUG_READ, off, part)
			      ?: image_co_preadv(img->file, off, part, mem);
		mem = iobuf_advance(mem, part);
		off += part;
		bytes -= part;
	}
	return ret;
}

static int blkdebug_co_pwritev(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
			       unsigned flags)
{
	const struct blkdebug *debug = img->opaque;
	int ret = 0;

	blkdebug_co_event(img, IMAGE_EVENT_PWRITEV);
	while (!ret && bytes) {
		uint64_t part = part_bytes(bytes, debug->max_transfer);

		ret = co_check(img, DEBUG_WRITE, off, part)
			      ?: image_co_pwritev(img->file, off, part, mem, flags);
		mem = iobuf_advance(mem, part);
		off += part;
		bytes -= part;
	}
	blkdebug_co_event(img, IMAGE_EVENT_PWRITEV_DONE);
	return filter_follow_growth(img, ret);
}

static int blkdebug_co_flush(struct image *img)
{
	blkdebug_co_event(img, IMAGE_EVENT_FLUSH_TO_DISK);
	return co_check(img, DEBUG_FLUSH, 0, 0) ?: image_co_flush(img->file);
}

/*
 * The next part of a range that such requests can do: a whole number of units; or what lies before
 * or behind those (*ret_whole is false).
 */
static uint64_t next_part(uint64_t off, uint64_t bytes, uint64_t unit, uint64_t max,
			  bool *ret_whole)
{
	uint64_t end = off + bytes;

	unit = MAX(unit, 1);
	*ret_whole = off % unit == 0 && bytes >= unit;
	if (*ret_whole)
		return part_bytes(bytes - end % unit, max);
	return MIN(bytes, unit - off % unit);
}

static int blkdebug_co_pdiscard(struct image *img, uint64_t off, uint64_t bytes)
{
	const struct blkdebug *debug = img->opaque;
	int ret = 0;

	while (!ret && bytes) {
		bool whole;
		uint64_t part =
			next_part(off, bytes, debug->opt_discard, debug->max_discard, &whole);

		if (whole)
			ret = co_check(img, DEBUG_DISCARD, off, part)
				      ?: image_co_pdiscard(img->file, off, part);
		off += part;
		bytes -= part;
	}
	return ret;
}

static int co_write_zeroes(struct image *img, uint64_t off, uint64_t bytes, unsigned flags)
{
	blkdebug_co_event(img, IMAGE_EVENT_PWRITEV_ZERO);
	return co_check(img, DEBUG_WRITE_ZEROES, off, bytes)
		       ?: image_co_pwrite_zeroes(img->file, off, bytes, flags);
}

static int blkdebug_co_pwrite_zeroes(struct image *img, uint64_t off, uint64_t bytes,
				     unsigned flags)
{
	const struct blkdebug *debug = img->opaque;
	int ret = 0;

	while (!ret && bytes) {
		bool whole;
		uint64_t part =
			next_part(off, bytes, debug->opt_write_zero, debug->max_write_zero, &whole);

		if (whole)
			ret = co_write_zeroes(img, off, part, flags);
		else if (flags & IMAGE_REQ_NO_FALLBACK)
			ret = -ENOTSUP;
		else
			ret = image_co_zero_by_data(img, off, part);
		off += part;
		bytes -= part;
	}
	return filter_follow_growth(img, ret);
}

static int blkdebug_co_block_status(struct image *img, uint64_t off, uint64_t bytes,
				    struct image_extent *ret_extent)
{
	return co_check(img, DEBUG_BLOCK_STATUS, off, bytes)
		       ?: image_co_block_status_chain(img->file, off, bytes, ret_extent);
}

static int blkdebug_co_truncate(struct image *img, uint64_t size)
{
	int ret = image_co_truncate(img->file, size);

	img->size = image_size(img->file);
	return ret;
}

static int64_t blkdebug_co_allocated_bytes(struct image *img)
{
	return -ENOTSUP;
}

/* ---- breakpoints ---- */

static int blkdebug_set_break(struct image *img, const char *event, const char *tag)
{
	const struct blkdebug *debug = img->opaque;

	return debug_rules_break(debug->rules, event, tag);
}

static int blkdebug_remove_break(struct image *img, const char *tag)
{
	const struct blkdebug *debug = img->opaque;

	return debug_rules_remove_break(debug->rules, tag);
}

static int blkdebug_resume(struct image *img, const char *tag)
{
	const struct blkdebug *debug = img->opaque;

	return debug_rules_resume(debug->rules, tag);
}

static void blkdebug_co_wait_break(struct image *img, const char *tag)
{
	const struct blkdebug *debug = img->opaque;

	debug_rules_co_wait_break(debug->rules, tag);
}

static const struct debug_ops breakpoints = {
	.set_break = blkdebug_set_break,
	.remove_break = blkdebug_remove_break,
	.resume = blkdebug_resume,
	.co_wait_break = blkdebug_co_wait_break,
};

#define LIMIT(option, text)                                                                        \
	{                                                                                          \
		.name = option, .type = NODE_OPTION_SIZE, .help = text,                            \
		.in_name = NODE_OPTION_IN_NAME,                                                    \
	}
#define ARRAY(option, text)                                                                        \
	{                                                                                          \
		.name = option ".*", .type = NODE_OPTION_ANY, .help = text,                        \
		.in_name = NODE_OPTION_IN_NAME,                                                    \
	}

static const struct node_option options[] = {
	{
		.name = "config",
		.type = NODE_OPTION_STRING,
		.help = "A file with rules",
		.in_name = NODE_OPTION_IN_NAME,
	},
	ARRAY("inject-error", "Rules that let requests fail"),
	ARRAY("set-state", "Rules that change the state of the node"),
	LIMIT("align", "Alignment of requests: a power of two"),
	LIMIT("max-transfer", "Longest read or write"),
	LIMIT("opt-write-zero", "Unit of writes of zeroes"),
	LIMIT("max-write-zero", "Longest write of zeroes"),
	LIMIT("opt-discard", "Unit of discards"),
	LIMIT("max-discard", "Longest discard"),
	ARRAY("take-child-perms", "Accepted; nodes have no permissions"),
	ARRAY("unshare-child-perms", "Accepted; nodes have no permissions"),
	{},
};

const struct format_ops image_blkdebug_filter = {
	.io = {
		.name = "blkdebug",
		.handles_fua = true,
		.co_close = blkdebug_co_close,
		.co_preadv = blkdebug_co_preadv,
		.co_pwritev = blkdebug_co_pwritev,
		.co_flush = blkdebug_co_flush,
		.co_pdiscard = blkdebug_co_pdiscard,
		.co_pwrite_zeroes = blkdebug_co_pwrite_zeroes,
		.co_block_status = blkdebug_co_block_status,
		.co_truncate = blkdebug_co_truncate,
		.co_refresh_size = filter_co_pass_refresh_size,
		.co_allocated_bytes = blkdebug_co_allocated_bytes,
	},
	.is_filter = true,
	.is_protocol = true,
	.for_users = true,
	.no_backing = true,
	.options = options,
	.co_open = blkdebug_co_open,
	.make_name = blkdebug_make_name,
	.debug = &breakpoints,
};
