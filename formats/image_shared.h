/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Backing files shared by several chains of a process: opened once, with one metadata
 * cache. Only read-only nodes are shared, and only if opening the file again would result in the
 * same node: it must be the same file according to the bottoms, and have the same name, options
 * (each from the same image), flags, memory limits and policy. The file is opened each time, so
 * that its lock and the policy are checked as always, and closed again if its node already exists.
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

/* A caller that opens a chain; zeroed, and then private to image_shared.c. */
struct image_opener {
	const struct image_opener *waits_for; /* NULL: nobody */
	struct coroutine *waiter;
};

/*
 * Finds a complete layer on the same file as the bottom @file, and adds a user to it. NULL: @opener
 * must open the layer; others that need it wait until image_shared_end(). @opener also waits if
 * another opener is opening it, unless that one waits for @opener: chains of hostile images may
 * name each other.
 */
struct image *image_shared_co_find(struct image_shared *shared, struct image_opener *opener,
				   const char *key, const struct image *file);
/* Others may use the layer, which has one user now. */
void image_shared_add(struct image_shared *shared, const char *key, struct image *img);
/* @opener has added its layers, or has failed: nobody needs to wait for it any more. */
void image_shared_end(struct image_shared *shared, const struct image_opener *opener);

/*
 * Removes the user with @patience_ns (that of the image above it); true if others are left. If
 * not, the layer is no longer shared.
 */
bool image_share_put(struct image *img, uint64_t patience_ns);

#endif
