// SPDX-License-Identifier: GPL-2.0-or-later
/* ubd-img check: looks for errors in the metadata of an image and changes nothing. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "cache_mode.h"
#include "img.h"
#include "json_text.h"

/* Exit status, as of qemu-img check. */
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

static void add_unless_zero(JsonBuilder *builder, const char *name, uint64_t value)
{
	if (value)
		json_add_int(builder, name, value);
}

/* In the order of QEMU 7.2, for those who compare texts. */
static void print_json(const struct image *img, const struct image_check_result *result)
{
	g_autoptr(JsonBuilder) builder = json_builder_new();
	g_autoptr(JsonNode) root = NULL;

	json_builder_begin_object(builder);
	add_unless_zero(builder, "image-end-offset", result->image_end_off);
	add_unless_zero(builder, "compressed-clusters", result->compressed_clusters);
	add_unless_zero(builder, "total-clusters", result->total_clusters);
	add_unless_zero(builder, "corruptions", result->corruptions);
	json_add_int(builder, "check-errors", result->check_errors);
	add_unless_zero(builder, "leaks", result->leaks);
	add_unless_zero(builder, "allocated-clusters", result->allocated_clusters);
	json_add_string(builder, "filename", image_filename(img));
	json_add_string(builder, "format", image_format(img));
	add_unless_zero(builder, "fragmented-clusters", result->fragmented_clusters);
	json_builder_end_object(builder);
	root = json_builder_get_root(builder);
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

static int co_check_opened(const struct check_job *job, struct image *img)
{
	struct image_check_result result = { 0 };
	int ret = image_co_check(img, print_finding, NULL, &result);

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
	const struct check_job *job = arg;
	struct image *img;
	int status;

	if (tool_co_open(job->filename, job->format, job->flags, &img))
		return CHECK_FAILED;
	status = co_check_opened(job, img);
	if (tool_co_close(img, 0))
		return CHECK_FAILED;
	return status;
}

int img_check(const struct img_command *command, char **argv)
{
	g_autofree char *format = NULL, *output = NULL, *cache = NULL, *repair = NULL;
	g_auto(GStrv) filenames = NULL;
	gboolean force_share = FALSE, quiet = FALSE;
	const GOptionEntry entries[] = {
		{ "format", 'f', 0, G_OPTION_ARG_FILENAME, &format,
		  "Format of the image (default: by its header)", "FMT" },
		{ "output", 0, 0, G_OPTION_ARG_FILENAME, &output, "Print it as human or json",
		  "OFMT" },
		{ "repair", 'r', 0, G_OPTION_ARG_FILENAME, &repair,
		  "Repair leaks or all; this is not supported yet", "WHAT" },
		{ "cache", 'T', 0, G_OPTION_ARG_FILENAME, &cache,
		  "Cache mode of the image: none, writeback (default)...", "CACHE" },
		{ "force-share", 'U', 0, G_OPTION_ARG_NONE, &force_share,
		  "Open the image even if somebody writes to it", NULL },
		{ "quiet", 'q', 0, G_OPTION_ARG_NONE, &quiet, "Print what is wrong only", NULL },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &filenames, NULL,
		  "FILENAME" },
		{},
	};
	struct check_job job = { 0 };
	struct cache_mode mode = { 0 };

	if (!img_parse(command, entries, argv) || !img_parse_output(output, &job.json))
		return CHECK_FAILED;
	job.filename = img_only_filename(command, filenames);
	if (!job.filename)
		return CHECK_FAILED;
	if (cache && !cache_mode_parse(cache, &mode)) {
		tool_error("Invalid source cache option: %s", cache);
		return CHECK_FAILED;
	}
	if (repair) {
		tool_error("%s: -r %s: Repairing is not supported yet", job.filename, repair);
		return CHECK_FAILED;
	}
	job.format = format;
	job.flags = IMAGE_FOR_CHECK | mode.open_flags | (force_share ? IMAGE_FORCE_SHARE : 0);
	job.quiet = quiet;
	return tool_run_co(co_check, &job);
}
