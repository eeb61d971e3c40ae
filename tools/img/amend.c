// SPDX-License-Identifier: GPL-2.0-or-later
/* ubd-img amend: changes options of an existing image. */
#include <inttypes.h>
#include <stdio.h>

#include "cache_mode.h"
#include "img.h"
#include "progress.h"

struct amend_job {
	const char *filename;
	const char *format;
	unsigned flags;
	GHashTable *options;
	struct progress progress;
	uint64_t done; /* out of PROGRESS_TOTAL */
};

#define PROGRESS_TOTAL 10000

/* If several steps are long, each of them reports progress from start to end. */
static void report(void *arg, uint64_t done, uint64_t total)
{
	struct amend_job *job = arg;
	uint64_t now = (double)done / total * PROGRESS_TOTAL;

	if (now > job->done)
		progress_add(&job->progress, now - job->done);
	job->done = MAX(job->done, now);
}

static int co_amend(void *arg)
{
	struct amend_job *job = arg;
	g_autoptr(GError) err = NULL;
	struct image *img;
	int ret;

	if (tool_co_open(job->filename, job->format, job->flags, &img))
		return 1;
	progress_start(&job->progress, job->progress.enabled, PROGRESS_TOTAL);
	ret = image_co_amend(img, job->options, report, job, &err);
	progress_end(&job->progress, ret != 0);
	if (ret)
		tool_error("%s", tool_reason(err, job->filename));
	return tool_co_close(img, ret) ? 1 : 0;
}

static bool print_help(const char *format)
{
	const struct image_option *options = image_amend_options(format);

	if (!options) {
		tool_error(g_strv_contains(image_formats(), format)
				   ? "Format driver '%s' does not support option amendment"
				   : "Unknown file format '%s'",
			   format);
		return false;
	}
	printf("Amend options for '%s':\n", format);
	for (; options->name; options++) {
		g_autofree char *name = g_strdup_printf("%s=<%s>", options->name, options->type);

		printf("  %-22s - %s\n", name, options->help);
	}
	return true;
}

static bool parse_lists(char **lists, GHashTable *options)
{
	for (; *lists; lists++) {
		if (option_list_parse(*lists, options))
			continue;
		tool_error("Invalid option list: %s", *lists);
		return false;
	}
	return true;
}

/* The library expects a number of bytes. */
static bool parse_size(GHashTable *options)
{
	const char *text = g_hash_table_lookup(options, "size");
	uint64_t bytes;

	if (!text)
		return true;
	if (!img_parse_size("image size", text, INT64_MAX, &bytes))
		return false;
	g_hash_table_replace(options, g_strdup("size"), g_strdup_printf("%" PRIu64, bytes));
	return true;
}

static bool asks_help(char **lists)
{
	for (; lists && *lists; lists++)
		if (option_list_asks_help(*lists))
			return true;
	return false;
}

int img_amend(const struct command *command, char **argv)
{
	g_autoptr(GHashTable) options =
		g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	g_autofree char *format = NULL, *cache = NULL;
	g_auto(GStrv) lists = NULL, filenames = NULL;
	gboolean image_opts = FALSE, quiet = FALSE, progress = FALSE, force = FALSE;
	const GOptionEntry entries[] = {
		{ "format", 'f', 0, G_OPTION_ARG_FILENAME, &format,
		  "Format of the image (default: probed)", "FMT" },
		{ "options", 'o', 0, G_OPTION_ARG_FILENAME_ARRAY, &lists,
		  "Options to change; list them with -o help", "NAME=VALUE,..." },
		{ "progress", 'p', 0, G_OPTION_ARG_NONE, &progress, "Show the progress", NULL },
		{ "cache", 't', 0, G_OPTION_ARG_FILENAME, &cache,
		  "Cache mode of the image (default: writeback)", "CACHE" },
		{ "force", 0, 0, G_OPTION_ARG_NONE, &force,
		  "Ignored; accepted for compatibility with qemu-img", NULL },
		{ "quiet", 'q', 0, G_OPTION_ARG_NONE, &quiet, "Print errors only", NULL },
		TOOL_OPEN_OPTIONS(&image_opts),
		TOOL_NO_LOCK_OPTION,
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &filenames, NULL,
		  "FILENAME" },
		{},
	};
	struct amend_job job = { .options = options };
	struct cache_mode mode = { 0 };

	if (!command_parse(command, entries, argv))
		return 1;
	if (asks_help(lists))
		return print_help(format ?: "qcow2") ? 0 : 1;
	if (!lists)
		return command_usage_error(command, "Must specify options (-o)");
	if (!filenames || filenames[1]) {
		tool_error("Expecting one image file name");
		return 1;
	}
	if (!tool_take_image_opts(image_opts, format, &filenames[0]) ||
	    !parse_lists(lists, options) || !parse_size(options))
		return 1;
	job.filename = filenames[0];
	if (cache && !cache_mode_parse(cache, &mode)) {
		tool_error("Invalid cache option: %s", cache);
		return 1;
	}
	job.format = format;
	job.flags = IMAGE_RDWR | IMAGE_UNMAP | mode.open_flags;
	/* The current backing file may be missing, which may be why it is being changed. */
	if (g_hash_table_contains(options, "backing_file"))
		job.flags |= IMAGE_NO_BACKING;
	job.progress.enabled = progress && !quiet;
	return tool_run_co(co_amend, &job);
}
