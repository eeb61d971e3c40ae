/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compresses and decompresses the data of clusters, on the calling thread. A thread keeps its
 * libraries' contexts from cluster to cluster until it ends. Any thread.
 */
#ifndef UBD_QCOW2_CODEC_H
#define UBD_QCOW2_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum codec_method {
	CODEC_DEFLATE,	    /* by libdeflate if it was built in, or by zlib */
	CODEC_DEFLATE_FAST, /* by isa-l, several times as fast; without it, the same */
	CODEC_ZSTD,
};

/* Whether there may be isa-l. */
extern const bool codec_may_have_fast;
/*
 * Whether there is. It is loaded when this is first called, from files that may be on a disk which
 * this process serves: not on the thread of a queue.
 */
bool codec_has_fast(void);

/*
 * Compresses all of @src into @dst, which has @dst_bytes. *ret_bytes: the size, 0 if it does not
 * fit. Deflate has no header. 0, -ENOMEM or -EIO.
 */
int codec_compress(enum codec_method method, const void *src, size_t src_bytes, void *dst,
		   size_t dst_bytes, size_t *ret_bytes);

/*
 * Whether CODEC_DEFLATE_FAST is faster than CODEC_DEFLATE and its result hardly larger for data
 * like this. It compresses a part both ways.
 */
bool codec_fast_suffices(const void *src, size_t bytes);

/*
 * Fills @dst from the start of @src, which need not end where the compressed data does. Both
 * methods of deflate are the same here. -EIO if the data is damaged or does not yield enough.
 */
int codec_decompress(enum codec_method method, const void *src, size_t src_bytes, void *dst,
		     size_t dst_bytes);

#endif
