// SPDX-License-Identifier: GPL-2.0-or-later
/* ubd-img resize: resizes an image's virtual disk. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "img.h"

struct resize_job {
	const char *filename;
	const char *format;
	char sign; /* '+' or '-': @bytes is the difference; otherwise 0 */
	uint64_t bytes;
	bool shrink;
	enum image_preallocation mode;
};

/* Takes the last word, which may begin with a minus sign without being an option. */
static char *take_last_word(char **argv)
{
	guint nr = g_strv_length(argv);
	char *last;

	if (nr < 2)
		return NULL;
	last = argv[nr - 1];
	argv[nr - 1] = NULL;
	return last;
}

static bool parse_new_size(struct resize_job *job, const char *text)
{
	int ret;

	if (*text == '+' || *text == '-')
		job->sign = *text++;
	ret = tool_parse_size(text, &job->bytes);
	if (ret == -ERANGE)
		tool_error("Value '%s' is out of range for parameter 'size'", text);
	else if (ret)
		tool_error("Parameter 'size' expects a non-negative number below 2^64\n"
			   "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, "
			   "peta-\n"
			   "and exabytes, respectively.");
	return !ret;
}

static int find_size(const struct resize_job *job, uint64_t old, uint64_t *ret_size)
{
	uint64_t size = job->bytes;

	if (job->sign == '+')
		size = job->bytes > INT64_MAX - old ? INT64_MAX : old + job->bytes;
	else if (job->sign == '-')
		size = job->bytes >= old ? 0 : old - job->bytes;
	if (!size) {
		tool_error("New image size must be positive");
		return -1;
	}
	if (size < old && job->mode != IMAGE_PREALLOC_OFF) {
		tool_error("Preallocation can only be used for growing images");
		return -1;
	}
	if (size < old && !job->shrink) {
		tool_error("Use the --shrink option to perform a shrink operation.");
		tool_warn(
			"Shrinking an image will delete all data beyond the shrunken image's end. "
			"Before performing such an operation, make sure there is no important "
			"data there.");
		return -1;
	}
	*ret_size = size;
	return 0;
}

static int co_resize(void *arg)
{
	const struct resize_job *job = arg;
	g_autoptr(GError) err = NULL;
	struct image *img;
	uint64_t size;
	int ret;

	if (tool_co_open(job->filename, job->format, IMAGE_RDWR | IMAGE_UNMAP, &img))
		return 1;
	ret = find_size(job, image_size(img), &size);
	if (!ret) {
		ret = image_co_resize(img, size, job->mode, &err);
		if (ret)
			tool_error("%s: %s", job->filename, err->message);
	}
	return tool_co_close(img, ret) ? 1 : 0;
}

int img_resize(const struct command *command, char **argv)
{
	g_autofree char *format = NULL, *preallocation = NULL;
	g_auto(GStrv) filenames = NULL;
	gboolean image_opts = FALSE, quiet = FALSE, shrink = FALSE;
	const GOptionEntry entries[] = {
		{ "format", 'f', 0, G_OPTION_ARG_FILENAME, &format,
		  "Format of the image (default: probed)", "FMT" },
		{ "preallocation", 0, 0, G_OPTION_ARG_FILENAME, &preallocation,
		  "Preallocate the added space: off (default), metadata, falloc or full", "MODE" },
		{ "shrink", 0, 0, G_OPTION_ARG_NONE, &shrink,
		  "Allow shrinking, which loses the data beyond the new end", NULL },
		{ "quiet", 'q', 0, G_OPTION_ARG_NONE, &quiet, "Print errors only", NULL },
		TOOL_OPEN_OPTIONS(&image_opts),
		TOOL_NO_LOCK_OPTION,
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &filenames, NULL,
		  "FILENAME [+|-]SIZE" },
		{},
	};
	struct resize_job job = { 0 };
	const char *last = argv[1] ? argv[g_strv_length(argv) - 1] : "", *size = NULL;

	if (strcmp(last, "-h") != 0 && strcmp(last, "--help") != 0)
		size = take_last_word(argv);
	if (!command_parse(command, entries, argv))
		return 1;
	if (!size || !filenames)
		return command_usage_error(command, "Not enough arguments");
	if (filenames[1])
		return command_usage_error(command, "Expecting image file name and size");
	job.filename = img_only_image(command, filenames, image_opts, format);
	if (!job.filename || !parse_new_size(&job, size))
		return 1;
	if (preallocation && !image_parse_preallocation(preallocation, &job.mode)) {
		tool_error("Invalid preallocation mode '%s'", preallocation);
		return 1;
	}
	job.format = format;
	job.shrink = shrink;
	/* It truncates the data file, whose name comes from the image. */
	if (shrink)
		tool_keep_data_file_beside();
	if (tool_run_co(co_resize, &job))
		return 1;
	if (!quiet)
		printf("Image resized.\n");
	return 0;
}
