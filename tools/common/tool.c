// SPDX-License-Identifier: GPL-2.0-or-later
/* What all tools share; see tool.h. */
#include "tool.h"

#include <errno.h>
#include <locale.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "aio.h"
#include "enum_names.h"
#include "error.h"
#include "object.h"
#include "option_list.h"
#include "options.h"
#include "progress.h"
#include "values.h"

#define RING_ENTRIES 256

static const char *name;
/* What was done with these signals when the program was started. */
static sighandler_t given_sigpipe, given_sigxfsz;

/*
 * Compressors and bounce buffers allocate hundreds of KiB again and again. By default, glibc gives
 * most of that back each time, and the kernel clears the pages again.
 */
static void keep_freed_memory(void)
{
#ifdef __GLIBC__
	mallopt(M_MMAP_THRESHOLD, 4 << 20);
	mallopt(M_TRIM_THRESHOLD, 64 << 20);
	mallopt(M_TOP_PAD, 1 << 20);
#endif
}

void tool_init(const char *tool, const char *argv0)
{
	name = argv0 && *argv0 ? g_path_get_basename(argv0) : tool;
	/* File names are shown as they are; numbers are for scripts, so they ignore the locale. */
	setlocale(LC_CTYPE, "");
	g_set_prgname(name);
	keep_freed_memory();
	/*
	 * A full file system or a closed pipe makes the write fail, but does not end the program.
	 */
	given_sigpipe = signal(SIGPIPE, SIG_IGN);
	given_sigxfsz = signal(SIGXFSZ, SIG_IGN);
	progress_listen();
}

void tool_restore_signals(void)
{
	signal(SIGPIPE, given_sigpipe);
	signal(SIGXFSZ, given_sigxfsz);
}

const char *tool_name(void)
{
	return name;
}

void tool_error(const char *fmt, ...)
{
	va_list args;

	fprintf(stderr, "%s: ", name);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
}

void tool_warn(const char *line)
{
	fprintf(stderr, "%s: warning: %s\n", name, line);
}

int tool_parse_size(const char *text, uint64_t *ret_bytes)
{
	int ret = size_parse(text, ret_bytes);

	if (!ret && g_ascii_strncasecmp(text, "0x", 2) == 0 &&
	    !g_ascii_isxdigit(text[strlen(text) - 1]))
		fprintf(stderr,
			"%s: warning: Using a multiplier suffix on hex numbers is deprecated: %s\n",
			name, text);
	return ret;
}

void tool_print_version(void)
{
	/* Scripts look for the version of QEMU's tools here. */
	if (g_str_has_prefix(name, "qemu-"))
		printf("%s version 7.2.0 (ubd %s)\n", name, UBD_VERSION);
	else
		printf("%s version %s\n", name, UBD_VERSION);
}

/* In that case it got everything it wanted. */
static bool has_reader_gone(void)
{
	struct pollfd out = { .fd = STDOUT_FILENO, .events = POLLOUT };

	return poll(&out, 1, 0) == 1 && out.revents & (POLLERR | POLLHUP);
}

int tool_finish(int status)
{
	if ((fflush(stdout) == 0 && !ferror(stdout)) || has_reader_gone())
		return status;
	tool_error("standard output: %s", g_strerror(errno));
	return status ?: EXIT_FAILURE;
}

gboolean tool_no_lock(const char *option, const char *value, void *data, GError **err)
{
	image_write_unlocked();
	return TRUE;
}

/* ---- options that QEMU's tools have ---- */

static bool check_trace_part(const char *part, bool is_first)
{
	size_t len = strcspn(part, "=");

	if (g_str_has_prefix(part, "events=")) {
		const char *filename = part + len + 1;

		if (access(filename, R_OK) == 0)
			return true;
		fprintf(stderr, "%s:%s: %s\n", name, filename, g_strerror(errno));
		return false;
	}
	if (g_str_has_prefix(part, "enable=") || g_str_has_prefix(part, "file=") ||
	    (is_first && !part[len]))
		return true;
	tool_error("Invalid parameter '%.*s'", (int)len, part);
	return false;
}

gboolean tool_trace(const char *option, const char *value, void *data, GError **err)
{
	const char *list = *value ? value : NULL;

	/* The list of all events is empty. */
	if (option_list_asks_help(value))
		exit(tool_finish(EXIT_SUCCESS));
	for (bool is_first = true; list; is_first = false) {
		g_autofree char *part = option_list_next(&list);

		if (!check_trace_part(part, is_first))
			exit(EXIT_FAILURE);
	}
	return TRUE;
}

gboolean tool_object(const char *option, const char *value, void *data, GError **err)
{
	g_autofree char *help = object_help(value);
	g_autoptr(GError) reason = NULL;

	if (help) {
		fputs(help, stdout);
		g_clear_pointer(&help, g_free);
		exit(tool_finish(EXIT_SUCCESS));
	}
	if (!object_create(value, &reason))
		return TRUE;
	tool_error("%s", reason->message);
	exit(EXIT_FAILURE);
}

/* ---- the loop ---- */

static bool engine_given;
static enum aio_engine given_engine;

static bool parse_engine(const char *aio, enum aio_engine *ret_engine)
{
	static const struct enum_name engines[] = {
		{ "threads", AIO_ENGINE_THREADS },
		{ "native", AIO_ENGINE_ANY },
		{ "io_uring", AIO_ENGINE_URING },
		{},
	};
	uint64_t engine;

	if (!enum_from_name(engines, aio, &engine))
		return false;
	*ret_engine = engine;
	return true;
}

bool tool_set_aio(const char *aio)
{
	engine_given = aio;
	if (!aio || parse_engine(aio, &given_engine))
		return true;
	tool_error("Invalid aio option: %s", aio);
	return false;
}

struct aio_loop *tool_loop_new(void)
{
	const char *aio = engine_given ? NULL : g_getenv("UBD_AIO");
	enum aio_engine engine = engine_given ? given_engine : AIO_ENGINE_ANY;
	g_autoptr(GError) err = NULL;
	struct aio_loop *loop;

	if (aio && !parse_engine(aio, &engine)) {
		tool_error("UBD_AIO is '%s', must be threads, native or io_uring", aio);
		return NULL;
	}
	loop = aio_loop_new_with(engine, RING_ENTRIES, &err);
	if (!loop)
		tool_error("%s", err->message);
	return loop;
}

struct image_policy tool_policy;
static bool data_file_is_given;

gboolean tool_allow_backing(const char *option, const char *value, void *data, GError **err)
{
	return image_names_parse(value, &tool_policy.backing, err);
}

gboolean tool_allow_data_file(const char *option, const char *value, void *data, GError **err)
{
	data_file_is_given = true;
	return image_names_parse(value, &tool_policy.data_file, err);
}

void tool_keep_data_file_beside(void)
{
	if (!data_file_is_given)
		tool_policy.data_file.from = IMAGE_NAMES_BESIDE;
}

struct main_job {
	int (*co_main)(void *arg);
	void *arg;
	int ret;
};

static void main_co(void *arg)
{
	struct main_job *job = arg;

	job->ret = job->co_main(job->arg);
}

static bool take_memory_limit(void)
{
	const char *text = g_getenv("UBD_MEMORY_LIMIT");
	uint64_t bytes;

	if (!text)
		return true;
	if (size_parse(text, &bytes) || !bytes) {
		tool_error("UBD_MEMORY_LIMIT is '%s', must be a size such as 512M", text);
		return false;
	}
	image_set_memory_limit(bytes);
	return true;
}

int tool_run_co(int (*co_main)(void *arg), void *arg)
{
	struct main_job job = { .co_main = co_main, .arg = arg };
	struct aio_loop *loop = take_memory_limit() ? tool_loop_new() : NULL;

	if (!loop)
		return 1;
	aio_loop_run_co(loop, main_co, &job);
	aio_loop_free(loop);
	return job.ret;
}

/* What was typed for the names that --image-opts made. */
static GHashTable *typed_names;

static void remember_typed(const char *filename, const char *typed)
{
	if (!typed_names)
		typed_names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	g_hash_table_replace(typed_names, g_strdup(filename), g_strdup(typed));
}

const char *tool_typed_name(const char *filename)
{
	const char *typed = typed_names ? g_hash_table_lookup(typed_names, filename) : NULL;

	return typed ?: filename;
}

bool tool_take_image_opts(bool image_opts, const char *format, char **filename)
{
	g_autoptr(GError) err = NULL;
	char *json;

	if (!image_opts)
		return true;
	if (format) {
		tool_error("--image-opts and --format are mutually exclusive");
		return false;
	}
	json = image_name_from_options(*filename, NULL, &err);
	if (!json) {
		tool_error("%s", err->message);
		return false;
	}
	remember_typed(json, *filename);
	g_free(*filename);
	*filename = json;
	return true;
}

int tool_co_open(const char *filename, const char *format, unsigned flags, struct image **ret_img)
{
	struct image_open_opts opts = { .format = format, .flags = flags };

	return tool_co_open_opts(filename, &opts, ret_img);
}

/* In QEMU's words: scripts look for them, and leave them out of what they compare. */
static void warn_of_probed_raw(const struct image *img)
{
	fprintf(stderr,
		"WARNING: Image format was not specified for '%s' and probing guessed raw.\n"
		"         Automatically detecting the format is dangerous for raw images, write "
		"operations on block 0 will be restricted.\n"
		"         Specify the 'raw' format explicitly to remove the restrictions.\n",
		image_filename(img));
}

const char *tool_reason(const GError *err, const char *filename)
{
	const char *rest = err->message;

	if (g_str_has_prefix(rest, filename) && g_str_has_prefix(rest + strlen(filename), ": "))
		return rest + strlen(filename) + strlen(": ");
	return rest;
}

/* Puts QEMU's hints on their own lines; the library's messages are one line. */
static char *split_hints(const char *message)
{
	static const struct {
		const char *joined, *split;
	} hints[] = {
		{ "lock. Is another process", "lock\nIs another process" },
		{ "2^64. Optional suffix", "2^64\nOptional suffix" },
		{ "peta- and exabytes", "peta-\nand exabytes" },
	};
	GString *lines = g_string_new(message);

	for (unsigned i = 0; i < G_N_ELEMENTS(hints); i++)
		g_string_replace(lines, hints[i].joined, hints[i].split, 1);
	return g_string_free(lines, FALSE);
}

static void propagate_reason(const char *filename, const GError *reason, bool probed, GError **err)
{
	g_autofree char *message = split_hints(tool_reason(reason, filename));

	error_refuse(err, -reason->code, "%s%s", message,
		     probed && reason->code == EMEDIUMTYPE
			     ? "; if it is a raw disk with such contents, give -f raw"
			     : "");
}

int tool_co_try_open(const char *filename, const struct image_open_opts *opts,
		     struct image **ret_img, GError **err)
{
	struct image_open_opts warning = *opts;
	GError *reason = NULL;
	int ret;

	warning.warn = tool_warn;
	warning.policy = &tool_policy;
	ret = image_co_open(filename, &warning, ret_img, &reason);
	if (ret)
		propagate_reason(filename, reason, !opts->format, err);
	g_clear_error(&reason);
	if (!ret && image_was_probed(*ret_img) && opts->flags & IMAGE_RDWR &&
	    image_is_headerless(*ret_img))
		warn_of_probed_raw(*ret_img);
	return ret;
}

int tool_co_open_opts(const char *filename, const struct image_open_opts *opts,
		      struct image **ret_img)
{
	g_autoptr(GError) err = NULL;
	int ret = tool_co_try_open(filename, opts, ret_img, &err);
	g_autofree char *failed = g_strdup_printf("Could not open '%s': ", filename);
	g_autofree char *file_failed = NULL;
	const char *reason;

	if (!ret)
		return 0;
	/* QEMU says it twice if the file cannot be opened, once of the image and once of the file.
	 */
	file_failed = g_strconcat(failed, g_strerror(err->code), NULL);
	reason = err->message;
	if (g_str_has_prefix(reason, failed) && strcmp(reason, file_failed) != 0)
		reason += strlen(failed);
	if (g_str_has_prefix(reason, "Failed to load snapshot: "))
		tool_error("%s", reason);
	else
		tool_error("Could not open '%s': %s", tool_typed_name(filename), reason);
	return ret;
}

int tool_co_get_bitmaps(struct image *img, GPtrArray **ret_bitmaps)
{
	g_autoptr(GError) err = NULL;
	int ret;

	*ret_bitmaps = NULL;
	if (!image_has_bitmaps(img))
		return 0;
	ret = image_co_bitmap_list(img, ret_bitmaps, &err);
	if (ret)
		tool_error("%s", err->message);
	return ret;
}

int tool_co_close(struct image *img, int ret)
{
	g_autofree char *filename = img ? g_strdup(image_filename(img)) : NULL;
	int close_ret = image_co_close(img);

	if (!ret && close_ret) {
		tool_error("%s: Could not close the image: %s", tool_typed_name(filename),
			   g_strerror(-close_ret));
		ret = close_ret;
	}
	return ret;
}
