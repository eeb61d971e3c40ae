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

/* The longest request, as in qemu-io: what a 32-bit length of whole sectors can say. */
#define IO_MAX_REQUEST 2147483136ull

/* How an image is to be opened. */
struct io_open_opts {
	const char *format; /* NULL: by header */
	struct cache_mode cache;
	bool read_only;
	bool force_share;
	bool unmap;
	bool copy_on_read;
};

struct io_session {
	struct image *img;	  /* NULL: none is open */
	struct io_open_opts opts; /* of the command line, and then of the open image */
	bool misalign;		  /* buffers are no good for O_DIRECT */
	bool quit;
};

/*
 * A command gets its words, argv[0] being its name, as parsed from a line, and the
 * session. It prints what is to be said; 0, or -errno which makes the exit status 1.
 */
struct io_command {
	const char *name;
	const char *short_name; /* NULL if none */
	int min_args;		/* options count, too */
	int max_args;		/* -1: any number */
	bool needs_image;
	const char *usage; /* behind the name */
	const char *summary;
	const char *help; /* more of it, lines; NULL: none */
	int (*co_run)(struct io_session *session, const struct io_command *command, char **argv);
};

/* ---- command.c: lines and the commands they name ---- */

/* Runs one line. 0, or -errno; an empty line is fine. */
int io_co_run_line(struct io_session *session, const char *line);

/* ---- values.c ---- */

/* "read [-Cqv] ... off len -- reads ..." */
void io_print_usage(const struct io_command *command);

/* Parses the options of a command; says what is wrong with them. */
bool io_parse(const struct io_command *command, const GOptionEntry *entries, char **argv);

/* A size or an offset; says so if it is none. NULL leaves *ret as it is. */
bool io_parse_size(const char *text, uint64_t *ret_bytes);

/* The bytes of a pattern; says so if it is none. */
bool io_parse_pattern(const char *text, uint8_t *ret_byte);

/* ---- session.c: open and close ---- */

/* Opens a file by session->opts, or says why not. */
int io_co_open(struct io_session *session, const char *filename);
int io_co_close(struct io_session *session);

/* Cache and discard modes by name; false, and said so, for an unknown one. NULL is fine. */
bool io_parse_modes(const char *cache, const char *discard, struct io_open_opts *opts);

int io_co_cmd_open(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_close(struct io_session *session, const struct io_command *command, char **argv);

/* ---- transfer.c: what moves or drops data ---- */

int io_co_cmd_read(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_readv(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_write(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_writev(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_discard(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_flush(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_truncate(struct io_session *session, const struct io_command *command, char **argv);

/* ---- inquire.c: what only asks ---- */

int io_co_cmd_alloc(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_info(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_length(struct io_session *session, const struct io_command *command, char **argv);
int io_co_cmd_map(struct io_session *session, const struct io_command *command, char **argv);

#endif
