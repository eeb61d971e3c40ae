/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A request of a guest as a value: drawn in one place, done in another, printed in a third. */
#ifndef UBD_TESTS_REQUEST_H
#define UBD_TESTS_REQUEST_H

#include <stdint.h>

#include "image.h"

enum request_kind {
	REQUEST_READ,
	REQUEST_WRITE,
	REQUEST_ZERO,
	REQUEST_DISCARD,
	REQUEST_FLUSH,
};

struct request {
	enum request_kind kind;
	unsigned flags;	 /* IMAGE_REQ_* */
	bool compressed; /* a write */
	uint64_t off;
	uint64_t bytes;
};

/*
 * Turns a write into a compressed write of the clusters that it touches, if the image supports it
 * and they have at most @max_bytes.
 */
void request_compress(struct request *request, const struct image *img, uint64_t max_bytes);

/* Does it, with the data in @mem. 0 or -errno. */
int request_co_perform(const struct request *request, struct image *img, struct iobuf mem);

/* For people. The caller frees it. */
char *request_describe(const struct request *request);

#endif
