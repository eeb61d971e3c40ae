/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Backing files that several chains of a process have in common: opened once, with one metadata
 * cache. Only what is not written to is shared, and only where a second opening would give the same
 * node: the bottoms say that it is the same file, and name, options, flags and policy are equal.
 * The file is opened each time, so that its lock and what an image may name are checked as always,
 * and closed again if its node is there.
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

/* How a layer is opened; keep it until image_shared_add(). */
struct image_share_key {
	char *text; /* options; NULL: the layer cannot be shared */
	unsigned flags;
	const struct image_policy *policy;
};

/* @options of the layer, @below of its file. Free it with image_share_key_clear(). */
struct image_share_key image_share_key(const struct node_options *options,
				       const struct node_options *below, unsigned flags,
				       const struct image_policy *policy);
void image_share_key_clear(struct image_share_key *key);

/* Chains are opened one after the other, so that a layer is complete when it is found. */
void image_shared_co_lock(struct image_shared *shared);
void image_shared_unlock(struct image_shared *shared);

/* A complete layer on the same file as the bottom @file, with one more user; or NULL. */
struct image *image_shared_find(struct image_shared *shared, const struct image_share_key *key,
				const struct image *file);
/* Others may use the layer, which has one user now. Takes what is in @key. */
void image_shared_add(struct image_shared *shared, struct image_share_key *key, struct image *img);

/* One user fewer; true if others are left. If not, it is not shared any more. */
bool image_share_put(struct image *img);

#endif
