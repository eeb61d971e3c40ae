/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files image*.c provide to each other, and to formats that open files. */
#ifndef UBD_IMAGE_INT_H
#define UBD_IMAGE_INT_H

#include "image_ops.h"

/* ---- formats.c ---- */

/* The format with that name; NULL, with @err set, if there is none. */
const struct format_ops *image_find_format(const char *name, GError **err);

/* The format of a file that looks like no other format. */
const struct format_ops *image_headerless_format(void);

/* ---- bottom/bottom.c ---- */

/*
 * The bottom that the file name asks for, and the name without "file:", which the caller frees.
 * NULL, with @err set, if there is none.
 */
const struct bottom_ops *image_find_bottom(const char *filename, char **ret_name, GError **err);

/* Like image_co_open_bottom(), for a name in an image, under a policy; @named may be NULL. */
int image_co_open_named(const char *filename, unsigned flags, const struct named_file *named,
			struct image **ret_img, GError **err);

/*
 * Creates the file that the name asks for, or truncates it (a block device stays as it was), and
 * adds it to @begun.
 */
int image_co_create_bottom(const char *filename, struct image_begun *begun, GError **err);

/* ---- image_node.c ---- */

/* Create a node that is not open yet: of a format on @file, or a bottom node. */
struct image *image_node_new_format(const struct format_ops *ops, struct image *file,
				    unsigned flags);
struct image *image_node_new_bottom(const struct bottom_ops *ops, const char *filename,
				    unsigned flags);
void image_node_free(struct image *img);

/* Opens the node itself; on failure, the nodes below it stay open. */
int image_node_co_open(struct image *img, const struct image_open_opts *opts, GError **err);

/* image_co_new_bottom() with all options. */
int image_node_co_new_bottom(const struct bottom_ops *ops, const char *filename,
			     const struct image_open_opts *opts, void *opaque,
			     struct image **ret_img, GError **err);

/* ---- image_memory.c, image_io.c, image.c ---- */

/*
 * The memory account of a chain, with a limit; 0: the default. Nodes share it; the top node frees
 * it.
 */
struct image_memory *image_memory_new(uint64_t limit);

/* Writes zeroes as data, so that even the device below allocates space for them. */
int image_co_write_zero_data(struct image *img, uint64_t off, uint64_t bytes);

/*
 * File names may come from images: turns a message into one line, whatever it contains. Returns
 * @ret.
 */
int image_one_line(int ret, GError **err);

#endif
