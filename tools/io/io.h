/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ubd-io: the session, and the commands that work on it.
 *
 * Commands run in one coroutine, one after the other. Those whose names begin with aio_ start
 * requests in coroutines of their own, which the session counts; closing the image waits for them.
 */
#ifndef UBD_IO_H
#define UBD_IO_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache_mode.h"
#include "coroutine.h"
#include "image.h"
#include "temporary.h"

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
	bool native_aio; /* -k, -i native: QEMU's, which demands a direct cache mode */
};

struct io_session {
	struct image *img;		 /* NULL: none is open */
	char *name;			 /* that it was opened by; NULL if none is open */
	struct io_open_opts opts;	 /* of the command line, then of the open image */
	struct image_temporary *overlay; /* NULL: there is none */
	struct co_group requests;	 /* started by aio_ commands */
	bool misalign;			 /* buffers are not aligned for O_DIRECT */
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
	bool changes;	   /* refused for an image that is read-only */
	const char *usage; /* follows the name; NULL: nothing does */
	const char *summary;
	const char *help; /* more lines; may be NULL */
	int (*co_run)(struct io_session *session, const struct io_command *command, char **argv);
};

/* ---- command.c: lines and the commands they name ---- */

/* Runs one line. 0, or -errno; an empty line is fine. */
int io_co_run_line(struct io_session *session, const char *line);

/* ---- values.c ---- */

/* "read [-Cqv] ... off len -- reads ..." on standard output. Returns -EINVAL. */
int io_usage(const struct io_command *command);

/* One line on standard error, without the program's name, as QEMU prints some. Returns -EINVAL. */
int io_complain(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* One line on standard output, where QEMU prints most errors. Returns -EINVAL. */
int io_refuse(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

struct io_byte {
	bool given;
	uint8_t byte;
};

struct io_size {
	bool given;
	uint64_t bytes;
};

/* An option of a command; a letter of 0 ends a list of them. */
struct io_option {
	char letter;
	enum {
		IO_OPTION_FLAG,	 /* bool */
		IO_OPTION_COUNT, /* unsigned: how often it was given */
		IO_OPTION_TEXT,	 /* const char *: part of @argv */
		IO_OPTION_BYTE,	 /* struct io_byte */
		IO_OPTION_SIZE,	 /* struct io_size */
	} type;
	void *ret_value;
};

/*
 * Parses the options of a command and leaves its other words, terminated by NULL, in *ret_words:
 * part of @argv, whose order changes. -EINVAL, after a message, if one is invalid, or if there are
 * fewer than @min_words or more than @max_words other words (-1: any number).
 */
int io_parse(const struct io_command *command, const struct io_option *options, int min_words,
	     int max_words, char **argv, char ***ret_words);

/* Parses a size or an offset; prints an error if it is invalid. NULL leaves *ret unchanged. */
int io_parse_size(const char *text, uint64_t *ret_bytes);

/* ---- session.c: open and close ---- */

/* Opens a file with session->opts, or prints an error. @filename may be NULL for messages. */
int io_co_open(struct io_session *session, const char *filename, const char *name);
/* The same, without the checks of the command line, and the caller prints the error. */
int io_co_try_open(struct io_session *session, const char *name, GError **err);
int io_co_close(struct io_session *session);
/* Keeps the file of a temporary overlay, so that the next open continues with what is in it. */
int io_co_close_for_reopen(struct io_session *session);

/*
 * Parses cache, discard and aio modes; false, after an error message, if one is unknown. NULL is
 * fine.
 */
bool io_parse_modes(const char *cache, const char *discard, const char *aio,
		    struct io_open_opts *opts);

int io_co_cmd_open(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_close(struct io_session *session, const struct io_command *command, char **argv);

/* ---- reopen.c ---- */

int io_co_cmd_reopen(struct io_session *session, const struct io_command *command, char **argv);

/* ---- breakpoint.c ---- */

int io_co_cmd_break(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_remove_break(struct io_session *session, const struct io_command *command,
			   char **argv);
int io_co_cmd_resume(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_wait_break(struct io_session *session, const struct io_command *command, char **argv);

/* ---- read.c, write.c: requests with data ---- */

int io_co_cmd_read(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_readv(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_aio_read(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_write(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_writev(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_aio_write(struct io_session *session, const struct io_command *command, char **argv);

/* ---- change.c: requests without data ---- */

int io_co_cmd_discard(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_aio_discard(struct io_session *session, const struct io_command *command,
			  char **argv);
int io_co_cmd_flush(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_aio_flush(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_truncate(struct io_session *session, const struct io_command *command, char **argv);

/* ---- zone.c ---- */

int io_co_cmd_zone(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_zone_append(struct io_session *session, const struct io_command *command,
			  char **argv);

/* ---- inquire.c: queries ---- */

int io_co_cmd_alloc(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_info(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_length(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_map(struct io_session *session, const struct io_command *command, char **argv);

#endif
