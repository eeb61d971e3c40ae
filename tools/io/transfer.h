/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One request of a command: its memory, what it does, and what is printed when it is done. Commands
 * prepare it, then run it, or let it run on its own.
 */
#ifndef UBD_TRANSFER_H
#define UBD_TRANSFER_H

#include "io.h"
#include "report.h"

/* The longest request, as in qemu-io: the largest multiple of a sector that fits into 31 bits. */
#define IO_MAX_REQUEST 2147483136ull

/* What must have been read: a part of the data is this byte. */
struct expectation {
	bool given;
	uint8_t byte;
	uint64_t start;
	uint64_t bytes;
};

struct transfer {
	struct io_session *session;
	const char *name; /* in "... failed: " */
	enum {
		TRANSFER_READ,
		TRANSFER_WRITE,
		TRANSFER_COMPRESSED,
		TRANSFER_ZEROES,
		TRANSFER_DISCARD,
		TRANSFER_READ_VM_STATE,
		TRANSFER_WRITE_VM_STATE,
	} kind;
	uint64_t off;
	uint64_t bytes;
	unsigned flags; /* IMAGE_REQ_* */
	void *memory;	/* owned; NULL: none */
	uint8_t *data;	/* part of it */
	/* One per length; owned. */
	struct iovec *iov;
	unsigned count;
	struct expectation expected;
	bool dump;
	const char *verb; /* "read", "wrote" */
	struct report_opts report;
};

/* The flags that the cache mode of the image demands for writes; and IMAGE_REQ_FUA if @fua. */
unsigned transfer_write_flags(const struct io_session *session, bool fua);

/* Parses OFF and LEN, for one buffer or none. -EINVAL after a message. */
int transfer_parse_range(struct transfer *transfer, char **words);
/* Parses OFF LEN...: a buffer for each length. */
int transfer_parse_vector(struct transfer *transfer, char **words);
/* -EINVAL, after a message, if the request is too long; @unless ends the sentence. */
int transfer_check_length(const struct transfer *transfer, const char *text, const char *unless);
/* VM state is only moved in whole sectors. */
int transfer_check_sectors(const struct transfer *transfer);

/* Allocates the memory, filled with @byte. */
int transfer_alloc(struct transfer *transfer, uint8_t byte);

/*
 * Runs the request, unless preparing it failed (@ret), and prints what it did, or that it failed.
 * Frees what *transfer owns. A read counts as done even if the data is not as expected, but then
 * the result is -EINVAL.
 */
int transfer_co_run(struct transfer *transfer, int ret);

/* The same, but the request runs on its own, in the session's group: only @ret is returned. */
int transfer_start(struct transfer *transfer, int ret);

#endif
