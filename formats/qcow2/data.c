// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Guest data in standard clusters, wherever they lie: all reads and writes of it, also of zeroes,
 * pass through here. So this is the place of encryption, where zeroes of the guest are not zeroes
 * of the file. (Compressed clusters lie in the image file: compress.c, write_compressed.c.)
 */
#include "image_int.h"
#include "qcow2.h"

int qcow2_co_read_data(struct qcow2 *q, uint64_t host_off, uint64_t bytes, struct iobuf mem)
{
	return image_co_preadv(q->data_file, host_off, bytes, mem);
}

int qcow2_co_write_data(struct qcow2 *q, uint64_t host_off, uint64_t bytes, struct iobuf mem)
{
	return image_co_pwritev(q->data_file, host_off, bytes, mem, 0);
}

int qcow2_co_write_zero_data(struct qcow2 *q, uint64_t host_off, uint64_t bytes)
{
	return image_co_write_zero_data(q->data_file, host_off, bytes);
}

int qcow2_co_zero_data(struct qcow2 *q, uint64_t host_off, uint64_t bytes, unsigned flags)
{
	return image_co_pwrite_zeroes(q->data_file, host_off, bytes, flags);
}

int qcow2_co_discard_data(struct qcow2 *q, uint64_t off, uint64_t bytes)
{
	/* A discard of a device might leave anything. */
	int ret = image_co_pwrite_zeroes(q->data_file, off, bytes,
					 IMAGE_REQ_MAY_UNMAP | IMAGE_REQ_NO_FALLBACK);

	return ret == -ENOTSUP ? 0 : ret;
}
