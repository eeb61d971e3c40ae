// SPDX-License-Identifier: GPL-2.0-or-later
/* Reads the data of compressed clusters, and has it compressed and decompressed on worker threads.
 */
#include "codec.h"
#include "qcow2.h"

static bool is_zstd(const struct qcow2 *q)
{
	return q->compression_type == QCOW2_COMPRESSION_ZSTD;
}

struct decompress_job {
	enum codec_method method;
	const void *src;
	size_t src_bytes; /* a bound: the data may end earlier */
	void *dst;
	size_t dst_bytes;
};

static int decompress_work(void *arg)
{
	const struct decompress_job *job = arg;

	return codec_decompress(job->method, job->src, job->src_bytes, job->dst, job->dst_bytes);
}

int qcow2_co_read_compressed(struct qcow2 *q, uint64_t entry, void *buf)
{
	struct decompress_job job = {
		.method = is_zstd(q) ? CODEC_ZSTD : CODEC_DEFLATE,
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
		ret = co_run_on_worker(decompress_work, &job);
	}
	iobuf_free(src);
	return ret;
}

/* ---- the other way ---- */

struct compress_job {
	enum codec_method method;
	const void *src;
	size_t src_bytes;
	void *dst;
	size_t dst_bytes;
	size_t ret_bytes;
};

static int compress_work(void *arg)
{
	struct compress_job *job = arg;

	return codec_compress(job->method, job->src, job->src_bytes, job->dst, job->dst_bytes,
			      &job->ret_bytes);
}

int qcow2_co_compress(struct qcow2 *q, bool fast, const void *src, void *dst, uint32_t *ret_bytes)
{
	struct compress_job job = {
		.method = is_zstd(q) ? CODEC_ZSTD
			  : fast     ? CODEC_DEFLATE_FAST
				     : CODEC_DEFLATE,
		.src = src,
		.src_bytes = q->cluster_size,
		.dst = dst,
		.dst_bytes = q->cluster_size - 1,
	};
	int ret = co_run_on_worker(compress_work, &job);

	if (!ret)
		*ret_bytes = job.ret_bytes;
	return ret;
}

void qcow2_load_compression(void)
{
	codec_has_fast();
}

bool qcow2_can_compress_fast(const struct qcow2 *q)
{
	return codec_may_have_fast && !is_zstd(q);
}

static int compare_work(void *arg)
{
	const struct compress_job *job = arg;

	return codec_fast_suffices(job->src, job->src_bytes);
}

bool qcow2_co_compress_fast_suffices(struct qcow2 *q, const void *src)
{
	struct compress_job job = { .src = src, .src_bytes = q->cluster_size };

	return co_run_on_worker(compare_work, &job);
}
