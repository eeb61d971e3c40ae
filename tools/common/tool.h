/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What all tools share: their name, their errors, their loop. */
#ifndef UBD_TOOL_H
#define UBD_TOOL_H

#include <glib.h>

#include "image.h"

/*
 * Call it first in main(). The tool's name, in messages and elsewhere, is the one by which it was
 * called, such as qemu-img through a link; @name if that is unknown. @name still belongs to the
 * caller.
 */
void tool_init(const char *name, const char *argv0);

/* Undoes what tool_init() has set that exec() would pass on: what signals do. */
void tool_restore_signals(void);

const char *tool_name(void);

/* One line on standard error: the tool's name, then the message. */
void tool_error(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* The same for a warning: "ubd-img: warning: ...". For image_open_opts. */
void tool_warn(const char *line);

/* Parses a size; warns of hexadecimal numbers with a suffix, as QEMU does. 0 or -errno. */
int tool_parse_size(const char *text, uint64_t *ret_bytes);

void tool_print_version(void);

/*
 * The exit status of a program that would exit with @status: writing to standard output may have
 * failed, for instance on a full disk, so the output is incomplete.
 */
int tool_finish(int status);

/*
 * Sets how loops created from now on do their I/O, with QEMU's names: threads, io_uring, or native:
 * io_uring where it works, otherwise threads. NULL: the environment variable UBD_AIO decides;
 * without it, native. False, after an error message, for any other name.
 */
bool tool_set_aio(const char *aio);

/* A loop for the calling tool, see aio_loop_new(); NULL after an error message. */
struct aio_loop *tool_loop_new(void);

/* What images may name; applies to everything that is opened here. */
extern struct image_policy tool_policy;

/* The options that set it, for an array of GOptionEntry. */
#define TOOL_POLICY_OPTIONS                                                                        \
	{ "allow-backing",                                                                         \
	  0,                                                                                       \
	  0,                                                                                       \
	  G_OPTION_ARG_CALLBACK,                                                                   \
	  tool_allow_backing,                                                                      \
	  "Backing files that images may name: any (default), none, or those in FOLDER",           \
	  "FOLDER[:FOLDER...]" },                                                                  \
	{                                                                                          \
		"allow-data-file", 0, 0, G_OPTION_ARG_CALLBACK, tool_allow_data_file,              \
			"The same for external data files", "FOLDER[:FOLDER...]"                   \
	}

/* Requires a data file to be in the folder of its image, unless an option allows more. */
void tool_keep_data_file_beside(void);

gboolean tool_allow_backing(const char *option, const char *value, void *data, GError **err);
gboolean tool_allow_data_file(const char *option, const char *value, void *data, GError **err);

/* --no-lock, for commands that write. */
gboolean tool_no_lock(const char *name, const char *value, void *data, GError **err);
#define TOOL_NO_LOCK_OPTION                                                                        \
	{                                                                                          \
		"no-lock", 0, G_OPTION_FLAG_NO_ARG, G_OPTION_ARG_CALLBACK, tool_no_lock,           \
			"Allow writing where the file system does not support locks", NULL         \
	}

/*
 * -T and --trace=[[enable=]PATTERN][,events=FILE][,file=FILE]: checked as QEMU does it, but there
 * are no events.
 */
gboolean tool_trace(const char *name, const char *value, void *data, GError **err);
#define TOOL_TRACE_OPTION                                                                          \
	{                                                                                          \
		"trace", 'T', 0, G_OPTION_ARG_CALLBACK, tool_trace,                                \
			"Ignored; accepted for compatibility with QEMU's tools", "PATTERN"         \
	}

/* --object: TYPE,id=ID,..., such as a secret; see objects.h. */
gboolean tool_object(const char *name, const char *value, void *data, GError **err);
#define TOOL_OBJECT_OPTION                                                                         \
	{                                                                                          \
		"object", 0, 0, G_OPTION_ARG_CALLBACK, tool_object,                                \
			"Define an object, such as secret,id=ID,file=FILE (list them with help)",  \
			"OBJECT"                                                                   \
	}

/* --image-opts: file names are option lists. */
#define TOOL_IMAGE_OPTS_OPTION(arg)                                                                \
	{                                                                                          \
		"image-opts", 0, 0, G_OPTION_ARG_NONE, arg,                                        \
			"FILENAME is a list of options: driver=FMT,file.filename=FILE,...", NULL   \
	}

/* The options of commands that open an existing image. */
#define TOOL_OPEN_OPTIONS(image_opts)                                                              \
	TOOL_IMAGE_OPTS_OPTION(image_opts), TOOL_OBJECT_OPTION, TOOL_POLICY_OPTIONS

/*
 * With --image-opts (@image_opts): replaces the name by that of the graph that it describes. False,
 * after an error message, if it is invalid, or if a format was given, too.
 */
bool tool_take_image_opts(bool image_opts, const char *format, char **filename);

/* What was typed for it, if tool_take_image_opts() made the name; otherwise the name itself. */
const char *tool_typed_name(const char *filename);

/* The error's message without "FILENAME: ", for callers that name the image, or do not, as QEMU. */
const char *tool_reason(const GError *err, const char *filename);

/*
 * Runs fn(arg) as the main coroutine of a loop and returns its result; 1, after an error message,
 * if there is no loop.
 */
int tool_run_co(int (*co_fn)(void *arg), void *arg);

/* Opens an image with a format (NULL: probe) and IMAGE_* flags, or prints an error. */
int tool_co_open(const char *filename, const char *format, unsigned flags, struct image **ret_img);

/* The same with all options. */
int tool_co_open_opts(const char *filename, const struct image_open_opts *opts,
		      struct image **ret_img);

/* The same, but the caller prints the error. */
int tool_co_try_open(const char *filename, const struct image_open_opts *opts,
		     struct image **ret_img, GError **err);

/* The bitmaps of an image, or an error message. NULL if the format does not support bitmaps. */
int tool_co_get_bitmaps(struct image *img, GPtrArray **ret_bitmaps);

/*
 * Closes the image. If that fails and nothing failed before (@ret is 0), prints an error and
 * returns it; otherwise returns @ret. NULL is fine.
 */
int tool_co_close(struct image *img, int ret);

#endif
