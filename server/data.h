/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the data of a queue's requests is transferred between the driver and the image. A device
 * is added for one of three ways:
 *
 *   copy        The driver copies, from and to a buffer that belongs to the tag.
 *   user copy   We copy, with pread() and pwrite() on the server's file, through memory that the
 *               requests of a thread share (data_pool.h).
 *   zero copy   The pages of a request are a registered buffer of the queue's ring, and the
 *               image's file is read into them and written from them. What cannot be done that way
 *               is copied as with user copy.
 *
 * With copy, only the first pages of each buffer have memory from the start, which lets requests go
 * on. The owner is asked for the rest when requests need it, and gets it with data_grow() on
 * another thread.
 *
 * Only the queue's thread may call these functions, except for data_new(), data_free(), data_grow()
 * and data_stats().
 */
#ifndef UBD_DATA_H
#define UBD_DATA_H

#include <glib.h>
#include <stdint.h>

#include "aio.h"
#include "image.h"
#include "request_desc.h"
#include "transport_queues.h"

struct data_path;
struct data_pool;

struct data_config {
	const struct transport_queues *driver;
	enum data_way way;
	int char_fd; /* the server's file; belongs to the caller */
	uint16_t q_id;
	uint16_t depth;
	uint32_t max_io_bytes;
	struct data_pool *pool; /* of the thread; for user copy and zero copy */
	unsigned first_buffer;	/* zero copy: in the ring's table, that of tag 0 */
	/* Copy: called once, when more memory is needed. NULL: all is there at once. */
	void (*ask_more)(void *arg);
	void *arg;
};

struct data_stats {
	uint64_t zero_copy; /* reads and writes whose data was not copied */
	uint64_t copied;    /* the others */
};

struct data_path *data_new(const struct data_config *config);
/* No request may be in flight. NULL is fine. */
void data_free(struct data_path *data);

/*
 * Copy: allocates the buffers, for requests of up to max_io_bytes, and touches what must be there
 * from the start. 0 or -errno.
 */
int data_allocate(struct data_path *data);

/* Copy: touches all of it, after a call of ask_more(). Not on the queue's thread. It stays. */
void data_grow(struct data_path *data);

/*
 * Copy: gives the tag a buffer of @bytes in place of its own, until data_shrink(), for a request
 * that is larger than max_io_bytes. 0 or -errno.
 */
int data_enlarge(struct data_path *data, uint16_t tag, size_t bytes);
/* Nothing happens to a tag that has its own buffer. */
void data_shrink(struct data_path *data, uint16_t tag);

/*
 * Where the driver finds the tag's buffer: its address, for zero copy its index in the ring's
 * table, and nothing (0) for user copy.
 */
uint64_t data_fetch_addr(const struct data_path *data, uint16_t tag);

/* Serves the tag's READ or WRITE. 0 or -errno. */
int data_co_read(struct data_path *data, uint16_t tag, const struct request_desc *desc,
		 struct image *image);
/* @flags: IMAGE_REQ_*. */
int data_co_write(struct data_path *data, uint16_t tag, const struct request_desc *desc,
		  struct image *image, unsigned flags);

struct data_stats data_stats(const struct data_path *data);

#endif
