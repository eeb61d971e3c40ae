/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ubd-io: the session, and the commands that work on it.
 *
 * Everything runs in one coroutine, one command after the other.
 */
#ifndef UBD_IO_H
#define UBD_IO_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache_mode.h"
#include "image.h"

/* The longest request, as in qemu-io: the largest multiple of a sector that fits into 31 bits. */
#define IO_MAX_REQUEST 2147483136ull

/* How to open an image. */
struct io_open_opts {
	const char *format; /* NULL: probe */
	bool image_opts;    /* file names are option lists */
	struct cache_mode cache;
	bool read_only;
	bool temporary; /* writes go to a temporary overlay */
	bool force_share;
	bool unmap;
	bool copy_on_read;
};

struct io_session {
	struct image *img;	  /* NULL: none is open */
	struct io_open_opts opts; /* of the command line, then of the open image */
	bool misalign;		  /* buffers are not aligned for O_DIRECT */
	bool quit;
};

/*
 * A command gets its words (argv[0] is its name), as parsed from a line, and the session. It prints
 * its output. 0, or -errno, which makes the exit status 1.
 */
struct io_command {
	const char *name;
	const char *short_name; /* NULL if none */
	int min_args;		/* including options */
	int max_args;		/* -1: any number */
	bool needs_image;
	const char *usage; /* follows the name */
	const char *summary;
	const char *help; /* more lines; may be NULL */
	int (*co_run)(struct io_session *session, const struct io_command *command, char **argv);
};

/* ---- command.c: lines and the commands they name ---- */

/* Runs one line. 0, or -errno; an empty line is fine. */
int io_co_run_line(struct io_session *session, const char *line);

/* ---- values.c ---- */

/* "read [-Cqv] ... off len -- reads ..." */
void io_print_usage(const struct io_command *command);

/* Parses the options of a command; prints an error if they are invalid. */
bool io_parse(const struct io_command *command, const GOptionEntry *entries, char **argv);

/* Parses a size or an offset; prints an error if it is invalid. NULL leaves *ret unchanged. */
bool io_parse_size(const char *text, uint64_t *ret_bytes);

/* Parses the byte of a pattern; prints an error if it is invalid. */
bool io_parse_pattern(const char *text, uint8_t *ret_byte);

/* ---- session.c: open and close ---- */

/* Opens a file with session->opts, or prints an error. */
int io_co_open(struct io_session *session, const char *filename);
int io_co_close(struct io_session *session);

/*
 * Parses cache and discard modes; false, after an error message, if one is unknown. NULL is fine.
 */
bool io_parse_modes(const char *cache, const char *discard, struct io_open_opts *opts);

int io_co_cmd_open(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_close(struct io_session *session, const struct io_command *command, char **argv);

/*
 * ---- transfer.c: moving and discarding data ----
 */

int io_co_cmd_read(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_readv(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_write(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_writev(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_discard(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_flush(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_truncate(struct io_session *session, const struct io_command *command, char **argv);

/*
 * ---- inquire.c: queries ----
 */

int io_co_cmd_alloc(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_info(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_length(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_map(struct io_session *session, const struct io_command *command, char **argv);

#endif
