// SPDX-License-Identifier: GPL-2.0-or-later
/* Reads, inflates and deflates the data of compressed clusters, on worker threads. */
#include "qcow2.h"

#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

struct inflate_job {
	uint8_t type; /* QCOW2_COMPRESSION_* */
	const void *src;
	size_t src_bytes; /* a bound: the data may end earlier */
	void *dst;
	size_t dst_bytes;
};

/* "clusters with the deflate compression type do not have zlib headers" */
static int inflate_deflate(const struct inflate_job *job)
{
	z_stream stream = {
		.next_in = (Bytef *)job->src,
		.avail_in = job->src_bytes,
		.next_out = job->dst,
		.avail_out = job->dst_bytes,
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

static int inflate_zstd(const struct inflate_job *job)
{
	ZSTD_inBuffer in = { job->src, job->src_bytes, 0 };
	ZSTD_outBuffer out = { job->dst, job->dst_bytes, 0 };
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

static int inflate_work(void *arg)
{
	const struct inflate_job *job = arg;

	return job->type == QCOW2_COMPRESSION_ZSTD ? inflate_zstd(job) : inflate_deflate(job);
}

int qcow2_co_read_compressed(struct qcow2 *q, uint64_t entry, void *buf)
{
	struct inflate_job job = {
		.type = q->compression_type,
		.dst = buf,
		.dst_bytes = q->cluster_size,
	};
	uint64_t host_off;
	uint32_t bytes;
	void *src;
	int ret;

	qcow2_compressed_range(q, entry, &host_off, &bytes);
	src = try_iobuf_alloc(bytes);
	if (!src)
		return -ENOMEM;
	image_co_event(q->file, IMAGE_EVENT_READ_COMPRESSED);
	ret = image_co_pread(q->file, host_off, bytes, src);
	if (!ret) {
		job.src = src;
		job.src_bytes = bytes;
		ret = co_run_on_worker(inflate_work, &job);
	}
	iobuf_free(src);
	return ret;
}

/* ---- the other way ---- */

struct deflate_job {
	uint8_t type; /* QCOW2_COMPRESSION_* */
	const void *src;
	size_t src_bytes;
	void *dst;
	size_t dst_bytes;
	size_t ret_bytes; /* 0: not enough room */
};

/* QEMU inflates with a window of 12 bits, so do not use a larger one. */
#define DEFLATE_WINDOW_BITS 12
#define DEFLATE_MEM_LEVEL   9

static int deflate_raw(struct deflate_job *job)
{
	z_stream stream = {
		.next_in = (Bytef *)job->src,
		.avail_in = job->src_bytes,
		.next_out = job->dst,
		.avail_out = job->dst_bytes,
	};

	if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -DEFLATE_WINDOW_BITS,
			 DEFLATE_MEM_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	if (deflate(&stream, Z_FINISH) == Z_STREAM_END)
		job->ret_bytes = job->dst_bytes - stream.avail_out;
	deflateEnd(&stream);
	return 0;
}

static int deflate_zstd(struct deflate_job *job)
{
	size_t ret = ZSTD_compress(job->dst, job->dst_bytes, job->src, job->src_bytes,
				   ZSTD_CLEVEL_DEFAULT);

	if (!ZSTD_isError(ret))
		job->ret_bytes = ret;
	else if (ZSTD_getErrorCode(ret) != ZSTD_error_dstSize_tooSmall)
		return ZSTD_getErrorCode(ret) == ZSTD_error_memory_allocation ? -ENOMEM : -EIO;
	return 0;
}

static int deflate_work(void *arg)
{
	struct deflate_job *job = arg;

	return job->type == QCOW2_COMPRESSION_ZSTD ? deflate_zstd(job) : deflate_raw(job);
}

int qcow2_co_compress(struct qcow2 *q, const void *src, void *dst, uint32_t *ret_bytes)
{
	struct deflate_job job = {
		.type = q->compression_type,
		.src = src,
		.src_bytes = q->cluster_size,
		.dst = dst,
		.dst_bytes = q->cluster_size - 1,
	};
	int ret = co_run_on_worker(deflate_work, &job);

	if (!ret)
		*ret_bytes = job.ret_bytes;
	return ret;
}
