// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubd-io: reads and writes parts of an image by commands, from the command line (-c) or
 * from standard input, with qemu-io's commands, output and exit status.
 *
 * All commands are run, even after one that failed; any failure makes the exit status 1.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aio.h"
#include "command_line.h"
#include "io.h"
#include "std_fds.h"
#include "tool.h"

struct io_job {
	struct io_session session;
	const char *filename; /* NULL: open none at first */
	char **lines;	      /* -c; NULL: standard input */
};

static int co_run_lines(struct io_session *session, char **lines)
{
	int first_error = 0;

	for (; *lines && !session->quit; lines++) {
		int ret = io_co_run_line(session, *lines);

		first_error = first_error ?: ret;
	}
	return first_error;
}

/* ---- standard input ---- */

struct input {
	char *line;
	size_t size;
};

/* On a worker: the loop keeps running while nobody types. */
static int read_line_on_worker(void *arg)
{
	struct input *input = arg;

	if (getline(&input->line, &input->size, stdin) < 0)
		return -EIO;
	input->line[strcspn(input->line, "\n")] = '\0';
	return 0;
}

static int co_run_script(struct io_session *session)
{
	struct input input = { 0 };
	int first_error = 0;

	while (!session->quit) {
		int ret;

		/*
		 * Printed for programs, too: they can wait for it to know that a command is done.
		 */
		printf("%s> ", tool_name());
		fflush(stdout);
		if (co_block_on_worker(read_line_on_worker, &input))
			break;
		ret = io_co_run_line(session, input.line);
		first_error = first_error ?: ret;
	}
	free(input.line);
	return first_error;
}

/* ---- main ---- */

static int co_main(void *arg)
{
	struct io_job *job = arg;
	struct io_session *session = &job->session;
	int ret, close_ret;

	if (job->filename &&
	    io_co_open(session, session->opts.image_opts ? NULL : job->filename, job->filename))
		return EXIT_FAILURE;
	ret = job->lines ? co_run_lines(session, job->lines) : co_run_script(session);
	close_ret = io_co_close(session);
	return ret || close_ret ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int usage_error(const char *reason)
{
	tool_error("%s; try '%s --help'", reason, tool_name());
	return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	g_autofree char *format = NULL, *cache = NULL, *discard = NULL, *aio = NULL;
	g_auto(GStrv) lines = NULL, words = NULL;
	gboolean read_only = FALSE, temporary = FALSE, direct = FALSE, copy_on_read = FALSE,
		 misalign = FALSE, native = FALSE, share = FALSE, image_opts = FALSE,
		 version = FALSE;
	const GOptionEntry entries[] = {
		{ "cmd", 'c', 0, G_OPTION_ARG_FILENAME_ARRAY, &lines,
		  "Run this command; can be repeated (default: read standard input)", "COMMAND" },
		{ "format", 'f', 0, G_OPTION_ARG_FILENAME, &format,
		  "Format of the image (default: probed)", "FMT" },
		{ "read-only", 'r', 0, G_OPTION_ARG_NONE, &read_only, "Open the image read-only",
		  NULL },
		{ "snapshot", 's', 0, G_OPTION_ARG_NONE, &temporary,
		  "Write to a temporary overlay instead of the image", NULL },
		{ "cache", 't', 0, G_OPTION_ARG_FILENAME, &cache,
		  "Cache mode: none, directsync, writeback, writethrough (default), unsafe",
		  "CACHE" },
		{ "nocache", 'n', 0, G_OPTION_ARG_NONE, &direct, "The same as -t none", NULL },
		{ "discard", 'd', 0, G_OPTION_ARG_FILENAME, &discard,
		  "Discards: unmap (default) or ignore", "MODE" },
		{ "copy-on-read", 'C', 0, G_OPTION_ARG_NONE, &copy_on_read,
		  "Copy data read from a backing file to the image", NULL },
		{ "misalign", 'm', 0, G_OPTION_ARG_NONE, &misalign,
		  "Use buffers that are not aligned for O_DIRECT", NULL },
		{ "aio", 'i', 0, G_OPTION_ARG_FILENAME, &aio,
		  "Use threads, io_uring or native: io_uring where it works (default)", "AIO" },
		{ "native-aio", 'k', 0, G_OPTION_ARG_NONE, &native,
		  "The same as -i native; needs a cache mode that bypasses the page cache", NULL },
		{ "force-share", 'U', 0, G_OPTION_ARG_NONE, &share,
		  "With -r: open the image even if another program is writing to it", NULL },
		{ "version", 'V', 0, G_OPTION_ARG_NONE, &version, "Print the version and exit",
		  NULL },
		TOOL_OPEN_OPTIONS(&image_opts),
		TOOL_TRACE_OPTION,
		TOOL_NO_LOCK_OPTION,
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL,
		  "[FILENAME]" },
		{},
	};
	struct io_job job = { .session.opts = { .cache = { .writethrough = true },
						.unmap = true } };
	struct io_open_opts *opts = &job.session.opts;
	g_autoptr(GError) err = NULL;

	std_fds_open();
	tool_init("ubd-io", argv[0]);
	if (!command_line_parse(entries, "Read and write parts of an image; see ubd-io -c help.",
				argv, &err))
		return usage_error(err->message);
	if (version) {
		tool_print_version();
		return tool_finish(EXIT_SUCCESS);
	}
	if (words && words[1])
		return usage_error("Expecting one image file name");
	if (image_opts && format) {
		tool_error("--image-opts and -f are mutually exclusive");
		return EXIT_FAILURE;
	}
	if (words && !tool_take_image_opts(image_opts, format, &words[0]))
		return EXIT_FAILURE;
	if (!tool_set_aio(aio) || !io_parse_modes(cache
							  ?: direct ? "none"
								    : NULL,
						  discard, aio, opts))
		return EXIT_FAILURE;
	opts->format = format;
	opts->image_opts = image_opts;
	opts->read_only = read_only;
	opts->temporary = temporary;
	opts->force_share = share;
	opts->copy_on_read = copy_on_read;
	opts->native_aio |= native;
	job.session.misalign = misalign;
	job.filename = words ? words[0] : NULL;
	job.lines = lines;
	return tool_finish(tool_run_co(co_main, &job));
}
