// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The filter `blkverify`, for tests of formats: `test` is the image under test, `raw` a copy of the
 * disk. Writes go to both, reads come from both, and if they differ, in data or in the error, the
 * program ends with a message.
 *
 * Where there is data is what the copy says, as in QEMU. Discards are ignored: what a discarded
 * range contains may differ.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image_int.h"
#include "node_name.h"
#include "pass.h"

/* Memory for what is compared with. */
#define MAX_PART (1u << 20)

/* "blkverify:RAW:IMAGE", if that says everything. */
static char *blkverify_make_name(const struct image *img)
{
	const char *raw = img->data_file ? img->data_file->filename : "";

	if (node_name_is_json(img->file->filename) || node_name_is_json(raw) || strchr(raw, ':'))
		return NULL;
	return g_strdup_printf("blkverify:%s:%s", raw, img->file->filename);
}

static int blkverify_co_open(struct image *img, const struct image_open_opts *opts, GError **err)
{
	if (!opts->data_file)
		return error_refuse(err, -EINVAL, "A block device must be specified for \"raw\"");
	filter_take_limits(img);
	img->limits.cluster_size = 0;
	img->data_file = opts->data_file;
	/* Now both names are known. */
	g_free(img->filename);
	img->filename = image_make_name(img);
	return 0;
}

static int blkverify_co_close(struct image *img)
{
	return image_co_close(img->data_file);
}

/* ---- requests ---- */

/* As in QEMU: scripts look for the message and the status. Nothing is cleaned up. */
static G_GNUC_NORETURN G_GNUC_PRINTF(4, 5) void fail(const char *request, uint64_t off,
						     uint64_t bytes, const char *fmt, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "blkverify: %s offset=%" PRIu64 " bytes=%" PRIu64 " ", request, off, bytes);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	_exit(EXIT_FAILURE);
}

static int check_errors(const char *request, uint64_t off, uint64_t bytes, int test_ret,
			int raw_ret)
{
	if (test_ret != raw_ret)
		fail(request, off, bytes, "return value mismatch %d != %d", test_ret, raw_ret);
	return test_ret;
}

static uint64_t first_difference(const uint8_t *a, const uint8_t *b, uint64_t bytes)
{
	uint64_t i = 0;

	while (i < bytes && a[i] == b[i])
		i++;
	return i;
}

/* Reads a part from the copy and compares it. @at: where it is in the request. */
static int co_verify_part(struct image *img, uint64_t off, uint64_t bytes, uint64_t at,
			  const uint8_t *test, uint8_t *raw, uint64_t part)
{
	int ret = image_co_pread(img->data_file, off + at, part, raw);
	uint64_t same;

	ret = check_errors("read", off, bytes, 0, ret);
	same = first_difference(test, raw, part);
	if (same < part)
		fail("read", off, bytes, "contents mismatch at offset %" PRIu64, off + at + same);
	return ret;
}

static int co_verify(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	uint64_t room = MIN(bytes, MAX_PART);
	uint8_t *test = try_iobuf_alloc(room), *raw = try_iobuf_alloc(room);
	int ret = test && raw ? 0 : -ENOMEM;

	for (uint64_t at = 0, part; !ret && at < bytes; at += part) {
		part = MIN(bytes - at, room);
		ret = iobuf_copy_out(test, iobuf_advance(mem, at), part)
			      ?: co_verify_part(img, off, bytes, at, test, raw, part);
	}
	iobuf_free(test);
	iobuf_free(raw);
	return ret;
}

static int blkverify_co_preadv(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	int ret;

	/* What is in a fixed buffer cannot be looked at. */
	if (mem.is_fixed)
		return -EINVAL;
	ret = image_co_preadv(img->file, off, bytes, mem);
	if (ret)
		return check_errors("read", off, bytes, ret,
				    image_co_preadv(img->data_file, off, bytes, mem));
	return co_verify(img, off, bytes, mem);
}

static int blkverify_co_pwritev(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
				unsigned flags)
{
	int test_ret, raw_ret;

	if (mem.is_fixed)
		return -EINVAL;
	test_ret = image_co_pwritev(img->file, off, bytes, mem, flags);
	raw_ret = image_co_pwritev(img->data_file, off, bytes, mem, flags);
	filter_follow_growth(img, 0);
	return check_errors("write", off, bytes, test_ret, raw_ret);
}

static int blkverify_co_flush(struct image *img)
{
	return image_co_flush(img->file) ?: image_co_flush(img->data_file);
}

static int blkverify_co_write_back(struct image *img, uint64_t off, uint64_t bytes)
{
	return image_co_write_back(img->file, off, bytes)
		       ?: image_co_write_back(img->data_file, off, bytes);
}

static int blkverify_co_block_status(struct image *img, uint64_t off, uint64_t bytes,
				     struct image_extent *ret_extent)
{
	int ret = image_co_block_status_chain(img->data_file, off, bytes, ret_extent);

	ret_extent->flags |= IMAGE_EXTENT_ALLOCATED;
	return ret;
}

/* Both stay equal. */
static int blkverify_co_resize(struct image *img, uint64_t size, enum image_preallocation mode,
			       GError **err)
{
	return filter_co_pass_resize(img, size, mode, err)
		       ?: image_co_resize(img->data_file, size, mode, err);
}

/* Of which of them? */
static int64_t blkverify_co_allocated_bytes(struct image *img)
{
	return -ENOTSUP;
}

const struct format_ops image_blkverify_filter = {
	.io = {
		.name = "blkverify",
		.co_close = blkverify_co_close,
		.co_preadv = blkverify_co_preadv,
		.co_pwritev = blkverify_co_pwritev,
		.co_flush = blkverify_co_flush,
		.co_write_back = blkverify_co_write_back,
		.co_block_status = blkverify_co_block_status,
		.co_allocated_bytes = blkverify_co_allocated_bytes,
	},
	.is_filter = true,
	.is_protocol = true,
	.for_users = true,
	.no_backing = true,
	.second_child = "raw",
	.co_open = blkverify_co_open,
	.co_resize = blkverify_co_resize,
	.make_name = blkverify_make_name,
};
