/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What every tool starts with and ends in: its name, its errors, its loop. */
#ifndef UBD_TOOL_H
#define UBD_TOOL_H

#include <glib.h>

#include "image.h"

/*
 * Before anything else in main(). The tool's name, in its messages and elsewhere, is the one by
 * which it was called, as qemu-img through a link; @name where that is not known, and stays the
 * caller's.
 */
void tool_init(const char *name, const char *argv0);

const char *tool_name(void);

/* One line on standard error: the tool's name, then the message. */
void tool_error(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* Likewise, of what is no error: "ubd-img: warning: ...". For image_open_opts. */
void tool_warn(const char *line);

void tool_print_version(void);

/*
 * The exit status of a program that would end with @status: standard output may be a full disk,
 * and then what was to be told was not told.
 */
int tool_finish(int status);

/*
 * Has the loops made from now on do their I/O as this says, by the names that QEMU gives it:
 * threads, io_uring, or native: by io_uring where that works, else by threads. NULL: as the
 * environment variable UBD_AIO says; without it, the same as native. False, and says so, for
 * another name.
 */
bool tool_set_aio(const char *aio);

/* A loop for the calling tool, see aio_loop_new(); NULL, and says why. */
struct aio_loop *tool_loop_new(void);

/* What images may name; it applies to all that is opened here. */
extern struct image_policy tool_policy;

/* The options that set it, for an array of GOptionEntry. */
#define TOOL_POLICY_OPTIONS                                                                        \
	{ "allow-backing",                                                                         \
	  0,                                                                                       \
	  0,                                                                                       \
	  G_OPTION_ARG_CALLBACK,                                                                   \
	  tool_allow_backing,                                                                      \
	  "Which backing files images may name: any (default), none, or those in",                 \
	  "FOLDER[:FOLDER...]" },                                                                  \
	{                                                                                          \
		"allow-data-file", 0, 0, G_OPTION_ARG_CALLBACK, tool_allow_data_file,              \
			"The same for external data files", "FOLDER[:FOLDER...]"                   \
	}

/* Unless it was allowed elsewhere, a data file must lie beside its image. */
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

/* Runs fn(arg) as the main coroutine of a loop; returns its result, 1 (and says why) without a
 * loop. */
int tool_run_co(int (*co_fn)(void *arg), void *arg);

/*
 * Opens an image by the name of its format (NULL: by header) and with IMAGE_*
 * flags, or says why not.
 */
int tool_co_open(const char *filename, const char *format, unsigned flags, struct image **ret_img);

/* The same with all that can be said of how to open it. */
int tool_co_open_opts(const char *filename, const struct image_open_opts *opts,
		      struct image **ret_img);

/* The bitmaps of an image, or says why not. NULL for a format that has none. */
int tool_co_get_bitmaps(struct image *img, GPtrArray **ret_bitmaps);

/*
 * Closes the image. When that fails and nothing went wrong before (@ret is 0), it says so
 * and returns the error; else @ret. NULL is fine.
 */
int tool_co_close(struct image *img, int ret);

#endif
