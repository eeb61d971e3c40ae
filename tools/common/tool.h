/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What every tool starts with and ends in: its name, its errors, its loop. */
#ifndef UBD_TOOL_H
#define UBD_TOOL_H

#include <glib.h>

#include "image.h"

/* Before anything else in main(). @name stays the caller's. */
void tool_init(const char *name);

const char *tool_name(void);

/* One line on standard error: the tool's name, then the message. */
void tool_error(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* Likewise, of what is no error: "ubd-img: warning: ...". For image_open_opts. */
void tool_warn(const char *line);

void tool_print_version(void);

/*
 * Has the loops made from now on do their I/O as this says, by the names that QEMU gives it:
 * threads, io_uring, or native: by io_uring where that works, else by threads. NULL: as the
 * environment variable UBD_AIO says; without it, the same as native. False, and says so, for
 * another name.
 */
bool tool_set_aio(const char *aio);

/* A loop for the calling tool, see aio_loop_new(); NULL, and says why. */
struct aio_loop *tool_loop_new(void);

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
