// SPDX-License-Identifier: GPL-2.0-or-later
/* A request of a guest; see request.h. */
#include "request.h"

#include <errno.h>

int request_co_perform(const struct request *request, struct image *img, void *buf)
{
	switch (request->kind) {
	case REQUEST_READ:
		return image_co_pread(img, request->off, request->bytes, buf);
	case REQUEST_WRITE:
		return image_co_pwrite(img, request->off, request->bytes, buf, request->flags);
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

	return g_strdup_printf("%s %#" G_GINT64_MODIFIER "x + %#" G_GINT64_MODIFIER "x%s%s",
			       names[request->kind], request->off, request->bytes,
			       request->flags & IMAGE_REQ_FUA ? " FUA" : "",
			       request->flags & IMAGE_REQ_MAY_UNMAP ? " may unmap" : "");
}
