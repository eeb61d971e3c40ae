// SPDX-License-Identifier: GPL-2.0-or-later
/* ubd-img check: checks the metadata of an image for errors and, if asked to, repairs them. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cache_mode.h"
#include "img.h"
#include "json_text.h"
#include "progress.h"

/* Exit status, like that of qemu-img check. */
enum {
	CHECK_OK = 0,
	CHECK_FAILED = 1,
	CHECK_CORRUPT = 2,
	CHECK_LEAKS = 3,
	CHECK_NOT_SUPPORTED = 63,
};

struct check_job {
	const char *filename;
	const char *format;
	unsigned flags;
	bool json;
	bool quiet;
	unsigned fix; /* IMAGE_CHECK_FIX_* */
	struct progress progress;
};

static void print_finding(void *arg, const char *line)
{
	fprintf(stderr, "%s\n", line);
}

/* ---- for people ---- */

static void print_errors(const struct image_check_result *result)
{
	if (!result->corruptions && !result->leaks && !result->check_errors) {
		printf("No errors were found on the image.\n");
		return;
	}
	if (result->corruptions)
		printf("\n%" PRIu64 " errors were found on the image.\n"
		       "Data may be corrupted, or further writes to the image may corrupt it.\n",
		       result->corruptions);
	if (result->leaks)
		printf("\n%" PRIu64 " leaked clusters were found on the image.\n"
		       "This means waste of disk space, but no harm to data.\n",
		       result->leaks);
	if (result->check_errors)
		printf("\n%" PRIu64 " internal errors have occurred during the check.\n",
		       result->check_errors);
}

static double percent(uint64_t part, uint64_t whole)
{
	return 100.0 * part / whole;
}

static void print_result(const struct image_check_result *result)
{
	print_errors(result);
	if (result->total_clusters && result->allocated_clusters)
		printf("%" PRIu64 "/%" PRIu64 " = %.2f%% allocated, %.2f%% fragmented, "
		       "%.2f%% compressed clusters\n",
		       result->allocated_clusters, result->total_clusters,
		       percent(result->allocated_clusters, result->total_clusters),
		       percent(result->fragmented_clusters, result->allocated_clusters),
		       percent(result->compressed_clusters, result->allocated_clusters));
	if (result->image_end_off)
		printf("Image end offset: %" PRIu64 "\n", result->image_end_off);
}

/* ---- for scripts ---- */

static void add_unless_zero(json_t *object, const char *name, uint64_t value)
{
	if (value)
		json_add_int(object, name, value);
}

/* In the order of QEMU 7.2, for scripts that compare text. */
static void print_json(const struct image *img, const struct image_check_result *result)
{
	json_auto_t *root = json_object();

	add_unless_zero(root, "image-end-offset", result->image_end_off);
	add_unless_zero(root, "compressed-clusters", result->compressed_clusters);
	add_unless_zero(root, "total-clusters", result->total_clusters);
	add_unless_zero(root, "corruptions", result->corruptions);
	add_unless_zero(root, "corruptions-fixed", result->corruptions_fixed);
	json_add_int(root, "check-errors", result->check_errors);
	add_unless_zero(root, "leaks", result->leaks);
	add_unless_zero(root, "leaks-fixed", result->leaks_fixed);
	add_unless_zero(root, "allocated-clusters", result->allocated_clusters);
	json_add_string(root, "filename", image_filename(img));
	json_add_string(root, "format", image_format(img));
	add_unless_zero(root, "fragmented-clusters", result->fragmented_clusters);
	json_print(root);
}

/* ---- the command ---- */

static int status_of(const struct image_check_result *result)
{
	if (result->check_errors)
		return CHECK_FAILED;
	if (result->corruptions)
		return CHECK_CORRUPT;
	return result->leaks ? CHECK_LEAKS : CHECK_OK;
}

static void show_progress(void *arg, uint64_t done, uint64_t total)
{
	struct progress *progress = arg;

	progress->total = total;
	progress_add(progress, done - progress->done);
}

static int co_check_once(struct check_job *job, struct image *img, unsigned fix,
			 struct image_check_result *result)
{
	struct image_check_opts opts = {
		.fix = fix,
		.report = print_finding,
		.progress = show_progress,
		.progress_arg = &job->progress,
	};
	int ret;

	progress_start(&job->progress, job->progress.enabled, 0);
	ret = image_co_repair(img, &opts, result);
	progress_end(&job->progress, ret);
	return ret;
}

/* A repaired image is checked again, and the second check gives the result. */
static int co_check_twice(struct check_job *job, struct image *img,
			  struct image_check_result *result)
{
	struct image_check_result first;
	int ret = co_check_once(job, img, job->fix, &first);

	*result = first;
	if (ret || (!first.corruptions_fixed && !first.leaks_fixed))
		return ret;
	if (!job->json && !job->quiet)
		printf("The following inconsistencies were found and repaired:\n\n"
		       "    %" PRIu64 " leaked clusters\n"
		       "    %" PRIu64 " corruptions\n\n"
		       "Double checking the fixed image now...\n",
		       first.leaks_fixed, first.corruptions_fixed);
	ret = co_check_once(job, img, 0, result);
	result->leaks_fixed = first.leaks_fixed;
	result->corruptions_fixed = first.corruptions_fixed;
	return ret;
}

static int co_check_opened(struct check_job *job, struct image *img)
{
	struct image_check_result result = { 0 };
	int ret = co_check_twice(job, img, &result);

	if (ret == -ENOTSUP) {
		tool_error("This image format does not support checks");
		return CHECK_NOT_SUPPORTED;
	}
	if (ret) {
		tool_error("%s: Check failed: %s", job->filename, g_strerror(-ret));
		return CHECK_FAILED;
	}
	if (job->json)
		print_json(img, &result);
	else if (!job->quiet)
		print_result(&result);
	return status_of(&result);
}

static int co_check(void *arg)
{
	struct check_job *job = arg;
	struct image *img;
	int status;

	if (tool_co_open(job->filename, job->format, job->flags, &img))
		return CHECK_FAILED;
	status = co_check_opened(job, img);
	if (tool_co_close(img, 0))
		return CHECK_FAILED;
	return status;
}

static bool parse_repair(const struct command *command, const char *what, unsigned *ret_fix)
{
	if (strcmp(what, "leaks") == 0)
		*ret_fix = IMAGE_CHECK_FIX_LEAKS;
	else if (strcmp(what, "all") == 0)
		*ret_fix = IMAGE_CHECK_FIX_LEAKS | IMAGE_CHECK_FIX_ERRORS;
	else
		command_usage_error(command,
				    "Unknown option value for -r (expecting 'leaks' or 'all'): %s",
				    what);
	return *ret_fix;
}

int img_check(const struct command *command, char **argv)
{
	g_autofree char *format = NULL, *output = NULL, *cache = NULL, *repair = NULL;
	g_auto(GStrv) filenames = NULL;
	gboolean image_opts = FALSE, force_share = FALSE, quiet = FALSE, progress = FALSE;
	const GOptionEntry entries[] = {
		{ "format", 'f', 0, G_OPTION_ARG_FILENAME, &format,
		  "Format of the image (default: probed)", "FMT" },
		{ "output", 0, 0, G_OPTION_ARG_FILENAME, &output,
		  "Output format: human (default) or json", "OFMT" },
		{ "repair", 'r', 0, G_OPTION_ARG_FILENAME, &repair,
		  "Repair leaked clusters (leaks), or all errors (all)", "WHAT" },
		{ "cache", 'T', 0, G_OPTION_ARG_FILENAME, &cache,
		  "Cache mode of the image (default: writeback)", "CACHE" },
		{ "force-share", 'U', 0, G_OPTION_ARG_NONE, &force_share,
		  "Open the image even if another program is writing to it", NULL },
		{ "progress", 'p', 0, G_OPTION_ARG_NONE, &progress, "Show the progress", NULL },
		{ "quiet", 'q', 0, G_OPTION_ARG_NONE, &quiet, "Print errors only", NULL },
		TOOL_OPEN_OPTIONS(&image_opts),
		TOOL_NO_LOCK_OPTION,
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &filenames, NULL,
		  "FILENAME" },
		{},
	};
	struct check_job job = { 0 };
	struct cache_mode mode = { 0 };

	if (!command_parse(command, entries, argv) || !img_parse_output(output, &job.json))
		return CHECK_FAILED;
	job.filename = img_only_image(command, filenames, image_opts, format);
	if (!job.filename)
		return CHECK_FAILED;
	if (cache && !cache_mode_parse(cache, &mode)) {
		tool_error("Invalid source cache option: %s", cache);
		return CHECK_FAILED;
	}
	if (repair && !parse_repair(command, repair, &job.fix))
		return CHECK_FAILED;
	job.format = format;
	job.flags = IMAGE_FOR_CHECK | mode.open_flags | (force_share ? IMAGE_FORCE_SHARE : 0) |
		    (job.fix ? IMAGE_FOR_REPAIR : 0);
	job.quiet = quiet;
	job.progress.enabled = progress && !quiet && !job.json;
	return tool_run_co(co_check, &job);
}
