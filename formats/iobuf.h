/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The memory of a request: a view into an array of iovecs, and what is done with it. */
#ifndef UBD_IOBUF_H
#define UBD_IOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/*
 * Data that are not in our memory, but in a registered buffer of the loop that the request
 * lives on. A file is read into and written from it as it is (aio.h); who has to see the
 * bytes, or to make them, copies. The copies never yield; 0 or -errno.
 */
struct fixed_buf {
	unsigned index; /* in the table of the loop */
	uint64_t addr;	/* of its first byte, for the ring */
	int (*copy_in)(const struct fixed_buf *buf, size_t off, const void *src, size_t bytes);
	int (*copy_out)(const struct fixed_buf *buf, size_t off, void *dst, size_t bytes);
};

/*
 * The bytes from @skip on of @niov iovecs at @iov or, where that is not NULL, of @fixed.
 * Passed by value; it owns nothing. How many bytes are meant is said beside it.
 */
struct iobuf {
	const struct iovec *iov;
	unsigned niov;
	size_t skip;
	const struct fixed_buf *fixed;
};

/* A view of one piece of memory: struct iovec v; IOBUF(&v, p, n). */
#define IOBUF(iovec_ptr, base, len)                                                                \
	(*(iovec_ptr) = (struct iovec){ (void *)(base), (len) },                                   \
	 (struct iobuf){ (iovec_ptr), 1, 0, NULL })

/* The same view, @bytes further on. */
static inline struct iobuf iobuf_advance(struct iobuf mem, size_t bytes)
{
	mem.skip += bytes;
	return mem;
}

/* Where the data of a fixed buffer start, for the ring. */
static inline uint64_t iobuf_fixed_addr(struct iobuf mem)
{
	return mem.fixed->addr + mem.skip;
}

/* How many iovecs iobuf_clip() needs at most. */
static inline unsigned iobuf_max_iovecs(struct iobuf mem)
{
	return mem.niov;
}

/*
 * Writes the iovecs of exactly the first @bytes of @mem to @dst (room for
 * iobuf_max_iovecs()); returns their number. @mem must hold @bytes. Memory only.
 */
unsigned iobuf_clip(struct iovec *dst, struct iobuf mem, size_t bytes);

/* Copies; the other side is flat memory. 0, or what a fixed buffer's copy gave; memory cannot fail.
 */
int iobuf_copy_in(struct iobuf dst, const void *src, size_t bytes);
int iobuf_copy_out(void *dst, struct iobuf src, size_t bytes);
int iobuf_zero(struct iobuf dst, size_t bytes);
/* Memory only. */
bool iobuf_is_zero(struct iobuf mem, size_t bytes);

/*
 * Whether every piece of the first @bytes starts and ends on a multiple of @align (a power of
 * two). Of a fixed buffer only I/O will show it, by -EINVAL.
 */
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
