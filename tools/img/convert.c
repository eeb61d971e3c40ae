// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubd-img convert: copies one image, or several one after the other, to a new one, in any format.
 *
 * A copy that fails or is interrupted must not look like a complete one: its file is removed, and
 * where that is impossible (SIGKILL, power cuts), its header says so. During the copy it need not
 * survive a crash, but when convert reports success, it is on disk (unless -t unsafe asks for
 * less).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "align.h"
#include "cache_mode.h"
#include "copy.h"
#include "copy_bitmaps.h"
#include "img.h"
#include "new_image.h"
#include "values.h"

#define DEFAULT_COROUTINES 8
#define MAX_COROUTINES	   16
#define DEFAULT_SPARSE	   4096
#define MAX_SPARSE	   (16 * 1024 * 1024)

struct convert_job {
	char *const *source_names;
	unsigned nr_sources;
	struct image_open_opts source_opts;
	struct image **sources; /* up to a NULL */
	struct concat *source;	/* all of them, one after the other */
	struct new_image target;
	bool target_exists;   /* -n */
	bool target_is_graph; /* its name says which format it has */
	bool target_is_zero;  /* the existing target reads as zeroes */
	struct cache_mode target_mode;
	bool sync_at_end;
	uint64_t coroutines;
	uint64_t sparse_bytes;
	bool sparse_asked; /* -S */
	bool compress;
	bool bitmaps;
	bool skip_broken_bitmaps;
	bool out_of_order;
	bool offload;
	bool salvage;
	uint64_t rate;
	bool quiet;
	bool show_progress;
};

/* ---- what must not be overwritten ---- */

static int refuse_target(const struct convert_job *job, const struct image *source)
{
	tool_error("%s: it is a file of the source '%s'; nothing was copied", job->target.filename,
		   image_filename(source));
	return -EINVAL;
}

static int check_file(const struct convert_job *job, const struct file_id *id)
{
	for (unsigned i = 0; i < job->nr_sources; i++)
		if (image_chain_has_file(job->sources[i], id))
			return refuse_target(job, job->sources[i]);
	return 0;
}

/* Checked before the target is opened, which may change it. */
static int co_check_existing_target(const struct convert_job *job)
{
	struct file_id id = image_co_file_id(job->target.filename);

	return check_file(job, &id);
}

static int check_data_file(const struct convert_job *job, const struct image *target)
{
	struct file_id id = image_file_id(image_data_file(target));

	return check_file(job, &id);
}

/* ---- the copy ---- */

static int check_sizes(const struct convert_job *job, const struct image *target)
{
	if (image_size(target) >= job->source->size)
		return 0;
	tool_error("%s: output file is smaller than input file", image_filename(target));
	return -EINVAL;
}

/* Whether the new target has all clusters from the start. */
static bool has_space(const struct new_image *target)
{
	const char *mode = g_hash_table_lookup(target->options, "preallocation");
	const char *raw = g_hash_table_lookup(target->options, "data_file_raw");
	bool is_raw = false;

	if (raw)
		bool_parse(raw, &is_raw);
	return is_raw || (mode && strcmp(mode, "off"));
}

/*
 * Zeroes in shared data take no space, but stay data: not if -S says what must become a hole. Nor
 * where the target must have its own space, or is written through or at a limited rate.
 */
static bool may_share(const struct convert_job *job)
{
	return !job->target_exists && !job->sparse_asked && !job->compress && !job->salvage &&
	       !job->rate && !has_space(&job->target) && !cache_mode_write_flags(&job->target_mode);
}

static int co_copy(const struct convert_job *job, struct image *target)
{
	struct progress progress;
	struct copy_opts opts = {
		.source = job->source,
		.target = target,
		.coroutines = job->coroutines,
		.sparse_bytes = job->sparse_bytes,
		.out_of_order = job->out_of_order,
		.compress = job->compress,
		.target_is_zero = job->target_is_zero ||
				  (!job->target_exists && !job->target.backing_filename &&
				   !image_is_on_block_device(target)),
		.target_has_backing = job->target.backing_filename,
		.target_has_space = has_space(&job->target),
		.offload = job->offload,
		.share = may_share(job),
		.salvage = job->salvage,
		.quiet = job->quiet,
		.rate = job->rate,
		.write_flags = cache_mode_write_flags(&job->target_mode),
		.progress = &progress,
	};
	int ret = check_sizes(job, target);

	if (ret)
		return ret;
	progress_start(&progress, job->show_progress, job->source->size);
	ret = copy_co_run(&opts);
	progress_end(&progress, ret);
	return ret;
}

/* Whether the target's format can do what it is asked for; what a new one cannot is told earlier.
 */
static bool can_hold(const struct convert_job *job, const struct image *target)
{
	const char *format = image_format(target);

	if (job->compress && !image_format_can_compress(format)) {
		tool_error("Compression not supported for this file format");
		return false;
	}
	return !job->bitmaps ||
	       (copy_bitmaps_co_check(job->sources[0], format, job->skip_broken_bitmaps) &&
		copy_bitmaps_check_target(target));
}

static unsigned target_flags(const struct convert_job *job)
{
	unsigned flags = IMAGE_RDWR | job->target_mode.open_flags;

	if (job->sparse_bytes)
		flags |= IMAGE_UNMAP;
	if (job->target.unfinished)
		flags |= IMAGE_UNFINISHED;
	if (job->sync_at_end || !(flags & IMAGE_NO_FLUSH))
		flags |= IMAGE_WRITE_BEHIND;
	return flags;
}

static int co_fill_target(void *arg)
{
	const struct convert_job *job = arg;
	struct image *target;
	const char *format = job->target_is_graph ? NULL : job->target.format;
	int ret = tool_co_open(job->target.filename, format, target_flags(job), &target);

	if (ret)
		return ret;
	if (!can_hold(job, target))
		ret = -ENOTSUP;
	ret = ret ?: check_data_file(job, target) ?: co_copy(job, target);
	if (!ret && job->bitmaps)
		ret = copy_bitmaps_co_run(job->sources[0], target);
	if (!ret)
		ret = new_image_co_complete(target, job->sync_at_end);
	return tool_co_close(target, ret);
}

static int co_make_target(struct convert_job *job)
{
	if (job->bitmaps && !job->target_is_graph &&
	    !copy_bitmaps_co_check(job->sources[0], job->target.format, job->skip_broken_bitmaps))
		return -EINVAL;
	if (job->target_exists)
		return co_check_existing_target(job) ?: co_fill_target(job);
	return new_image_co_make(&job->target, job->sources, job->source->size, co_fill_target,
				 job);
}

/* ---- the sources ---- */

static int co_open_sources(struct convert_job *job)
{
	for (unsigned i = 0; i < job->nr_sources; i++) {
		int ret = tool_co_open_opts(job->source_names[i], &job->source_opts,
					    &job->sources[i]);

		if (ret)
			return ret;
		ret = concat_co_add(job->source, job->sources[i]);
		if (ret) {
			tool_error("%s: %s", job->source_names[i], g_strerror(-ret));
			return ret;
		}
	}
	return 0;
}

static int co_convert(void *arg)
{
	struct convert_job *job = arg;
	int ret;

	job->source = concat_new(job->nr_sources);
	job->sources = g_new0(struct image *, job->nr_sources + 1);
	ret = co_open_sources(job) ?: co_make_target(job);
	concat_free(job->source);
	for (unsigned i = 0; i < job->nr_sources; i++)
		ret = tool_co_close(job->sources[i], ret);
	g_free(job->sources);
	return ret ? 1 : 0;
}

/* ---- options ---- */

static bool parse_cache(const char *what, const char *name, struct cache_mode *mode)
{
	if (!name || cache_mode_parse(name, mode))
		return true;
	tool_error("Invalid %s option: %s", what, name);
	return false;
}

static bool parse_coroutines(const char *text, uint64_t *ret_coroutines)
{
	if (!text || !number_parse(text, 1, MAX_COROUTINES, ret_coroutines))
		return true;
	tool_error("Invalid number of coroutines. Allowed number of coroutines is between 1 and %u",
		   MAX_COROUTINES);
	return false;
}

static bool parse_sparse(const char *text, uint64_t *ret_bytes)
{
	if (!img_parse_size("buffer size for sparse output", text, INT64_MAX, ret_bytes))
		return false;
	if (*ret_bytes % SECTOR_SIZE == 0 && *ret_bytes <= MAX_SPARSE)
		return true;
	tool_error(
		"Invalid buffer size for sparse output specified. Valid sizes are multiples of %u up to %d. "
		"Select 0 to disable sparse detection (fully allocates output).",
		SECTOR_SIZE, MAX_SPARSE);
	return false;
}

static bool check_compression(const struct new_image *target)
{
	const char *preallocation = g_hash_table_lookup(target->options, "preallocation");

	if (!image_format_can_compress(target->format))
		tool_error("Compression not supported for this file format");
	else if (preallocation && strcmp(preallocation, "off"))
		tool_error("Compression and preallocation not supported at the same time");
	else
		return true;
	return false;
}

static bool check_backing(const struct new_image *target)
{
	if (target->backing_filename &&
	    !image_has_option(image_create_options(target->format), "backing_file")) {
		tool_error("Backing file not supported for file format '%s'", target->format);
		return false;
	}
	if (!target->backing_filename || target->backing_format)
		return true;
	tool_error("Use of backing file requires explicit backing format");
	return false;
}

/* What the command line says. */
struct convert_options {
	char *source_format, *source_cache, *snapshot;
	char *target_format, *cache, *backing, *backing_format, *sparse, *coroutines, *rate;
	char **lists; /* of -o */
	char **words; /* sources and target */
	gboolean force_share;
	gboolean target_exists, target_is_zero;
	gboolean compress, bitmaps, skip_broken_bitmaps;
	gboolean offload, salvage;
	gboolean out_of_order, progress, quiet;
	gboolean image_opts, target_image_opts;
};

static void options_clear(struct convert_options *o)
{
	char *texts[] = { o->source_format, o->source_cache, o->snapshot,	o->target_format,
			  o->cache,	    o->backing,	     o->backing_format, o->sparse,
			  o->coroutines,    o->rate };

	for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
		g_free(texts[i]);
	g_strfreev(o->lists);
	g_strfreev(o->words);
}

static bool parse_options(const struct command *command, char **argv, struct convert_options *o)
{
	const GOptionEntry entries[] = {
		{ "source-format", 'f', 0, G_OPTION_ARG_FILENAME, &o->source_format,
		  "Format of the source (default: probed)", "FMT" },
		{ "target-format", 'O', 0, G_OPTION_ARG_FILENAME, &o->target_format,
		  "Format of the target (default: raw)", "FMT" },
		{ "target-format-options", 'o', 0, G_OPTION_ARG_FILENAME_ARRAY, &o->lists,
		  "Options of the target's format; list them with -o help", "NAME=VALUE,..." },
		{ "backing", 'B', 0, G_OPTION_ARG_FILENAME, &o->backing,
		  "Backing file of the target, with the same contents as the source's", "FILE" },
		{ "backing-file", 'b', 0, G_OPTION_ARG_FILENAME, &o->backing, "The same", "FILE" },
		{ "backing-format", 'F', 0, G_OPTION_ARG_FILENAME, &o->backing_format,
		  "Format of the backing file", "FMT" },
		{ "bitmaps", 0, 0, G_OPTION_ARG_NONE, &o->bitmaps,
		  "Copy the persistent dirty bitmaps, too", NULL },
		{ "skip-broken-bitmaps", 0, 0, G_OPTION_ARG_NONE, &o->skip_broken_bitmaps,
		  "With --bitmaps: skip inconsistent bitmaps", NULL },
		{ "target-is-zero", 0, 0, G_OPTION_ARG_NONE, &o->target_is_zero,
		  "With -n: assume that the target reads as zeroes", NULL },
		{ "no-create", 'n', 0, G_OPTION_ARG_NONE, &o->target_exists,
		  "Write to an existing target instead of creating it", NULL },
		{ "snapshot", 'l', 0, G_OPTION_ARG_FILENAME, &o->snapshot,
		  "Copy this snapshot, by name, ID or snapshot.id=...,snapshot.name=...",
		  "SNAPSHOT" },
		{ "sparse-size", 'S', 0, G_OPTION_ARG_FILENAME, &o->sparse,
		  "Minimum length of zeroes that become a hole (default: 4k; 0: no holes)",
		  "SIZE" },
		{ "compress", 'c', 0, G_OPTION_ARG_NONE, &o->compress, "Compress the target",
		  NULL },
		{ "target-cache", 't', 0, G_OPTION_ARG_FILENAME, &o->cache,
		  "Cache mode of the target (default: unsafe, with a flush at the end)", "CACHE" },
		{ "source-cache", 'T', 0, G_OPTION_ARG_FILENAME, &o->source_cache,
		  "Cache mode of the source (default: writeback)", "CACHE" },
		{ "parallel", 'm', 0, G_OPTION_ARG_FILENAME, &o->coroutines,
		  "Number of parallel coroutines (default: 8)", "N" },
		{ "oob-writes", 'W', 0, G_OPTION_ARG_NONE, &o->out_of_order,
		  "Allow out-of-order writes to the target", NULL },
		{ "rate-limit", 'r', 0, G_OPTION_ARG_FILENAME, &o->rate,
		  "Copy at most this many bytes of data per second", "SIZE" },
		{ "copy-range-offloading", 'C', 0, G_OPTION_ARG_NONE, &o->offload,
		  "Let the kernel copy from file to file, if possible", NULL },
		{ "salvage", 0, 0, G_OPTION_ARG_NONE, &o->salvage,
		  "Write zeroes for unreadable sectors, and continue", NULL },
		{ "force-share", 'U', 0, G_OPTION_ARG_NONE, &o->force_share,
		  "Open the source even if another program is writing to it", NULL },
		{ "progress", 'p', 0, G_OPTION_ARG_NONE, &o->progress, "Show the progress", NULL },
		{ "quiet", 'q', 0, G_OPTION_ARG_NONE, &o->quiet, "Print errors only", NULL },
		TOOL_IMAGE_OPTS_OPTION(&o->image_opts),
		{ "target-image-opts", 0, 0, G_OPTION_ARG_NONE, &o->target_image_opts,
		  "With -n: the same of the target", NULL },
		TOOL_OBJECT_OPTION,
		TOOL_POLICY_OPTIONS,
		TOOL_NO_LOCK_OPTION,
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &o->words, NULL,
		  "SOURCE... TARGET" },
		{},
	};

	return command_parse(command, entries, argv);
}

/* Checks which options go together. */
static bool check_options(const struct convert_options *o)
{
	unsigned nr_sources = g_strv_length(o->words) - 1;

	if (o->skip_broken_bitmaps && !o->bitmaps)
		tool_error("Use of --skip-broken-bitmaps requires --bitmaps");
	else if (o->offload && o->compress)
		tool_error("Cannot enable copy offloading when -c is used");
	else if (o->offload && o->sparse)
		tool_error("Cannot enable copy offloading when -S is used");
	else if (o->offload && o->salvage)
		tool_error("Cannot use copy offloading in salvaging mode");
	else if (nr_sources > 1 && o->bitmaps)
		tool_error("Copying bitmaps only possible with single source");
	else if (nr_sources > 1 && o->snapshot)
		tool_error("No support for concatenating multiple snapshot");
	else if (nr_sources > 1 && o->backing)
		tool_error("Having a backing file for the target makes no sense when concatenating "
			   "multiple input images");
	else if (o->target_is_zero && !o->target_exists)
		tool_error("--target-is-zero requires use of -n flag");
	else if (o->target_is_zero && o->backing)
		tool_error("Cannot use --target-is-zero when the destination image has a "
			   "backing file");
	else if (o->target_image_opts && !o->target_exists)
		tool_error("--target-image-opts requires use of -n flag");
	else if (o->target_exists && o->lists)
		tool_error("-o has no effect when skipping image creation");
	else
		return true;
	return false;
}

/* Parses the values that have a grammar. @snapshot_options owns the strings that @job refers to. */
static bool parse_values(const struct convert_options *o, GHashTable *snapshot_options,
			 struct convert_job *job)
{
	struct cache_mode source_mode = { 0 };

	if (!parse_cache("cache", o->cache, &job->target_mode) ||
	    !parse_cache("source cache", o->source_cache, &source_mode) ||
	    !parse_sparse(o->sparse, &job->sparse_bytes) ||
	    !parse_coroutines(o->coroutines, &job->coroutines) ||
	    !img_parse_size("rate limit", o->rate, INT64_MAX, &job->rate) ||
	    !img_parse_snapshot(o->snapshot, snapshot_options, &job->source_opts))
		return false;
	job->source_opts.flags = source_mode.open_flags | (o->force_share ? IMAGE_FORCE_SHARE : 0);
	return true;
}

static int run(struct convert_job *job, const struct convert_options *o)
{
	const char *format = o->target_format ?: "raw";
	g_autofree char *doing = g_strconcat("error while converting ", format, NULL);
	int status = 1;

	if (!image_create_options(format)) {
		tool_error("Unknown file format '%s'", format);
		return 1;
	}
	if (new_image_init(&job->target, o->words[job->nr_sources], format, o->lists) &&
	    new_image_check_names(&job->target) &&
	    (!o->compress || o->target_image_opts || check_compression(&job->target))) {
		new_image_set_backing(&job->target, o->backing, o->backing_format);
		job->target.doing = doing;
		if (job->target_exists || check_backing(&job->target))
			status = tool_run_co(co_convert, job);
	}
	new_image_clear(&job->target);
	return status;
}

static bool take_image_opts(const struct convert_options *o, unsigned nr_sources)
{
	for (unsigned i = 0; i < nr_sources; i++)
		if (!tool_take_image_opts(o->image_opts, o->source_format, &o->words[i]))
			return false;
	return tool_take_image_opts(o->target_image_opts, o->target_format, &o->words[nr_sources]);
}

static int convert(const struct convert_options *o)
{
	g_autoptr(GHashTable) snapshot_options =
		g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	struct convert_job job = {
		.source_opts = { .format = o->source_format },
		.target_exists = o->target_exists,
		.target_is_graph = o->target_image_opts,
		.target_is_zero = o->target_is_zero,
		.target_mode = { .open_flags = IMAGE_NO_FLUSH },
		.sync_at_end = !o->cache,
		.coroutines = DEFAULT_COROUTINES,
		.sparse_bytes = DEFAULT_SPARSE,
		.sparse_asked = o->sparse,
		.compress = o->compress,
		.bitmaps = o->bitmaps,
		.skip_broken_bitmaps = o->skip_broken_bitmaps,
		.out_of_order = o->out_of_order,
		.offload = o->offload,
		.salvage = o->salvage,
		.quiet = o->quiet,
		.show_progress = o->progress && !o->quiet,
	};

	job.nr_sources = o->words ? g_strv_length(o->words) - 1 : 0;
	if (new_image_asks_help(o->lists))
		return new_image_print_options(o->target_format ?: "raw",
					       job.nr_sources ? o->words[job.nr_sources] : NULL)
			       ? 0
			       : 1;
	if (!job.nr_sources) {
		tool_error("Must specify image file name");
		return 1;
	}
	job.source_names = o->words;
	if (!parse_values(o, snapshot_options, &job) || !check_options(o) ||
	    !take_image_opts(o, job.nr_sources))
		return 1;
	return run(&job, o);
}

int img_convert(const struct command *command, char **argv)
{
	struct convert_options options = {};
	int status = parse_options(command, argv, &options) ? convert(&options) : 1;

	options_clear(&options);
	return status;
}
