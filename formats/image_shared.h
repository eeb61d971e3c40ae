/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Backing files that several chains of a process have in common: opened once, with one metadata
 * cache. Only what is not written to is shared, and only where a second opening would give the same
 * node: the bottoms say that it is the same file, and name, options, flags, limits of memory and
 * policy are equal, and so is which image has named an option. The file is opened each time, so
 * that its lock and what an image may name are checked as always, and closed again if its node is
 * there.
 *
 * One loop opens and closes the images; any number of them use them.
 */
#ifndef UBD_IMAGE_SHARED_H
#define UBD_IMAGE_SHARED_H

#include <glib.h>

#include "image.h"

struct image_shared;
struct image_share;
struct node_options;

/*
 * How a layer is opened, as text: @options of the layer, @below of its file and, of @opts, flags,
 * policy and limits of memory, as the opener of the chain has asked for them. The caller frees it.
 * NULL: the layer cannot be shared.
 */
char *image_share_key(const struct node_options *options, const struct node_options *below,
		      const struct image_open_opts *opts);

/* Somebody who opens a chain; zeroed, and then private to image_shared.c. */
struct image_opener {
	const struct image_opener *waits_for; /* NULL: nobody */
	struct coroutine *waiter;
};

/*
 * A complete layer on the same file as the bottom @file, with one more user. NULL: @opener must
 * open it; others who want it wait until image_shared_end(). So does @opener, if another is opening
 * it, unless that one waits for @opener: chains of hostile images may name each other.
 */
struct image *image_shared_co_find(struct image_shared *shared, struct image_opener *opener,
				   const char *key, const struct image *file);
/* Others may use the layer, which has one user now. */
void image_shared_add(struct image_shared *shared, const char *key, struct image *img);
/* @opener has added what it has opened, or has failed: nobody waits for it any more. */
void image_shared_end(struct image_shared *shared, const struct image_opener *opener);

/*
 * One user fewer, that with @patience_ns (that of the image above it); true if others are left. If
 * not, it is not shared any more.
 */
bool image_share_put(struct image *img, uint64_t patience_ns);

#endif
