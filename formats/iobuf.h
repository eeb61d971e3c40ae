/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The memory of a request: a view into an array of iovecs, and operations on it. */
#ifndef UBD_IOBUF_H
#define UBD_IOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/*
 * Data that is not in our memory, but in a registered buffer of the loop that the request lives on.
 * Files are read into it and written from it directly (aio.h); code that must see or produce the
 * bytes copies them. Copies never yield; 0 or -errno.
 */
struct fixed_buf {
	unsigned index; /* in the loop's table */
	uint64_t addr;	/* of its first byte, for the ring */
	int (*copy_in)(const struct fixed_buf *buf, size_t off, const void *src, size_t bytes);
	int (*copy_out)(const struct fixed_buf *buf, size_t off, void *dst, size_t bytes);
};

/*
 * The bytes from @skip on of the iovecs at @iov or of a fixed buffer. Passed by value; owns
 * nothing. The number of bytes is passed alongside, and tells how many iovecs there are. Two words,
 * so that each function on the path of a request gets it in registers.
 */
struct iobuf {
	union {
		const struct iovec *iov;
		const struct fixed_buf *fixed; /* if is_fixed */
	};
	size_t skip : 63;
	size_t is_fixed : 1;
};

/* A view of one piece of memory: struct iovec v; IOBUF(&v, p, n). */
#define IOBUF(iovec_ptr, base, len)                                                                \
	(*(iovec_ptr) = (struct iovec){ (void *)(base), (len) },                                   \
	 (struct iobuf){ .iov = (iovec_ptr) })

/* All of a fixed buffer. */
static inline struct iobuf iobuf_of_fixed(const struct fixed_buf *buf)
{
	return (struct iobuf){ .fixed = buf, .is_fixed = true };
}

/* The same view, advanced by @bytes. */
static inline struct iobuf iobuf_advance(struct iobuf mem, size_t bytes)
{
	mem.skip += bytes;
	return mem;
}

/* The address of a fixed buffer's data, for the ring. */
static inline uint64_t iobuf_fixed_addr(struct iobuf mem)
{
	return mem.fixed->addr + mem.skip;
}

/*
 * Where the first @bytes (not 0) are, if that is in one piece of memory; NULL otherwise, and where
 * that takes a longer look.
 */
static inline void *iobuf_flat(struct iobuf mem, size_t bytes)
{
	if (mem.is_fixed || mem.skip + bytes > mem.iov->iov_len)
		return NULL;
	return (char *)mem.iov->iov_base + mem.skip;
}

/* The number of iovecs that iobuf_clip() writes. */
unsigned iobuf_iovecs(struct iobuf mem, size_t bytes);

/*
 * Writes the iovecs of exactly the first @bytes of @mem to @dst (room for iobuf_iovecs()); returns
 * their number. @mem must hold @bytes. Memory only.
 */
unsigned iobuf_clip(struct iovec *dst, struct iobuf mem, size_t bytes);

/* The same for at most @max iovecs; *bytes becomes how many bytes they hold. */
unsigned iobuf_clip_some(struct iovec *dst, unsigned max, struct iobuf mem, size_t *bytes);

/*
 * Copy to or from contiguous memory. 0, or the error of a fixed buffer's copy; memory never fails.
 */
int iobuf_copy_in(struct iobuf dst, const void *src, size_t bytes);
int iobuf_copy_out(void *dst, struct iobuf src, size_t bytes);
int iobuf_zero(struct iobuf dst, size_t bytes);
/* Memory only. */
bool iobuf_is_zero(struct iobuf mem, size_t bytes);

/*
 * Whether every piece of the first @bytes starts and ends on a multiple of @align (a power of two).
 * For a fixed buffer only I/O can tell, with -EINVAL.
 */
bool iobuf_is_aligned(struct iobuf mem, size_t bytes, size_t align);

/* Whether contiguous memory is all zero; fast. */
bool buffer_is_zero(const void *buf, size_t bytes);

/*
 * Memory for I/O, aligned for O_DIRECT on any device (4096). NULL if out of memory, since sizes may
 * come from an image. Free it with iobuf_free(); NULL is fine.
 */
void *try_iobuf_alloc(size_t bytes);
void *try_iobuf_alloc0(size_t bytes);
#define IOBUF_HUGE_BYTES (2u << 20)
/*
 * For buffers that are used repeatedly: uses huge pages if the buffer fills any and the system has
 * them. O_DIRECT is faster with them, because a buffer consists of fewer segments for the device.
 */
void *try_iobuf_alloc_huge(size_t bytes);
/* @nr such buffers of @bytes, in one piece, since each may be smaller than a huge page. */
void *try_iobuf_alloc_array(unsigned nr, size_t bytes);
void *iobuf_array_at(void *array, unsigned index, size_t bytes);
void iobuf_free(void *buf);

#endif
