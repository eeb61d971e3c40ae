// SPDX-License-Identifier: GPL-2.0-or-later
/* A request of a guest; see request.h. */
#include "request.h"

#include <errno.h>

#include "align.h"

void request_compress(struct request *request, const struct image *img, uint64_t max_bytes)
{
	uint64_t cluster = image_limits(img)->cluster_size;
	uint64_t end;

	if (!image_format_can_compress(image_format(img)) || cluster > max_bytes)
		return;
	end = round_up_to(request->off + request->bytes, cluster);
	request->off -= request->off % cluster;
	end = MIN(end, request->off + max_bytes / cluster * cluster);
	request->bytes = MIN(end, image_size(img)) - request->off;
	request->flags = 0;
	request->compressed = true;
}

static int co_write(const struct request *request, struct image *img, struct iobuf mem)
{
	int ret = -EINVAL;

	if (request->compressed)
		ret = image_co_pwrite_compressed(img, request->off, request->bytes, mem);
	/*
	 * The disk has grown since the request was drawn: its old last cluster is now only covered
	 * in part.
	 */
	if (!request->compressed ||
	    (ret == -EINVAL && request->off + request->bytes < image_size(img)))
		ret = image_co_pwritev(img, request->off, request->bytes, mem, request->flags);
	return ret;
}

int request_co_perform(const struct request *request, struct image *img, struct iobuf mem)
{
	switch (request->kind) {
	case REQUEST_READ:
		return image_co_preadv(img, request->off, request->bytes, mem);
	case REQUEST_WRITE:
		return co_write(request, img, mem);
	case REQUEST_ZERO:
		return image_co_pwrite_zeroes(img, request->off, request->bytes, request->flags);
	case REQUEST_DISCARD:
		return image_co_pdiscard(img, request->off, request->bytes);
	case REQUEST_FLUSH:
		return image_co_flush(img);
	}
	return -EINVAL;
}

char *request_describe(const struct request *request)
{
	static const char *const names[] = {
		[REQUEST_READ] = "read",	 [REQUEST_WRITE] = "write",
		[REQUEST_ZERO] = "write zeroes", [REQUEST_DISCARD] = "discard",
		[REQUEST_FLUSH] = "flush",
	};

	return g_strdup_printf("%s %#" G_GINT64_MODIFIER "x + %#" G_GINT64_MODIFIER "x%s%s%s",
			       names[request->kind], request->off, request->bytes,
			       request->compressed ? " compressed" : "",
			       request->flags & IMAGE_REQ_FUA ? " FUA" : "",
			       request->flags & IMAGE_REQ_MAY_UNMAP ? " may unmap" : "");
}
