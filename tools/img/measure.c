// SPDX-License-Identifier: GPL-2.0-or-later
/* ubd-img measure: how large the files of a new image get, empty or with the data of another one.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "img.h"
#include "json_text.h"

struct measure_job {
	const char *filename; /* NULL: measure a size */
	struct image_open_opts source_opts;
	uint64_t size;
	const char *format; /* of the new image */
	GHashTable *options;
	bool json;
};

/* ---- output ---- */

static void print_human(const struct image_measurement *measurement)
{
	printf("required size: %" PRIu64 "\n"
	       "fully allocated size: %" PRIu64 "\n",
	       measurement->required, measurement->fully_allocated);
	if (measurement->has_bitmaps)
		printf("bitmaps size: %" PRIu64 "\n", measurement->bitmaps);
}

static void print_json(const struct image_measurement *measurement)
{
	json_auto_t *root = json_object();

	if (measurement->has_bitmaps)
		json_add_int(root, "bitmaps", measurement->bitmaps);
	json_add_int(root, "required", measurement->required);
	json_add_int(root, "fully-allocated", measurement->fully_allocated);
	json_print(root);
}

/* ---- the measurement ---- */

static int co_measure_image(const struct measure_job *job, struct image *source)
{
	const struct image_create_opts opts = {
		.size = source ? image_size(source) : job->size,
		.backing_filename = g_hash_table_lookup(job->options, "backing_file"),
		.backing_format = g_hash_table_lookup(job->options, "backing_fmt"),
		.options = job->options,
	};
	struct image_measurement measurement;
	g_autoptr(GError) err = NULL;
	int ret = image_co_measure(job->format, &opts, source, &measurement, &err);

	if (ret)
		tool_error("%s", err->message);
	else if (job->json)
		print_json(&measurement);
	else
		print_human(&measurement);
	return ret;
}

static int co_measure(void *arg)
{
	const struct measure_job *job = arg;
	struct image *source = NULL;
	int ret = job->filename ? tool_co_open_opts(job->filename, &job->source_opts, &source) : 0;

	if (!ret)
		ret = tool_co_close(source, co_measure_image(job, source));
	return ret ? 1 : 0;
}

/* ---- options ---- */

static bool parse_lists(char *const *lists, GHashTable *options)
{
	for (; lists && *lists; lists++) {
		if (!option_list_parse(*lists, options)) {
			tool_error("Invalid option list: %s", *lists);
			return false;
		}
	}
	return true;
}

static bool check_format(const struct measure_job *job)
{
	const struct image_option *known = image_create_options(job->format);
	GHashTableIter iter;
	gpointer name;

	if (!known) {
		tool_error("Unknown file format '%s'", job->format);
		return false;
	}
	g_hash_table_iter_init(&iter, job->options);
	while (g_hash_table_iter_next(&iter, &name, NULL)) {
		if (image_has_option(known, name) ||
		    image_has_option(image_file_create_options(), name))
			continue;
		tool_error("Invalid parameter '%s'", (char *)name);
		tool_error("Invalid options for file format '%s'", job->format);
		return false;
	}
	return true;
}

/* Either a size or a file is measured. */
static bool check_subject(char *const *filenames, bool has_size, bool has_source_options)
{
	if (filenames && filenames[1])
		tool_error("At most one filename argument is allowed.");
	else if (!filenames && has_source_options)
		tool_error("--image-opts, -f, and -l require a filename argument.");
	else if (!filenames && !has_size)
		tool_error("Either --size N or one filename must be specified.");
	else if (filenames && has_size)
		tool_error("--size N cannot be used together with a filename.");
	else
		return true;
	return false;
}

int img_measure(const struct command *command, char **argv)
{
	g_autoptr(GHashTable) options =
		g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	g_autoptr(GHashTable) snapshot_options =
		g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	g_autofree char *format = NULL, *target_format = NULL, *snapshot = NULL, *output = NULL,
			*size = NULL;
	g_auto(GStrv) lists = NULL, filenames = NULL;
	gboolean image_opts = FALSE, force_share = FALSE;
	const GOptionEntry entries[] = {
		{ "format", 'f', 0, G_OPTION_ARG_FILENAME, &format,
		  "Format of the image (default: probed)", "FMT" },
		{ "snapshot", 'l', 0, G_OPTION_ARG_FILENAME, &snapshot,
		  "Measure this snapshot, by name, ID or snapshot.id=...,snapshot.name=...",
		  "SNAPSHOT" },
		{ "target-format", 'O', 0, G_OPTION_ARG_FILENAME, &target_format,
		  "Format of the new image (default: raw)", "FMT" },
		{ "options", 'o', 0, G_OPTION_ARG_FILENAME_ARRAY, &lists, "Options of that format",
		  "NAME=VALUE,..." },
		{ "output", 0, 0, G_OPTION_ARG_FILENAME, &output,
		  "Output format: human (default) or json", "OFMT" },
		{ "size", 's', 0, G_OPTION_ARG_FILENAME, &size,
		  "Measure an empty image of this size instead of FILENAME", "SIZE" },
		{ "force-share", 'U', 0, G_OPTION_ARG_NONE, &force_share,
		  "Open the image even if another program is writing to it", NULL },
		TOOL_OPEN_OPTIONS(&image_opts),
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &filenames, NULL,
		  "[FILENAME]" },
		{},
	};
	struct measure_job job = { .options = options };

	if (!command_parse(command, entries, argv) || !img_parse_output(output, &job.json) ||
	    !img_parse_size("image size", size, INT64_MAX, &job.size) ||
	    !parse_lists(lists, options) ||
	    !img_parse_snapshot(snapshot, snapshot_options, &job.source_opts) ||
	    !check_subject(filenames, size, image_opts || format || snapshot) ||
	    (filenames && !tool_take_image_opts(image_opts, format, &filenames[0])))
		return 1;
	job.filename = filenames ? filenames[0] : NULL;
	job.format = target_format ?: "raw";
	if (!check_format(&job))
		return 1;
	job.source_opts.format = format;
	job.source_opts.flags = IMAGE_BEAR_WRITERS | (force_share ? IMAGE_FORCE_SHARE : 0);
	return tool_run_co(co_measure, &job);
}
