// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubd-img rebase: changes the backing file of an image. Unless -u is given, the image first gets
 * what the old backing file has and the new one has not, so that the disk stays the same.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cache_mode.h"
#include "chain_work.h"
#include "img.h"

struct rebase_job {
	const char *filename;
	const char *format;
	const char *backing; /* NULL: none */
	const char *backing_format;
	struct cache_mode mode, backing_mode;
	bool unsafe;
	bool compress;
	bool force_share;
	bool show_progress;
};

static int refuse(const struct rebase_job *job, const char *reason)
{
	tool_error("Could not change the backing file to '%s': %s", job->backing ?: "", reason);
	return -EINVAL;
}

/* ---- the new backing file ---- */

static bool is_format(const char *name)
{
	for (const char *const *format = image_formats(); *format; format++)
		if (strcmp(*format, name) == 0)
			return true;
	return false;
}

/* The file that names in the image are relative to. */
static const char *file_of(const struct image *img)
{
	while (image_file(img))
		img = image_file(img);
	return image_filename(img);
}

static int co_open_backing(const struct rebase_job *job, const struct image *img,
			   struct image **ret_backing)
{
	struct image_open_opts opts = {
		.format = job->backing_format,
		.flags = job->backing_mode.open_flags | (job->force_share ? IMAGE_FORCE_SHARE : 0),
	};
	g_autofree char *name = image_resolve_backing(file_of(img), job->backing);
	struct file_id id = image_file_id(img);
	g_autoptr(GError) err = NULL;
	int ret = tool_co_try_open(name, &opts, ret_backing, &err);

	if (ret) {
		tool_error("Could not open new backing file '%s': %s", job->backing, err->message);
		return ret;
	}
	if (!image_chain_has_file(*ret_backing, &id))
		return 0;
	image_co_close(*ret_backing);
	return refuse(job, "it would be its own backing file");
}

/* ---- the job ---- */

static int co_copy(const struct rebase_job *job, struct image *img, struct image *backing)
{
	const struct image_chain_opts opts = {
		.write_flags = cache_mode_write_flags(&job->mode),
		.compress = job->compress,
	};

	return chain_work_co_run(image_co_copy_differences, img, backing, &opts,
				 job->show_progress);
}

static int co_set_backing(const struct rebase_job *job, struct image *img)
{
	g_autoptr(GError) err = NULL;
	int ret = image_co_set_backing(img, job->backing, job->backing_format, &err);

	if (!ret)
		return 0;
	refuse(job, ret == -ENOSPC ? "No space left in the file header" : err->message);
	return ret;
}

static int check_support(const struct rebase_job *job, const struct image *img)
{
	if (image_format_has_backing(image_format(img)))
		return 0;
	return refuse(job, "Operation not supported");
}

/* As in QEMU, images that say nothing about their backing file's format are not made any more. */
static int check(const struct rebase_job *job, const struct image *img)
{
	if (job->backing && !job->backing_format)
		return refuse(job, "backing format must be specified");
	if (job->compress && !image_format_can_compress(image_format(img)))
		return refuse(job, "Compression not supported for this file format");
	return 0;
}

static int co_rebase_safely(const struct rebase_job *job, struct image *img)
{
	struct image *backing = NULL;
	int ret = check_support(job, img);

	if (!ret && job->backing)
		ret = co_open_backing(job, img, &backing);

	if (ret)
		return ret;
	ret = check(job, img) ?: co_copy(job, img, backing);
	return tool_co_close(backing, ret) ?: co_set_backing(job, img);
}

static int co_rebase(void *arg)
{
	const struct rebase_job *job = arg;
	unsigned flags = IMAGE_RDWR | IMAGE_WRITE_BEHIND | job->mode.open_flags;
	struct image *opened, *img;
	int ret;

	if (tool_co_open(job->filename, job->format, job->unsafe ? flags | IMAGE_NO_BACKING : flags,
			 &opened))
		return 1;
	img = image_below_filters(opened);
	if (job->unsafe)
		ret = check_support(job, img) ?: check(job, img) ?: co_set_backing(job, img);
	else
		ret = co_rebase_safely(job, img);
	return tool_co_close(opened, ret) ? 1 : 0;
}

/* ---- options ---- */

static bool parse_cache(const char *what, const char *name, struct cache_mode *mode)
{
	if (!name || cache_mode_parse(name, mode))
		return true;
	tool_error("Invalid %s option: %s", what, name);
	return false;
}

static bool check_format(const char *format)
{
	if (!format || is_format(format))
		return true;
	tool_error("Invalid format name: '%s'", format);
	return false;
}

int img_rebase(const struct command *command, char **argv)
{
	g_autofree char *format = NULL, *cache = NULL, *backing = NULL, *backing_format = NULL,
			*backing_cache = NULL;
	g_auto(GStrv) filenames = NULL;
	gboolean image_opts = FALSE, unsafe = FALSE, compress = FALSE, force_share = FALSE,
		 progress = FALSE, quiet = FALSE;
	const GOptionEntry entries[] = {
		{ "format", 'f', 0, G_OPTION_ARG_FILENAME, &format,
		  "Format of the image (default: probed)", "FMT" },
		{ "cache", 't', 0, G_OPTION_ARG_FILENAME, &cache,
		  "Cache mode of the image (default: writeback)", "CACHE" },
		{ "backing", 'b', 0, G_OPTION_ARG_FILENAME, &backing,
		  "The new backing file; '': none", "FILE" },
		{ "backing-format", 'F', 0, G_OPTION_ARG_FILENAME, &backing_format,
		  "Format of the new backing file", "FMT" },
		/* Its letter since QEMU 10.1. */
		{ "new-backing-format", 'B', G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_FILENAME,
		  &backing_format, "The same", "FMT" },
		{ "backing-cache", 'T', 0, G_OPTION_ARG_FILENAME, &backing_cache,
		  "Cache mode of the new backing file (default: writeback)", "CACHE" },
		{ "backing-unsafe", 'u', 0, G_OPTION_ARG_NONE, &unsafe,
		  "Only change the name: the new backing file must have the same contents", NULL },
		{ "compress", 'c', 0, G_OPTION_ARG_NONE, &compress, "Compress the copied data",
		  NULL },
		{ "force-share", 'U', 0, G_OPTION_ARG_NONE, &force_share,
		  "Open the new backing file even if another program is writing to it", NULL },
		{ "progress", 'p', 0, G_OPTION_ARG_NONE, &progress, "Show the progress", NULL },
		{ "quiet", 'q', 0, G_OPTION_ARG_NONE, &quiet, "Print errors only", NULL },
		TOOL_OPEN_OPTIONS(&image_opts),
		TOOL_NO_LOCK_OPTION,
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &filenames, NULL,
		  "FILENAME" },
		{},
	};
	struct rebase_job job = { 0 };

	if (!command_parse(command, entries, argv))
		return 1;
	if (!img_only_filename(command, filenames))
		return 1;
	if (!unsafe && !backing)
		return command_usage_error(
			command, "Must specify backing file (-b) or use unsafe mode (-u)");
	job.filename = img_only_image(command, filenames, image_opts, format);
	if (!job.filename || !parse_cache("cache", cache, &job.mode) ||
	    !parse_cache("source cache", backing_cache, &job.backing_mode) ||
	    !check_format(backing_format))
		return 1;
	job.format = format;
	job.backing = backing && *backing ? backing : NULL;
	job.backing_format = job.backing ? backing_format : NULL;
	job.unsafe = unsafe;
	job.compress = compress;
	job.force_share = force_share;
	job.show_progress = progress && !quiet;
	return tool_run_co(co_rebase, &job) ? 1 : 0;
}
