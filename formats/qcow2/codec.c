// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The libraries that compress and decompress clusters; see codec.h.
 *
 * zlib and zstd do everything; isa-l and libdeflate, if they are there, do what they can do faster.
 * The data to be decompressed is not trusted: memory is bounded by the cluster and by the contexts,
 * and what a fast way refuses is tried once more by the library that is the reference.
 */
#include <errno.h>
#include <glib.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#ifdef HAVE_ISAL
#include <isa-l/igzip_lib.h>
#endif
#ifdef HAVE_LIBDEFLATE
#include <libdeflate.h>
#endif

#include "codec.h"
#include "late_library.h"

/*
 * zlib and isa-l look back as far as QEMU does. libdeflate looks back 32 KiB, as deflate allows:
 * readers inflate a cluster in one call, which finds all of it in its output, however small they
 * say that the window is (QEMU: 12 bits).
 */
#define DEFLATE_WINDOW_BITS	 12
/*
 * With a window of 4 KiB, larger hash tables only miss the CPU's cache: level 5 with 7 takes 0.54
 * to 0.98 of the time of level 6 with 9, which is QEMU's, for -0.3 to +1 % of the bytes.
 */
#define DEFLATE_LEVEL		 5
#define DEFLATE_MEM_LEVEL	 7
/* Takes 0.2 to 0.4 of the time of QEMU's settings, for 2 to 7 % fewer bytes. */
#define LIBDEFLATE_LEVEL	 1
/* Below this, rows of digits, which isa-l would get, are more than 1.5 % larger than QEMU's. */
#define LIBDEFLATE_LEVEL_FOR_ALL 5

/* What a thread keeps; made on first use. */
struct codecs {
	z_stream *deflate; /* without libdeflate */
	ZSTD_CCtx *zstd_compress;
	ZSTD_DCtx *zstd_decompress;
#ifdef HAVE_ISAL
	struct fast_deflate *fast_deflate;
#endif
#ifdef HAVE_LIBDEFLATE
	struct libdeflate_compressor *deflate_whole;
	struct libdeflate_decompressor *inflate;
#endif
};

static void codecs_free(void *arg)
{
	struct codecs *codecs = arg;

	if (codecs->deflate)
		deflateEnd(codecs->deflate);
	g_free(codecs->deflate);
	ZSTD_freeCCtx(codecs->zstd_compress);
	ZSTD_freeDCtx(codecs->zstd_decompress);
#ifdef HAVE_ISAL
	g_free(codecs->fast_deflate);
#endif
#ifdef HAVE_LIBDEFLATE
	libdeflate_free_compressor(codecs->deflate_whole);
	libdeflate_free_decompressor(codecs->inflate);
#endif
	g_free(codecs);
}

static GPrivate thread_codecs = G_PRIVATE_INIT(codecs_free);

/* NULL if there is no memory. */
static struct codecs *try_codecs(void)
{
	struct codecs *codecs = g_private_get(&thread_codecs);

	if (!codecs) {
		codecs = g_try_new0(struct codecs, 1);
		if (codecs)
			g_private_set(&thread_codecs, codecs);
	}
	return codecs;
}

/* ---- isa-l, which only compression needs ---- */

#ifdef HAVE_ISAL

const bool codec_may_have_fast = true;

static struct {
	__typeof__(isal_deflate_stateless_init) *deflate_stateless_init;
	__typeof__(isal_deflate_stateless) *deflate_stateless;
} isal;

bool codec_has_fast(void)
{
	static const struct late_function functions[] = {
		{ "isal_deflate_stateless_init", &isal.deflate_stateless_init },
		{ "isal_deflate_stateless", &isal.deflate_stateless },
		{},
	};
	static struct late_library library = LATE_LIBRARY_INIT(LATE_ISAL, functions);
	g_autoptr(GError) err = NULL;

	return late_library_load(&library, &err) == 0;
}

#else

const bool codec_may_have_fast = false;

bool codec_has_fast(void)
{
	return false;
}

#endif

/* ---- deflate, by libdeflate or zlib ---- */

#ifdef HAVE_LIBDEFLATE

static int deflate_small(struct codecs *codecs, const void *src, size_t src_bytes, void *dst,
			 size_t dst_bytes, size_t *ret_bytes)
{
	codecs->deflate_whole =
		codecs->deflate_whole
			?: libdeflate_alloc_compressor(codec_has_fast() ? LIBDEFLATE_LEVEL
									: LIBDEFLATE_LEVEL_FOR_ALL);
	if (!codecs->deflate_whole)
		return -ENOMEM;
	*ret_bytes =
		libdeflate_deflate_compress(codecs->deflate_whole, src, src_bytes, dst, dst_bytes);
	return 0;
}

#else

static z_stream *try_deflate_stream(struct codecs *codecs)
{
	z_stream *stream = codecs->deflate;

	if (stream)
		return deflateReset(stream) == Z_OK ? stream : NULL;
	stream = g_try_new0(z_stream, 1);
	if (stream && deflateInit2(stream, DEFLATE_LEVEL, Z_DEFLATED, -DEFLATE_WINDOW_BITS,
				   DEFLATE_MEM_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
		g_clear_pointer(&stream, g_free);
	codecs->deflate = stream;
	return stream;
}

static int deflate_small(struct codecs *codecs, const void *src, size_t src_bytes, void *dst,
			 size_t dst_bytes, size_t *ret_bytes)
{
	z_stream *stream = try_deflate_stream(codecs);

	if (!stream)
		return -ENOMEM;
	stream->next_in = (Bytef *)src;
	stream->avail_in = src_bytes;
	stream->next_out = dst;
	stream->avail_out = dst_bytes;
	*ret_bytes = deflate(stream, Z_FINISH) == Z_STREAM_END ? dst_bytes - stream->avail_out : 0;
	return 0;
}

#endif

/* ---- deflate, by isa-l ---- */

#ifdef HAVE_ISAL

#define SAMPLE_BYTES   (16u << 10)
#define SAMPLE_PERCENT 101.5 /* of the bytes of CODEC_DEFLATE, at most */

struct fast_deflate {
	struct isal_zstream stream;
	uint8_t level_buf[ISAL_DEF_LVL3_DEFAULT];
};

static int deflate_fast(struct codecs *codecs, const void *src, size_t src_bytes, void *dst,
			size_t dst_bytes, size_t *ret_bytes)
{
	struct isal_zstream *stream;
	int ret;

	if (!codec_has_fast())
		return deflate_small(codecs, src, src_bytes, dst, dst_bytes, ret_bytes);
	codecs->fast_deflate = codecs->fast_deflate ?: g_try_new(struct fast_deflate, 1);
	if (!codecs->fast_deflate)
		return -ENOMEM;
	stream = &codecs->fast_deflate->stream;
	isal.deflate_stateless_init(stream);
	stream->level = 3;
	stream->level_buf = codecs->fast_deflate->level_buf;
	stream->level_buf_size = sizeof(codecs->fast_deflate->level_buf);
	stream->hist_bits = DEFLATE_WINDOW_BITS;
	stream->end_of_stream = 1;
	stream->next_in = (uint8_t *)src;
	stream->avail_in = src_bytes;
	stream->next_out = dst;
	stream->avail_out = dst_bytes;
	ret = isal.deflate_stateless(stream);
	if (ret != COMP_OK && ret != STATELESS_OVERFLOW)
		return -EIO;
	*ret_bytes = ret == COMP_OK ? dst_bytes - stream->avail_out : 0;
	return 0;
}

bool codec_fast_suffices(const void *src, size_t bytes)
{
	size_t sample = MIN(bytes, SAMPLE_BYTES), small, fast;
	const char *middle = (const char *)src + (bytes - sample) / 2;
	struct codecs *codecs = try_codecs();
	g_autofree void *dst = g_try_malloc(sample);

	if (!codec_has_fast() || !codecs || !dst ||
	    deflate_fast(codecs, middle, sample, dst, sample, &fast) ||
	    deflate_small(codecs, middle, sample, dst, sample, &small))
		return false;
	return (fast ?: sample) * 100.0 <= (small ?: sample) * SAMPLE_PERCENT;
}

#else

#define deflate_fast deflate_small

bool codec_fast_suffices(const void *src, size_t bytes)
{
	return false;
}

#endif

/* ---- inflate ---- */

/* "clusters with the deflate compression type do not have zlib headers" */
static int inflate_any(const void *src, size_t src_bytes, void *dst, size_t dst_bytes)
{
	z_stream stream = {
		.next_in = (Bytef *)src,
		.avail_in = src_bytes,
		.next_out = dst,
		.avail_out = dst_bytes,
	};
	int ret;

	/* A window of 15 bits covers every window that the data may have been made with. */
	if (inflateInit2(&stream, -15) != Z_OK)
		return -ENOMEM;
	ret = inflate(&stream, Z_FINISH);
	inflateEnd(&stream);
	/* "decompression stops when it has produced a cluster of data" */
	if (stream.avail_out != 0 || (ret != Z_STREAM_END && ret != Z_BUF_ERROR && ret != Z_OK))
		return -EIO;
	return 0;
}

#ifdef HAVE_LIBDEFLATE

/* Whole streams only: false for those that end before or after the cluster. */
static bool try_inflate_whole(struct codecs *codecs, const void *src, size_t src_bytes, void *dst,
			      size_t dst_bytes)
{
	size_t used, made;

	codecs->inflate = codecs->inflate ?: libdeflate_alloc_decompressor();
	return codecs->inflate &&
	       libdeflate_deflate_decompress_ex(codecs->inflate, src, src_bytes, dst, dst_bytes,
						&used, &made) == LIBDEFLATE_SUCCESS &&
	       made == dst_bytes;
}

#else

static bool try_inflate_whole(struct codecs *codecs, const void *src, size_t src_bytes, void *dst,
			      size_t dst_bytes)
{
	return false;
}

#endif

/* ---- zstd ---- */

static int compress_zstd(struct codecs *codecs, const void *src, size_t src_bytes, void *dst,
			 size_t dst_bytes, size_t *ret_bytes)
{
	size_t ret;

	codecs->zstd_compress = codecs->zstd_compress ?: ZSTD_createCCtx();
	if (!codecs->zstd_compress)
		return -ENOMEM;
	ret = ZSTD_compressCCtx(codecs->zstd_compress, dst, dst_bytes, src, src_bytes,
				ZSTD_CLEVEL_DEFAULT);
	if (!ZSTD_isError(ret))
		*ret_bytes = ret;
	else if (ZSTD_getErrorCode(ret) == ZSTD_error_dstSize_tooSmall)
		*ret_bytes = 0;
	else
		return ZSTD_getErrorCode(ret) == ZSTD_error_memory_allocation ? -ENOMEM : -EIO;
	return 0;
}

/* Any frames. The context is not kept: it may need a window that is much larger than a cluster. */
static int decompress_zstd_any(const void *src, size_t src_bytes, void *dst, size_t dst_bytes)
{
	ZSTD_inBuffer in = { src, src_bytes, 0 };
	ZSTD_outBuffer out = { dst, dst_bytes, 0 };
	ZSTD_DCtx *ctx = ZSTD_createDCtx();
	size_t in_before, out_before, ret;

	if (!ctx)
		return -ENOMEM;
	do {
		in_before = in.pos;
		out_before = out.pos;
		ret = ZSTD_decompressStream(ctx, &out, &in);
	} while (!ZSTD_isError(ret) && out.pos < out.size &&
		 (in.pos > in_before || out.pos > out_before));
	ZSTD_freeDCtx(ctx);
	return ZSTD_isError(ret) || out.pos < out.size ? -EIO : 0;
}

/* One frame that is a whole cluster: in one call, and without a window. */
static bool try_decompress_zstd_whole(struct codecs *codecs, const void *src, size_t src_bytes,
				      void *dst, size_t dst_bytes)
{
	size_t frame = ZSTD_findFrameCompressedSize(src, src_bytes);

	codecs->zstd_decompress = codecs->zstd_decompress ?: ZSTD_createDCtx();
	return codecs->zstd_decompress && !ZSTD_isError(frame) &&
	       ZSTD_decompressDCtx(codecs->zstd_decompress, dst, dst_bytes, src, frame) ==
		       dst_bytes;
}

/* ---- any method ---- */

int codec_compress(enum codec_method method, const void *src, size_t src_bytes, void *dst,
		   size_t dst_bytes, size_t *ret_bytes)
{
	struct codecs *codecs = try_codecs();

	if (!codecs)
		return -ENOMEM;
	switch (method) {
	case CODEC_DEFLATE:
		return deflate_small(codecs, src, src_bytes, dst, dst_bytes, ret_bytes);
	case CODEC_DEFLATE_FAST:
		return deflate_fast(codecs, src, src_bytes, dst, dst_bytes, ret_bytes);
	case CODEC_ZSTD:
		return compress_zstd(codecs, src, src_bytes, dst, dst_bytes, ret_bytes);
	}
	return -EIO;
}

int codec_decompress(enum codec_method method, const void *src, size_t src_bytes, void *dst,
		     size_t dst_bytes)
{
	struct codecs *codecs = try_codecs();

	if (!codecs)
		return -ENOMEM;
	if (method == CODEC_ZSTD)
		return try_decompress_zstd_whole(codecs, src, src_bytes, dst, dst_bytes)
			       ? 0
			       : decompress_zstd_any(src, src_bytes, dst, dst_bytes);
	return try_inflate_whole(codecs, src, src_bytes, dst, dst_bytes)
		       ? 0
		       : inflate_any(src, src_bytes, dst, dst_bytes);
}
