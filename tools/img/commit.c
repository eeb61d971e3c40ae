// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubd-img commit: writes what an image has to an image below it, and empties the image once that is
 * durable.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cache_mode.h"
#include "chain_work.h"
#include "img.h"

struct commit_job {
	const char *filename;
	const char *format;
	const char *base; /* NULL: the backing file */
	struct cache_mode mode;
	uint64_t rate;
	bool drop; /* the image is not emptied */
	bool show_progress;
};

/* ---- the base ---- */

/* Whether the user means the backing file of @layer. */
static bool is_named(const struct image *layer, const char *recorded, const char *name)
{
	const char *backing = image_filename(image_backing(layer));
	g_autofree char *beside = image_resolve_backing(image_filename(layer), name);

	return strcmp(name, backing) == 0 || (recorded && strcmp(name, recorded) == 0) ||
	       image_co_same_file(name, backing) || image_co_same_file(beside, backing);
}

/* Sets *ret_layer to the image whose backing file is the base. */
static int co_find_base(const struct commit_job *job, struct image *top, struct image **ret_layer)
{
	struct image *layer = top;

	if (!image_backing(top)) {
		tool_error("Image does not have a backing file");
		return -EINVAL;
	}
	for (; image_backing(layer); layer = image_backing(layer)) {
		struct image_info info = { 0 };
		bool found = !job->base;

		if (!found && image_co_get_info(layer, &info, NULL) == 0) {
			found = is_named(layer, info.backing_filename, job->base);
			image_info_clear(&info);
		}
		if (!found)
			continue;
		*ret_layer = layer;
		return 0;
	}
	tool_error("Did not find '%s' in the backing chain of '%s'", job->base, job->filename);
	return -ENOENT;
}

/* ---- the job ---- */

static int co_copy(const struct commit_job *job, struct image *top, struct image *base)
{
	const struct image_chain_opts opts = {
		.write_flags = cache_mode_write_flags(&job->mode),
		.bytes_per_second = job->rate,
	};

	return chain_work_co_run(image_co_commit, top, base, &opts, job->show_progress);
}

static int co_commit_to(const struct commit_job *job, struct image *top, struct image *layer)
{
	struct image_open_opts opts = {
		.flags = IMAGE_RDWR | IMAGE_UNMAP | IMAGE_WRITE_BEHIND | job->mode.open_flags,
		.policy = &tool_policy,
	};
	g_autoptr(GError) err = NULL;
	int ret = image_co_reopen_backing(top, layer, &opts, &err);

	if (ret) {
		tool_error("%s", err->message);
		return ret;
	}
	ret = co_copy(job, top, image_backing(layer));
	if (ret || job->drop)
		return ret;
	ret = image_co_make_empty(top, &err);
	if (ret)
		tool_error("Could not empty %s: %s", job->filename, err->message);
	return ret;
}

static int co_commit(void *arg)
{
	const struct commit_job *job = arg;
	struct image *opened, *top, *layer;
	int ret;

	if (tool_co_open(job->filename, job->format,
			 IMAGE_RDWR | IMAGE_UNMAP | job->mode.open_flags, &opened))
		return 1;
	top = image_below_filters(opened);
	ret = co_find_base(job, top, &layer) ?: co_commit_to(job, top, layer);
	return tool_co_close(opened, ret) ? 1 : 0;
}

int img_commit(const struct command *command, char **argv)
{
	g_autofree char *format = NULL, *cache = NULL, *base = NULL, *rate = NULL;
	g_auto(GStrv) filenames = NULL;
	gboolean image_opts = FALSE, drop = FALSE, progress = FALSE, quiet = FALSE;
	const GOptionEntry entries[] = {
		{ "format", 'f', 0, G_OPTION_ARG_FILENAME, &format,
		  "Format of the image (default: probed)", "FMT" },
		{ "cache", 't', 0, G_OPTION_ARG_FILENAME, &cache,
		  "Cache mode of both images (default: writeback)", "CACHE" },
		{ "base", 'b', 0, G_OPTION_ARG_FILENAME, &base,
		  "Commit to this image of the backing chain; implies --drop (default: the "
		  "backing file)",
		  "FILE" },
		{ "drop", 'd', 0, G_OPTION_ARG_NONE, &drop, "Do not empty the image", NULL },
		{ "rate-limit", 'r', 0, G_OPTION_ARG_FILENAME, &rate,
		  "Copy at most this much per second (default: 0, no limit)", "SIZE" },
		{ "progress", 'p', 0, G_OPTION_ARG_NONE, &progress, "Show the progress", NULL },
		{ "quiet", 'q', 0, G_OPTION_ARG_NONE, &quiet, "Print errors only", NULL },
		TOOL_OPEN_OPTIONS(&image_opts),
		TOOL_NO_LOCK_OPTION,
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &filenames, NULL,
		  "FILENAME" },
		{},
	};
	struct commit_job job = { 0 };

	if (!command_parse(command, entries, argv) ||
	    !img_parse_size("rate limit", rate, INT64_MAX, &job.rate))
		return 1;
	job.filename = img_only_image(command, filenames, image_opts, format);
	if (!job.filename)
		return 1;
	if (cache && !cache_mode_parse(cache, &job.mode)) {
		tool_error("Invalid cache option: %s", cache);
		return 1;
	}
	job.format = format;
	job.base = base;
	job.drop = drop || base;
	job.show_progress = progress && !quiet;
	if (tool_run_co(co_commit, &job))
		return 1;
	if (!quiet)
		printf("Image committed.\n");
	return 0;
}
