/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commands of a driver from which requests are fetched by passthrough commands of io_uring on
 * the server's file, and what the two ways of fetching share, fetch_tags.c and fetch_batch.c.
 *
 * A driver that has no such commands has no wire, but its own struct fetch_way.
 */
#ifndef UBD_FETCH_WIRE_H
#define UBD_FETCH_WIRE_H

#include <glib.h>
#include <liburing.h>
#include <stddef.h>
#include <stdint.h>

#include "fetch_way.h"
#include "request_desc.h"

/*
 * What is said about one tag in a batch, laid out as the driver expects it but for @own, which
 * fetch_wire.prep_first_batch() and prep_answers() fill in.
 */
struct fetch_entry {
	uint16_t tag;
	uint16_t own;
	int32_t result;
	uint64_t addr;
};

/*
 * All prep functions get a command for the queue's file, and fill in its cmd_op and cmd. @addr is
 * what data_fetch_addr() returns for the tag.
 */
struct fetch_wire {
	/* The descriptors: a read-only mapping of the file, one array per queue. */
	size_t desc_bytes;
	uint64_t desc_stride; /* from one queue's array to the next, rounded up to pages */
	void (*describe)(const void *desc, struct request_desc *ret_desc);

	/* The result of a command when the queue has ended: ask for nothing more. */
	int32_t res_ended;

	/* One tag: ask for its first request; answer a request, and ask for the next one. */
	void (*prep_first)(struct io_uring_sqe *sqe, uint16_t q_id, uint16_t tag, uint64_t addr);
	void (*prep_answer)(struct io_uring_sqe *sqe, uint16_t q_id, uint16_t tag, int32_t result,
			    uint64_t addr);

	/*
	 * The same for @count tags at once; the kernel reads @entries, which these functions may
	 * change, when the command is issued.
	 * And a multishot command, which announces requests from then on: tags, each a uint16_t, in
	 * buffers that are provided.
	 */
	void (*prep_first_batch)(struct io_uring_sqe *sqe, uint16_t q_id,
				 struct fetch_entry *entries, unsigned count);
	void (*prep_answers)(struct io_uring_sqe *sqe, uint16_t q_id, struct fetch_entry *entries,
			     unsigned count);
	void (*prep_announce)(struct io_uring_sqe *sqe, uint16_t q_id);
	/*
	 * What the kernel adds to a command's result for each answer that it has taken. 0: it
	 * reports a batch only if it has not taken all of it.
	 */
	unsigned answer_bytes;
};

/* ---- fetch_wire.c ---- */

/* The first member of what the two ways return as struct fetch. */
struct wire_fetch {
	struct fetch fetch;
	const struct fetch_wire *wire;
	const uint8_t *descs;
	size_t descs_bytes; /* of the mapping */
};

/* Maps the descriptors. < 0 with @err set; call wire_fetch_end() then, too. */
int wire_fetch_begin(struct wire_fetch *wf, const struct fetch_config *config, GError **err);
void wire_fetch_end(struct wire_fetch *wf);

/* A command for the ring, to be completed by a prep function; follow it with aio_sqe_set_op(). */
static inline struct io_uring_sqe *wire_fetch_command(const struct wire_fetch *wf)
{
	struct io_uring_sqe *sqe = aio_get_sqe(wf->fetch.config.loop);

	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, wf->fetch.config.char_fd, NULL, 0, 0);
	return sqe;
}

/* Hands the tag's request to the queue; call fetch_begin_requests() next. */
static inline void wire_fetch_request(struct wire_fetch *wf, uint16_t tag)
{
	struct request_desc desc;

	wf->wire->describe(wf->descs + tag * wf->wire->desc_bytes, &desc);
	fetch_request(&wf->fetch, tag, &desc);
}

#endif
