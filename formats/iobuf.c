// SPDX-License-Identifier: GPL-2.0-or-later
/* The memory of requests: views, copies, and memory fit for O_DIRECT. */
#include <glib.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "align.h"
#include "iobuf.h"

#define IOBUF_ALIGN 4096
/* No caller needs more; and sanitizers end the process far beyond it instead of returning NULL. */
#define IOBUF_MAX   (64ULL * 1024 * 1024 * 1024)

/* A walk over the pieces of a view. */
struct iobuf_iter {
	const struct iovec *iov;
	size_t skip;
	size_t left;
};

static struct iobuf_iter iter_start(struct iobuf mem, size_t bytes)
{
	return (struct iobuf_iter){ mem.iov, mem.skip, bytes };
}

/* The next piece, which is never empty; false at the end. */
static bool iter_next(struct iobuf_iter *iter, struct iovec *ret_piece)
{
	if (!iter->left)
		return false;
	while (iter->skip >= iter->iov->iov_len) {
		iter->skip -= iter->iov->iov_len;
		iter->iov++;
	}
	ret_piece->iov_base = (char *)iter->iov->iov_base + iter->skip;
	ret_piece->iov_len = MIN(iter->iov->iov_len - iter->skip, iter->left);
	iter->left -= ret_piece->iov_len;
	iter->skip = 0;
	iter->iov++;
	return true;
}

unsigned iobuf_iovecs(struct iobuf mem, size_t bytes)
{
	struct iobuf_iter iter = iter_start(mem, bytes);
	struct iovec piece;
	unsigned count = 0;

	while (iter_next(&iter, &piece))
		count++;
	return count;
}

unsigned iobuf_clip_some(struct iovec *dst, unsigned max, struct iobuf mem, size_t *bytes)
{
	struct iobuf_iter iter = iter_start(mem, *bytes);
	unsigned count = 0;

	while (count < max && iter_next(&iter, &dst[count]))
		count++;
	*bytes -= iter.left;
	return count;
}

unsigned iobuf_clip(struct iovec *dst, struct iobuf mem, size_t bytes)
{
	return iobuf_clip_some(dst, UINT_MAX, mem, &bytes);
}

int iobuf_copy_in(struct iobuf dst, const void *src, size_t bytes)
{
	struct iobuf_iter iter = iter_start(dst, bytes);
	const char *from = src;
	struct iovec piece;

	if (dst.is_fixed)
		return dst.fixed->copy_in(dst.fixed, dst.skip, src, bytes);
	while (iter_next(&iter, &piece)) {
		memcpy(piece.iov_base, from, piece.iov_len);
		from += piece.iov_len;
	}
	return 0;
}

int iobuf_copy_out(void *dst, struct iobuf src, size_t bytes)
{
	struct iobuf_iter iter = iter_start(src, bytes);
	char *to = dst;
	struct iovec piece;

	if (src.is_fixed)
		return src.fixed->copy_out(src.fixed, src.skip, dst, bytes);
	while (iter_next(&iter, &piece)) {
		memcpy(to, piece.iov_base, piece.iov_len);
		to += piece.iov_len;
	}
	return 0;
}

static int zero_fixed(struct iobuf dst, size_t bytes)
{
	static const uint8_t zeroes[64 << 10];
	int ret = 0;

	while (bytes && !ret) {
		size_t piece = MIN(bytes, sizeof(zeroes));

		ret = iobuf_copy_in(dst, zeroes, piece);
		dst = iobuf_advance(dst, piece);
		bytes -= piece;
	}
	return ret;
}

int iobuf_zero(struct iobuf dst, size_t bytes)
{
	struct iobuf_iter iter = iter_start(dst, bytes);
	struct iovec piece;

	if (dst.is_fixed)
		return zero_fixed(dst, bytes);
	while (iter_next(&iter, &piece))
		memset(piece.iov_base, 0, piece.iov_len);
	return 0;
}

bool iobuf_is_zero(struct iobuf mem, size_t bytes)
{
	struct iobuf_iter iter = iter_start(mem, bytes);
	struct iovec piece;

	while (iter_next(&iter, &piece))
		if (!buffer_is_zero(piece.iov_base, piece.iov_len))
			return false;
	return true;
}

bool iobuf_is_aligned(struct iobuf mem, size_t bytes, size_t align)
{
	struct iobuf_iter iter = iter_start(mem, bytes);
	struct iovec piece;

	if (mem.is_fixed)
		return true;
	while (iter_next(&iter, &piece))
		if (!is_aligned((uintptr_t)piece.iov_base | piece.iov_len, align))
			return false;
	return true;
}

bool buffer_is_zero(const void *buf, size_t bytes)
{
	const uint8_t *p = buf;

	/* Memory that is not all zero usually shows it at one of its ends or in the middle. */
	if (bytes && (p[0] | p[bytes / 2] | p[bytes - 1]))
		return false;
	/*
	 * All of it is zero if the first byte is and each byte equals the one before it. The C
	 * library's memcmp() is the fastest loop for this machine.
	 */
	return bytes < 2 || memcmp(p, p + 1, bytes - 1) == 0;
}

void *try_iobuf_alloc(size_t bytes)
{
	if (bytes > IOBUF_MAX)
		return NULL;
	/* Even 0 bytes get a block: NULL means that there is no memory. */
	return aligned_alloc(IOBUF_ALIGN, align_up(MAX(bytes, 1), IOBUF_ALIGN));
}

void *try_iobuf_alloc0(size_t bytes)
{
	void *buf = try_iobuf_alloc(bytes);

	if (buf)
		memset(buf, 0, bytes);
	return buf;
}

void *try_iobuf_alloc_huge(size_t bytes)
{
	void *buf = NULL;

	if (bytes < IOBUF_HUGE_BYTES)
		return try_iobuf_alloc(bytes);
	if (bytes > IOBUF_MAX || posix_memalign(&buf, IOBUF_HUGE_BYTES, bytes))
		return NULL;
	/* This is only advice. */
	madvise(buf, align_down(bytes, IOBUF_HUGE_BYTES), MADV_HUGEPAGE);
	return buf;
}

void *try_iobuf_alloc_array(unsigned nr, size_t bytes)
{
	return bytes > IOBUF_MAX ? NULL : try_iobuf_alloc_huge(nr * align_up(bytes, IOBUF_ALIGN));
}

void *iobuf_array_at(void *array, unsigned index, size_t bytes)
{
	return (char *)array + index * align_up(bytes, IOBUF_ALIGN);
}

void iobuf_free(void *buf)
{
	free(buf);
}
