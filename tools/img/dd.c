// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubd-img dd: copies an image, or a part of it, to a new one.
 *
 * Operands and sizes are those of qemu-img, but the copy is that of convert: several requests are
 * in flight, whatever the block size is, zeroes are left out, and an unfinished copy does not look
 * like a complete one.
 */
#include <errno.h>
#include <string.h>

#include "copy.h"
#include "img.h"
#include "new_image.h"

#define COROUTINES   8
#define SPARSE_BYTES 4096

struct dd_job {
	const char *source_name;
	struct image_open_opts source_opts;
	struct concat *source; /* its one part */
	struct new_image target;
	uint64_t block_bytes;
	uint64_t count; /* blocks of the input, before any are skipped */
	uint64_t skip;
};

/* ---- the copy ---- */

static int co_copy(const struct concat *source, struct image *target)
{
	struct progress progress;
	struct copy_opts opts = {
		.source = source,
		.target = target,
		.coroutines = COROUTINES,
		.sparse_bytes = SPARSE_BYTES,
		.target_is_zero = !image_is_on_block_device(target),
		.progress = &progress,
	};
	int ret;

	progress_start(&progress, false, source->size);
	ret = copy_co_run(&opts);
	progress_end(&progress, ret);
	return ret;
}

static int co_fill(void *arg)
{
	const struct dd_job *job = arg;
	const unsigned flags =
		IMAGE_RDWR | IMAGE_UNMAP | IMAGE_NO_FLUSH | IMAGE_WRITE_BEHIND | IMAGE_UNFINISHED;
	struct image *target;
	int ret = tool_co_open(job->target.filename, job->target.format, flags, &target);

	if (ret)
		return ret;
	ret = co_copy(job->source, target) ?: new_image_co_complete(target, true);
	return tool_co_close(target, ret);
}

/* ---- which part of the source ---- */

/* UINT64_MAX: larger than any image. */
static uint64_t blocks_to_bytes(const struct dd_job *job, uint64_t blocks)
{
	return blocks > INT64_MAX / job->block_bytes ? UINT64_MAX : blocks * job->block_bytes;
}

static int add_part(const struct dd_job *job, struct image *img)
{
	uint64_t end = MIN(image_size(img), blocks_to_bytes(job, job->count));
	uint64_t start = blocks_to_bytes(job, job->skip);

	/* As in QEMU, that is no failure. */
	if (start > end)
		tool_error("%s: cannot skip to specified offset", job->source_name);
	start = MIN(start, end);
	return concat_co_add_part(job->source, img, start, end - start);
}

static int co_dd(void *arg)
{
	struct dd_job *job = arg;
	struct image *sources[2] = {};
	int ret = tool_co_open_opts(job->source_name, &job->source_opts, &sources[0]);

	job->source = concat_new(1);
	if (!ret)
		ret = add_part(job, sources[0]);
	if (!ret)
		ret = new_image_co_make(&job->target, sources, job->source->size, co_fill, job);
	concat_free(job->source);
	return tool_co_close(sources[0], ret) ? 1 : 0;
}

/* ---- operands ---- */

struct operands {
	char *input, *output; /* in the command's words */
};

/* "NAME=VALUE"; NULL: it has another name. */
static char *value_of(char *word, const char *name)
{
	size_t len = strlen(name);

	return strncmp(word, name, len) == 0 && word[len] == '=' ? word + len + 1 : NULL;
}

static bool parse_operand(char *word, struct dd_job *job, struct operands *operands)
{
	char *value;

	if ((value = value_of(word, "if")))
		operands->input = value;
	else if ((value = value_of(word, "of")))
		operands->output = value;
	else if ((value = value_of(word, "bs")))
		return img_parse_size_from("bs", value, 1, INT32_MAX, &job->block_bytes);
	else if ((value = value_of(word, "count")))
		return img_parse_size("count", value, INT64_MAX, &job->count);
	else if ((value = value_of(word, "skip")))
		return img_parse_size("skip", value, INT64_MAX, &job->skip);
	else
		tool_error("unrecognized operand %.*s", (int)strcspn(word, "="), word);
	return value;
}

static bool parse_operands(char **words, struct dd_job *job, struct operands *operands)
{
	for (; words && *words; words++)
		if (!parse_operand(*words, job, operands))
			return false;
	if (operands->input && operands->output)
		return true;
	tool_error("Must specify both input and output files");
	return false;
}

/* ---- the command ---- */

static int run(struct dd_job *job, const char *output, const char *format)
{
	int status = 1;

	if (!image_create_options(format)) {
		tool_error("Unknown file format");
		return 1;
	}
	if (new_image_init(&job->target, output, format, NULL)) {
		job->target.doing = "error while creating output image";
		status = tool_run_co(co_dd, job);
	}
	new_image_clear(&job->target);
	return status;
}

int img_dd(const struct command *command, char **argv)
{
	g_autofree char *format = NULL, *output_format = NULL, *input = NULL;
	g_auto(GStrv) words = NULL;
	gboolean image_opts = FALSE, force_share = FALSE;
	const GOptionEntry entries[] = {
		{ "format", 'f', 0, G_OPTION_ARG_FILENAME, &format,
		  "Format of the input (default: probed)", "FMT" },
		{ "output-format", 'O', 0, G_OPTION_ARG_FILENAME, &output_format,
		  "Format of the output (default: raw)", "FMT" },
		{ "force-share", 'U', 0, G_OPTION_ARG_NONE, &force_share,
		  "Open the input even if another program is writing to it", NULL },
		TOOL_OPEN_OPTIONS(&image_opts),
		TOOL_NO_LOCK_OPTION,
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL,
		  "[bs=SIZE] [count=N] [skip=N] if=INPUT of=OUTPUT" },
		{},
	};
	struct dd_job job = { .block_bytes = 512, .count = INT64_MAX };
	struct operands operands = {};

	if (!command_parse(command, entries, argv) || !parse_operands(words, &job, &operands))
		return 1;
	input = g_strdup(operands.input);
	if (!tool_take_image_opts(image_opts, format, &input))
		return 1;
	job.source_name = input;
	job.source_opts.format = format;
	job.source_opts.flags = force_share ? IMAGE_FORCE_SHARE : 0;
	return run(&job, operands.output, output_format ?: "raw");
}
