/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The memory of a request: a view into an array of iovecs, and what is done with it. */
#ifndef UBD_IOBUF_H
#define UBD_IOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/*
 * The bytes from @skip on of @niov iovecs at @iov. Passed by value; it owns
 * nothing. How many bytes are meant is said beside it.
 */
struct iobuf {
	const struct iovec *iov;
	unsigned niov;
	size_t skip;
};

/* A view of one piece of memory: struct iovec v; IOBUF(&v, p, n). */
#define IOBUF(iovec_ptr, base, len) \
	(*(iovec_ptr) = (struct iovec){ (void *)(base), (len) }, \
	 (struct iobuf){ (iovec_ptr), 1, 0 })

/* The same view, @bytes further on. */
static inline struct iobuf iobuf_advance(struct iobuf mem, size_t bytes)
{
	mem.skip += bytes;
	return mem;
}

/* How many iovecs iobuf_clip() needs at most. */
static inline unsigned iobuf_max_iovecs(struct iobuf mem)
{
	return mem.niov;
}

/*
 * Writes the iovecs of exactly the first @bytes of @mem to @dst (room for
 * iobuf_max_iovecs()); returns their number. @mem must hold @bytes.
 */
unsigned iobuf_clip(struct iovec *dst, struct iobuf mem, size_t bytes);

/* Copies; the other side is flat memory. */
void iobuf_copy_in(struct iobuf dst, const void *src, size_t bytes);
void iobuf_copy_out(void *dst, struct iobuf src, size_t bytes);
void iobuf_fill(struct iobuf dst, uint8_t byte, size_t bytes);
bool iobuf_is_zero(struct iobuf mem, size_t bytes);

/* Whether every piece of the first @bytes starts and ends on a multiple of @align (a power of two). */
bool iobuf_is_aligned(struct iobuf mem, size_t bytes, size_t align);

/* Whether flat memory is all zero; fast. */
bool buffer_is_zero(const void *buf, size_t bytes);

/*
 * Memory for I/O, aligned for O_DIRECT on any device (4096). NULL when there
 * is none: sizes may come from an image. Free with iobuf_free(); NULL is fine.
 */
void *try_iobuf_alloc(size_t bytes);
void *try_iobuf_alloc0(size_t bytes);
/*
 * For buffers that are used over and over: in huge pages, as far as it fills some and the
 * system has them. O_DIRECT is faster there: what is one piece for us is few for the device.
 */
void *try_iobuf_alloc_huge(size_t bytes);
void iobuf_free(void *buf);

#endif
